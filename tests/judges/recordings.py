"""Writers of recordings, event by event, as the formats' own pages say: for tests of the readers."""

from __future__ import annotations

import importlib.util
import io
import struct

import h5py
import numpy as np

EVENT = np.dtype([("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "i1")])
WIDTH, HEIGHT = 34, 34


def random_events(rng, number, length=300_000):
    """Events of a small camera in the order of time; the first is at 0."""
    events = np.zeros(number, EVENT)
    events["x"], events["y"] = rng.integers(0, WIDTH, number), rng.integers(0, HEIGHT, number)
    events["t"], events["p"] = np.sort(rng.integers(0, length, number)), rng.integers(0, 2, number)
    events["t"][0] = 0
    return events


def write_npy(events):
    file = io.BytesIO()
    np.save(file, events)
    return file.getvalue()


def write_npz(events):
    file = io.BytesIO()
    np.savez_compressed(file, x=events["x"], y=events["y"], t=events["t"], p=events["p"])
    return file.getvalue()


def write_hdf5(events):
    file = io.BytesIO()
    with h5py.File(file, "w") as hdf5:
        for field in "xytp":
            hdf5[f"events/{field}"] = events[field]
        hdf5["t_offset"] = 12345
    return file.getvalue()


def write_bin(events):
    out = bytearray()
    for x, y, t, p in events.tolist():
        out += bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255])
    return bytes(out)


def write_aedat2(events, header=b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"):
    """A DVS128: its x counts from the right, its y from below, and 1 is OFF."""
    out = bytearray(b"#!AER-DAT2.0\r\n" + header)
    for x, y, t, p in events.tolist():
        out += struct.pack(">II", (127 - y) << 8 | (127 - x) << 1 | (1 - p), t + 1000)
    return bytes(out)


def write_aedat3(events):
    """Packets of 7 events, an invalid one in each, and one of another kind between."""
    out = bytearray(b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n")
    for first in range(0, len(events), 7):
        rows = events[first : first + 7].tolist()
        out += struct.pack("<hhiiiiii", 0, 1, 8, 4, 0, 1, 1, 1) + struct.pack("<Ii", 1, 5)
        out += struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(rows) + 1, len(rows) + 1, len(rows))
        for x, y, t, p in rows:
            out += struct.pack("<Ii", x << 17 | y << 2 | p << 1 | 1, t)
        out += struct.pack("<Ii", 3 << 17, 0)
    return bytes(out)


def write_aedat4(events):
    """Flatbuffers without compression: the header of the file, then packets of 50 events."""
    info = (
        '<dv version="2.0"><node name="outInfo" path="/outInfo/"><node name="0" path="/outInfo/0/">'
        '<attr key="compression" type="string">NONE</attr><attr key="typeIdentifier" type="string">EVTS</attr>'
        f'<node name="info" path="/outInfo/0/info/"><attr key="sizeX" type="int">{WIDTH}</attr>'
        f'<attr key="sizeY" type="int">{HEIGHT}</attr></node></node></node></dv>'
    ).encode()
    # Place of the table, identifier; sizes of its list and of itself, places of its three fields; then the table, and the text.
    header = struct.pack("<I4sHHHHHxxiII", 20, b"IOHE", 10, 8, 0, 0, 4, 12, 4, len(info)) + info + b"\0"
    out = bytearray(b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header)
    for first in range(0, len(events), 50):
        rows = events[first : first + 50].tolist()
        body = struct.pack("<I4sHHHxxiIxxxxI", 16, b"EVTS", 6, 8, 4, 8, 8, len(rows))
        for x, y, t, p in rows:
            body += struct.pack("<qhhBxxx", t + 1_600_000_000_000_000, x, y, p)
        out += struct.pack("<iiI", 0, len(body) + 4, len(body)) + body
    return bytes(out)


def write_evt2(events):
    """Words of 32 bits; the high bits of the time wherever they change."""
    out = bytearray(f"% evt 2.0\n% geometry {WIDTH}x{HEIGHT}\n% end\n".encode())
    high = None
    for x, y, t, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            out += struct.pack("<I", 8 << 28 | high)
        out += struct.pack("<I", p << 28 | (t & 63) << 22 | x << 11 | y)
    return bytes(out)


def write_evt21(events, legacy=False, endianness=""):
    """Words of 64 bits: the high bits of the time wherever they change; events of one time, row and polarity in 32 columns together.

    ``legacy``: the upper half of each word first, as an IMX636 sends them.
    """
    out = bytearray(f"% evt 2.1\n% format EVT21;height={HEIGHT};width={WIDTH}{endianness}\n% end\n".encode())
    groups: dict[tuple[int, int, int, int], int] = {}
    for x, y, t, p in events.tolist():
        key = t, y, p, x // 32 * 32
        groups[key] = groups.get(key, 0) | 1 << x % 32
    high = None
    for (t, y, p, x), pixels in groups.items():
        words = [((8 << 28 | t >> 6), 0)] if t >> 6 != high else []
        high = t >> 6
        words.append((p << 28 | (t & 63) << 22 | x << 11 | y, pixels))
        for upper, lower in words:
            out += struct.pack("<II", *((upper, lower) if legacy else (lower, upper)))
    return bytes(out)


def write_evt3(events):
    """Words of 16 bits: time, row and column of each event."""
    out = bytearray(f"% evt 3.0\n% geometry {WIDTH}x{HEIGHT}\n% end\n".encode())
    for x, y, t, p in events.tolist():
        out += struct.pack("<HHHH", 8 << 12 | t >> 12, 6 << 12 | (t & 4095), y, 2 << 12 | p << 11 | x)
    return bytes(out)


def write_dat(events):
    """Kind and size of events, then microseconds, and a word of pixel and polarity, each."""
    header = f"% Data file containing CD events.\n% Version 2\n% Height {HEIGHT}\n% Width {WIDTH}\n".encode()
    out = bytearray(header + bytes([12, 8]))
    for x, y, t, p in events.tolist():
        out += struct.pack("<II", t, p << 28 | y << 14 | x)
    return bytes(out)


# By format: the suffix of its files, and a function from events to bytes.
WRITERS = {
    "npy": (".npy", write_npy),
    "npz": (".npz", write_npz),
    "hdf5": (".h5", write_hdf5),
    "bin": (".bin", write_bin),
    "aedat2": (".aedat", write_aedat2),
    "aedat3": (".aedat", write_aedat3),
    "evt2": (".raw", write_evt2),
    "evt21": (".raw", write_evt21),
    "dat": (".dat", write_dat),
}
# Those that are read by packages of the extra [events], by the package.
if importlib.util.find_spec("aedat"):
    WRITERS["aedat4"] = (".aedat4", write_aedat4)
if importlib.util.find_spec("evt3"):
    WRITERS["evt3"] = (".raw", write_evt3)

"""AEDAT 2, 3.1 and 4: the files of iniVation's cameras, and of what was recorded with jAER and cAER."""

from __future__ import annotations

import re
import struct
import tempfile
from importlib import import_module
from typing import IO

import numpy as np

from eventsim.data.recordings.events import Recording, check_number, counted_on, recording
from eventsim.data.recordings.fields import Fields
from eventsim.data.recordings.header import header_lines
from eventsim.errors import InputError

# By what the header or the stream calls the camera: (width, height).
_CAMERAS = {"DVS128": (128, 128), "DAVIS240": (240, 180), "DAVIS346": (346, 260), "DVXPLORER": (640, 480)}
# Of a packet of AEDAT 3.1: type, source, size of an event, where its time stamp is, overflows of it, capacity, number, valid ones.
_PACKET = struct.Struct("<hhiiiiii")
_POLARITY = 1
_MAX_PACKET = 2**24


def read_aedat2(stream: IO[bytes], name: str, fields: Fields) -> Recording:
    """AEDAT 2 of a DVS128 or a DAVIS: addresses and microseconds, 32 bits each, the most significant byte first.

    Addresses count from the lower right; of a DAVIS whose size the header does not tell they stay so.

    Raises
    ------
    InputError
    """
    camera = _camera(stream, name)
    data = stream.read()
    if len(data) % 8:
        raise InputError(f"{name}: {len(data):,} bytes of events, expected 8 for each; cut short")
    check_number(len(data) // 8, name)
    address, t = np.frombuffer(data, ">u4").reshape(-1, 2).T.astype(np.int64)
    if camera == (128, 128) or (camera is None and int(address.max(initial=0)) < 2**16):
        camera = 128, 128
        events = (address & 0x8000) == 0
        x, y, p = 127 - (address >> 1 & 0x7F), 127 - (address >> 8 & 0x7F), 1 - (address & 1)
    else:
        # DAVIS: the topmost bit marks samples of frames and of motion, bit 10 what comes from outside.
        events = (address & 0x80000400) == 0
        x, y, p = address >> 12 & 0x3FF, address >> 22 & 0x1FF, address >> 11 & 1
        x, y = (camera[0] - 1 - x, camera[1] - 1 - y) if camera else (x, y)
    return recording(name, x[events], y[events], counted_on(t[events]), p[events], camera)


def read_aedat3(stream: IO[bytes], name: str, fields: Fields) -> Recording:
    """AEDAT 3.1: packets, of which those with events of polarity are read, valid ones only.

    Raises
    ------
    InputError
    """
    camera = _camera(stream, name)
    data = stream.read()
    parts: list[memoryview] = []
    # Of each part: its events, and overflows of their times.
    sizes: list[int] = []
    overflown: list[int] = []
    bytes_there, place = memoryview(data), 0
    while place < len(data):
        kind, overflows, size, count, start = _packet(data, place, name)
        place = start + size * count
        if place > len(data):
            raise InputError(f"{name}: a packet of {size * count:,} bytes where {len(data) - start:,} are left; cut short")
        if kind == _POLARITY:
            parts.append(bytes_there[start:place])
            sizes.append(count)
            overflown.append(overflows)
    check_number(sum(sizes), name)
    words = np.frombuffer(b"".join(parts), "<u4").reshape(-1, 2).astype(np.int64)
    words[:, 1] += np.repeat(np.array(overflown, np.int64), sizes) << 31
    words = words[(words[:, 0] & 1) == 1]
    address = words[:, 0]
    return recording(name, address >> 17 & 0x7FFF, address >> 2 & 0x7FFF, words[:, 1], address >> 1 & 1, camera)


def _packet(data: bytes, place: int, name: str) -> tuple[int, int, int, int, int]:
    """Kind, overflows of the time stamp, bytes of an event, events, and the place of the first."""
    if place + _PACKET.size > len(data):
        raise InputError(f"{name}: {len(data) - place} bytes where the header of a packet was expected; cut short")
    kind, _, size, offset, overflows, capacity, count, _ = _PACKET.unpack_from(data, place)
    if not (4 <= size < _MAX_PACKET and 0 <= count <= capacity < _MAX_PACKET and 0 <= overflows < 2**20):
        raise InputError(f"{name}: a packet of {count} events of {size} bytes at byte {place:,}; a damaged recording")
    if kind == _POLARITY and (size != 8 or offset != 4):
        raise InputError(f"{name}: events of {size} bytes at byte {place:,}, expected 8; a damaged recording")
    return kind, overflows, size, count, place + _PACKET.size


def read_aedat4(stream: IO[bytes], name: str, fields: Fields) -> Recording:
    """AEDAT 4: the packets of the first stream of events, read by the package aedat.

    Raises
    ------
    InputError
        Also if the package is not installed.
    """
    try:
        aedat = import_module("aedat")
    except ImportError:
        raise InputError(f"{name}: AEDAT 4 is read by the package aedat (pip install 'eventsim[events]')") from None
    # The package opens a file by its name.
    with tempfile.NamedTemporaryFile(suffix=".aedat4") as file:
        file.write(stream.read())
        file.flush()
        try:
            decoder = aedat.Decoder(file.name)
            streams = {key: about for key, about in decoder.id_to_stream().items() if about["type"] == "events"}
            if not streams:
                raise InputError(f"{name}: has no stream of events")
            chosen = min(streams)
            parts, number = [], 0
            for packet in decoder:
                if packet.get("stream_id") == chosen and "events" in packet:
                    parts.append(packet["events"])
                    number += len(parts[-1])
                    check_number(number, name)
        except InputError:
            raise
        except BaseException as error:  # its panics are no Exceptions
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise InputError(f"{name}: not a readable AEDAT 4 file ({' '.join(str(error).split())[:200]})") from None
    size = streams[chosen].get("width"), streams[chosen].get("height")
    columns = {
        field: np.concatenate([part[field] for part in parts]) if parts else np.zeros(0, np.int64) for field in ("x", "y", "t", "on")
    }
    return recording(name, columns["x"], columns["y"], columns["t"], columns["on"], size if all(size) else None)


def _camera(stream: IO[bytes], name: str) -> tuple[int, int] | None:
    """Pass over the header, and tell the camera's size if it names one: as its chip, or else the last that it names."""
    lines = [line.upper() for line in header_lines(stream, name, b"#", b"#!END-HEADER")]
    # Settings of other cameras may follow.
    chips = [line for line in lines if line.startswith(b"# AECHIP:")]
    named = re.findall("|".join(_CAMERAS).encode(), b"".join(chips or lines))
    return _CAMERAS[named[-1].decode()] if named else None

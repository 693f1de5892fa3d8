"""What is particular to a camera's format: counters that begin anew, vectors, kinds of events that are passed over, headers."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
from judges.recordings import random_events, write_aedat2, write_aedat3, write_evt2, write_evt21

from eventsim.data.recordings.reading import read_recording
from eventsim.errors import InputError


def read(data, name="rec"):
    return read_recording(io.BytesIO(data), name)


EVT2 = b"% evt 2.0\n% end\n"
EVT3 = b"% evt 3.0\n% end\n"


def test_evt2_begins_to_count_anew():
    words = [0xFFFFFFF | 8 << 28, 1 << 28 | 63 << 22 | 5 << 11 | 6, 8 << 28, 1 << 22 | 7]
    assert read(EVT2 + struct.pack("<4I", *words)).events.tolist() == [(5, 6, 2**34 - 1, 1), (0, 7, 2**34 + 1, 0)]


def test_evt2_passes_over_what_is_no_event_and_what_has_no_time_yet():
    words = [1 << 28 | 9, 8 << 28 | 1, 0xA << 28, 0xE << 28 | 5, 0 << 28 | 3 << 11]
    assert read(EVT2 + struct.pack("<5I", *words)).events.tolist() == [(3, 0, 64, 0)]


def test_evt21_has_32_pixels_in_a_word():
    words = [1 << 60 | 1 << 32 | 1, 8 << 60 | 2 << 32, 1 << 60 | 5 << 54 | 64 << 43 | 9 << 32 | 1 << 31 | 0b101, 0xE << 60 | 7, 63 << 54]
    found = read(b"% evt 2.1\n% end\n" + struct.pack("<5Q", *words)).events
    assert found.tolist() == [(x, 9, 2 << 6 | 5, 1) for x in (64, 66, 95)]
    assert read(b"% format EVT21;height=720;width=1280\n% end\n" + struct.pack("<2Q", 8 << 60, 719 << 32 | 1)).size == (1280, 720)


@pytest.mark.parametrize("endianness", ["", ";endianness=legacy"])
def test_evt21_of_an_imx636_has_its_halves_exchanged(endianness):
    """The header says so, or the kinds of words and their times do."""
    events = random_events(np.random.default_rng(1), 300)
    legacy = read(write_evt21(events, legacy=True, endianness=endianness)).events
    assert legacy.tolist() == read(write_evt21(events, endianness=";endianness=little")).events.tolist() == events.tolist()
    few = struct.pack("<6I", 8 << 28 | 3, 0, 1 << 28 | 7, 1, 5 << 11 | 2, 2)
    assert read(b"% evt 2.1\n% end\n" + few).events.tolist() == [(0, 7, 192, 1), (6, 2, 192, 0)]


def test_evt21_of_another_endianness():
    with pytest.raises(InputError, match=r"of the endianness big in its header; expected little or legacy"):
        read(b"% format EVT21;endianness=big;height=5;width=5\n% end\n" + bytes(8))
    with pytest.raises(InputError, match=r"12 bytes of words, expected 8 for each; cut short"):
        read(b"% evt 2.1\n% end\n" + bytes(12))


def test_evt21_of_more_events_than_are_read(monkeypatch):
    monkeypatch.setattr("eventsim.data.recordings.events.MAX_EVENTS", 40)
    with pytest.raises(InputError, match=r"64 events; at most 40 are read"):
        read(b"% evt 2.1\n% end\n" + struct.pack("<3Q", 8 << 60, 2**32 - 1, 2**32 - 1))


def test_evt3_vectors():
    pytest.importorskip("evt3")
    words = [8 << 12 | 1, 6 << 12 | 7, 20, 3 << 12 | 1 << 11 | 32, 4 << 12 | 0b101, 5 << 12 | 0b11]
    assert read(EVT3 + struct.pack("<6H", *words)).events.tolist() == [(x, 20, 4103, 1) for x in (32, 34, 44, 45)]


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"% geometry 640x480", (640, 480)),
        (b"% format EVT2;height=720;width=1280", (1280, 720)),
        (b"% format EVT2;width=320;height=240", (320, 240)),
        (b"% nothing", None),
    ],
)
def test_sizes_in_the_header_of_a_raw_file(line, size):
    data = b"% evt 2.0\n" + line + b"\n% end\n" + struct.pack("<II", 8 << 28, 5 << 11 | 6)
    assert read(data).size == size


def test_a_pixel_outside_of_the_camera_is_damage():
    data = b"% evt 2.0\n% geometry 5x5\n% end\n" + struct.pack("<II", 8 << 28, 5 << 11 | 1)
    with pytest.raises(InputError, match=r"x = 5\.\.5, where a camera has 0\.\.4"):
        read(data)


def test_raw_files_of_other_versions():
    for header, words in (
        (b"% evt 4.0\n", "EVT 4"),
        (b"% evt 2.2\n", r"EVT 2\.2"),
        (b"% format HISTO3D;height=320;width=320\n", "no version"),
        (b"% date today\n", "no version"),
    ):
        with pytest.raises(InputError, match=words):
            read(header)


@pytest.mark.parametrize(
    ("version", "kind", "words"),
    [
        (b"% Version 1\n", b"\0\x08", "a DAT file of version 1; expected version 2"),
        (b"", b"\0\x08", "a DAT file of no version"),
        (b"% Version 2\n", b"\x0e\x08", "events of kind 14, of 8 bytes; expected events of pixels"),
        (b"% Version 2\n", b"\x0c\x10", "events of kind 12, of 16 bytes"),
    ],
)
def test_dat_of_other_kinds(version, kind, words):
    with pytest.raises(InputError, match=words):
        read(b"% Data file containing CD events\n" + version + kind + bytes(16), "a.dat")


def test_the_time_of_dat_begins_anew():
    data = b"% Date 2020-09-14 14:18:29\n% Data file containing Event2d events\n% Version 2\n\0\x08"
    found = read(data + struct.pack("<4I", 2**32 - 1, 1 << 28 | 500 << 14 | 1279, 3, 0xE << 28 | 7))
    assert found.events.tolist() == [(1279, 500, 2**32 - 1, 1), (7, 0, 2**32 + 3, 0)]
    assert found.size is None
    short = read(b"% Version 2\n% Width 1280\n% Height 720\n\x0c\x08" + struct.pack("<2I", 1, 7))
    assert (short.size, short.events.tolist()) == ((1280, 720), [(7, 0, 1, 0)])


def test_events_that_begin_as_lines_of_a_header_do():
    """Row 140 of a DAVIS begins with the byte of "#", and a line end lies in a time; one of EVT 2 begins with that of "%"."""
    word = 140 << 22 | 10 << 12 | 1 << 11
    assert struct.pack(">I", word)[:1] == b"#"
    found = read(b"#!AER-DAT2.0\r\n# AEChip: Davis346red\r\n" + struct.pack(">4I", word, 0x0A0A0A, word, 0x0A0A0B)).events
    assert found.tolist() == [(345 - 10, 259 - 140, 0x0A0A0A, 1), (345 - 10, 259 - 140, 0x0A0A0B, 1)]
    high = 8 << 28 | 0x0A0025
    assert struct.pack("<I", high)[:3] == b"%\0\n"
    found = read(b"% evt 2.0\n" + struct.pack("<IIII", high, 3 << 11 | 4, 8 << 28 | 0x0A0026, 1 << 28 | 5 << 11)).events
    assert found.tolist() == [(3, 4, 0x0A0025 << 6, 0), (5, 0, 0x0A0026 << 6, 1)]


def test_aedat2_of_a_dvs128():
    events = random_events(np.random.default_rng(0), 20)
    for header in (b"# AEChip: DVS128\r\n", b"", b"# This is a raw AE data file\r\n"):
        found = read(write_aedat2(events, header))
        assert found.size == (128, 128)
        assert np.array_equal(found.events["x"], events["x"])
    lower_right = b"#!AER-DAT2.0\r\n# AEChip: DVS128\r\n" + struct.pack(">4I", 0, 5, 5 << 8 | 3 << 1 | 1, 6)
    assert read(lower_right).events.tolist() == [(127, 127, 5, 1), (124, 122, 6, 0)]


def test_the_camera_of_aedat2_is_its_chip_not_one_that_settings_name():
    settings = b'#Start of Preferences for this AEChip\r\n#<node name="DAVIS346"/>\r\n'
    for chip, size in ((b"DVS128", (128, 128)), (b"DAVIS240C", (240, 180)), (b"DAVIS640", None)):
        data = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter." + chip + b"\r\n" + settings + struct.pack(">2I", 1 << 22, 5)
        assert read(data).size == size


def test_aedat2_of_a_davis():
    def word(x, y, p, other=0):
        return other | y << 22 | x << 12 | p << 11

    rows = [(word(239, 179, 1), 5), (word(0, 0, 0, 1 << 31), 6), (word(0, 0, 0, 1 << 10), 7), (word(10, 20, 0), 9)]
    data = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n" + b"".join(struct.pack(">II", *row) for row in rows)
    assert read(data).events.tolist() == [(0, 0, 5, 1), (229, 159, 9, 0)]


def test_the_time_of_aedat2_begins_anew():
    data = b"#!AER-DAT2.0\r\n# DVS128\r\n" + struct.pack(">4I", 0, 2**32 - 5, 0, 3)
    assert np.diff(read(data).events["t"]).tolist() == [8]


def test_overflows_of_the_time_of_aedat3():
    def packet(overflows, t):
        return struct.pack("<hhiiiiii", 1, 1, 8, 4, overflows, 1, 1, 1) + struct.pack("<Ii", 4 << 17 | 5 << 2 | 1, t)

    data = b"#!AER-DAT3.1\r\n#Source 1: DAVIS346\r\n#!END-HEADER\r\n" + packet(0, 2**31 - 1) + packet(1, 2)
    found = read(data)
    assert found.events.tolist() == [(4, 5, 2**31 - 1, 0), (4, 5, 2**31 + 2, 0)]
    assert found.size == (346, 260)


@pytest.mark.parametrize("damage", [(4, 0), (4, 2**30), (20, -1), (20, 2**30), (8, 2)])
def test_damaged_packets(damage):
    data = bytearray(write_aedat3(random_events(np.random.default_rng(0), 20)))
    start = data.index(b"#!END-HEADER\r\n") + 14 + 36
    struct.pack_into("<i", data, start + damage[0], damage[1])
    with pytest.raises(InputError, match=r"damaged|cut short"):
        read(bytes(data))


def test_headers_without_end():
    for magic in (b"#!AER-DAT2.0\r\n", b"%x\n"):
        with pytest.raises(InputError):
            read(magic + (magic[:1] + b"a" * 1000 + b"\n") * 1100)


@pytest.mark.parametrize("magic", [b"#!AER-DAT2.0\r\n", b"#!AER-DAT3.1\r\n", b"% evt 2.0\n", b"% Version 2\n"])
def test_a_file_cut_within_its_header(magic):
    with pytest.raises(InputError, match="ends within its header; cut short"):
        read(magic + magic[:1] + b" AEChip: DVS128 and more")


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "aedat", None)
    monkeypatch.setitem(sys.modules, "evt3", None)
    for data in (b"#!AER-DAT4.0\r\n", EVT3):
        with pytest.raises(InputError, match=r"pip install 'eventsim\[events\]'"):
            read(data)
    assert len(read(write_evt2(random_events(np.random.default_rng(0), 5))).events) == 5


def test_aedat2_counts_on_after_a_long_pause():
    """Of more than half of what its counter holds: that is no step back."""
    times = 5, 2**31 + 100, 2**32 - 1, 2
    data = b"#!AER-DAT2.0\r\n" + b"".join(struct.pack(">2I", 1, t) for t in times)
    assert read(data, "a.aedat").events["t"].tolist() == [*times[:3], 2**32 + 2]

"""EVT 2, 2.1 and 3: the raw files of Prophesee's cameras; and DAT, decoded events of them."""

from __future__ import annotations

import re
from importlib import import_module
from typing import IO

import numpy as np

from eventsim.data.recordings.events import Recording, check_number, counted_on, recording
from eventsim.data.recordings.fields import Fields
from eventsim.data.recordings.header import header_lines
from eventsim.errors import InputError

# Kinds of words of EVT 2 and 2.1; the others are triggers and what is the camera's own.
_OFF, _ON, _TIME_HIGH, _OTHERS = 0x0, 0x1, 0x8, (0xA, 0xE, 0xF)
# Words of EVT 2 begin anew to count time after this many microseconds.
_PERIOD = 2**34
# Of DAT: events of pixels, and of what changes contrast there; bytes of each.
_DAT_KINDS, _DAT_BYTES = (0, 12), 8


def read_evt(stream: IO[bytes], name: str, fields: Fields) -> Recording:
    """A raw file, of the version that its header tells, or a DAT file.

    Raises
    ------
    InputError
        Also if the package that reads EVT 3 is not installed.
    """
    header = b"".join(header_lines(stream, name, b"%", rb"% *end *\r?\n")).decode("ascii", "replace")
    version = re.search(r"^% *(?:evt +|format +EVT)([0-9]+(?:\.[0-9]+)?)", header, re.M | re.I)
    size = _geometry(header)
    data = stream.read()
    if version is None and re.search(r"^% *(Data file containing|Version )", header, re.M | re.I):
        return _dat(data, name, header)
    number = "none" if version is None else version[1].removesuffix(".0")
    if number == "2":
        return _evt2(data, name, size)
    if number in ("2.1", "21"):
        return _evt21(data, name, header, size)
    if number == "3":
        return _evt3(data, name, size)
    found = "no version" if version is None else f"EVT {version[1]}"
    raise InputError(f"{name}: a raw file of {found} in its header; expected EVT 2, 2.1 or 3, or DAT (Metavision's tools convert)")


def _evt2(data: bytes, name: str, size: tuple[int, int] | None) -> Recording:
    """Words of 32 bits: the high bits of the time, or an event with the low ones."""
    words = np.frombuffer(_whole(data, 4, name), "<u4")
    event, t = _timed(words)
    words = words[event]
    return recording(name, words >> 11 & 0x7FF, words & 0x7FF, t, words >> 28, size)


def _evt21(data: bytes, name: str, header: str, size: tuple[int, int] | None) -> Recording:
    """Words of 64 bits: one of EVT 2, and a bit for each of 32 pixels in a row, of which the event's is the first, that had the event.

    The word of EVT 2 is the upper half. The IMX636 sends that half first, which a header may call the "legacy" endianness.
    """
    halves = np.frombuffer(_whole(data, 8, name), "<u4").reshape(-1, 2)
    first = _upper_half(halves, name, header)
    event, t = _timed(halves[:, first])
    words, pixels = halves[event, first], halves[event, 1 - first].astype("<u4")
    check_number(int(np.bitwise_count(pixels).sum()), name)
    which, bit = np.unpackbits(pixels.view(np.uint8).reshape(-1, 4), axis=1, bitorder="little").nonzero()
    words = words[which]
    return recording(name, (words >> 11 & 0x7FF) + bit, words & 0x7FF, t[which], words >> 28, size)


def _upper_half(halves: np.ndarray, name: str, header: str) -> int:
    """Which half of words of EVT 2.1 (words, 2) is the upper one: what the header says; else in which of them kinds are known ones, and
    times are told."""
    said = re.search(r"^% *(?:format\b.*;)? *endianness[= ] *(\w+)", header, re.M | re.I)
    if said is None:
        kinds = halves >> 28
        known = np.isin(kinds, (_OFF, _ON, _TIME_HIGH, *_OTHERS)).sum(0)
        times = (kinds == _TIME_HIGH).sum(0)
        return int((known[1], times[1]) >= (known[0], times[0]))
    if said[1].lower() not in ("legacy", "little"):
        raise InputError(f"{name}: words of EVT 2.1 of the endianness {said[1]} in its header; expected little or legacy")
    return int(said[1].lower() == "little")


def _whole(data: bytes, size: int, name: str) -> bytes:
    """The bytes of words of so many bytes each."""
    if len(data) % size:
        raise InputError(f"{name}: {len(data):,} bytes of words, expected {size} for each; cut short")
    return data


def _timed(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which words of EVT 2 are events of a known time (their places), and those times."""
    kind = words >> 28
    high = kind == _TIME_HIGH
    upper = (words[high] & 0xFFFFFFF).astype(np.int64) << 6
    # Time goes back by nearly a whole period where its counter begins anew, and by less in a damaged file.
    upper += _PERIOD * np.concatenate([[0], np.cumsum(np.diff(upper) < -_PERIOD // 2)])[: len(upper)]
    told = np.cumsum(high)
    # What comes before the first time is of no known time.
    event = (((kind == _OFF) | (kind == _ON)) & (told > 0)).nonzero()[0]
    return event, upper[told[event] - 1] + (words[event] >> 22 & 0x3F)


def _evt3(data: bytes, name: str, size: tuple[int, int] | None) -> Recording:
    """Words of 16 bits, read by the package evt3."""
    data = _whole(data, 2, name)
    try:
        evt3 = import_module("evt3")
    except ImportError:
        raise InputError(f"{name}: EVT 3 is read by the package evt3 (pip install 'eventsim[events]')") from None
    width, height = size or (2048, 2048)
    try:
        events = evt3.decode_bytes(data, width, height)
    except BaseException as error:  # its panics are no Exceptions
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise InputError(f"{name}: not a readable EVT 3 file ({' '.join(str(error).split())[:200]})") from None
    return recording(name, events.x, events.y, events.timestamp, events.polarity, size)


def _dat(data: bytes, name: str, header: str) -> Recording:
    """Two bytes that say what the events are, then words of 32 bits: microseconds, and the pixel with its polarity."""
    version, width, height = (re.search(rf"^% *{word} +([0-9]{{1,4}})\b", header, re.M | re.I) for word in ("Version", "Width", "Height"))
    if version is None or version[1] != "2":
        raise InputError(f"{name}: a DAT file of {'no version' if version is None else f'version {version[1]}'}; expected version 2")
    if len(data) < 2 or (len(data) - 2) % _DAT_BYTES:
        raise InputError(f"{name}: {len(data):,} bytes of events, expected 2, and {_DAT_BYTES} for each; cut short")
    if data[0] not in _DAT_KINDS or data[1] != _DAT_BYTES:
        raise InputError(f"{name}: events of kind {data[0]}, of {data[1]} bytes; expected events of pixels (0 or 12), of {_DAT_BYTES}")
    check_number(len(data) // _DAT_BYTES, name)
    t, word = np.frombuffer(data, "<u4", offset=2).reshape(-1, 2).T.astype(np.int64)
    size = (int(width[1]), int(height[1])) if width and height and int(width[1]) and int(height[1]) else None
    return recording(name, word & 0x3FFF, word >> 14 & 0x3FFF, counted_on(t), word >> 28 & 1, size)


def _geometry(header: str) -> tuple[int, int] | None:
    """(width, height), if the header tells."""
    found = (
        re.search(r"^% *geometry +([0-9]{1,4})x([0-9]{1,4})", header, re.M)
        or re.search(r"^% *format .*width=([0-9]{1,4});height=([0-9]{1,4})", header, re.M)
        or re.search(r"^% *format .*height=(?P<h>[0-9]{1,4});width=(?P<w>[0-9]{1,4})", header, re.M)
    )
    if found is None:
        return None
    width, height = (found["w"], found["h"]) if "w" in found.groupdict() else (found[1], found[2])
    return (int(width), int(height)) if int(width) and int(height) else None

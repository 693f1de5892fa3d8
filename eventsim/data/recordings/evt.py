"""EVT 2 and EVT 3: the raw files of Prophesee's cameras; and DAT, decoded events of them."""

from __future__ import annotations

import re
from importlib import import_module
from typing import IO

import numpy as np

from eventsim.data.recordings.events import Recording, check_number, recording
from eventsim.data.recordings.fields import Fields
from eventsim.data.recordings.header import header_lines
from eventsim.errors import InputError

# Kinds of words of EVT 2.
_OFF, _ON, _TIME_HIGH = 0x0, 0x1, 0x8
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
    # (2.1, which is also written as 21, has other words.)
    number = "none" if version is None else version[1].removesuffix(".0")
    if number not in ("2", "3"):
        found = "no version" if version is None else f"EVT {version[1]}"
        raise InputError(f"{name}: a raw file of {found} in its header; expected EVT 2 or 3, or DAT (Metavision's tools convert)")
    return _evt2(data, name, size) if number == "2" else _evt3(data, name, size)


def _evt2(data: bytes, name: str, size: tuple[int, int] | None) -> Recording:
    """Words of 32 bits: the high bits of the time, or an event with the low ones."""
    if len(data) % 4:
        raise InputError(f"{name}: {len(data):,} bytes of words, expected 4 for each; cut short")
    words = np.frombuffer(data, "<u4")
    kind = words >> 28
    high = kind == _TIME_HIGH
    event = (kind == _OFF) | (kind == _ON)
    check_number(int(event.sum()), name)
    upper = (words[high] & 0xFFFFFFF).astype(np.int64) << 6
    # Time goes back by nearly a whole period where its counter begins anew, and by less in a damaged file.
    upper += _PERIOD * np.concatenate([[0], np.cumsum(np.diff(upper) < -_PERIOD // 2)])[: len(upper)]
    last = np.cumsum(high)[event] - 1
    if len(last) and last[0] < 0:
        # What comes before the first time is of no known time.
        known = last >= 0
        words, last = words[event][known], last[known]
    else:
        words = words[event]
    t = upper[last] + (words >> 22 & 0x3F)
    return recording(name, words >> 11 & 0x7FF, words & 0x7FF, t, words >> 28, size)


def _evt3(data: bytes, name: str, size: tuple[int, int] | None) -> Recording:
    """Words of 16 bits, read by the package evt3."""
    if len(data) % 2:
        raise InputError(f"{name}: {len(data):,} bytes of words, expected 2 for each; cut short")
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
    # The counter of 32 bits begins anew after 71 minutes.
    t += 2**32 * np.concatenate([[0], np.cumsum(np.diff(t) < -(2**31))])[: len(t)]
    size = (int(width[1]), int(height[1])) if width and height and int(width[1]) and int(height[1]) else None
    return recording(name, word & 0x3FFF, word >> 14 & 0x3FFF, t, word >> 28 & 1, size)


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

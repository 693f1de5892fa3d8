"""Recordings of N-MNIST and N-Caltech101: five bytes an event."""

from __future__ import annotations

from typing import IO

import numpy as np

from eventsim.data.recordings.events import Recording, check_number, recording
from eventsim.data.recordings.fields import Fields
from eventsim.errors import InputError

BYTES = 5
# Rows of this number are no events: the camera's counter of time has overflowed.
_OVERFLOW_ROW, _OVERFLOW = 240, 2**13


def read_bin(stream: IO[bytes], name: str, fields: Fields) -> Recording:
    """Bytes x, y, then a bit of polarity and 23 bits of microseconds.

    Raises
    ------
    InputError
    """
    data = stream.read()
    if not data or len(data) % BYTES:
        raise InputError(f"{name}: {len(data):,} bytes, expected {BYTES} for each event; cut short, or no recording of this kind")
    check_number(len(data) // BYTES, name)
    rows = np.frombuffer(data, np.uint8).reshape(-1, BYTES)
    t = (rows[:, 2].astype(np.int64) & 0x7F) << 16 | rows[:, 3].astype(np.int64) << 8 | rows[:, 4]
    overflow = rows[:, 1] == _OVERFLOW_ROW
    if overflow.any():
        t = (t + _OVERFLOW * np.cumsum(overflow))[~overflow]
        rows = rows[~overflow]
    return recording(name, rows[:, 0], rows[:, 1], t, rows[:, 2] >> 7)

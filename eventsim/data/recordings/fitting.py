"""What is done to a recording before a network takes it: a window of time, hot pixels, fewer pixels, and whether it fits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.data.recordings.events import Recording
from eventsim.data.recordings.fields import UNITS, Fields
from eventsim.errors import InputError

_TIME = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*(us|ms|s)?\s*")
_LONGEST = 2**50


@dataclass(frozen=True)
class Reading:
    """How recordings are read, and what is done to them.

    Attributes
    ----------
    start, end : int or None
        The window of time, in microseconds since the first event; events at ``end`` are out of it.
    downsample : int
        Pixels of a side of the squares that become one pixel.
    hot_pixels : int or None
        Pixels with more events a second are left out.
    fields : Fields
    """

    start: int = 0
    end: int | None = None
    downsample: int = 1
    hot_pixels: int | None = None
    fields: Fields = field(default_factory=Fields)

    @property
    def length(self) -> int | None:
        """Of the window, in microseconds; None if it is open."""
        return None if self.end is None else self.end - self.start

    @classmethod
    def parsed(
        cls, window: str | None, downsample: int = 1, hot_pixels: int | None = None, fields: str | None = None, time_unit: str | None = None
    ) -> Reading:
        """From texts as a user types them: see :func:`parse_window` and :meth:`Fields.parsed`; raises InputError."""
        return cls(*parse_window(window), downsample, hot_pixels, Fields.parsed(fields, time_unit))

    def facts(self) -> dict[str, Any]:
        """What is not the usual: JSON values."""
        window = None if (self.start, self.end) == (0, None) else [self.start, self.end]
        facts: dict[str, Any] = {
            "window_us": window,
            "hot_pixels": self.hot_pixels,
            "downsample": None if self.downsample == 1 else self.downsample,
            "fields": self.fields.text,
            "time_unit": self.fields.unit,
        }
        return {key: value for key, value in facts.items() if value is not None}


def parse_window(text: str | None) -> tuple[int, int | None]:
    """Start and end in microseconds, of ``START:END``: each a number with us, ms or s; a start without a unit has that of the end.

    Raises
    ------
    InputError
        It is none, or ends before it starts.
    """
    if text is None:
        return 0, None
    parts = text.split(":")
    matches = [_TIME.fullmatch(part) for part in parts]
    if len(parts) != 2 or not all(match or not part.strip() for match, part in zip(matches, parts, strict=True)) or not any(matches):
        raise _no_window(text)
    units = [match[2] for match in matches if match]
    unit = next((u for u in reversed(units) if u), None)
    if unit is None:
        raise _no_window(text)
    start, end = (None if match is None else _microseconds(match, unit) for match in matches)
    if (end is not None and end <= (start or 0)) or max(start or 0, end or 0) > _LONGEST:
        raise _no_window(text)
    return start or 0, end


def _no_window(text: str) -> InputError:
    return InputError(f"window {text[:40]!a}: expected START:END such as 0:300ms, each with us, ms or s, the end after the start")


def _microseconds(match: re.Match[str], unit: str) -> int:
    times, per = UNITS[match[2] or unit]
    return round(Fraction(match[1]) * times / per)


def fit_recording(found: Recording, shape: tuple[int, ...], reading: Reading) -> tuple[npt.NDArray[Any], list[str]]:
    """The events of a recording as a network takes them.

    Parameters
    ----------
    found : Recording
    shape : (height, width, channels)
        Of the network's event input.
    reading : Reading

    Returns
    -------
    events : structured array (events,)
        x, y, t (microseconds from the window's start on), p.
    remarks : list of str
        What was done to it.

    Raises
    ------
    InputError
        No events, none but of hot pixels, or pixels that the network does not have.
    """
    events, remarks = found.events, list[str]()
    if not len(events):
        raise InputError(f"{found.name}: a recording without events")
    origin = int(events["t"][0]) + reading.start
    first = int(np.searchsorted(events["t"], origin))
    last = len(events) if reading.end is None else int(np.searchsorted(events["t"], origin - reading.start + reading.end))
    events = events[first:last].copy()
    if not len(events):
        length = int(found.events["t"][-1] - found.events["t"][0])
        raise InputError(f"{found.name}: no events in this window of time; the recording is {length:,} us long")
    events["t"] -= origin
    if reading.hot_pixels is not None:
        events, removed = _without_hot_pixels(events, reading.hot_pixels, reading.length)
        remarks += [f"{removed:,} hot pixels left out"] if removed else []
        if not len(events):
            raise InputError(f"{found.name}: all {removed:,} pixels with events are hot; allow more events a second (--hot-pixels)")
    factor = reading.downsample
    size = found.size
    if factor > 1:
        events["x"] //= factor
        events["y"] //= factor
        size = None if size is None else (-(-size[0] // factor), -(-size[1] // factor))
        remarks.append(f"squares of {factor} x {factor} pixels are one")
    width, height = size or (int(events["x"].max(initial=0)) + 1, int(events["y"].max(initial=0)) + 1)
    if width > shape[1] or height > shape[0]:
        what = "has" if size else "has at least"
        raise InputError(
            f"{found.name}: {what} {width} x {height} pixels, the network takes {shape[1]} x {shape[0]}; "
            "downsample it (--downsample), or cut it"
        )
    if size and (width, height) != (shape[1], shape[0]):
        remarks.append(f"{width} x {height} pixels in the upper left of the network's {shape[1]} x {shape[0]}")
    return events, remarks


def _without_hot_pixels(events: npt.NDArray[Any], most: int, length: int | None) -> tuple[npt.NDArray[Any], int]:
    """Leave out pixels with more events a second than that, and say how many."""
    duration = length or int(events["t"][-1]) + 1
    place = events["y"].astype(np.int64) * (int(events["x"].max()) + 1) + events["x"]
    # (Only of pixels that had events: where a file says no size, its coordinates may be any.)
    _, which, number = np.unique(place, return_inverse=True, return_counts=True)
    hot = number * 10**6 > most * duration
    return events[~hot[which]], int(hot.sum())

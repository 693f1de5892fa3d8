"""What every reader of recordings makes: events in the order of their times, and the camera's size if the file tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError

# x, y: from the upper left on; t: microseconds; p: 1 where the pixel has become brighter, 0 where darker.
EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "u1")])
# Of a recording: a gigabyte.
MAX_EVENTS = 2**26
MAX_BYTES = 2**32
_COORDINATES = 2**16
_LATEST = 2**60


@dataclass(frozen=True, eq=False)
class Recording:
    """Events of a camera.

    Attributes
    ----------
    events : structured array of EVENT (events,)
        Times ascend.
    size : (width, height) or None
        In pixels, if the file tells.
    name : str
        For messages.
    """

    events: npt.NDArray[Any]
    size: tuple[int, int] | None
    name: str


def recording(name: str, x: Any, y: Any, t: Any, p: Any, size: tuple[int, int] | None = None) -> Recording:
    """A recording of columns, checked.

    Parameters
    ----------
    name : str
    x, y, t, p : arrays of integers or bool (events,)
        ``p`` is 1 of ON events, 0 or -1 of OFF ones.
    size : (width, height), optional

    Raises
    ------
    InputError
        Too many events, columns of several lengths, times that go back, pixels outside of the camera, other polarities.
    """
    columns = {"x": np.asarray(x), "y": np.asarray(y), "t": np.asarray(t), "p": np.asarray(p)}
    lengths = {field: values.shape for field, values in columns.items()}
    if len(set(lengths.values())) > 1 or columns["x"].ndim != 1:
        raise InputError(f"{name}: columns of several lengths ({', '.join(f'{k} {v}' for k, v in lengths.items())}); a damaged recording")
    check_number(len(columns["x"]), name)
    for field, values in columns.items():
        if values.dtype.kind not in ("biu" if field == "p" else "iu"):
            raise InputError(f"{name}: {field} must be whole numbers, found {values.dtype}")
    events = np.empty(len(columns["x"]), EVENT)
    if not len(events):
        return Recording(events, size, name)
    limits = {"x": size[0] if size else _COORDINATES, "y": size[1] if size else _COORDINATES}
    for axis, limit in limits.items():
        low, high = int(columns[axis].min()), int(columns[axis].max())
        if low < 0 or high >= limit:
            raise InputError(f"{name}: {axis} = {low}..{high}, where a camera has 0..{limit - 1}; a damaged recording")
    polarity = columns["p"]
    if polarity.dtype.kind != "b" and (int(polarity.min()) < -1 or int(polarity.max()) > 1):
        raise InputError(f"{name}: polarities {polarity.min()}..{polarity.max()}, expected 1, and 0 or -1; a damaged recording")
    events["x"], events["y"], events["p"] = columns["x"], columns["y"], polarity > 0
    events["t"] = _times(columns["t"], name)
    return Recording(events, size, name)


def _times(t: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    """Times in microseconds, which must ascend."""
    if int(t.max()) > _LATEST or int(t.min()) < -_LATEST:
        raise InputError(f"{name}: times {t.min()}..{t.max()} us, beyond thousands of years; a damaged recording")
    times = t.astype(np.int64)
    back = np.flatnonzero(times[1:] < times[:-1])
    if len(back):
        first = int(back[0])
        raise InputError(
            f"{name}: not in the order of time: event {first + 1:,} is at {times[first + 1]} us, the one before at {times[first]} us; "
            "sort it, or it is damaged"
        )
    return times


def check_number(events: int, name: str) -> None:
    """Raise InputError if a recording has more events than are read."""
    if events > MAX_EVENTS:
        raise InputError(f"{name}: {events:,} events; at most {MAX_EVENTS:,} are read, so cut it")


def counted_on(t: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Times of a counter of 32 bits, which begins anew after 71 minutes: a step back by half of that or more is one forward.

    Parameters
    ----------
    t : int64 array (events,)
        In the order of the events.
    """
    return t + 2**32 * np.concatenate([[0], np.cumsum(np.diff(t) < -(2**31))])[: len(t)]

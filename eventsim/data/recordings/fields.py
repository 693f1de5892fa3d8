"""Which columns of a table are x, y, t and p, and what unit its times have."""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError

FIELDS = ("x", "y", "t", "p")
# Names that are common, the usual one first.
_NAMES = {
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "p": ("p", "ps", "pol", "polarity", "polarities"),
}
# Microseconds of a unit, as a fraction.
UNITS = {"s": (10**6, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}


@dataclass(frozen=True)
class Fields:
    """How the columns of arrays and HDF5 files are called.

    Attributes
    ----------
    names : dict of str to str
        By ``x``, ``y``, ``t``, ``p``; what is left out is found by common names.
    unit : str or None
        Of the times: a key of UNITS. None: microseconds if they are whole numbers, else seconds.
    """

    names: dict[str, str] = field(default_factory=dict)
    unit: str | None = None

    @classmethod
    def parsed(cls, text: str | None, unit: str | None = None) -> Fields:
        """From ``x=NAME,t=NAME,...`` as a user types it.

        Raises
        ------
        InputError
            It is none.
        """
        names: dict[str, str] = {}
        for pair in (text or "").split(",") if text else ():
            key, _, name = (part.strip() for part in pair.partition("="))
            if key not in FIELDS or not name or key in names:
                raise InputError(f"fields {(text or '')[:80]!a}: expected x=NAME,y=NAME,t=NAME,p=NAME, or some of them")
            names[key] = name
        return cls(names, unit)

    @property
    def text(self) -> str | None:
        """What :meth:`parsed` takes; None if no column has a name of its own."""
        return ",".join(f"{key}={name}" for key, name in self.names.items()) or None

    def chosen(self, there: Container[str], prefix: str = "") -> dict[str, str] | None:
        """The name of each column among those that are there; None if one is missing."""
        chosen = {}
        for key in FIELDS:
            given = [self.names[key]] if key in self.names else [prefix + name for name in _NAMES[key]]
            name = next((name for name in given if name in there), None)
            if name is None:
                return None
            chosen[key] = name
        return chosen

    def missing(self, there: Collection[str]) -> str:
        """What to say where columns are missing."""
        listed = ", ".join(sorted(there)[:12]) or "nothing"
        return f"no columns {', '.join(self.names.get(key, key) for key in FIELDS)} in it; it has {listed[:200]}; name them (--fields)"

    def microseconds(self, t: Any, name: str) -> Any:
        """Times in microseconds, rounded to the nearest (ties to even): int64, or an unsigned type as it is.

        Raises
        ------
        InputError
            They are no numbers.
        """
        unit = self.unit or ("us" if t.dtype.kind in "iu" else "s")
        times, per = UNITS[unit]
        if t.dtype.kind in "iu":
            if unit == "us":
                return t
            if len(t) and max(int(t.max()), -int(t.min())) >= 2**62 // times:
                raise InputError(f"{name}: times up to {t.max()} {unit}; a damaged recording, or of another unit (--time-unit)")
            return t.astype(np.int64) * times if per == 1 else _rounded_ratio(t.astype(np.int64), per)
        if t.dtype.kind != "f":
            raise InputError(f"{name}: times must be numbers, found {t.dtype}")
        with np.errstate(over="ignore"):
            wide = t.astype(np.float64) * times / per
        if not np.isfinite(wide).all() or np.any(np.abs(wide) >= 2**60):
            raise InputError(f"{name}: times that are no numbers, or thousands of years: damaged, or of another unit (--time-unit)")
        return np.rint(wide).astype(np.int64)


def _rounded_ratio(numbers: npt.NDArray[np.int64], per: int) -> npt.NDArray[np.int64]:
    """``numbers / per``, to the nearest whole number, ties to even: nanoseconds since 1970 are too large for floating-point numbers."""
    whole, rest = np.divmod(numbers, per)
    return whole + ((2 * rest > per) | ((2 * rest == per) & (whole % 2 == 1)))

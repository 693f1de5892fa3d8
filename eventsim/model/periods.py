"""Delays and refractory periods: numbers of steps, and the ticks that they become."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_PERIOD


def checked_period(value: float, name: str, what: str) -> float:
    """A number of steps.

    Raises
    ------
    NetworkError
        No number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not 0 <= value <= MAX_PERIOD:
        raise NetworkError(f"{name}: {what} must be a number of steps from 0 to {MAX_PERIOD:g}, found {value!r}")
    return float(value)


@lru_cache(2**12)
def ticks(period: float, resolution: int) -> int:
    """A delay or refractory period of so many steps in ticks: ``floor(period * R + 1/2)``, exactly.

    ``period`` is taken as the decimal number that it is written as: the float64 nearest to 0.35 is less than that, yet 0.35 steps of
    10 ticks are 4 ticks.
    """
    return math.floor(Fraction(repr(float(period))) * resolution + Fraction(1, 2))

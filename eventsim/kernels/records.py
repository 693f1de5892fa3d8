"""Records: numbers that belong together, by name, in arrays that compiled code can change."""

from __future__ import annotations

from typing import Any

import numpy as np


def record(names: str, kind: Any = np.int64) -> np.dtype[Any]:
    """The type of a record of numbers of one kind; ``names`` are separated by spaces.

    An array without dimensions, ``np.zeros((), record(...))``, is a single one: ``array[()]["name"]`` reads and writes it in compiled code.
    """
    return np.dtype([(name, kind) for name in names.split()])


def numbers_of(record: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The numbers (of 8 bytes) of a single record, as an array: to copy them as fields takes NumPy a hundred times as long."""
    return np.ndarray((record.nbytes >> 3,), np.int64, record)

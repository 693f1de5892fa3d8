"""Records: numbers that belong together, by name, in arrays that compiled code can change."""

from __future__ import annotations

from typing import Any

import numpy as np


def record(names: str, kind: Any = np.int64) -> np.dtype[Any]:
    """The type of a record of numbers of one kind; ``names`` are separated by spaces.

    An array without dimensions, ``np.zeros((), record(...))``, is a single one: ``array[()]["name"]`` reads and writes it in compiled code.
    """
    return np.dtype([(name, kind) for name in names.split()])


def copy_record(target: np.ndarray[Any, Any], source: np.ndarray[Any, Any]) -> None:
    """Copy a single record (of numbers of 8 bytes): NumPy's own way to do so, field by field, takes ten times as long."""
    np.ndarray((target.nbytes >> 3,), np.int64, target)[:] = np.ndarray((source.nbytes >> 3,), np.int64, source)

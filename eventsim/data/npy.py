"""NumPy's files that may come from anywhere: their headers are checked before anything is read."""

from __future__ import annotations

import os
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError

MAGIC = b"\x93NUMPY"


def npy_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type and order of an array, whose bytes follow.

    Raises
    ------
    InputError
        Not a readable array, or one that declares more than there is.
    """
    try:
        major, _ = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
        start = stream.tell()
        available = stream.seek(0, os.SEEK_END) - start
        stream.seek(start)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    except Exception as error:  # headers are Python literals, and whatever parsing one may raise is a damaged file
        raise InputError(f"{name}: not a readable .npy array ({' '.join(str(error).split())[:200]})") from None
    if dtype.hasobject:
        raise InputError(f"{name}: an array of objects, expected numbers")
    if dtype.subdtype is not None or not dtype.itemsize or min(shape, default=0) < 0 or size > available:
        raise InputError(f"{name}: a damaged array (declares {dtype} {shape}, holds {available} bytes)")
    return shape, dtype, fortran


def read_elements(stream: IO[bytes], start: int, dtype: np.dtype[Any], count: int, name: object) -> npt.NDArray[Any]:
    """So many elements from a place on, flat.

    Raises
    ------
    InputError
        There are fewer.
    """
    stream.seek(start)
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise InputError(f"{name}: a damaged array (cut short)")
    return np.frombuffer(data, dtype)

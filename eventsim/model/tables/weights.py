"""Weights: integers in the smallest type that holds them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError
from eventsim.model.limits import WEIGHT_LIMIT
from eventsim.model.values import IntArray

# Sums of integer products below this are exact in float64, so BLAS may do them.
_EXACT_IN_FLOAT64 = 2**53


def integer_weights(weights: npt.ArrayLike, what: str) -> IntArray:
    """Contiguous, in the smallest of int8, int16 and int32 that holds every value; not copied if it already is.

    Raises
    ------
    NetworkError
        The values are not integers (booleans and floats included) or exceed ``WEIGHT_LIMIT`` in magnitude.
    """
    array = np.asarray(weights)
    if array.dtype.kind not in "iu":
        raise NetworkError(f"{what}: weights must be integers, found {array.dtype}; scale and round them first")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if max(-low, high) > WEIGHT_LIMIT:
        raise NetworkError(f"{what}: weights reach {max(-low, high)}, the limit is {WEIGHT_LIMIT}")
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            break
    return np.ascontiguousarray(array, dtype=dtype)


def magnitude_of(weights: IntArray) -> int | None:
    """The magnitude that all weights share, None if they do not or if it is 0."""
    if not weights.size:
        return None
    first = abs(int(weights.flat[0]))
    if first == 0:
        return None
    # Two comparisons instead of abs(): no copy, and abs(int8(-128)) would wrap.
    return first if bool(np.all((weights == first) | (weights == -first))) else None


def product_dtype(values: IntArray, weights: IntArray) -> type:
    """The type in which every sum of products of values and weights (height, width, inputs, outputs) is exact, BLAS's if it will do.

    Raises
    ------
    NetworkError
        64 bits may not hold it.
    """
    largest = int(np.abs(values).max(initial=0)) * int(np.abs(weights.astype(np.int64)).max(initial=0))
    bound = largest * int(np.prod(weights.shape[:3]))
    if bound >= 2**62:
        raise NetworkError(f"conv2d: currents could reach {bound}, more than 64-bit integers hold; use smaller weights or inputs")
    return np.float64 if bound < _EXACT_IN_FLOAT64 else np.int64

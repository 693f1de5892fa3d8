"""Checks of what the kinds of populations have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_NEURONS, POTENTIAL_MAX
from eventsim.model.values import IntArray, Shape

PerChannel = npt.ArrayLike


def checked_shape(shape: int | Sequence[int], name: str) -> Shape:
    """A population's shape.

    Raises
    ------
    NetworkError
        Neither N nor (height, width, channels), or more neurons than any network has.
    """
    values = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if len(values) not in (1, 3) or any(not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1 for n in values):
        raise NetworkError(f"{name}: shape must be N or (height, width, channels) of positive whole numbers, found {shape!r}")
    result = tuple(int(n) for n in values)
    if int(np.prod(result, dtype=object)) > MAX_NEURONS:
        raise NetworkError(f"{name}: {result} are more than {MAX_NEURONS} neurons")
    return result


def checked_per_channel(values: PerChannel, shape: Shape, name: str, what: str, low: int, high: int = POTENTIAL_MAX) -> IntArray:
    """Integers in ``low..high``, one a channel: int64 (channels,), read-only.

    Raises
    ------
    NetworkError
        They are not.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise NetworkError(f"{name}: {what} must be one number or one per channel ({shape[-1]}), found rows of different lengths") from None
    if array.dtype.kind not in "iu":
        raise NetworkError(f"{name}: {what} must be integers, found {array.dtype}; scale and round them first")
    if array.shape not in ((), (1,), (shape[-1],)):
        raise NetworkError(f"{name}: {what} must be one number or one per channel ({shape[-1]}), found shape {array.shape}")
    if array.min() < low or array.max() > high:
        raise NetworkError(f"{name}: {what} must be in {low}..{high}, found {array.min()}..{array.max()}")
    # A view where all channels are alike: a file may declare many.
    return np.broadcast_to(array.astype(np.int64), (shape[-1],))


def checked_rates(rate: npt.ArrayLike, shape: Shape, name: str) -> npt.NDArray[np.float64]:
    """Poisson rates as a float64 array in the population's shape.

    Raises
    ------
    NetworkError
        Not a probability per neuron.
    """
    try:
        rates = np.asarray(rate)
    except ValueError:
        raise NetworkError(f"{name}: rates must be numbers") from None
    if rates.dtype.kind not in "biuf":
        raise NetworkError(f"{name}: rates must be numbers, found {rates.dtype}")
    rates = rates.astype(np.float64)
    if rates.shape != shape and rates.shape != ():
        raise NetworkError(f"{name}: rates must be one number or have the shape {shape}, found {rates.shape}")
    if not np.all((rates >= 0) & (rates <= 1)):
        raise NetworkError(f"{name}: rates are probabilities per step and must be in 0..1")
    return np.broadcast_to(rates, shape)

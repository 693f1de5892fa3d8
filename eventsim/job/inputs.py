"""What a run is given: an image, or by population currents, events or rates; checked, as integers."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError
from eventsim.model.limits import POTENTIAL_MAX
from eventsim.model.network import Network
from eventsim.model.populations import Population
from eventsim.model.tables import IntArray


def given_inputs(network: Network, inputs: Mapping[str, Any] | npt.ArrayLike | None) -> tuple[IntArray | None, dict[str, Any]]:
    """The image, as :func:`integer_image` makes it, and what is given to populations by name.

    Raises
    ------
    InputError
        The network takes no such image; there is no such population, or it takes no input.
    """
    if isinstance(inputs, np.ndarray):
        return integer_image(network, inputs), {}
    if inputs is None:
        return None, {}
    if isinstance(inputs, (str, PathLike)):
        raise InputError(
            f"found a {type(inputs).__name__}, expected an image as an array of uint8, or inputs by population; read files first"
        )
    if not isinstance(inputs, Mapping):
        try:
            pixels = np.asarray(inputs)
        except ValueError:
            raise InputError("rows of different lengths, expected an image as an array of uint8") from None
        return integer_image(network, pixels), {}
    for name in inputs:
        if name not in network.populations:
            raise InputError(f"input for {name!r}, but there is no such population; there are: {', '.join(network.populations)}")
        if network.populations[name].input_kind is None and not network.populations[name].is_clock:
            raise InputError(f"input for {name!r}, but it is a {network.populations[name].kind} population and takes none")
    return None, dict(inputs)


def integer_image(network: Network, pixels: npt.NDArray[Any]) -> IntArray:
    """The network's input from an image: ``scale * pixel - offset``, int64, in the input's shape.

    Raises
    ------
    InputError
        The network takes no image, or the image has another shape or type than (height, width, channels) of uint8.
    """
    spec = network.input
    if spec is None:
        raise InputError("this network takes no image; give its populations' input by name")
    if pixels.shape == spec.shape[:2] and spec.shape[2] == 1:
        pixels = pixels[..., None]
    if pixels.shape != spec.shape:
        raise InputError(f"the network takes an image of shape {spec.shape} (height, width, channels), found {pixels.shape}")
    if pixels.dtype.kind not in "iu":
        raise InputError(
            f"the network takes pixels as whole numbers 0..255, found {pixels.dtype}; multiply by 255 and round if they are 0..1"
        )
    if pixels.dtype != np.uint8 and pixels.size and (pixels.min() < 0 or pixels.max() > 255):
        raise InputError(f"the network takes pixels 0..255, found {pixels.min()}..{pixels.max()}")
    return spec.integers(pixels)


def given_currents(name: str, population: Population, given: Any) -> tuple[IntArray, int]:
    """Currents per step, int32 (neurons,), and their largest magnitude.

    Raises
    ------
    InputError
        They are no integers of the population's shape, or do not fit 32 bits.
    """
    try:
        array = np.asarray(given)
    except ValueError:
        raise InputError(f"{name}: currents must be integers of shape {population.shape}, found rows of different lengths") from None
    if array.dtype.kind not in "iu" or array.shape not in (population.shape, (population.size,)):
        raise InputError(f"{name}: currents must be integers of shape {population.shape}, found {array.dtype} {array.shape}")
    largest = max(-int(array.min(initial=0)), int(array.max(initial=0)))
    if largest > POTENTIAL_MAX:
        raise InputError(f"{name}: currents must fit 32 bits")
    return np.ascontiguousarray(array.ravel(), np.int32), largest

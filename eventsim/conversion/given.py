"""What a conversion is given beside the network, checked: images, normalisation, labels. What is probably meant otherwise is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.conversion.graph import Graph, Input
from eventsim.conversion.lowering import Array
from eventsim.errors import ConversionError
from eventsim.job.job import MAX_STEPS

# Of means and standard deviations that a network's input is normalised by.
_LARGEST_SHIFT = 1e6
# Of pixels in 0..1 no mean is larger, and no standard deviation nearly so large; those of pixels in 0..255 are.
_LARGEST_MEAN = 2.0
_LARGEST_DEVIATION = 10.0


def checked_images(given: npt.ArrayLike | None) -> npt.NDArray[np.uint8] | None:
    """Calibration images, uint8 (n, height, width, channels).

    Raises
    ------
    ConversionError
        Values or a layout that the network's input has not; the message says what to do about it.
    """
    if given is None:
        return None
    images = np.asarray(given)
    expected = f"calibration images must be uint8 (n, height, width, channels), found {images.dtype} {images.shape}"
    if images.dtype.kind == "f" and images.size and images.min() >= 0 and images.max() <= 1:
        raise ConversionError(f"{expected} in 0..1; give (images * 255).round().astype(numpy.uint8)")
    if images.dtype.kind in "iu" and images.dtype != np.uint8 and images.size and images.min() >= 0 and images.max() <= 255:
        raise ConversionError(f"{expected} within 0..255; give images.astype(numpy.uint8)")
    if images.dtype == np.uint8 and images.ndim == 3:
        raise ConversionError(f"{expected}; give images[..., None] if they are grey, image[None] if it is a single one")
    if images.dtype == np.uint8 and images.ndim == 2:
        raise ConversionError(f"{expected}; give vectors[:, None, None, :]")
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise ConversionError(f"{expected}; pixels are 0..255, before any normalisation (see mean and std)")
    if images.max() == 1:
        raise ConversionError(
            "calibration images whose largest pixel is 1: pixels are 0..255; were they scaled to 0..1 before they became uint8?"
        )
    return images


def check_layout(images: npt.NDArray[np.uint8]) -> None:
    """Refuse images that nothing says the shape of, and that have their channels where most software has them.

    Raises
    ------
    ConversionError
        The message says what to do about it.
    """
    _, first, second, third = images.shape
    if first in (1, 3) and second == third and second > 4:
        shape = (third, first, second)
        raise ConversionError(
            f"calibration images must be uint8 (n, height, width, channels), found {images.shape}, which looks like channels first; give "
            f"images.transpose(0, 2, 3, 1), or the input's shape if it is {shape} (input_shape, --input-shape)"
        )


def checked_shape(given: Sequence[int] | None, images: npt.NDArray[np.uint8] | None) -> Sequence[int] | None:
    """The shape of a module's input, as it is given or that of the images; None where neither is there.

    (channels, height, width), (channels, length) or (features,).

    Raises
    ------
    ConversionError
        The images have another one.
    """
    if images is None:
        return given
    height, width, channels = images.shape[1:]
    if given is None:
        return channels, height, width
    fewer = {(channels,) if height == width == 1 else (), (channels, width) if height == 1 else ()}
    if tuple(given) == (channels, height, width) or tuple(given) in fewer:
        return given
    raise ConversionError(
        f"the input's shape is {tuple(given)}, that of the calibration images (channels, height, width) = {(channels, height, width)}"
    )


def checked_percentile(percentile: float) -> float:
    """In percent.

    Raises
    ------
    ConversionError
        It is not, or looks like a share.
    """
    if not 0 < percentile <= 100:
        raise ConversionError(f"the percentile must be above 0 and at most 100, found {percentile}")
    if percentile < 1:
        raise ConversionError(f"a percentile is in percent: {percentile} would cut off nearly all activations; give {100 * percentile:g}")
    return percentile


def checked_labels(labels: Sequence[str], outputs: int) -> list[str]:
    """Names of the outputs, or none.

    Raises
    ------
    ConversionError
        There are others than outputs.
    """
    if isinstance(labels, str):
        raise ConversionError(f"labels are a list of names, one for each of the {outputs} outputs; found the text {labels!r}")
    names = [str(label) for label in labels]
    if names and len(names) != outputs:
        raise ConversionError(f"{len(names)} labels for {outputs} outputs; give one for each, or none")
    return names


def checked_steps(steps: int) -> int:
    """Length of a run.

    Raises
    ------
    ConversionError
        No whole number, or none that a run can have.
    """
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or not 1 <= steps <= MAX_STEPS:
        raise ConversionError(f"steps must be a whole number in 1..{MAX_STEPS}, found {steps!r}")
    return int(steps)


def checked_input(graph: Graph, images: npt.NDArray[np.uint8] | None) -> tuple[int, ...]:
    """Shape of a network's input, (channels, height, width) or (features,).

    Raises
    ------
    ConversionError
        It has none, or the calibration images have another one.
    """
    shapes = [node.shape for node in graph.nodes if isinstance(node.operator, Input)]
    if not shapes:
        raise ConversionError("the network is empty")
    shape = shapes[0]
    if len(shape) not in (1, 3):
        raise ConversionError(
            f"an input of shape {shape}, expected (channels, height, width) or (features,); (channels, length) is an image of one row"
        )
    expected = (*shape[1:], shape[0]) if len(shape) == 3 else (1, 1, *shape)
    if images is not None and images.shape[1:] != expected:
        advice = "; give images.transpose(0, 2, 3, 1)" if images.shape[1:] == shape else ""
        raise ConversionError(f"the network takes images of shape {expected}, the calibration images have {images.shape[1:]}{advice}")
    return shape


def normalisation(channels: int, mean: Sequence[float] | float, std: Sequence[float] | float) -> tuple[Array, Array]:
    """``value = factor * pixel + shift`` of pixels 0..255: (factor, shift), each () or (channels,).

    Raises
    ------
    ConversionError
        Numbers that are not finite, too many, out of range, or probably those of pixels in 0..255.
    """
    middle, deviation = _per_channel("mean", mean, channels), _per_channel("std", std, channels)
    if deviation.min() < 1 / _LARGEST_SHIFT or max(deviation.max(), np.abs(middle).max()) > _LARGEST_SHIFT:
        raise ConversionError(
            f"std must be within {1 / _LARGEST_SHIFT:g}..{_LARGEST_SHIFT:g} and the mean within +-{_LARGEST_SHIFT:g} (pixels are 0..1), "
            f"found {std} and {mean}"
        )
    if middle.max() > _LARGEST_MEAN or deviation.max() > _LARGEST_DEVIATION:
        raise ConversionError(
            f"a mean of {mean} and a std of {std}: the network's input is (pixel / 255 - mean) / std, so those of pixels in 0..255 have to "
            "be divided by 255"
        )
    return 1 / (255 * deviation), -middle / deviation


def _per_channel(name: str, values: Any, channels: int) -> Array:
    """One number, or one per channel: float64."""
    array = np.asarray(values, np.float64)
    if array.shape not in ((), (1,), (channels,)) or not np.isfinite(array).all():
        raise ConversionError(f"{name} must be a finite number, or {channels} of them, one per channel; found {values}")
    return array

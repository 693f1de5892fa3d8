"""Where synapses lead: shapes of populations, the reach of a convolution along an axis, and the two forms that compiled code takes.

Neurons of a (height, width, channels) population are numbered row by row, channel last:
``neuron = (y * width + x) * channels + channel``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_AXIS_PAIRS
from eventsim.model.values import IntArray, Shape


def spatial(shape: Shape) -> tuple[int, int, int]:
    """A population's shape as (height, width, channels); N neurons in a row are N channels of one location."""
    return (1, 1, shape[0]) if len(shape) == 1 else (shape[0], shape[1], shape[2])


def check_pairs(kind: str, positions: int, taps: int) -> None:
    """Raise NetworkError if a kernel has more taps along an axis, over so many positions, than there is memory for."""
    if positions * taps > MAX_AXIS_PAIRS:
        raise NetworkError(f"{kind}: {taps} taps for {positions} positions, the limit is {MAX_AXIS_PAIRS} pairs")


def pair(value: Any, what: str, least: int) -> tuple[int, int]:
    """(rows, columns) from one number or two."""
    values = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value, value)
    if len(values) != 2 or any(not isinstance(v, (int, np.integer)) or isinstance(v, bool) or v < least for v in values):
        raise NetworkError(f"{what} must be one or two whole numbers of at least {least}, found {value!r}")
    return int(values[0]), int(values[1])


@dataclass(frozen=True)
class Axis:
    """Where the source positions of a convolution reach along one axis, pooling fused in.

    All arrays have one entry per source position; an entry with ``count`` 0 reaches nothing.

    Attributes
    ----------
    first : int32 array
        First target position reached.
    count : int32 array
        Number of target positions reached, ``step`` from each to the next.
    tap : int32 array
        Fused tap that reaches ``first``; the next target positions use ``tap - stride``, ``tap - 2 * stride``, ...
    synapses : int64 array
        Taps before pooling is fused, borders exact.
    toolbox : int64 array
        Taps as the SNN Toolbox counts them.
    kernel, stride : int
        Of the fused stencil.
    step : int
        Target positions from one that is reached to the next: more than 1 if the convolution is dilated.
    """

    first: IntArray
    count: IntArray
    tap: IntArray
    synapses: IntArray
    toolbox: IntArray
    kernel: int
    stride: int
    step: int = 1


class Stencil(NamedTuple):
    """A table as one convolution with its pooling fused in, for compiled code.

    Attributes
    ----------
    weights : integer array, shape (kernel rows, kernel columns, input channels, output channels)
    rows, columns : Axis
        The reach of source rows and of source columns, with the counts of the table that it was made from.
    target : (height, width, channels)
        Of the target population as this convolution sees it: all neurons at one location if it reaches all of them alike.
    begins : int64 array, shape (input channels,), optional
        Of each input channel, the target channel of its first output channel (the others are the next ones); -1 if it reaches nothing,
        and its weights are 0. None: 0 for all.
    """

    weights: IntArray
    rows: Axis
    columns: Axis
    target: tuple[int, int, int]
    begins: IntArray | None = None


class Rows(NamedTuple):
    """A table as compressed sparse rows, for compiled code: a row a source neuron, target neurons ascending within it.

    Attributes
    ----------
    indptr : int64 array, shape (source neurons + 1,)
    targets : int32 array, shape (synapses,)
    weights : integer array, shape (synapses,)
    """

    indptr: IntArray
    targets: IntArray
    weights: IntArray


def axis(n_source: int, n_target: int, kernel: int, stride: int, pad: int, before: int, after: int, unit_strides: bool) -> Axis:
    """The reach along one axis of a convolution with a kernel, stride and padding before, and pools before and after it.

    ``unit_strides`` says whether the strides of both axes are 1, which the toolbox's counts depend on.
    """
    fused_kernel, fused_stride = kernel + stride * (after - 1), stride * after
    position = np.arange(n_source, dtype=np.int64) // before
    exists = position < n_source // before
    reach = position + pad
    first = np.maximum(0, -((fused_kernel - 1 - reach) // fused_stride))
    last = np.minimum(n_target - 1, reach // fused_stride)
    # Outputs of the convolution c with 0 <= reach - stride * c < kernel, before pooling.
    first_output = np.maximum(0, -((kernel - 1 - reach) // stride))
    last_output = np.minimum(n_target * after - 1, reach // stride)
    synapses = np.where(exists, np.maximum(0, last_output - first_output + 1), 0)
    # A stride beyond the kernel leaves holes in the fused stencil: a position that falls into one reaches nothing.
    count = np.where(synapses > 0, np.maximum(0, last - first + 1), 0)
    if unit_strides:
        # The toolbox gives every neuron the whole kernel, at the border too, but only if both strides are 1.
        toolbox = np.full(n_source, kernel, dtype=np.int64)
    else:
        # _get_fanout_array_2D: the nearest output always counts, further ones only inside the layer.
        toolbox = np.ones(n_source, dtype=np.int64)
        for i in range(1, (kernel - 1) // stride + 1):
            output = reach // stride - i
            toolbox += (reach % stride + i * stride < kernel) & (output >= 0) & (output < n_target * after)
    return Axis(
        first=np.where(count > 0, first, 0).astype(np.int32),
        count=count.astype(np.int32),
        tap=np.where(count > 0, reach - fused_stride * first, 0).astype(np.int32),
        synapses=synapses.astype(np.int64),
        toolbox=toolbox,
        kernel=fused_kernel,
        stride=fused_stride,
    )


def summed(values: IntArray, window: tuple[int, int]) -> IntArray:
    """Sums over windows of (height, width, channels) values; an incomplete window at the end is dropped."""
    height, width, channels = values.shape
    by, bx = window
    whole = values[: height // by * by, : width // bx * bx]
    return whole.reshape(height // by, by, width // bx, bx, channels).sum((1, 3))

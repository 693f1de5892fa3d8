"""Compiled code for the currents that an image makes in driven neurons: an exact integer convolution."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels import simd_pairs
from eventsim.kernels.compiled import compiled


class Geometry(NamedTuple):
    """The sizes of a convolution."""

    rows: int  # target locations
    columns: int
    row_step: int  # places in the padded image from a target location to the next one
    column_step: int
    channels: int  # of the target
    block: int  # channels that are computed at a time: 64 or 32
    blocks: int
    padded: int  # places of the padded image


class Convolution(NamedTuple):
    """A table as a convolution, for :func:`convolve`.

    The image is summed over the windows of the pool before the table, and padded. A location of the target takes what it sees two values
    at a time, and multiplies them by their weights for a block of channels (see :mod:`eventsim.kernels.simd_pairs`).
    """

    geometry: Geometry
    place: Any  # int32: where each value of the image is added in the padded one; the last place is for those that nobody sees
    pairs: Any  # int32: where the pairs of a location's values lie, from its first one on
    numbers: Any  # int32: 0, 1, ... as many
    weights: Any  # int8 or int16 (blocks, pairs, channels of a block, 2)
    bias: Any  # int32 (channels, in whole blocks)


@compiled
def convolve(image, fan_out, of, padded, chosen, out):
    """The currents that an image makes.

    Parameters
    ----------
    image : int64 array (values,)
    fan_out : int64 array (values,)
        Synapses of each value whose weights are not 0.
    of : Convolution
    padded : int16 array (geometry.padded,)
        Zeros; overwritten.
    chosen : int32 array (2, pairs)
        Room to work in.
    out : int32 array
        Takes the currents; behind them there has to be room for whole blocks.

    Returns
    -------
    largest : int64
        The largest magnitude of a value. Where that says that values, pooled, do not fit int16, or sums int32, currents are wrong.
    effective : int64
        The total fan-out of values that are not 0.
    current : int64
        The largest magnitude of a current.
    """
    g, pairs, numbers = of.geometry, of.pairs, of.numbers
    least = largest = effective = np.int64(0)
    for i in range(len(image)):
        least, largest = min(least, image[i]), max(largest, image[i])
        effective += fan_out[i] if image[i] else 0
    for i in range(len(image)):
        padded[of.place[i]] += np.int16(image[i])
    n = len(pairs)
    if g.rows * g.columns == 1:
        # Many inputs of a dense table may be 0.
        n = 0
        for k in range(len(pairs)):
            chosen[0, n], chosen[1, n] = pairs[k], k
            n += (padded[pairs[k]] | padded[pairs[k] + 1]) != 0
        pairs, numbers = chosen[0], chosen[1]
    block, size = g.block, np.int64(0)
    for row in range(g.rows):
        for column in range(g.columns):
            at = row * g.row_step + column * g.column_step
            for b in range(g.blocks):
                lane, j = b * block, b * block * 2 * len(of.pairs)
                if block == 64:
                    simd_pairs.multiply_64(padded, at, pairs, numbers, n, of.weights, j, of.bias, lane, out, size + lane)
                else:
                    simd_pairs.multiply_32(padded, at, pairs, numbers, n, of.weights, j, of.bias, lane, out, size + lane)
            size += g.channels
    lowest = highest = np.int32(0)
    for i in range(size):
        lowest, highest = min(lowest, out[i]), max(highest, out[i])
    return max(-least, largest), effective, max(-np.int64(lowest), np.int64(highest))

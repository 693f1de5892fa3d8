"""Compiled code for the currents that an image makes in driven neurons: an exact integer convolution."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels import simd_pairs
from eventsim.kernels.compiled import compiled

# Places in Convolution.scalars; the steps are those of a location in the padded image, PADDED is how many values that has.
ROWS, COLUMNS, ROW_STEP, COLUMN_STEP, CHANNELS, BLOCK, BLOCKS, PADDED = range(8)


class Convolution(NamedTuple):
    """A table as a convolution, for :func:`convolve`.

    The image is summed over the windows of the pool before the table, and padded. A location of the target takes what it sees two values
    at a time, and multiplies them by their weights for a block of channels (see :mod:`eventsim.kernels.simd_pairs`).
    """

    scalars: Any  # int64
    place: Any  # int32: where each value of the image is added in the padded one; the last place is for those that nobody sees
    pairs: Any  # int32: where the pairs of a location's values lie, from its first one on
    numbers: Any  # int32: 0, 1, ... as many
    weights: Any  # int8 or int16 (blocks, pairs, channels of a block, 2)
    bias: Any  # int32 (channels, in whole blocks)


@compiled
def convolve(image, fan_out, of, padded, chosen, out):
    """The currents that an image makes (int32), in ``out``, behind which there has to be room for whole blocks.

    Returns the largest magnitude of a value, the total fan-out of values that are not 0, and the largest magnitude of a current. Where the
    first one says that values, pooled, do not fit int16, or sums int32, currents are wrong. ``padded`` (int16) begins as zeros; ``chosen``
    (int32) is room for two numbers a pair.
    """
    s, pairs, numbers = of.scalars, of.pairs, of.numbers
    least = largest = effective = np.int64(0)
    for i in range(len(image)):
        least, largest = min(least, image[i]), max(largest, image[i])
        effective += fan_out[i] if image[i] else 0
    for i in range(len(image)):
        padded[of.place[i]] += np.int16(image[i])
    n = len(pairs)
    if s[ROWS] * s[COLUMNS] == 1:
        # Many inputs of a dense table may be 0.
        n = 0
        for k in range(len(pairs)):
            chosen[0, n], chosen[1, n] = pairs[k], k
            n += (padded[pairs[k]] | padded[pairs[k] + 1]) != 0
        pairs, numbers = chosen[0], chosen[1]
    block, size = s[BLOCK], np.int64(0)
    for row in range(s[ROWS]):
        for column in range(s[COLUMNS]):
            at = row * s[ROW_STEP] + column * s[COLUMN_STEP]
            for b in range(s[BLOCKS]):
                lane, j = b * block, b * block * 2 * len(of.pairs)
                if block == 64:
                    simd_pairs.multiply_64(padded, at, pairs, numbers, n, of.weights, j, of.bias, lane, out, size + lane)
                else:
                    simd_pairs.multiply_32(padded, at, pairs, numbers, n, of.weights, j, of.bias, lane, out, size + lane)
            size += s[CHANNELS]
    lowest = highest = np.int32(0)
    for i in range(size):
        lowest, highest = min(lowest, out[i]), max(highest, out[i])
    return max(-least, largest), effective, max(-np.int64(lowest), np.int64(highest))

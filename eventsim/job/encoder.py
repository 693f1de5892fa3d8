"""Currents of driven populations: the exact integer convolution of an image, compiled, once per image."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.kernels.compiled import entry
from eventsim.kernels.convolve import Convolution, Geometry, convolve
from eventsim.kernels.stencils import aligned
from eventsim.model.tables import Conv2d, IntArray, Shape, Table, spatial

# Weights, and values of a pooled image, from here on take the table's own NumPy code; and so many places of a padded image.
_LIMIT, PLACES = 2**15, 2**31


class Encoder:
    """A driven population's table, ready for many images.

    Parameters
    ----------
    table : Table
    bias : int array
        Of each channel of the population.
    source, target : tuple of int
        Shapes of the input and of the population.
    """

    def __init__(self, table: Table, bias: IntArray, source: Shape, target: Shape):
        self._table, self._target = table, target
        self._bias = np.array(bias, np.int64)
        self._effective = table.effective_fan_out(source, target)
        self._code: Any = None
        self._convolution: Convolution | None = None
        conv = table.as_conv(source)
        if conv is None:
            return
        # One location, whatever the shape of the population, for a dense table.
        target = conv.output_shape(source)
        bias = np.resize(self._bias, target[2])
        # Times the largest value of an image: no value of the pooled image is larger, and no current (less its bias) than the second one.
        self._pooled = conv.pool_before[0] * conv.pool_before[1]
        weights = conv.weights if conv.pool_after == (1, 1) else conv.fused()
        magnitude = np.abs(weights.astype(np.int64))
        self._most = int(magnitude.sum((0, 1, 2)).max()) * self._pooled
        self._largest_bias = int(np.abs(bias).max())
        if magnitude.max() < _LIMIT and self._largest_bias < 2**31:
            self._convolution = _lay_out(conv, weights, bias, spatial(source), spatial(target))
        if self._convolution is not None:
            geometry = self._convolution.geometry
            self._padded, self._size = geometry.padded, int(np.prod(target))
            # Whole blocks are written: up to so many places more.
            self._room = self._size + geometry.block * geometry.blocks - geometry.channels

    def apply(self, image: IntArray) -> tuple[IntArray, int, int]:
        """What an image of integers (int64) makes, bias included.

        Returns the currents (one per neuron; int32, or int64 if 32 bits may be too few), the largest magnitude of one, and the synapses
        whose weight and value are not zero.
        """
        # Compiled code takes no other type, and does not look.
        values = image.astype(np.int64, copy=False).ravel()
        of = self._convolution
        if of is not None:
            out = np.empty(self._room, np.int32)
            chosen = np.empty((2, len(of.pairs)), np.int32)
            arguments = values, self._effective, of, np.zeros(self._padded, np.int16), chosen, out
            if self._code is None:
                self._code = entry(convolve, arguments)
            value, effective, largest = self._code(*arguments)
            if value * self._pooled < _LIMIT and value * self._most + self._largest_bias < 2**31:
                return out[: self._size], largest, effective
        currents = self._table.apply(image, self._target).reshape(-1, len(self._bias)) + self._bias
        effective = int(self._effective[values != 0].sum())
        return currents.ravel(), max(-int(currents.min()), int(currents.max())), effective


def _lay_out(conv: Conv2d, weights: IntArray, bias: IntArray, source: Shape, target: Shape) -> Convolution | None:
    """A convolution for :func:`convolve`, None if it needs too large an image; ``weights`` are those with the pool after it summed in."""
    (rows, columns, channels, outputs), (by, bx), (top, left) = weights.shape, conv.pool_before, conv.padding[:2]
    stride_y, stride_x = (stride * pool for stride, pool in zip(conv.stride, conv.pool_after, strict=True))
    height, width = (target[0] - 1) * stride_y + rows, (target[1] - 1) * stride_x + columns
    # A place for what nobody sees, and one that makes a pair with the last value.
    padded = height * width * channels + 2
    if padded > PLACES:
        return None
    y, x = np.arange(source[0]) // by, np.arange(source[1]) // bx
    # Nobody sees what is beyond the last location, or in an incomplete window of the pool.
    seen = np.outer((y + top < height) & (y < source[0] // by), (x + left < width) & (x < source[1] // bx))
    location = np.where(seen, np.add.outer((y + top) * width, x + left), height * width)
    place = location[..., None] * channels + np.arange(channels) * seen[..., None]
    if columns == width:
        # Nothing lies between the rows that a location sees.
        rows, columns = 1, rows * columns
    run = columns * channels
    of_row = -(-run // 2)
    block = next(lanes for lanes in (64, 32) if -(-outputs // 32) * 32 % lanes == 0)
    blocks = -(-outputs // block)
    small = weights.min() >= -128 and weights.max() <= 127
    laid_out: IntArray = np.zeros((rows, 2 * of_row, blocks * block), np.int8 if small else np.int16)
    laid_out[:, :run, :outputs] = weights.reshape(rows, run, outputs)
    laid_out = laid_out.reshape(rows, of_row, 2, blocks, block).transpose(3, 0, 1, 4, 2)
    lanes = np.zeros(blocks * block, np.int32)
    lanes[:outputs] = bias
    pairs = np.add.outer(np.arange(rows) * width * channels, 2 * np.arange(of_row))
    return Convolution(
        Geometry(target[0], target[1], stride_y * width * channels, stride_x * channels, outputs, block, blocks, padded),
        place.astype(np.int32).ravel(),
        pairs.astype(np.int32).ravel(),
        np.arange(pairs.size, dtype=np.int32),
        aligned(laid_out, laid_out.dtype),
        lanes,
    )

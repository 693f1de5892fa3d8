"""Currents of driven populations: the exact integer convolution of an image, compiled, once per image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from eventsim.compile import FIRST_LANE, ROWS, RUN, TAP, aligned, aligned_zeros, padded_stencil
from eventsim.engines import simd
from eventsim.engines.simd import LANES
from eventsim.tables import Dense, IntArray, Shape, Sparse, Table, spatial


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
        self._most, self._largest_bias = 0, int(np.abs(self._bias).max())
        if not isinstance(table, Sparse):
            if isinstance(table, Dense) and table.pool_before == (1, 1):
                source = (int(np.prod(source)),)  # it does not matter where its inputs lie
            self._channels, channels = spatial(source)[2], spatial(target)[2]
            self._padded = -(-channels // LANES) * LANES
            weights, records, self._steps = padded_stencil(table, source, target, self._padded)
            self._weights, self._records = aligned(weights, weights.dtype), records.reshape(-1, records.shape[-1])
            self._size = int(np.prod(target))
            self._lanes = self._size // channels * self._padded
            # The largest sum of |weights| that reaches one target.
            self._most = int(np.abs(weights.reshape(-1, self._padded).astype(np.int64)).sum(0).max())

    def apply(self, image: IntArray) -> tuple[IntArray, int, int]:
        """What an image of integers (int64) makes, bias included.

        Returns the currents (one per neuron; int32, or int64 if 32 bits may be too few), the largest magnitude of one, and the synapses
        whose weight and value are not zero.
        """
        pixels = image.ravel()
        least, most, effective = map(int, survey(pixels, self._effective))
        largest = max(-least, most)
        if isinstance(self._table, Sparse) or largest * self._most + self._largest_bias >= 2**31:
            out = self._table.apply(image, self._target).reshape(-1, len(self._bias)) + self._bias
            return out.ravel(), max(-int(out.min()), int(out.max())), effective
        sums = aligned_zeros(self._lanes, np.int32)
        values = pixels.astype(np.int32 if largest >= 2**15 else np.uint16 if least == 0 else np.int16)
        accumulate(values, self._channels, self._records, self._weights, *self._steps, sums)
        return sums[: self._size], finish(sums, self._padded, self._bias.astype(np.int32)), effective


@njit(cache=True, _nrt=False, nogil=True)  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def survey(values: Any, fan_out: Any) -> Any:
    """(least value or 0, largest or 0, total fan-out of those that are not 0)."""
    least = largest = total = np.int64(0)
    for i in range(len(values)):
        least, largest = min(least, values[i]), max(largest, values[i])
        total += fan_out[i] if values[i] else 0
    return least, largest, total


@njit(cache=True, _nrt=False, nogil=True)  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def finish(sums: Any, padded: int, bias: Any) -> Any:
    """Move sums together where there is padding between them, and add the bias (int32, as the sums); returns the largest magnitude."""
    least, largest, channels, place = np.int32(0), np.int32(0), len(bias), 0
    for start in range(0, len(sums), padded):
        for channel in range(channels):
            # In 32 bits, which are enough: 64 would halve the vectors.
            current = np.int32(simd.peek(sums, start + channel) + simd.peek(bias, channel))
            least, largest = min(least, current), max(largest, current)
            simd.poke(sums, start + channel, current)
        if place < start:
            for channel in range(channels):
                simd.poke(sums, place + channel, simd.peek(sums, start + channel))
        place += channels
    return max(-np.int64(least), np.int64(largest))


@njit(cache=True, _nrt=False, nogil=True)  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def _add_four(
    out: Any, record: Any, weights: Any, row_step: int, tap_step: int, a: int, fa: Any, b: int, fb: Any, c: int, fc: Any, d: int, fd: Any
) -> None:
    """Add four inputs of a location to its targets: where their weights lie, and their values."""
    lane = record[FIRST_LANE]
    for row in range(record[ROWS]):
        up = row * tap_step
        for k in range(0, record[RUN], LANES):
            simd.add_scaled_rows(out, lane + k, weights, a - up + k, fa, b - up + k, fb, c - up + k, fc, d - up + k, fd)
        lane += row_step


@njit(cache=True, _nrt=False, nogil=True)  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def accumulate(values: Any, channels: int, records: Any, weights: Any, row_step: int, tap_step: int, channel_step: int, out: Any) -> None:
    """Add value times weight over all synapses (see :func:`eventsim.compile.padded_stencil`)."""
    # Where the weights of the last four inputs lie, and their values.
    a = b = c = d = np.int64(0)
    fa = fb = fc = fd = nothing = values.dtype.type(0)
    for location in range(len(values) // channels):
        record, found = records[location], 0
        for channel in range(channels):
            value = values[location * channels + channel]
            if value == 0:
                continue
            # Inputs of one location reach the same targets: four of them at a time.
            a, b, c, d = b, c, d, channel * channel_step + record[TAP]
            fa, fb, fc, fd = fb, fc, fd, value
            found += 1
            if found == 4:
                found = 0
                _add_four(out, record, weights, row_step, tap_step, a, fa, b, fb, c, fc, d, fd)
        if found == 1:
            lane = record[FIRST_LANE]
            for row in range(record[ROWS]):
                for k in range(0, record[RUN], LANES):
                    simd.add_scaled(out, lane + k, weights, d - row * tap_step + k, fd)
                lane += row_step
        elif found:
            # Two or three are left; nothing times the last one makes up for the others.
            a, fa = d, nothing
            if found == 2:
                b, fb = d, nothing
            _add_four(out, record, weights, row_step, tap_step, a, fa, b, fb, c, fc, d, fd)

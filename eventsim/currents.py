"""Currents of driven populations: the exact integer convolution of an image, compiled, once per image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from eventsim.compile import FIRST_LANE, ROWS, RUN, TAP, aligned, padded_stencil
from eventsim.engines import simd
from eventsim.engines.simd import LANES
from eventsim.tables import IntArray, Shape, Sparse, Table, spatial


class Encoder:
    """A driven population's table, ready for many images.

    Parameters
    ----------
    table : Table
    source, target : tuple of int
        Shapes of the input and of the population.
    """

    def __init__(self, table: Table, source: Shape, target: Shape):
        self._table, self._target = table, target
        self._effective = table.effective_fan_out(source, target)
        self._most = 0
        if not isinstance(table, Sparse):
            channels = spatial(target)[2]
            self._padded = -(-channels // LANES) * LANES
            weights, records, self._steps = padded_stencil(table, source, target, self._padded)
            self._weights, self._records = aligned(weights, weights.dtype), records.reshape(-1, records.shape[-1])
            self._lanes = int(np.prod(target)) // channels * self._padded
            # The largest sum of |weights| that reaches one target.
            self._most = int(np.abs(weights.reshape(-1, self._padded).astype(np.int64)).sum(0).max())

    def apply(self, image: IntArray) -> IntArray:
        """The table's exact output for an image of integers: int64, flat, one value per neuron; as the table's own ``apply``."""
        if isinstance(self._table, Sparse) or int(np.abs(image).max(initial=0)) * self._most >= 2**31:
            return self._table.apply(image, self._target)
        out = aligned(np.zeros(self._lanes, np.int32), np.int32)
        channels = spatial(image.shape)[2]
        accumulate(np.ascontiguousarray(image, np.int32).ravel(), channels, self._records, self._weights, *self._steps, out)
        return out.reshape(-1, self._padded)[:, : self._target[-1]].astype(np.int64).ravel()

    def effective(self, image: IntArray) -> int:
        """Synapses whose weight and input value are not zero."""
        return int(self._effective @ (image.ravel() != 0))


@njit(cache=True, _nrt=False, nogil=True)  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def accumulate(values: Any, channels: int, records: Any, weights: Any, row_step: int, tap_step: int, channel_step: int, out: Any) -> None:
    """Add value times weight over all synapses (see :func:`eventsim.compile.padded_stencil`)."""
    for neuron in range(len(values)):
        value = values[neuron]
        if value == 0:
            continue
        location = neuron // channels
        lane, run = records[location, FIRST_LANE], records[location, RUN]
        w = (neuron - location * channels) * channel_step + records[location, TAP]
        for _ in range(records[location, ROWS]):
            for k in range(0, run, LANES):
                simd.add_scaled(out, lane + k, weights, w + k, value)
            lane += row_step
            w -= tap_step

"""Vector operation of the integer convolution of an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.kernels.compiled import part
from eventsim.kernels.vector import converted, load, pair_sums, peek, repeated, store


def _multiplier(lanes: int) -> Any:
    pairs = 2 * lanes

    @part
    def multiply(values, at, places, rows, n, weights, j, bias, lane, out, o):
        """``out[o] = bias[lane] + sum over k < n of values[at + places[k]] * w[0] + values[at + places[k] + 1] * w[1]``, on so many lanes.

        The two weights (int8 or int16) of lane l for pair k are at ``weights[j + 2 * (rows[k] * lanes + l)]``. ``values`` are int16,
        ``places`` and ``rows`` int32, ``bias`` and ``out`` int32; sums wrap.
        """
        sums = load(bias, lane, lanes)
        for k in range(n):
            both = repeated(load(values, at + np.int64(peek(places, k)), 2), pairs)
            weight = load(weights, j + np.int64(peek(rows, k)) * pairs, pairs)
            sums = sums + pair_sums(converted(weight, both), both)
        store(out, o, sums)

    return multiply


multiply_32, multiply_64 = (_multiplier(lanes) for lanes in (32, 64))

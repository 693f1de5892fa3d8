"""Chance that is the same on every machine: a number below 2**32 of a seed, a neuron and how many spikes it had. All integers int64.

``mix`` multiplies by odd constants and folds the high bits back, so that every bit of its argument changes every bit of the result with a
probability near one half. No product leaves 63 bits.
"""

from __future__ import annotations

from eventsim.kernels.compiled import typed_part

MASK = (1 << 32) - 1


@typed_part
def mix(x):
    """A permutation of the numbers below 2**32."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & MASK
    x = ((x ^ (x >> 15)) * 0x735A2D97) & MASK
    return x ^ (x >> 15)


@typed_part
def drawn(seed, neuron, number):
    """Of the spike ``number`` of a neuron: a number below 2**32."""
    return mix(mix((mix(seed & MASK) + neuron) & MASK) ^ mix(number & MASK))


@typed_part
def delay_of(draw, most):
    """0..most, of a draw: how many ticks a spike is late."""
    return (mix(draw ^ 0x5BD1E995) * (most + 1)) >> 32

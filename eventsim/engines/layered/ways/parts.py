"""Small parts of compiled code that several ways to run a population are made of."""

from __future__ import annotations

import numpy as np

from eventsim.kernels import simd
from eventsim.kernels.compiled import compiled, inner, part
from eventsim.kernels.simd import SLACK


@part
def divided(value, by, shift):
    """``value // by``; ``shift`` says which power of two ``by`` is, or is -1. All are int64."""
    return value >> shift if shift >= 0 else value // by


@part
def append(places, n, first, mask):
    """Append ``first + k`` for each bit k of a mask; returns their new number. Up to SLACK places behind it are overwritten.

    Few bits are set as a rule: writing SLACK places each time costs less than to guess how many there are.

    Parameters
    ----------
    places : int32 array
    n : int64
        How many there are.
    first : int64
    mask : uint32
    """
    bits = simd.count(mask)
    for k in range(SLACK):
        places[n + k] = first + simd.lowest(mask)
        mask &= mask - np.uint32(1)
    for k in range(SLACK, bits):
        places[n + k] = first + simd.lowest(mask)
        mask &= mask - np.uint32(1)
    return n + bits


@part
def note_operations(operations, deliveries, synapses, additions, toolbox, effective):
    """Add int64 numbers to the operations of a projection and step: int64 (5,), as :data:`eventsim.job.job.OPERATIONS` names them."""
    operations[0] += deliveries
    operations[1] += synapses
    operations[2] += additions
    operations[3] += toolbox
    operations[4] += effective


@inner
def end_of_tick(ticks, at):
    """The place behind the last spike of the same tick as ``ticks[at]``; ``ticks`` is int64, in order."""
    tick, low, high, step = ticks[at], at, at + 1, 1
    while high < len(ticks) and ticks[high] == tick:
        low, high, step = high, high + step, 2 * step
    high = min(high, len(ticks))
    while low + 1 < high:
        middle = (low + high) >> 1
        if ticks[middle] == tick:
            low = middle
        else:
            high = middle
    return high


@inner
def largest(d):
    """Largest |d|, of an int16, int32 or int64 array."""
    low = high = d[0]
    for value in d:
        low = min(low, value)
        high = max(high, value)
    return max(-np.int64(low), np.int64(high))


@compiled
def largest_now(d):
    """:func:`largest`, for Python."""
    return largest(d)


@compiled
def merge(a, b, number, out):
    """Merge two trains by tick; of one tick, those of ``a`` come first. Empty signs mean +1.

    Spikes of ``b`` come through projection ``number``; those of ``a`` through its projections, or through 0 if it names none.
    """
    i = j = 0
    while i < len(a.tick) or j < len(b.tick):
        # Those of one train come in runs: long ones beside a bias clock.
        first = i
        while i < len(a.tick) and (j == len(b.tick) or a.tick[i] <= b.tick[j]):
            i += 1
        copy_run(a, a.projection, 0, first, i, out, first + j)
        first = j
        while j < len(b.tick) and (i == len(a.tick) or b.tick[j] < a.tick[i]):
            j += 1
        copy_run(b, b.projection[:0], number, first, j, out, i + first)


@part
def copy_run(train, projection, number, first, last, out, at):
    """Copy the spikes first..last-1 of a train, which come through ``projection``, to place ``at`` of another and the places behind it.

    An empty ``projection`` means that all come through that of ``number``.
    """
    to = at - first
    for k in range(first, last):
        simd.poke(out.tick, to + k, simd.peek(train.tick, k))
    for k in range(first, last):
        simd.poke(out.neuron, to + k, simd.peek(train.neuron, k))
    for k in range(first, last):
        simd.poke(out.projection, to + k, simd.peek(projection, k) if len(projection) else np.int16(number))
    if len(out.sign):
        for k in range(first, last):
            out.sign[to + k] = train.sign[k] if len(train.sign) else 1

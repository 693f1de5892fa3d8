"""Vector operations on lists of spikes for compiled code.

As in :mod:`eventsim.kernels.simd`, nothing is checked here.
"""

from __future__ import annotations

import numpy as np

from eventsim.kernels.compiled import part
from eventsim.kernels.vector import bits, converted, count, full, in_order, lane_numbers, load, select, store, store_chosen

# So many neurons are driven together.
GROUP = 16
# So many keys are sorted together.
SORTED = 16


@part
def write_sorted(rests, i, n, tick, neuron, at, base, bits):
    """Sort n keys ``tick - base << bits | neuron`` from place i of ``rests`` (uint32) on, SORTED at most, and write what they say.

    ``tick`` (int64) and ``neuron`` (int32) take it from place ``at`` on. SORTED places are read and written whatever n is.
    """
    keys = load(rests, i, SORTED)
    keys = in_order(select(lane_numbers(keys) < full(keys, n), keys, full(keys, 2**32 - 1)))
    shift, one = full(keys, bits), full(keys, 1)
    ticks = converted(keys >> shift, tick)
    store(tick, at, ticks + full(ticks, base))
    store(neuron, at, converted(keys & ((one << shift) - one), neuron))


@part
def rank(rests, i, n, key):
    """How many of n keys from place i of ``rests`` (uint32) on are smaller than ``key``; of SORTED keys if n is larger."""
    keys = load(rests, i, SORTED)
    numbers = lane_numbers(keys)
    return count(bits((keys < full(keys, key)) & (numbers < full(numbers, min(n, SORTED)))))


@part
def emit(following, early, whole, rest, gain, i, since, until, bits_of_neuron, keys, n):
    """The next spike of each of the GROUP neurons from i on, unless it is later than tick ``until``, as ``tick - since << bits | neuron``.

    Returns the new n, and 1 if one of them has another spike by then, else 0. From spike to spike a neuron takes ``whole`` ticks, or one
    more: ``early`` says, in units of its own, by how much it was over its threshold at the tick of its spike, loses ``rest`` each time,
    and gains ``gain`` in place of it where it does not have so much (following, whole: int32 or int64; the others: int32).
    """
    tick, before, lost = load(following, i, GROUP), load(early, i, GROUP), load(rest, i, GROUP)
    last = full(tick, until)
    fires, late = tick <= last, before < lost
    key = converted(tick - full(tick, since), np.int64)
    key = key << full(key, bits_of_neuron) | full(key, i) + lane_numbers(key)
    n = store_chosen(keys, n, key, fires)
    after = select(fires, tick + load(whole, i, GROUP) + converted(late, tick), tick)
    left = select(late, before + load(gain, i, GROUP), before - lost)
    store(following, i, after)
    store(early, i, select(fires, left, before))
    return n, np.int64(bits(after <= last) != 0)

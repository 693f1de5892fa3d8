"""Compiled code of the layered engine for driven neurons at high resolution: their spikes in closed form.

A current is constant, so a neuron that is not late at its first spike is periodic: it spikes as soon as ``rate * tick`` reaches a
multiple of ``threshold * resolution``, or whenever its refractory period is over if that always comes later. The few others (that begin
at or above their threshold) are *held*: their next tick is found anew each time. All is exact in 64 bits (see eventsim.job.preparation).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.engines.layered.ways.tick_kernels import DONE, FOREVER, GROW
from eventsim.kernels import simd
from eventsim.kernels.compiled import compiled, inlined, kernel
from eventsim.kernels.order import count_spikes, order
from eventsim.kernels.simd_spikes import GROUP, SORTED, emit
from eventsim.kernels.stencils import aligned_zeros

# Places in the scalars of a population. STRETCH is how many ticks are put in order at a time; the others, for a call that goes on after
# GROW, say where the last one got to: all ticks up to REACHED are done, and FIRED spikes written; of the stretch behind there are KEYS
# keys, up to PLACE among the neurons, the held ones behind the others.
REFRACTORY, RESOLUTION, BITS, STRETCH, REACHED, FIRED, KEYS, PLACE = range(8)
SCALARS = 8
# Ticks are kept in 32 bits if the last one is below: it and a period, cut to as much, have a sum that fits.
SHORT = 2**30 - 1
# Beyond the last tick of any run, and exact in floating point.
FAR = 2.0**51


class Periodic(NamedTuple):
    """All neurons of a population, and padding to a multiple of GROUP.

    What the fields mean says :func:`eventsim.kernels.simd_spikes._emit`. Ticks are int32 where a run is short enough: less to read. The
    next one is :func:`never` for neurons that do not spike or are held, and for padding.
    """

    following: Any  # int32 or int64: tick of the next spike
    early: Any  # int32
    whole: Any  # as following
    rest: Any  # int32
    gain: Any  # int32
    waiting: Any  # int32: room for the number of a neuron of each group


class Held(NamedTuple):
    """Neurons whose next tick is found anew each time."""

    neuron: Any  # int32
    following: Any  # int64: tick of the next spike
    count: Any  # int64: spikes so far


def periodic_for(neurons: int, end: int) -> Periodic:
    """Room for so many neurons in a run to the end of a tick."""
    size = -(-neurons // GROUP) * GROUP
    of_tick = np.int32 if end < SHORT else np.int64
    kinds = of_tick, np.int32, of_tick, np.int32, np.int32
    following, early, whole, rest, gain = (aligned_zeros(size, kind) for kind in kinds)
    return Periodic(following, early, whole, rest, gain, np.empty(size // GROUP, np.int32))


def held_for(neurons: int) -> Held:
    """Room for so many neurons."""
    return Held(np.empty(neurons, np.int32), np.empty(neurons, np.int64), np.empty(neurons, np.int64))


@inlined
def never(ticks):
    """What in an array of ticks is later than any run that is kept in its type."""
    return SHORT + 1 if ticks.itemsize == 4 else FOREVER


@kernel(nogil=True, fastmath=True)
def expect(inverse, current, most, every):
    """About how many spikes per step driven neurons make, by every ``every``-th location; ``inverse`` is 1 / threshold by channel.

    A neuron makes at most ``most`` spikes a step. In which order the sum is taken is left to the compiler: it is an estimate.
    """
    channels = len(inverse)
    expected = 0.0
    for start in range(0, len(current), channels * every):
        for channel in range(channels):
            rate = simd.peek(current, start + channel)
            expected += min(max(rate * simd.peek(inverse, channel), 0.0), most)
    return expected * every


@inlined
def quotient(value, by, inverse):
    """(value // by, value % by), ``inverse`` being about 1 / by: right if the second one is, since the estimate may be off by one."""
    found = np.int64(value * inverse)
    rest = value - found * by
    low = rest >> 63  # -1 if it is negative
    found += low
    rest += by & low
    high = ~((rest - by) >> 63)
    return found - high, rest - (by & high)


# error_model: to ask for divisions by zero would keep the loop from running in vectors.
@kernel(nogil=True, error_model="numpy")
def start(period, need, current, refractory, periodic):
    """Prepare the periodic neurons; returns how many are held.

    A spike takes a ``period`` of the channel in ``rate * tick``, the first one its ``need``.
    """
    channels, of_tick = len(period), periodic.following.dtype.type
    held, beyond = 0, never(periodic.following)
    for begin in range(0, len(current), channels):
        for channel in range(channels):
            neuron = begin + channel
            rate = np.int64(simd.peek(current, neuron))
            by = max(rate, 1)
            inverse = 1.0 / by
            first, before = quotient(simd.peek(need, channel), by, inverse)
            whole, rest = quotient(simd.peek(period, channel), by, inverse)
            exact = (rest >= 0) & (rest < by) & (before >= 0) & (before < by)
            holds = (simd.peek(need, channel) <= 0) | ((rate > 0) & (not exact))
            fires = (rate > 0) & (not holds)
            held += holds
            later = before > 0
            saturated = whole < refractory
            # Slow neurons, which would spike later than the run, are not taken for held ones.
            simd.poke(periodic.following, neuron, of_tick(min(first + later, beyond - 1) if fires else beyond))
            simd.poke(periodic.early, neuron, np.int32(rate - before if later else 0))
            simd.poke(periodic.whole, neuron, of_tick(min(refractory if saturated else whole, beyond - 1)))
            rest = 0 if saturated else rest
            simd.poke(periodic.rest, neuron, np.int32(rest))
            simd.poke(periodic.gain, neuron, np.int32(rate - rest))
    for neuron in range(len(current), len(periodic.following)):
        periodic.following[neuron] = beyond
    return held


@compiled
def hold(threshold, v0, current, resolution, periodic, held):
    """Find the neurons that are held, and their first ticks."""
    channels = len(threshold)
    n = 0
    for neuron in range(len(current)):
        channel = neuron % channels
        rate, need = np.int64(current[neuron]), (threshold[channel] - v0[channel]) * resolution
        if need <= 0 or (rate > 0 and periodic.following[neuron] == never(periodic.following)):
            held.neuron[n], held.count[n] = neuron, 0
            held.following[n] = 1 if rate >= need else next_tick(rate, need, 1.0 / rate) if rate > 0 else FOREVER
            n += 1


@inlined
def next_tick(rate, need, inverse):
    """The smallest tick with ``rate * tick >= need``, for a rate above 0 with this inverse; FOREVER beyond the end of any run."""
    if need * inverse >= FAR:
        return FOREVER
    # An estimate in floating point is off by one or two.
    tick = np.int64(need * inverse)
    while rate * tick < need:
        tick += 1
    while rate * (tick - 1) >= need:
        tick -= 1
    return tick


@compiled
def drive(threshold, v0, current, periodic, held, scalars, until, keys):
    """Keys ``tick - REACHED << BITS | neuron`` of the spikes to the end of tick ``until``, not in order.

    Returns DONE or GROW (of keys).
    """
    since, bits, n, place = scalars[REACHED], scalars[BITS], scalars[KEYS], scalars[PLACE]
    most, size, waiting = len(keys), len(periodic.following), periodic.waiting
    # A spike of each neuron, another one of those groups that have more, and so on: to look for all spikes of a group right away would be
    # to guess wrong how many there are.
    left = size // GROUP if place < size else 0
    for k in range(left):
        waiting[k] = GROUP * k
    while left:
        if n + GROUP * left > most:
            scalars[KEYS] = n
            return GROW
        looked_at, left = left, 0
        for k in range(looked_at):
            i = np.int64(simd.peek(waiting, k))
            n, more = emit(periodic.following, periodic.early, periodic.whole, periodic.rest, periodic.gain, i, since, until, bits, keys, n)
            simd.poke(waiting, left, np.int32(i))
            left += more
    place, end = max(place, size), size + len(held.neuron)
    while place < end and n < most:
        i = place - size
        neuron, tick, spikes = np.int64(held.neuron[i]), held.following[i], held.count[i]
        channel = neuron % len(threshold)
        theta, initial, rate = threshold[channel], v0[channel], np.int64(current[neuron])
        inverse = 1.0 / rate if rate > 0 else 0.0
        while tick <= until and n < most:
            keys[n] = (tick - since) << bits | neuron
            n += 1
            spikes += 1
            after = tick + scalars[REFRACTORY]
            need = (theta * (spikes + 1) - initial) * scalars[RESOLUTION]
            if rate * after >= need:
                tick = after
            elif rate > 0:
                tick = next_tick(rate, need, inverse)
            else:
                tick = FOREVER
        held.following[i], held.count[i] = tick, spikes
        if tick > until:
            place += 1
    scalars[KEYS], scalars[PLACE] = n, place
    return DONE if place == end else GROW


@compiled
def advance(threshold, v0, current, periodic, held, scalars, keys, room, tick, neuron, spikes, until):
    """Run a population to the end of tick ``until``: its spikes in order, from place FIRED on, and how many there are by step.

    Returns DONE, GROW (of keys, room or the places for spikes), after which it is called again.
    """
    while scalars[REACHED] < until:
        since, fired = scalars[REACHED], scalars[FIRED]
        last = min(since + scalars[STRETCH], until)
        status = drive(threshold, v0, current, periodic, held, scalars, last, keys)
        n = scalars[KEYS]
        if status != DONE:
            return status
        if n > len(room.other) or fired + n + SORTED > len(tick):
            return GROW
        if n:
            order(keys, n, room, scalars[BITS], False, since, last, tick, neuron, fired)
            count_spikes(tick, fired, fired + n, scalars[RESOLUTION], spikes)
        scalars[REACHED], scalars[FIRED], scalars[KEYS], scalars[PLACE] = last, fired + n, 0, 0
    return DONE

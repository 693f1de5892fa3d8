"""Compiled code of the layered engine for driven neurons at high resolution: their spikes in closed form.

A current is constant, so a neuron that is not late at its first spike is periodic: it spikes as soon as ``rate * tick`` reaches a
multiple of ``threshold * resolution``, or whenever its refractory period is over if that always comes later. The few others (that begin
at or above their threshold) are *held*: their next tick is found anew each time. All is exact in 64 bits (see eventsim.job.preparation).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.engines.layered.ways.records import FOREVER, Status
from eventsim.kernels import simd
from eventsim.kernels.compiled import compiled, inlined, inner, kernel
from eventsim.kernels.order import count_spikes, order
from eventsim.kernels.records import record
from eventsim.kernels.simd_spikes import GROUP, SORTED, emit
from eventsim.kernels.stencils import aligned_zeros

# Where a window has got to, for a call that goes on after GROW.
#
# reached: all ticks up to this one are done    fired: spikes written so far
# keys: of the stretch behind that tick         place: up to which held neuron they are made, -1 before those of the others are
PROGRESS = record("reached fired keys place")
# Ticks are kept in 32 bits if the last one is below: it and a period, cut to as much, have a sum that fits.
SHORT = 2**30 - 1
# Beyond the last tick of any run, and exact in floating point.
FAR = 2.0**51


class Neurons(NamedTuple):
    """Driven neurons in a run: the channels of a location one after the other, as in their shape."""

    threshold: Any  # int64 (channels,)
    v0: Any  # int64 (channels,): potential at the start
    current: Any  # int32 (neurons,): per step


class Settings(NamedTuple):
    """Numbers of a run."""

    refractory: int  # ticks from a spike to the next one, at least
    resolution: int  # ticks of a step
    bits: int  # of a key that say which neuron it is
    stretch: int  # ticks that are put in order at a time


class Periodic(NamedTuple):
    """All neurons of a population, and padding to a multiple of GROUP.

    What the fields mean says :func:`eventsim.kernels.simd_spikes.emit`. Ticks are int32 where a run is short enough: less to read. The
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

    neuron: Any  # int32, ascending
    following: Any  # int64: tick of the next spike, FOREVER if there is none
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
    """About how many spikes driven neurons make in a step. In which order the sum is taken is left to the compiler: it is an estimate.

    Parameters
    ----------
    inverse : float64 array (channels,)
        1 / threshold.
    current : int32 array (neurons,)
    most : float64
        Spikes of a neuron in a step, at most.
    every : int64
        One in so many locations is looked at.

    Returns
    -------
    float64
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
    """(value // by, value % by), all int64 but ``inverse``, which is about 1 / by.

    Right if the remainder is one, 0 <= value % by < by, since the estimate may be off by one.
    """
    found = np.int64(value * inverse)
    rest = value - found * by
    low = rest >> 63  # -1 if it is negative
    found += low
    rest += by & low
    high = ~((rest - by) >> 63)
    return found - high, rest - (by & high)


@inlined
def are_same(current, begin, channels):
    """Whether the currents of the location that begins at a neuron are those of the one before it."""
    different = np.int32(0)
    for neuron in range(begin, begin + channels):
        different |= simd.peek(current, neuron) ^ simd.peek(current, neuron - channels)
    return different == 0


# error_model: to ask for divisions by zero would keep the loop from running in vectors.
@kernel(nogil=True, error_model="numpy")
def start(period, need, current, refractory, periodic):
    """Prepare the periodic neurons; returns how many are held.

    Parameters
    ----------
    period : int64 array (channels,)
        What a spike takes of ``rate * tick``.
    need : int64 array (channels,)
        What the first one takes.
    current : int32 array (neurons,)
    refractory : int64
    periodic : Periodic
        Written.

    Returns
    -------
    int64
    """
    channels, of_tick = len(period), periodic.following.dtype.type
    held, of_location, beyond = 0, 0, never(periodic.following)
    for begin in range(0, len(current), channels):
        if begin and are_same(current, begin, channels):
            # As in the background of a digit: what follows from the currents is the same, too.
            for channel in range(channels):
                neuron = begin + channel
                simd.poke(periodic.following, neuron, simd.peek(periodic.following, neuron - channels))
                simd.poke(periodic.early, neuron, simd.peek(periodic.early, neuron - channels))
                simd.poke(periodic.whole, neuron, simd.peek(periodic.whole, neuron - channels))
                simd.poke(periodic.rest, neuron, simd.peek(periodic.rest, neuron - channels))
                simd.poke(periodic.gain, neuron, simd.peek(periodic.gain, neuron - channels))
            held += of_location
            continue
        of_location = -held
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
        of_location += held
    for neuron in range(len(current), len(periodic.following)):
        periodic.following[neuron] = beyond
    return held


@compiled
def hold(neurons, resolution, periodic, held):
    """Find the neurons that are held, and their first ticks.

    Parameters
    ----------
    neurons : Neurons
    resolution : int64
    periodic : Periodic
        After :func:`start`.
    held : Held
        Written; has room for as many as that said.
    """
    channels = len(neurons.threshold)
    n = 0
    for neuron in range(len(neurons.current)):
        channel = neuron % channels
        rate, need = np.int64(neurons.current[neuron]), (neurons.threshold[channel] - neurons.v0[channel]) * resolution
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


@inner
def drive_periodic(periodic, since, until, bits, keys, n):
    """Keys ``tick - since << bits | neuron`` of the periodic neurons' spikes after ``since`` to the end of tick ``until``, not in order.

    A spike of each neuron, another one of those groups that have more, and so on: to look for all spikes of a group right away would be to
    guess wrong how many there are.

    Parameters
    ----------
    periodic : Periodic
    since, until : int64
        Ticks.
    bits : int64
    keys : int64 array
    n : int64
        How many keys there are.

    Returns
    -------
    n : int64
    all : bool
        Whether there was room for all keys.
    """
    waiting = periodic.waiting
    left = len(periodic.following) // GROUP
    for k in range(left):
        waiting[k] = GROUP * k
    while left:
        if n + GROUP * left > len(keys):
            return n, False
        looked_at, left = left, 0
        for k in range(looked_at):
            i = np.int64(simd.peek(waiting, k))
            n, more = emit(periodic.following, periodic.early, periodic.whole, periodic.rest, periodic.gain, i, since, until, bits, keys, n)
            simd.poke(waiting, left, np.int32(i))
            left += more
    return n, True


@inner
def drive_held(neurons, held, settings, progress, until, keys):
    """As :func:`drive_periodic`, for the held neurons, from ``progress`` on; returns whether there was room for all keys."""
    s = progress[()]
    since, n, i = s["reached"], s["keys"], s["place"]
    while i < len(held.neuron) and n < len(keys):
        neuron, tick, spikes = np.int64(held.neuron[i]), held.following[i], held.count[i]
        channel = neuron % len(neurons.threshold)
        theta, initial, rate = neurons.threshold[channel], neurons.v0[channel], np.int64(neurons.current[neuron])
        inverse = 1.0 / rate if rate > 0 else 0.0
        while tick <= until and n < len(keys):
            keys[n] = (tick - since) << settings.bits | neuron
            n += 1
            spikes += 1
            after = tick + settings.refractory
            need = (theta * (spikes + 1) - initial) * settings.resolution
            if rate * after >= need:
                tick = after
            elif rate > 0:
                tick = next_tick(rate, need, inverse)
            else:
                tick = FOREVER
        held.following[i], held.count[i] = tick, spikes
        if tick > until:
            i += 1
    s["keys"], s["place"] = n, i
    return i == len(held.neuron)


@compiled
def advance(neurons, periodic, held, settings, progress, keys, room, out, spikes, until):
    """Run a population to the end of a tick: its spikes in order, and how many there are by step.

    Parameters
    ----------
    neurons : Neurons
    periodic : Periodic
    held : Held
    settings : Settings
    progress : PROGRESS, without dimensions
    keys : int64 array
        Room for the spikes of a stretch.
    room : eventsim.kernels.order.Room
    out : Train
        Takes the spikes, from place ``fired`` on.
    spikes : int64 array (steps,)
        They are added to.
    until : int64

    Returns
    -------
    int64
        DONE; or GROW (of ``keys``, ``room`` or ``out``), after which it is called again.
    """
    s = progress[()]
    while s["reached"] < until:
        since, fired = s["reached"], s["fired"]
        last = min(since + settings.stretch, until)
        if s["place"] < 0:
            s["keys"], whole = drive_periodic(periodic, since, last, settings.bits, keys, s["keys"])
            if not whole:
                return np.int64(Status.GROW)
            s["place"] = 0
        if not drive_held(neurons, held, settings, progress, last, keys):
            return np.int64(Status.GROW)
        n = s["keys"]
        if n > len(room.other) or fired + n + SORTED > len(out.tick):
            return np.int64(Status.GROW)
        if n:
            order(keys, n, room, settings.bits, np.int64(0), since, last, out.tick, out.neuron, fired)
            count_spikes(out.tick, fired, fired + n, settings.resolution, spikes)
        s["reached"], s["fired"], s["keys"], s["place"] = last, fired + n, 0, -1
    return np.int64(Status.DONE)

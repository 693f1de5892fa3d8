"""A population over a window of time, a stretch of at most a refractory period at a time."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import divided, end_of_tick, largest
from eventsim.engines.layered.ways.period_kernels.blocks import AHEAD, finish_32, finish_64, finish_128, run_32, run_64, run_128, run_wide
from eventsim.engines.layered.ways.period_kernels.lists import count_operations, list_spikes
from eventsim.engines.layered.ways.period_kernels.moments import number_moments
from eventsim.engines.layered.ways.period_kernels.records import MOMENTS, Limits
from eventsim.engines.layered.ways.records import FOREVER, Status
from eventsim.engines.layered.ways.site_kernels.lists import count_entries
from eventsim.engines.layered.ways.site_kernels.stretches import halved
from eventsim.kernels.compiled import compiled, inner, part
from eventsim.kernels.vector import peek, poke, registers_are_wide


@compiled
def advance(layer, state, wide, periods, room, train, out, tally, until):
    """Run a population to the end of a tick.

    Parameters
    ----------
    layer, state : Layer, State
    wide : int32 array, or None
        ``state.d`` where it has 32 bits, None where it has 16.
    periods, room : Periods, Room
    train : Arrivals
        Its incoming spikes, with the ticks of their arrival.
    out : Train
        Takes its own.
    tally : Tally
    until : int64

    Returns
    -------
    int64
        DONE; or, after which it is called again: GROW (of ``out``), ROOM (for entries and moments), WIDEN (of d).
    """
    s, p = state.progress[()], periods.progress[()]
    while True:
        if p["site"] < 0:
            # Nobody fires twice in a stretch.
            if s["fired"] + layer.constants.size > len(out.tick):
                return np.int64(Status.GROW)
            status = begin_stretch(layer, state, periods, room, train, tally, until)
            if status != Status.BEGUN:
                return status
        if not run_stretch(layer, state, wide, periods, room):
            return np.int64(Status.WIDEN)
        n = finish_stretch(layer, state, periods, room)
        if n:
            write_spikes(layer.constants, state, room, n, p["moments"], out, tally)
        p["reached"], p["site"] = p["last"], -1


@inner
def begin_stretch(layer, state, periods, room, train, tally, until):
    """Choose the next stretch, within a step, and list its spikes: as many as surely leave potentials in their type.

    Parameters as for :func:`advance`. Returns BEGUN, DONE (there is none by then), ROOM or WIDEN.
    """
    c, s, p, arrivals = layer.constants, state.progress[()], periods.progress[()], len(train.tick)
    at = s["at"]
    arrival = train.tick[at] if at < arrivals else FOREVER
    leaves = state.ring_tick[s["head"]] if s["waiting"] else FOREVER
    rings = next_of(train.clock, p["reached"])
    base = max(p["reached"], min(arrival, leaves, rings) - 1)
    if base >= until:
        p["reached"] = until
        return np.int64(Status.DONE)
    s["step"] = base // c.resolution
    # The clock's spike comes last in a stretch.
    last = min(base + c.refractory, until, (s["step"] + 1) * c.resolution, rings)
    stop, last = arrived(train.tick, at, min(arrivals, at + periods.sizes.stretch), last)
    # 16 bits are looked at on the way. V = d + threshold has to fit, too.
    limit, leaving = 2**31 - 2 - c.highest, leave(state, last)
    while stop - at + leaving > MOMENTS - 1 and last > base + 1:
        last = base + ((last - base) >> 1)
        stop, last = arrived(train.tick, at, stop, last)
        leaving = leave(state, last)
    while True:
        clock = periods.sizes.clock if rings == last else -1
        entries, most = count_entries(layer, periods, train, at, stop, clock)
        if s["bound"] + most > limit:
            # A reset may leave |d| at the threshold.
            s["bound"] = max(c.highest, largest(state.d))
        if s["bound"] + most <= limit:
            break
        half = halved(train.tick, at, stop)
        if half == stop:
            return np.int64(Status.WIDEN)
        last, stop = train.tick[half] - 1, half
        leaving = leave(state, last)
    if entries + AHEAD > len(room.entries) or stop - at >= len(room.moments):
        p["needed"] = max(entries + AHEAD, stop - at)
        return np.int64(Status.ROOM)
    p["moments"] = number_moments(state, periods.free, room, train, at, stop, leaving, last, rings)
    s["bound"] += most
    list_spikes(layer, periods, room, train, at, stop, clock)
    count_operations(layer, periods, train, at, stop, s["step"], tally.operations)
    room.places[: p["moments"] + 2] = 0
    s["at"], p["last"], p["site"], p["part"] = stop, last, 0, 0
    return np.int64(Status.BEGUN)


@part
def next_of(ticks, tick):
    """The first of some ticks, in order, that is later than a tick; FOREVER if none is."""
    low, high = 0, len(ticks)
    while low < high:
        middle = (low + high) >> 1
        if ticks[middle] <= tick:
            low = middle + 1
        else:
            high = middle
    return ticks[low] if low < len(ticks) else FOREVER


@part
def arrived(ticks, at, most, last):
    """The place behind the last spike by a tick, and that tick; an earlier one if more than those up to place ``most`` have arrived."""
    if most < len(ticks) and most > at and ticks[most] <= last:
        # Whole ticks, but at least one.
        while most > at and ticks[most - 1] == ticks[most]:
            most -= 1
        if most == at:
            most = end_of_tick(ticks, at)
        return most, ticks[most] - 1 if most < len(ticks) and ticks[most] <= last else last
    low = at
    while low < most:
        middle = (low + most) >> 1
        if ticks[middle] <= last:
            low = middle + 1
        else:
            most = middle
    return low, last


@part
def leave(state, last):
    """How many leave the ring up to the end of a tick."""
    s, size = state.progress[()], len(state.ring_lane)
    low, high = 0, s["waiting"]
    while low < high:
        middle = (low + high) >> 1
        place = s["head"] + middle
        if state.ring_tick[place - size if place >= size else place] <= last:
            low = middle + 1
        else:
            high = middle
    return low


@part
def lanes_at_once(block):
    """How many lanes of a block are run at a time: registers of 256 bits do not suffice for 128."""
    return block if registers_are_wide() else min(block, np.int64(64))


@inner
def run_stretch(layer, state, wide, periods, room):
    """Run the sites through a stretch; returns whether they came to its end: not if potentials need more bits.

    Parameters as for :func:`advance`. Who fires when is in ``room`` then. One block of all sites after the other: so the weights that
    are worked with are fewer, and may stay in the cache.
    """
    p, sizes, size = periods.progress[()], periods.sizes, lanes_at_once(periods.sizes.block)
    limits = limits_of(layer, wide, sizes)
    site, k = p["site"], p["part"]
    while k < sizes.lanes // size:
        while site < len(periods.plain):
            j = k * size
            lane = site * sizes.lanes + j
            if limits.clip < 0:
                fits = False
            elif size == 128:
                fits = run_128(layer, state, periods, room, limits, site, lane, j)
            elif size == 64:
                fits = run_64(layer, state, periods, room, limits, site, lane, j)
            else:
                fits = run_32(layer, state, periods, room, limits, site, lane, j)
            if not fits and not run_block_wide(layer, state, wide, periods, room, site, lane, j, size):
                p["site"], p["part"] = site, k
                return False
            site += 1
        site, k = 0, k + 1
    return True


@part
def limits_of(layer, wide, sizes):
    """How potentials are added up in 16 bits."""
    most, near = (np.int64(1) << 15) - 2 - layer.constants.highest - sizes.margin, layer.constants.highest + sizes.margin
    if wide is None:
        return Limits(most, most, np.int64(1) << 15)
    # Halfway: farther away there is room, too.
    return Limits(most, (most + near) >> 1 if most > near else np.int64(-1), near)


@part
def run_block_wide(layer, state, wide, periods, room, site, lane, j, size):
    """Run a block of so many lanes where potentials have 32 bits; returns whether they have."""
    if wide is None:
        return False
    for k in range(0, size, 32):
        run_wide(layer, wide, state.low, periods, room, site, lane + k, j + k)
    return True


@inner
def finish_stretch(layer, state, periods, room):
    """Reset who fired in a stretch; returns the number of spikes, whose keys are in ``room``, by neuron.

    Parameters as for :func:`advance`.
    """
    c, size, d, low, net, free = layer.constants, lanes_at_once(periods.sizes.block), state.d, state.low, state.net, periods.free
    first, keys, places, channel, n = room.first, room.keys, room.places, np.int64(0), np.int64(0)
    for lane in range(0, c.size, size):
        if size == 128:
            n = finish_128(d, low, net, free, lane, state.theta, channel, first, keys, places, n)
        elif size == 64:
            n = finish_64(d, low, net, free, lane, state.theta, channel, first, keys, places, n)
        else:
            n = finish_32(d, low, net, free, lane, state.theta, channel, first, keys, places, n)
        channel = channel + size if channel + size < c.padded else 0
    return n


@inner
def write_spikes(constants, state, room, n, moments, out, tally):
    """Write the spikes of a stretch in order, and let the neurons wait for the end of their period.

    Parameters
    ----------
    constants : Constants
    state : State
        The ring and ``progress`` are written.
    room : Room
        With the keys, and in ``places`` how many spikes each moment has.
    n, moments : int64
        How many spikes and moments there are.
    out : Train
    tally : Tally
    """
    s, places, before = state.progress[()], room.places, state.progress[()]["fired"]
    size, shift, unused = constants.size, constants.padded_shift, constants.padded - constants.channels
    place = before
    for moment in range(1, moments + 1):
        number = peek(places, moment)
        poke(places, moment, place)
        place += number
    negative = np.int64(0)
    for i in range(n):
        key = peek(room.keys, i)
        lane = key & 0xFFFFFFFF
        moment = key >> 33
        place, tick = peek(places, moment), peek(room.ticks, moment)
        poke(places, moment, place + 1)
        poke(out.tick, place, tick)
        poke(out.neuron, place, np.int32(lane))
        if state.low is not None:
            taken_back = key >> 32 & 1
            negative += taken_back
            poke(out.sign, place, np.int8(1 - 2 * taken_back))
    tail = s["head"] + s["waiting"]
    tail = tail - size if tail >= size else tail
    whole = min(n, size - tail)
    wait(constants.refractory, state, out, before, before + whole, tail)
    wait(constants.refractory, state, out, before + whole, before + n, 0)
    if unused:
        for i in range(before, before + n):
            lane = np.int64(peek(out.neuron, i))
            poke(out.neuron, i, np.int32(lane - divided(lane, constants.padded, shift) * unused))
    s["waiting"] += n
    s["fired"] += n
    tally.spikes[s["step"]] += n
    tally.negative[s["step"]] += negative
    if s["first_tick"] == 0:
        s["first_tick"] = out.tick[before]


@part
def wait(refractory, state, out, first, end, tail):
    """Put the spikes first..end-1 of ``out``, whose neurons are yet lanes, into the ring from place ``tail`` on."""
    for i in range(first, end):
        poke(state.ring_tick, tail + i - first, peek(out.tick, i) + refractory)
    for i in range(first, end):
        poke(state.ring_lane, tail + i - first, peek(out.neuron, i))

"""The moments of a stretch: arrivals and the ends of refractory periods, in the order of time."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.period_kernels.records import NEVER
from eventsim.kernels.compiled import apart, inner
from eventsim.kernels.vector import opaque, peek, poke


@inner
def number_moments(state, free, room, train, at, stop, leaving, last, rings):
    """Number the moments of a stretch; returns how many there are.

    Parameters
    ----------
    state : State
        Those whose period is over leave the ring.
    free : uint16 array
        As in :class:`Periods`; written for those.
    room : Room
        ``moments`` and ``ticks`` are written.
    train : Train
    at, stop : int64
        The spikes of the stretch: at..stop-1.
    leaving : int64
        How many leave the ring.
    last, rings : int64
        Its last tick; the next one of the clock that comes apart.
    """
    s, size = state.progress[()], len(state.ring_lane)
    head = s["head"]
    room.ticks[0] = last - last
    inside = min(leaving, size - head)
    e, moment = merge(state, free, room, train, at, at, stop, head, head + inside, np.int64(0))
    e, moment = merge(state, free, room, train, at, e, stop, np.int64(0), leaving - inside, moment)
    before = peek(room.ticks, moment)
    while e < stop:
        tick = peek(train.tick, e)
        moment += tick != before
        before = tick
        poke(room.ticks, moment, tick)
        poke(room.moments, e - at, np.uint16(moment))
        e += 1
    free[size] = NEVER
    head += leaving
    s["head"] = head - size if head >= size else head
    s["waiting"] -= leaving
    if rings == last and before != last:
        moment += 1
        room.ticks[moment] = last
    return moment


@apart
def merge(state, free, room, train, at, e, stop, leaver, end, moment):
    """Number the moments of the spikes e..stop-1 until those at the places leaver..end-1 of the ring have left it.

    Without branches on which comes next, an arrival or the end of a period: that cannot be guessed. Of each the one behind is loaded
    before it is known which comes, as a load takes longer than all else. Else as :func:`number_moments`; returns the next spike and the
    last moment.
    """
    size, ticks, lanes = len(state.ring_lane), state.ring_tick, state.ring_lane
    before = peek(room.ticks, moment)
    while leaver < end and e < stop:
        arrival, leaves = peek(train.tick, e), peek(ticks, leaver)
        for _ in range(min(stop - e, end - leaver) - 1):
            next_arrival, next_leaves = opaque(peek(train.tick, e + 1)), opaque(peek(ticks, leaver + 1))
            # (LLVM makes branches of comparisons.) All bits are set if somebody leaves before the next arrival.
            first = (leaves - arrival) >> 63
            tick = arrival + (leaves - arrival & first)
            moment += tick != before
            before = tick
            poke(room.ticks, moment, tick)
            # Both are written. What has not its turn yet is written again, or stands for none.
            poke(room.moments, e - at, np.uint16(moment))
            poke(free, size + (np.int64(peek(lanes, leaver)) - size & first), np.uint16(moment))
            e += 1 + first
            leaver -= first
            arrival += next_arrival - arrival & ~first
            leaves += next_leaves - leaves & first
        tick = min(arrival, leaves)
        moment += tick != before
        before = tick
        poke(room.ticks, moment, tick)
        if arrival <= leaves:
            poke(room.moments, e - at, np.uint16(moment))
            e += 1
        else:
            poke(free, np.int64(peek(lanes, leaver)), np.uint16(moment))
            leaver += 1
    while leaver < end:
        tick = peek(ticks, leaver)
        moment += tick != before
        before = tick
        poke(room.ticks, moment, tick)
        poke(free, np.int64(peek(lanes, leaver)), np.uint16(moment))
        leaver += 1
    return e, moment

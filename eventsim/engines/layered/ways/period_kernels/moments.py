"""The moments of a stretch: arrivals and the ends of refractory periods, in the order of time."""

from __future__ import annotations

from eventsim.engines.layered.ways.period_kernels.records import MOMENTS, NEVER
from eventsim.engines.layered.ways.records import FOREVER
from eventsim.kernels.compiled import inner
from eventsim.kernels.vector import peek, poke


@inner
def number_moments(state, free, room, train, at, stop, last, rings):
    """Number the moments of a stretch.

    Without branches on which comes next, an arrival or the end of a period: that cannot be guessed.

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
    last, rings : int64
        Its last tick; the next one of the clock that comes apart.

    Returns
    -------
    stop, last, moments : int64
        Fewer spikes and ticks if there were too many moments.
    """
    s, size = state.progress[()], len(state.ring_lane)
    head, waiting, ticks, lanes = s["head"], s["waiting"], state.ring_tick, state.ring_lane
    e, moment, before = at, 0, last - last
    while True:
        arrival = peek(train.tick, e) if e < stop else FOREVER
        leaves = peek(ticks, head) if waiting else FOREVER
        tick = min(arrival, leaves)
        if tick > last:
            break
        moment += tick != before
        if moment > MOMENTS:
            moment, last = MOMENTS, before
            break
        before = tick
        poke(room.ticks, moment, tick)
        # Both are written. What has not its turn yet is written again, or stands for none.
        arrives = arrival <= leaves
        poke(room.moments, e - at, 2 * moment)
        lane = peek(lanes, head)
        poke(free, size if arrives else lane, 2 * moment)
        e += arrives
        left = 1 - arrives
        waiting -= left
        head += left
        head = 0 if head == size else head
    s["head"], s["waiting"] = head, waiting
    free[size] = NEVER
    if rings == last and before != last:
        if moment < MOMENTS:
            moment += 1
            room.ticks[moment] = last
        else:
            last = before
    return e, last, moment

"""Populations that leak, over a window of time along the spikes that reach them, at any number of ticks a step."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.leak_kernels.advance import fire, may_fire
from eventsim.engines.layered.ways.leak_kernels.step import fits, flow, undergo_end
from eventsim.engines.layered.ways.parts import end_of_tick
from eventsim.engines.layered.ways.records import FOREVER, Role, Status
from eventsim.engines.layered.ways.tick_kernels.deliver import deliver
from eventsim.engines.layered.ways.tick_kernels.due import find_reached, is_due, scan
from eventsim.engines.layered.ways.tick_kernels.fire import note_fired
from eventsim.engines.layered.ways.tick_kernels.readout import decide_here, note_readout
from eventsim.engines.layered.ways.tick_kernels.ring import enter
from eventsim.kernels.compiled import compiled, part
from eventsim.kernels.simd import SLACK


@compiled
def advance_along(layer, leaking, state, scratch, train, out, tally, until):
    """Run neurons to the end of a tick; arguments and result as for :func:`leak_kernels.advance.advance`.

    Nothing is done but at ticks at which spikes arrive, neurons are looked at again or currents flow; before, potentials undergo the ends
    of the steps since.
    """
    c, s, progress = layer.constants, state.progress[()], leaking.progress[()]
    while True:
        at, arrival = s["at"], next_arrival(s, train)
        leaves = state.ring_tick[s["head"]] if s["waiting"] else FOREVER
        flows = next_flow(leaking.current, progress["done"], c.resolution)
        tick = min(arrival, leaves, flows)
        if tick > until:
            return np.int64(Status.DONE)
        if s["fired"] + c.size + SLACK > len(out.tick):
            return np.int64(Status.GROW)
        stop = end_of_tick(train.tick, at) if arrival == tick else at
        if not fits(layer, state.d, leaking, leaking.current, s["limit"], train, at, stop):
            return np.int64(Status.OVERFLOW)
        while s["step"] < (tick - 1) // c.resolution:
            undergo_end(state.d, leaking, leaking.current)
            s["step"] += 1
        n = take(c, state, scratch.candidates, tick)
        arrive(layer, state.d, leaking.current, state, scratch, train, tally, at, stop, tick == flows)
        if tick == flows or stop > at + 1:
            n = scan(state.d, None, 0, c.size, scratch.candidates, 0)
        elif stop > at and leaking.current is None:
            n = find_reached(layer, state.d, None, train, at, stop, scratch.candidates, n)
        before, previous = s["fired"], -1
        for i in range(n):
            lane = np.int64(scratch.candidates[i])
            if lane != previous and is_due(state.d, None, lane) and may_fire(leaking.last, lane, c.refractory, tick):
                fire(c, leaking, state.d, out, s, lane, tick)
                if c.refractory > 1 or state.d[lane] >= 0:
                    enter(c, state, lane, tick)
            previous = lane
        note_fired(s, tally, out, before)
        progress["done"] = tick


@part
def next_arrival(progress, train):
    """The tick of the next spike that arrives, FOREVER if none does; ``progress`` is that of the state."""
    return train.tick[progress["at"]] if progress["at"] < len(train.tick) else FOREVER


@part
def next_flow(current, done, resolution):
    """The last tick of the step behind tick ``done``, where currents flow; FOREVER without currents."""
    if current is None:
        return FOREVER
    return (done // resolution + 1) * resolution


@part
def arrive(layer, d, current, state, scratch, train, tally, at, stop, flows):
    """Deliver the spikes at..stop-1 of a tick to potentials, or to the currents if there are any; those flow if that is where they do."""
    s = state.progress[()]
    if current is None:
        if stop > at:
            deliver(layer, d, scratch, train, tally.operations, s["step"], at, stop)
    else:
        if stop > at:
            deliver(layer, current, scratch, train, tally.operations, s["step"], at, stop)
        if flows:
            flow(d, current)
    s["at"] = stop


@part
def take(constants, state, candidates, tick):
    """Take the neurons of a tick out of the ring, to candidates (int32); returns how many there are. None is parked."""
    s, n = state.progress[()], 0
    while s["waiting"] and state.ring_tick[s["head"]] == tick:
        candidates[n] = state.ring_lane[s["head"]]
        s["head"] = s["head"] + 1 if s["head"] + 1 < constants.size else 0
        s["waiting"] -= 1
        n += 1
    return n


@compiled
def read_along(layer, leaking, state, scratch, train, tally, until):
    """Run a readout to the end of a tick, or, of the output, to that of its exit; else as :func:`advance_along`.

    What leaks at the end of a step may change the decision at the first tick of the next one, so that is looked at, too.
    """
    c, s, progress = layer.constants, state.progress[()], leaking.progress[()]
    while s["exited"] == 0:
        at, arrival = s["at"], next_arrival(s, train)
        turn = (s["step"] + 1) * c.resolution + 1
        flows = next_flow(leaking.current, progress["done"], c.resolution)
        tick = min(arrival, turn, flows)
        if tick > until:
            break
        stop = end_of_tick(train.tick, at) if arrival == tick else at
        if not fits(layer, state.d, leaking, leaking.current, s["limit"], train, at, stop):
            return np.int64(Status.OVERFLOW)
        if tick == turn:
            note_readout(state.d, c.channels, c.padded, tally.readout, s["step"], s["step"] + 1)
            undergo_end(state.d, leaking, leaking.current)
            s["step"] += 1
        arrive(layer, state.d, leaking.current, state, scratch, train, tally, at, stop, tick == flows)
        if c.role == Role.OUTPUT:
            if stop > at and s["decided_at"] == 0:
                s["decided_at"] = tick
            if s["decided_at"]:
                decide_here(s, state.d, c.channels, c.padded, tick, c.exit_kind, c.exit_limit)
        progress["done"] = tick
    return np.int64(Status.DONE)

"""A population of neurons, tick by tick over a window of time."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import end_of_tick
from eventsim.engines.layered.ways.records import FOREVER, Status
from eventsim.engines.layered.ways.tick_kernels.deliver import deliver, fits, out_of_range
from eventsim.engines.layered.ways.tick_kernels.due import find_reached, keep_due, scan
from eventsim.engines.layered.ways.tick_kernels.few import run_few
from eventsim.engines.layered.ways.tick_kernels.fire import fire_all, fire_due, note_fired
from eventsim.engines.layered.ways.tick_kernels.ring import release
from eventsim.kernels.compiled import compiled
from eventsim.kernels.simd import SLACK


@compiled
def advance(layer, state, scratch, train, out, tally, until):
    """Run a population to the end of a tick.

    Parameters
    ----------
    layer, state, scratch : Layer, State, Scratch
    train : Train
        Its incoming spikes, with the ticks of their arrival.
    out : Train
        Takes its own.
    tally : Tally
    until : int64

    Returns
    -------
    int64
        DONE; GROW: ``out`` is full; WIDEN: d needs a wider type, after which, as after GROW, it is called again; OVERFLOW: a potential has
        left int32.
    """
    c, s = layer.constants, state.progress[()]
    while True:
        at = s["at"]
        arrival = train.tick[at] if at < len(train.tick) else FOREVER
        leaves = state.ring_tick[s["head"]] if s["waiting"] else FOREVER
        tick = min(arrival, leaves)
        if tick > until:
            return np.int64(Status.DONE)
        if s["fired"] + c.size + SLACK > len(out.tick):
            return np.int64(Status.GROW)
        if tick > (s["step"] + 1) * c.resolution:
            s["step"] = (tick - 1) // c.resolution
        last = min(until, (s["step"] + 1) * c.resolution)
        if tick < leaves and s["checked"] == 0 and run_few(layer, state, scratch, train, out, tally, last, leaves):
            continue
        stop = at
        if arrival == tick:
            stop = end_of_tick(train.tick, at)
            if not fits(layer, state, train, at, stop):
                return np.int64(Status.WIDEN)
        released = release(layer, state, scratch.candidates, tick)
        before = s["fired"]
        if stop == at:
            n = keep_due(state.d, state.low, scratch.candidates, released)
        else:
            reached = deliver(layer, state.d, scratch, train, tally.operations, s["step"], at, stop)
            if s["checked"] and out_of_range(state.d, layer.threshold, c.padded, s["park"]):
                return np.int64(Status.OVERFLOW)
            s["at"] = stop
            if 2 * reached <= c.size:
                n = keep_due(state.d, state.low, scratch.candidates, released)
                if reached:
                    n = find_reached(layer, state.d, state.low, train, at, stop, scratch.candidates, n)
            elif fire_all(layer, state, state.low, out, tick):
                n = 0
            else:
                n = scan(state.d, state.low, 0, c.size, scratch.candidates, 0)
        fire_due(layer, state, out, tally, scratch.candidates, n, tick)
        note_fired(s, tally, out, before)

"""Populations that leak, over a window of time: neurons, and readouts."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.leak_kernels.step import begin_step
from eventsim.engines.layered.ways.parts import divided
from eventsim.engines.layered.ways.records import Role, Status
from eventsim.engines.layered.ways.tick_kernels.due import scan
from eventsim.engines.layered.ways.tick_kernels.fire import note_fired
from eventsim.engines.layered.ways.tick_kernels.readout import decide_here, note_readout
from eventsim.kernels.compiled import compiled, part
from eventsim.kernels.simd import SLACK


@compiled
def advance(layer, leaking, state, scratch, train, out, tally, until):
    """Run neurons to the end of a tick.

    Parameters
    ----------
    layer, state, scratch : Layer, State, Scratch
        ``state.d`` is int32.
    leaking : Leaking
    train : Train
        The incoming spikes, with the ticks of their arrival.
    out : Train
        Takes their own.
    tally : Tally
    until : int64

    Returns
    -------
    int64
        DONE; GROW: ``out`` is full, after which it is called again; OVERFLOW: 32 bits may not do.
    """
    c, s, progress = layer.constants, state.progress[()], leaking.progress[()]
    while progress["done"] < until:
        if s["fired"] + c.size + SLACK > len(out.tick):
            return np.int64(Status.GROW)
        tick = progress["done"] + 1
        if begin_step(layer, leaking, leaking.current, state, scratch, train, tally, tick) < 0:
            return np.int64(Status.OVERFLOW)
        before = s["fired"]
        n = scan(state.d, None, 0, c.size, scratch.candidates, 0)
        for i in range(n):
            lane = np.int64(scratch.candidates[i])
            if may_fire(leaking.last, lane, c.refractory, tick):
                fire(c, leaking, state.d, out, s, lane, tick)
        note_fired(s, tally, out, before)
        progress["done"] = tick
    return np.int64(Status.DONE)


@part
def may_fire(last, lane, refractory, tick):
    """Whether a neuron's refractory period is over; then it is noted that it fires. ``last`` is that of Leaking."""
    if last is None:
        return True
    allowed = last[lane] + refractory <= tick
    if allowed:
        last[lane] = tick
    return allowed


@part
def fire(c, leaking, d, out, progress, lane, tick):
    """Reset a neuron and list its spike; ``c`` is Constants, ``progress`` that of the state."""
    location, fired = divided(lane, c.padded, c.padded_shift), progress["fired"]
    if leaking.resets:
        d[lane] = leaking.amount[lane] - leaking.theta[lane]
    else:
        d[lane] -= leaking.amount[lane]
    out.tick[fired] = tick
    out.neuron[fired] = location * c.channels + lane - location * c.padded
    progress["fired"] = fired + 1


@compiled
def read_out(layer, leaking, state, scratch, train, tally, until):
    """Run a readout to the end of a tick, or, of the output, to that of its exit; else as :func:`advance`."""
    c, s, progress = layer.constants, state.progress[()], leaking.progress[()]
    while progress["done"] < until and s["exited"] == 0:
        tick = progress["done"] + 1
        arrived = begin_step(layer, leaking, leaking.current, state, scratch, train, tally, tick)
        if arrived < 0:
            return np.int64(Status.OVERFLOW)
        note_readout(state.d, c.channels, c.padded, tally.readout, tick - 1, tick)
        if c.role == Role.OUTPUT:
            if arrived > 0 and s["decided_at"] == 0:
                s["decided_at"] = tick
            if s["decided_at"]:
                decide_here(s, state.d, c.channels, c.padded, tick, c.exit_kind, c.exit_limit)
        progress["done"] = tick
    return np.int64(Status.DONE)

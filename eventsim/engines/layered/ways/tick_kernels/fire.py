"""Neurons that are due spike: reset by subtraction or to zero, once a refractory period."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import append, divided
from eventsim.engines.layered.ways.tick_kernels.due import is_due
from eventsim.engines.layered.ways.tick_kernels.ring import enter
from eventsim.kernels import simd
from eventsim.kernels.compiled import inner, part
from eventsim.kernels.simd import LANES


@part
def fire(layer, state, out, negative, lane, tick):
    """Let a due neuron spike.

    Parameters
    ----------
    layer, state : Layer, State
    out : Train
        Takes its spike, and has room for it.
    negative : int64 (steps,)
        Counts spikes of sign -1.
    lane, tick : int64
    """
    c, s, d = layer.constants, state.progress[()], state.d
    location = divided(lane, c.padded, c.padded_shift)
    channel = lane - location * c.padded
    threshold, fired = layer.threshold[channel], s["fired"]
    positive = d[lane] >= 0
    if not positive:
        d[lane] += threshold
    elif c.zero_reset:
        d[lane] = -threshold
    else:
        d[lane] -= threshold
    out.tick[fired] = tick
    out.neuron[fired] = location * c.channels + channel
    s["fired"] = fired + 1
    note_sign(state.low, state.net, lane, positive, threshold, s, out.sign, fired, negative)
    if c.refractory > 1:
        park(d, state.low, lane, s)
        enter(c, state, lane, tick)
    elif is_due(d, state.low, lane):
        enter(c, state, lane, tick)


@part
def note_sign(low, net, lane, positive, threshold, progress, signs, fired, negative):
    """What a spike of a signed neuron means for its next ones: below which distance it is due again. Of unsigned ones: nothing."""
    if low is not None:
        sign = 1 if positive else -1
        signs[fired] = sign
        net[lane] += sign
        negative[progress["step"]] += not positive
        low[lane] = -threshold if net[lane] > 0 else progress["lowest"]


@part
def park(d, low, lane, progress):
    """Hide a neuron from all tests."""
    d[lane] -= progress["park"]
    if low is not None:
        low[lane] = progress["lowest"]


@part
def fire_due(layer, state, out, tally, candidates, n, tick):
    """Let those of the first ``n`` candidates (int32, equal ones next to each other) spike that are due.

    Parameters
    ----------
    layer, state, out, tally : Layer, State, Train, Tally
        As for :func:`eventsim.engines.layered.ways.tick_kernels.neurons.advance`.
    candidates : int32 array
    n, tick : int64
    """
    previous = -1
    for i in range(n):
        lane = candidates[i]
        if lane != previous and is_due(state.d, state.low, lane):
            fire(layer, state, out, tally.negative, lane, tick)
        previous = lane


@part
def note_fired(progress, tally, out, before):
    """Count the spikes from place ``before`` of ``out`` on, all of the last step; note the population's first one."""
    n = progress["fired"] - before
    if n:
        tally.spikes[progress["step"]] += n
        if progress["first_tick"] == 0:
            progress["first_tick"] = out.tick[before]


@part
def fire_all(layer, state, low, out, tick):
    """Let all due neurons spike, if they are of the plain kind; returns whether they are.

    Plain neurons are unsigned (``low`` is that of ``state``), reset by subtraction, and have no refractory period of more than a tick.
    """
    c, s = layer.constants, state.progress[()]
    if low is not None or c.refractory > 1 or c.zero_reset:
        return False
    before = s["fired"]
    discharge_all(state.d, state.theta, c.channels, out.neuron, s, tick + 1, c.end, state.ring_tick, state.ring_lane)
    for n in range(before, s["fired"]):
        out.tick[n] = tick
    return True


@inner
def discharge_all(d, theta, channels, neurons, progress, again, end, ring_tick, ring_lane):
    """Take the threshold off all that reach it, and list them; those that reach it again enter the ring.

    Parameters
    ----------
    d, theta, ring_tick, ring_lane
        As in :class:`State`.
    channels : int64
    neurons : int32 array
        Takes the neurons, from place ``fired`` on and up to SLACK places more.
    progress : PROGRESS
        ``fired`` and ``waiting`` go on.
    again : int64
        For which tick they enter the ring, unless it lies behind ``end``, the last one of the run.
    end : int64
    """
    padded, size, head = len(theta), len(d), progress["head"]
    fired, waiting = progress["fired"], progress["waiting"]
    neuron = 0
    for start in range(0, size, padded):
        for k in range(0, padded, LANES):
            fires = simd.discharge(d, start + k, theta, k)
            if fires:
                fired = append(neurons, fired, neuron + k, fires)
                due = simd.test(d, start + k)
                while due and again <= end:
                    tail = head + waiting
                    if tail >= size:
                        tail -= size
                    ring_tick[tail] = again
                    ring_lane[tail] = start + k + simd.lowest(due)
                    waiting += 1
                    due &= due - np.uint32(1)
        neuron += channels
    progress["fired"], progress["waiting"] = fired, waiting

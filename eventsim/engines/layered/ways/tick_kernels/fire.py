"""Neurons that are due spike: reset by subtraction or to zero, once a refractory period."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import append, divided
from eventsim.engines.layered.ways.tick_kernels.ring import enter
from eventsim.kernels import simd
from eventsim.kernels.compiled import inner, part
from eventsim.kernels.simd import LANES


@part
def fire(layer, state, out, negative, first, tick):
    """Let those of the LANES neurons from lane ``first`` on spike that are due.

    Parameters
    ----------
    layer, state : Layer, State
    out : Train
        Takes their spikes, and has room for them and SLACK more.
    negative : int64 (steps,)
        Counts spikes of sign -1.
    first, tick : int64
    """
    c, s = layer.constants, state.progress[()]
    location = divided(first, c.padded, c.padded_shift)
    channel = first - location * c.padded
    fires, minus, again = discharge(state.d, state.low, state.net, state.theta, first, channel, c.zero_reset, s["lowest"])
    fired = s["fired"]
    n = append(out.neuron, fired, location * c.channels + channel, fires)
    for k in range(fired, n):
        out.tick[k] = tick
    note_signs(state.low, out.sign, fired, fires, minus, negative, s["step"])
    s["fired"] = n
    if c.refractory > 1:
        again = fires
    while again:
        lane = first + simd.lowest(again)
        if c.refractory > 1:
            park(state.d, state.low, lane, s)
        enter(c, state, lane, tick)
        again &= again - np.uint32(1)


@part
def discharge(d, low, net, theta, first, channel, zero_reset, lowest):
    """Reset those of LANES neurons that are due: masks of them, of those among them whose spikes have sign -1, and of those still due."""
    if low is None:
        fires, again = simd.reset(d, first, theta, channel, 0 if zero_reset else -1)
        return fires, np.uint32(0), again
    return simd.reset_signed(d, first, theta, channel, low, net, lowest)


@part
def note_signs(low, signs, fired, fires, minus, negative, step):
    """Write the signs of spikes of signed neurons; of unsigned ones (``low`` is None): nothing."""
    if low is not None:
        negative[step] += simd.count(minus)
        while fires:
            lane = simd.lowest(fires)
            signs[fired] = 1 - 2 * np.int8((minus >> lane) & 1)
            fired += 1
            fires &= fires - np.uint32(1)


@part
def park(d, low, lane, progress):
    """Hide a neuron from all tests."""
    d[lane] -= progress["park"]
    if low is not None:
        low[lane] = progress["lowest"]


@part
def fire_due(layer, state, out, tally, candidates, n, tick):
    """Let those spike that are due: each of them is among the first ``n`` candidates (int32, in order), or in the block of one.

    Parameters
    ----------
    layer, state, out, tally : Layer, State, Train, Tally
        As for :func:`eventsim.engines.layered.ways.tick_kernels.neurons.advance`.
    candidates : int32 array
    n, tick : int64
    """
    beyond = 0
    for i in range(n):
        lane = np.int64(candidates[i])
        if lane >= beyond:
            first = lane - lane % LANES
            fire(layer, state, out, tally.negative, first, tick)
            beyond = first + LANES


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

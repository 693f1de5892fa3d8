"""Compiled code of maximum populations: along the spikes that reach one, or from the raster of its source."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.engines.layered.ways.parts import end_of_tick
from eventsim.kernels import simd
from eventsim.kernels.compiled import compiled, part
from eventsim.kernels.sort import sort_candidates
from eventsim.kernels.windows import changed_by, count_spike, sense_of, step_of


class State(NamedTuple):
    """What changes during a run, and room to work in. Both counts are times the sense (see :mod:`eventsim.kernels.windows`)."""

    counts: Any  # int32 (source neurons,)
    net: Any  # int32 (windows,)
    candidates: Any  # int32 (windows,)
    best: Any  # int32 (32,)


class Counted(NamedTuple):
    """Counts per step of one population and of the projection that leads to it."""

    spikes: Any  # int64 (steps,)
    negative: Any  # int64 (steps,)
    operations: Any  # int64 (steps, 5): deliveries, windows in which spikes are compared, additions, toolbox, effective


@compiled
def follow(maxima, state, train, begin, end, out, n, counted, resolution):
    """Follow the spikes ``begin..end-1`` of a train, whole ticks, as long as there is room for what the population may fire.

    Parameters
    ----------
    maxima : Maxima
        Of one population.
    state : State
    train : Train
        What reaches it.
    begin, end : int64
    out : Train
        Its own spikes, n so far.
    n : int64
    counted : Counted
    resolution : int64

    Returns
    -------
    int64, int64
        How far it has got in the train, and its spikes now.
    """
    size = len(state.net)
    at = begin
    while at < end and n + size <= len(out.tick):
        tick, before = train.tick[at], n
        step = (tick - 1) // resolution
        following, compared = end_of_tick(train.tick, at), np.int64(0)
        for e in range(at, following):
            compared += count_spike(maxima, 0, state.counts, np.int64(train.neuron[e]), train.sign[e] if len(train.sign) else 1)
        counted.operations[step, 0] += following - at
        counted.operations[step, 1] += compared
        counted.operations[step, 3] += following - at
        found = candidates_of(maxima, state, train, at, following, compared)
        previous = -1
        for c in range(found):
            window = np.int64(state.candidates[c])
            if window == previous:
                continue
            previous = window
            rise = step_of(maxima, 0, state.counts, window, state.net[window])
            if rise:
                state.net[window] += rise
                sign = rise * sense_of(maxima, 0, window)
                out.tick[n], out.neuron[n] = tick, window
                if len(out.sign):
                    out.sign[n] = sign
                counted.negative[step] += sign < 0
                n += 1
        counted.spikes[step] += n - before
        at = following
    return at, n


@part
def candidates_of(maxima, state, train, begin, end, compared):
    """The windows that the spikes of a tick may have changed, ascending, in ``candidates``; returns their number."""
    size, found = len(state.net), np.int64(0)
    if compared >= size and end > begin + 1:
        for window in range(size):
            state.candidates[window] = window
        return np.int64(size)
    for e in range(begin, end):
        sign = np.int64(train.sign[e]) if len(train.sign) else np.int64(1)
        found = changed_by(maxima, 0, state.counts, state.net, np.int64(train.neuron[e]), sign, 0, state.candidates, found)
    if end > begin + 1 and found > 1:
        sort_candidates(state.candidates, found)
    return found


@compiled
def follow_raster(maxima, state, upward, source, negative, target, taken_back, counted):
    """Follow a window's raster, where a step is a tick: count the spikes of a tick, then compare.

    Parameters
    ----------
    maxima : Maxima
        Of one population.
    state : State
    upward : uint32 array (blocks of 32 channels,)
        Bits of the channels of which the maximum is taken.
    source : Masks
    negative : uint32 array or None
        ``source.negative``.
    target : Masks
        Zeros; written.
    taken_back : uint32 array or None
        ``target.negative``.
    counted : Counted

    Returns
    -------
    int64
        The first tick with spikes, counted from 0, or ``source.ticks``.
    """
    first, length, each = source.ticks, source.length, len(upward) * source.length
    for t in range(source.ticks):
        chunk = t // length
        within = t - chunk * length
        count_tick(
            maxima, state, source.positive, negative, chunk * source.locations * each + within, length, counted.operations[source.since + t]
        )
        fired, back = compare_tick(maxima, state, upward, source, negative, target, taken_back, chunk, within)
        counted.spikes[source.since + t] += fired
        counted.negative[source.since + t] += back
        if fired and first == source.ticks:
            first = t
    return first


@part
def count_tick(maxima, state, positive, negative, place, length, operations):
    """Count the spikes of a tick of a raster, whose masks lie from ``place`` on, ``length`` apart.

    Parameters
    ----------
    maxima : Maxima
    state : State
    positive : uint32 array
    negative : uint32 array or None
    place, length : int64
    operations : int64 array (5,)
        Of the step.
    """
    of, m = maxima.windows[0], place
    channels, at = of["channels"], np.int64(0)
    spikes = compared = np.int64(0)
    for y in range(of["height"]):
        rows = maxima.spans[of["rows"] + y]
        for x in range(of["width"]):
            columns = maxima.spans[of["columns"] + x]
            lie_in = max(0, rows["end"] - rows["first"]) * max(0, columns["end"] - columns["first"])
            for lane in range(0, channels, 32):
                up, down = positive[m], np.uint32(0)
                if negative is not None:
                    down = negative[m]
                m += length
                if up | down:
                    lanes = min(32, channels - lane)
                    add_bits(state.counts, at + lane, up, down, maxima.senses, lane, lanes)
                    number = simd.count(up) + simd.count(down)
                    spikes += number
                    compared += number * lie_in
            at += channels
    operations[0] += spikes
    operations[1] += compared
    operations[3] += spikes


@part
def add_bits(counts, at, up, down, senses, lane, lanes):
    """``counts[at + k] += senses[lane + k]`` times bit k of ``up`` less that of ``down``; unsigned indices vectorise."""
    i, j = np.uint64(at), np.uint64(lane)
    for k in range(np.uint64(lanes)):
        bit = np.uint32(k)
        one = np.uint32(1)
        counts[i + k] += (np.int32((up >> bit) & one) - np.int32((down >> bit) & one)) * senses[j + k]


@part
def compare_tick(maxima, state, upward, source, negative, target, taken_back, chunk, within):
    """Have the windows that got spikes in a tick fire; returns the spikes, and those of sign -1 among them."""
    of, blocks, length = maxima.windows[0], len(upward), source.length
    channels, width = of["channels"], of["width"]
    arrived, sent = chunk * source.locations * blocks * length + within, chunk * target.locations * blocks * length + within
    fired = back = np.int64(0)
    for location in range(target.locations):
        y = location // of["out_width"]
        rows = maxima.spans[of["window_rows"] + y]
        columns = maxima.spans[of["window_columns"] + location - y * of["out_width"]]
        for b in range(blocks):
            m, seen = arrived + b * length, np.uint32(0)
            for row in range(rows["first"], rows["end"]):
                for cell in range(row * width + columns["first"], row * width + columns["end"]):
                    seen |= source.positive[m + cell * blocks * length]
                    if negative is not None:
                        seen |= negative[m + cell * blocks * length]
            if not seen:
                continue
            lanes, place = min(32, channels - 32 * b), sent + (location * blocks + b) * length
            state.best[:] = -(2**31)
            for row in range(rows["first"], rows["end"]):
                for cell in range(row * width + columns["first"], row * width + columns["end"]):
                    raise_to(state.best, state.counts, cell * channels + 32 * b, lanes)
            rises, falls = differences(state.net, location * channels + 32 * b, state.best, lanes)
            positive = (rises & upward[b]) | (falls & ~upward[b])
            target.positive[place] = positive
            fired += simd.count(positive)
            if taken_back is not None:
                taken_back[place] = (falls & upward[b]) | (rises & ~upward[b])
                fired += simd.count(taken_back[place])
                back += simd.count(taken_back[place])
    return fired, back


@part
def raise_to(best, counts, at, lanes):
    """``best[k] = max(best[k], counts[at + k])``."""
    i = np.uint64(at)
    for k in range(np.uint64(lanes)):
        best[k] = max(best[k], counts[i + k])


@part
def differences(net, at, best, lanes):
    """Bits of the lanes in which ``best`` is above ``net[at + lane]``, and of those in which it is below; net becomes best."""
    i, rises, falls = np.uint64(at), np.uint32(0), np.uint32(0)
    for k in range(np.uint64(lanes)):
        own, now, bit = net[i + k], best[k], np.uint32(k)
        rises |= np.uint32(now > own) << bit
        falls |= np.uint32(now < own) << bit
        net[i + k] = now
    return rises, falls

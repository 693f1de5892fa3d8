"""Compiled code of maximum populations: along the spikes that reach one, or from the raster of its source."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.engines.layered.ways.parts import end_of_tick
from eventsim.kernels import simd
from eventsim.kernels import vector as vectors
from eventsim.kernels.compiled import compiled, part
from eventsim.kernels.simd import LANES
from eventsim.kernels.sort import sort_candidates
from eventsim.kernels.windows import changed_by, count_spike, sense_of, step_of


class State(NamedTuple):
    """What changes during a run, and room to work in. Both counts are times the sense (see :mod:`eventsim.kernels.windows`)."""

    counts: Any  # int32 (source neurons + LANES,)
    net: Any  # int32 (windows + LANES,)
    candidates: Any  # int32 (windows,)
    cells: Any  # int32 (cells of a window x LANES,)
    places: Any  # int64 (cells of a window,)


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
    size = len(state.candidates)
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
    size, found = len(state.candidates), np.int64(0)
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
    """Follow a raster, where a step is a tick, some ticks at a time: first the windows fire, then what arrived is counted for good.

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
    """
    length = source.length
    for since in range(0, source.ticks, length):
        ticks = min(length, source.ticks - since)
        begin = since // length * len(upward) * length
        for location in range(target.locations):
            for b in range(len(upward)):
                fire_window(maxima, state, upward[b], source, negative, target, taken_back, counted, begin, location, b, (since, ticks))
        count_chunk(
            maxima, state, source.positive, negative, begin * source.locations, (length, ticks), counted.operations, source.since + since
        )


@part
def fire_window(maxima, state, upward, source, negative, target, taken_back, counted, begin, location, b, during):
    """The windows of a location and block b of channels through the ticks of a chunk.

    Parameters
    ----------
    maxima, state, source, negative, target, taken_back, counted
        As of :func:`follow_raster`.
    upward : uint32
        Of the block.
    begin : int64
        Masks of a location before the chunk.
    location, b : int64
    during : (int64, int64)
        Ticks of the raster before the chunk, and ticks of it.
    """
    of, length, (since, ticks) = maxima.windows[0], source.length, during
    blocks, channels = (of["channels"] + 31) >> 5, of["channels"]
    y = location // of["out_width"]
    rows = maxima.spans[of["window_rows"] + y]
    columns = maxima.spans[of["window_columns"] + location - y * of["out_width"]]
    cells, seen = np.int64(0), np.uint32(0)
    for row in range(rows["first"], rows["end"]):
        for cell in range(row * of["width"] + columns["first"], row * of["width"] + columns["end"]):
            place = begin * source.locations + (cell * blocks + b) * length
            state.places[cells] = place
            vectors.store(state.cells, LANES * cells, vectors.load(state.counts, cell * channels + LANES * b, LANES))
            cells += 1
            for t in range(place, place + ticks):
                seen |= source.positive[t]
                if negative is not None:
                    seen |= negative[t]
    if not seen:
        return
    valid = np.uint32((2**32 - 1) >> max(0, LANES * (b + 1) - channels))
    sense, at = vectors.load(maxima.senses, LANES * b, LANES), location * channels + LANES * b
    own, sent = vectors.load(state.net, at, LANES), begin * target.locations + (location * blocks + b) * length
    for t in range(ticks):
        best = vectors.full(own, -(2**31))
        for n in range(cells):
            best = count_cell(state.cells, LANES * n, source.positive, negative, state.places[n] + t, sense, best)
        rises, falls = vectors.bits(best > own) & valid, vectors.bits(best < own) & valid
        own = vectors.select(vectors.flags(valid), best, own)
        up = (rises & upward) | (falls & ~upward)
        target.positive[sent + t] = up
        fired = simd.count(up)
        if taken_back is not None:
            down = (falls & upward) | (rises & ~upward)
            taken_back[sent + t] = down
            fired += simd.count(down)
            counted.negative[source.since + since + t] += simd.count(down)
        counted.spikes[source.since + since + t] += fired
    vectors.store(state.net, at, own)


@part
def count_cell(cells, i, positive, negative, m, sense, best):
    """Count the spikes of a mask at place m to LANES counts from place i on; returns the larger ones of these and ``best``."""
    count = vectors.load(cells, i, LANES)
    count = count + vectors.converted(vectors.flags(vectors.peek(positive, m)), count) * sense
    if negative is not None:
        count = count - vectors.converted(vectors.flags(vectors.peek(negative, m)), count) * sense
    vectors.store(cells, i, count)
    return vectors.select(count > best, count, best)


@part
def count_chunk(maxima, state, positive, negative, begin, chunk, operations, step):
    """Count the spikes of a chunk of a raster.

    Parameters
    ----------
    maxima : Maxima
    state : State
    positive : uint32 array
    negative : uint32 array or None
    begin : int64
        The chunk's first mask.
    chunk : (int64, int64)
        Masks from one block to the next, and ticks.
    operations : int64 array (steps, 5)
    step : int64
        Of the first tick.
    """
    of, m, (length, ticks) = maxima.windows[0], begin, chunk
    for y in range(of["height"]):
        rows = maxima.spans[of["rows"] + y]
        for x in range(of["width"]):
            columns = maxima.spans[of["columns"] + x]
            lie_in = max(0, rows["end"] - rows["first"]) * max(0, columns["end"] - columns["first"])
            for lane in range(0, of["channels"], LANES):
                at = (y * of["width"] + x) * of["channels"] + lane
                count, sense = vectors.load(state.counts, at, LANES), vectors.load(maxima.senses, lane, LANES)
                for t in range(ticks):
                    up, down = vectors.peek(positive, m + t), np.uint32(0)
                    count = count + vectors.converted(vectors.flags(up), count) * sense
                    if negative is not None:
                        down = vectors.peek(negative, m + t)
                        count = count - vectors.converted(vectors.flags(down), count) * sense
                    number = simd.count(up) + simd.count(down)
                    operations[step + t, 0] += number
                    operations[step + t, 1] += number * lie_in
                    operations[step + t, 3] += number
                vectors.store(state.counts, at, count)
                m += length

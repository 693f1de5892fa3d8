"""Spiking populations from the rasters of their sources: integrating and firing (see :mod:`eventsim.engines.layered.ways.raster`)."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.raster_kernels.counting import count_arrivals, count_steps
from eventsim.engines.layered.ways.raster_kernels.records import BEHIND
from eventsim.kernels import simd_raster as vectors
from eventsim.kernels.compiled import compiled, part


@compiled
def advance(tables, records, costs, state, tally, source, target, scratch):
    """A window of a population: :func:`integrate`, and count the operations, the population's spikes and its first one.

    Parameters
    ----------
    tables : Tables
    records : STENCIL array (source locations,)
        As in :class:`eventsim.engines.layered.ways.records.Layer`.
    costs : Costs
    state : State
        ``d`` is int32, and surely stays so.
    tally : Tally
    source : Masks
    target : Masks
        Written.
    scratch : Scratch
    """
    s = state.progress[()]
    s["bound"] += source.ticks * tables.rise
    count_arrivals(records, costs, tally.operations, source, source.negative, scratch.counts)
    integrate(tables, state.d, state.net, source, source.negative, target, target.negative, scratch)
    # Who is due is no longer in the ring.
    s["head"] = s["waiting"] = 0
    first = count_steps(target, target.positive, scratch.counts, tally.spikes)
    first = min(first, count_negative(target, target.negative, scratch.counts, tally))
    if first < target.ticks and s["first_tick"] == 0:
        s["first_tick"] = target.since + 1 + first


@part
def count_negative(target, negative, counts, tally):
    """Count the spikes of sign -1, if there may be some; returns as :func:`count_steps`."""
    if negative is None:
        return target.ticks
    count_steps(target, negative, counts, tally.negative)
    return count_steps(target, negative, counts, tally.spikes)


@compiled
def integrate(tables, d, net, source, negative, target, out_negative, scratch):
    """The spikes of a window (see the module): takes the raster of the source, writes that of the population.

    Parameters
    ----------
    tables : Tables
    d : int32 array (lanes,)
        Distances to threshold.
    net : int32 array (lanes,) or None
        Positive minus negative spikes of each, if there may be negative ones.
    source, target : Masks
    negative, out_negative : uint32 array or None
        ``source.negative``, ``target.negative``.
    scratch : Scratch
    """
    g, length, current = tables.geometry, source.length, scratch.currents
    row_size = g.across * length * g.lanes
    clear_behind(target.positive)
    if out_negative is not None:
        clear_behind(out_negative)
    current[: g.rows * row_size] = 0
    begin = out_begin = np.int64(0)
    for since in range(0, source.ticks, length):
        now = min(length, source.ticks - since)
        for block in range(g.padded // g.lanes):
            for row in range(max(g.groups_y, g.out_height) + g.rows - 1):
                if row < g.groups_y:
                    deliver_row(tables, row, block, scratch, source.positive, negative, begin, length, now)
                reached = row - g.rows + 1
                if reached >= 0 and reached < g.out_height:
                    fire_row(tables, reached, block, current, d, net, target.positive, out_negative, out_begin, length, now)
                else:
                    # A row beyond the border.
                    slot = (reached + g.rows) % g.rows
                    current[slot * row_size : (slot + 1) * row_size] = 0
        begin += g.height * g.width * g.blocks * length
        out_begin += g.out_height * g.out_width * (g.padded >> 5) * length


@part
def deliver_row(tables, row, block, scratch, masks, negative, begin, length, ticks):
    """Add the spikes of a row of groups to the currents of the target locations that they reach.

    Parameters
    ----------
    tables : Tables
    row, block : int64
        Which row of groups, which block of target lanes.
    scratch : Scratch
    masks : uint32 array
    negative : uint32 array or None
    begin : int64
        Where the masks of the chunk begin.
    length, ticks : int64
        Ticks of a chunk; of this one.
    """
    g, targets = tables.geometry, scratch.targets
    step, reached = length * g.lanes, g.rows * g.columns
    pairs = (g.stride_y * g.stride_x * g.blocks + 1) >> 1
    size = 64 * pairs * g.taps * g.lanes
    zeros = len(masks) - BEHIND
    scratch.words[2 * pairs - 1] = zeros
    for column in range(g.groups_x):
        find_masks(g, row, column, scratch.words, begin, zeros, length)
        for p in range(g.passes):
            for tap in range(g.taps):
                which = p * g.taps + tap
                # The place for a tap that a group does not have lies behind all others.
                targets[tap] = g.rows * g.across * step
                if which < reached:
                    i = which // g.columns
                    slot = (row + g.rows - i) % g.rows
                    targets[tap] = (slot * g.across + column - (which - i * g.columns) + g.columns - 1) * step
            q = (block * g.passes + p) * size
            add(g, scratch, masks, pairs, ticks, tables.weights, q)
            if negative is not None:
                subtract(g, scratch, negative, pairs, ticks, tables.weights, q)


@part
def find_masks(g, row, column, words, begin, zeros, length):
    """Where the masks of a group lie: of each of its locations, block by block; those beyond the border are zeros.

    Parameters
    ----------
    g : Geometry
    row, column : int64
        Of the group.
    words : int64 array
        Written.
    begin, zeros : int64
        Where the masks of the chunk begin, and where zeros lie.
    length : int64
        Ticks of a chunk.
    """
    n = 0
    for i in range(g.stride_y):
        y = row * g.stride_y + i - g.top
        for j in range(g.stride_x):
            x = column * g.stride_x + j - g.left
            inside = y >= 0 and y < g.height and x >= 0 and x < g.width
            for b in range(g.blocks):
                words[n] = begin + ((y * g.width + x) * g.blocks + b) * length if inside else zeros
                n += 1


@part
def add(g, scratch, masks, pairs, ticks, weights, q):
    """Add the weights of a group's spikes to the currents of its targets, for each tick.

    Parameters
    ----------
    g : Geometry
    scratch : Scratch
        ``currents`` (written); ``words`` and ``targets`` of the group.
    masks : uint32 array
    pairs : int64
        Pairs of masks of the group in a tick.
    ticks : int64
    weights : int8 array
    q : int64
        Where those of the group begin.
    """
    current, targets, words, limit = scratch.currents, scratch.targets, scratch.words, g.limit
    if g.lanes == 64:
        if g.taps == 9:
            vectors.add_9_64(current, targets, masks, words, pairs, ticks, weights, q, limit)
        elif g.taps == 4:
            vectors.add_4_64(current, targets, masks, words, pairs, ticks, weights, q, limit)
        else:
            vectors.add_1_64(current, targets, masks, words, pairs, ticks, weights, q, limit)
    elif g.taps == 9:
        vectors.add_9_32(current, targets, masks, words, pairs, ticks, weights, q, limit)
    elif g.taps == 4:
        vectors.add_4_32(current, targets, masks, words, pairs, ticks, weights, q, limit)
    else:
        vectors.add_1_32(current, targets, masks, words, pairs, ticks, weights, q, limit)


@part
def subtract(g, scratch, masks, pairs, ticks, weights, q):
    """As :func:`add`, for spikes of sign -1."""
    current, targets, words, limit = scratch.currents, scratch.targets, scratch.words, g.limit
    if g.lanes == 64:
        if g.taps == 9:
            vectors.subtract_9_64(current, targets, masks, words, pairs, ticks, weights, q, limit)
        elif g.taps == 4:
            vectors.subtract_4_64(current, targets, masks, words, pairs, ticks, weights, q, limit)
        else:
            vectors.subtract_1_64(current, targets, masks, words, pairs, ticks, weights, q, limit)
    elif g.taps == 9:
        vectors.subtract_9_32(current, targets, masks, words, pairs, ticks, weights, q, limit)
    elif g.taps == 4:
        vectors.subtract_4_32(current, targets, masks, words, pairs, ticks, weights, q, limit)
    else:
        vectors.subtract_1_32(current, targets, masks, words, pairs, ticks, weights, q, limit)


@part
def fire_row(tables, row, block, current, d, net, masks, negative, begin, length, ticks):
    """Let the neurons of a row of target locations integrate their currents and fire.

    Parameters
    ----------
    tables : Tables
    row, block : int64
        Which row of target locations, which block of their lanes.
    current : int16 array
        Set back to 0.
    d : int32 array
    net : int32 array or None
    masks : uint32 array
        Written.
    negative : uint32 array or None
        Written; None if the population fires no spikes of sign -1.
    begin : int64
        Where the masks of the chunk begin.
    length, ticks : int64
        Ticks of a chunk; of this one.
    """
    g, constant, threshold = tables.geometry, tables.constant, tables.threshold
    lanes, unit, keep = g.lanes, g.unit, g.keep
    everywhere = len(constant) == lanes
    for x in range(g.out_width):
        i = (row * g.out_width + x) * g.padded + block * lanes
        channel = i if len(threshold) > g.padded else block * lanes
        j = ((row % g.rows) * g.across + x + g.first) * length * lanes
        places = vectors.Firing(i, j, 0 if everywhere else i, channel, begin + (i >> 5) * length, lanes)
        if negative is None:
            if lanes == 64:
                vectors.fire_64(places, d, current, constant, threshold, masks, unit, keep, length, ticks)
            else:
                vectors.fire_32(places, d, current, constant, threshold, masks, unit, keep, length, ticks)
        elif lanes == 64:
            vectors.fire_signed_64(places, d, current, constant, threshold, masks, unit, keep, length, ticks, net, negative)
        else:
            vectors.fire_signed_32(places, d, current, constant, threshold, masks, unit, keep, length, ticks, net, negative)


@part
def clear_behind(masks):
    """Zeros behind masks (uint32): what lies there of earlier windows is overwritten where the masks are, but not behind them."""
    for m in range(len(masks) - BEHIND, len(masks)):
        masks[m] = 0

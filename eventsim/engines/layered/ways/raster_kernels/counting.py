"""Counting the spikes of rasters, and the operations that they take."""

from __future__ import annotations

import numpy as np

from eventsim.kernels import simd
from eventsim.kernels import simd_raster as vectors
from eventsim.kernels.compiled import brief, compiled, part


@brief
def count(masks, n):
    """Spikes in the first n of some masks (uint32)."""
    total = 0
    for m in range(n):
        total += simd.count(masks[m])
    return total


@compiled
def count_steps(source, masks, counts, spikes):
    """Count the spikes of a raster by step, where a step is a tick.

    Parameters
    ----------
    source : Masks
    masks : uint32 array
        Those of one sign.
    counts : int32 array (CHUNK,)
        Room to work in.
    spikes : int64 array (steps,)
        They are added to.

    Returns
    -------
    int64
        The first tick with spikes, counted from 0, or ``source.ticks``.
    """
    begin, first, ticks, length = 0, source.ticks, source.ticks, source.length
    each = source.locations * ((source.channels + 31) >> 5)
    for at in range(0, ticks, length):
        counts[:] = 0
        for m in range(begin, begin + each * length, length):
            vectors.add_counts(counts, masks, m)
        for t in range(min(length, ticks - at)):
            spikes[source.since + at + t] += counts[t]
            if counts[t] and first == ticks:
                first = at + t
        begin += each * length
    return first


@compiled
def count_arrivals(records, costs, operations, source, negative, counts):
    """Count the operations of a window: those of the source's spikes, and of the clocks'.

    But for the effective ones, if weights are 0: a location does not tell them.

    Parameters
    ----------
    records : STENCIL array (source locations,)
        As in :class:`eventsim.engines.layered.ways.records.Layer`.
    costs : Costs
    operations : int64 array (projections, steps, 5)
        They are added to.
    source : Masks
    negative : uint32 array or None
        ``source.negative``.
    counts : int32 array (CHUNK,)
        Room to work in.
    """
    base, own, length = costs.record, operations[costs.number], source.length
    begin = 0
    for at in range(0, source.ticks, length):
        counts[:] = 0
        now = min(length, source.ticks - at)
        for location in range(costs.locations):
            # Most locations have neighbours whose spikes cost the same.
            if location and not cost_the_same(records[base + location - 1], records[base + location]):
                note_counts(records[base + location - 1], costs.all_effective, counts, own, source.since + at, now)
                counts[:] = 0
            for b in range(costs.blocks):
                m = begin + (location * costs.blocks + b) * length
                vectors.add_counts(counts, source.positive, m)
                if negative is not None:
                    vectors.add_counts(counts, negative, m)
        note_counts(records[base + costs.locations - 1], costs.all_effective, counts, own, source.since + at, now)
        begin += costs.locations * costs.blocks * length
    for c in range(len(costs.clocks)):
        counted = operations[costs.clocks[c]]
        for t in range(source.since, source.since + source.ticks):
            for i in range(5):
                counted[t, i] += costs.of_clock[c, i]


@part
def cost_the_same(a, b):
    """Whether the spikes of two locations (STENCIL) do."""
    return a["synapses"] == b["synapses"] and a["additions"] == b["additions"] and a["toolbox"] == b["toolbox"]


@part
def note_counts(record, all_effective, counts, operations, since, ticks):
    """Add the operations of ``counts`` spikes at each of some ticks.

    Parameters
    ----------
    record : STENCIL
        Of a source location.
    all_effective : bool
    counts : int32 array
    operations : int64 array (steps, 5)
        Of the projection.
    since, ticks : int64
    """
    synapses, additions, toolbox = record["synapses"], record["additions"], record["toolbox"]
    for t in range(ticks):
        n = np.int64(counts[t])
        operations[since + t, 0] += n
        operations[since + t, 1] += n * synapses
        operations[since + t, 2] += n * additions
        operations[since + t, 3] += n * toolbox
        if all_effective:
            operations[since + t, 4] += n * synapses

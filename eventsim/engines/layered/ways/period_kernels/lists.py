"""Listing the spikes of a stretch by site, and counting what they cost."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import divided, note_operations
from eventsim.engines.layered.ways.period_kernels.records import END
from eventsim.engines.layered.ways.site_kernels.records import COSTS
from eventsim.kernels import simd
from eventsim.kernels.compiled import inner, part
from eventsim.kernels.vector import peek, poke


@inner
def list_spikes(layer, periods, room, train, at, stop, clock):
    """List the spikes at..stop-1 by site; site s has the entries from begins[s] on, and behind them one of the moment END.

    A spike of a clock comes last, at the last moment.

    Parameters
    ----------
    layer : Layer
    periods : Periods
        As :func:`eventsim.engines.layered.ways.site_kernels.lists.count_entries` left it.
    room : Room
        ``entries`` is written.
    train : Arrivals
    at, stop : int64
    clock : int64
        Its projection; -1 if there is no such spike.
    """
    begins, cursor, entries = periods.begins, periods.loads, room.entries
    place = np.int64(0)
    for site in range(len(cursor)):
        n = begins[site + 1]
        begins[site] = cursor[site] = place
        place += n + 1
    begins[len(cursor)] = place
    e = at
    while e < stop:
        p = np.int64(train.projection[e]) if len(train.projection) else 0
        e = list_projection(layer.projections[p], periods, p, room, train, at, e, stop)
    if clock >= 0:
        of, row = layer.projections[clock], periods.rows[clock, 0]
        key = 2 * periods.progress[()]["moments"] << 32 | (np.int64(simd.WIDE) if of["wide"] else np.int64(0))
        for r in range(row + COSTS, row + periods.rows[clock, 1], 2):
            site = np.int64(periods.reach[r])
            entries[cursor[site]] = key + np.int64(periods.reach[r + 1])
            cursor[site] += 1
    for site in range(len(cursor)):
        entries[cursor[site]] = np.int64(END) << 32 | simd.WIDE


@part
def list_projection(of, periods, p, room, train, at, e, stop):
    """List the spikes from ``e`` on for as long as they are of projection ``p`` (``of``); returns the place behind them."""
    rows, width, cursor = periods.rows[p, 0], periods.rows[p, 1], periods.loads
    source_channels, source_shift, channel_step = of["source_channels"], of["source_shift"], of["channel_step"]
    flag = np.int64(simd.WIDE) if of["wide"] else np.int64(0)
    negated = np.int64(simd.NEGATIVE) if of["wide"] else periods.sizes.negated
    while e < stop:
        if len(train.projection) and train.projection[e] != p:
            break
        neuron = np.int64(peek(train.neuron, e))
        location = divided(neuron, source_channels, source_shift)
        key = (np.int64(peek(room.moments, e - at)) << 32 | flag) + (neuron - location * source_channels) * channel_step
        if len(train.sign):
            # The weights of the other sign lie behind the others.
            key += negated & (np.int64(peek(train.sign, e)) >> 63)
        row = rows + location * width
        for r in range(row + COSTS, row + width, 2):
            site = np.int64(peek(periods.reach, r))
            n = peek(cursor, site)
            poke(room.entries, n, key + np.int64(peek(periods.reach, r + 1)))
            poke(cursor, site, n + 1)
        e += 1
    return e


@inner
def count_operations(layer, periods, train, at, stop, step, operations):
    """Count what the spikes at..stop-1 of a step do, as :data:`eventsim.job.job.OPERATIONS` names it, by what ``found`` says.

    Parameters
    ----------
    layer : Layer
    periods : Periods
        ``found`` has their number by source location.
    train : Arrivals
    at, stop, step : int64
    operations : int64 (projections, steps, 5)
        Of the network.
    """
    for p in range(len(layer.projections)):
        of, row, width = layer.projections[p], periods.rows[p, 0], periods.rows[p, 1]
        end = layer.projections[p + 1]["records"] if p + 1 < len(layer.projections) else len(periods.found)
        deliveries = synapses = additions = toolbox = np.int64(0)
        for record in range(of["records"], end):
            n = periods.found[record]
            deliveries += n
            synapses += n * periods.reach[row]
            additions += n * periods.reach[row + 1]
            toolbox += n * periods.reach[row + 2]
            row += width
        effective = synapses
        if of["nonzero"] >= 0 and deliveries:
            effective = np.int64(0)
            if p == periods.sizes.clock:
                effective += layer.effective[of["nonzero"]]
            for e in range(at if p != periods.sizes.clock else stop, stop):
                if len(train.projection) == 0 or train.projection[e] == p:
                    effective += layer.effective[of["nonzero"] + train.neuron[e]]
        note_operations(operations[of["number"], step], deliveries, synapses, additions, toolbox, effective)

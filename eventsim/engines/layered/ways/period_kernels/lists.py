"""Listing the spikes of a stretch by site, and counting what they cost."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import note_operations
from eventsim.engines.layered.ways.period_kernels.records import END, TWICE, Reaching
from eventsim.engines.layered.ways.site_kernels.records import COSTS
from eventsim.kernels import simd
from eventsim.kernels.compiled import apart, inner, part
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
    # The spikes of a clock that came among the others have weights of 16 bits, too.
    plain = periods.sizes.plain and (periods.sizes.clock < 0 or len(train.projection) == 0)
    for site in range(len(periods.plain)):
        periods.plain[site] = cursor[site] if plain else begins[site]
    if clock >= 0:
        of, row = layer.projections[clock], periods.rows[clock, 0]
        key = periods.progress[()]["moments"] * TWICE << 32 | (np.int64(simd.WIDE) if of["wide"] else np.int64(0))
        for r in range(row + COSTS, row + periods.rows[clock, 1], 2):
            site = np.int64(periods.reach[r])
            entries[cursor[site]] = key + np.int64(periods.reach[r + 1])
            cursor[site] += 1
    for site in range(len(cursor)):
        entries[cursor[site]] = np.int64(END * TWICE) << 32 | simd.WIDE


@part
def list_projection(of, periods, p, room, train, at, e, stop):
    """List the spikes from ``e`` on for as long as they are of projection ``p`` (``of``); returns the place behind them."""
    if len(train.projection):
        end = e
        while end < stop and peek(train.projection, end) == p:
            end += 1
        stop = end
    flag = np.int64(simd.WIDE) if of["wide"] else np.int64(0)
    negated = np.int64(simd.NEGATIVE) if of["wide"] else periods.sizes.negated
    shape = Reaching(periods.rows[p, 0], periods.rows[p, 1], of["source_channels"], of["source_shift"], of["channel_step"], flag, negated)
    list_run(shape, periods.reach, periods.loads, room.moments, room.entries, train.neuron, train.sign, at, e, stop)
    return stop


@apart
def list_run(shape, reach, cursor, moments, entries, neurons, signs, at, first, stop):
    """List the spikes first..stop-1 of a projection.

    Parameters
    ----------
    shape : Reaching
    reach, cursor : int32 and int64 array
        ``reach`` and ``loads`` of :class:`Periods`.
    moments, entries : uint16 and int64 array
        Of :class:`Room`.
    neurons, signs : int32 and int8 array
        Of the train.
    at, first, stop : int64
        ``at``: the spike to which ``moments[0]`` belongs.
    """
    channels, shift, width = shape.channels, shape.shift, shape.width
    for e in range(first, stop):
        neuron = np.int64(peek(neurons, e))
        location = neuron >> shift if shift >= 0 else neuron // channels
        key = (np.int64(peek(moments, e - at)) * TWICE << 32 | shape.flag) + (neuron - location * channels) * shape.channel_step
        if len(signs):
            # The weights of the other sign lie behind the others.
            key += shape.negated & (np.int64(peek(signs, e)) >> 63)
        row = shape.rows + location * width
        r, end = row + COSTS, row + width
        # Two a turn: an entry is so little work that the loop's own is a good part of it.
        while r + 2 < end:
            add_entry(reach, cursor, entries, key, r)
            add_entry(reach, cursor, entries, key, r + 2)
            r += 4
        if r < end:
            add_entry(reach, cursor, entries, key, r)


@part
def add_entry(reach, cursor, entries, key, r):
    """Add a spike to the list of a site: ``key`` is its entry but for the place of the weights, which are at ``r`` with the site."""
    site = np.int64(peek(reach, r))
    n = peek(cursor, site)
    poke(entries, n, key + np.int64(peek(reach, r + 1)))
    poke(cursor, site, n + 1)


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

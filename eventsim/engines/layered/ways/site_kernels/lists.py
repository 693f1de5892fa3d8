"""Listing spikes by site."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import divided, note_operations
from eventsim.engines.layered.ways.site_kernels.records import COSTS, SPAN
from eventsim.kernels import simd
from eventsim.kernels.compiled import inner, part


@inner
def count_entries(layer, sites, train, at, stop, clock):
    """Count the entries of each site for the spikes at..stop-1, and one of a clock.

    Parameters
    ----------
    layer : Layer
    sites : Sites
        ``begins`` (a place further on) and ``loads`` are written.
    train : Train
    at, stop : int64
    clock : int64
        The projection of that one; -1 if there is none.

    Returns
    -------
    entries : int64
        All of them, and a place behind each list.
    most : int64
        The most that a potential can change.
    """
    begins, loads, found = sites.begins, sites.loads, sites.found
    begins[:] = 0
    loads[:] = 0
    count_sources(layer, found, train, at, stop)
    if clock >= 0:
        found[layer.projections[clock]["records"]] += 1
    for p in range(len(layer.projections)):
        of, row, width = layer.projections[p], sites.rows[p, 0], sites.rows[p, 1]
        end = layer.projections[p + 1]["records"] if p + 1 < len(layer.projections) else len(found)
        changes = of["largest"]
        for record in range(of["records"], end):
            n = simd.peek(found, record)
            if n:
                # (Border locations reach the last site, which is none, in place of those that they lack.)
                for r in range(row + COSTS, row + width, 2):
                    site = np.int64(simd.peek(sites.reach, r))
                    simd.poke(begins, site + 1, simd.peek(begins, site + 1) + n)
                    simd.poke(loads, site, simd.peek(loads, site) + n * changes)
            row += width
    entries = most = 0
    for site in range(len(loads)):
        entries += begins[site + 1] + 1
        if site + 1 < len(loads):
            most = max(most, loads[site])
    return entries, most


@part
def count_sources(layer, found, train, at, stop):
    """Count the spikes at..stop-1 by source location: ``found``, as in :class:`Sites`; else as :func:`count_entries`."""
    found[:] = 0
    p = 0
    of = layer.projections[0]
    if len(train.projection) == 0:
        records, channels, shift = of["records"], of["source_channels"], of["source_shift"]
        if of["locations"] == 1:
            found[records] = stop - at
        elif shift >= 0:
            for e in range(at, stop):
                count_one(found, records + (np.int64(simd.peek(train.neuron, e)) >> shift))
        else:
            for e in range(at, stop):
                count_one(found, records + np.int64(simd.peek(train.neuron, e)) // channels)
        return
    for e in range(at, stop):
        if train.projection[e] != p:
            p = np.int64(train.projection[e])
            of = layer.projections[p]
        count_one(found, of["records"] + divided(np.int64(simd.peek(train.neuron, e)), of["source_channels"], of["source_shift"]))


@part
def count_one(numbers, place):
    """Add one to a number (int64)."""
    simd.poke(numbers, place, simd.peek(numbers, place) + 1)


@inner
def list_entries(layer, sites, entries, train, at, stop, base, tally):
    """List the spikes at..stop-1 by site and count their operations; site s has the entries from begins[s] on.

    Parameters
    ----------
    layer : Layer
    sites : Sites
        As :func:`count_entries` left it.
    entries : int64 array
        Written.
    train : Train
    at, stop : int64
    base : int64
        The tick before the stretch.
    tally : Tally
    """
    begin_lists(sites.begins, sites.loads, entries)
    resolution, reach = layer.constants.resolution, sites.reach
    e = at
    while e < stop:
        # Spikes of one projection and step.
        p = np.int64(train.projection[e]) if len(train.projection) else 0
        of, rows, width = layer.projections[p], sites.rows[p, 0], sites.rows[p, 1]
        step = (train.tick[e] - 1) // resolution
        step_end = (step + 1) * resolution
        source_channels, source_shift, channel_step = of["source_channels"], of["source_shift"], of["channel_step"]
        flag, effective = np.int64(simd.WIDE) if of["wide"] else np.int64(0), of["nonzero"]
        first = e
        synapses = additions = toolbox = nonzero = np.int64(0)
        if of["locations"] == 1 and width == COSTS + 2 and effective < 0 and len(train.projection) == 0 and len(train.sign) == 0:
            # The usual dense table: all reach one site.
            e = list_dense(reach, rows, sites.loads, entries, train, e, stop, step_end, base, flag, channel_step)
            n = e - first
            synapses, additions, toolbox = n * np.int64(reach[rows]), n * np.int64(reach[rows + 1]), n * np.int64(reach[rows + 2])
            nonzero = synapses
        while e < stop:
            tick = simd.peek(train.tick, e)
            if tick > step_end or (len(train.projection) and train.projection[e] != p):
                break
            neuron = np.int64(simd.peek(train.neuron, e))
            location = divided(neuron, source_channels, source_shift)
            key = ((tick - base) << 32 | flag) + (neuron - location * source_channels) * channel_step
            if len(train.sign) and simd.peek(train.sign, e) < 0:
                # The weights of the other sign lie behind the others.
                key += simd.NEGATIVE if of["wide"] else sites.sizes.negated
            row = rows + location * width
            add_entries(reach, row, width, sites.loads, entries, key)
            exact = np.int64(simd.peek(reach, row))
            synapses += exact
            additions += np.int64(simd.peek(reach, row + 1))
            toolbox += np.int64(simd.peek(reach, row + 2))
            nonzero += layer.effective[effective + neuron] if effective >= 0 else exact
            e += 1
        note_operations(tally.operations[of["number"], step], e - first, synapses, additions, toolbox, nonzero)


@part
def begin_lists(begins, cursor, entries):
    """Lay the lists one behind the other, an entry later than all ticks behind each.

    Parameters
    ----------
    begins : int64 array (sites + 2,)
        The number of entries of each site, a place further on; then where its list begins.
    cursor : int64 array (sites + 1,)
        Where its next entry goes.
    entries : int64 array
    """
    place = np.int64(0)
    for site in range(len(cursor)):
        n = begins[site + 1]
        begins[site] = cursor[site] = place
        entries[place + n] = np.int64(SPAN + 1) << 32
        place += n + 1
    begins[len(cursor)] = place


@part
def add_entries(reach, row, width, cursor, entries, key):
    """Add a spike to the lists of the sites that it reaches; ``key`` is its entry but for the place of the site's weights."""
    for r in range(row + COSTS, row + width, 2):
        site = np.int64(simd.peek(reach, r))
        n = simd.peek(cursor, site)
        simd.poke(entries, n, key + np.int64(simd.peek(reach, r + 1)))
        simd.poke(cursor, site, n + 1)


@part
def list_dense(reach, row, cursor, entries, train, at, stop, last, base, flag, channel_step):
    """List the spikes at..stop-1 up to tick ``last`` for the only site that they reach; returns the place behind them.

    Parameters
    ----------
    reach, cursor, entries
        As in :class:`Sites` and :class:`Room`.
    row : int64
        Of ``reach``.
    train : Train
    at, stop, last : int64
    base : int64
        The tick before the stretch.
    flag : int64
        Of the width of the weights.
    channel_step : int64
        From the weights of a source neuron to those of the next one.
    """
    site, weights = reach[row + COSTS], reach[row + COSTS + 1]
    shift, e = cursor[site] - at, at
    while e < stop and simd.peek(train.tick, e) <= last:
        key = (simd.peek(train.tick, e) - base) << 32 | flag
        simd.poke(entries, shift + e, key + np.int64(simd.peek(train.neuron, e)) * channel_step + weights)
        e += 1
    cursor[site] += e - at
    return e

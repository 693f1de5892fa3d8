"""Compiled code of the layered engine for ticks with few spikes: a population of plain integrate-and-fire neurons site by site.

A site is a target location, or the whole target of a dense table: lanes that the same spikes reach. The neurons of a site depend only on
the spikes that reach it, so a stretch of the incoming spikes is first listed by site, each list in time order, and then the sites are run
one after the other, a block of lanes at a time, with the distances to threshold in registers from one spike of the site to the next. The
spikes of a stretch are sorted by time at its end. A stretch ends with a tick.

An entry of a list is ``tick << 32 | flags | place of the weights``, ticks counted from the stretch's begin. Plain neurons are unsigned,
reset by subtraction, and have no refractory period of more than a tick; a neuron that is still due after it fired fires again a tick later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.engines.layered.ways.parts import divided, end_of_tick, largest, note_operations
from eventsim.engines.layered.ways.records import DONE, FOREVER, GROW, WIDEN
from eventsim.kernels import simd
from eventsim.kernels.compiled import compiled, inlined
from eventsim.kernels.order import count_spikes, order
from eventsim.kernels.simd_spikes import SORTED

# More of what advance() returns: there is no room for the entries (NEEDED of them, in Sites.at).
ROOM = 4
# Ticks of a stretch, at most: they must fit the entries, and keys.
SPAN = 2**31 - 2

# Places in Sites.scalars. STRETCH is the most spikes of a stretch, EXPECTED the entries that it makes as a rule, NEGATED where the
# weights for spikes of sign -1 begin, BITS how many bits of a key say which neuron it is.
SITE_LANES, SITE_SHIFT, BLOCK, STRETCH, NEGATED, EXPECTED, BITS = range(7)
SCALARS = 7
# Places in Sites.at: where a stretch has got to, for calls that go on after GROW or ROOM; all ticks up to REACHED are done.
# SPIKES is the length of the last stretch: the next one may be twice as long.
REACHED, LAST, SITE, PART, PLACE, KEYS, NEEDED, PENDING, SPIKES = range(9)
PROGRESS = 9


class Sites(NamedTuple):
    """What a population has for this, beside :class:`eventsim.engines.layered.ways.records.State`."""

    scalars: Any
    at: Any
    again: Any  # int64, by block: the tick at which a neuron fires once more that is still due, FOREVER if there is none
    begins: Any  # int64 (sites + 2): where the list of each site begins; the last one stands for none
    loads: Any  # int64 (sites + 1), while counting: the most that its potentials can change
    found: Any  # int64 (records): spikes of each source location
    reach: Any  # int32, a row for each source location: synapses, additions, toolbox; then each site and its weights
    rows: Any  # int64 (projections, 2): where its rows begin, places of a row


class Room(NamedTuple):
    """Room to work in, which has to stay as it is from a call to the one that goes on after it."""

    entries: Any  # int64
    told: Any  # int64 (2)
    masks: Any  # int64: 0, -1


@inlined
def _count(layer, sites, train, at, stop):
    """Count the entries of each site for the spikes at..stop-1; returns (all of them, the most that a potential can change)."""
    begins, loads, found = sites.begins, sites.loads, sites.found
    begins[:] = 0
    loads[:] = 0
    found[:] = 0
    p = 0
    of = layer.projections[0]
    first = at
    if len(layer.projections) == 1 and of["locations"] == 1:
        found[of["records"]] = stop - at
        first = stop
    for e in range(first, stop):
        if len(train.projection) and train.projection[e] != p:
            p = np.int64(train.projection[e])
            of = layer.projections[p]
        found[of["records"] + divided(np.int64(simd.peek(train.neuron, e)), of["source_channels"], of["source_shift"])] += 1
    for p in range(len(layer.projections)):
        of, row, width = layer.projections[p], sites.rows[p, 0], sites.rows[p, 1]
        end = layer.projections[p + 1]["records"] if p + 1 < len(layer.projections) else len(found)
        for record in range(of["records"], end):
            n = found[record]
            if n:
                # (Border locations reach the last site, which is none, in place of those that they lack.)
                for r in range(row + 3, row + width, 2):
                    site = np.int64(sites.reach[r])
                    begins[site + 1] += n
                    loads[site] += n * of["largest"]
            row += width
    total = most = 0
    for site in range(len(loads)):
        # A place behind them for the end of the list.
        total += begins[site + 1] + 1
        if site + 1 < len(loads):
            most = max(most, loads[site])
    return total, most


@inlined
def _list(layer, sites, room, train, at, stop, base, tally):
    """List the spikes at..stop-1 by site and count their operations; site s has the entries from begins[s] on."""
    entries, begins, cursor, reach = room.entries, sites.begins, sites.loads, sites.reach
    place = np.int64(0)
    for site in range(len(cursor)):
        n = begins[site + 1]
        begins[site] = cursor[site] = place
        entries[place + n] = np.int64(SPAN + 1) << 32
        place += n + 1
    begins[len(cursor)] = place
    resolution = layer.constants.resolution
    e = at
    while e < stop:
        # Spikes of one projection and step.
        p = np.int64(train.projection[e]) if len(train.projection) else 0
        of = layer.projections[p]
        step = (train.tick[e] - 1) // resolution
        step_end = (step + 1) * resolution
        flag = np.int64(simd.WIDE) if of["wide"] else np.int64(0)
        source_channels, source_shift, channel_step = of["source_channels"], of["source_shift"], of["channel_step"]
        rows, width, effective = sites.rows[p, 0], sites.rows[p, 1], of["nonzero"]
        first = e
        synapses = additions = toolbox = nonzero = np.int64(0)
        if of["locations"] == 1 and width == 5 and effective < 0 and len(train.projection) == 0 and len(train.sign) == 0:
            # The usual dense table: all reach one site.
            site, weights = reach[rows + 3], reach[rows + 4]
            shift = cursor[site] - first
            while e < stop and simd.peek(train.tick, e) <= step_end:
                key = (simd.peek(train.tick, e) - base) << 32 | flag
                simd.poke(entries, shift + e, key + np.int64(simd.peek(train.neuron, e)) * channel_step + weights)
                e += 1
            n = e - first
            cursor[site] += n
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
                key += simd.NEGATIVE if of["wide"] else sites.scalars[NEGATED]
            row = rows + location * width
            for r in range(row + 3, row + width, 2):
                site = np.int64(simd.peek(reach, r))
                n = simd.peek(cursor, site)
                simd.poke(entries, n, key + np.int64(simd.peek(reach, r + 1)))
                simd.poke(cursor, site, n + 1)
            exact = np.int64(simd.peek(reach, row))
            synapses += exact
            additions += np.int64(simd.peek(reach, row + 1))
            toolbox += np.int64(simd.peek(reach, row + 2))
            nonzero += layer.effective[effective + neuron] if effective >= 0 else exact
            e += 1
        note_operations(tally.operations[of["number"], step], e - first, synapses, additions, toolbox, nonzero)


@inlined
def _is_due(d, lane, block):
    due = np.uint32(0)
    for k in range(0, block, 32):
        due |= simd.test(d, lane + k)
    return due != 0


@inlined
def _deliver_tick(layer, state, entries, block, lane, j, at, tick):
    """Deliver all entries of a tick (counted as theirs) to a block; returns the place behind them."""
    d = state.d
    while entries[at] >> 32 == tick:
        place = (entries[at] & (simd.NEGATIVE - 1)) + j
        for k in range(0, block, 32):
            if entries[at] & simd.WIDE == 0:
                simd.add(d, lane + k, layer.w8, place + k)
            elif entries[at] & simd.NEGATIVE:
                simd.subtract(d, lane + k, layer.w16, place + k)
            else:
                simd.add(d, lane + k, layer.w16, place + k)
        at += 1
    return at


@compiled
def _run_block(layer, state, sites, room, keys, n, block, at, base, last):
    """Run a block to the end of tick ``last``, its list from place ``at`` on.

    Returns (whether it came to the end, place in the list, keys). It stops where there is hardly room for more keys.
    """
    c, d, entries, told, masks = layer.constants, state.d, room.entries, room.told, room.masks
    most = len(keys) - 128 - simd.SLACK
    size, padded, bits = sites.scalars[BLOCK], c.padded, sites.scalars[BITS]
    lane = block * size
    location = divided(lane, padded, c.padded_shift)
    channel = lane - location * padded
    neuron = location * c.channels + channel
    # Weights of this block within those of the site.
    j = lane - divided(lane, sites.scalars[SITE_LANES], sites.scalars[SITE_SHIFT]) * sites.scalars[SITE_LANES]
    again = sites.again[block]
    while True:
        if n > most:
            sites.again[block] = again
            return False, at, n
        arrival = (entries[at] >> 32) + base
        tick = min(arrival, again)
        if tick > last:
            break
        if again > tick and entries[at] & simd.WIDE == 0:
            # Through all ticks until a neuron has to fire once more.
            limit = min(again, last + 1) - base
            if size == 128:
                at = simd.run_128(d, lane, state.theta, channel, layer.w8, j, entries, at, limit, keys, n, most, neuron, bits, told, masks)
            elif size == 64:
                at = simd.run_64(d, lane, state.theta, channel, layer.w8, j, entries, at, limit, keys, n, most, neuron, bits, told, masks)
            else:
                at = simd.run_32(d, lane, state.theta, channel, layer.w8, j, entries, at, limit, keys, n, most, neuron, bits, told, masks)
            n = told[0]
            tick = (entries[at - 1] >> 32) + base
            if told[1]:
                again = tick + 1
            if entries[at] & simd.WIDE == 0 or (entries[at] >> 32) + base != tick:
                continue
        at = _deliver_tick(layer, state, entries, size, lane, j, at, tick - base)
        for k in range(0, size, 32):
            fires = simd.discharge(d, lane + k, state.theta, channel + k)
            while fires:
                keys[n] = ((tick - base) << bits) + neuron + k + simd.lowest(fires)
                fires &= fires - np.uint32(1)
                n += 1
        again = tick + 1 if _is_due(d, lane, size) else FOREVER
    sites.again[block] = again
    return True, at, n


@compiled
def advance(layer, state, sites, room, ordering, train, out, keys, tally, until):
    """Run one population to the end of tick ``until``; returns DONE, GROW (of out or keys), ROOM or WIDEN, after which it is called again.

    Arguments as for :func:`eventsim.engines.layered.ways.tick_kernels.neurons.advance`; ``keys`` (int64) take the spikes of a stretch.
    """
    c, s, of = layer.constants, state.progress[()], sites.at
    parts, arrivals = sites.scalars[SITE_LANES] // sites.scalars[BLOCK], len(train.tick)
    number = len(sites.loads) - 1
    while True:
        if of[SITE] < 0:
            # The next stretch: spikes at..stop-1, ticks base+1..last.
            at = s["at"]
            arrival = train.tick[at] if at < arrivals else FOREVER
            base = max(of[REACHED], min(arrival, of[PENDING]) - 1)
            if base >= until:
                of[REACHED] = until
                return DONE
            stop = at
            if arrival - base <= SPAN:
                of[SPIKES] = min(2 * of[SPIKES], sites.scalars[STRETCH])
                stop = min(at + of[SPIKES], arrivals)
                stop = end_of_tick(train.tick, stop - 1)
            while True:
                last = train.tick[stop] - 1 if stop < arrivals else until
                if last - base > SPAN:
                    last = base + SPAN
                    while stop > at and train.tick[stop - 1] > last:
                        stop -= 1
                total, most = _count(layer, sites, train, at, stop)
                if s["bound"] + most > s["limit"]:
                    # A reset may leave |d| at the threshold.
                    s["bound"] = max(c.highest, largest(state.d, False, np.int64(0), state.ring_lane, 0, 0))
                if total <= len(room.entries) and s["bound"] + most <= s["limit"]:
                    break
                # Half of it, in whole ticks.
                half = at + (stop - at) // 2
                while half > at and train.tick[half - 1] == train.tick[half]:
                    half -= 1
                if half == at:
                    half = end_of_tick(train.tick, at) if at < stop else at
                if half == stop:
                    of[NEEDED] = total
                    return ROOM if total > len(room.entries) else WIDEN
                stop = half
                of[SPIKES] = max(1, stop - at)
            s["bound"] += most
            _list(layer, sites, room, train, at, stop, base, tally)
            s["at"] = stop
            of[REACHED], of[LAST], of[SITE], of[PART], of[PLACE], of[KEYS], of[PENDING] = base, last, 0, 0, -1, 0, FOREVER
        base, last = of[REACHED], of[LAST]
        site, part, place, n, pending = of[SITE], of[PART], of[PLACE], of[KEYS], of[PENDING]
        whole = True
        while site < number and whole:
            begin = sites.begins[site]
            empty = sites.begins[site + 1] == begin + 1
            while part < parts:
                block = site * parts + part
                if place < 0:
                    place = begin
                if not empty or sites.again[block] <= last:
                    whole, place, n = _run_block(layer, state, sites, room, keys, n, block, place, base, last)
                    if not whole:
                        break
                pending = min(pending, sites.again[block])
                place = -1
                part += 1
            if whole:
                part = 0
                site += 1
        of[SITE], of[PART], of[PLACE], of[KEYS], of[PENDING] = site, part, place, n, pending
        fired = s["fired"]
        if not whole or n > len(ordering.other) or fired + n + SORTED > len(out.tick):
            return GROW
        if n:
            order(keys, n, ordering, sites.scalars[BITS], True, base, last, out.tick, out.neuron, fired)
            count_spikes(out.tick, fired, fired + n, c.resolution, tally.spikes)
            if s["first_tick"] == 0:
                s["first_tick"] = out.tick[fired]
        s["fired"] = fired + n
        of[REACHED], of[SITE] = last, -1

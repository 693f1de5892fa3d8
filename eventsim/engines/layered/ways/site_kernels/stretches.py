"""A population over a window of time, a stretch at a time."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import end_of_tick, largest
from eventsim.engines.layered.ways.records import FOREVER, Status
from eventsim.engines.layered.ways.site_kernels.blocks import run_block
from eventsim.engines.layered.ways.site_kernels.lists import count_entries, list_entries
from eventsim.engines.layered.ways.site_kernels.records import SPAN
from eventsim.kernels.compiled import compiled, inner, part
from eventsim.kernels.order import count_spikes, order
from eventsim.kernels.simd_spikes import SORTED


@compiled
def advance(layer, state, sites, room, ordering, train, out, keys, tally, until):
    """Run a population to the end of a tick.

    Parameters
    ----------
    layer, state : Layer, State
    sites, room : Sites, Room
    ordering : eventsim.kernels.order.Room
    train : Train
        Its incoming spikes, with the ticks of their arrival.
    out : Train
        Takes its own.
    keys : int64 array
        Room for the spikes of a stretch.
    tally : Tally
    until : int64

    Returns
    -------
    int64
        DONE; or, after which it is called again: GROW (of ``out``, ``ordering`` or ``keys``), ROOM (for entries), WIDEN (of d).
    """
    s, p = state.progress[()], sites.progress[()]
    while True:
        if p["site"] < 0:
            status = begin_stretch(layer, state, sites, room, train, tally, until)
            if status != Status.BEGUN:
                return status
        whole = run_stretch(layer, state, sites, room, keys)
        n, fired = p["keys"], s["fired"]
        if not whole or n > len(ordering.other) or fired + n + SORTED > len(out.tick):
            return np.int64(Status.GROW)
        if n:
            order(keys, n, ordering, sites.sizes.bits, sites.sizes.bits, p["reached"], p["last"], out.tick, out.neuron, fired)
            count_spikes(out.tick, fired, fired + n, layer.constants.resolution, tally.spikes)
            if s["first_tick"] == 0:
                s["first_tick"] = out.tick[fired]
        s["fired"] = fired + n
        p["reached"], p["site"] = p["last"], -1


@inner
def begin_stretch(layer, state, sites, room, train, tally, until):
    """Choose the next stretch and list its spikes: as many as there is room for, and as surely leave potentials in their type.

    Parameters as for :func:`advance`. Returns BEGUN, DONE (there is none by then), ROOM or WIDEN.
    """
    s, p, arrivals = state.progress[()], sites.progress[()], len(train.tick)
    # Spikes at..stop-1, ticks base+1..last.
    at = s["at"]
    arrival = train.tick[at] if at < arrivals else FOREVER
    base = max(p["reached"], min(arrival, p["pending"]) - 1)
    if base >= until:
        p["reached"] = until
        return np.int64(Status.DONE)
    stop = at
    if arrival - base <= SPAN:
        p["spikes"] = min(2 * p["spikes"], sites.sizes.stretch)
        stop = end_of_tick(train.tick, min(at + p["spikes"], arrivals) - 1)
    while True:
        stop, last = last_tick(train.tick, at, stop, base, until)
        entries, most = count_entries(layer, sites, train, at, stop, -1)
        if s["bound"] + most > s["limit"]:
            # A reset may leave |d| at the threshold.
            s["bound"] = max(layer.constants.highest, largest(state.d))
        if entries <= len(room.entries) and s["bound"] + most <= s["limit"]:
            break
        half = halved(train.tick, at, stop)
        if half == stop:
            p["needed"] = entries
            return np.int64(Status.ROOM if entries > len(room.entries) else Status.WIDEN)
        stop = half
        p["spikes"] = max(1, stop - at)
    s["bound"] += most
    list_entries(layer, sites, room.entries, train, at, stop, base, tally)
    s["at"] = stop
    p["reached"], p["last"], p["site"], p["part"], p["place"], p["keys"], p["pending"] = base, last, 0, 0, -1, 0, FOREVER
    return np.int64(Status.BEGUN)


@part
def last_tick(ticks, at, stop, base, until):
    """The spikes at..stop-1 of a stretch, or fewer, and its last tick: before the spike behind them, not more than SPAN after ``base``."""
    last = ticks[stop] - 1 if stop < len(ticks) else until
    if last - base > SPAN:
        last = base + SPAN
        while stop > at and ticks[stop - 1] > last:
            stop -= 1
    return stop, last


@part
def halved(ticks, at, stop):
    """The end of about the first half of the spikes at..stop-1, in whole ticks; ``stop`` if they are of one tick."""
    half = at + (stop - at) // 2
    while half > at and ticks[half - 1] == ticks[half]:
        half -= 1
    if half == at:
        half = end_of_tick(ticks, at) if at < stop else at
    return half


@inner
def run_stretch(layer, state, sites, room, keys):
    """Run the sites through a stretch; returns whether they came to its end.

    Parameters
    ----------
    layer, state, sites, room
        As for :func:`advance`.
    keys : int64 array
        Takes their spikes, not in order.
    """
    p, sizes = sites.progress[()], sites.sizes
    base, last, parts, number = p["reached"], p["last"], sizes.lanes // sizes.block, len(sites.loads) - 1
    site, part_of_site, place, n, pending = p["site"], p["part"], p["place"], p["keys"], p["pending"]
    whole = True
    while site < number and whole:
        begin = sites.begins[site]
        empty = sites.begins[site + 1] == begin + 1
        while part_of_site < parts:
            block = site * parts + part_of_site
            if place < 0:
                place = begin
            if not empty or sites.again[block] <= last:
                whole, place, n = run_block(layer, state, sites, room, keys, n, block, place, base, last)
                if not whole:
                    break
            pending = min(pending, sites.again[block])
            place = -1
            part_of_site += 1
        if whole:
            part_of_site = 0
            site += 1
    p["site"], p["part"], p["place"], p["keys"], p["pending"] = site, part_of_site, place, n, pending
    return whole

"""Ticks with few spikes, the usual case at high resolution: every addition tells whom it made due."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import divided, note_operations
from eventsim.engines.layered.ways.tick_kernels.due import scan
from eventsim.engines.layered.ways.tick_kernels.fire import fire_due, note_fired
from eventsim.kernels import simd
from eventsim.kernels.compiled import part
from eventsim.kernels.simd import LANES, SLACK
from eventsim.kernels.sort import sort_candidates

# Up to so many spikes in a tick are few: with more, those reached are looked through afterwards.
FEW = 16


@part
def run_few(layer, state, scratch, train, out, tally, last, release):
    """Run through ticks with few spikes, all of the projection of the first one and of int8 weights; returns whether there were some.

    Parameters
    ----------
    layer, state, scratch, train, out, tally
        As for :func:`eventsim.engines.layered.ways.tick_kernels.neurons.advance`.
    last : int64
        No tick behind this one, which is of the present step.
    release : int64
        The tick at which the first one leaves the ring: no tick from this one on.
    """
    s, first, before = state.progress[()], state.progress[()]["at"], state.progress[()]["fired"]
    p = np.int64(train.projection[first]) if len(train.projection) else 0
    of = layer.projections[p]
    if of["sparse"] or of["wide"]:
        return False
    quota = first + (s["limit"] - s["bound"]) // max(1, of["largest"])
    few, effective = min(FEW, of["gather_from"] - 1), of["nonzero"]
    source_channels, source_shift, channel_step, weights = of["source_channels"], of["source_shift"], of["channel_step"], of["weights"]
    base = of["records"]
    synapses = additions = toolbox = nonzero = np.int64(0)
    at, arrivals, room = first, len(train.tick), len(out.tick) - layer.constants.size - SLACK
    while at < arrivals:
        tick = simd.peek(train.tick, at)
        if tick > last or tick >= release or s["fired"] > room:
            break
        stop = at + 1
        while stop < arrivals and stop - at <= few and simd.peek(train.tick, stop) == tick:
            stop += 1
        if stop > quota or stop - at > few or (len(train.projection) and not all_are(train.projection, at, stop, p)):
            break
        n, groups, everywhere, f = 0, 0, False, at
        while f < stop:
            # Spikes of one location reach the same lanes, and so do all that reach everything: those lanes are loaded once for them.
            reached = simd.peek(layer.records, base + divided(np.int64(simd.peek(train.neuron, f)), source_channels, source_shift))
            g = f
            while g < stop:
                neuron = np.int64(simd.peek(train.neuron, g))
                location = divided(neuron, source_channels, source_shift)
                record = simd.peek(layer.records, base + location)
                if g > f and not same_lanes(record, reached):
                    break
                exact = record["synapses"]
                synapses += exact
                additions += record["additions"]
                toolbox += record["toolbox"]
                nonzero += layer.effective[effective + neuron] if effective >= 0 else exact
                w = weights + (neuron - location * source_channels) * channel_step + record["tap"]
                negative = np.int64(len(train.sign) > 0 and simd.peek(train.sign, g) < 0)
                simd.poke(scratch.places, g - f, 2 * w + negative)
                g += 1
            groups += 1
            if n + reached["rows"] * reached["columns"] * reached["run"] > len(scratch.candidates):
                n, everywhere = 0, True
            n = add(state.d, state.low, layer.w8, reached, of, scratch.places, g - f, scratch.candidates, n)
            f = g
        if everywhere:
            n = scan(state.d, state.low, 0, layer.constants.size, scratch.candidates, 0)
        elif n > 1 and groups > 1:
            sort_candidates(scratch.candidates, n)
        fire_due(layer, state, out, tally, scratch.candidates, n, tick)
        at = stop
        if s["waiting"]:
            release = state.ring_tick[s["head"]]
    s["at"] = at
    s["bound"] += (at - first) * of["largest"]
    note_operations(tally.operations[of["number"], s["step"]], at - first, synapses, additions, toolbox, nonzero)
    note_fired(s, tally, out, before)
    return at > first


@part
def all_are(values, first, last, wanted):
    """Whether all of values[first:last] (int16) are ``wanted``."""
    same = True
    for i in range(first, last):
        same &= values[i] == wanted
    return same


@part
def same_lanes(record, other):
    """Whether two STENCIL records reach the same lanes."""
    rows, columns = record["rows"] == other["rows"], record["columns"] == other["columns"]
    return (record["first_lane"] == other["first_lane"]) & rows & columns & (record["run"] == other["run"])


@part
def add(d, low, w8, record, of, places, count, candidates, n):
    """Add the weights of spikes that reach the same lanes, and append the blocks where somebody is due then to the candidates.

    A neuron that is due after the tick was so after the last addition to it.

    Parameters
    ----------
    d, low
        As in :class:`State`.
    w8 : int8 array
    record : STENCIL
        Of the source location of one of them.
    of : PROJECTION
    places : int64 array
        Twice the place of the first weight of each spike, and 1 more if its sign is -1.
    count : int64
        How many spikes.
    candidates : int32 array
        There are ``n`` (int64), and has room for all lanes reached. They are appended in order.

    Returns
    -------
    int64
        Their new number.
    """
    run, row, tap = record["run"], record["first_lane"], np.int64(0)
    for _ in range(record["rows"]):
        lane, shift = row, tap
        for _ in range(record["columns"]):
            for k in range(0, run, LANES):
                candidates[n] = lane + k
                n += add_vector(d, low, w8, lane + k, places, count, shift + k) != 0
            lane += of["column_step"]
            shift += of["column_tap"]
        row += of["row_step"]
        tap -= of["tap_step"]
    return n


@part
def add_vector(d, low, w8, lane, places, count, shift):
    """Add LANES weights of each spike, or take them off; returns which lanes are due, a bit each."""
    if low is None:
        return simd.add_several(d, lane, w8, places, count, shift)
    return simd.add_several_signed(d, lane, w8, places, count, shift, low)

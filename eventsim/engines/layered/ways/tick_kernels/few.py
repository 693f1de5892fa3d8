"""Ticks with few spikes, the usual case at high resolution: every addition tells whom it made due."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import divided, note_operations
from eventsim.engines.layered.ways.tick_kernels.due import scan
from eventsim.engines.layered.ways.tick_kernels.fire import fire_due, note_fired
from eventsim.kernels import simd
from eventsim.kernels.compiled import part
from eventsim.kernels.simd import LANES
from eventsim.kernels.sort import sort_candidates

# Up to so many spikes in a tick are few: with more, those reached are looked through afterwards.
FEW = 8


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
    row_step, tap_step, base = of["row_step"], of["tap_step"], of["records"]
    column_step, column_tap = of["column_step"], of["column_tap"]
    synapses = additions = toolbox = nonzero = np.int64(0)
    at, arrivals, room = first, len(train.tick), len(out.tick) - layer.constants.size
    while at < arrivals:
        tick = simd.peek(train.tick, at)
        if tick > last or tick >= release or s["fired"] > room:
            break
        stop = at + 1
        while stop < arrivals and stop - at <= few and simd.peek(train.tick, stop) == tick:
            stop += 1
        if stop > quota or stop - at > few or (len(train.projection) and not all_are(train.projection, at, stop, p)):
            break
        n, everywhere = 0, False
        for f in range(at, stop):
            neuron = np.int64(simd.peek(train.neuron, f))
            location = divided(neuron, source_channels, source_shift)
            record = simd.peek(layer.records, base + location)
            exact = record["synapses"]
            synapses += exact
            additions += record["additions"]
            toolbox += record["toolbox"]
            nonzero += layer.effective[effective + neuron] if effective >= 0 else exact
            if n + record["rows"] * record["columns"] * record["run"] > len(scratch.candidates):
                n, everywhere = 0, True
            w = weights + (neuron - location * source_channels) * channel_step + record["tap"]
            positive = len(train.sign) == 0 or simd.peek(train.sign, f) > 0
            lane = record["first_lane"]
            for _ in range(record["columns"]):
                n = add(state.d, state.low, layer.w8, record, lane, w, row_step, tap_step, positive, scratch.candidates, n)
                lane += column_step
                w += column_tap
        if everywhere:
            n = scan(state.d, state.low, 0, layer.constants.size, scratch.candidates, 0)
        elif n > 1 and (stop > at + 1 or record["columns"] > 1):
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
def add(d, low, w8, record, lane, w, row_step, tap_step, positive, candidates, n):
    """Add a column of the weights of a spike, or take them off, and append who is due then to the candidates; returns their new number.

    A neuron that is due after the tick was so after the last addition to it.

    Parameters
    ----------
    d, low
        As in :class:`State`.
    w8 : int8 array
    record : STENCIL
        Of its source location.
    lane, w : int64
        The first one that the column reaches, and the place of its first weight.
    row_step, tap_step : int64
        To the next row: lanes forward, weights back.
    positive : bool
        The sign of the spike.
    candidates : int32 array
        There are ``n`` (int64), and has room for all lanes reached.
    """
    run = record["run"]
    for _ in range(record["rows"]):
        for k in range(0, run, LANES):
            due = add_vector(d, low, w8, lane + k, w + k, positive)
            while due:
                candidates[n] = lane + k + simd.lowest(due)
                due &= due - np.uint32(1)
                n += 1
        lane += row_step
        w -= tap_step
    return n


@part
def add_vector(d, low, w8, lane, w, positive):
    """Add LANES weights, or take them off; returns which lanes are due, a bit each."""
    if low is None:
        return simd.add(d, lane, w8, w) if positive else simd.subtract(d, lane, w8, w)
    return simd.add_signed(d, lane, w8, w, low) if positive else simd.subtract_signed(d, lane, w8, w, low)

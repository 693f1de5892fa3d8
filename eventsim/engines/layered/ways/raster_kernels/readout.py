"""A readout from the raster of its source."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import append
from eventsim.engines.layered.ways.raster_kernels.counting import count_arrivals
from eventsim.engines.layered.ways.records import Role
from eventsim.engines.layered.ways.tick_kernels.readout import decide_here, note_readout
from eventsim.kernels import simd
from eventsim.kernels import simd_raster as vectors
from eventsim.kernels.compiled import compiled, part


@compiled
def read_out(layer, costs, state, tally, projection, tables, source, scratch):
    """A window of a readout, or up to an exit in it: adds up the int8 weights of its spikes, and the constant at every tick.

    Parameters
    ----------
    layer : Layer
    costs : Costs
    state : State
        ``d`` is int32.
    tally : Tally
    projection : int64
        The row of ``layer.projections`` through which the spikes arrive.
    tables : Tables
    source : Masks
    scratch : Scratch
    """
    c, s, d, of = layer.constants, state.progress[()], state.d, layer.projections[projection]
    constant = tables.constant
    s["bound"] += source.ticks * tables.rise
    count_arrivals(layer.records, costs, tally.operations, source, source.negative, scratch.counts)
    # A window tick by tick leaves its last step to the next one.
    note_readout(d, c.channels, c.padded, tally.readout, s["step"], source.since)
    for t in range(source.ticks):
        now = source.since + t
        n, nonzero = add_tick(layer, costs, d, of, source, source.negative, t, scratch.listed)
        for lane in range(len(constant)):
            d[lane] += constant[lane]
        if c.role == Role.OUTPUT:
            if (n > 0 or len(costs.clocks) > 0) and s["decided_at"] == 0:
                s["decided_at"] = now + 1
            decide_here(s, d, c.channels, c.padded, now + 1, c.exit_kind, c.exit_limit)
        note_readout(d, c.channels, c.padded, tally.readout, now, now + 1)
        tally.operations[costs.number, now, 4] += nonzero
        if s["exited"]:
            break
    s["step"] = source.since + source.ticks - 1


@part
def add_tick(layer, costs, d, of, source, negative, t, listed):
    """Add the weights of the spikes of a tick.

    Parameters
    ----------
    layer : Layer
    costs : Costs
    d : int32 array
    of : PROJECTION
    source : Masks
    negative : uint32 array or None
        ``source.negative``.
    t : int64
        The tick, counted from 0.
    listed : int32 array
        Room for the channels of a source location, and SLACK more.

    Returns
    -------
    spikes : int64
    effective : int64
        Synapses whose weight is not 0, if there are others.
    """
    length = source.length
    chunk = t // length
    m = chunk * costs.locations * costs.blocks * length + t - chunk * length
    spikes = effective = np.int64(0)
    for location in range(costs.locations):
        record = layer.records[of["records"] + location]
        # No rows: beyond the last whole window of a pool before the table.
        run = record["run"] if record["rows"] else 0
        base = of["weights"] + record["tap"]
        for sign in range(1 if negative is None else 2):
            n = 0
            for b in range(costs.blocks):
                mask = source.positive[m + b * length]
                if negative is not None and sign:
                    mask = negative[m + b * length]
                n = append(listed, n, 32 * b, mask)
            spikes += n
            for lane in range(0, run, simd.LANES):
                if negative is not None and sign:
                    vectors.subtract_listed(d, lane, layer.w8, base + lane, of["channel_step"], listed, n)
                else:
                    vectors.add_listed(d, lane, layer.w8, base + lane, of["channel_step"], listed, n)
            if of["nonzero"] >= 0:
                for e in range(n):
                    effective += layer.effective[of["nonzero"] + location * of["source_channels"] + listed[e]]
        m += costs.blocks * length
    return spikes, effective

"""Delivering spikes one by one: the weights of each, row by row, are added to the lanes that it reaches."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import divided
from eventsim.kernels import simd
from eventsim.kernels.compiled import inner, part
from eventsim.kernels.simd import LANES

INT8_MAX = 2**7 - 1


@part
def scatter(d, lane, weights, w, rows, run, row_step, tap_step, positive):
    """Add the weights of a spike, or take them off.

    Parameters
    ----------
    d : int16, int32 or int64 array
        As in :class:`State`.
    lane : int64
        The first one that it reaches.
    weights : int8, int16 or int32 array
    w : int64
        Place of the first weight.
    rows, run : int64
        How many rows it reaches, and of how many lanes each.
    row_step, tap_step : int64
        To the next row: lanes forward, weights back.
    positive : bool
        The sign of the spike.
    """
    for _ in range(rows):
        if positive:
            for k in range(0, run, LANES):
                simd.add(d, lane + k, weights, w + k)
        else:
            for k in range(0, run, LANES):
                simd.subtract(d, lane + k, weights, w + k)
        lane += row_step
        w -= tap_step


@part
def scatter_2(d, lane, weights, a, b, rows, run, row_step, tap_step, narrow):
    """As :func:`scatter` for two spikes of sign 1; ``narrow`` says that no two of their weights leave int8 together."""
    for _ in range(rows):
        for k in range(0, run, LANES):
            if narrow:
                simd.add_2(d, lane + k, weights, a + k, b + k)
            else:
                simd.add_2_wide(d, lane + k, weights, a + k, b + k)
        lane += row_step
        a -= tap_step
        b -= tap_step


@part
def scatter_3(d, lane, weights, a, b, c, rows, run, row_step, tap_step, narrow):
    """As :func:`scatter_2` for three spikes."""
    for _ in range(rows):
        for k in range(0, run, LANES):
            if narrow:
                simd.add_3(d, lane + k, weights, a + k, b + k, c + k)
            else:
                simd.add_3_wide(d, lane + k, weights, a + k, b + k, c + k)
        lane += row_step
        a -= tap_step
        b -= tap_step
        c -= tap_step


@part
def scatter_4(d, lane, weights, a, b, c, e, rows, run, row_step, tap_step, narrow):
    """As :func:`scatter_2` for four spikes."""
    for _ in range(rows):
        for k in range(0, run, LANES):
            if narrow:
                simd.add_4(d, lane + k, weights, a + k, b + k, c + k, e + k)
            else:
                simd.add_4_wide(d, lane + k, weights, a + k, b + k, c + k, e + k)
        lane += row_step
        a -= tap_step
        b -= tap_step
        c -= tap_step
        e -= tap_step


@part
def scatter_columns(d, weights, w, record, of, positive):
    """As :func:`scatter` for all columns of a spike with a STENCIL record through a PROJECTION; returns the number of lanes reached."""
    lane, rows, run = record["first_lane"], record["rows"], record["run"]
    for _ in range(record["columns"]):
        scatter(d, lane, weights, w, rows, run, of["row_step"], of["tap_step"], positive)
        lane += of["column_step"]
        w += of["column_tap"]
    return rows * record["columns"] * run


@inner
def scatter_all(d, w8, records, of, spikes, signs, first, last, operations):
    """Deliver the spikes first..last-1 of a tick through a stencil of int8 weights; returns the number of lanes reached.

    The spikes of one location reach the same lanes: up to four of them are added together if they have no signs.

    Parameters
    ----------
    d : int16, int32 or int64 array
    w8 : int8 array
    records : STENCIL (source locations,)
        As in :class:`Layer`.
    of : PROJECTION
    spikes : int32 array
        Source neurons, in order.
    signs : int8 array
        Their signs, or empty.
    first, last : int64
    operations : int64 (5,)
        Those of the projection and step; all but the effective ones are counted.
    """
    source_channels, channel_step = of["source_channels"], of["channel_step"]
    row_step, tap_step, base = of["row_step"], of["tap_step"], of["records"]
    touched = synapses = additions = toolbox = np.int64(0)
    most, narrow = 4 if len(signs) == 0 else 1, 4 * of["largest"] <= INT8_MAX
    f = first
    while f < last:
        location = divided(np.int64(simd.peek(spikes, f)), source_channels, of["source_shift"])
        record = simd.peek(records, base + location)
        lane, rows, run = record["first_lane"], record["rows"], record["run"]
        origin = of["weights"] - location * source_channels * channel_step + record["tap"]
        n, beyond, room = 1, (location + 1) * source_channels, min(most, last - f)
        while n < room and simd.peek(spikes, f + n) < beyond:
            n += 1
        synapses += n * record["synapses"]
        additions += n * record["additions"]
        toolbox += n * record["toolbox"]
        touched += rows * record["columns"] * run
        a, shift = weights_of(origin, spikes, f, channel_step), np.int64(0)
        for _ in range(record["columns"]):
            if n == 1:
                positive = len(signs) == 0 or simd.peek(signs, f) > 0
                scatter(d, lane, w8, a + shift, rows, run, row_step, tap_step, positive)
            elif n == 2:
                b = weights_of(origin, spikes, f + 1, channel_step) + shift
                scatter_2(d, lane, w8, a + shift, b, rows, run, row_step, tap_step, narrow)
            else:
                b, c = weights_of(origin, spikes, f + 1, channel_step) + shift, weights_of(origin, spikes, f + 2, channel_step) + shift
                if n == 3:
                    scatter_3(d, lane, w8, a + shift, b, c, rows, run, row_step, tap_step, narrow)
                else:
                    e = weights_of(origin, spikes, f + 3, channel_step) + shift
                    scatter_4(d, lane, w8, a + shift, b, c, e, rows, run, row_step, tap_step, narrow)
            lane += of["column_step"]
            shift += of["column_tap"]
        f += n
    operations[0] += last - first
    operations[1] += synapses
    operations[2] += additions
    operations[3] += toolbox
    return touched


@part
def weights_of(origin, spikes, f, channel_step):
    """Place of the first weight of spike ``f``; that of source neuron 0 would be ``origin``."""
    return origin + np.int64(simd.peek(spikes, f)) * channel_step


@inner
def scatter_wide(d, weights, records, of, spikes, signs, first, last, operations):
    """As :func:`scatter_all` for int16 or int32 weights, spike by spike."""
    touched = 0
    for f in range(first, last):
        neuron = np.int64(spikes[f])
        location = divided(neuron, of["source_channels"], of["source_shift"])
        record = records[of["records"] + location]
        operations[0] += 1
        operations[1] += record["synapses"]
        operations[2] += record["additions"]
        operations[3] += record["toolbox"]
        w = of["weights"] + (neuron - location * of["source_channels"]) * of["channel_step"] + record["tap"]
        positive = len(signs) == 0 or signs[f] > 0
        touched += scatter_columns(d, weights, w, record, of, positive)
    return touched


@inner
def scatter_sparse(weights, lanes, row_start, d, of, spikes, signs, first, last, operations):
    """As :func:`scatter_all` for a sparse table, synapse by synapse.

    Parameters
    ----------
    d : int16, int32 or int64 array
    weights : int8, int16 or int32 array
    lanes, row_start : int32 array, int64 array
        As in :class:`Layer`.
    of, spikes, signs, first, last, operations
        As there.
    """
    # Read once: for all that the compiler knows, what is written to d might change them.
    rows, base = of["records"], of["weights"]
    synapses = np.int64(0)
    for f in range(first, last):
        row = rows + np.int64(simd.peek(spikes, f))
        begin, end = simd.peek(row_start, row), simd.peek(row_start, row + 1)
        if len(signs) == 0 or simd.peek(signs, f) > 0:
            for i in range(begin, end):
                lane = np.int64(simd.peek(lanes, i))
                simd.poke(d, lane, simd.peek(d, lane) + simd.peek(weights, base + i))
        else:
            for i in range(begin, end):
                lane = np.int64(simd.peek(lanes, i))
                simd.poke(d, lane, simd.peek(d, lane) - simd.peek(weights, base + i))
        synapses += end - begin
    operations[0] += last - first
    operations[1] += synapses
    operations[2] += synapses
    operations[3] += synapses
    return synapses

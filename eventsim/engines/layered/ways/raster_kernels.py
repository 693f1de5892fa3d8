"""Compiled code of :mod:`eventsim.engines.layered.ways.raster`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.engines.layered.ways.parts import append
from eventsim.engines.layered.ways.records import OUTPUT
from eventsim.engines.layered.ways.tick_kernels.readout import decide, note_readout
from eventsim.kernels import simd
from eventsim.kernels import simd_raster as vectors
from eventsim.kernels.compiled import brief, compiled, inlined
from eventsim.kernels.stencils import ADDITIONS, RUN, SYNAPSES, TAP, TOOLBOX
from eventsim.kernels.stencils import ROWS as ROWS_REACHED

# Places behind the masks of a raster: zeros, and what vectors may read beyond the end.
BEHIND = 64
# Places in Tables.scalars.
(
    HEIGHT, WIDTH, BLOCKS, STRIDE_Y, STRIDE_X, TOP, LEFT, ROWS, COLUMNS, GROUPS_Y, GROUPS_X, OUT_HEIGHT, OUT_WIDTH, PADDED, LANES, TAPS,
    PASSES, UNIT, LIMIT, KEEP, SIGNED, FIRST, ACROSS,
) = range(23)  # fmt: skip
SCALARS = 23


# Places in Costs.scalars.
SOURCE_LOCATIONS, SOURCE_BLOCKS, RECORD, NUMBER, ALL_EFFECTIVE = range(5)


class Costs(NamedTuple):
    """What the spikes that reach a population cost, and where that is counted: by the projections' numbers in the network."""

    # The source's locations and masks of each, the record of its first location; the number of its projection; whether all synapses are
    # effective.
    scalars: Any
    clocks: Any  # int64 (clocks, 6): the number of a clock's projection, and what a spike of it costs


class Scratch(NamedTuple):
    """Room to work in; holds nothing between calls."""

    currents: Any  # int16
    words: Any  # int64: places of the masks of a group
    targets: Any  # int64: places of the target locations of a group
    counts: Any  # int32, for the ticks of a chunk
    listed: Any  # int32: the channels of a location that spike, and SLACK more


@inlined
def _add(of, current, places, masks, words, pairs, ticks, weights, q):
    limit = of[LIMIT]
    if of[LANES] == 64:
        if of[TAPS] == 9:
            vectors.add_9_64(current, places, masks, words, pairs, ticks, weights, q, limit)
        elif of[TAPS] == 4:
            vectors.add_4_64(current, places, masks, words, pairs, ticks, weights, q, limit)
        else:
            vectors.add_1_64(current, places, masks, words, pairs, ticks, weights, q, limit)
    elif of[TAPS] == 9:
        vectors.add_9_32(current, places, masks, words, pairs, ticks, weights, q, limit)
    elif of[TAPS] == 4:
        vectors.add_4_32(current, places, masks, words, pairs, ticks, weights, q, limit)
    else:
        vectors.add_1_32(current, places, masks, words, pairs, ticks, weights, q, limit)


@inlined
def _subtract(of, current, places, masks, words, pairs, ticks, weights, q):
    limit = of[LIMIT]
    if of[LANES] == 64:
        if of[TAPS] == 9:
            vectors.subtract_9_64(current, places, masks, words, pairs, ticks, weights, q, limit)
        elif of[TAPS] == 4:
            vectors.subtract_4_64(current, places, masks, words, pairs, ticks, weights, q, limit)
        else:
            vectors.subtract_1_64(current, places, masks, words, pairs, ticks, weights, q, limit)
    elif of[TAPS] == 9:
        vectors.subtract_9_32(current, places, masks, words, pairs, ticks, weights, q, limit)
    elif of[TAPS] == 4:
        vectors.subtract_4_32(current, places, masks, words, pairs, ticks, weights, q, limit)
    else:
        vectors.subtract_1_32(current, places, masks, words, pairs, ticks, weights, q, limit)


@compiled
def _deliver_row(of, row, block, current, words, places, masks, negative, begin, zeros, length, ticks, weights):
    """Add the spikes of a row of groups to the currents of the target locations that they reach."""
    # The places for a row of target locations begin with those beyond its left border.
    across = of[ACROSS]
    step, reached = length * of[LANES], of[ROWS] * of[COLUMNS]
    neurons = of[STRIDE_Y] * of[STRIDE_X] * of[BLOCKS]
    pairs = (neurons + 1) >> 1
    size = 64 * pairs * of[TAPS] * of[LANES]
    words[2 * pairs - 1] = zeros
    for column in range(of[GROUPS_X]):
        n = 0
        for i in range(of[STRIDE_Y]):
            y = row * of[STRIDE_Y] + i - of[TOP]
            for j in range(of[STRIDE_X]):
                x = column * of[STRIDE_X] + j - of[LEFT]
                inside = y >= 0 and y < of[HEIGHT] and x >= 0 and x < of[WIDTH]
                for b in range(of[BLOCKS]):
                    words[n] = begin + ((y * of[WIDTH] + x) * of[BLOCKS] + b) * length if inside else zeros
                    n += 1
        for p in range(of[PASSES]):
            for tap in range(of[TAPS]):
                which = p * of[TAPS] + tap
                if which < reached:
                    i = which // of[COLUMNS]
                    j = which - i * of[COLUMNS]
                    slot = (row + of[ROWS] - i) % of[ROWS]
                    places[tap] = (slot * across + column - j + of[COLUMNS] - 1) * step
                else:
                    places[tap] = of[ROWS] * across * step
            q = (block * of[PASSES] + p) * size
            _add(of, current, places, masks, words, pairs, ticks, weights, q)
            if len(negative):
                _subtract(of, current, places, negative, words, pairs, ticks, weights, q)


@compiled
def _fire_row(of, row, block, current, constant, threshold, d, net, out, out_negative, begin, length, ticks):
    """Let the neurons of a row of target locations integrate their currents and fire."""
    lanes = of[LANES]
    everywhere = len(constant) == lanes
    for x in range(of[OUT_WIDTH]):
        i = (row * of[OUT_WIDTH] + x) * of[PADDED] + block * lanes
        channel = i if len(threshold) > of[PADDED] else block * lanes
        j = ((row % of[ROWS]) * of[ACROSS] + x + of[FIRST]) * length * lanes
        m = begin + (i >> 5) * length
        each = 0 if everywhere else i
        if of[SIGNED] == 0:
            if lanes == 64:
                vectors.fire_64(d, i, current, j, of[UNIT], constant, each, threshold, channel, of[KEEP], out, m, length, ticks)
            else:
                vectors.fire_32(d, i, current, j, of[UNIT], constant, each, threshold, channel, of[KEEP], out, m, length, ticks)
        elif lanes == 64:
            vectors.fire_signed_64(
                d, i, current, j, of[UNIT], constant, each, threshold, channel, of[KEEP], out, m, length, ticks, net, out_negative
            )
        else:
            vectors.fire_signed_32(
                d, i, current, j, of[UNIT], constant, each, threshold, channel, of[KEEP], out, m, length, ticks, net, out_negative
            )


@compiled
def integrate(of, weights, constant, threshold, d, net, masks, negative, ticks, length, out, out_negative, scratch):
    """The spikes of a window (see the module): takes the raster of the source, writes that of the population."""
    lanes, locations = of[LANES], of[HEIGHT] * of[WIDTH]
    current, words, places = scratch.currents, scratch.words, scratch.targets
    zeros, row_size = len(masks) - BEHIND, of[ACROSS] * length * lanes
    current[: of[ROWS] * row_size] = 0
    begin = out_begin = 0
    for since in range(0, ticks, length):
        now = min(length, ticks - since)
        for block in range(of[PADDED] // lanes):
            for row in range(max(of[GROUPS_Y], of[OUT_HEIGHT]) + of[ROWS] - 1):
                if row < of[GROUPS_Y]:
                    _deliver_row(of, row, block, current, words, places, masks, negative, begin, zeros, length, now, weights)
                target = row - of[ROWS] + 1
                if target >= 0 and target < of[OUT_HEIGHT]:
                    _fire_row(of, target, block, current, constant, threshold, d, net, out, out_negative, out_begin, length, now)
                else:
                    # A row beyond the border.
                    slot = (target + of[ROWS]) % of[ROWS]
                    current[slot * row_size : (slot + 1) * row_size] = 0
        begin += locations * of[BLOCKS] * length
        out_begin += of[OUT_HEIGHT] * of[OUT_WIDTH] * (of[PADDED] >> 5) * length


@compiled
def advance(
    of, weights, constant, threshold, records, costs, progress, d, net, tally, masks, negative, since, ticks, length, out, out_negative,
    scratch,
):  # fmt: skip
    """A window of a population: :func:`integrate`, and count the operations, the population's spikes and its first one."""
    count_arrivals(records, costs, tally, masks, negative, since, ticks, length, scratch.counts)
    _end(out)
    if len(out_negative):
        _end(out_negative)
    integrate(of, weights, constant, threshold, d, net, masks, negative, ticks, length, out, out_negative, scratch)
    # For gathering, who is due has to be looked for first.
    s = progress[()]
    s["head"] = s["waiting"] = 0
    each = of[OUT_HEIGHT] * of[OUT_WIDTH] * (of[PADDED] >> 5)
    first = count_steps(out, ticks, length, each, scratch.counts, tally.spikes, since)
    if len(out_negative):
        count_steps(out_negative, ticks, length, each, scratch.counts, tally.negative, since)
        first = min(first, count_steps(out_negative, ticks, length, each, scratch.counts, tally.spikes, since))
    if first < ticks and s["first_tick"] == 0:
        s["first_tick"] = since + 1 + first


@inlined
def _end(masks):
    """What lies there of earlier windows is overwritten, but not behind the masks."""
    for m in range(len(masks) - BEHIND, len(masks)):
        masks[m] = 0


@inlined
def _same(current, i, j):
    """Whether 64 currents from place i on are those from j on."""
    different = np.int32(0)
    for lane in range(64):
        different |= simd.peek(current, i + lane) ^ simd.peek(current, j + lane)
    return different == 0


@inlined
def _copy(array, i, j, n):
    """Copy n values from place j to place i, n or more behind it."""
    for k in range(n):
        simd.poke(array, i + k, simd.peek(array, j + k))


@compiled
def drive(v, current, threshold, back, since, ticks, length, masks, counts, spikes):
    """A window of driven neurons, clocked (int32 arrays of whole blocks; no potential leaves int32).

    The lane so many ones ``back``, a multiple of 64, has the same threshold and at the start of the run the same potential. Counts the
    spikes of each tick and returns the first tick with some, 0 if there is none.
    """
    each = len(v) >> 5
    begin = 0
    _end(masks)
    for at in range(0, ticks, length):
        now = min(length, ticks - at)
        for i in range(0, len(v) - 32, 64):
            m = begin + (i >> 5) * length
            if i >= back and _same(current, i, i - back):
                # As in the background of a digit: neurons with the same current do the same.
                _copy(v, i, i - back, 64)
                _copy(masks, m, m - (back >> 5) * length, 2 * length)
            else:
                vectors.charge_64(v, current, threshold, i, masks, m, length, now)
        if each & 1:
            vectors.charge_32(v, current, threshold, 32 * (each - 1), masks, begin + (each - 1) * length, length, now)
        begin += each * length
    first = count_steps(masks, ticks, length, each, counts, spikes, since)
    return since + 1 + first if first < ticks else 0


@compiled
def read_out(layer, costs, state, tally, projection, constant, masks, negative, since, ticks, length, listed, counts):
    """A window of a readout, or up to an exit in it: adds up the int8 weights of its spikes, and the constant at every tick (d: int32).

    ``listed`` (int32) is room for the channels of a source location, and SLACK more.
    """
    c, s, d, of = layer.constants, state.progress[()], state.d, layer.projections[projection]
    locations, of_location = costs.scalars[SOURCE_LOCATIONS], costs.scalars[SOURCE_BLOCKS]
    channel_step, effective, readout = of["channel_step"], of["nonzero"], tally.readout
    each = locations * of_location
    # But for the effective ones, if weights are 0: a location does not tell them.
    count_arrivals(layer.records, costs, tally, masks, negative, since, ticks, length, counts)
    # A window tick by tick leaves its last step to the next one.
    note_readout(d, c.channels, c.padded, readout, s["step"], since)
    for t in range(ticks):
        chunk = t // length
        m = chunk * each * length + t - chunk * length
        nonzero = np.int64(0)
        arrives = len(costs.clocks) > 0
        for location in range(locations):
            row = of["records"] + location
            # No rows: beyond the last whole window of a pool before the table.
            run = layer.records[row, RUN] if layer.records[row, ROWS_REACHED] else 0
            base = of["weights"] + layer.records[row, TAP]
            for sign in range(2 if len(negative) else 1):
                n = 0
                for b in range(of_location):
                    n = append(listed, n, 32 * b, negative[m + b * length] if sign else masks[m + b * length])
                arrives |= n > 0
                for lane in range(0, run, simd.LANES):
                    if sign:
                        vectors.subtract_listed(d, lane, layer.w8, base + lane, channel_step, listed, n)
                    else:
                        vectors.add_listed(d, lane, layer.w8, base + lane, channel_step, listed, n)
                if effective >= 0:
                    for e in range(n):
                        nonzero += layer.effective[effective + location * of["source_channels"] + listed[e]]
            m += of_location * length
        for lane in range(len(constant)):
            d[lane] += constant[lane]
        if c.role == OUTPUT:
            if arrives and s["decided_at"] == 0:
                s["decided_at"] = since + t + 1
            decide(s, d, c.channels, c.padded, since + t + 1, c.exit_kind, c.exit_limit)
        note_readout(d, c.channels, c.padded, readout, since + t, since + t + 1)
        tally.operations[costs.scalars[NUMBER], since + t, 4] += nonzero
        if s["exited"]:
            break
    s["step"] = since + ticks - 1


@brief
def count(masks, n):
    """Spikes in the first n masks."""
    found = 0
    for m in range(n):
        found += simd.count(masks[m])
    return found


@compiled
def count_steps(masks, ticks, length, each, counts, spikes, since):
    """Add the spikes of each tick to ``spikes``, from ``since`` on.

    ``each`` is the number of masks for a tick, ``counts`` room for those of a chunk. Returns the first tick with spikes, counted from 0,
    or ``ticks``.
    """
    begin, first = 0, ticks
    for at in range(0, ticks, length):
        counts[:] = 0
        for m in range(begin, begin + each * length, length):
            vectors.add_counts(counts, masks, m)
        for t in range(min(length, ticks - at)):
            spikes[since + at + t] += counts[t]
            if counts[t] and first == ticks:
                first = at + t
        begin += each * length
    return first


@compiled
def count_arrivals(records, costs, tally, masks, negative, since, ticks, length, counts):
    """Count the operations of a window: those of the source's spikes, and of the clocks'."""
    locations, of_location = costs.scalars[SOURCE_LOCATIONS], costs.scalars[SOURCE_BLOCKS]
    base, all_effective = costs.scalars[RECORD], costs.scalars[ALL_EFFECTIVE]
    operations = tally.operations[costs.scalars[NUMBER]]
    begin = 0
    for at in range(0, ticks, length):
        counts[:] = 0
        now = min(length, ticks - at)
        for location in range(locations):
            record = base + location
            # Most locations have neighbours whose spikes cost the same.
            if location and not (
                records[record, SYNAPSES] == records[record - 1, SYNAPSES]
                and records[record, ADDITIONS] == records[record - 1, ADDITIONS]
                and records[record, TOOLBOX] == records[record - 1, TOOLBOX]
            ):
                _note(records, record - 1, all_effective, counts, operations, since + at, now)
                counts[:] = 0
            for b in range(of_location):
                m = begin + (location * of_location + b) * length
                vectors.add_counts(counts, masks, m)
                if len(negative):
                    vectors.add_counts(counts, negative, m)
        _note(records, base + locations - 1, all_effective, counts, operations, since + at, now)
        begin += locations * of_location * length
    for c in range(len(costs.clocks)):
        counted = tally.operations[costs.clocks[c, 0]]
        for t in range(since, since + ticks):
            for i in range(5):
                counted[t, i] += costs.clocks[c, 1 + i]


@inlined
def _note(records, record, all_effective, counts, operations, since, ticks):
    synapses, additions, toolbox = records[record, SYNAPSES], records[record, ADDITIONS], records[record, TOOLBOX]
    for t in range(ticks):
        n = np.int64(counts[t])
        operations[since + t, 0] += n
        operations[since + t, 1] += n * synapses
        operations[since + t, 2] += n * additions
        operations[since + t, 3] += n * toolbox
        if all_effective:
            operations[since + t, 4] += n * synapses


@compiled
def to_train(masks, negative, since, ticks, length, locations, channels, tick, neuron, sign):
    """List the spikes by tick, then by neuron; returns their number. Up to SLACK places of ``neuron`` behind them are overwritten."""
    of_location, n = (channels + 31) >> 5, 0
    each = locations * of_location
    for t in range(ticks):
        chunk = t // length
        m = chunk * each * length + t - chunk * length
        before = n
        for location in range(locations):
            for b in range(of_location):
                mask, first = masks[m], location * channels + 32 * b
                if len(negative):
                    at, both = n, mask | negative[m]
                    while both:
                        bit = simd.lowest(both)
                        sign[at] = 1 if (mask >> np.uint32(bit)) & np.uint32(1) else -1
                        both &= both - np.uint32(1)
                        at += 1
                    mask |= negative[m]
                n = append(neuron, n, first, mask)
                m += length
        for at in range(before, n):
            tick[at] = since + t + 1
    return n


@compiled
def from_train(tick, neuron, sign, since, length, locations, channels, masks, negative):
    """Set the bits of the spikes of a window; the masks are zeros before."""
    of_location = (channels + 31) >> 5
    for e in range(len(tick)):
        t = tick[e] - since - 1
        chunk, location = t // length, neuron[e] // channels
        channel = neuron[e] - location * channels
        m = ((chunk * locations + location) * of_location + (channel >> 5)) * length + t - chunk * length
        bit = np.uint32(1) << np.uint32(channel & 31)
        if len(sign) and sign[e] < 0:
            negative[m] |= bit
        else:
            masks[m] |= bit

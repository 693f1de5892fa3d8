"""Compiled code of the layered engine: one population over a window of time.

The neurons of a population lie location by location, the channels of each location padded to a multiple of LANES, so that vectors
never straddle. A padding lane holds -1, gets weight 0 and so is never due. Places in this layout are called lanes, to tell them from
neuron numbers. The state of a lane is the distance ``d = V - threshold`` in the narrowest type that is surely wide enough: before a
tick is delivered, ``bound`` (no |d| is above it) rises by the most that the tick can add.

A neuron that has fired and has a refractory period of more than a tick is *parked*: PARK is taken off its distance, so that no test
sees it, and put back when the period is over. The ring holds the parked neurons by the tick of their release; without a period it
holds those that were due again right after they had fired.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels import simd
from eventsim.kernels.compiled import compiled, inlined
from eventsim.kernels.simd import LANES, SLACK
from eventsim.kernels.sort import sort_candidates
from eventsim.kernels.stencils import ADDITIONS, FIRST_LANE, ROWS, RUN, SYNAPSES, TAP, TOOLBOX
from eventsim.model.limits import POTENTIAL_MAX as INT32_MAX
from eventsim.model.limits import POTENTIAL_MIN as INT32_MIN

DONE, GROW, WIDEN, OVERFLOW = range(4)
FOREVER = 2**62
INT8_MAX = 2**7 - 1
# Up to so many spikes in a tick, every addition tells whom it made due; with more, those reached are looked through afterwards.
FEW = 8
STENCIL, CSR = 0, 1
NEURONS, READOUT, OUTPUT = range(3)

# Places in Layer.scalars.
(
    SIZE, CHANNELS, PADDED, REFRACTORY, SIGNED, ZERO_RESET, ROLE, RESOLUTION, EXIT_KIND, EXIT_LIMIT, END, HIGHEST, PADDED_SHIFT,
) = range(13)  # fmt: skip
CONSTANTS = 13
# Columns of Layer.projections.
(
    KIND, WIDE, WEIGHTS, LARGEST, SOURCE_CHANNELS, RECORDS, ROW_STEP, TAP_STEP, CHANNEL_STEP, NONZERO, GATHER_FROM, SOURCE_SHIFT,
    NUMBER, LOCATIONS,
) = range(14)  # fmt: skip
PROJECTION = 14
# Columns of Layer.gathers.
(
    G_WEIGHTS, G_UNIT, G_HEIGHT, G_WIDTH, G_CHANNELS, G_OUT_HEIGHT, G_OUT_WIDTH, G_ROWS, G_COLUMNS, G_STRIDE_Y, G_STRIDE_X, G_TOP, G_LEFT,
    G_LANES, G_POOL_Y, G_POOL_X, G_BLOCK,
) = range(17)  # fmt: skip
GATHER = 17
# Rows of bits that are summed at a time, at most: their sums have eight binary digits.
MOST_ROWS = 248
# Places at the end of the bits that hold a row of zeros.
ZEROS = 8
# Places in State.scalars. DECIDED_AT is 0 as long as there is no decision.
AT, STEP, BOUND, HEAD, WAITING, FIRED, LIMIT, PARK, LOWEST, CHECKED, DECISION, DECIDED_AT, EXITED, FIRST_TICK, WHERE = range(15)
SCALARS = 15


class Layer(NamedTuple):
    """What does not change during a run: one population and the projections that reach it."""

    scalars: Any
    projections: Any  # (projections, PROJECTION)
    records: Any  # (source locations, 8): see eventsim.kernels.stencils.padded_stencil
    w8: Any
    w16: Any
    w32: Any
    effective: Any
    row_start: Any  # CSR rows: places in lanes
    lanes: Any  # CSR target lanes
    gathers: Any  # (projections, GATHER)
    bits: Any  # uint64: (block of lanes, kernel row, kernel column, source channel, lane), 1 for a positive weight; then ZEROS times 0
    threshold: Any  # per channel, int64


class State(NamedTuple):
    """What changes during a run."""

    scalars: Any
    d: Any  # int16, int32 or int64; readouts: V
    low: Any  # a signed neuron is due below this; as d
    net: Any  # positive minus negative spikes
    ring_tick: Any
    ring_lane: Any
    theta: Any  # thresholds of the lanes of a location, as d


class Scratch(NamedTuple):
    """Room to work in; holds nothing between calls."""

    candidates: Any
    begins: Any
    split: Any
    places: Any
    offsets: Any


class Train(NamedTuple):
    """Spikes in time order. ``sign`` may be empty (all +1), and so may ``projection`` (all 0)."""

    tick: Any
    neuron: Any
    sign: Any
    projection: Any


class Tally(NamedTuple):
    """Counts per step. Operations are those of the whole network: a projection finds its own by its NUMBER."""

    spikes: Any  # (steps,)
    negative: Any  # (steps,): those of sign -1 among them
    operations: Any  # (projections, steps, 5): deliveries, synaptic events, additions, toolbox, effective
    readout: Any  # (steps, neurons)


@compiled
def largest(d, parked, park, lanes, waiting, head):
    """Largest |d|; parked neurons as if they were not."""
    size = len(lanes)
    for n in range(waiting if parked else 0):
        d[lanes[(head + n) % size]] += park
    low = high = d[0]
    for value in d:
        low = min(low, value)
        high = max(high, value)
    for n in range(waiting if parked else 0):
        d[lanes[(head + n) % size]] -= park
    return max(-np.int64(low), np.int64(high))


@compiled
def out_of_range(d, threshold, padded, park):
    """Whether a potential has left int32 (d is int64)."""
    channels = len(threshold)
    for start in range(0, len(d), padded):
        for c in range(channels):
            v = d[start + c] + threshold[c]
            if v < -(park >> 1):
                v += park
            if v > INT32_MAX or v < INT32_MIN:
                return True
    return False


@inlined
def divided(value, by, shift):
    """``value // by``; ``shift`` says which power of two ``by`` is, or is -1."""
    return value >> shift if shift >= 0 else value // by


@compiled
def scatter(d, w16, w32, wide, lane, rows, run, w, row_step, tap_step, positive):
    """Add the int16 or int32 weights of one spike, row by row."""
    for _ in range(rows):
        for k in range(0, run, LANES):
            if wide == 1:
                if positive:
                    simd.add(d, lane + k, w16, w + k)
                else:
                    simd.subtract(d, lane + k, w16, w + k)
            else:
                if positive:
                    simd.add(d, lane + k, w32, w + k)
                else:
                    simd.subtract(d, lane + k, w32, w + k)
        lane += row_step
        w -= tap_step


@compiled
def scatter_all(d, w8, records, of, spikes, signs, first, last, operations):
    """Add the int8 weights of the spikes first..last-1 of a tick; returns the number of lanes reached."""
    source_channels, shift, row_step = of[SOURCE_CHANNELS], of[SOURCE_SHIFT], of[ROW_STEP]
    tap_step, channel_step = of[TAP_STEP], of[CHANNEL_STEP]
    base, weights = 8 * of[RECORDS], of[WEIGHTS]
    touched = synapses = additions = toolbox = np.int64(0)
    # The spikes of one location reach the same lanes: up to four of them together.
    most, narrow = 4 if len(signs) == 0 else 1, 4 * of[LARGEST] <= INT8_MAX
    f = first
    while f < last:
        neuron = np.int64(simd.peek(spikes, f))
        location = divided(neuron, source_channels, shift)
        record = base + 8 * location
        lane, rows, run = simd.peek(records, record + FIRST_LANE), simd.peek(records, record + ROWS), simd.peek(records, record + RUN)
        origin = weights - location * source_channels * channel_step + simd.peek(records, record + TAP)
        w = origin + neuron * channel_step
        n, beyond, room = 1, (location + 1) * source_channels, min(most, last - f)
        while n < room and simd.peek(spikes, f + n) < beyond:
            n += 1
        synapses += n * simd.peek(records, record + SYNAPSES)
        additions += n * simd.peek(records, record + ADDITIONS)
        toolbox += n * simd.peek(records, record + TOOLBOX)
        touched += rows * run
        if n == 1:
            if len(signs) == 0 or simd.peek(signs, f) > 0:
                for _ in range(rows):
                    for k in range(0, run, LANES):
                        simd.add(d, lane + k, w8, w + k)
                    lane += row_step
                    w -= tap_step
            else:
                for _ in range(rows):
                    for k in range(0, run, LANES):
                        simd.subtract(d, lane + k, w8, w + k)
                    lane += row_step
                    w -= tap_step
        else:
            w2 = origin + np.int64(simd.peek(spikes, f + 1)) * channel_step
            if n == 2:
                for _ in range(rows):
                    for k in range(0, run, LANES):
                        if narrow:
                            simd.add_2(d, lane + k, w8, w + k, w2 + k)
                        else:
                            simd.add_2_wide(d, lane + k, w8, w + k, w2 + k)
                    lane += row_step
                    w -= tap_step
                    w2 -= tap_step
            else:
                w3 = origin + np.int64(simd.peek(spikes, f + 2)) * channel_step
                if n == 3:
                    for _ in range(rows):
                        for k in range(0, run, LANES):
                            if narrow:
                                simd.add_3(d, lane + k, w8, w + k, w2 + k, w3 + k)
                            else:
                                simd.add_3_wide(d, lane + k, w8, w + k, w2 + k, w3 + k)
                        lane += row_step
                        w -= tap_step
                        w2 -= tap_step
                        w3 -= tap_step
                else:
                    w4 = origin + np.int64(simd.peek(spikes, f + 3)) * channel_step
                    for _ in range(rows):
                        for k in range(0, run, LANES):
                            if narrow:
                                simd.add_4(d, lane + k, w8, w + k, w2 + k, w3 + k, w4 + k)
                            else:
                                simd.add_4_wide(d, lane + k, w8, w + k, w2 + k, w3 + k, w4 + k)
                        lane += row_step
                        w -= tap_step
                        w2 -= tap_step
                        w3 -= tap_step
                        w4 -= tap_step
        f += n
    operations[0] += last - first
    operations[1] += synapses
    operations[2] += additions
    operations[3] += toolbox
    return touched


@inlined
def append(places, n, first, mask):
    """Append ``first + k`` for each bit k of a mask; returns their new number. Up to SLACK places behind it are overwritten.

    Few bits are set as a rule: writing SLACK places each time costs less than to guess how many there are.
    """
    bits = simd.count(mask)
    for k in range(SLACK):
        places[n + k] = first + simd.lowest(mask)
        mask &= mask - np.uint32(1)
    for k in range(SLACK, bits):
        places[n + k] = first + simd.lowest(mask)
        mask &= mask - np.uint32(1)
    return n + bits


@inlined
def scan(d, low, signed, lane, run, candidates, n):
    """Append the due lanes of a run; returns their new number."""
    for k in range(lane, lane + run, LANES):
        due = simd.test_signed(d, k, low) if signed else simd.test(d, k)
        if due:
            n = append(candidates, n, k, due)
    return n


@compiled
def locate(spikes, first, last, channels, shift, begins, locations):
    """Where in the list of spikes (sorted by neuron) those of each location begin."""
    begins[:locations] = first
    begins[locations] = last
    if locations > 1:
        for e in range(first, last):
            begins[divided(np.int64(simd.peek(spikes, e)), channels, shift) + 1] = e + 1
        for location in range(1, locations):
            begins[location] = max(begins[location], begins[location - 1])


@compiled
def gather(d, bits, g, shift, spikes, first, last, begins, places, offsets, scale):
    """Deliver the spikes first..last-1 (sorted by neuron), location of the target by location; all weights are +1 or -1 times scale.

    A target location sees, in each kernel row, the spikes of consecutive source locations, hence a range of the sorted list. A block
    of lanes at a time over all locations: its weights stay in the cache. Pooling is not fused: the locations that it pools are summed
    one by one.
    """
    channels, height, width, lanes = g[G_CHANNELS], g[G_HEIGHT], g[G_WIDTH], g[G_LANES]
    block = g[G_BLOCK]
    locate(spikes, first, last, channels, shift, begins, height * width)
    words = block >> 6
    for e in range(first, last):
        places[e - first] = np.int64(simd.peek(spikes, e)) * words
    kernel_row = g[G_COLUMNS] * channels * words
    for b in range(lanes // block):
        base = g[G_WEIGHTS] + b * g[G_ROWS] * kernel_row
        for y in range(g[G_OUT_HEIGHT]):
            for x in range(g[G_OUT_WIDTH]):
                lane, n = (y * g[G_OUT_WIDTH] + x) * lanes + b * block, 0
                for i in range(g[G_POOL_Y]):
                    top = (y * g[G_POOL_Y] + i) * g[G_STRIDE_Y] - g[G_TOP]
                    for j in range(g[G_POOL_X]):
                        left = (x * g[G_POOL_X] + j) * g[G_STRIDE_X] - g[G_LEFT]
                        from_x, to_x = max(0, left), min(width, left + g[G_COLUMNS])
                        if from_x >= to_x:
                            continue
                        for row in range(max(0, -top), min(g[G_ROWS], height - top)):
                            source = (top + row) * width
                            start, end = begins[source + from_x], begins[source + to_x]
                            offset = base + row * kernel_row - (source + left) * channels * words
                            while start < end:
                                some = min(end - start, MOST_ROWS - n)
                                for e in range(0, some, 8):
                                    simd.shifted(offsets, n + e, places, start - first + e, offset)
                                n += some
                                start += some
                                if n == MOST_ROWS:
                                    add_bits(d, lane, bits, block, offsets, n, scale)
                                    n = 0
                if n:
                    add_bits(d, lane, bits, block, offsets, n, scale)


@inlined
def add_bits(d, lane, bits, block, offsets, n, scale):
    groups = (n + 7) >> 3
    for k in range(n, 8 * groups):
        offsets[k] = len(bits) - ZEROS
    if block == 512:
        simd.add_bits_512(d, lane, bits, offsets, groups, n, scale)
    elif block == 256:
        simd.add_bits_256(d, lane, bits, offsets, groups, n, scale)
    elif block == 128:
        simd.add_bits_128(d, lane, bits, offsets, groups, n, scale)
    else:
        simd.add_bits_64(d, lane, bits, offsets, groups, n, scale)


@compiled
def count_gathered(begins, records, of, locations, operations):
    """Count the operations of gathered spikes, location of the source by location."""
    base = 8 * of[RECORDS]
    for location in range(locations):
        n = begins[location + 1] - begins[location]
        if n:
            record = base + 8 * location
            operations[0] += n
            operations[1] += n * simd.peek(records, record + SYNAPSES)
            operations[2] += n * simd.peek(records, record + ADDITIONS)
            operations[3] += n * simd.peek(records, record + TOOLBOX)


@inlined
def still_leads(d, channels, best):
    """Whether no other of the first ``channels`` potentials is as large as that of ``best``: the usual case, and quickly told."""
    inside = np.uint32((np.int64(1) << channels) - 1)
    return simd.reaching(d, d[best]) & inside == np.uint32(1) << np.uint32(best)


@inlined
def lead(d, channels, w8, w, channel_step, train, at, end, last, best):
    """Deliver the spikes at..end of one location up to tick ``last`` for as long as ``best`` leads; returns how many."""
    if channels <= LANES // 2:
        return simd.lead_16(d, channels, w8, w, channel_step, train.neuron, train.tick, at, end, last, best)
    return simd.lead_32(d, channels, w8, w, channel_step, train.neuron, train.tick, at, end, last, best)


@compiled
def decide(scalars, d, channels, padded, tick, exit_kind, limit):
    """Note the decision at the end of a tick and apply the exit rule."""
    best = number = 0
    top = second = np.int64(-FOREVER)
    if exit_kind == 0 and len(d) == LANES:
        best = scalars[DECISION]
        if not still_leads(d, channels, best):
            best = simd.leader(d, channels)
    for start in range(0 if exit_kind or len(d) > LANES else len(d), len(d), padded):
        for lane in range(start, start + channels):
            value = np.int64(d[lane])
            if value > top:
                second, top, best = top, value, number
            else:
                second = max(second, value)
            number += 1
    if best != scalars[DECISION]:
        scalars[DECISION] = best
        scalars[DECIDED_AT] = tick
    if (exit_kind == 1 and top >= limit) or (exit_kind == 2 and top - second >= limit):
        scalars[EXITED] = tick


@compiled
def note_readout(d, channels, padded, rows, first, last):
    """Copy the potentials into the rows of the steps first..last-1."""
    for step in range(first, last):
        number = 0
        for start in range(0, len(d), padded):
            for lane in range(start, start + channels):
                rows[step, number] = d[lane]
                number += 1


@compiled
def end_of_tick(ticks, at):
    """The place behind the last spike of the same tick as ``ticks[at]``."""
    tick, low, high, step = ticks[at], at, at + 1, 1
    while high < len(ticks) and ticks[high] == tick:
        low, high, step = high, high + step, 2 * step
    high = min(high, len(ticks))
    while low + 1 < high:
        middle = (low + high) >> 1
        if ticks[middle] == tick:
            low = middle
        else:
            high = middle
    return high


@inlined
def all_are(values, first, last, wanted):
    """Whether all of values[first:last] are ``wanted``."""
    same = True
    for i in range(first, last):
        same &= values[i] == wanted
    return same


@inlined
def fire(c, thresholds, state, out, tally, tick, step, lane, fired, head, waiting, park, lowest):
    """Let a due neuron spike; returns how many wait in the ring then."""
    d, low, padded = state.d, state.low, c[PADDED]
    signed, parks = c[SIGNED] != 0, c[REFRACTORY] > 1
    location = divided(lane, padded, c[PADDED_SHIFT])
    channel = lane - location * padded
    threshold = thresholds[channel]
    sign = 1
    if d[lane] >= 0:
        if c[ZERO_RESET]:
            d[lane] = -threshold
        else:
            d[lane] -= threshold
    else:
        sign = -1
        d[lane] += threshold
    out.tick[fired] = tick
    out.neuron[fired] = location * c[CHANNELS] + channel
    again = d[lane] >= 0
    if signed:
        out.sign[fired] = sign
        state.net[lane] += sign
        tally.negative[step] += sign < 0
        low[lane] = -threshold if state.net[lane] > 0 else lowest
        again |= d[lane] < low[lane]
    if parks:
        d[lane] -= park
        if signed:
            low[lane] = lowest
    if parks or again:
        tail = head + waiting
        if tail >= c[SIZE]:
            tail -= c[SIZE]
        state.ring_tick[tail] = tick + c[REFRACTORY]
        state.ring_lane[tail] = lane
        waiting += 1
    return waiting


@compiled
def fire_all(d, theta, channels, neurons, fired, again, end, ring_tick, ring_lane, head, waiting):
    """Let all due neurons spike (unsigned, reset by subtraction, no refractory period of more than a tick).

    Those that are still due then enter the ring for the tick ``again``. Returns the new numbers of spikes and of neurons in the ring.
    """
    padded, size = len(theta), len(d)
    neuron = 0
    for start in range(0, size, padded):
        for k in range(0, padded, LANES):
            fires = simd.discharge(d, start + k, theta, k)
            if fires:
                fired = append(neurons, fired, neuron + k, fires)
                due = simd.test(d, start + k)
                while due and again <= end:
                    tail = head + waiting
                    if tail >= size:
                        tail -= size
                    ring_tick[tail] = again
                    ring_lane[tail] = start + k + simd.lowest(due)
                    waiting += 1
                    due &= due - np.uint32(1)
        neuron += channels
    return fired, waiting


@inlined
def note_operations(operations, deliveries, synapses, additions, toolbox, effective):
    """Add to the operations of a projection and step (in the order of :data:`eventsim.job.job.OPERATIONS`)."""
    operations[0] += deliveries
    operations[1] += synapses
    operations[2] += additions
    operations[3] += toolbox
    operations[4] += effective


@compiled
def read_out(layer, state, train, at, step, until, tally):
    """Deliver ticks with few spikes up to ``until`` to a readout, from place ``at`` of the train on; returns the place behind and its step.

    It may stop within a tick (whose decision is then still to be made), for a bound that has to be found anew.
    """
    c, s, d, of = layer.scalars, state.scalars, state.d, layer.projections[0]
    end = min(len(train.tick), at + (s[LIMIT] - s[BOUND]) // max(1, of[LARGEST]))
    few = min(FEW, of[GATHER_FROM] - 1)
    arrivals, decides, signs = len(train.tick), c[ROLE] == OUTPUT, len(train.sign) > 0
    source_channels, source_shift, row_step, tap_step = of[SOURCE_CHANNELS], of[SOURCE_SHIFT], of[ROW_STEP], of[TAP_STEP]
    channel_step, base, weights, effective = of[CHANNEL_STEP], 8 * of[RECORDS], of[WEIGHTS], of[NONZERO]
    channels, padded, resolution = c[CHANNELS], c[PADDED], c[RESOLUTION]
    synapses = additions = toolbox = nonzero = np.int64(0)
    here, first_lane, rows, run, tap, exact, performed, taps = -1, 0, 0, 0, 0, 0, 0, 0
    quick = decides and c[EXIT_KIND] == 0 and len(d) == LANES
    # From here on, of one location and without signs, a loop of its own does it.
    alone = quick and of[LOCATIONS] == 1 and not signs and of[GATHER_FROM] == FOREVER
    step_end = (step + 1) * resolution
    first = counted = at
    while at < end:
        tick = simd.peek(train.tick, at)
        if tick > until or (at + few < arrivals and simd.peek(train.tick, at + few) == tick):
            break
        if tick > step_end:
            note_operations(tally.operations[of[NUMBER], step], at - counted, synapses, additions, toolbox, nonzero)
            synapses = additions = toolbox = nonzero = np.int64(0)
            counted = at
            now = (tick - 1) // resolution
            note_readout(d, channels, padded, tally.readout, step, now)
            step = now
            step_end = (step + 1) * resolution
        neuron = np.int64(simd.peek(train.neuron, at))
        location = divided(neuron, source_channels, source_shift)
        if location != here:
            here, record = location, base + 8 * location
            first_lane, tap = simd.peek(layer.records, record + FIRST_LANE), simd.peek(layer.records, record + TAP)
            rows, run = simd.peek(layer.records, record + ROWS), simd.peek(layer.records, record + RUN)
            exact, performed = simd.peek(layer.records, record + SYNAPSES), simd.peek(layer.records, record + ADDITIONS)
            taps = simd.peek(layer.records, record + TOOLBOX)
        delivered = 1
        if alone and rows == 1:
            last = min(until, step_end)
            delivered = lead(d, channels, layer.w8, weights + tap, channel_step, train, at, end, last, s[DECISION])
            tick = simd.peek(train.tick, at + delivered - 1)
        else:
            lane, w = first_lane, weights + (neuron - location * source_channels) * channel_step + tap
            for _ in range(rows):
                for k in range(0, run, LANES):
                    if signs and simd.peek(train.sign, at) < 0:
                        simd.subtract(d, lane + k, layer.w8, w + k)
                    else:
                        simd.add(d, lane + k, layer.w8, w + k)
                lane += row_step
                w -= tap_step
        synapses += delivered * exact
        additions += delivered * performed
        toolbox += delivered * taps
        if effective < 0:
            nonzero += delivered * exact
        else:
            for f in range(at, at + delivered):
                nonzero += simd.peek(layer.effective, effective + np.int64(simd.peek(train.neuron, f)))
        at += delivered
        # Whether the tick is over is hard to predict, so it is asked only where it matters.
        if decides and not (quick and still_leads(d, channels, s[DECISION])) and (at == arrivals or simd.peek(train.tick, at) != tick):
            decide(s, d, channels, padded, tick, c[EXIT_KIND], c[EXIT_LIMIT])
            if s[EXITED]:
                break
    s[BOUND] += (at - first) * of[LARGEST]
    note_operations(tally.operations[of[NUMBER], step], at - counted, synapses, additions, toolbox, nonzero)
    return at, step


@compiled
def advance(layer, state, scratch, train, out, tally, until):
    """Run one population to the end of tick ``until``; returns DONE, GROW, WIDEN or OVERFLOW.

    ``train`` holds its incoming spikes with the ticks of their arrival, ``out`` takes its own (GROW: is full; call again with more
    room). After WIDEN the caller gives d a wider type. OVERFLOW: a potential has left int32.
    """
    c, s = layer.scalars, state.scalars
    d, low = state.d, state.low
    size, channels, padded = c[SIZE], c[CHANNELS], c[PADDED]
    resolution = c[RESOLUTION]
    signed, neurons, parks = c[SIGNED] != 0, c[ROLE] == NEURONS, c[REFRACTORY] > 1
    plain = not signed and not parks and c[ZERO_RESET] == 0
    park, lowest = s[PARK], s[LOWEST]
    candidates = scratch.candidates
    at, fired = s[AT], s[FIRED]
    head, waiting = s[HEAD], s[WAITING]
    arrivals, room = len(train.tick), len(out.tick)
    step = s[STEP]
    step_end = (step + 1) * resolution
    status = DONE
    if c[ROLE] == OUTPUT and s[DECIDED_AT] == 0 and at < arrivals and train.tick[at] <= until:
        # All potentials are still the same; from its first spike on a readout has a decision.
        s[DECIDED_AT] = train.tick[at]
    while True:
        arrival = train.tick[at] if at < arrivals else FOREVER
        release = state.ring_tick[head] if waiting else FOREVER
        tick = min(arrival, release)
        if tick > until:
            break
        if neurons and fired + size + SLACK > room:
            status = GROW
            break
        if tick > step_end:
            now = (tick - 1) // resolution
            if not neurons:
                note_readout(d, channels, padded, tally.readout, step, now)
            step = now
            step_end = (step + 1) * resolution
        if neurons and tick < release and s[CHECKED] == 0:
            # Ticks with few spikes, the usual case at high resolution, without leaving this loop.
            p = np.int64(train.projection[at]) if len(train.projection) else 0
            of = layer.projections[p]
            if of[KIND] == STENCIL and of[WIDE] == 0:
                quota = at + (s[LIMIT] - s[BOUND]) // max(1, of[LARGEST])
                few = min(FEW, of[GATHER_FROM] - 1)
                last = min(until, step_end)
                operations = tally.operations[of[NUMBER], step]
                source_channels, source_shift, row_step, tap_step = of[SOURCE_CHANNELS], of[SOURCE_SHIFT], of[ROW_STEP], of[TAP_STEP]
                channel_step, base, weights, effective = of[CHANNEL_STEP], 8 * of[RECORDS], of[WEIGHTS], of[NONZERO]
                synapses = additions = toolbox = nonzero = np.int64(0)
                first, before = at, fired
                while at < arrivals:
                    tick = simd.peek(train.tick, at)
                    if tick > last or tick >= release or fired + size > room:
                        break
                    stop = at + 1
                    while stop < arrivals and stop - at <= few and simd.peek(train.tick, stop) == tick:
                        stop += 1
                    if stop > quota or stop - at > few or (len(train.projection) and not all_are(train.projection, at, stop, p)):
                        break
                    found = 0
                    everywhere = False
                    for f in range(at, stop):
                        neuron = np.int64(simd.peek(train.neuron, f))
                        location = divided(neuron, source_channels, source_shift)
                        record = base + 8 * location
                        lane = simd.peek(layer.records, record + FIRST_LANE)
                        rows = simd.peek(layer.records, record + ROWS)
                        run = simd.peek(layer.records, record + RUN)
                        w = weights + (neuron - location * source_channels) * channel_step + simd.peek(layer.records, record + TAP)
                        exact = simd.peek(layer.records, record + SYNAPSES)
                        synapses += exact
                        additions += simd.peek(layer.records, record + ADDITIONS)
                        toolbox += simd.peek(layer.records, record + TOOLBOX)
                        nonzero += layer.effective[effective + neuron] if effective >= 0 else exact
                        positive = len(train.sign) == 0 or simd.peek(train.sign, f) > 0
                        if found + rows * run > len(candidates):
                            everywhere = True
                            found = 0
                        # A neuron that is due after the tick was so after the last addition to it.
                        for _ in range(rows):
                            for k in range(0, run, LANES):
                                if signed:
                                    if positive:
                                        due = simd.add_signed(d, lane + k, layer.w8, w + k, low)
                                    else:
                                        due = simd.subtract_signed(d, lane + k, layer.w8, w + k, low)
                                elif positive:
                                    due = simd.add(d, lane + k, layer.w8, w + k)
                                else:
                                    due = simd.subtract(d, lane + k, layer.w8, w + k)
                                while due:
                                    candidates[found] = lane + k + simd.lowest(due)
                                    due &= due - np.uint32(1)
                                    found += 1
                            lane += row_step
                            w -= tap_step
                    if everywhere:
                        found = scan(d, low, signed, 0, size, candidates, 0)
                    elif stop > at + 1 and found > 1:
                        sort_candidates(candidates, found)
                    previous = np.int64(-1)
                    for n in range(found):
                        lane = np.int64(simd.peek(candidates, n))
                        if lane != previous and (d[lane] >= 0 or (signed and d[lane] < low[lane])):
                            waiting = fire(c, layer.threshold, state, out, tally, tick, step, lane, fired, head, waiting, park, lowest)
                            fired += 1
                        previous = lane
                    at = stop
                    if waiting:
                        release = state.ring_tick[head]
                s[BOUND] += (at - first) * of[LARGEST]
                note_operations(operations, at - first, synapses, additions, toolbox, nonzero)
                if fired > before:
                    tally.spikes[step] += fired - before
                    if s[FIRST_TICK] == 0:
                        s[FIRST_TICK] = out.tick[before]
                if at > first:
                    continue
        if not neurons and s[CHECKED] == 0 and len(train.projection) == 0:
            # Readouts have nobody to fire: ticks with few spikes without leaving this loop.
            of = layer.projections[0]
            if of[KIND] == STENCIL and of[WIDE] == 0:
                first = at
                at, step = read_out(layer, state, train, at, step, until, tally)
                step_end = (step + 1) * resolution
                if s[EXITED]:
                    break
                if at > first:
                    continue
        stop = at
        if arrival == tick:
            stop = end_of_tick(train.tick, at)
            rise = np.int64(0)
            if len(train.projection) == 0:
                rise = (stop - at) * layer.projections[0, LARGEST]
            else:
                for f in range(at, stop):
                    rise += layer.projections[train.projection[f], LARGEST]
            if s[BOUND] + rise > s[LIMIT]:
                # A reset may leave |d| at the threshold.
                s[BOUND] = max(c[HIGHEST], largest(d, parks, park, state.ring_lane, waiting, head))
                if s[BOUND] + rise > s[LIMIT]:
                    status = WIDEN
                    break
            s[BOUND] += rise

        # What may fire again, or may do so soon.
        found = 0
        while waiting and state.ring_tick[head] == tick:
            lane = np.int64(state.ring_lane[head])
            head = head + 1 if head + 1 < size else 0
            waiting -= 1
            if parks:
                d[lane] += park
                if signed:
                    low[lane] = -layer.threshold[lane % padded] if state.net[lane] > 0 else lowest
            candidates[found] = lane
            found += 1
        released = found

        everywhere = False
        touched = np.int64(0)
        e = at
        while e < stop:
            p = np.int64(train.projection[e]) if len(train.projection) else 0
            of = layer.projections[p]
            operations = tally.operations[of[NUMBER], step]
            before_group = operations[1]
            group = stop if len(train.projection) == 0 else e + 1
            while group < stop and train.projection[group] == p:
                group += 1
            if group - e >= of[GATHER_FROM]:
                g = layer.gathers[p]
                locations = g[G_HEIGHT] * g[G_WIDTH]
                for sign in (1, -1):
                    spikes, first, last = train.neuron, e, group
                    if len(train.sign):
                        spikes, first, last = scratch.split, 0, 0
                        for f in range(e, group):
                            if train.sign[f] == sign:
                                scratch.split[last] = train.neuron[f]
                                last += 1
                    elif sign < 0:
                        break
                    if last > first:
                        gather(
                            d, layer.bits, g, of[SOURCE_SHIFT], spikes, first, last, scratch.begins,
                            scratch.places, scratch.offsets, sign * g[G_UNIT],
                        )  # fmt: skip
                        count_gathered(scratch.begins, layer.records, of, locations, operations)
                everywhere = True
            elif of[KIND] == STENCIL and of[WIDE] == 0:
                touched += scatter_all(d, layer.w8, layer.records, of, train.neuron, train.sign, e, group, operations)
            else:
                for f in range(e, group):
                    neuron = np.int64(train.neuron[f])
                    positive = len(train.sign) == 0 or train.sign[f] > 0
                    operations[0] += 1
                    if of[KIND] == CSR:
                        begin, row_end = layer.row_start[of[RECORDS] + neuron], layer.row_start[of[RECORDS] + neuron + 1]
                        w = of[WEIGHTS]
                        for i in range(begin, row_end):
                            if of[WIDE] == 0:
                                change = np.int64(layer.w8[w + i])
                            elif of[WIDE] == 1:
                                change = np.int64(layer.w16[w + i])
                            else:
                                change = np.int64(layer.w32[w + i])
                            d[layer.lanes[i]] += change if positive else -change
                        exact = row_end - begin
                        touched += exact
                        operations[1] += exact
                        operations[2] += exact
                        operations[3] += exact
                    else:
                        location = divided(neuron, of[SOURCE_CHANNELS], of[SOURCE_SHIFT])
                        record = layer.records[of[RECORDS] + location]
                        operations[1] += record[SYNAPSES]
                        operations[2] += record[ADDITIONS]
                        operations[3] += record[TOOLBOX]
                        lane, run, rows = record[FIRST_LANE], record[RUN], record[ROWS]
                        w = of[WEIGHTS] + (neuron - location * of[SOURCE_CHANNELS]) * of[CHANNEL_STEP] + record[TAP]
                        scatter(d, layer.w16, layer.w32, of[WIDE], lane, rows, run, w, of[ROW_STEP], of[TAP_STEP], positive)
                        touched += rows * run
            if of[NONZERO] >= 0:
                for f in range(e, group):
                    operations[4] += layer.effective[of[NONZERO] + train.neuron[f]]
            else:
                operations[4] += operations[1] - before_group
            e = group
        if s[CHECKED] and at < stop and out_of_range(d, layer.threshold, padded, park):
            status = OVERFLOW
            break

        if not neurons:
            at = stop
            if c[ROLE] == OUTPUT:
                decide(s, d, channels, padded, tick, c[EXIT_KIND], c[EXIT_LIMIT])
                if s[EXITED]:
                    break
            continue
        before = fired
        if plain and (everywhere or 2 * touched > size):
            fired, waiting = fire_all(
                d, state.theta, channels, out.neuron, fired, tick + 1, c[END], state.ring_tick, state.ring_lane, head, waiting
            )
            for n in range(before, fired):
                out.tick[n] = tick
            found = 0
        # Who is due?
        elif everywhere or 2 * touched > size:
            found = scan(d, low, signed, 0, size, candidates, 0)
        else:
            kept = 0
            for n in range(released):
                lane = np.int64(candidates[n])
                if d[lane] >= 0 or (signed and d[lane] < low[lane]):
                    candidates[kept] = lane
                    kept += 1
            if released:
                found = kept
            if touched:
                looked_at = np.int64(-1)
                for f in range(at, stop):
                    p = np.int64(train.projection[f]) if len(train.projection) else 0
                    of = layer.projections[p]
                    neuron = np.int64(train.neuron[f])
                    if of[KIND] == CSR:
                        for i in range(layer.row_start[of[RECORDS] + neuron], layer.row_start[of[RECORDS] + neuron + 1]):
                            lane = np.int64(layer.lanes[i])
                            if d[lane] >= 0 or (signed and d[lane] < low[lane]):
                                candidates[found] = lane
                                found += 1
                    else:
                        row = of[RECORDS] + neuron // of[SOURCE_CHANNELS]
                        if row == looked_at:
                            continue  # spikes of one location reach the same lanes, and count once in ``touched``
                        looked_at = row
                        record = layer.records[row]
                        lane = record[FIRST_LANE]
                        for _ in range(record[ROWS]):
                            found = scan(d, low, signed, lane, record[RUN], candidates, found)
                            lane += of[ROW_STEP]
                if found > 1:
                    sort_candidates(candidates, found)
        at = stop

        previous = np.int64(-1)
        for n in range(found):
            lane = np.int64(candidates[n])
            if lane == previous:
                continue
            previous = lane
            waiting = fire(c, layer.threshold, state, out, tally, tick, step, lane, fired, head, waiting, park, lowest)
            fired += 1
        if fired > before:
            tally.spikes[step] += fired - before
            if s[FIRST_TICK] == 0:
                s[FIRST_TICK] = tick
    s[AT], s[FIRED], s[HEAD], s[WAITING] = at, fired, head, waiting
    if not neurons and status == DONE:
        now = (until - 1) // resolution if s[EXITED] == 0 else step
        note_readout(d, channels, padded, tally.readout, step, now)
        step = now
    s[STEP] = step
    return status


@compiled
def merge(a, b, out):
    """Merge two trains by tick; of one tick, those of ``a`` come first. Empty signs mean +1."""
    i = j = 0
    for k in range(len(out.tick)):
        if j == len(b.tick) or (i < len(a.tick) and a.tick[i] <= b.tick[j]):
            part, at = a, i
            i += 1
        else:
            part, at = b, j
            j += 1
        out.tick[k] = part.tick[at]
        out.neuron[k] = part.neuron[at]
        out.projection[k] = part.projection[at]
        if len(out.sign):
            out.sign[k] = part.sign[at] if len(part.sign) else 1

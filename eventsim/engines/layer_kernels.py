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
from numba import njit

from eventsim.engines import simd
from eventsim.engines.kernels import INT32_MAX, INT32_MIN, sort_candidates
from eventsim.engines.simd import LANES

DONE, GROW, WIDEN, OVERFLOW = range(4)
FOREVER = 2**62
STENCIL, CSR = 0, 1
NEURONS, READOUT, OUTPUT = range(3)

# Places in Layer.scalars.
SIZE, CHANNELS, PADDED, REFRACTORY, SIGNED, ZERO_RESET, ROLE, RESOLUTION, EXIT_KIND, EXIT_LIMIT, END, HIGHEST = range(12)
CONSTANTS = 12
# Columns of Layer.projections.
(
    KIND, WIDE, WEIGHTS, LARGEST, SOURCE_CHANNELS, RECORDS, ROW_STEP, TAP_STEP, CHANNEL_STEP, NONZERO, BLOCK, GATHER_FROM,
) = range(12)  # fmt: skip
PROJECTION = 12
# Columns of Layer.records, one row for each location of a source.
FIRST_LANE, ROWS, RUN, TAP, SYNAPSES, ADDITIONS, TOOLBOX, FAN_IN = range(8)
# Columns of Layer.gathers.
(
    G_WEIGHTS, G_UNIT, G_MOST, G_HEIGHT, G_WIDTH, G_CHANNELS, G_OUT_HEIGHT, G_OUT_WIDTH, G_ROWS, G_COLUMNS, G_STRIDE_Y, G_STRIDE_X,
    G_TOP, G_LEFT, G_LANES,
) = range(15)  # fmt: skip
GATHER = 15
# Places in State.scalars.
AT, STEP, BOUND, HEAD, WAITING, FIRED, LIMIT, PARK, LOWEST, CHECKED, DECISION, DECIDED_AT, EXITED, FIRST_TICK, WHERE = range(15)
SCALARS = 15

compiled = njit(cache=True, _nrt=False, nogil=True)  # type: ignore[call-overload]
inlined = njit(cache=True, _nrt=False, nogil=True, inline="always")  # type: ignore[call-overload]


class Layer(NamedTuple):
    """What does not change during a run: one population and the projections that reach it."""

    scalars: Any
    projections: Any  # (projections, PROJECTION)
    records: Any  # (source locations, 8)
    w8: Any
    w16: Any
    w32: Any
    effective: Any
    row_start: Any  # CSR rows: places in lanes
    lanes: Any  # CSR target lanes
    gathers: Any  # (projections, GATHER)
    gather_weights: Any  # int8: (block of lanes, kernel row, kernel column, source channel, lane)
    threshold: Any  # per channel, int64


class State(NamedTuple):
    """What changes during a run."""

    scalars: Any
    d: Any  # int16, int32 or int64; readouts: V
    low: Any  # a signed neuron is due below this; as d
    net: Any  # positive minus negative spikes
    ring_tick: Any
    ring_lane: Any


class Scratch(NamedTuple):
    """Room to work in; holds nothing between calls."""

    candidates: Any
    begins: Any
    ranges: Any
    split: Any


class Train(NamedTuple):
    """Spikes in time order. ``sign`` may be empty (all +1), and so may ``projection`` (all 0)."""

    tick: Any
    neuron: Any
    sign: Any
    projection: Any


class Tally(NamedTuple):
    """Counts per step."""

    spikes: Any  # (steps, 2): all and negative
    operations: Any  # (steps, projections, 5): deliveries, synaptic events, additions, toolbox, effective
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


@compiled
def scatter(d, w8, w16, w32, wide, lane, rows, run, w, row_step, tap_step, positive):
    """Add the weights of one spike, row by row."""
    for _ in range(rows):
        for k in range(0, run, LANES):
            if wide == 0:
                if positive:
                    simd.add(d, lane + k, w8, w + k)
                else:
                    simd.subtract(d, lane + k, w8, w + k)
            elif wide == 1:
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
def scan(d, low, signed, lane, run, candidates, n):
    """Append the due lanes of a run; returns their new number."""
    for k in range(lane, lane + run, LANES):
        due = simd.test_signed(d, k, low) if signed else simd.test(d, k)
        while due:
            candidates[n] = k + simd.lowest(due)
            due &= due - np.uint32(1)
            n += 1
    return n


@compiled
def gather(d, weights, g, block, spikes, first, last, begins, ranges, scale):
    """Deliver the spikes first..last-1 (sorted by neuron), location of the target by location.

    A target location sees, in each kernel row, the spikes of consecutive source locations, hence a range of the sorted list. A block
    of lanes at a time over all locations: its weights stay in the cache.
    """
    channels, height, width, lanes = g[G_CHANNELS], g[G_HEIGHT], g[G_WIDTH], g[G_LANES]
    location = 0
    begins[0] = first
    for e in range(first, last):
        here = spikes[e] // channels
        while location < here:
            location += 1
            begins[location] = e
    while location < height * width:
        location += 1
        begins[location] = last
    kernel_row = g[G_COLUMNS] * channels * block
    for b in range(lanes // block):
        base = g[G_WEIGHTS] + b * g[G_ROWS] * kernel_row
        for y in range(g[G_OUT_HEIGHT]):
            top = y * g[G_STRIDE_Y] - g[G_TOP]
            for x in range(g[G_OUT_WIDTH]):
                left = x * g[G_STRIDE_X] - g[G_LEFT]
                from_x, to_x = max(0, left), min(width, left + g[G_COLUMNS])
                if from_x >= to_x:
                    continue
                lane = (y * g[G_OUT_WIDTH] + x) * lanes + b * block
                n, room = 0, g[G_MOST]
                for row in range(max(0, -top), min(g[G_ROWS], height - top)):
                    source = (top + row) * width
                    start, end = begins[source + from_x], begins[source + to_x]
                    offset = base + row * kernel_row - (source + left) * channels * block
                    while start < end:
                        some = min(end - start, room)
                        ranges[3 * n] = start
                        ranges[3 * n + 1] = start + some
                        ranges[3 * n + 2] = offset
                        n += 1
                        start += some
                        room -= some
                        if room == 0:  # an int8 sum might overflow
                            add_block(d, lane, weights, block, spikes, ranges, n, scale)
                            n, room = 0, g[G_MOST]
                if n:
                    add_block(d, lane, weights, block, spikes, ranges, n, scale)


@inlined
def add_block(d, lane, weights, block, spikes, ranges, n, scale):
    if block == 128:
        simd.add_rows_128(d, lane, weights, spikes, ranges, n, scale)
    elif block == 64:
        simd.add_rows_64(d, lane, weights, spikes, ranges, n, scale)
    else:
        simd.add_rows_32(d, lane, weights, spikes, ranges, n, scale)


@compiled
def decide(scalars, d, channels, padded, tick, exit_kind, limit):
    """Note the decision at the end of a tick and apply the exit rule."""
    best = 0
    second = np.int64(-FOREVER)
    for i in range(1, (len(d) // padded) * channels):
        value = np.int64(d[(i // channels) * padded + i % channels])
        top = np.int64(d[(best // channels) * padded + best % channels])
        if value > top:
            second = top
            best = i
        else:
            second = max(second, value)
    if best != scalars[DECISION]:
        scalars[DECISION] = best
        scalars[DECIDED_AT] = tick
    top = np.int64(d[(best // channels) * padded + best % channels])
    if (exit_kind == 1 and top >= limit) or (exit_kind == 2 and top - second >= limit):
        scalars[EXITED] = tick


@compiled
def note_readout(d, channels, padded, rows, first, last):
    """Copy the potentials into the rows of the steps first..last-1."""
    for step in range(first, last):
        for i in range(rows.shape[1]):
            rows[step, i] = d[(i // channels) * padded + i % channels]


@compiled
def advance(layer, state, scratch, train, out, tally, until):
    """Run one population to the end of tick ``until``; returns DONE, GROW, WIDEN or OVERFLOW.

    ``train`` holds its incoming spikes with the ticks of their arrival, ``out`` takes its own (GROW: is full; call again with more
    room). After WIDEN the caller gives d a wider type. OVERFLOW: a potential has left int32.
    """
    c, s = layer.scalars, state.scalars
    d, low = state.d, state.low
    size, channels, padded = c[SIZE], c[CHANNELS], c[PADDED]
    refractory, resolution, end = c[REFRACTORY], c[RESOLUTION], c[END]
    signed, neurons, parks = c[SIGNED] != 0, c[ROLE] == NEURONS, c[REFRACTORY] > 1
    park, lowest = s[PARK], s[LOWEST]
    candidates = scratch.candidates
    at, fired = s[AT], s[FIRED]
    head, waiting = s[HEAD], s[WAITING]
    arrivals, room = len(train.tick), len(out.tick)
    step = s[STEP]
    step_end = (step + 1) * resolution
    status = DONE
    while True:
        arrival = train.tick[at] if at < arrivals else FOREVER
        release = state.ring_tick[head] if waiting else FOREVER
        tick = min(arrival, release)
        if tick > until:
            break
        if neurons and fired + size > room:
            status = GROW
            break
        if tick > step_end:
            now = (tick - 1) // resolution
            if not neurons:
                note_readout(d, channels, padded, tally.readout, step, now)
            step = now
            step_end = (step + 1) * resolution
        stop = at
        if arrival == tick:
            rise = np.int64(0)
            while stop < arrivals and train.tick[stop] == tick:
                p = np.int64(train.projection[stop]) if len(train.projection) else 0
                rise += layer.projections[p, LARGEST]
                stop += 1
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

        alone = stop == at + 1 and released == 0
        everywhere = False
        touched = np.int64(0)
        e = at
        while e < stop:
            p = np.int64(train.projection[e]) if len(train.projection) else 0
            of = layer.projections[p]
            operations = tally.operations[step, p]
            group = e + 1
            if not alone:
                while group < stop and (len(train.projection) == 0 or train.projection[group] == p):
                    group += 1
            gathers = group - e >= of[GATHER_FROM]
            if gathers:
                g = layer.gathers[p]
                if len(train.sign) == 0:
                    gather(d, layer.gather_weights, g, of[BLOCK], train.neuron, e, group, scratch.begins, scratch.ranges, g[G_UNIT])
                else:
                    for sign in (1, -1):
                        n = 0
                        for f in range(e, group):
                            if train.sign[f] == sign:
                                scratch.split[n] = train.neuron[f]
                                n += 1
                        if n:
                            gather(
                                d, layer.gather_weights, g, of[BLOCK], scratch.split, 0, n, scratch.begins, scratch.ranges,
                                sign * g[G_UNIT],
                            )  # fmt: skip
                everywhere = True
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
                    location = neuron // of[SOURCE_CHANNELS]
                    record = layer.records[of[RECORDS] + location]
                    exact = record[SYNAPSES]
                    operations[1] += exact
                    operations[2] += record[ADDITIONS]
                    operations[3] += record[TOOLBOX]
                    if not gathers:
                        lane, run, rows = record[FIRST_LANE], record[RUN], record[ROWS]
                        w = of[WEIGHTS] + (neuron - location * of[SOURCE_CHANNELS]) * of[CHANNEL_STEP] + record[TAP]
                        if alone and neurons and of[WIDE] == 0:
                            row_step, tap_step = of[ROW_STEP], of[TAP_STEP]
                            for _ in range(rows):
                                for k in range(0, run, LANES):
                                    if signed:
                                        if positive:
                                            due = simd.add_signed(d, lane + k, layer.w8, w + k, low)
                                        else:
                                            due = simd.subtract_signed(d, lane + k, layer.w8, w + k, low)
                                    else:
                                        if positive:
                                            due = simd.add(d, lane + k, layer.w8, w + k)
                                        else:
                                            due = simd.subtract(d, lane + k, layer.w8, w + k)
                                    while due:
                                        candidates[found] = lane + k + simd.lowest(due)
                                        due &= due - np.uint32(1)
                                        found += 1
                                lane += row_step
                                w -= tap_step
                        else:
                            scatter(d, layer.w8, layer.w16, layer.w32, of[WIDE], lane, rows, run, w, of[ROW_STEP], of[TAP_STEP], positive)
                            touched += rows * run
                if of[NONZERO] >= 0:
                    operations[4] += layer.effective[of[NONZERO] + neuron]
                else:
                    operations[4] += exact
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
        # Who is due? A lone spike has told already.
        if everywhere or 2 * touched > size:
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
                        record = layer.records[of[RECORDS] + neuron // of[SOURCE_CHANNELS]]
                        lane = record[FIRST_LANE]
                        for _ in range(record[ROWS]):
                            found = scan(d, low, signed, lane, record[RUN], candidates, found)
                            lane += of[ROW_STEP]
                if found > 1:
                    sort_candidates(candidates, found)
        at = stop

        previous = np.int64(-1)
        before = fired
        for n in range(found):
            lane = np.int64(candidates[n])
            if lane == previous:
                continue
            previous = lane
            location = lane // padded
            channel = lane - location * padded
            threshold = layer.threshold[channel]
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
            out.neuron[fired] = location * channels + channel
            again = d[lane] >= 0
            if signed:
                out.sign[fired] = sign
                state.net[lane] += sign
                tally.spikes[step, 1] += sign < 0
                low[lane] = -threshold if state.net[lane] > 0 else lowest
                again |= d[lane] < low[lane]
            fired += 1
            if parks:
                d[lane] -= park
                if signed:
                    low[lane] = lowest
            if (parks or again) and tick + refractory <= end:
                tail = head + waiting
                if tail >= size:
                    tail -= size
                state.ring_tick[tail] = tick + refractory
                state.ring_lane[tail] = lane
                waiting += 1
        if fired > before:
            tally.spikes[step, 0] += fired - before
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
def drive(threshold, v0, current, count, following, refractory, resolution, until, keys, neurons, n, start):
    """Spikes of driven neurons to the end of tick ``until``, neuron by neuron.

    Appends tick and neuron to ``keys`` and ``neurons`` from place ``n`` on. Returns (status, new n, neuron): with GROW, call again
    from that neuron with more room.
    """
    channels = len(threshold)
    for neuron in range(start, len(current)):
        tick = following[neuron]
        if tick > until:
            continue
        theta, initial, rate = threshold[neuron % channels], v0[neuron % channels], current[neuron]
        spikes = count[neuron]
        while tick <= until:
            if n == len(keys):
                following[neuron], count[neuron] = tick, spikes
                return GROW, n, neuron
            v = initial + (rate * tick) // resolution - theta * spikes
            if v > INT32_MAX or v < INT32_MIN:
                return OVERFLOW, n, neuron
            keys[n] = tick
            neurons[n] = neuron
            n += 1
            spikes += 1
            after = tick + refractory
            need = theta * (spikes + 1) - initial
            if rate > 0:
                tick = max(after, -((-need * resolution) // rate))
            elif (rate * after) // resolution >= need:
                tick = after
            else:
                tick = FOREVER
        following[neuron], count[neuron] = tick, spikes
    return DONE, n, len(current)


@compiled
def sort_pass(ticks, neurons, n, since, shift, starts, out_tick, out_neuron):
    """Sort n spikes later than ``since`` by one digit of their tick, otherwise keeping their order.

    ``starts`` has one place more than there are digits.
    """
    mask = len(starts) - 2
    starts[:] = 0
    for i in range(n):
        starts[(((ticks[i] - since - 1) >> shift) & mask) + 1] += 1
    for b in range(1, len(starts)):
        starts[b] += starts[b - 1]
    for i in range(n):
        b = ((ticks[i] - since - 1) >> shift) & mask
        at = starts[b]
        starts[b] = at + 1
        out_tick[at] = ticks[i]
        out_neuron[at] = neurons[i]


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

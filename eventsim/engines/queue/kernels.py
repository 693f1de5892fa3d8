"""Compiled code of the queue engine: the reference engine's loop over flat arrays.

Neurons of all populations are numbered one after another in topological order. The priority queue is a 4-ary heap of
int64 keys ``tick << bits | entity``; an entity is a neuron to be looked at or a stream of arriving spikes (the head of a
delayed or source projection), numbered so that those of one population are together and populations are in topological
order, streams first. Spikes through projections without delay never enter the heap: they stand side by side in the log and
are delivered when the target population is visited in the same tick.

The state of spiking neurons is the distance ``d = V - threshold``: a neuron is due when d >= 0, so a run of neurons holds
a due one if the AND of their sign bits is clear. Arrays come from :mod:`eventsim.engines.queue.engine`, which has checked all sizes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels.compiled import brief as compiled
from eventsim.kernels.compiled import brief_inlined as inlined
from eventsim.kernels.stencils import CSR

DONE, FLUSH, GROW, WIDEN, OVERFLOW, PAUSE = range(6)
SPIKING, DRIVEN, READOUT, SOURCE = range(4)
LOG, FIFO, EVENTS = range(3)
NEVER = -(2**62)
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
BLOCK = 64
# Work after which compiled code returns, so that Ctrl-C works and progress shows: a unit is a spike or a heap operation, or WORK additions.
PAUSE_AFTER, WORK = 1 << 20, 16

# Places in State.scalars. CHUNK is the work since compiled code was called. FLUSHED are the spikes that have left the log. PART, PLACE and
# ADDED say how far the delivery of what is pending has got: rows of it, spikes of the next row, additions.
(
    HEAP, LOGGED, STEP, DECISION, DECIDED_AT, EXITED, END, VISITING, PENDING, CHANGED, WHERE, CHUNK, TICK, FLAGS, LOWEST, STOPPED, FLUSHED,
    PART, PLACE, ADDED,
) = range(20)  # fmt: skip
SCALARS = 20


class Plan(NamedTuple):
    """What does not change during a run. ``[q]`` is an entry per population (in topological order), ``[p]`` per projection.

    Scalars (resolution, bits of an entity, output population or -1, exit kind 0 none / 1 potential / 2 margin, exit
    threshold, most spikes) are in ``scalars``.
    """

    scalars: Any
    role: Any  # [q]
    first_neuron: Any  # [q + 1]
    first_entity: Any  # [q + 1] of the population's streams; its neurons follow
    first_neuron_entity: Any  # [q]
    refractory: Any  # [q] ticks
    signed: Any  # [q]
    zero_reset: Any  # [q]
    readout_column: Any  # [q]
    incoming: Any  # projections without delay from neurons, by target
    incoming_start: Any  # [q + 1]
    outgoing: Any  # projections from neurons, by source
    outgoing_start: Any  # [q + 1]
    source: Any  # [p] population
    target: Any  # [p] population
    delay: Any  # [p] ticks
    stream_entity: Any  # [p] entity of the projection's stream, -1 if it has none
    stream_projection: Any  # projection of each stream, in entity order
    stream_index: Any  # [q + 1] first stream of each population
    threshold: Any  # per neuron, int32
    current: Any  # per neuron, int64; 0 unless driven
    v0: Any  # per neuron, int64
    event_tick: Any  # all source events
    event_neuron: Any
    event_end: Any  # [p] end of the projection's events


class State(NamedTuple):
    """What changes during a run."""

    scalars: Any
    heap: Any
    d: Any  # per neuron: V - threshold (readouts: V), int32 or int64
    last: Any  # tick of the last spike
    look: Any  # tick of the pending look
    net: Any  # positive minus negative spikes
    low: Any  # signed neurons are due below this distance; like d
    bound: Any  # [q] neither |d| nor |V| is above this
    log_tick: Any
    log_neuron: Any
    log_sign: Any
    fired_start: Any  # [q] the population's spikes of this tick in the log
    fired_end: Any
    fired_tick: Any
    flagged: Any  # [q] spikes without delay are waiting
    event_at: Any  # [p] next event of a source projection
    fifo_tick: Any  # rings of the delayed projections
    fifo_neuron: Any
    fifo_sign: Any
    fifo_start: Any  # [p]
    fifo_size: Any  # [p] capacity
    fifo_head: Any  # [p]
    fifo_used: Any  # [p]
    pending: Any  # (projection, store, start, end) of spikes to deliver
    candidates: Any
    first_tick: Any  # [q]


class Tally(NamedTuple):
    """Counts per step."""

    spikes: Any  # (steps, populations)
    negative: Any
    operations: Any  # (5, steps, projections): deliveries, synaptic events, additions, toolbox, effective
    readout: Any  # (steps, all readout neurons)


@compiled
def sift_up(heap, place, key):
    """Put ``key`` at ``place`` or above."""
    while place > 0:
        parent = (place - 1) >> 2
        if heap[parent] <= key:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = key


@compiled
def sift_down(heap, size, key):
    """Put ``key`` at the root or below, the root being free."""
    place = 0
    while True:
        child = 4 * place + 1
        if child >= size:
            break
        least, best = child, heap[child]
        for other in range(child + 1, min(child + 4, size)):
            if heap[other] < best:
                least, best = other, heap[other]
        if best >= key:
            break
        heap[place] = best
        place = least
    heap[place] = key


@compiled
def heap_check(heap, size):
    """Whether every key is at least its parent's."""
    fine = True
    for place in range(1, size):
        fine &= heap[(place - 1) >> 2] <= heap[place]
    return fine


@compiled
def add_run(d, start, weights, at, length, sign):
    """``d[start:start+length] += sign * weights[at:at+length]``; unsigned indices vectorise."""
    i, j = np.uint64(start), np.uint64(at)
    if sign > 0:
        for k in range(np.uint64(length)):
            d[i + np.uint64(k)] += weights[j + np.uint64(k)]
    else:
        for k in range(np.uint64(length)):
            d[i + np.uint64(k)] -= weights[j + np.uint64(k)]


@compiled
def scan_run(d, start, length, candidates, n):
    """Append the neurons of a run with d >= 0 to ``candidates``; returns the new number of candidates."""
    for block in range(start, start + length, BLOCK):
        size = min(BLOCK, start + length - block)
        i = np.uint64(block)
        signs = d[i]
        for k in range(np.uint64(size)):
            signs &= d[i + np.uint64(k)]
        if signs >= 0:
            for k in range(block, block + size):
                if d[k] >= 0:
                    candidates[n] = k
                    n += 1
    return n


@compiled
def scan_run_signed(d, low, start, length, candidates, n):
    """As :func:`scan_run`, also with d < low."""
    for block in range(start, start + length, BLOCK):
        size = min(BLOCK, start + length - block)
        i = np.uint64(block)
        hit = False
        for k in range(np.uint64(size)):
            hit |= (d[i + np.uint64(k)] >= 0) | (d[i + np.uint64(k)] < low[i + np.uint64(k)])
        if hit:
            for k in range(block, block + size):
                if d[k] >= 0 or d[k] < low[k]:
                    candidates[n] = k
                    n += 1
    return n


@compiled
def out_of_range(d, threshold, start, length):
    """Whether a potential of the run has left int32."""
    bad = False
    for i in range(start, start + length):
        v = d[i] + threshold[i]
        bad |= (v > INT32_MAX) | (v < INT32_MIN)
    return bad


@compiled
def sort_candidates(candidates, n):
    """Shell sort of the first n entries in place."""
    gap = n >> 1
    while gap > 0:
        for i in range(gap, n):
            value = candidates[i]
            j = i
            while j >= gap and candidates[j - gap] > value:
                candidates[j] = candidates[j - gap]
                j -= gap
            candidates[j] = value
        gap >>= 1


@inlined
def deliver(tables, p, neuron, sign, first_target, d, operations):
    """Add one spike of source neuron ``neuron`` through projection p and count it; returns the additions."""
    operations[0, p] += 1
    if tables.kind[p] == CSR:
        begin = tables.row_start[tables.indptr[p] + neuron]
        end = tables.row_start[tables.indptr[p] + neuron + 1]
        shift = tables.csr_weights[p]
        if tables.wide[p]:
            for e in range(begin, end):
                d[first_target + tables.targets[e]] += sign * tables.weights32[e + shift]
        else:
            for e in range(begin, end):
                d[first_target + tables.targets[e]] += sign * tables.weights8[e + shift]
        additions = end - begin
        operations[1, p] += additions
        operations[3, p] += additions
        exact = additions
    else:
        location = neuron // tables.channels[p]
        channel = neuron - location * tables.channels[p]
        row = location // tables.width[p]
        y = tables.rows[p] + row
        x = tables.columns[p] + location - row * tables.width[p]
        out = tables.out_channels[p]
        length = tables.reach[x, 1] * out
        tap = tables.reach[y, 2]
        target = first_target + (tables.reach[y, 0] * tables.out_width[p] + tables.reach[x, 0]) * out
        at = tables.weights[p] + (channel * tables.kernel_rows[p] + tap) * tables.row_weights[p] + tables.reach[x, 2] * out
        for _ in range(tables.reach[y, 1]):
            if tables.wide[p]:
                add_run(d, target, tables.weights32, at, length, sign)
            else:
                add_run(d, target, tables.weights8, at, length, sign)
            target += tables.out_width[p] * out
            at -= tables.stride[p] * tables.row_weights[p]
        additions = tables.reach[y, 1] * length
        exact = np.int64(tables.reach[y, 3]) * tables.reach[x, 3] * out
        operations[1, p] += exact
        operations[3, p] += np.int64(tables.reach[y, 4]) * tables.reach[x, 4] * out
    operations[2, p] += additions
    if tables.nonzero[p] >= 0:
        operations[4, p] += tables.effective[tables.nonzero[p] + neuron]
    else:
        operations[4, p] += exact
    return additions


@inlined
def scan_reached(tables, p, neuron, first_target, d, low, signed, candidates, n):
    """Append the due neurons among those that a spike reaches to ``candidates``; returns their new number."""
    if tables.kind[p] == CSR:
        row = tables.indptr[p] + neuron
        for e in range(tables.row_start[row], tables.row_start[row + 1]):
            k = first_target + tables.targets[e]
            if d[k] >= 0 or (signed and d[k] < low[k]):
                candidates[n] = k
                n += 1
        return n
    location = neuron // tables.channels[p]
    row = location // tables.width[p]
    y = tables.rows[p] + row
    x = tables.columns[p] + location - row * tables.width[p]
    out = tables.out_channels[p]
    length = tables.reach[x, 1] * out
    target = first_target + (tables.reach[y, 0] * tables.out_width[p] + tables.reach[x, 0]) * out
    for _ in range(tables.reach[y, 1]):
        n = scan_run_signed(d, low, target, length, candidates, n) if signed else scan_run(d, target, length, candidates, n)
        target += tables.out_width[p] * out
    return n


@inlined
def next_driven(plan, neuron, spikes, after):
    """First tick from ``after`` on at which a driven neuron is due, or -1."""
    resolution = plan.scalars[0]
    current = plan.current[neuron]
    need = plan.threshold[neuron] * (spikes + 1) - plan.v0[neuron]
    if current > 0:
        return max(after, -((-need * resolution) // current))
    if (current * after) // resolution >= need:
        return after
    return -1


@inlined
def end_steps(state, plan, tally, tick):
    """Note the readouts at the end of every step that ended before ``tick``."""
    step = state.scalars[STEP]
    resolution = plan.scalars[0]
    while (step + 1) * resolution < tick:
        note_readouts(state, plan, tally, step)
        step += 1
    state.scalars[STEP] = step


@inlined
def note_readouts(state, plan, tally, step):
    """Copy all readout potentials into a row."""
    for q in range(len(plan.role)):
        if plan.role[q] == READOUT:
            first = plan.first_neuron[q]
            for i in range(first, plan.first_neuron[q + 1]):
                tally.readout[step, plan.readout_column[q] + i - first] = state.d[i]


@inlined
def take_streams(state, plan, q, tick):
    """Move the streams that have spikes for population q at this tick from the heap to ``pending``."""
    s, bits = state.scalars, plan.scalars[1]
    mask = (np.int64(1) << bits) - 1
    while s[HEAP] > 0 and state.heap[0] >> bits == tick and (state.heap[0] & mask) < plan.first_neuron_entity[q]:
        entity = state.heap[0] & mask
        p = plan.stream_projection[plan.stream_index[q] + entity - plan.first_entity[q]]
        following = np.int64(-1)
        if plan.role[plan.source[p]] == SOURCE:
            begin = state.event_at[p]
            end = begin
            while end < plan.event_end[p] and plan.event_tick[end] + plan.delay[p] == tick:
                end += 1
            add_pending(state, p, EVENTS, begin, end)
            state.event_at[p] = end
            if end < plan.event_end[p]:
                following = plan.event_tick[end] + plan.delay[p]
        else:
            start, size, head, used = state.fifo_start[p], state.fifo_size[p], state.fifo_head[p], state.fifo_used[p]
            n = 0
            while n < used and state.fifo_tick[start + (head + n) % size] == tick:
                n += 1
            before_wrap = min(n, size - head)
            add_pending(state, p, FIFO, start + head, start + head + before_wrap)
            if n > before_wrap:
                add_pending(state, p, FIFO, start, start + n - before_wrap)
            # The slots stay untouched until the spikes are delivered: there is room for all that can fire in this tick.
            state.fifo_head[p] = (head + n) % size
            state.fifo_used[p] = used - n
            if n < used:
                following = state.fifo_tick[start + state.fifo_head[p]]
        if 0 <= following <= s[END]:
            sift_down(state.heap, s[HEAP], (following << bits) | entity)
        else:
            s[HEAP] -= 1
            sift_down(state.heap, s[HEAP], state.heap[s[HEAP]])


@inlined
def add_pending(state, p, store, start, end):
    """Note spikes that are to be delivered to the population being visited."""
    n = state.scalars[PENDING]
    state.pending[n, 0] = p
    state.pending[n, 1] = store
    state.pending[n, 2] = start
    state.pending[n, 3] = end
    state.scalars[PENDING] = n + 1


@inlined
def room_for(state, plan, tables, q):
    """Whether the pending spikes surely keep d and V within int32; tightens the bound if it is loose."""
    rise = np.int64(0)
    for n in range(state.scalars[PENDING]):
        rise += (state.pending[n, 3] - state.pending[n, 2]) * tables.largest[state.pending[n, 0]]
    if state.bound[q] + rise > INT32_MAX:
        largest = np.int64(0)
        for i in range(plan.first_neuron[q], plan.first_neuron[q + 1]):
            # Of d and of V = d + threshold; and a reset may leave |d| at up to the threshold.
            d, threshold = np.int64(state.d[i]), np.int64(plan.threshold[i])
            largest = max(largest, abs(d), abs(d + threshold), threshold)
        state.bound[q] = largest
        state.scalars[CHUNK] += (plan.first_neuron[q + 1] - plan.first_neuron[q]) // WORK
        if largest + rise > INT32_MAX:
            return False
    state.bound[q] += rise
    return True


@inlined
def emit(state, plan, q, neuron, sign, tick, tally):
    """Log a spike, count it, and hand it to the projections that leave the population."""
    s = state.scalars
    n = s[LOGGED]
    state.log_tick[n] = tick
    state.log_neuron[n] = neuron
    state.log_sign[n] = sign
    s[LOGGED] = n + 1
    tally.spikes[s[STEP], q] += 1
    if sign < 0:
        tally.negative[s[STEP], q] += 1
    bits = plan.scalars[1]
    for o in range(plan.outgoing_start[q], plan.outgoing_start[q + 1]):
        p = plan.outgoing[o]
        if plan.delay[p] == 0:
            if state.flagged[plan.target[p]] == 0:
                state.flagged[plan.target[p]] = 1
                s[FLAGS] += 1
        else:
            arrival = tick + plan.delay[p]
            if arrival > s[END]:
                continue
            start, size = state.fifo_start[p], state.fifo_size[p]
            slot = start + (state.fifo_head[p] + state.fifo_used[p]) % size
            state.fifo_tick[slot] = arrival
            state.fifo_neuron[slot] = neuron - plan.first_neuron[q]
            state.fifo_sign[slot] = sign
            state.fifo_used[p] += 1
            if state.fifo_used[p] == 1:
                sift_up(state.heap, s[HEAP], (arrival << bits) | plan.stream_entity[p])
                s[HEAP] += 1


@inlined
def fire_driven(state, plan, q, tick, tally):
    """Fire the driven neurons that are due at this tick."""
    s, bits = state.scalars, plan.scalars[1]
    mask = (np.int64(1) << bits) - 1
    shift = plan.first_neuron[q] - plan.first_neuron_entity[q]
    while s[HEAP] > 0 and state.heap[0] >> bits == tick and (state.heap[0] & mask) < plan.first_entity[q + 1]:
        entity = state.heap[0] & mask
        neuron = entity + shift
        state.net[neuron] += 1
        following = next_driven(plan, neuron, np.int64(state.net[neuron]), tick + plan.refractory[q])
        if 0 <= following <= s[END]:
            sift_down(state.heap, s[HEAP], (following << bits) | entity)
        else:
            s[HEAP] -= 1
            sift_down(state.heap, s[HEAP], state.heap[s[HEAP]])
        emit(state, plan, q, neuron, 1, tick, tally)
        s[CHUNK] += 1


@inlined
def deliver_pending(state, plan, tables, q, tally):
    """Deliver the pending spikes to population q, from PART and PLACE on and up to PAUSE_AFTER; returns whether that are all."""
    s = state.scalars
    operations = tally.operations[:, s[STEP]]
    first = plan.first_neuron[q]
    total, work = s[ADDED], s[CHUNK]
    while s[PART] < s[PENDING]:
        n = s[PART]
        p, store, end = state.pending[n, 0], state.pending[n, 1], state.pending[n, 3]
        e = state.pending[n, 2] + s[PLACE]
        base = plan.first_neuron[plan.source[p]]
        while e < end and work < PAUSE_AFTER:
            if store == LOG:
                neuron, sign = np.int64(state.log_neuron[e] - base), np.int64(state.log_sign[e])
            elif store == FIFO:
                neuron, sign = np.int64(state.fifo_neuron[e]), np.int64(state.fifo_sign[e])
            else:
                neuron, sign = np.int64(plan.event_neuron[e]), np.int64(1)
            additions = deliver(tables, p, neuron, sign, first, state.d, operations)
            total += additions
            work += 1 + additions // WORK
            e += 1
        if e < end:
            s[PLACE] = e - state.pending[n, 2]
            break
        s[PART] = n + 1
        s[PLACE] = 0
    s[ADDED] = total
    s[CHUNK] = work
    return s[PART] == s[PENDING]


@inlined
def scan_pending(state, plan, tables, q):
    """The due neurons among those that the pending spikes reach; returns their number (repeats included)."""
    s = state.scalars
    first = plan.first_neuron[q]
    signed = plan.signed[q] != 0
    found = 0
    for n in range(s[PENDING]):
        p, store = state.pending[n, 0], state.pending[n, 1]
        base = plan.first_neuron[plan.source[p]] if store == LOG else 0
        for e in range(state.pending[n, 2], state.pending[n, 3]):
            if store == LOG:
                neuron = np.int64(state.log_neuron[e])
            elif store == FIFO:
                neuron = np.int64(state.fifo_neuron[e])
            else:
                neuron = np.int64(plan.event_neuron[e])
            found = scan_reached(tables, p, neuron - base, first, state.d, state.low, signed, state.candidates, found)
    return found


@inlined
def look_at(state, q, neuron, tick, plan):
    """Queue a look at a neuron unless one is pending."""
    if state.look[neuron] < tick and tick <= state.scalars[END]:
        state.look[neuron] = tick
        entity = neuron - plan.first_neuron[q] + plan.first_neuron_entity[q]
        sift_up(state.heap, state.scalars[HEAP], (tick << plan.scalars[1]) | entity)
        state.scalars[HEAP] += 1


@inlined
def fire_spiking(state, plan, q, tick, found, tally):
    """Fire the due neurons among the first ``found`` candidates, in ascending order."""
    s = state.scalars
    signed = plan.signed[q] != 0
    previous = np.int64(-1)
    for c in range(found):
        neuron = np.int64(state.candidates[c])
        if neuron == previous:
            continue
        previous = neuron
        sign = np.int64(0)
        if state.d[neuron] >= 0:
            sign = np.int64(1)
        elif signed and state.d[neuron] < state.low[neuron]:
            sign = np.int64(-1)
        if sign == 0:
            continue
        allowed = state.last[neuron] + plan.refractory[q]
        if allowed > tick:
            look_at(state, q, neuron, allowed, plan)
            continue
        threshold = plan.threshold[neuron]
        if plan.zero_reset[q]:
            state.d[neuron] = -threshold
        else:
            state.d[neuron] -= sign * threshold
        state.last[neuron] = tick
        if signed:
            state.net[neuron] += sign
            state.low[neuron] = -threshold if state.net[neuron] > 0 else s[LOWEST]
        emit(state, plan, q, neuron, sign, tick, tally)
        if state.d[neuron] >= 0 or (signed and state.d[neuron] < state.low[neuron]):
            look_at(state, q, neuron, tick + plan.refractory[q], plan)


@inlined
def decide(state, plan, tick):
    """Note the decision at the end of a tick and apply the exit rule."""
    s = state.scalars
    q = plan.scalars[2]
    first, end = plan.first_neuron[q], plan.first_neuron[q + 1]
    best = first
    for i in range(first + 1, end):
        if state.d[i] > state.d[best]:
            best = i
    if best - first != s[DECISION]:
        s[DECISION] = best - first
        s[DECIDED_AT] = tick
    kind, limit = plan.scalars[3], plan.scalars[4]
    value = np.int64(state.d[best])
    if kind == 2:
        second = first if best != first else first + 1
        for i in range(first, end):
            if i != best and state.d[i] > state.d[second]:
                second = i
        value -= np.int64(state.d[second])
    if kind != 0 and value >= limit:
        s[EXITED] = 1
        s[END] = tick


@compiled
def advance(plan, tables, state, tally, wide):
    """Run until the end or until Python has to do something; returns DONE, FLUSH, GROW, WIDEN, OVERFLOW or PAUSE (maybe within a tick).

    ``wide`` says that d is int64 and the range of every potential is checked after delivery; otherwise d is int32 and the
    bounds of :func:`room_for` make sure that it suffices.
    """
    s, bits = state.scalars, plan.scalars[1]
    populations = len(plan.role)
    neurons = plan.first_neuron[populations]
    mask = (np.int64(1) << bits) - 1
    output = plan.scalars[2]
    s[CHUNK] = 0
    while True:
        if s[VISITING] < 0:
            if s[HEAP] == 0 or state.heap[0] >> bits > s[END]:
                return DONE
            if s[LOGGED] + neurons > len(state.log_tick):
                return FLUSH
            if s[CHUNK] >= PAUSE_AFTER:
                return PAUSE
            for p in range(len(plan.delay)):
                if state.fifo_size[p] > 0:
                    # Room for all that can fire in this tick beside all that is there, delivered in this tick or not.
                    q = plan.source[p]
                    if state.fifo_used[p] + plan.first_neuron[q + 1] - plan.first_neuron[q] > state.fifo_size[p]:
                        s[WHERE] = p
                        return GROW
            s[TICK] = state.heap[0] >> bits
            end_steps(state, plan, tally, s[TICK])
            s[VISITING] = 0
            s[CHANGED] = 0
        tick = s[TICK]
        while s[VISITING] < populations:
            q = s[VISITING]
            heap_is_due = s[HEAP] > 0 and state.heap[0] >> bits == tick
            if not heap_is_due and s[FLAGS] == 0 and s[PENDING] == 0:
                break
            if s[PENDING] == 0:
                if not state.flagged[q] and not (heap_is_due and (state.heap[0] & mask) < plan.first_entity[q + 1]):
                    s[VISITING] = q + 1
                    continue
                if state.flagged[q]:
                    state.flagged[q] = 0
                    s[FLAGS] -= 1
                    for n in range(plan.incoming_start[q], plan.incoming_start[q + 1]):
                        p = plan.incoming[n]
                        if state.fired_tick[plan.source[p]] == tick:
                            add_pending(state, p, LOG, state.fired_start[plan.source[p]], state.fired_end[plan.source[p]])
                take_streams(state, plan, q, tick)
            begins = s[PART] == 0 and s[PLACE] == 0
            if s[PENDING] > 0 and begins and not wide and not room_for(state, plan, tables, q):
                s[WHERE] = q
                return WIDEN
            logged = s[LOGGED]
            if plan.role[q] == DRIVEN:
                fire_driven(state, plan, q, tick, tally)
            else:
                if not deliver_pending(state, plan, tables, q, tally):
                    return PAUSE
                additions = s[ADDED]
                s[PART] = s[ADDED] = 0
                first, size = plan.first_neuron[q], plan.first_neuron[q + 1] - plan.first_neuron[q]
                if additions >= size or wide:
                    s[CHUNK] += size // WORK
                if wide and additions > 0 and out_of_range(state.d, plan.threshold, first, size):
                    s[WHERE] = q
                    return OVERFLOW
                if plan.role[q] == READOUT:
                    s[CHANGED] |= q == output
                else:
                    found = 0
                    if additions >= size:
                        if plan.signed[q]:
                            found = scan_run_signed(state.d, state.low, first, size, state.candidates, 0)
                        else:
                            found = scan_run(state.d, first, size, state.candidates, 0)
                    elif additions > 0:
                        found = scan_pending(state, plan, tables, q)
                    in_order = additions >= size
                    shift = first - plan.first_neuron_entity[q]
                    while s[HEAP] > 0 and state.heap[0] >> bits == tick and (state.heap[0] & mask) < plan.first_entity[q + 1]:
                        state.candidates[found] = (state.heap[0] & mask) + shift
                        found += 1
                        in_order = False
                        s[HEAP] -= 1
                        sift_down(state.heap, s[HEAP], state.heap[s[HEAP]])
                    if found > 1 and not in_order:
                        sort_candidates(state.candidates, found)
                    fire_spiking(state, plan, q, tick, found, tally)
                    s[CHUNK] += found
            s[PENDING] = 0
            if s[LOGGED] > logged:
                state.fired_start[q] = logged
                state.fired_end[q] = s[LOGGED]
                state.fired_tick[q] = tick
                if state.first_tick[q] == 0:
                    state.first_tick[q] = tick
            s[CHUNK] += 1
            s[VISITING] = q + 1
        s[VISITING] = -1
        if s[CHANGED]:
            decide(state, plan, tick)
        if s[FLUSHED] + s[LOGGED] > plan.scalars[5]:
            s[STOPPED] = 1
            s[END] = tick

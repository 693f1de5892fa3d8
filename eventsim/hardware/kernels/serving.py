"""Compiled code of cores that serve messages: in turn or together, and what their weights do."""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.kernels.delivery import add_run
from eventsim.hardware.kernels.converting import converted
from eventsim.hardware.kernels.entries import LAST, LOOKS, WEIGHTS, append, push, release, take
from eventsim.hardware.kernels.links import has_room, lose, make_room, next_server, order_of, try_link
from eventsim.hardware.records import Kind
from eventsim.kernels.compiled import typed_inner, typed_part
from eventsim.kernels.windows import count_spike as count_input
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN

_SERVED, _READS, _LOOK, _DECIDE = int(Kind.SERVED), int(Kind.READS), int(Kind.LOOK), int(Kind.DECIDE)


@typed_inner
def start_serving(plan, state, server, time):
    """A core that is free serves what waits: the first message, or all of them."""
    c = plan.chip[()]
    of, s = state.servers[server], state.progress[()]
    m = of["head"]
    of["busy"], of["served"] = 1, m
    state.waits[s["waits"]] = time - state.items[m]["arrived"]
    s["waits"] += 1
    number = state.items[m]["number"]
    if c["together"]:
        taken, number = c["reading"], np.int64(LAST)
        while state.items[of["served"]]["next"] >= 0:
            of["served"] = state.items[of["served"]]["next"]
            state.waits[s["waits"]] = time - state.items[of["served"]]["arrived"]
            s["waits"] += 1
    else:
        taken = c["message_in"] + plan.synapses[state.items[m]["message"]] * c["synapse"]
    of["work"] += taken
    of["reads"] += 1
    push(state, time + taken, order_of(plan, state, m), WEIGHTS, number, _SERVED, server)


@typed_part
def arrive(plan, state, m, time):
    """A message comes to a link or to its core."""
    c = plan.chip[()]
    server = next_server(plan, state, m)
    if c["drop"]:
        if not has_room(plan, state, server):
            lose(state, server, m)
            return
        state.servers[server]["room"] += 1
    elif c["buffer"] == 0 and c["queue"] == 0:
        state.servers[server]["room"] += 1
    append(state, server, m)
    if server < 4 * c["tiles"]:
        try_link(plan, state, server, time)
    else:
        state.items[m]["arrived"] = time
        if state.servers[server]["busy"]:
            return
        if c["together"]:
            # All that come at this picosecond are read together; also those for populations behind, unless these wait for what is read now.
            state.servers[server]["busy"] = 2
            order = len(plan.populations) if c["reading"] > 0 else order_of(plan, state, m)
            push(state, time, order, WEIGHTS, LAST, _READS, server)
        else:
            start_serving(plan, state, server, time)


@typed_part
def queue_look(plan, state, n, time):
    """Queue a look at a neuron unless that is queued already; until then nothing that arrives need look at it."""
    if time <= state.progress[()]["end"] and state.look[n] != time:
        state.look[n] = time
        state.upper[n], state.lower[n] = POTENTIAL_MAX + 1, POTENTIAL_MIN
        push(state, time, plan.rank[n], LOOKS, n, _LOOK, n)


@typed_part
def watch(plan, state, n):
    """From now on a neuron is looked at when what arrives makes it due."""
    state.upper[n] = plan.threshold[n]
    state.lower[n] = 0 if plan.populations[plan.rank[n]]["signed"] and state.net[n] > 0 else POTENTIAL_MIN


@typed_part
def add_and_compare(v, upper, lower, start, weights, at, length, sign):
    """``v[start:start+length] += sign * weights[at:at+length]``; returns whether one of them is at ``upper`` or below ``lower`` then.

    Parameters
    ----------
    v, upper, lower : int64 array (neurons,)
    weights : int8 or int32 array
    start, at, length, sign : int64
    """
    i, j, hit = np.uint64(start), np.uint64(at), False
    if sign > 0:
        for k in range(np.uint64(length)):
            x = v[i + k] + weights[j + k]
            v[i + k] = x
            hit |= (x >= upper[i + k]) | (x < lower[i + k])
    else:
        for k in range(np.uint64(length)):
            x = v[i + k] - weights[j + k]
            v[i + k] = x
            hit |= (x >= upper[i + k]) | (x < lower[i + k])
    return hit


@typed_part
def look_through(plan, state, rank, start, stop, time):
    """Queue a look at each due neuron of a run, and at one whose potential has left int32: what else comes at this time may bring it back.
    Thresholds of readouts are above int32."""
    population = plan.populations[rank]
    for n in range(start, stop):
        v = state.v[n]
        if v > POTENTIAL_MAX or v < POTENTIAL_MIN:
            queue_look(plan, state, n, time)
        elif v >= state.upper[n] or v < state.lower[n]:
            queue_look(plan, state, n, max(time, state.last[n] + population["refractory"]))


@typed_inner
def count_windows(plan, tables, state, p, neuron, sign, low, high, time):
    """Count a spike for the windows low..high-1 of a maximum that it lies in, and look at those that it may have changed."""
    first = plan.projections[p]["first"]
    i = plan.maximum[first + low]
    of = tables.maxima.windows[i]
    location = neuron // of["channels"]
    row, channel = location // of["width"], neuron - location * of["channels"]
    count_input(tables.maxima, i, state.counts, neuron, sign)
    rows, columns = tables.maxima.spans[of["rows"] + row], tables.maxima.spans[of["columns"] + location - row * of["width"]]
    sense = np.int64(tables.maxima.senses[of["sense"] + channel])
    count, rises = np.int64(state.counts[of["counts"] + neuron]), sign * sense > 0
    for y in range(rows["first"], rows["end"]):
        window = (y * of["out_width"] + columns["first"]) * of["channels"] + channel
        for _ in range(columns["first"], columns["end"]):
            own = sense * state.net[first + window]
            if low <= window < high and ((rises and count > own) or (not rises and count < own)) and not state.pending[first + window]:
                queue_look(plan, state, first + window, time)
            window += of["channels"]


@typed_part
def end_of_block(plan, p, low):
    """Where the windows end that lie on one core with window ``low`` of a maximum."""
    of = plan.projections[p]
    first, size = of["first"], plan.populations[of["target"]]["end"] - of["first"]
    high = low + 1
    while high < size and plan.maximum[first + high] == plan.maximum[first + low]:
        high += 1
    return high


@typed_part
def bring_bias(plan, tables, state, p, neuron, time):
    """Add the weights of a bias; every core with windows of a maximum counts it."""
    of = plan.projections[p]
    low, size = 0, plan.populations[of["target"]]["end"] - of["first"]
    if tables.projections[p]["maximum"] < 0:
        add_weights(plan, tables, state, p, neuron, 1, low, size, time)
        return
    while low < size:
        high = end_of_block(plan, p, low)
        count_windows(plan, tables, state, p, neuron, 1, low, high, time)
        low = high


@typed_part
def reached(tables, of, neuron):
    """Where a spike of a neuron leads through a stencil: its first target, the weight there, rows and columns of runs, neurons of a run."""
    location = neuron // of["channels"]
    channel = neuron - location * of["channels"]
    row = location // of["width"]
    y, x = tables.reach[of["y"] + row], tables.reach[of["x"] + location - row * of["width"]]
    at = of["weights"] + (channel * of["kernel_rows"] + y["tap"]) * of["row_weights"] + x["tap"]
    return y["first"] + x["first"], at, y["count"], x["count"], x["length"]


@typed_inner
def add_weights(plan, tables, state, p, neuron, sign, low, high, time):
    """Add the weights of a spike to the neurons low..high-1 of its target that it reaches, and look which are due."""
    of, projection = tables.projections[p], plan.projections[p]
    first, rank = projection["first"], projection["target"]
    if of["maximum"] >= 0:
        count_windows(plan, tables, state, p, neuron, sign, low, high, time)
        return
    if of["sparse"]:
        row = of["row"] + neuron
        for e in range(tables.row_start[row], tables.row_start[row + 1]):
            n = tables.targets[e]
            if low <= n < high:
                if of["wide"]:
                    state.v[first + n] += sign * tables.weights32[e + of["shift"]]
                else:
                    state.v[first + n] += sign * tables.weights8[e + of["shift"]]
        for e in range(tables.row_start[row], tables.row_start[row + 1]):
            n = tables.targets[e]
            if low <= n < high:
                look_through(plan, state, rank, first + n, first + n + 1, time)
        return
    begin, origin, rows, columns, length = reached(tables, of, neuron)
    for column in range(columns):
        target, at = begin + column * of["column_step"], origin + column * length
        for _ in range(rows):
            start, stop = max(target, low), min(target + length, high)
            if start < stop:
                here = at + start - target
                if of["wide"]:
                    hit = add_and_compare(state.v, state.upper, state.lower, first + start, tables.weights32, here, stop - start, sign)
                else:
                    hit = add_and_compare(state.v, state.upper, state.lower, first + start, tables.weights8, here, stop - start, sign)
                if hit:
                    look_through(plan, state, rank, first + start, first + stop, time)
            target += of["row_step"]
            at -= of["tap_step"]


@typed_part
def add_sparse(into, base, targets, weights, first, end, shift, sign, low, high):
    """``into[base + n] += sign * weights[e + shift]`` for the targets n = ``targets[e]``, first <= e < end, that lie in low..high-1.

    Parameters
    ----------
    into : int64 array
    base, first, end, shift, sign, low, high : int64
    targets : int32 array
    weights : int8 or int32 array
    """
    for e in range(first, end):
        n = targets[np.uint64(e)]
        if low <= n < high:
            into[np.uint64(base + n)] += sign * weights[np.uint64(e + shift)]


@typed_part
def add_and_mark(into, marks, base, targets, weights, first, end, shift, sign, low, high):
    """The same, and ``marks[base + n] = 1``."""
    for e in range(first, end):
        n = targets[np.uint64(e)]
        if low <= n < high:
            into[np.uint64(base + n)] += sign * weights[np.uint64(e + shift)]
            marks[np.uint64(base + n)] = 1


@typed_part
def add_all_and_mark(into, marks, base, targets, weights, first, end, shift, sign):
    """The same for all targets."""
    b, further = np.uint64(base), np.uint64(shift)
    if sign > 0:
        for e in range(np.uint64(first), np.uint64(end)):
            n = b + np.uint64(targets[e])
            into[n] += weights[e + further]
            marks[n] = 1
    else:
        for e in range(np.uint64(first), np.uint64(end)):
            n = b + np.uint64(targets[e])
            into[n] -= weights[e + further]
            marks[n] = 1


@typed_part
def sum_weights(plan, tables, into, marks, base, p, neuron, sign, low, high):
    """Add the weights of a spike to sums of the neurons low..high-1, and mark those that it reaches.

    Parameters
    ----------
    into : int64 array
    marks : int8 array
        As long as ``into``, or empty: nothing is marked.
    base : int64
        Place of the first neuron of all.
    """
    of, first = tables.projections[p], base + plan.projections[p]["first"]
    marked = len(marks) > 0
    if of["sparse"]:
        row = of["row"] + neuron
        start, stop = tables.row_start[row], tables.row_start[row + 1]
        target = plan.populations[plan.projections[p]["target"]]
        whole = marked and low == 0 and high == target["end"] - target["first"]
        if of["wide"] and whole:
            add_all_and_mark(into, marks, first, tables.targets, tables.weights32, start, stop, of["shift"], sign)
        elif whole:
            add_all_and_mark(into, marks, first, tables.targets, tables.weights8, start, stop, of["shift"], sign)
        elif of["wide"] and marked:
            add_and_mark(into, marks, first, tables.targets, tables.weights32, start, stop, of["shift"], sign, low, high)
        elif marked:
            add_and_mark(into, marks, first, tables.targets, tables.weights8, start, stop, of["shift"], sign, low, high)
        elif of["wide"]:
            add_sparse(into, first, tables.targets, tables.weights32, start, stop, of["shift"], sign, low, high)
        else:
            add_sparse(into, first, tables.targets, tables.weights8, start, stop, of["shift"], sign, low, high)
        return
    begin, origin, rows, columns, length = reached(tables, of, neuron)
    for column in range(columns):
        target, at = begin + column * of["column_step"], origin + column * length
        for _ in range(rows):
            start, stop = max(target, low), min(target + length, high)
            if start < stop:
                if of["wide"]:
                    add_run(into, first + start, tables.weights32, at + start - target, stop - start, sign)
                else:
                    add_run(into, first + start, tables.weights8, at + start - target, stop - start, sign)
                if marked:
                    marks[first + start : first + stop] = 1
            target += of["row_step"]
            at -= of["tap_step"]


@typed_part
def sum_row(plan, tables, state, m, slot, touched):
    """A row of a read, whose sums are still to be converted; returns how many parts the read has touched."""
    item = state.items[m]
    message = item["message"]
    number = slot * len(plan.parts) + plan.part[message]
    base = slot * len(plan.rank)
    sum_weights(
        plan, tables, state.sums, state.marks, base, item["projection"], item["neuron"], item["sign"], plan.low[message], plan.high[message]
    )
    if not state.read[number]:
        state.read[number] = 1
        state.touched[touched] = number
        touched += 1
    return touched


@typed_inner
def convert_sums(plan, state, touched, time):
    """Convert the sums of the parts that a read has touched, add them to potentials, and look which neurons are due.

    Behind barriers they are added in a later step.
    """
    c = plan.chip[()]
    for i in range(touched):
        slot = state.touched[i] // len(plan.parts)
        of = plan.parts[state.touched[i] - slot * len(plan.parts)]
        first, end, offset, base = of["first"], of["end"], of["offset"] - of["first"], slot * len(plan.rank)
        # Most sums of a read of few rows are alike.
        before = after = np.int64(0)
        known = False
        for n in range(first, end):
            total = state.sums[base + n] + plan.offset[offset + n]
            if not known or total != before:
                before, after, known = total, converted(total, c["levels"], of["full"]), True
            if c["stepwise"]:
                state.later[base + n] += after
            else:
                state.v[n] += after
            state.sums[base + n] = 0
        state.read[state.touched[i]] = 0
        if not c["stepwise"]:
            look_through(plan, state, plan.rank[first], first, end, time)


@typed_part
def keep(plan, tables, state, tally, m, touched):
    """Behind barriers, what a message brings is kept for the step in which it is used; returns as :func:`sum_row`."""
    c, item = plan.chip[()], state.items[m]
    p, message = item["projection"], item["message"]
    if item["use"] == 0:
        return touched
    slot = item["use"] % c["slots"]
    if item["lead"]:
        note_use(plan, state, tally, p, item["neuron"], item["use"])
    elif plan.projections[p]["target"] == plan.output:
        # The spike's first message may have been dropped.
        state.later_output[slot] = 1
    if tables.projections[p]["maximum"] >= 0:
        count_later(plan, tables, state, p, item["neuron"], item["sign"], plan.low[message], plan.high[message], slot)
    elif c["levels"]:
        touched = sum_row(plan, tables, state, m, slot, touched)
    else:
        base = slot * len(plan.rank)
        sum_weights(plan, tables, state.later, state.marks, base, p, item["neuron"], item["sign"], plan.low[message], plan.high[message])
    return touched


@typed_part
def note_use(plan, state, tally, p, neuron, use):
    """Count a spike for the step of the chip in which it is used."""
    of = plan.projections[p]
    step = use - plan.populations[of["target"]]["stage"] - 1
    for kind in range(5):
        tally.operations[kind, step, p] += plan.operations[kind, plan.first_operation[p] + neuron]
    if of["target"] == plan.output:
        state.later_output[use % plan.chip[()]["slots"]] = 1


@typed_inner
def count_later(plan, tables, state, p, neuron, sign, low, high, slot):
    """Count a spike for a maximum in a later step, and mark the windows low..high-1 that it lies in."""
    first = plan.projections[p]["first"]
    i = plan.maximum[first + low]
    of = tables.maxima.windows[i]
    location = neuron // of["channels"]
    row, channel = location // of["width"], neuron - location * of["channels"]
    sense = tables.maxima.senses[of["sense"] + channel]
    state.later_counts[slot * len(state.counts) + of["counts"] + neuron] += sign * sense
    rows, columns = tables.maxima.spans[of["rows"] + row], tables.maxima.spans[of["columns"] + location - row * of["width"]]
    for y in range(rows["first"], rows["end"]):
        window = (y * of["out_width"] + columns["first"]) * of["channels"] + channel
        for _ in range(columns["first"], columns["end"]):
            if low <= window < high:
                state.marks[slot * len(plan.rank) + first + window] = 1
            window += of["channels"]


@typed_part
def count_spike(plan, state, tally, p, neuron):
    """Count a spike that has arrived through a projection."""
    step = state.progress[()]["step"]
    for kind in range(5):
        tally.operations[kind, step, p] += plan.operations[kind, plan.first_operation[p] + neuron]


@typed_part
def note_output(plan, state, p, time):
    """Where something has arrived at the output, there is to be a decision at the end of the picosecond."""
    s = state.progress[()]
    if plan.projections[p]["target"] == plan.output and s["deciding"] != time:
        s["deciding"] = time
        push(state, time, len(plan.populations), WEIGHTS, 0, _DECIDE, 0)


@typed_inner
def finish_serving(plan, tables, state, tally, server, time):
    """A core has served: weights are added, and it goes on with what waits."""
    c, s = plan.chip[()], state.progress[()]
    of = state.servers[server]
    last, touched = of["served"], 0
    while True:
        m = take(state, server)
        item = state.items[m]
        p, message = item["projection"], item["message"]
        if c["scripted"]:
            s["served"] = time
            if plan.projections[p]["target"] == plan.output and item["sign"] <= plan.decided:
                s["decision_tick"] = time
        elif c["stepwise"]:
            s["served"] = time
            touched = keep(plan, tables, state, tally, m, touched)
        else:
            if item["lead"]:
                count_spike(plan, state, tally, p, item["neuron"])
            note_output(plan, state, p, time)
            if c["levels"] and tables.projections[p]["maximum"] < 0:
                touched = sum_row(plan, tables, state, m, 0, touched)
            else:
                add_weights(plan, tables, state, p, item["neuron"], item["sign"], plan.low[message], plan.high[message], time)
        of["messages"] += 1
        of["synapses"] += plan.synapses[message]
        release(state, m)
        # There is room only now.
        make_room(plan, state, server, time)
        if m == last:
            break
    convert_sums(plan, state, touched, time)
    of["busy"] = 0
    if of["length"] > 0:
        start_serving(plan, state, server, time)

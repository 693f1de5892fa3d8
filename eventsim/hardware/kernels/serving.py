"""Compiled code of cores that serve messages: in turn or together, and what their weights do."""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.kernels.delivery import add_run
from eventsim.hardware.kernels.entries import LAST, LOOKS, WEIGHTS, append, push, release, take
from eventsim.hardware.kernels.links import has_room, lose, make_room, next_server, order_of, try_link
from eventsim.hardware.records import Kind
from eventsim.kernels.compiled import brief as array_kernel
from eventsim.kernels.compiled import part as inlined
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN

_SERVED, _READS, _LOOK, _DECIDE = int(Kind.SERVED), int(Kind.READS), int(Kind.LOOK), int(Kind.DECIDE)


@inlined
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


@inlined
def arrive(plan, state, m, time):
    """A message comes to a link or to its core."""
    c = plan.chip[()]
    server = next_server(plan, state, m)
    if c["drop"]:
        if not has_room(plan, state, server):
            lose(plan, state, server, m)
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
            # All that come at this picosecond are read together.
            state.servers[server]["busy"] = 2
            push(state, time, order_of(plan, state, m), WEIGHTS, LAST, _READS, server)
        else:
            start_serving(plan, state, server, time)


@inlined
def queue_look(plan, state, n, time):
    """Queue a look at a neuron unless that is queued already."""
    if time <= state.progress[()]["end"] and state.look[n] != time:
        state.look[n] = time
        push(state, time, plan.rank[n], LOOKS, n, _LOOK, n)


@array_kernel
def any_to_look_at(v, threshold, net, start, stop, signed):
    """Whether a neuron of a run is due, or its potential has left int32."""
    i, hit = np.uint64(start), False
    if signed:
        for k in range(np.uint64(max(0, stop - start))):
            hit |= (v[i + k] >= threshold[i + k]) | ((v[i + k] < 0) & (net[i + k] > 0)) | (v[i + k] < POTENTIAL_MIN)
    else:
        for k in range(np.uint64(max(0, stop - start))):
            hit |= (v[i + k] >= threshold[i + k]) | (v[i + k] < POTENTIAL_MIN)
    return hit


@inlined
def look_through(plan, state, rank, start, stop, time):
    """Queue a look at each due neuron of a run, and note one whose potential has left int32. Thresholds of readouts are above int32."""
    population, s = plan.populations[rank], state.progress[()]
    signed = population["signed"] != 0
    for n in range(start, stop):
        v = state.v[n]
        if v > POTENTIAL_MAX or v < POTENTIAL_MIN:
            s["where"] = rank
        elif (v >= plan.threshold[n] or (signed and v < 0 and state.net[n] > 0)) and not state.pending[n]:
            queue_look(plan, state, n, max(time, state.last[n] + population["refractory"]))


@inlined
def add_weights(plan, tables, state, p, neuron, sign, low, high, time):
    """Add the weights of a spike to the neurons low..high-1 of its target that it reaches, and look which are due."""
    of, projection = tables.projections[p], plan.projections[p]
    first, rank = projection["first"], projection["target"]
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
            if low <= n < high and any_to_look_at(
                state.v, plan.threshold, state.net, first + n, first + n + 1, plan.populations[rank]["signed"] != 0
            ):
                look_through(plan, state, rank, first + n, first + n + 1, time)
        return
    location = neuron // of["channels"]
    channel = neuron - location * of["channels"]
    row = location // of["width"]
    y, x = tables.reach[of["y"] + row], tables.reach[of["x"] + location - row * of["width"]]
    out = of["out_channels"]
    target = (y["first"] * of["out_width"] + x["first"]) * out
    at = of["weights"] + (channel * of["kernel_rows"] + y["tap"]) * of["row_weights"] + x["tap"] * out
    for _ in range(y["count"]):
        start, stop = max(target, low), min(target + x["count"] * out, high)
        if start < stop:
            if of["wide"]:
                add_run(state.v, first + start, tables.weights32, at + start - target, stop - start, sign)
            else:
                add_run(state.v, first + start, tables.weights8, at + start - target, stop - start, sign)
            if any_to_look_at(state.v, plan.threshold, state.net, first + start, first + stop, plan.populations[rank]["signed"] != 0):
                look_through(plan, state, rank, first + start, first + stop, time)
        target += of["out_width"] * out
        at -= of["stride"] * of["row_weights"]


@inlined
def count_spike(plan, state, tally, p, neuron):
    """Count a spike that has arrived through a projection."""
    step = state.progress[()]["step"]
    for kind in range(5):
        tally.operations[kind, step, p] += plan.operations[kind, plan.first_operation[p] + neuron]


@inlined
def note_output(plan, state, p, time):
    """Where something has arrived at the output, there is to be a decision at the end of the picosecond."""
    s = state.progress[()]
    if plan.projections[p]["target"] == plan.output and s["deciding"] != time:
        s["deciding"] = time
        push(state, time, len(plan.populations), WEIGHTS, 0, _DECIDE, 0)


@inlined
def finish_serving(plan, tables, state, tally, server, time):
    """A core has served: weights are added, and it goes on with what waits."""
    c, s = plan.chip[()], state.progress[()]
    of = state.servers[server]
    last = of["served"]
    while True:
        m = take(state, server)
        item = state.items[m]
        p, message = item["projection"], item["message"]
        if c["scripted"]:
            s["served"] = time
            if plan.projections[p]["target"] == plan.output and item["sign"] <= plan.decided:
                s["decision_tick"] = time
        else:
            if item["lead"]:
                count_spike(plan, state, tally, p, item["neuron"])
            note_output(plan, state, p, time)
            add_weights(plan, tables, state, p, item["neuron"], item["sign"], plan.low[message], plan.high[message], time)
        of["messages"] += 1
        of["synapses"] += plan.synapses[message]
        release(state, m)
        # There is room only now.
        make_room(plan, state, server, time)
        if m == last:
            break
    of["busy"] = 0
    if of["length"] > 0:
        start_serving(plan, state, server, time)

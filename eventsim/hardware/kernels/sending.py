"""Compiled code of cores that update neurons and send messages."""

from __future__ import annotations

import numpy as np

from eventsim.hardware.kernels.chance import delay_of, drawn
from eventsim.hardware.kernels.entries import CORE_BITS, UPDATES, WEIGHTS, append, new_item, push, release, take
from eventsim.hardware.kernels.links import go
from eventsim.hardware.kernels.serving import queue_look, watch
from eventsim.hardware.records import Kind, Role
from eventsim.kernels.compiled import typed_inner, typed_part
from eventsim.kernels.windows import sense_of, step_of
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN

_READY, _NOTHING, _UPDATED, _STOP = int(Kind.READY), int(Kind.NOTHING), int(Kind.UPDATED), int(Kind.STOP)
_GIVEN, _DRIVEN, _SPIKING, _MAXIMUM = int(Role.GIVEN), int(Role.DRIVEN), int(Role.SPIKING), int(Role.MAXIMUM)


@typed_part
def due_at(plan, tables, state, n, time):
    """Sign of the spike that a neuron is due to make at a time, 0 if none."""
    population = plan.populations[plan.rank[n]]
    sign = 0
    if population["role"] == _DRIVEN:
        potential = plan.v0[n] + (plan.current[n] * time) // plan.resolution - plan.threshold[n] * state.net[n]
        sign = 1 if potential >= plan.threshold[n] else 0
    elif population["role"] == _MAXIMUM:
        i, window = plan.maximum[n], n - population["first"]
        sense = sense_of(tables.maxima, i, window)
        sign = sense * step_of(tables.maxima, i, state.counts, window, sense * state.net[n])
    elif state.v[n] >= plan.threshold[n]:
        sign = 1
    elif population["signed"] and state.v[n] < 0 and state.net[n] > 0:
        sign = -1
    return sign


@typed_inner
def look_again(plan, tables, state, n, time):
    """Queue the next look at a neuron though nothing arrives, if it will be due then."""
    population = plan.populations[plan.rank[n]]
    later = max(time + 1, state.last[n] + population["refractory"])
    if not due_at(plan, tables, state, n, later):
        if population["role"] != _DRIVEN or plan.current[n] <= 0:
            return
        need = plan.threshold[n] * (state.net[n] + 1) - plan.v0[n]
        later = -((-need * plan.resolution) // plan.current[n])
    queue_look(plan, state, n, later)


@typed_inner
def ask(plan, state, n, sign, time):
    """A neuron is to be updated by its core, after those that ask already; ``sign`` is that of a given spike."""
    c, s = plan.chip[()], state.progress[()]
    server = 4 * c["tiles"] + c["cores"] + c["cores"] + plan.owner[n]
    m = new_item(state)
    state.items[m]["neuron"], state.items[m]["sign"] = n, sign
    append(state, server, m)
    if state.servers[server]["length"] == 1:
        start_update(plan, state, server, time)
    s["made"] += 1


@typed_part
def start_update(plan, state, server, time):
    """A core begins to update the first neuron that asks, once it is free."""
    n = state.items[state.servers[server]["head"]]["neuron"]
    rank = plan.rank[n]
    taken = 0
    if plan.populations[rank]["costly"]:
        taken = plan.chip[()]["update"]
        state.progress[()]["updates"] += 1
    state.servers[server]["work"] += taken
    start = max(time, state.servers[server]["free"])
    push(state, start + taken, rank, UPDATES, state.progress[()]["made"], _UPDATED, server)


@typed_part
def make(plan, state, n, sign, p, message):
    """A message of a neuron's spike through a projection, -1 for one that reaches nothing, in the tile of its core."""
    c = plan.chip[()]
    core, tile = plan.owner[n], plan.owner[n] // c["per_tile"]
    sender = state.servers[4 * c["tiles"] + 2 * c["cores"] + core]
    m = new_item(state)
    item = state.items[m]
    item["message"], item["projection"], item["neuron"], item["sign"] = message, p, n - plan.populations[plan.rank[n]]["first"], sign
    item["number"], item["arrived"] = (core << CORE_BITS) | (sender["reads"] & ((1 << CORE_BITS) - 1)), core
    item["row"] = tile // c["mesh"]
    item["column"] = tile - item["row"] * c["mesh"]
    sender["reads"] += 1
    return m


@typed_part
def lateness(plan, state, n):
    """How many ticks a spike of a neuron leaves late, -1 if it is lost."""
    c = plan.chip[()]
    if not c["lost"] and not c["jitter"]:
        return np.int64(0)
    population = plan.populations[plan.rank[n]]
    draw = drawn(c["seed"], population["serial"] + n - population["first"], state.made[n])
    state.made[n] += 1
    return np.int64(-1) if draw < c["lost"] else delay_of(draw, c["jitter"])


@typed_inner
def send(plan, state, n, sign, time):
    """Make the messages of a spike; returns when its core has sent the last."""
    c, s = plan.chip[()], state.progress[()]
    population = plan.populations[plan.rank[n]]
    if population["costly"]:
        time += c["spike"]
    late = lateness(plan, state, n)
    if late < 0:
        return time
    for j in range(population["out"], population["end_out"]):
        p = plan.out[j]
        of = plan.projections[p]
        delay = of["delay"] + late
        line = of["offset"] + (n - population["first"]) // of["divisor"]
        first, end = plan.begin[line], plan.begin[line + 1]
        if first == end and not c["scripted"] and time + delay <= s["end"]:
            m = make(plan, state, n, sign, p, -1)
            push(state, time + delay, of["target"], WEIGHTS, state.items[m]["number"], _NOTHING, m)
        for message in range(first, end):
            time += c["message_out"]
            s["sent"] += 1
            # What would leave after the end is not followed.
            if c["scripted"] or time + delay <= s["end"]:
                m = make(plan, state, n, sign, p, message)
                state.items[m]["lead"] = message == first
                if c["open"]:
                    go(plan, state, m, time + delay)
                else:
                    push(state, time + delay, of["place"], WEIGHTS, state.items[m]["number"], _READY, m)
    return time


@typed_part
def fire(plan, state, tally, n, sign, time):
    """Note a spike."""
    s, rank = state.progress[()], plan.rank[n]
    tally.spikes[s["step"], rank] += 1
    if sign < 0:
        tally.negative[s["step"], rank] += 1
    if state.first_tick[rank] == 0:
        state.first_tick[rank] = time
    state.log_time[s["logged"]], state.log_neuron[s["logged"]], state.log_sign[s["logged"]] = time, n, sign
    s["logged"] += 1
    s["fired"] += 1
    if s["fired"] > plan.max_spikes and not s["stopping"] and not plan.chip[()]["stepwise"]:
        s["stopping"] = 1
        push(state, time, len(plan.populations) + 1, WEIGHTS, 0, _STOP, 0)


@typed_inner
def updated(plan, tables, state, tally, server, time):
    """A core has updated a neuron: if it is still due, it fires; then the next one is updated."""
    m = take(state, server)
    n, given = state.items[m]["neuron"], state.items[m]["sign"]
    release(state, m)
    of, population = state.servers[server], plan.populations[plan.rank[n]]
    free = time
    if population["role"] == _GIVEN:
        free = send(plan, state, n, given, time)
    else:
        state.pending[n] = 0
        sign = due_at(plan, tables, state, n, time)
        if sign:
            if population["role"] == _SPIKING:
                state.v[n] = 0 if population["zero_reset"] else state.v[n] - sign * plan.threshold[n]
            state.net[n] += sign
            state.last[n] = time
            fire(plan, state, tally, n, sign, time)
            free = send(plan, state, n, sign, time)
            of["messages"] += 1
        watch(plan, state, n)
        look_again(plan, tables, state, n, time)
    of["work"] += free - time
    of["free"] = free
    if of["length"] > 0:
        start_update(plan, state, server, time)


@typed_part
def look(plan, tables, state, n, time):
    """A neuron is updated if it is due; whoever queued the look saw to it that it may fire, or it has fired since.

    A potential that is outside of int32 with all that came at this time ends the run.
    """
    if state.v[n] > POTENTIAL_MAX or state.v[n] < POTENTIAL_MIN:
        state.progress[()]["where"] = plan.rank[n]
        return
    allowed = state.last[n] + plan.populations[plan.rank[n]]["refractory"]
    if state.pending[n]:
        return
    watch(plan, state, n)
    if time >= allowed and due_at(plan, tables, state, n, time):
        state.upper[n], state.lower[n] = POTENTIAL_MAX + 1, POTENTIAL_MIN
        state.pending[n] = 1
        ask(plan, state, n, 0, time)

"""Compiled code of a run on a chip: takes what comes first off the queue, and has it happen."""

from __future__ import annotations

import numpy as np

from eventsim.hardware.kernels.deciding import decide
from eventsim.hardware.kernels.entries import KIND_BITS, UPDATES, WEIGHTS, new_item, pop, push, release
from eventsim.hardware.kernels.links import leave, make_room, try_link
from eventsim.hardware.kernels.sending import ask, look, look_again, updated
from eventsim.hardware.kernels.serving import arrive, bring_bias, count_spike, finish_serving, note_output, start_serving
from eventsim.hardware.kernels.stepping import begin_step, end_step, send_step
from eventsim.hardware.records import Kind, Role, Status
from eventsim.kernels.compiled import compiled, typed_part
from eventsim.kernels.vector import pointer_to

# Entries after which compiled code returns, so that Ctrl-C works and progress shows.
PAUSE_AFTER = 1 << 20
_READY, _ARRIVES, _LINK, _SERVED = int(Kind.READY), int(Kind.ARRIVES), int(Kind.LINK), int(Kind.SERVED)
_NOTHING, _BIAS, _GIVEN, _LOOK = int(Kind.NOTHING), int(Kind.BIAS), int(Kind.GIVEN), int(Kind.LOOK)
_UPDATED, _DECIDE, _READS = int(Kind.UPDATED), int(Kind.DECIDE), int(Kind.READS)
_ROLE_DRIVEN, _ROLE_SPIKING, _ROLE_READOUT = int(Role.DRIVEN), int(Role.SPIKING), int(Role.READOUT)
_DONE, _PAUSE, _GROW, _OVERFLOW = int(Status.DONE), int(Status.PAUSE), int(Status.GROW), int(Status.OVERFLOW)


@typed_part
def give(plan, state, place, time):
    """A spike that is known before the run: of a source, or of a bias clock. The one after it is queued."""
    n = plan.given_neuron[place]
    rank = plan.rank[n]
    if place + 1 < len(plan.given_time):
        following = plan.rank[plan.given_neuron[place + 1]]
        push(state, plan.given_time[place + 1], following, UPDATES, 0, _GIVEN, place + 1)
    if plan.owner[n] >= 0:
        ask(plan, state, n, time if plan.chip[()]["scripted"] else np.int64(plan.given_sign[place]), time)
        return
    population = plan.populations[rank]
    for j in range(population["out"], population["end_out"]):
        p = plan.out[j]
        if time + plan.projections[p]["delay"] <= state.progress[()]["end"]:
            m = new_item(state)
            state.items[m]["projection"], state.items[m]["neuron"] = p, n - population["first"]
            push(state, time + plan.projections[p]["delay"], plan.projections[p]["target"], WEIGHTS, 0, _BIAS, m)


@typed_part
def end_steps(plan, state, tally, time):
    """Steps that ended before a time are over: their readouts are noted."""
    s = state.progress[()]
    while (s["step"] + 1) * plan.resolution < time:
        for q in range(len(plan.populations)):
            of = plan.populations[q]
            if of["role"] == _ROLE_READOUT:
                for n in range(of["first"], of["end"]):
                    tally.readout[s["step"], of["readout"] + n - of["first"]] = state.v[n]
        s["step"] += 1


@typed_part
def happen(plan, tables, state, tally, kind, item, time):
    """What happens at a time."""
    if kind == _READY:
        leave(plan, state, item, time)
    elif kind == _ARRIVES:
        arrive(plan, state, item, time)
    elif kind == _LINK:
        state.servers[item]["busy"] = 0
        make_room(plan, state, item, time)
        try_link(plan, state, item, time)
    elif kind == _READS:
        start_serving(plan, state, item, time)
    elif kind == _SERVED:
        finish_serving(plan, tables, state, tally, item, time)
    elif kind in (_NOTHING, _BIAS):
        of = state.items[item]
        p = of["projection"]
        count_spike(plan, state, tally, p, of["neuron"])
        note_output(plan, state, p, time)
        if kind == _BIAS:
            bring_bias(plan, tables, state, p, of["neuron"], time)
        release(state, item)
    elif kind == _GIVEN:
        give(plan, state, item, time)
    elif kind == _LOOK:
        look(plan, tables, state, item, time)
    elif kind == _UPDATED:
        updated(plan, tables, state, tally, item, time)
    elif kind == _DECIDE:
        decide(plan, state, time)
    else:
        state.progress[()]["stopped"] = 1
        state.progress[()]["end"] = time


@typed_part
def begin(plan, tables, state):
    """Queue the first looks at all neurons, and the first given spike. (Behind barriers a step of the chip does that.)"""
    state.progress[()]["begun"] = 1
    if plan.chip[()]["stepwise"]:
        return
    for n in range(len(plan.rank)):
        role = plan.populations[plan.rank[n]]["role"]
        if not plan.chip[()]["scripted"] and role in (_ROLE_DRIVEN, _ROLE_SPIKING):
            look_again(plan, tables, state, n, 0)
    if len(plan.given_time) > 0:
        push(state, plan.given_time[0], plan.rank[plan.given_neuron[0]], UPDATES, 0, _GIVEN, 0)


@compiled
def advance(plan, tables, state, tally):
    """Run on, until the end or a Status says why not.

    Parameters
    ----------
    plan : Plan
    tables : Tables
        Of the network (:func:`eventsim.engines.queue.tables.compile_tables`).
    state : State
    tally : Tally

    Returns
    -------
    int64
        A Status.
    """
    plan, tables, state, tally = pointer_to(plan), pointer_to(tables), pointer_to(state), pointer_to(tally)
    s = state.progress[()]
    scripted, stepwise = plan.chip[()]["scripted"] != 0, plan.chip[()]["stepwise"] != 0
    mask = (np.int64(1) << KIND_BITS) - 1
    if not s["begun"]:
        begin(plan, tables, state)
    for _ in range(PAUSE_AFTER):
        if s["heap"] == 0 and stepwise:
            # All that was sent has been served. (Where there is no room for the next step, this comes again.)
            if s["chip"] > s["over"]:
                end_step(plan, state, tally)
                s["over"] = s["chip"]
            if s["chip"] == s["end"] + plan.chip[()]["stages"]:
                return _DONE
        elif s["heap"] == 0 or (state.heap_time[0] > s["end"] and not scripted and not stepwise):
            return _DONE
        # All messages that are on their way may be served at once.
        waits = len(state.waits) - s["waits"] - (len(state.items) - s["free"])
        room = min(len(state.heap_time) - s["heap"], len(state.log_time) - s["logged"], waits)
        if min(room, s["free"]) < plan.margin:
            return _GROW
        if s["heap"] == 0:
            begin_step(plan, tables, state, tally)
            if s["where"] >= 0:
                return _OVERFLOW
            send_step(plan, state, tally)
            continue
        time, entry = state.heap_time[0], state.heap_item[0]
        if not scripted and not stepwise:
            end_steps(plan, state, tally, time)
        s["time"] = time
        pop(state)
        happen(plan, tables, state, tally, entry >> KIND_BITS, entry & mask, time)
        if s["where"] >= 0:
            return _OVERFLOW
    return _PAUSE

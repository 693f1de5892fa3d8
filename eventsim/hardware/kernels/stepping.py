"""Compiled code of chips with barriers: a step of the chip, in which every core goes round its neurons (docs/hardware.md).

A population lags behind by its stage: in step ``s`` of the chip it does what the ordinary clocked run has it do in step ``s - stage``. What
has been served is kept for the step in which it is used, in as many slots as steps may lie between.
"""

from __future__ import annotations

import numpy as np

from eventsim.hardware.kernels.deciding import decide
from eventsim.hardware.kernels.entries import WEIGHTS, push
from eventsim.hardware.kernels.sending import due_at, fire, lateness, make
from eventsim.hardware.kernels.serving import count_later, end_of_block, note_use, sum_weights
from eventsim.hardware.records import Kind, Role
from eventsim.kernels.compiled import typed_inner, typed_part
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN

_READY = int(Kind.READY)
_GIVEN, _SPIKING, _READOUT = int(Role.GIVEN), int(Role.SPIKING), int(Role.READOUT)
# Neurons that are looked at together.
NEIGHBOURS = 16


@typed_part
def step_of_run(plan, state, rank):
    """Which step of the run a population does in this step of the chip; 0 if none."""
    s = state.progress[()]
    step = s["chip"] - plan.populations[rank]["stage"]
    return step if 1 <= step <= s["end"] else 0


@typed_part
def bring_biases(plan, tables, state, tally, place):
    """A given spike of a bias clock: what it brings is kept, too; it takes nothing."""
    s, n, slots = state.progress[()], plan.given_neuron[place], plan.chip[()]["slots"]
    population = plan.populations[plan.rank[n]]
    for j in range(population["out"], population["end_out"]):
        p = plan.out[j]
        of = plan.projections[p]
        target = plan.populations[of["target"]]
        step = plan.given_time[place] + of["delay"]
        if step <= s["end"]:
            use = step + target["stage"]
            note_use(plan, state, tally, p, n - population["first"], use)
            neuron, low, size = n - population["first"], 0, target["end"] - target["first"]
            if tables.projections[p]["maximum"] < 0:
                sum_weights(plan, tables, state.later, state.marks, (use % slots) * len(plan.rank), p, neuron, 1, 0, size)
                continue
            while low < size:
                high = end_of_block(plan, p, low)
                count_later(plan, tables, state, p, neuron, 1, low, high, use % slots)
                low = high


@typed_part
def add_later(v, later, first, end, base):
    """``v[first:end] += later[base + first : base + end]``, which becomes 0; returns whether a potential has left int32 then.

    Parameters
    ----------
    v, later : int64 array
    first, end, base : int64
    """
    left, b = False, np.uint64(base)
    for n in range(np.uint64(first), np.uint64(end)):
        x = v[n] + later[b + n]
        v[n], later[b + n] = x, 0
        left |= (x > POTENTIAL_MAX) | (x < POTENTIAL_MIN)
    return left


@typed_part
def deliver(plan, state, rank):
    """Add what is to be added to the neurons of a population in this step."""
    s, of, slots = state.progress[()], plan.populations[rank], plan.chip[()]["slots"]
    # That of a driven neuron is a formula, and this one stays at 0.
    if add_later(state.v, state.later, of["first"], of["end"], (s["chip"] % slots) * len(plan.rank)):
        s["where"], s["time"] = rank, s["chip"] - of["stage"]
    base = (s["chip"] % slots) * len(state.counts)
    for i in range(of["counts"], of["end_counts"]):
        state.counts[i] += state.later_counts[base + i]
        state.later_counts[base + i] = 0


@typed_part
def note_spike(plan, state, n, sign, ready, step):
    """A spike of this step: ``ready`` is when its core's round has come to the neuron, ``step`` the run's."""
    s = state.progress[()]
    fired = state.fired[s["made"]]
    fired["neuron"], fired["sign"], fired["ready"], fired["step"], fired["late"] = n, sign, ready, step, lateness(plan, state, n)
    s["made"] += 1


@typed_part
def last_use(plan, state, p, fired):
    """In which step of the chip a spike is used that came through a projection, 0 if after the end."""
    of = plan.projections[p]
    step = fired["step"] + of["delay"] + fired["late"]
    return step + plan.populations[of["target"]]["stage"] if step <= state.progress[()]["end"] else 0


@typed_part
def send_in_step(plan, state, tally, fired):
    """A core's messages of a spike come on top of its round."""
    c, s, n = plan.chip[()], state.progress[()], fired["neuron"]
    core, population = plan.owner[n], plan.populations[plan.rank[n]]
    time = fired["ready"] + state.extra[core]
    if population["costly"]:
        time += c["spike"]
    for j in range(population["out"], population["end_out"]):
        if fired["late"] < 0:
            break
        p = plan.out[j]
        of = plan.projections[p]
        line = of["offset"] + (n - population["first"]) // of["divisor"]
        first, end = plan.begin[line], plan.begin[line + 1]
        # What comes after the end is served, and not used.
        use = last_use(plan, state, p, fired)
        if first == end and use:
            note_use(plan, state, tally, p, n - population["first"], use)
        for message in range(first, end):
            time += c["message_out"]
            s["sent"] += 1
            m = make(plan, state, n, fired["sign"], p, message)
            state.items[m]["lead"], state.items[m]["use"] = message == first, use
            push(state, s["base"] + time, 0, WEIGHTS, state.items[m]["number"], _READY, m)
    state.extra[core] = time - fired["ready"]


@typed_part
def none_due(v, threshold, first, end, least):
    """Whether no potential of first..end-1 is at its threshold, or below ``least``.

    Parameters
    ----------
    v, threshold : int64 array
    first, end, least : int64
    """
    due = False
    for n in range(np.uint64(first), np.uint64(end)):
        due |= (v[n] >= threshold[n]) | (v[n] < least)
    return not due


@typed_part
def count_marks(marks, first, end):
    """How many neurons are marked of first..end-1; afterwards none is.

    Parameters
    ----------
    marks : int8 array
    first, end : int64
    """
    n = 0
    for i in range(np.uint64(first), np.uint64(end)):
        n += marks[i]
        marks[i] = 0
    return n


@typed_part
def go_round(plan, tables, state, tally, block, step):
    """The neurons of a block: each is accessed, those with input are updated, those that are due fire."""
    c, s = plan.chip[()], state.progress[()]
    rank, first, end = plan.rank[block["first"]], block["first"], block["end"]
    population, core = plan.populations[rank], block["core"]
    s["accesses"] += end - first
    time = state.round[core]
    if step == 0:
        state.round[core] = time + (end - first) * c["access"]
        return
    s["step"] = step - 1
    spiking, always, signed = population["role"] == _SPIKING, population["always"], population["signed"]
    access, update, refractory, fires = c["access"], c["update"], population["refractory"], population["role"] != _READOUT
    updates, base = 0, (s["chip"] % c["slots"]) * len(plan.rank)
    for low in range(first, end, NEIGHBOURS):
        high = min(low + NEIGHBOURS, end)
        # Most neurons are not due.
        if not fires or (spiking and none_due(state.v, plan.threshold, low, high, 0 if signed else POTENTIAL_MIN)):
            n = count_marks(state.marks, base + low, base + high)
            n = high - low if always else n
            time += (high - low) * access + n * update
            updates += n
            continue
        for n in range(low, high):
            time += access
            sign = due_at(plan, tables, state, n, step) if step >= state.last[n] + refractory else 0
            if always or sign or state.marks[base + n]:
                time += update
                updates += 1
            state.marks[base + n] = 0
            if sign:
                if spiking:
                    state.v[n] = 0 if population["zero_reset"] else state.v[n] - sign * plan.threshold[n]
                state.net[n] += sign
                state.last[n] = step
                fire(plan, state, tally, n, sign, step)
                note_spike(plan, state, n, sign, time, step)
    s["updates"] += updates
    state.round[core] = time


@typed_inner
def begin_step(plan, tables, state, tally):
    """A step of the chip: what has come for it is added, and every core goes round its neurons. Its spikes are in ``state.fired``.

    Parameters
    ----------
    plan : Plan
    tables : Tables
    state : State
    tally : Tally
    """
    s = state.progress[()]
    s["chip"] += 1
    s["made"] = 0
    first = s["given"]
    while s["given"] < len(plan.given_time) and plan.given_time[s["given"]] == s["chip"]:
        if plan.owner[plan.given_neuron[s["given"]]] < 0:
            bring_biases(plan, tables, state, tally, s["given"])
        s["given"] += 1
    for rank in range(len(plan.populations)):
        if step_of_run(plan, state, rank):
            deliver(plan, state, rank)
            if s["where"] >= 0:
                return
    for b in range(len(plan.blocks)):
        block = plan.blocks[b]
        rank = plan.rank[block["first"]]
        if plan.populations[rank]["role"] != _GIVEN:
            go_round(plan, tables, state, tally, block, step_of_run(plan, state, rank))
            continue
        for place in range(first, s["given"]):
            n = plan.given_neuron[place]
            if block["first"] <= n < block["end"] and s["chip"] <= s["end"]:
                note_spike(plan, state, n, plan.given_sign[place], state.round[block["core"]], s["chip"])


@typed_inner
def send_step(plan, state, tally):
    """The messages of a step of the chip, each by itself.

    Parameters
    ----------
    plan : Plan
    state : State
    tally : Tally
    """
    for i in range(state.progress[()]["made"]):
        send_in_step(plan, state, tally, state.fired[i])


@typed_part
def end_step(plan, state, tally):
    """All that was sent in a step of the chip is served: how long it took, and what the output says; the barrier.

    Parameters
    ----------
    plan : Plan
    state : State
    tally : Tally
    """
    c, s = plan.chip[()], state.progress[()]
    end = max(s["base"] + c["step"], s["served"])
    sending = 4 * c["tiles"] + 2 * c["cores"]
    for core in range(c["cores"]):
        worked = state.round[core] + state.extra[core]
        state.servers[sending + core]["work"] += worked
        end = max(end, s["base"] + worked)
        state.round[core] = state.extra[core] = 0
    end += c["barrier"]
    state.steps[s["chip"] - 1] = end - s["base"]
    s["base"] = end
    for rank in range(len(plan.populations)):
        of, step = plan.populations[rank], step_of_run(plan, state, rank)
        if of["role"] == _READOUT and step:
            for n in range(of["first"], of["end"]):
                tally.readout[step - 1, of["readout"] + n - of["first"]] = state.v[n]
    slot = s["chip"] % c["slots"]
    step = 0 if plan.output < 0 else step_of_run(plan, state, plan.output)
    if step and state.later_output[slot]:
        decide(plan, state, step)
    state.later_output[slot] = 0
    # Spikes are counted up when a step of the run is over for all populations.
    step = s["chip"] - c["stages"]
    if 1 <= step <= s["end"]:
        for rank in range(len(plan.populations)):
            s["total"] += tally.spikes[step - 1, rank]
        if s["total"] > plan.max_spikes:
            s["exited"] = s["exited"] and step == s["end"]
            s["stopped"], s["end"] = 1, step

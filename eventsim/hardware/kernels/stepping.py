"""Compiled code of chips with barriers: a step of the chip, in which every core goes round its neurons (docs/hardware.md).

A population lags behind by its stage: in step ``s`` of the chip it does what the ordinary clocked run has it do in step ``s - stage``. What
has been served is kept for the step in which it is used, in as many slots as steps may lie between.
"""

from __future__ import annotations

from eventsim.hardware.kernels.deciding import decide
from eventsim.hardware.kernels.entries import WEIGHTS, push
from eventsim.hardware.kernels.sending import due_at, fire, lateness, make
from eventsim.hardware.kernels.serving import count_later, end_of_block, note_use, sum_weights
from eventsim.hardware.records import Kind, Role
from eventsim.kernels.compiled import inner, part
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN

_READY = int(Kind.READY)
_GIVEN, _SPIKING, _READOUT = int(Role.GIVEN), int(Role.SPIKING), int(Role.READOUT)


@part
def step_of_run(plan, state, rank):
    """Which step of the run a population does in this step of the chip; 0 if none."""
    s = state.progress[()]
    step = s["chip"] - plan.populations[rank]["stage"]
    return step if 1 <= step <= s["end"] else 0


@part
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


@part
def deliver(plan, state, rank):
    """Add what is to be added to the neurons of a population in this step."""
    s, of, slots = state.progress[()], plan.populations[rank], plan.chip[()]["slots"]
    base = (s["chip"] % slots) * len(plan.rank)
    for n in range(of["first"], of["end"]):
        state.v[n] += state.later[base + n]
        state.later[base + n] = 0
        # That of a driven neuron is a formula, and this one stays at 0.
        if state.v[n] > POTENTIAL_MAX or state.v[n] < POTENTIAL_MIN:
            s["where"], s["time"] = rank, s["chip"] - of["stage"]
    base = (s["chip"] % slots) * len(state.counts)
    for i in range(of["counts"], of["end_counts"]):
        state.counts[i] += state.later_counts[base + i]
        state.later_counts[base + i] = 0


@part
def send_in_step(plan, state, tally, n, sign, step, ready):
    """A core's messages of a spike come on top of its round; ``ready`` is when that has come to the neuron, ``step`` the run's."""
    c, s, core = plan.chip[()], state.progress[()], plan.owner[n]
    population = plan.populations[plan.rank[n]]
    time = ready + state.extra[core]
    if population["costly"]:
        time += c["spike"]
    late = lateness(plan, state, n)
    for j in range(population["out"], population["end_out"]):
        if late < 0:
            break
        p = plan.out[j]
        of = plan.projections[p]
        line = of["offset"] + (n - population["first"]) // of["divisor"]
        first, end = plan.begin[line], plan.begin[line + 1]
        # What comes after the end is served, and not used.
        used = step + of["delay"] + late <= s["end"]
        use = step + of["delay"] + late + plan.populations[of["target"]]["stage"] if used else 0
        if first == end and used:
            note_use(plan, state, tally, p, n - population["first"], use)
        for message in range(first, end):
            time += c["message_out"]
            s["sent"] += 1
            m = make(plan, state, n, sign, p, message)
            state.items[m]["lead"], state.items[m]["use"] = message == first, use
            push(state, s["base"] + time, 0, WEIGHTS, state.items[m]["number"], _READY, m)
    state.extra[core] = time - ready


@part
def go_round(plan, tables, state, tally, block, step):
    """The neurons of a block: each is accessed, those with input are updated, those that are due fire."""
    c, s = plan.chip[()], state.progress[()]
    rank = plan.rank[block["first"]]
    population, core = plan.populations[rank], block["core"]
    base = (s["chip"] % c["slots"]) * len(plan.rank)
    s["step"] = step - 1
    for n in range(block["first"], block["end"]):
        state.round[core] += c["access"]
        s["accesses"] += 1
        if step == 0:
            continue
        allowed = step >= state.last[n] + population["refractory"] and population["role"] != _READOUT
        sign = due_at(plan, tables, state, n, step) if allowed else 0
        if population["always"] or sign or state.marks[base + n]:
            state.round[core] += c["update"]
            s["updates"] += 1
        state.marks[base + n] = 0
        if sign:
            if population["role"] == _SPIKING:
                state.v[n] = 0 if population["zero_reset"] else state.v[n] - sign * plan.threshold[n]
            state.net[n] += sign
            state.last[n] = step
            fire(plan, state, tally, n, sign, step)
            send_in_step(plan, state, tally, n, sign, step, state.round[core])


@inner
def begin_step(plan, tables, state, tally):
    """A step of the chip: what has come for it is added, and every core goes round its neurons, and sends.

    Parameters
    ----------
    plan : Plan
    tables : Tables
    state : State
    tally : Tally
    """
    s = state.progress[()]
    s["chip"] += 1
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
                send_in_step(plan, state, tally, n, 1, s["chip"], state.round[block["core"]])


@inner
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

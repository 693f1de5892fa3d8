"""Compiled code of chips with barriers on which messages wait at cores only: all messages of a step at once, without a queue of events.

When a message leaves follows from its core's round, and when it arrives from its way. What it brings is used in a later step, whenever it
has been served by then. So all that a step needs beside its spikes is the messages of each core in the order in which they arrive.
"""

from __future__ import annotations

from eventsim.hardware.kernels.loop import PAUSE_AFTER
from eventsim.hardware.kernels.serving import count_later, note_use, sum_weights
from eventsim.hardware.kernels.stepping import begin_step, end_step, last_use
from eventsim.hardware.kernels.waiting import fill_from, serve_all
from eventsim.hardware.records import Status
from eventsim.kernels.compiled import compiled, typed_inner, typed_part
from eventsim.kernels.vector import pointer_to

_DONE, _PAUSE, _GROW, _OVERFLOW = int(Status.DONE), int(Status.PAUSE), int(Status.GROW), int(Status.OVERFLOW)
_LATE = int(Status.LATE)


@typed_part
def line_of(plan, p, neuron):
    """Where the messages of a neuron through a projection are: their places in the messages of the plan."""
    of = plan.projections[p]
    line = of["offset"] + neuron // of["divisor"]
    return plan.begin[line], plan.begin[line + 1]


@typed_part
def bring(plan, tables, state, tally, p, neuron, sign, first, end, use):
    """Keep what a spike brings through a projection, by its messages first..end-1, for the step of the chip in which it is used."""
    slot, of = use % plan.chip[()]["slots"], plan.projections[p]
    note_use(plan, state, tally, p, neuron, use)
    if tables.projections[p]["maximum"] >= 0:
        for message in range(first, end):
            count_later(plan, tables, state, p, neuron, sign, plan.low[message], plan.high[message], slot)
    elif first < end:
        target = plan.populations[of["target"]]
        base, size = slot * len(plan.rank), target["end"] - target["first"]
        sum_weights(plan, tables, state.later, state.marks, base, p, neuron, sign, 0, size)


@typed_inner
def count_step(plan, tables, state, tally):
    """Have the spikes of a step bring what they bring, and count their messages by core; returns how many there are.

    Parameters
    ----------
    plan : Plan
    tables : Tables
    state : State
    tally : Tally
    """
    s, total = state.progress[()], 0
    for core in range(plan.chip[()]["cores"]):
        state.arriving[core] = 0
    for i in range(s["made"]):
        fired = state.fired[i]
        n = fired["neuron"]
        population = plan.populations[plan.rank[n]]
        if fired["late"] < 0:
            continue
        for j in range(population["out"], population["end_out"]):
            p = plan.out[j]
            first, end = line_of(plan, p, n - population["first"])
            use = last_use(plan, state, p, fired)
            if use:
                bring(plan, tables, state, tally, p, n - population["first"], fired["sign"], first, end, use)
            for message in range(first, end):
                state.arriving[plan.core[message]] += 1
            total += end - first
    return total


@typed_part
def travel_to(plan, source, target):
    """How long a message goes from core to core."""
    c = plan.chip[()]
    tile, last = source // c["per_tile"], target // c["per_tile"]
    if tile == last:
        return c["within"]
    row, last_row = tile // c["mesh"], last // c["mesh"]
    across = (last - last_row * c["mesh"]) - (tile - row * c["mesh"])
    return abs(across) * c["east_west"] + abs(last_row - row) * c["north_south"]


@typed_part
def count_ways(plan, state, source, reached):
    """Count the links that the messages of a core have taken: ``flow`` to each of the cores that it has reached."""
    c, s = plan.chip[()], state.progress[()]
    for i in range(reached):
        target = state.reached[i]
        n = state.flow[target]
        state.flow[target] = 0
        tile, last = source // c["per_tile"], target // c["per_tile"]
        s["within"] += n if tile == last else 0
        across, down = last % c["mesh"] - tile % c["mesh"], last // c["mesh"] - tile // c["mesh"]
        s["across"] += abs(across) * n
        s["down"] += abs(down) * n
        for _ in range(abs(across)):
            state.links[tile, 0 if across > 0 else 1] += n
            tile += 1 if across > 0 else -1
        for _ in range(abs(down)):
            state.links[tile, 2 if down > 0 else 3] += n
            tile += c["mesh"] if down > 0 else -c["mesh"]


@typed_part
def fill_step(plan, state):
    """Send the messages of a step: when each arrives, and what it brings. Spikes are in the order of their cores.

    Parameters
    ----------
    plan : Plan
    state : State

    Returns
    -------
    int64
        When the last one leaves.
    """
    c, s = plan.chip[()], state.progress[()]
    cores, filled, key, flow, bits = plan.core, state.room.filled, state.room.key, state.flow, c["bits"]
    sender, reached, extra, synapses, latest = -1, 0, 0, 0, 0
    fill_from(state.room, state.arriving)
    for i in range(s["made"]):
        fired = state.fired[i]
        n = fired["neuron"]
        population = plan.populations[plan.rank[n]]
        if plan.owner[n] != sender:
            if sender >= 0:
                count_ways(plan, state, sender, reached)
                state.extra[sender] = extra
            sender, reached, extra = plan.owner[n], 0, 0
        time = fired["ready"] + extra
        if population["costly"]:
            time += c["spike"]
        for j in range(population["out"], population["end_out"]):
            if fired["late"] < 0:
                break
            first, end = line_of(plan, plan.out[j], n - population["first"])
            s["sent"] += end - first
            for message in range(first, end):
                time += c["message_out"]
                core = cores[message]
                if flow[core] == 0:
                    state.reached[reached] = core
                    state.travel[core] = travel_to(plan, sender, core)
                    reached += 1
                flow[core] += 1
                at = filled[core]
                filled[core] = at + 1
                key[0, at] = (time + state.travel[core] << bits) + plan.synapses[message] * 2
                synapses += plan.synapses[message]
        extra = time - fired["ready"]
        latest = max(latest, time)
    if sender >= 0:
        count_ways(plan, state, sender, reached)
        state.extra[sender] = extra
    s["synapses"] += synapses
    return latest


@compiled
def advance_together(plan, tables, state, tally):
    """Run on, step by step, until the end or a Status says why not; parameters as of :func:`eventsim.hardware.kernels.loop.advance`."""
    plan, tables, state, tally = pointer_to(plan), pointer_to(tables), pointer_to(state), pointer_to(tally)
    s, handled = state.progress[()], 0
    totals = state.found.totals[()]
    while handled < PAUSE_AFTER:
        if not s["sending"]:
            if s["chip"] == s["end"] + plan.chip[()]["stages"]:
                return _DONE
            if len(state.log_time) - s["logged"] < plan.margin:
                return _GROW
            begin_step(plan, tables, state, tally)
            if s["where"] >= 0:
                return _OVERFLOW
            s["messages"] = count_step(plan, tables, state, tally)
            s["sending"] = 1
        n = s["messages"]
        if len(state.found.waits) - totals["messages"] < n or len(state.room.runs) <= n:
            return _GROW
        if fill_step(plan, state) > plan.chip[()]["latest"]:
            return _LATE
        totals["end"] = 0
        serve_all(plan.chip, state.room, state.arriving, state.nothing, state.found, totals["messages"])
        s["served"] = s["base"] + totals["end"]
        end_step(plan, state, tally)
        s["sending"] = 0
        handled += n + len(plan.rank)
    return _PAUSE

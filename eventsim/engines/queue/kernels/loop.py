"""Compiled code of the queue engine: the reference engine's loop over flat arrays.

The priority queue is a 4-ary heap of int64 keys ``tick << bits | entity`` (:mod:`eventsim.engines.queue.records` says what an entity is):
so within a tick populations are visited in topological order. The state of neurons is the distance ``d = V - threshold``: a neuron is due
when d >= 0. Arrays come from :mod:`eventsim.engines.queue.plan`, which sees to it that they have room.
"""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.kernels.bounds import room_for_pending
from eventsim.engines.queue.kernels.delivery import PAUSE_AFTER, WORK, deliver_pending
from eventsim.engines.queue.kernels.due import find_changed, out_of_range, scan_pending, scan_run, scan_run_signed
from eventsim.engines.queue.kernels.firing import fire_driven, fire_maximum, fire_spiking, look_at, take_looks
from eventsim.engines.queue.kernels.leak import any_potential, catch_up, flow, flow_again, leak_population
from eventsim.engines.queue.kernels.pending import collect
from eventsim.engines.queue.records import Exit, Role, Status
from eventsim.kernels.compiled import brief as compiled
from eventsim.kernels.compiled import inner, part
from eventsim.kernels.sort import sort_candidates


@inner
def end_step(progress, populations, leaks, threshold, d, readout):
    """Note the potentials ``d`` of all readouts in the row of the step, which is over; then they leak.

    Parameters
    ----------
    progress : PROGRESS, without dimensions
    populations : POPULATION array
    leaks : Leaks or None
    threshold : int32 array (neurons and currents,)
    d : int32 or int64 array (neurons and currents,)
    readout : int64 array (steps, neurons of all readouts)
    """
    s = progress[()]
    for q in range(len(populations)):
        population = populations[q]
        if population["role"] == Role.READOUT:
            for i in range(population["first"], population["end"]):
                readout[s["step"], population["readout"] + i - population["first"]] = d[i]
            if population["leak"] >= 0:
                leak_population(d, threshold, population, leaks, 1)
    s["step"] += 1


@part
def begin_tick(state, plan, tally):
    """Go to the next tick at which something happens; returns GO_ON, or why that has to wait."""
    s, rings = state.progress[()], state.rings
    if s["heap"] == 0 or state.heap[0] >> plan.bits > s["end"]:
        return Status.DONE
    if s["logged"] + len(state.d) > len(state.log_tick):
        return Status.FLUSH
    if s["work"] >= PAUSE_AFTER:
        return Status.PAUSE
    for p in range(len(rings)):
        if rings[p]["size"] > 0:
            # Room for all that can fire in this tick beside all that is there, delivered in this tick or not.
            source = plan.populations[plan.projections[p]["source"]]
            if rings[p]["used"] + source["end"] - source["first"] > rings[p]["size"]:
                s["where"] = p
                return Status.GROW
    s["tick"] = state.heap[0] >> plan.bits
    while (s["step"] + 1) * plan.resolution < s["tick"]:
        end_step(state.progress, plan.populations, plan.leaks, plan.threshold, state.d, tally.readout)
    s["visiting"] = s["changed"] = 0
    return Status.GO_ON


@part
def find_due(state, plan, tables, q, additions):
    """The candidates among the spiking neurons of population q after so many additions, in ascending order; returns their number.

    All neurons are looked at, or those that the pending spikes have reached, and those whose turn it is to be looked at.
    """
    s, population = state.progress[()], plan.populations[q]
    first, size = population["first"], population["end"] - population["first"]
    n = np.int64(0)
    if additions >= size:
        if population["signed"]:
            n = scan_run_signed(state.d, state.low, first, size, state.candidates, 0)
        else:
            n = scan_run(state.d, first, size, state.candidates, 0)
    elif additions > 0:
        n = scan_pending(state, plan, tables, q)
    scanned = n
    n = take_looks(state, plan, q, s["tick"], n)
    if n > 1 and not (additions >= size and n == scanned):
        sort_candidates(state.candidates, n)
    return n


@part
def read_leaky(state, plan, q):
    """The end of a visit of population q, leaky readouts: if they are the output, they are looked at again when they have leaked."""
    s, population = state.progress[()], plan.populations[q]
    if q == plan.output and any_potential(state.d, population["first"], population["end"]):
        look_at(state, plan, q, population["first"], (s["step"] + 1) * plan.resolution + 1)


@part
def visit(state, plan, tables, q, tally, wide):
    """Deliver what arrives at population q at this tick, then have its neurons fire; returns GO_ON, or why it has not been done yet."""
    s, population, activity = state.progress[()], plan.populations[q], state.populations[q]
    s["work"] += catch_up(state.progress, population, activity, plan.leaks, plan.threshold, state.d) // WORK
    if s["pending"] == 0:
        collect(state, plan, q, s["tick"])
    begins = s["part"] == 0 and s["place"] == 0
    flows = population["currents"] >= 0 and s["tick"] % plan.resolution == 0
    if (s["pending"] > 0 or flows) and begins and not wide and not room_for_pending(state, plan, tables, q, flows):
        s["where"] = q
        return Status.WIDEN
    logged = s["logged"]
    if population["role"] == Role.DRIVEN:
        fire_driven(state, plan, q, s["tick"], tally)
    else:
        if not deliver_pending(state, plan, tables, q, tally):
            return Status.PAUSE
        additions = s["added"]
        s["part"] = s["added"] = 0
        size = population["end"] - population["first"]
        overflown = wide and additions > 0 and out_of_range(state.d, plan.threshold, population["receives"], size)
        if population["currents"] >= 0:
            # Spikes make no neuron fire before currents flow.
            additions = np.int64(0)
            if flows:
                flow(state.d, population, plan.leaks)
                additions = size
                overflown |= wide and out_of_range(state.d, plan.threshold, population["first"], size)
        if additions >= size or wide:
            s["work"] += size // WORK
        if overflown:
            s["where"] = q
            return Status.OVERFLOW
        if population["role"] == Role.SPIKING:
            n = find_due(state, plan, tables, q, additions)
            fire_spiking(state, plan, q, s["tick"], n, tally)
            s["work"] += n
        elif population["role"] == Role.MAXIMUM:
            n = find_changed(state, plan, tables, q, additions)
            fire_maximum(state, plan, tables, q, s["tick"], n, tally)
            s["work"] += n
        elif q == plan.output:
            # (Readouts that have leaked change no decision before there is one.)
            s["changed"] = int(s["pending"] > 0 or s["decision"] >= 0)
        if population["role"] == Role.READOUT and population["leak"] >= 0:
            take_looks(state, plan, q, s["tick"], 0)
            read_leaky(state, plan, q)
        if population["currents"] >= 0:
            flow_again(state.progress, (plan.bits, plan.resolution), population, activity, state.heap, state.d, plan.leaks)
    s["pending"] = 0
    if s["logged"] > logged:
        activity["first_fired"], activity["end_fired"], activity["fired_tick"] = logged, s["logged"], s["tick"]
        if activity["first_tick"] == 0:
            activity["first_tick"] = s["tick"]
    s["work"] += 1
    return Status.GO_ON


@inner
def decide(progress, d, first, end, exit_kind, exit_threshold):
    """Note the decision at the end of a tick and apply the exit rule.

    Parameters
    ----------
    progress : PROGRESS, without dimensions
    d : int32 or int64 array (neurons,)
    first, end : int64
        The output's neurons.
    exit_kind, exit_threshold : int64
        An Exit.
    """
    s = progress[()]
    best = first
    for i in range(first + 1, end):
        if d[i] > d[best]:
            best = i
    if best - first != s["decision"]:
        s["decision"], s["decision_tick"] = best - first, s["tick"]
    value = np.int64(d[best])
    if exit_kind == Exit.MARGIN:
        second = first if best != first else first + 1
        for i in range(first, end):
            if i != best and d[i] > d[second]:
                second = i
        value -= np.int64(d[second])
    if exit_kind != Exit.NONE and value >= exit_threshold:
        s["exited"], s["end"] = 1, s["tick"]


@compiled
def advance(plan, tables, state, tally, wide):
    """Run until the end or until Python has to do something.

    Parameters
    ----------
    plan : Plan
    tables : Tables
    state : State
    tally : Tally
    wide : bool
        d is int64, and the range of every potential is checked after delivery; otherwise d is int32, and the bounds of
        :func:`eventsim.engines.queue.kernels.bounds.room_for_pending` make sure that it suffices.

    Returns
    -------
    Status
        Not GO_ON. After DONE the run is over; else it is to be called again, maybe in the midst of a tick.
    """
    s, bits = state.progress[()], plan.bits
    mask = (np.int64(1) << bits) - 1
    s["work"] = 0
    while True:
        if s["visiting"] < 0:
            status = begin_tick(state, plan, tally)
            if status != Status.GO_ON:
                return status
        while s["visiting"] < len(plan.populations):
            q = s["visiting"]
            heap_is_due = s["heap"] > 0 and state.heap[0] >> bits == s["tick"]
            if not heap_is_due and s["flags"] == 0 and s["pending"] == 0:
                break
            due = heap_is_due and (state.heap[0] & mask) < plan.populations[q]["end_entity"]
            if s["pending"] > 0 or state.populations[q]["flagged"] or due:
                status = visit(state, plan, tables, q, tally, wide)
                if status != Status.GO_ON:
                    return status
            s["visiting"] = q + 1
        s["visiting"] = -1
        if s["changed"]:
            output = plan.populations[plan.output]
            decide(state.progress, state.d, output["first"], output["end"], plan.exit_kind, plan.exit_threshold)
        if s["flushed"] + s["logged"] > plan.max_spikes:
            s["stopped"], s["end"] = 1, s["tick"]

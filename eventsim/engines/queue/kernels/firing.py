"""Compiled code that has due neurons fire."""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.kernels.leak import reset_leaky
from eventsim.kernels.compiled import inner, part
from eventsim.kernels.heap import sift_down, sift_up
from eventsim.kernels.windows import sense_of, step_of


@part
def emit(state, plan, q, neuron, sign, tick, tally):
    """Log a spike of a neuron of population q, count it, and hand it to the projections that leave the population."""
    s, population = state.progress[()], plan.populations[q]
    n = s["logged"]
    state.log_tick[n] = tick
    state.log_neuron[n] = neuron
    state.log_sign[n] = sign
    s["logged"] = n + 1
    tally.spikes[s["step"], q] += 1
    if sign < 0:
        tally.negative[s["step"], q] += 1
    for i in range(population["outgoing"], population["end_outgoing"]):
        p = plan.outgoing[i]
        of, ring = plan.projections[p], state.rings[p]
        arrival = tick + of["delay"]
        if arrival == tick:
            if state.populations[of["target"]]["flagged"] == 0:
                state.populations[of["target"]]["flagged"] = 1
                s["flags"] += 1
        elif arrival <= s["end"]:
            place = ring["start"] + (ring["head"] + ring["used"]) % ring["size"]
            state.ring_tick[place] = arrival
            state.ring_neuron[place] = neuron - population["first"]
            state.ring_sign[place] = sign
            ring["used"] += 1
            if ring["used"] == 1:
                sift_up(state.heap, s["heap"], (arrival << plan.bits) | of["stream"])
                s["heap"] += 1


@inner
def next_driven(need, current, resolution, after):
    """First tick from ``after`` on at which a current per step has brought what a driven neuron needs, or -1; all int64."""
    if current > 0:
        return max(after, -((-need * resolution) // current))
    if (current * after) // resolution >= need:
        return after
    return np.int64(-1)


@part
def fire_driven(state, plan, q, tick, tally):
    """Fire the driven neurons of population q that are due at a tick: those in the heap."""
    s, population, bits = state.progress[()], plan.populations[q], plan.bits
    mask = (np.int64(1) << bits) - 1
    shift = population["first"] - population["first_entity"]
    while s["heap"] > 0 and state.heap[0] >> bits == tick and (state.heap[0] & mask) < population["end_entity"]:
        entity = state.heap[0] & mask
        neuron = entity + shift
        state.net[neuron] += 1
        need = plan.threshold[neuron] * (np.int64(state.net[neuron]) + 1) - plan.v0[neuron]
        following = next_driven(need, plan.current[neuron], plan.resolution, tick + population["refractory"])
        if 0 <= following <= s["end"]:
            sift_down(state.heap, s["heap"], (following << bits) | entity)
        else:
            s["heap"] -= 1
            sift_down(state.heap, s["heap"], state.heap[s["heap"]])
        emit(state, plan, q, neuron, 1, tick, tally)
        s["work"] += 1


@part
def take_looks(state, plan, q, tick, n):
    """Append the neurons of population q that are in the heap to be looked at now to the n candidates; returns their new number.

    (The flow of its currents, behind its neurons, is taken off the heap, too.)
    """
    s, population, bits = state.progress[()], plan.populations[q], plan.bits
    mask = (np.int64(1) << bits) - 1
    shift = population["first"] - population["first_entity"]
    while s["heap"] > 0 and state.heap[0] >> bits == tick and (state.heap[0] & mask) < population["end_entity"]:
        neuron = (state.heap[0] & mask) + shift
        if neuron < population["end"]:
            state.candidates[n] = neuron
            n += 1
        s["heap"] -= 1
        sift_down(state.heap, s["heap"], state.heap[s["heap"]])
    return n


@part
def look_at(state, plan, q, neuron, tick):
    """Queue a look at a neuron of population q unless there is one already."""
    s, population = state.progress[()], plan.populations[q]
    if state.look[neuron] < tick and tick <= s["end"]:
        state.look[neuron] = tick
        entity = neuron - population["first"] + population["first_entity"]
        sift_up(state.heap, s["heap"], (tick << plan.bits) | entity)
        s["heap"] += 1


@part
def fire_maximum(state, plan, tables, q, tick, n, tally):
    """Have those of the first n candidates, which ascend, emit what the maxima of their windows have risen or fallen by at a tick."""
    population = plan.populations[q]
    previous = np.int64(-1)
    for c in range(n):
        neuron = np.int64(state.candidates[c])
        if neuron == previous:
            continue
        previous = neuron
        window = neuron - population["first"]
        step = step_of(tables.maxima, population["maximum"], state.counts, window, state.net[neuron])
        if step != 0:
            state.net[neuron] += step
            emit(state, plan, q, neuron, step * sense_of(tables.maxima, population["maximum"], window), tick, tally)


@part
def fire_spiking(state, plan, q, tick, n, tally):
    """Fire the due neurons among the first n candidates, which are in ascending order, at a tick."""
    s, population = state.progress[()], plan.populations[q]
    signed, refractory = population["signed"] != 0, population["refractory"]
    previous = np.int64(-1)
    for c in range(n):
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
        allowed = state.last[neuron] + refractory
        if allowed > tick:
            look_at(state, plan, q, neuron, allowed)
            continue
        threshold = plan.threshold[neuron]
        if population["leak"] >= 0:
            reset_leaky(state.d, plan.threshold, population, neuron, plan.leaks)
        elif population["zero_reset"]:
            state.d[neuron] = -threshold
        else:
            state.d[neuron] -= sign * threshold
        state.last[neuron] = tick
        if signed:
            state.net[neuron] += sign
            state.low[neuron] = -threshold if state.net[neuron] > 0 else s["lowest"]
        emit(state, plan, q, neuron, sign, tick, tally)
        if state.d[neuron] >= 0 or (signed and state.d[neuron] < state.low[neuron]):
            look_at(state, plan, q, neuron, tick + refractory)

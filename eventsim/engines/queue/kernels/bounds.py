"""Compiled code that sees to it that distances of 32 bits suffice: bounds of what they may be, from the spikes that are pending."""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.kernels.delivery import WORK
from eventsim.kernels.compiled import inner, part
from eventsim.model.limits import POTENTIAL_MAX


@inner
def room_for_currents(population, activity, threshold, d, rise, flows, leaks):
    """Whether synaptic currents, which spikes may change by ``rise``, surely stay within int32, and so does what they flow into.

    Tightens bounds that are loose.

    Parameters
    ----------
    population, activity, threshold, d, leaks
        As for :func:`eventsim.engines.queue.kernels.leak.catch_up`.
    rise : int64
    flows : bool
        Whether they flow at this tick.
    """
    fits = True
    if leaks is not None:
        size = population["end"] - population["first"]
        if activity["current_bound"] + rise > POTENTIAL_MAX:
            activity["current_bound"] = largest_state(d, threshold, population["currents"], size)
        fits = activity["current_bound"] + rise <= POTENTIAL_MAX
        if fits:
            activity["current_bound"] += rise
        if fits and flows:
            if activity["bound"] + activity["current_bound"] > POTENTIAL_MAX:
                activity["bound"] = max(population["after_reset"], largest_state(d, threshold, population["first"], size))
            fits = activity["bound"] + activity["current_bound"] <= POTENTIAL_MAX
            if fits:
                activity["bound"] += activity["current_bound"]
    return fits


@inner
def largest_state(d, threshold, first, size):
    """What neither |d| nor |V| of a run is above, nor a threshold (a reset may leave |d| at that); as for :func:`room_for_currents`."""
    largest = np.int64(0)
    for i in range(first, first + size):
        distance, theta = np.int64(d[i]), np.int64(threshold[i])
        largest = max(largest, abs(distance), abs(distance + theta), theta)
    return largest


@part
def room_for_pending(state, plan, tables, q, flows):
    """Whether the pending spikes, and currents if they flow, surely keep d and V of population q within int32; tightens loose bounds."""
    activity, population = state.populations[q], plan.populations[q]
    rise = np.int64(0)
    for i in range(state.progress[()]["pending"]):
        part = state.pending[i]
        rise += (part["end"] - part["first"]) * tables.projections[part["projection"]]["largest"]
    if population["currents"] >= 0:
        return room_for_currents(population, activity, plan.threshold, state.d, rise, flows, plan.leaks)
    fits = True
    if activity["bound"] + rise > POTENTIAL_MAX:
        size = population["end"] - population["first"]
        largest = max(population["after_reset"], largest_state(state.d, plan.threshold, population["first"], size))
        activity["bound"] = largest
        state.progress[()]["work"] += size // WORK
        fits = largest + rise <= POTENTIAL_MAX
    if fits:
        activity["bound"] += rise
    return fits

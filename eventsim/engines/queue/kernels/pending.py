"""Compiled code that finds the spikes that arrive at a population at a tick: they are *pending* until they have been delivered.

Spikes through projections without delay never enter the heap: they stand side by side in the log and are pending when the target population
is visited in the same tick. Those with a delay wait in rings, those of sources among the events, and the heap holds the first of each.
"""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.records import Role, Store
from eventsim.kernels.compiled import inner, part
from eventsim.kernels.heap import sift_down


@inner
def add_pending(progress, pending, p, store, first, end):
    """Note that the spikes first..end-1 of a store have arrived through projection p, in ``progress`` and ``pending`` of a State."""
    s = progress[()]
    part = pending[s["pending"]]
    part["projection"], part["store"], part["first"], part["end"] = p, store, first, end
    s["pending"] += 1


@part
def pending_spike(state, plan, store, place, first):
    """(neuron in its population, sign) of the spike at a place of a store; ``first`` is the first neuron of the population."""
    if store == Store.LOG:
        neuron, sign = np.int64(state.log_neuron[place] - first), np.int64(state.log_sign[place])
    elif store == Store.RING:
        neuron, sign = np.int64(state.ring_neuron[place]), np.int64(state.ring_sign[place])
    else:
        neuron, sign = np.int64(plan.event_neuron[place]), np.int64(plan.event_sign[place])
    return neuron, sign


@part
def take_events(state, plan, p, tick):
    """The events of a source that arrive through projection p at a tick are pending; returns the tick of the next one, or -1."""
    of, ring = plan.projections[p], state.rings[p]
    first = ring["event"]
    end = first
    while end < of["end_event"] and plan.event_tick[end] + of["delay"] == tick:
        end += 1
    add_pending(state.progress, state.pending, p, Store.EVENTS, first, end)
    ring["event"] = end
    following = np.int64(-1)
    if end < of["end_event"]:
        following = plan.event_tick[end] + of["delay"]
    return following


@part
def take_ring(state, p, tick):
    """The spikes in the ring of projection p that arrive at a tick are pending; returns the tick of the next one, or -1."""
    ring = state.rings[p]
    start, size, head, used = ring["start"], ring["size"], ring["head"], ring["used"]
    n = np.int64(0)
    while n < used and state.ring_tick[start + (head + n) % size] == tick:
        n += 1
    before_wrap = min(n, size - head)
    add_pending(state.progress, state.pending, p, Store.RING, start + head, start + head + before_wrap)
    if n > before_wrap:
        add_pending(state.progress, state.pending, p, Store.RING, start, start + n - before_wrap)
    # The places stay untouched until the spikes are delivered: there is room for all that can fire in this tick.
    ring["head"], ring["used"] = (head + n) % size, used - n
    following = np.int64(-1)
    if n < used:
        following = state.ring_tick[start + ring["head"]]
    return following


@part
def collect(state, plan, q, tick):
    """All spikes that arrive at population q at a tick are pending."""
    s, population = state.progress[()], plan.populations[q]
    if state.populations[q]["flagged"]:
        state.populations[q]["flagged"] = 0
        s["flags"] -= 1
        for i in range(population["incoming"], population["end_incoming"]):
            p = plan.incoming[i]
            source = state.populations[plan.projections[p]["source"]]
            if source["fired_tick"] == tick:
                add_pending(state.progress, state.pending, p, Store.LOG, source["first_fired"], source["end_fired"])
    bits, mask = plan.bits, (np.int64(1) << plan.bits) - 1
    while s["heap"] > 0 and state.heap[0] >> bits == tick and (state.heap[0] & mask) < population["first_entity"]:
        entity = state.heap[0] & mask
        p = plan.streams[population["stream"] + entity - population["first_stream"]]
        if plan.populations[plan.projections[p]["source"]]["role"] == Role.SOURCE:
            following = take_events(state, plan, p, tick)
        else:
            following = take_ring(state, p, tick)
        if 0 <= following <= s["end"]:
            sift_down(state.heap, s["heap"], (following << bits) | entity)
        else:
            s["heap"] -= 1
            sift_down(state.heap, s["heap"], state.heap[s["heap"]])

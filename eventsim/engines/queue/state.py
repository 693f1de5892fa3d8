"""The state of a run of the queue engine: at its start, and with more room."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.engines.queue.records import ACTIVITY, PENDING, PROGRESS, RING, Plan, Role, State
from eventsim.job.job import Job
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN
from eventsim.model.tables import IntArray

_NEVER = -(2**62)
# Spikes kept between two visits of the recorder, beside those of the running tick.
LOG = 2**18


def start(job: Job, plan: Plan) -> State:
    """The state before the first tick."""
    populations, neurons = plan.populations, len(plan.v0)
    sizes = populations["end"] - populations["first"]
    d = plan.v0 - plan.threshold
    if np.abs(d).max(initial=0) <= POTENTIAL_MAX:
        d = d.astype(np.int32)
    rings = _rings(plan, sizes)
    keys, look = _first_keys(job, plan, d)
    heap = np.empty(neurons + len(plan.streams) + 4, np.int64)
    heap[: len(keys)] = keys  # ascending keys are a heap
    progress = np.zeros((), PROGRESS)
    progress["decision"] = progress["visiting"] = -1
    progress["end"], progress["heap"], progress["lowest"] = job.end, len(keys), _lowest(d.dtype)
    if plan.output >= 0:
        output = d[populations["first"][plan.output] : populations["end"][plan.output]]
        if output.min() < output.max():
            progress["decision"], progress["decision_tick"] = np.argmax(output), 1
    # Of all inputs of maxima.
    compared = sum(job.network.populations[p.source].size for p in job.network.projections if not p.table.weighted)
    spikes, in_rings = neurons + LOG, int(rings["size"].sum())
    return State(
        progress=progress,
        populations=_activity(plan, d),
        rings=rings,
        pending=np.zeros(2 * len(rings) + 1, PENDING),
        heap=heap,
        d=d,
        low=np.full(neurons if populations["signed"].any() else 0, progress["lowest"], d.dtype),
        net=np.zeros(neurons, np.int32),
        counts=np.zeros(compared, np.int32),
        last=np.repeat([job.last_spike(name) for name in job.order], sizes),
        look=look,
        log_tick=np.empty(spikes, np.int64),
        log_neuron=np.empty(spikes, np.int32),
        log_sign=np.empty(spikes, np.int8),
        ring_tick=np.empty(in_rings, np.int64),
        ring_neuron=np.empty(in_rings, np.int32),
        ring_sign=np.empty(in_rings, np.int8),
        candidates=np.empty(2 * int(sizes.max()), np.int32),
    )


def is_wide(state: State) -> bool:
    """Whether distances have 64 bits."""
    return bool(state.d.dtype == np.int64)


def widened(state: State) -> State:
    """The same with distances of 64 bits."""
    low = np.where(state.low == POTENTIAL_MIN, _NEVER, state.low.astype(np.int64))
    state.progress["lowest"] = _NEVER
    return state._replace(d=state.d.astype(np.int64), low=low)


def with_more_room(state: State, p: int) -> State:
    """The same with twice the room for the spikes on their way through projection p."""
    rings, before = state.rings.copy(), state.rings
    rings["size"][p] *= 2
    rings["start"] = np.cumsum(rings["size"]) - rings["size"]
    rings["head"][p] = 0
    arrays: dict[str, Any] = {}
    for name in ("ring_tick", "ring_neuron", "ring_sign"):
        old = getattr(state, name)
        new = arrays[name] = np.empty(int(rings["size"].sum()), old.dtype)
        for other, (was, now) in enumerate(zip(before, rings, strict=True)):
            places = old[was["start"] : was["start"] + was["size"]]
            # The spikes of this one move to the front.
            new[now["start"] : now["start"] + was["size"]] = np.roll(places, -was["head"]) if other == p else places
    return state._replace(rings=rings, **arrays)


def _lowest(dtype: Any) -> int:
    return POTENTIAL_MIN if dtype == np.int32 else _NEVER


def _activity(plan: Plan, d: IntArray) -> IntArray:
    largest = np.maximum(np.abs(d.astype(np.int64)), np.abs(plan.v0))
    out = np.zeros(len(plan.populations), ACTIVITY)
    out["bound"] = np.maximum.reduceat(np.maximum(largest, plan.threshold), plan.populations["first"])
    out["bound"] = np.maximum(out["bound"], plan.populations["after_reset"])
    return out


def _rings(plan: Plan, sizes: IntArray) -> IntArray:
    source = plan.projections["source"]
    in_ring = (plan.projections["delay"] > 0) & (plan.populations["role"][source] != Role.SOURCE)
    out = np.zeros(len(source), RING)
    out["event"] = plan.projections["first_event"]
    out["size"] = np.where(in_ring, 2 * sizes[source] + 1024, 0)
    out["start"] = np.cumsum(out["size"]) - out["size"]
    return out


def _first_keys(job: Job, plan: Plan, d: IntArray) -> tuple[IntArray, IntArray]:
    """What is in the heap before the first tick, in ascending order; and for each neuron the tick of its look there, or 0."""
    keys, look = [np.zeros(0, np.int64)], np.zeros(len(d), np.int64)
    output = plan.populations["first"][plan.output] if plan.output >= 0 else -1
    for role, first, end, entity, leak in plan.populations[["role", "first", "end", "first_entity", "leak"]].tolist():
        if role == Role.DRIVEN:
            ticks = _first_ticks(plan.current[first:end], plan.threshold[first:end] - plan.v0[first:end], job.resolution)
            due = np.flatnonzero(ticks <= job.end)
            keys.append((ticks[due] << plan.bits) | (entity + due))
        elif role == Role.READOUT and leak >= 0 and first == output and np.any(d[first:end]):
            look[first] = job.resolution + 1
            keys.append(np.array([(look[first] << plan.bits) | entity]))
        elif role == Role.SPIKING:
            due = np.flatnonzero(d[first:end] >= 0)
            look[first + due] = 1
            keys.append((1 << plan.bits) | (entity + due))
    with_events = plan.projections[plan.projections["first_event"] < plan.projections["end_event"]]
    ticks = plan.event_tick[with_events["first_event"]] + with_events["delay"]
    keys.append(((ticks << plan.bits) | with_events["stream"])[ticks <= job.end])
    return np.sort(np.concatenate(keys)), look


def _first_ticks(current: IntArray, need: IntArray, resolution: int) -> IntArray:
    """First ticks at which driven neurons are due that need so much of their current, at least 1; beyond all runs if they never are."""
    rising = current > 0
    ticks = np.where(rising, np.maximum(1, -(-need * resolution // np.where(rising, current, 1))), 1)
    return np.where(rising | (current // resolution >= need), ticks, -_NEVER)

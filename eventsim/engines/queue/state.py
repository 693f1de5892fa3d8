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
    rings = _rings(job, plan)
    keys, look = _first_keys(job, plan, d, rings)
    heap = np.empty(neurons + len(plan.streams) + 4, np.int64)
    heap[: len(keys)] = keys  # ascending keys are a heap
    progress = np.zeros((), PROGRESS)
    progress["decision"] = progress["visiting"] = -1
    progress["end"], progress["heap"], progress["lowest"] = job.end, len(keys), _lowest(d.dtype)
    if plan.output >= 0:
        output = d[populations["first"][plan.output] : populations["end"][plan.output]]
        if output.min() < output.max():
            progress["decision"], progress["decision_tick"] = np.argmax(output), 1
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
        last=np.full(neurons, _NEVER, np.int64),
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
    out = np.zeros(len(plan.populations), ACTIVITY)
    for row, population in zip(out, plan.populations, strict=True):
        neurons = slice(population["first"], population["end"])
        wide = d[neurons].astype(np.int64)
        row["bound"] = max(np.abs(wide).max(), np.abs(plan.v0[neurons]).max(), plan.threshold[neurons].max())
    return out


def _rings(job: Job, plan: Plan) -> IntArray:
    out = np.zeros(len(plan.projections), RING)
    for row, projection, described in zip(out, plan.projections, job.network.projections, strict=True):
        source = plan.populations[projection["source"]]
        if source["role"] == Role.SOURCE:
            row["event"] = projection["end_event"] - len(job.events[described.source][0])
        elif projection["delay"]:
            row["size"] = 2 * (source["end"] - source["first"]) + 1024
    out["start"] = np.cumsum(out["size"]) - out["size"]
    return out


def _first_keys(job: Job, plan: Plan, d: IntArray, rings: IntArray) -> tuple[IntArray, IntArray]:
    """What is in the heap before the first tick, in ascending order; and for each neuron the tick of its look there, or 0."""
    keys, look = [np.zeros(0, np.int64)], np.zeros(len(d), np.int64)
    for row in plan.populations:
        neurons = slice(row["first"], row["end"])
        entity = np.arange(row["first_entity"], row["end_entity"])
        if row["role"] == Role.DRIVEN:
            current, need = plan.current[neurons], plan.threshold[neurons].astype(np.int64) - plan.v0[neurons]
            rising = current > 0
            first = np.where(rising, np.maximum(1, -(-need * job.resolution // np.where(rising, current, 1))), 1)
            due = (rising | (current // job.resolution >= need)) & (first <= job.end)
            keys.append((first[due] << plan.bits) | entity[due])
        elif row["role"] == Role.SPIKING:
            due = d[neurons] >= 0
            look[neurons] = due
            keys.append((np.int64(1) << plan.bits) | entity[due])
    for row, ring in zip(plan.projections, rings, strict=True):
        if ring["event"] < row["end_event"]:
            first = plan.event_tick[ring["event"]] + row["delay"]
            if first <= job.end:
                keys.append(np.array([(first << plan.bits) | row["stream"]]))
    return np.sort(np.concatenate(keys)), look

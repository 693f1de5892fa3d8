"""The queue engine: the reference engine's algorithm, compiled. Any graph; see :mod:`eventsim.engines.queue.kernels`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from eventsim.engines.protocol import overflow, unknown_kind, unknown_table
from eventsim.engines.queue import kernels as k
from eventsim.job.job import OPERATIONS, Counts, Job, NoRecorder, Recorder, check_room
from eventsim.job.preparation import prepare
from eventsim.kernels.stencils import Tables, compile_tables
from eventsim.model.network import Network
from eventsim.model.populations import Driven, Readout, Source, Spiking
from eventsim.model.tables import Dense, IntArray

# Spikes kept between two visits of the recorder, beside those of the running tick.
_LOG = 2**18


def why_not(network: Network) -> str | None:
    """Why the engine cannot run a network, or None if it can."""
    kinds = ("driven", "spiking", "readout", "source")
    return unknown_kind("queue", network, kinds, "use engine 'auto'") or unknown_table("queue", network)


def too_much(job: Job) -> str | None:
    """Why ticks and neurons, and streams of delayed projections and sources, do not fit the 64-bit keys of the queue; None if they do."""
    network = job.network
    neurons = sum(int(np.prod(p.shape)) for p in network.populations.values())
    streams = sum(job.delay[p.name] > 0 or isinstance(network.populations[p.source], Source) for p in network.projections)
    bits = (neurons + streams).bit_length()
    if (job.end + 1) << bits <= 2**63:
        return None
    return (
        f"{job.steps} steps at resolution {job.resolution} for {neurons} neurons exceed the 64-bit keys of the queue engine; "
        f"it takes {(2**63 >> bits) - 1} ticks at most for this network"
    )


def compile_network(network: Network) -> Tables:
    """What the engine needs to know of a network."""
    return compile_tables(network)


def run(job: Job, compiled: Tables, recorder: Recorder, progress: Callable[[int], None] | None = None, threads: int = 1) -> Counts:
    """Run a job that is not :func:`too_much`.

    Parameters
    ----------
    job : Job
    compiled : Tables
        The job's network.
    recorder : Recorder
    progress : callable, optional
        Called now and then with the current tick.
    threads : int
        One is used.

    Raises
    ------
    PotentialOverflow
        A membrane potential would leave the range of int32.
    RunError
        More steps than the counts have room for.
    """
    plan = _plan(job)
    state, wide = _start(job, plan)
    tally = _tally(job, plan)
    scalars = state.scalars
    while True:
        status = k.advance(plan, compiled, state, tally, wide)
        if status == k.OVERFLOW:
            raise overflow(job, job.order[scalars[k.WHERE]], int(scalars[k.TICK]))
        if status == k.WIDEN:
            scalars[k.LOWEST] = k.NEVER
            low = np.where(state.low == k.INT32_MIN, k.NEVER, state.low.astype(np.int64))
            state, wide = state._replace(d=state.d.astype(np.int64), low=low), True
        elif status == k.GROW:
            state = _grow(state, plan, int(scalars[k.WHERE]))
        else:
            _record(job, plan, state, recorder)
            if progress is not None:
                progress(int(scalars[k.TICK]))
            if status == k.DONE:
                return _counts(job, plan, state, tally)


@cache
def warm_up() -> None:
    """Compile the kernels, or load them from the disk cache, by a run of two neurons."""
    network = Network()
    network.driven("input", 1, threshold=1)
    network.readout("output", 1)
    network.connect("input", "output", Dense(np.ones((1, 1), np.int8)))
    run(prepare(network, {"input": [1]}, steps=1), compile_tables(network), NoRecorder())


def _plan(job: Job) -> k.Plan:
    network, order = job.network, job.order
    rank = {name: q for q, name in enumerate(order)}
    populations = [network.populations[name] for name in order]
    sizes = np.array([int(np.prod(p.shape)) for p in populations], np.int64)
    first_neuron = np.concatenate(([0], np.cumsum(sizes)))
    projections = network.projections
    source = np.array([rank[p.source] for p in projections], np.int64)
    target = np.array([rank[p.target] for p in projections], np.int64)
    delay = np.array([job.delay[p.name] for p in projections], np.int64)
    from_source = np.array([isinstance(network.populations[p.source], Source) for p in projections], bool)
    streams = [p for p in range(len(projections)) if delay[p] or from_source[p]]
    streams.sort(key=lambda p: target[p])
    stream_index = np.searchsorted(target[streams] if streams else np.zeros(0, np.int64), np.arange(len(order) + 1))
    first_entity = first_neuron + stream_index
    first_neuron_entity = first_entity[:-1] + np.diff(stream_index)
    stream_entity = np.full(len(projections), -1, np.int64)
    for i, p in enumerate(streams):
        q = target[p]
        stream_entity[p] = first_entity[q] + i - stream_index[q]
    bits = int(first_entity[-1]).bit_length()
    incoming, incoming_start = _grouped([p for p in range(len(projections)) if not delay[p] and not from_source[p]], target, len(order))
    outgoing, outgoing_start = _grouped([p for p in range(len(projections)) if not from_source[p]], source, len(order))
    event_tick, event_neuron, event_end = [], [], np.zeros(len(projections), np.int64)
    ends, at = {}, 0
    for name, (tick, neuron) in job.events.items():
        event_tick.append(tick)
        event_neuron.append(neuron)
        at += len(tick)
        ends[name] = at
    for p, projection in enumerate(projections):
        if from_source[p]:
            event_end[p] = ends[projection.source]
    readout_sizes = np.where([isinstance(p, Readout) for p in populations], sizes, 0)
    exit_rule = job.exit_rule
    scalars = [
        job.resolution,
        bits,
        -1 if network.output is None else rank[network.output],
        0 if exit_rule is None else {"potential": 1, "margin": 2}[exit_rule.kind],
        0 if exit_rule is None else exit_rule.threshold,
        job.max_spikes,
    ]
    role = {Spiking: k.SPIKING, Driven: k.DRIVEN, Readout: k.READOUT, Source: k.SOURCE}
    threshold, v0, current = (np.zeros(first_neuron[-1], dtype) for dtype in (np.int32, np.int64, np.int64))
    for q, (name, population) in enumerate(zip(order, populations, strict=True)):
        here = slice(first_neuron[q], first_neuron[q + 1])
        copies = sizes[q] // population.shape[-1]
        if isinstance(population, (Driven, Spiking)):
            threshold[here] = np.tile(population.threshold, copies)
        if population.v0 is not None:
            v0[here] = np.tile(population.v0, copies)
        if isinstance(population, Driven):
            current[here] = job.currents[name]
    return k.Plan(
        scalars=np.array(scalars, np.int64),
        role=np.array([role[type(p)] for p in populations], np.int64),
        first_neuron=first_neuron,
        first_entity=first_entity,
        first_neuron_entity=first_neuron_entity,
        refractory=np.array([job.refractory.get(name, 1) for name in order], np.int64),
        signed=np.array([p.signed for p in populations], np.int64),
        zero_reset=np.array([isinstance(p, Spiking) and p.reset == "zero" for p in populations], np.int64),
        readout_column=np.concatenate(([0], np.cumsum(readout_sizes)[:-1])),
        incoming=incoming,
        incoming_start=incoming_start,
        outgoing=outgoing,
        outgoing_start=outgoing_start,
        source=source,
        target=target,
        delay=delay,
        stream_entity=stream_entity,
        stream_projection=np.array(streams, np.int64),
        stream_index=stream_index.astype(np.int64),
        threshold=threshold,
        current=current,
        v0=v0,
        event_tick=np.concatenate(event_tick) if event_tick else np.zeros(0, np.int64),
        event_neuron=np.concatenate(event_neuron) if event_neuron else np.zeros(0, np.int32),
        event_end=event_end,
    )


def _grouped(projections: list[int], population: IntArray, n: int) -> tuple[IntArray, IntArray]:
    """Projections ordered by their population, and where each population's begin."""
    ordered = np.array(sorted(projections, key=lambda p: population[p]), np.int64)
    return ordered, np.searchsorted(population[ordered], np.arange(n + 1)).astype(np.int64)


def _start(job: Job, plan: k.Plan) -> tuple[k.State, bool]:
    neurons = int(plan.first_neuron[-1])
    sizes = np.diff(plan.first_neuron)
    rank = {name: q for q, name in enumerate(job.order)}
    d = plan.v0 - plan.threshold
    wide = bool(np.abs(d).max(initial=0) > k.INT32_MAX)
    lowest = k.NEVER if wide else k.INT32_MIN
    scalars = np.zeros(k.SCALARS, np.int64)
    scalars[[k.DECISION, k.END, k.VISITING, k.LOWEST]] = -1, job.end, -1, lowest
    if job.network.output is not None:
        q = rank[job.network.output]
        start = d[plan.first_neuron[q] : plan.first_neuron[q + 1]]
        if start.min() < start.max():
            scalars[[k.DECISION, k.DECIDED_AT]] = np.argmax(start), 1
    bits = int(plan.scalars[1])
    keys = []
    look = np.zeros(neurons, np.int64)
    bound = np.zeros(len(sizes), np.int64)
    for q in range(len(job.order)):
        here = slice(plan.first_neuron[q], plan.first_neuron[q + 1])
        entity = np.arange(sizes[q], dtype=np.int64) + plan.first_neuron_entity[q]
        if plan.role[q] == k.DRIVEN:
            current, need = plan.current[here], plan.threshold[here].astype(np.int64) - plan.v0[here]
            rising = current > 0
            first = np.where(rising, np.maximum(1, -(-need * job.resolution // np.where(rising, current, 1))), 1)
            due = (rising | (current // job.resolution >= need)) & (first <= job.end)
            keys.append((first[due] << bits) | entity[due])
        elif plan.role[q] == k.SPIKING:
            due = d[here] >= 0
            look[here] = due
            keys.append((np.int64(1) << bits) | entity[due])
        bound[q] = max(np.abs(d[here]).max(), np.abs(plan.v0[here]).max(), plan.threshold[here].max())
    event_at = np.zeros(len(plan.delay), np.int64)
    fifo_size = np.zeros(len(plan.delay), np.int64)
    for p, projection in enumerate(job.network.projections):
        if projection.source in job.events:
            count = len(job.events[projection.source][0])
            event_at[p] = plan.event_end[p] - count
            if count and plan.event_tick[event_at[p]] + plan.delay[p] <= job.end:
                first = plan.event_tick[event_at[p]] + plan.delay[p]
                keys.append(np.array([(first << bits) | plan.stream_entity[p]]))
        elif plan.delay[p]:
            fifo_size[p] = 2 * sizes[plan.source[p]] + 1024
    ordered = np.sort(np.concatenate(keys)) if keys else np.zeros(0, np.int64)
    heap = np.empty(neurons + len(plan.stream_projection) + 4, np.int64)
    heap[: len(ordered)] = ordered  # ascending keys are a heap
    scalars[k.HEAP] = len(ordered)
    signed_neurons = np.repeat(plan.signed, sizes) != 0
    log, ring = neurons + _LOG, int(fifo_size.sum())
    return k.State(
        scalars=scalars,
        heap=heap,
        d=d if wide else d.astype(np.int32),
        last=np.full(neurons, k.NEVER, np.int64),
        look=look,
        net=np.zeros(neurons, np.int32),
        low=np.full(neurons if signed_neurons.any() else 0, lowest, np.int64 if wide else np.int32),
        bound=bound,
        log_tick=np.empty(log, np.int64),
        log_neuron=np.empty(log, np.int32),
        log_sign=np.empty(log, np.int8),
        fired_start=np.zeros(len(sizes), np.int64),
        fired_end=np.zeros(len(sizes), np.int64),
        fired_tick=np.zeros(len(sizes), np.int64),
        flagged=np.zeros(len(sizes), np.int64),
        event_at=event_at,
        fifo_tick=np.empty(ring, np.int64),
        fifo_neuron=np.empty(ring, np.int32),
        fifo_sign=np.empty(ring, np.int8),
        fifo_start=np.concatenate(([0], np.cumsum(fifo_size)))[:-1],
        fifo_size=fifo_size,
        fifo_head=np.zeros(len(plan.delay), np.int64),
        fifo_used=np.zeros(len(plan.delay), np.int64),
        pending=np.zeros((2 * len(plan.delay) + 1, 4), np.int64),
        candidates=np.empty(2 * int(sizes.max()), np.int32),
        first_tick=np.zeros(len(sizes), np.int64),
    ), wide


def _tally(job: Job, plan: k.Plan) -> k.Tally:
    populations, projections = len(plan.role), len(plan.delay)
    columns = int(np.diff(plan.first_neuron)[plan.role == k.READOUT].sum())
    check_room(job)
    return k.Tally(
        np.zeros((job.steps, populations), np.int64),
        np.zeros((job.steps, populations), np.int64),
        np.zeros((len(OPERATIONS), job.steps, projections), np.int64),
        np.zeros((job.steps, columns), np.int64),
    )


def _grow(state: k.State, plan: k.Plan, p: int) -> k.State:
    """Double one projection's ring, its spikes moved to the front."""
    size = state.fifo_size.copy()
    size[p] *= 2
    start = np.concatenate(([0], np.cumsum(size)))[:-1]
    head = state.fifo_head.copy()
    rings: dict[str, Any] = {}
    for name in ("fifo_tick", "fifo_neuron", "fifo_sign"):
        old = getattr(state, name)
        new = np.empty(int(size.sum()), old.dtype)
        for other in range(len(size)):
            n = state.fifo_size[other]
            ring = old[state.fifo_start[other] : state.fifo_start[other] + n]
            new[start[other] : start[other] + n] = np.roll(ring, -head[other]) if other == p else ring
        rings[name] = new
    head[p] = 0
    return state._replace(fifo_size=size, fifo_start=start, fifo_head=head, **rings)


def _record(job: Job, plan: k.Plan, state: k.State, recorder: Recorder) -> None:
    """Empty the log."""
    # Within a tick its spikes are still needed.
    n = int(state.scalars[k.LOGGED]) if state.scalars[k.VISITING] < 0 else 0
    neurons = state.log_neuron[:n]
    for q, name in enumerate(job.order):
        # Asked every time, and of all: the recorder may want to stop the run.
        if recorder.wants(name) and n and plan.role[q] in (k.SPIKING, k.DRIVEN):
            low, high = plan.first_neuron[q], plan.first_neuron[q + 1]
            here = np.flatnonzero((neurons >= low) & (neurons < high))
            if len(here):
                recorder.record(name, state.log_tick[here], neurons[here] - low, state.log_sign[here])
    if state.scalars[k.VISITING] < 0:
        state.scalars[k.FLUSHED] += n
        state.scalars[k.LOGGED] = 0


def _counts(job: Job, plan: k.Plan, state: k.State, tally: k.Tally) -> Counts:
    scalars = state.scalars
    end = int(scalars[k.END])
    # The last tick's step and those after it, in which nothing happened any more.
    k.end_steps(state, plan, tally, end + job.resolution)
    steps = -(-end // job.resolution)
    rank = {name: q for q, name in enumerate(job.order)}
    columns = [rank[name] for name in job.network.populations]
    readout = {}
    for name, population in job.network.populations.items():
        if isinstance(population, Readout):
            at = plan.readout_column[rank[name]]
            readout[name] = tally.readout[:steps, at : at + int(np.prod(population.shape))].copy()
    decided = scalars[k.DECISION] >= 0
    return Counts(
        end,
        bool(scalars[k.EXITED]),
        tally.spikes[:steps][:, columns],
        tally.negative[:steps][:, columns],
        state.first_tick[columns],
        **{name: tally.operations[i, :steps].copy() for i, name in enumerate(OPERATIONS)},
        readout=readout,
        decision=int(scalars[k.DECISION]) if decided else None,
        decision_tick=int(scalars[k.DECIDED_AT]) if decided else None,
        stopped="max_spikes" if scalars[k.STOPPED] else None,
        engine="queue",
    )

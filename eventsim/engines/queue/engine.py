"""The queue engine: the reference engine's algorithm, compiled. Any graph; see :mod:`eventsim.engines.queue.kernels.loop`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from eventsim.engines.protocol import RESETS, overflow, unknown_kind, unknown_table
from eventsim.engines.queue.kernels.loop import advance
from eventsim.engines.queue.plan import ROLES, bits_of, plan_for
from eventsim.engines.queue.records import Plan, Role, State, Status, Tally
from eventsim.engines.queue.state import is_wide, start, widened, with_more_room
from eventsim.engines.queue.tables import Tables, compile_tables
from eventsim.job.job import OPERATIONS, Counts, Job, NoRecorder, Recorder, check_room
from eventsim.job.preparation import prepare
from eventsim.kernels.compiled import entry
from eventsim.model.network import Network
from eventsim.model.tables import Dense

# What runs :func:`advance`, by whether distances are wide, and whether something leaks.
_code: dict[tuple[bool, bool], Any] = {}


def why_not(network: Network) -> str | None:
    """Why the engine cannot run a network, or None if it can."""
    return unknown_kind("queue", network, ROLES, (*RESETS, "value"), "use engine 'auto'") or unknown_table("queue", network)


def too_much(job: Job) -> str | None:
    """Why ticks and neurons, and streams of delayed projections and sources, do not fit the 64-bit keys of the queue; None if they do."""
    bits = bits_of(job)
    if (job.end + 1) << bits <= 2**63:
        return None
    neurons = sum(p.size for p in job.network.populations.values())
    return (
        f"{job.steps} steps at resolution {job.resolution} for {neurons} neurons exceed the 64-bit keys of the queue engine; "
        f"it takes {(2**63 >> bits) - 1} ticks at most for this network"
    )


def compile_network(network: Network) -> Tables:
    """What the engine needs to know of a network."""
    return compile_tables(network)


def warm_up(job: Job, compiled: Tables) -> None:
    """Compile the kernels, or load them from the disk cache: the same for all jobs in which something leaks, and for all others."""
    _warm_up(any(population.decays for population in job.network.populations.values()))


@cache
def _warm_up(leaks: bool) -> None:
    """By a run of two neurons."""
    network = Network()
    network.driven("input", 1, threshold=1)
    if leaks:
        network.leaky_readout("output", 1)
    else:
        network.readout("output", 1)
    network.connect("input", "output", Dense(np.ones((1, 1), np.int8)))
    run(prepare(network, {"input": [1]}, steps=1), compile_tables(network), NoRecorder())


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
    plan = plan_for(job)
    state, tally = start(job, plan), _tally(job, plan)
    while True:
        status = _advance(plan, compiled, state, tally, is_wide(state))
        tick, where = int(state.progress["tick"]), int(state.progress["where"])
        if status == Status.OVERFLOW:
            raise overflow(job, job.order[where], tick)
        if status == Status.WIDEN:
            state = widened(state)
        elif status == Status.GROW:
            state = with_more_room(state, where)
        else:
            _record(job, plan, state, recorder)
            if progress is not None:
                progress(tick)
            if status == Status.DONE:
                return _counts(job, plan, state, tally)


def _advance(*arguments: Any) -> Status:
    """Run compiled code on a plan and others, whose types depend on nothing but leaks and the width of distances, the last one."""
    kind = arguments[-1], arguments[0].leaks is not None
    if kind not in _code:
        _code[kind] = entry(advance, arguments)
    return Status(_code[kind](*arguments))


def _tally(job: Job, plan: Plan) -> Tally:
    check_room(job)
    populations, projections = len(plan.populations), len(plan.projections)
    columns = sum(p.size for p in job.network.populations.values() if p.reads_out)
    return Tally(
        np.zeros((job.steps, populations), np.int64),
        np.zeros((job.steps, populations), np.int64),
        np.zeros((len(OPERATIONS), job.steps, projections), np.int64),
        np.zeros((job.steps, columns), np.int64),
    )


def _record(job: Job, plan: Plan, state: State, recorder: Recorder) -> None:
    """Empty the log; but within a tick its spikes are still needed."""
    between_ticks = state.progress["visiting"] < 0
    n = int(state.progress["logged"]) if between_ticks else 0
    neurons = state.log_neuron[:n]
    for population, name in zip(plan.populations, job.order, strict=True):
        # Asked every time, and of all: the recorder may want to stop the run.
        if recorder.wants(name) and n and population["role"] in (Role.SPIKING, Role.DRIVEN, Role.MAXIMUM):
            places = np.flatnonzero((neurons >= population["first"]) & (neurons < population["end"]))
            if len(places):
                recorder.record(name, state.log_tick[places], neurons[places] - population["first"], state.log_sign[places])
    if between_ticks:
        state.progress["flushed"] += n
        state.progress["logged"] = 0


def _counts(job: Job, plan: Plan, state: State, tally: Tally) -> Counts:
    progress, network = state.progress, job.network
    end = int(progress["end"])
    steps = -(-end // job.resolution)
    columns = [job.order.index(name) for name in network.populations]
    readout = {}
    for name, row in zip(network.populations, plan.populations[columns], strict=True):
        if network.populations[name].reads_out:
            rows = tally.readout[:steps, row["readout"] : row["readout"] + network.populations[name].size].copy()
            # The last tick's step and those after it, in which nothing happened any more.
            last = state.d[row["first"] : row["end"]].astype(np.int64)
            rows[int(progress["step"]) :] = last
            if network.populations[name].decays:
                for later in range(int(progress["step"]) + 1, steps):
                    rows[later] = network.populations[name].decayed(rows[later - 1])
            readout[name] = rows
    decided = progress["decision"] >= 0
    return Counts(
        end,
        bool(progress["exited"]),
        tally.spikes[:steps][:, columns],
        tally.negative[:steps][:, columns],
        state.populations["first_tick"][columns],
        **{name: tally.operations[i, :steps].copy() for i, name in enumerate(OPERATIONS)},
        readout=readout,
        decision=int(progress["decision"]) if decided else None,
        decision_tick=int(progress["decision_tick"]) if decided else None,
        stopped="max_spikes" if progress["stopped"] else None,
        engine="queue",
    )

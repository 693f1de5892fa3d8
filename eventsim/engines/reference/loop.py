"""The reference engine: what a run means. Plain Python, one priority queue; every other engine must equal it.

Each entry of the queue is something that happens to one population at one tick: a spike arrives through a projection, or a
neuron is to be looked at. Entries are ordered by tick, then by the population's place in the topological order of the
zero-delay projections, so that within a tick a population is visited once, after all that can reach it in that tick. The
result does not depend on the order of entries that share both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from sortedcontainers import SortedList

from eventsim.engines.protocol import overflow
from eventsim.job.job import OPERATIONS, Counts, Job, Recorder
from eventsim.model.network import POTENTIAL_MAX, POTENTIAL_MIN, Driven, Network, Population, Projection, Readout, Source, Spiking

_NEVER = -(2**62)


class _State:
    """The neurons of one population."""

    def __init__(self, population: Population):
        size, channels = int(np.prod(population.shape)), population.shape[-1]
        self.v0 = [int(population.v0[i % channels]) for i in range(size)] if not isinstance(population, Source) else []
        self.v = list(self.v0)  # membrane potential
        self.threshold = [int(population.threshold[i % channels]) for i in range(size)] if isinstance(population, (Driven, Spiking)) else []
        self.net = [0] * size  # positive minus negative spikes so far
        self.last = [_NEVER] * size  # tick of the last spike


def why_not(network: Network) -> str | None:
    """None: it runs every network."""
    return None


def too_much(job: Job) -> str | None:
    """None: it runs every job, however long that takes."""
    return None


def compile_network(network: Network) -> None:
    """There is nothing to compile."""


def warm_up() -> None:
    """There is nothing to compile."""


def run(job: Job, compiled: None, recorder: Recorder, progress: Callable[[int], None] | None = None, threads: int = 1) -> Counts:
    """Run a job.

    Raises
    ------
    PotentialOverflow
        A membrane potential would leave the range of int32.
    """
    network, resolution = job.network, job.resolution
    rank = {name: i for i, name in enumerate(job.order)}
    state = {name: _State(p) for name, p in network.populations.items()}
    projections = {p.name: p for p in network.projections}
    outgoing: dict[str, list[Projection]] = {name: [] for name in network.populations}
    for projection in network.projections:
        outgoing[projection.source].append(projection)
    shape = {name: p.shape for name, p in network.populations.items()}
    synapses: dict[tuple[str, int], tuple[list[tuple[int, int]], list[int]]] = {}
    tally: dict[str, dict[tuple[int, str], int]] = defaultdict(lambda: defaultdict(int))  # kind -> (step, name) -> count
    first_tick: dict[str, int] = {}
    readout: dict[str, list[list[int]]] = {name: [] for name, p in network.populations.items() if isinstance(p, Readout)}
    queue = SortedList()  # (tick, rank of the population, what)

    def send(name: str, neuron: int, sign: int, tick: int) -> None:
        for projection in outgoing[name]:
            queue.add((tick + job.delay[projection.name], rank[projection.target], "arrive", neuron, sign, projection.name))

    def deliver(neuron: int, sign: int, projection: Projection, step: int) -> list[int]:
        pre, post = shape[projection.source], shape[projection.target]
        key = (projection.name, neuron)
        if key not in synapses:
            reached = list(projection.table.synapses_from(neuron, pre, post))
            costs = [len(reached), len({j for j, _ in reached}), sum(w != 0 for _, w in reached)]
            synapses[key] = reached, costs
        reached, (events, additions, effective) = synapses[key]
        v = state[projection.target].v
        for target, weight in reached:
            v[target] += sign * weight
        where = (step, projection.name)
        tally["deliveries"][where] += 1
        tally["synaptic_events"][where] += events
        tally["additions"][where] += additions
        tally["effective"][where] += effective
        tally["toolbox"][where] += int(toolbox[projection.name][neuron])
        return [target for target, _ in reached]

    def check_range(name: str, value: int, tick: int) -> None:
        if not POTENTIAL_MIN <= value <= POTENTIAL_MAX:
            raise overflow(job, name, tick)

    def schedule_driven(name: str, neuron: int, after: int) -> None:
        """Queue the first tick from ``after`` on at which a driven neuron is due, if there is one.

        Its potential is v0 + floor(I * t / R) - theta * spikes, in 64 bits: it may sink below int32 without any effect, or rise above it
        where a refractory period holds back its spikes; then it spikes as often as it may, whatever the potential is.
        """
        s, current = state[name], int(job.currents[name][neuron])
        need = s.threshold[neuron] * (s.net[neuron] + 1) - s.v0[neuron]  # due once floor(I * t / R) >= need
        due = after
        if current > 0:
            due = max(after, -(-need * resolution // current))  # ceil(need * R / I)
        elif current * after // resolution < need:
            return
        queue.add((due, rank[name], "look", neuron))

    def due(name: str, neuron: int) -> int:
        """Sign of the spike that a spiking neuron is due to emit, 0 if none."""
        s, population = state[name], network.populations[name]
        if s.v[neuron] >= s.threshold[neuron]:
            return 1
        return -1 if population.signed and s.v[neuron] < 0 and s.net[neuron] > 0 else 0

    toolbox = {p.name: p.table.toolbox_fan_out(shape[p.source], shape[p.target]) for p in network.projections}
    for name, population in network.populations.items():
        if isinstance(population, Source):
            for tick, neuron in zip(*job.events[name], strict=True):
                send(name, int(neuron), 1, int(tick))
        elif isinstance(population, Driven):
            for neuron in range(len(state[name].v0)):
                schedule_driven(name, neuron, 1)
        elif isinstance(population, Spiking):
            for neuron in range(len(state[name].v0)):
                if due(name, neuron):  # v0 may be at or above threshold
                    queue.add((1, rank[name], "look", neuron))

    output = network.output
    decision = decided_at = None
    if output is not None and min(state[output].v) < max(state[output].v):
        decision, decided_at = int(np.argmax(state[output].v)), 1
    end, exited, stopped, step, spikes = job.end, False, False, 0, 0
    while queue and queue[0][0] <= end:
        tick = queue[0][0]
        while (step + 1) * resolution < tick:  # steps that ended before this tick
            for name, rows in readout.items():
                rows.append(list(state[name].v))
            step += 1

        # 1. deliver: visit the next population of this tick
        read_out = False
        while queue and queue[0][0] == tick:
            name = job.order[queue[0][1]]
            population, s = network.populations[name], state[name]
            looked_at = set()
            while queue and queue[0][:2] == (tick, rank[name]):
                entry = queue.pop(0)
                if entry[2] == "look":
                    looked_at.add(entry[3])
                else:
                    looked_at.update(deliver(entry[3], entry[4], projections[entry[5]], step))
                    read_out |= name == output
            if not isinstance(population, Driven):
                for neuron in looked_at:
                    check_range(name, s.v[neuron], tick)

            # 2. fire
            fired = []
            for neuron in sorted(looked_at):
                if not isinstance(population, (Driven, Spiking)):
                    break
                if isinstance(population, Driven):
                    s.net[neuron] += 1
                    fired.append((neuron, 1))
                    send(name, neuron, 1, tick)
                    schedule_driven(name, neuron, tick + job.refractory[name])
                    continue
                sign = due(name, neuron)
                if not sign:
                    continue
                allowed = s.last[neuron] + job.refractory[name]
                if allowed > tick:
                    queue.add((allowed, rank[name], "look", neuron))
                    continue
                if population.reset == "zero":
                    s.v[neuron] = 0
                else:
                    s.v[neuron] -= sign * s.threshold[neuron]
                s.net[neuron] += sign
                s.last[neuron] = tick
                fired.append((neuron, sign))
                send(name, neuron, sign, tick)
                if due(name, neuron):
                    queue.add((tick + job.refractory[name], rank[name], "look", neuron))
            spikes += len(fired)
            if fired:
                first_tick.setdefault(name, tick)
                tally["spikes"][step, name] += len(fired)
                tally["negative_spikes"][step, name] += sum(sign < 0 for _, sign in fired)
                if recorder.wants(name):
                    neurons, signs = np.array(fired, np.int64).T
                    recorder.record(name, np.full(len(fired), tick), neurons, signs)

        # 3. decide: the tick is over. There is no decision before the first spike arrives at the readout, whether or not it has a synapse
        # there, unless the initial potentials differ.
        if output is not None and read_out:
            potentials = np.array(state[output].v, np.int64)
            if int(potentials.argmax()) != decision:
                decision, decided_at = int(potentials.argmax()), tick
            if job.exit_rule is not None and job.exit_rule.holds(potentials):
                end, exited = tick, True
        if spikes > job.max_spikes:
            end, stopped = tick, True

    steps = -(-end // resolution)
    for name, rows in readout.items():
        rows.extend(list(state[name].v) for _ in range(len(rows), steps))

    def table(kind: str, columns: list[str]) -> Any:
        out = np.zeros((steps, len(columns)), np.int64)
        for (at, name), count in tally[kind].items():
            out[at, columns.index(name)] = count
        return out

    populations = list(network.populations)
    return Counts(
        end,
        exited,
        table("spikes", populations),
        table("negative_spikes", populations),
        np.array([first_tick.get(name, 0) for name in populations], np.int64),
        **{kind: table(kind, list(projections)) for kind in OPERATIONS},
        readout={name: np.array(rows, np.int64) for name, rows in readout.items()},
        decision=decision,
        decision_tick=decided_at,
        stopped="max_spikes" if stopped else None,
        engine="reference",
    )

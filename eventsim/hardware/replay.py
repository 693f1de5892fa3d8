"""Replay: the dynamics are those of a run that is over; what they take on a chip is computed on top of it.

Without barriers spikes happen when the run has them, ``tick * step // R`` picoseconds after the start. Behind barriers a step lasts until
all that was sent in it is served, and populations follow one another as the stages of a pipeline (:mod:`eventsim.hardware.pipeline`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eventsim.errors import HardwareError
from eventsim.hardware.architecture import CrossbarCore, EventCore
from eventsim.hardware.energy import UNITS
from eventsim.hardware.kernels.replay import COSTS, SENDER, count_messages, gather, go_round, send, serve, sort_groups, stamp, travel
from eventsim.hardware.machine import Machine
from eventsim.hardware.pipeline import stages
from eventsim.hardware.placement import Messages, Placement, columns_of, messages_of
from eventsim.hardware.report import Report
from eventsim.hardware.times import scaled
from eventsim.model.periods import ticks
from eventsim.model.tables import IntArray
from eventsim.record.result import Run

# Groups of all cores and steps, and messages: what a replay keeps of them takes some 64 bytes each.
_MAX_GROUPS, _MAX_MESSAGES = 2**26, 2**28


@dataclass
class _Spikes:
    """Those of all populations: int64 arrays. ``step`` is the step of the chip, 0 for all without barriers."""

    sender: IntArray
    neuron: IntArray
    step: IntArray
    core: IntArray
    ready: IntArray

    @property
    def size(self) -> int:
        return len(self.sender)


class Replayer:
    """A placed network, for many replays.

    Parameters
    ----------
    placement : Placement
    """

    def __init__(self, placement: Placement):
        if placement.architecture.contended and placement.architecture.chip.synchronisation == "barrier":
            raise HardwareError(
                f"{placement.architecture.source}: behind barriers, links that hold messages (hold_ns) and room that ends "
                "(buffer, queue) are not replayed"
            )
        self.placement = placement
        self._messages: Messages = messages_of(placement)
        network = placement.network
        self._names = list(placement.blocks)
        self._number = {name: i for i, name in enumerate(self._names)}
        self._owner = {name: _owners(placement, name) for name in self._names}
        self._columns = columns_of(placement)
        sending = [
            [self._messages.projection[p.name] for p in network.projections if p.source == name and p.name in placement.reach]
            for name in self._names
        ]
        self._out = np.array([i for numbers in sending for i in numbers], np.int64)
        self._senders = np.zeros(len(self._names), SENDER)
        self._senders["end"] = np.cumsum([len(numbers) for numbers in sending])
        self._senders["first"] = self._senders["end"] - [len(numbers) for numbers in sending]
        self._senders["costly"] = [not network.populations[name].emits for name in self._names]
        self._costs = _costs(placement)
        self._machine: Machine | None = None
        self._barrier = placement.architecture.chip.synchronisation == "barrier"
        self._sites = {name: _site_begins(reach) for name, reach in placement.reach.items()} if self._barrier else {}

    def replay(self, run: Run) -> Report:
        """What a run of the network takes.

        Raises
        ------
        HardwareError
            Its spikes were not recorded, or it is too long.
        """
        for name in self._names:
            if self.placement.network.populations[name].sends_spikes and name not in run.recorded:
                raise HardwareError(f"the spikes of {name!r} were not recorded, and a replay needs them; run with record='all'")
        if self.placement.architecture.contended:
            if self._machine is None:
                self._machine = Machine(self.placement, self._messages, self._columns)
            return self._machine.replay(run)
        return _Replay(self, run).report()

    def owner(self, name: str) -> IntArray:
        """The core of each neuron of a population: int64 (neurons,)."""
        return self._owner[name]


class _Replay:
    """One replay."""

    def __init__(self, replayer: Replayer, run: Run):
        self.r, self.run, self.placement = replayer, run, replayer.placement
        self.chip, self.network = self.placement.architecture.chip, self.placement.network
        self.counts = dict.fromkeys((*UNITS, "message", "read", "dropped"), 0)
        resolution = run.info.resolution
        end = run.counts.end_tick
        self.model_steps = -(-end // resolution)
        self.delay = {p.name: ticks(p.delay, resolution) for p in self.network.projections}
        self.stage = stages(self.network, self.delay, resolution) if self.r._barrier else {}
        self.steps = self.model_steps + max(self.stage.values(), default=0) if self.r._barrier else 1
        if self.steps * self.chip.cores > _MAX_GROUPS:
            raise HardwareError(f"{self.steps:,} steps of {self.chip.cores:,} cores are too many for a replay; run fewer steps")
        self.rounds = np.zeros((self.steps, self.chip.cores), np.int64)

    def report(self) -> Report:
        spikes = self._spikes()
        messages, sending = self._send(spikes)
        of_spike, source, target, weights, sent = messages
        arrived = np.empty_like(sent)
        links, hops = np.zeros((self.chip.tiles, 4), np.int64), np.zeros(3, np.int64)
        travel(self.r._costs, source, target, sent, arrived, links, hops)
        group = spikes.step[of_spike] * self.chip.cores + target
        # Messages that arrive together are served as they were sent: by core, and one after the other.
        order = _in_order(group, self.steps * self.chip.cores, arrived)
        finished, waits = np.empty_like(sent), np.empty_like(sent)
        busy, reads = np.zeros(self.steps * self.chip.cores, np.int64), np.zeros(self.steps * self.chip.cores, np.int64)
        serve(self.r._costs, order, group, arrived, weights, finished, waits, busy, reads)
        self._count(spikes, weights, target, hops, reads)
        served = np.bincount(target, minlength=self.chip.cores)
        sending = (self.rounds + sending.reshape(self.steps, -1)) if self.r._barrier else sending.reshape(1, -1)
        step_times = self._step_times(spikes.step[of_spike], finished, sending)
        used = self.placement.cores
        per_core = np.stack([busy.reshape(self.steps, -1).sum(0), sending.sum(0)], 1)
        return Report(
            self.placement.architecture,
            "replay",
            self.placement.utilisation(),
            self._duration(finished, step_times),
            self._decision(spikes, of_spike, target, finished, step_times),
            self.counts,
            used,
            per_core[used],
            served[used],
            links,
            waits,
            step_times,
        )

    def _spikes(self) -> _Spikes:
        """All spikes, by group, and within it as the core takes them."""
        parts = []
        for name in self.r._names:
            if not self.network.populations[name].sends_spikes:
                if self.r._barrier:
                    self._rounds(name, np.zeros(0, np.int64), np.zeros(0, np.int64))
                continue
            spikes = self.run.spikes(name)
            tick, neuron = spikes.ticks.astype(np.int64, copy=False), spikes.neurons.astype(np.int64, copy=False)
            number, core = self.r._number[name], self.r.owner(name)
            if self.r._barrier:
                step = (tick - 1) // self.run.info.resolution
                if self.run.info.resolution > 1:
                    order = np.lexsort((neuron, step))
                    tick, neuron, step = tick[order], neuron[order], step[order]
                ready = self._rounds(name, step, neuron)
                step = step + self.stage[name]
            else:
                step = np.zeros(len(tick), np.int64)
                # Exact: T * step and ticks may reach 2**50 each.
                ready = scaled(tick, self.chip.step, self.run.info.resolution)
            parts.append((np.full(len(tick), number), neuron, step, core[neuron], ready))
        if not parts:
            return _Spikes(*(np.zeros(0, np.int64) for _ in range(5)))
        found = _Spikes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        # By group; within it as they are ready, then as listed: by population, and by tick or neuron.
        order = _in_order(found.step * self.chip.cores + found.core, self.steps * self.chip.cores, found.ready)
        return _Spikes(*(column[order] for column in vars(found).values()))

    def _rounds(self, name: str, step: IntArray, neuron: IntArray) -> IntArray:
        """Behind barriers, the rounds of a population's cores; returns when they come to each spike. ``step`` counts from 0, ascending."""
        population, stage = self.network.populations[name], self.stage[name]
        blocks = np.array([(b.first, b.end, b.cores[0]) for b in self.placement.blocks[name]], np.int64)
        ready = np.zeros(len(step), np.int64)
        costs = self.r._costs
        if population.emits:
            # Their spikes are given, and nothing is computed for them.
            return self._ready_at_once(blocks, step + stage, neuron)
        always = bool(population.input_kind == "currents") or any(
            self.network.populations[p.source].is_clock for p in self.network.projections if p.target == name
        )
        incoming = [] if always else self._arriving(name)
        mark = np.full(population.size, -1, np.int32)
        begins = np.searchsorted(step, np.arange(self.model_steps + 1)).tolist()
        for s in range(self.model_steps):
            for first, last, neurons, reach, begin, seen in incoming:
                stamp(first[s], last[s], neurons, reach.divisor, begin, reach.start, reach.stop, seen, mark, s)
            rounds = self.rounds[s + stage]
            updated = go_round(costs, blocks, mark, s, always, (begins[s], begins[s + 1]), neuron, ready, rounds)
            self.counts["neuron update"] += updated
        # In the steps before the first spikes can have come, and after the last, neurons are only looked at.
        idle = np.ones(self.steps, bool)
        idle[stage : stage + self.model_steps] = False
        lengths = np.bincount(blocks[:, 2], weights=blocks[:, 1] - blocks[:, 0], minlength=self.chip.cores).astype(np.int64)
        self.rounds[idle] += lengths * int(costs["access"])
        self.counts["neuron access"] += population.size * self.steps
        return ready

    def _ready_at_once(self, blocks: IntArray, step: IntArray, neuron: IntArray) -> IntArray:
        owner = blocks[np.searchsorted(blocks[:, 1], neuron, "right"), 2]
        return self.rounds[step, owner]

    def _arriving(self, name: str) -> list[tuple[Any, ...]]:
        """By projection that brings spikes: which of them arrive in each step, and what they reach."""
        found = []
        for projection, reach in self.placement.incoming(name):
            spikes = self.run.spikes(projection.source)
            arrival = (spikes.ticks.astype(np.int64) + self.delay[projection.name] - 1) // self.run.info.resolution
            bounds = np.searchsorted(arrival, np.arange(self.model_steps + 1)).tolist()
            seen = np.full(reach.sites, -1, np.int64)
            begin = self.r._sites[projection.name]
            found.append((bounds[:-1], bounds[1:], spikes.neurons.astype(np.int64), reach, begin, seen))
        return found

    def _send(self, spikes: _Spikes) -> tuple[tuple[IntArray, ...], IntArray]:
        """The messages (spike, source and target core, synapses, when sent), and how long cores sent, by group."""
        m = self.r._messages
        lines = (self.r._out, m.divisor, m.offset, m.begin)
        n = count_messages(spikes.sender, spikes.neuron, self.r._senders, *lines)
        if n > _MAX_MESSAGES:
            raise HardwareError(f"{n:,} messages are too many for a replay, the limit is {_MAX_MESSAGES:,}; run fewer steps")
        messages = tuple(np.empty(n, np.int64) for _ in range(5))
        busy = np.zeros(self.steps * self.chip.cores, np.int64)
        group = spikes.step * self.chip.cores + spikes.core
        these = (spikes.sender, spikes.neuron, group, spikes.ready)
        send(self.r._costs, these, self.r._senders, (*lines, m.core, m.synapses), messages, busy)
        self.counts["message"] = self.counts["message out"] = n
        return messages, busy

    def _count(self, spikes: _Spikes, weights: IntArray, target: IntArray, hops: IntArray, reads: IntArray) -> None:
        made = int(self.r._senders["costly"][spikes.sender].sum())
        self.counts["spike"] = made
        if not self.r._barrier:
            self.counts["neuron update"] = made
        self.counts["east-west hop"], self.counts["north-south hop"], self.counts["within a tile"] = hops.tolist()
        core = self.placement.architecture.core
        if isinstance(core, EventCore):
            self.counts["message in"], self.counts["synapse"] = len(weights), int(weights.sum())
        elif isinstance(core, CrossbarCore):
            self.counts["row"], self.counts["read"] = len(weights), int(reads.sum())
            self.counts["cell"] = int(self.r._columns[target].sum())
            self.counts["conversion"] = int(reads.reshape(self.steps, -1).sum(0) @ self.r._columns)

    def _step_times(self, step: IntArray, finished: IntArray, sending: IntArray) -> IntArray:
        if not self.r._barrier:
            return np.full(self.model_steps, self.chip.step, np.int64)
        times = sending.max(1)
        np.maximum.at(times, step, finished)
        return np.maximum(times, self.chip.step) + self.chip.barrier_time(len(self.placement.tiles))

    def _duration(self, finished: IntArray, step_times: IntArray) -> int:
        if self.r._barrier:
            return int(step_times.sum())
        end = self.run.counts.end_tick * self.chip.step // self.run.info.resolution
        return max(end, int(finished.max(initial=0)))

    def _decision(self, spikes: _Spikes, of_spike: IntArray, target: IntArray, finished: IntArray, step_times: IntArray) -> int | None:
        tick, output = self.run.counts.decision_tick, self.network.output
        if tick is None or output is None:
            return None
        if self.r._barrier:
            step = (tick - 1) // self.run.info.resolution + self.stage[output]
            return int(step_times[: step + 1].sum())
        cores = np.zeros(self.chip.cores, bool)
        cores[[core for block in self.placement.blocks[output] for core in block.cores]] = True
        # What had a part in the decision has been served.
        decided = tick * self.chip.step // self.run.info.resolution
        part = cores[target] & (spikes.ready[of_spike] <= decided)
        return max(decided, int(finished[part].max(initial=0)))


def _costs(placement: Placement) -> IntArray:
    architecture = placement.architecture
    chip, links, core = architecture.chip, architecture.links, architecture.core
    costs = np.zeros((), COSTS)
    costs["mesh"], costs["per_tile"], costs["cores"] = chip.columns, chip.cores_per_tile, chip.cores
    costs["barrier"], costs["together"] = chip.synchronisation == "barrier", core.served_together
    costs["east_west"], costs["north_south"], costs["within"] = links.east_west.time, links.north_south.time, links.within_tile.time
    for name in ("access", "update", "spike", "message_out"):
        costs[name] = getattr(core, name).time
    if isinstance(core, EventCore):
        costs["message_in"], costs["synapse"] = core.message_in.time, core.synapse.time
    elif isinstance(core, CrossbarCore):
        costs["reading"] = core.reading
    return costs


def _owners(placement: Placement, name: str) -> IntArray:
    blocks = placement.blocks[name]
    return np.repeat(np.array([b.cores[0] for b in blocks], np.int64), [b.end - b.first for b in blocks])


def _site_begins(reach: Any) -> IntArray:
    return np.searchsorted(reach.site, np.arange(reach.sites + 1))


def _in_order(group: IntArray, groups: int, key: IntArray) -> IntArray:
    """Indices by group, then by key; equal ones in the order in which they stand."""
    begins, order = np.zeros(groups + 1, np.int64), np.empty(len(group), np.int64)
    gather(group, begins, order)
    sort_groups(begins, key, order, np.empty(len(group), np.int64))
    return order

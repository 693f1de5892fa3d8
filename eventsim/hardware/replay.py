"""Replay: the dynamics are those of a run that is over; what they take on a chip is computed on top of it.

Without barriers spikes happen when the run has them, ``tick * step // R`` picoseconds after the start. Behind barriers a step lasts until
all that was sent in it is served, and populations follow one another as the stages of a pipeline (:mod:`eventsim.hardware.pipeline`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from eventsim.errors import HardwareError
from eventsim.hardware.architecture import CrossbarCore, EventCore
from eventsim.hardware.energy import UNITS
from eventsim.hardware.kernels.replay import (
    Arrivals,
    Spikes,
    count_messages,
    divide,
    replay_freely,
    replay_steps,
    spread,
    walk,
)
from eventsim.hardware.kernels.waiting import TOTALS, Found, Room, room_for
from eventsim.hardware.machine import Machine
from eventsim.hardware.pipeline import stages
from eventsim.hardware.placement import Placement, columns_of, messages_of
from eventsim.hardware.report import Report
from eventsim.hardware.tables import packed, tables_of
from eventsim.hardware.times import check_length, scaled, too_late
from eventsim.model.periods import ticks
from eventsim.model.tables import IntArray
from eventsim.record.result import Run

# Groups of all cores and steps, and messages: what a replay keeps of them takes some 24 bytes each.
_MAX_GROUPS, _MAX_MESSAGES = 2**26, 2**28


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
        self.names = list(placement.blocks)
        network = placement.network
        self.sending = [network.populations[name].sends_spikes for name in self.names]
        self.barrier = placement.architecture.chip.synchronisation == "barrier"
        self._messages = messages_of(placement)
        self.columns = columns_of(placement)
        self.tables = tables_of(placement, self._messages)
        # The projections of Tables.into.
        self.into = [
            p.name
            for name, row in zip(self.names, self.tables.populations, strict=True)
            if row["units"]
            for p, _ in placement.incoming(name)
        ]
        self.cores = placement.cores
        self.barrier_time = placement.architecture.chip.barrier_time(len(placement.tiles))
        self.utilisation = placement.utilisation()
        output = [] if network.output is None else placement.blocks[network.output]
        self.output = np.isin(self.tables.cores, [core for block in output for core in block.cores]).astype(np.uint8)
        self._machine: Machine | None = None

    def replay(self, run: Run) -> Report:
        """What a run of the network takes.

        Raises
        ------
        HardwareError
            Its spikes were not recorded, or it is too long.
        """
        recorded = set(run.recorded)
        for name, sends in zip(self.names, self.sending, strict=True):
            if sends and name not in recorded:
                raise HardwareError(f"the spikes of {name!r} were not recorded, and a replay needs them; run with record='all'")
        if self.placement.architecture.contended:
            if self._machine is None:
                self._machine = Machine(self.placement, self._messages, self.columns)
            return self._machine.replay(run)
        return (_Stepwise if self.barrier else _Free)(self, run).report()


class _Replay(ABC):
    """One replay."""

    def __init__(self, replayer: Replayer, run: Run):
        self.r, self.run, self.placement = replayer, run, replayer.placement
        self.tables, self.chip, self.network = replayer.tables, self.placement.architecture.chip, self.placement.network
        self.resolution = run.info.resolution
        self.model_steps = -(-run.counts.end_tick // self.resolution)
        check_length(self.model_steps, self.chip.step)
        self.steps = 1
        nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
        found = [run.spikes(name)[:2] if sends else nothing for name, sends in zip(replayer.names, replayer.sending, strict=True)]
        self.ticks = [each[0] for each in found]
        self.neuron = np.concatenate([each[1] for each in found], dtype=np.int64)
        # Of all populations: where their spikes begin.
        self.bounds = np.cumsum([0, *(len(tick) for tick in self.ticks)])

    def _check(self) -> None:
        if self.steps * len(self.tables.cores) > _MAX_GROUPS:
            raise HardwareError(f"{self.steps:,} steps of {len(self.tables.cores):,} cores are too many for a replay; run fewer steps")

    def _counted(self, spikes: Spikes) -> tuple[IntArray, Room, Found]:
        """The messages by group, and room for them and for what is found."""
        counts = np.zeros((self.steps, len(self.tables.cores)), np.int64)
        sent = np.zeros(len(self.tables.begin) - 1, np.int64)
        count_messages(self.tables, spikes, counts, sent)
        by_step = counts.sum(1)
        n, most, cores = int(by_step.sum()), int(by_step.max(initial=0)), counts.shape[1]
        if n > _MAX_MESSAGES:
            raise HardwareError(f"{n:,} messages are too many for a replay, the limit is {_MAX_MESSAGES:,}; run fewer steps")
        room = room_for(cores, most)
        found = Found(
            totals=np.zeros((), TOTALS),
            waits=np.empty(n, np.int64),
            busy=np.zeros((cores, 2), np.int64),
            served=np.zeros(cores, np.int64),
            reads=np.zeros(cores, np.int64),
            sent=sent,
            steps=np.zeros(self.steps, np.int64),
        )
        return counts, room, found

    @abstractmethod
    def _found(self) -> Found:
        """What compiled code finds."""

    @abstractmethod
    def _step_times(self, found: Found) -> IntArray:
        """Picoseconds of every step."""

    @abstractmethod
    def _duration(self, found: Found, step_times: IntArray) -> int:
        """Picoseconds."""

    @abstractmethod
    def _decision(self, found: Found, step_times: IntArray) -> int:
        """When the decision stands, in picoseconds."""

    def report(self) -> Report:
        """What it takes."""
        found = self._found()
        if found.totals["end"] < 0:
            raise too_late(self.placement, int(self.tables.costs["latest"]))
        links, counts = np.zeros((self.chip.tiles, 4), np.int64), np.zeros(4, np.int64)
        walk(self.tables, found.sent, np.zeros(len(self.tables.pairs), np.int64), links, counts)
        step_times = self._step_times(found)
        return Report(
            self.placement.architecture,
            "replay",
            self.r.utilisation,
            self._duration(found, step_times),
            None if self.run.counts.decision_tick is None or self.network.output is None else self._decision(found, step_times),
            self._counts(found, *counts.tolist()),
            list(self.r.cores),
            found.busy,
            found.served,
            links,
            found.waits,
            step_times,
        )

    def _counts(self, found: Found, across: int, down: int, within: int, synapses: int) -> dict[str, int]:
        counts = dict.fromkeys((*UNITS, "message", "read", "dropped"), 0)
        given = self.tables.populations["given"].tolist()
        counts["spike"] = sum(len(tick) for tick, each in zip(self.ticks, given, strict=True) if not each)
        counts["neuron update"] = int(found.totals["updates"])
        if self.r.barrier:
            sizes = (self.network.populations[name].size for name, each in zip(self.r.names, given, strict=True) if not each)
            counts["neuron access"] = sum(sizes) * self.steps
        messages = counts["message"] = counts["message out"] = int(found.totals["messages"])
        counts["east-west hop"], counts["north-south hop"], counts["within a tile"] = across, down, within
        core = self.placement.architecture.core
        if isinstance(core, EventCore):
            counts["message in"], counts["synapse"] = messages, synapses
        elif isinstance(core, CrossbarCore):
            columns = self.r.columns[self.tables.cores]
            counts["row"], counts["read"] = messages, int(found.reads.sum())
            counts["cell"], counts["conversion"] = int(found.served @ columns), int(found.reads @ columns)
        return counts


class _Free(_Replay):
    """On a chip without barriers."""

    def _found(self) -> Found:
        self._check()
        time = scaled(np.concatenate(self.ticks, dtype=np.int64), self.chip.step, self.resolution)
        blocks = len(self.tables.blocks)
        by_block, ready = np.empty_like(self.neuron), np.empty_like(self.neuron)
        first, last = np.zeros((1, blocks), np.int64), np.zeros((1, blocks), np.int64)
        spread(self.tables, self.bounds, self.neuron, time, by_block, ready, first, last)
        tick = self.run.counts.decision_tick
        self.decided = -1 if tick is None else self._picoseconds(tick)
        spikes = Spikes(by_block, ready, first, last, np.zeros(len(self.r.names), np.int64), self.decided)
        counts, room, found = self._counted(spikes)
        replay_freely(self.tables, spikes, counts, first[0].copy(), self.r.output, room, found)
        return found

    def _picoseconds(self, tick: int) -> int:
        return tick * self.chip.step // self.resolution

    def _step_times(self, found: Found) -> IntArray:
        return np.full(self.model_steps, self.chip.step, np.int64)

    def _duration(self, found: Found, step_times: IntArray) -> int:
        return max(self._picoseconds(self.run.counts.end_tick), int(found.totals["end"]))

    def _decision(self, found: Found, step_times: IntArray) -> int:
        # What had a part in the decision has been served.
        return max(self.decided, int(found.totals["deciding"]))


class _Stepwise(_Replay):
    """On a chip whose cores wait for each other at the end of every step."""

    def __init__(self, replayer: Replayer, run: Run):
        super().__init__(replayer, run)
        self.delay = {p.name: ticks(p.delay, self.resolution) for p in self.network.projections}
        self.stage = stages(self.network, self.delay, self.resolution)
        self.steps = self.model_steps + max(self.stage.values(), default=0)
        self._check()

    def _found(self) -> Found:
        limits = self._limits()
        neuron, bounds = self._by_step(limits)
        shape = self.model_steps, len(self.tables.blocks)
        first, last = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        divide(self.tables, bounds, neuron, first, last)
        stage = np.array([self.stage[name] for name in self.r.names], np.int64)
        spikes = Spikes(neuron, neuron, first, last, stage, -1)
        counts, room, found = self._counted(spikes)
        replay_steps(self.tables, spikes, self._arrivals(limits), counts, self.r.output, room, found)
        return found

    def _limits(self) -> IntArray:
        """Where the spikes of each population in a step begin: int64 (steps + 1, populations), of which the last row is where they end."""
        ends = [np.searchsorted(tick, self._step_ends[1:-1], "right") for tick in self.ticks]
        inner = np.array(ends, np.int64).T.reshape(-1, len(self.ticks)) + self.bounds[:-1]
        return np.concatenate([self.bounds[None, :-1], inner, self.bounds[None, 1:]])

    def _by_step(self, limits: IntArray) -> tuple[IntArray, IntArray]:
        """Neurons, those of a population in a step ascending, and where these begin and end: int64 (2, steps, populations)."""
        bounds = np.stack([limits[:-1], limits[1:]])
        if self.resolution == 1:
            return self.neuron, bounds
        # By population, step and neuron: one sort of all.
        group = np.repeat(np.arange(bounds[0].size), np.diff(limits, axis=0).T.ravel())
        most = int(self.tables.populations["first"][-1]) + self.placement.network.populations[self.r.names[-1]].size
        return np.sort(group * most + self.neuron) - group * most, bounds

    @cached_property
    def _step_ends(self) -> IntArray:
        """The last tick of every step, and 0 before them."""
        return np.arange(self.model_steps + 1) * self.resolution

    def _arrivals(self, limits: IntArray) -> Arrivals:
        """Which spikes come to each projection in each step."""
        sources = self.tables.into["source"].tolist()
        bounds = np.ascontiguousarray(limits[:, sources].T)
        for j, (source, name) in enumerate(zip(sources, self.r.into, strict=True)):
            if self.delay[name]:
                late = self._step_ends - self.delay[name]
                bounds[j] = self.bounds[source] + np.searchsorted(self.ticks[source], late, "right")
        seen = np.full(len(self.tables.site_begin), -1, np.int64)
        words = len(self.tables.biased)
        return Arrivals(self.neuron, bounds, seen, np.empty(words, np.uint64), np.empty(words, np.int64), self._active())

    def _active(self) -> IntArray:
        """Whose potential is not 0 as a step begins, where that matters."""
        words = len(self.tables.biased)
        if self.placement.architecture.core.update_when != "potential":
            return np.zeros((0, words), np.uint64)
        if self.model_steps * words * 64 > _MAX_MESSAGES:
            raise HardwareError(
                f"{self.model_steps:,} steps of {words * 64:,} neurons are too many for update_when = 'potential'; run fewer steps"
            )
        active = np.zeros((self.model_steps, words), np.uint64)
        for name, row in zip(self.r.names, self.tables.populations, strict=True):
            population = self.network.populations[name]
            if not row["units"] or population.v0 is None:
                continue
            if name not in self.run.potentials_recorded:
                raise HardwareError(
                    f"the potentials of {name!r} were not recorded, and update_when = 'potential' needs them; run with potentials='all'"
                )
            these = active[:, row["mark"] : row["mark"] + row["units"] // 64 + 1]
            these[0] = packed(population.initial_potentials() != 0)
            # Recorded potentials are those before the leak, which comes before the next step begins.
            left = [population.decayed(row) for row in self.run.potentials(name)[: self.model_steps - 1]]
            these[1:] = packed(np.array(left, np.int64).reshape(-1, population.size) != 0)
        return active

    def _step_times(self, found: Found) -> IntArray:
        return np.maximum(found.steps, self.chip.step) + self.r.barrier_time

    def _duration(self, found: Found, step_times: IntArray) -> int:
        return int(step_times.sum())

    def _decision(self, found: Found, step_times: IntArray) -> int:
        tick, output = self.run.counts.decision_tick, self.network.output
        assert tick is not None
        assert output is not None
        return int(step_times[: (tick - 1) // self.resolution + self.stage[output] + 1].sum())

"""Tick by tick: the way that runs every population, and takes over where no other one fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eventsim.engines.layered.calls import Calls
from eventsim.engines.layered.limits import Overflow
from eventsim.engines.layered.tables import Layout
from eventsim.engines.layered.trains import Train
from eventsim.engines.layered.ways import gathering
from eventsim.engines.layered.ways.records import Scratch, Status
from eventsim.engines.layered.ways.tick_kernels import neurons, readout
from eventsim.engines.layered.ways.tick_kernels.few import FEW
from eventsim.engines.layered.ways.tick_kernels.gather import MOST_ROWS
from eventsim.engines.layered.ways.way import SPARSE, TrainWay
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.simd import LANES

if TYPE_CHECKING:
    from eventsim.engines.layered.populations.layer import Layer


class Ticks(TrainWay):
    """See :mod:`eventsim.engines.layered.ways.tick_kernels`; ticks with many spikes: :mod:`eventsim.engines.layered.ways.gathering`."""

    def __init__(self, population: Layer, job: Job, layout: Layout):
        self.population, self._call = population, Calls()
        layer, self._locations, self._source = gathering.Gathered(layout.layer, 1, 1)
        if job.resolution < SPARSE:
            layer, self._locations, self._source = layout.made(gathering.gathered)
        self.layer = layer._replace(constants=population.constants)

    @classmethod
    def why_not(cls, layout: Layout, job: Job, name: str) -> str | None:
        """It can."""
        return None

    @classmethod
    def room(cls, ways: Sequence[Ticks], repeats: int) -> Scratch:
        """Room to work in for any of these."""
        largest = max(way.layer.constants.size for way in ways)
        # A source of events may repeat a neuron in a tick; all others fire at most once.
        split = max(repeats, *(way._source for way in ways))
        candidates = np.empty(2 * largest + LANES, np.int32)
        if all(way.layer.gathers is None for way in ways):
            return Scratch(candidates, None, None, np.empty(FEW, np.int64), None)
        return Scratch(
            candidates,
            np.empty(max(way._locations for way in ways) + 2, np.int64),
            np.empty(split + LANES, np.int32),
            np.empty(split + max(FEW, 8), np.int64),
            np.empty(MOST_ROWS + 8, np.int64),
        )

    def begin(self, job: Job) -> None:
        """Who is due at the first tick enters the ring; or everybody, to leave it at the onset."""
        state, due = self.population.state, self.population.start.due
        if len(due):
            state.ring_tick[: len(due)], state.ring_lane[: len(due)] = self.population.onset, due

    def enter(self, since: int) -> None:
        """Who is still due enters the ring; those with a refractory period are in it, and are parked."""
        if not self.population.spiking:
            return
        if self.population.constants.refractory > 1:
            self.population.park()
            return
        state, s = self.population.state, self.population.state.progress
        due = state.d >= 0
        if self.population.signed:
            state.low[:] = np.where(state.net > 0, -np.resize(state.theta, state.d.size), s["lowest"])
            due |= state.d < state.low
        lanes = np.flatnonzero(due)
        state.ring_tick[: len(lanes)], state.ring_lane[: len(lanes)] = since + 1, lanes
        s["head"], s["waiting"] = 0, len(lanes)

    def advance(self, train: Train, until: int, scratch: Workspace) -> int:
        """Run up to the end of a tick, or an exit before."""
        population, room = self.population, scratch.rooms[Ticks]
        while True:
            state, tally = population.state, population.tally
            if population.spiking:
                status = self._call(neurons.advance, population.kind, self.layer, state, room, train, population.out, tally, until)
            else:
                status = self._call(readout.advance, population.kind, self.layer, state, room, train, tally, until)
            if status == Status.DONE:
                return until
            if status == Status.OVERFLOW:
                raise Overflow
            if status == Status.WIDEN:
                population.widen()
            else:
                population.more_out(scratch.most)

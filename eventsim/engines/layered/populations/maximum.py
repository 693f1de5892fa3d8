"""A maximum population in a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.engines.layered.populations.population import Population, Tallies
from eventsim.engines.layered.trains import Spikes
from eventsim.engines.layered.ways.maximum import MaximumLayout
from eventsim.engines.layered.ways.maximum_kernels import Counted, State
from eventsim.engines.layered.ways.registry import MAXIMUM_WAYS
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.simd import LANES
from eventsim.kernels.windows import maxima_of, windows_of
from eventsim.model.network import Network
from eventsim.model.populations import Maximum as Model
from eventsim.model.tables import spatial


class Maximum(Population):
    """Neurons that follow the maxima of others' net counts: the first way that can run a window does so.

    Attributes
    ----------
    state : State
    counted : Counted
    """

    fires = True

    def __init__(self, job: Job, name: str, layout: MaximumLayout, tallies: Tallies):
        super().__init__(job, name, layout, tallies)
        size = self.lanes = layout.population.size
        counts, net = np.zeros(layout.source_size + LANES, np.int32), np.zeros(size + LANES, np.int32)
        self.state = State(
            counts, net, np.empty(size, np.int32), np.empty(layout.cells * LANES, np.int32), np.empty(layout.cells, np.int64)
        )
        self.counted = Counted(tallies.spikes[0], tallies.spikes[1], tallies.operations[layout.number])
        self.ways = [kind(self, job, layout) for kind in MAXIMUM_WAYS if kind.why_not(layout, job, name) is None]
        self._first_tick = 0

    @staticmethod
    def compiled(network: Network, name: str) -> MaximumLayout:
        """What does not change from run to run."""
        population = network.populations[name]
        assert isinstance(population, Model)
        number, projection = next((i, p) for i, p in enumerate(network.projections) if p.target == name)
        maxima = maxima_of([windows_of(projection, network)])
        source = network.populations[projection.source]
        fan_out = int(projection.table.fan_out(source.shape, population.shape).max())
        height, width, _ = spatial(source.shape)
        rows, columns = windows_of(projection, network)[0].kernel
        cells = min(height, rows) * min(width, columns)
        return MaximumLayout(population, projection, number, maxima, source.size, cells, 1 + fan_out * cells)

    @property
    def first_tick(self) -> int:
        """The tick of its first spike so far, 0 if there was none."""
        return self._first_tick

    def spikes_at(self, tick: int) -> None:
        """Note the tick of the first spike of a window."""
        self._first_tick = self._first_tick or tick

    def begin(self, job: Job) -> None:
        """Go to the start of a run: with the first window, since the thread that runs it has the counts in its cache then."""
        self._first_tick = 0

    def run(self, window: Window, scratch: Workspace) -> Spikes:
        """Run the next window."""
        if not window.since:
            self.state.counts.fill(0)
            self.state.net.fill(0)
        way = next(way for way in self.ways if way.takes(window))
        spikes: Spikes = way.run(window, scratch)
        return spikes

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        return self.state.counts.copy(), self.state.net.copy(), self._first_tick

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.state.counts[:], self.state.net[:], self._first_tick = snapshot

"""A driven population in a run."""

from __future__ import annotations

from typing import Any

from eventsim.engines.layered.calls import Calls
from eventsim.engines.layered.populations.population import Independent, Tallies
from eventsim.engines.layered.trains import Spikes
from eventsim.engines.layered.ways import driven_kernels
from eventsim.engines.layered.ways.driven_tables import DrivenLayout
from eventsim.engines.layered.ways.registry import DRIVEN_WAYS
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.model.network import Network
from eventsim.model.populations import Driven as Model


class Driven(Independent):
    """Driven neurons: the first way that can run them with the currents of a run does so to its end."""

    fires = True

    def __init__(self, job: Job, name: str, layout: DrivenLayout, tallies: Tallies):
        super().__init__(job, name, layout, tallies)
        self.layout, self.resolution, self.refractory, self.end = layout, job.resolution, job.refractory[name], job.end
        self.spikes = tallies.spikes[0]
        self.lanes = layout.locations * layout.padded
        self.ways = [kind(self, job, layout) for kind in DRIVEN_WAYS]
        self._call = Calls()

    @staticmethod
    def compiled(network: Network, name: str) -> DrivenLayout:
        """What does not change from run to run."""
        population = network.populations[name]
        assert isinstance(population, Model)
        return DrivenLayout(population)

    def begin(self, job: Job) -> None:
        """Go to the start of a run."""
        self._first_tick, self._per_tick = 0, -1.0
        self.current = job.currents[self.name]
        self.way = next(way for way in self.ways if way.why_not(self.layout, job, self.name) is None)
        self.way.begin(job)

    def run(self, window: Window, scratch: Workspace) -> Spikes:
        """The spikes of a window, sorted."""
        spikes: Spikes = self.way.run(window, scratch)
        return spikes

    @property
    def first_tick(self) -> int:
        """The tick of its first spike so far, 0 if there was none."""
        return self._first_tick

    def spikes_at(self, tick: int) -> None:
        """Note the tick of the first spike of a window."""
        self._first_tick = self._first_tick or tick

    def per_tick(self) -> float:
        """About how many spikes a tick to expect."""
        if self._per_tick < 0:
            # Some thousand neurons tell; an odd step, so that they are not all of the same columns.
            every, most = self.layout.size >> 13 | 1, self.resolution / self.refractory
            per_step = self._call(driven_kernels.expect, "", self.layout.inverse, self.current, most, every)
            self._per_tick = float(per_step) / self.resolution
        return self._per_tick

    def expected(self) -> float:
        """About how many spikes it makes in the run."""
        return self.per_tick() * self.end

    def longest(self) -> int:
        """Ticks of the longest window that it can run."""
        return int(self.way.longest())

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        return self._first_tick, super().snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self._first_tick, ways = snapshot
        super().restore(ways)

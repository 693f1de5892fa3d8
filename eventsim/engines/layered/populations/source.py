"""A source in a run: its spikes are given."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.populations.population import Independent
from eventsim.engines.layered.trains import NO_PROJECTIONS, NO_SIGNS, Train
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job


class Source(Independent):
    """A source: repeats the events of the job."""

    def begin(self, job: Job) -> None:
        """Go to the start of a run."""
        self._ticks, self._neurons = job.events[self.name]
        self._signs = job.signs.get(self.name, NO_SIGNS)

    def run(self, window: Window, scratch: Workspace) -> Train:
        """The events of a window."""
        if not window.since and (not len(self._ticks) or self._ticks[-1] <= window.until):
            return Train(self._ticks, self._neurons, self._signs, NO_PROJECTIONS)
        inside = slice(*np.searchsorted(self._ticks, (window.since, window.until), side="right"))
        tick, neuron = np.ascontiguousarray(self._ticks[inside], np.int64), np.ascontiguousarray(self._neurons[inside], np.int32)
        return Train(tick, neuron, self._signs[inside] if len(self._signs) else NO_SIGNS, NO_PROJECTIONS)

    def expected(self) -> float:
        """How many events there are."""
        return float(len(self._ticks))

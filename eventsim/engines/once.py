"""A run that begins again: whoever records it, or is told of its progress, notices nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eventsim.job.job import Recorder
from eventsim.model.tables import IntArray


class Once:
    """The recorder, and who is told of progress, of a run that may begin again: what they were given is not given to them twice.

    Parameters
    ----------
    recorder : Recorder
    progress : callable, optional
        Called now and then with the current tick.
    given : int
        The recorder has the spikes up to the end of this tick.
    """

    def __init__(self, recorder: Recorder, progress: Callable[[int], None] | None, given: int = 0):
        self._recorder, self._progress = recorder, progress
        self.given, self._reached = given, 0

    def again(self) -> None:
        """The run begins again."""
        self.given = max(self.given, self._reached)

    def reached(self, tick: int) -> None:
        """All spikes up to the end of this tick have been recorded."""
        self._reached = tick
        if self._progress is not None and tick > self.given:
            self._progress(tick)

    def wants(self, population: str) -> bool:
        """As the recorder."""
        return self._recorder.wants(population)

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """As the recorder; what it has is left out."""
        n = int(np.searchsorted(ticks, self.given, "right"))
        if n < len(ticks):
            self._recorder.record(population, ticks[n:], neurons[n:], signs[n:])

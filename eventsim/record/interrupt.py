"""Ctrl-C while an engine runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventsim.job.job import Recorder
    from eventsim.kernels.interrupt import DeferredInterrupt
    from eventsim.model.tables import IntArray


class InterruptibleRecorder:
    """A recorder at which an engine notices Ctrl-C: every engine asks ``wants`` again and again."""

    def __init__(self, recorder: Recorder, interrupt: DeferredInterrupt):
        self._recorder = recorder
        self._interrupt = interrupt

    def wants(self, population: str) -> bool:
        """As the recorder; raises KeyboardInterrupt if Ctrl-C was pressed."""
        self._interrupt.check()
        return self._recorder.wants(population)

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """As the recorder."""
        self._recorder.record(population, ticks, neurons, signs)

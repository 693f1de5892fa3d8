"""What is kept of a run: spikes in memory or in a trace, membrane potentials, and in the end its result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.job.job import Counts, Job, Recorder
from eventsim.kernels.interrupt import DeferredInterrupt
from eventsim.model.network import Network
from eventsim.record.interrupt import InterruptibleRecorder
from eventsim.record.potentials import PotentialRecorder
from eventsim.record.result import MemoryRecorder, Result, RunInfo
from eventsim.record.trace import TraceWriter, reopen


class Recording:
    """Records one run; a context manager.

    Parameters
    ----------
    job : Job
    spikes_of : frozenset of str
        Populations whose spikes are kept: in the trace if there is one, else in memory.
    potentials_of : list of str
        Populations whose membrane potentials at the end of every step are kept.
    trace : path-like or None
        The trace to write, whole or not at all.
    deferred : bool
        Ctrl-C waits until the engine asks for the recorder, with a trace in any case: where it might leave other threads behind.

    Attributes
    ----------
    recorder : Recorder
        To be given to the engine.
    """

    def __init__(self, job: Job, spikes_of: frozenset[str], potentials_of: list[str], trace: str | os.PathLike[str] | None, deferred: bool):
        self._job, self._spikes_of, self._potentials_of = job, spikes_of, potentials_of
        self._trace, self._deferred = trace, deferred or trace is not None
        self._writer: TraceWriter | None = None
        self._reader: Any = None
        self._deriving: PotentialRecorder | None = None
        self._memory = MemoryRecorder(spikes_of)
        self.recorder: Recorder = self._memory
        self._sink: Recorder = self._memory
        self._open: ExitStack | None = None

    def __enter__(self) -> Recording:
        if not self._deferred and not self._potentials_of:
            return self  # as small runs do, which take as long as what follows
        with ExitStack() as stack:
            # Outermost, so that it does not strike while the others are closed.
            interrupt = stack.enter_context(DeferredInterrupt()) if self._deferred else None
            if self._trace is not None:
                self._sink = self._writer = stack.enter_context(TraceWriter(self._trace, self._job.network, self._job, self._spikes_of))
                self._reader = partial(reopen, Path(self._trace).absolute(), self._writer.run_id)
            self.recorder = self._sink
            if self._potentials_of:
                self.recorder = self._deriving = stack.enter_context(PotentialRecorder(self._job, self._potentials_of, self._sink))
            if interrupt is not None:
                self.recorder = InterruptibleRecorder(self.recorder, interrupt)
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._open is not None:
            self._open.__exit__(kind, error, trace)

    def add_sources(self, counts: Counts) -> None:
        """Count and record the sources' spikes, which engines only deliver."""
        job = self._job
        count_sources(job, counts)
        for name, (at, neurons) in job.events.items():
            n = int(np.searchsorted(at, counts.end_tick, side="right"))
            if n and self._sink.wants(name):
                signs = job.signs.get(name)
                self._sink.record(name, at[:n], neurons[:n], np.ones(n, np.int8) if signs is None else signs[:n])

    def result(self, info: RunInfo, counts: Counts, inputs: Any) -> Result:
        """The result of the run, which is over; the trace is finished."""
        kept = {} if self._deriving is None else self._deriving.potentials(counts.end_tick, counts.readout)
        result = Result(info, counts, self._memory.collected(), image_of(self._job.network, inputs), self._reader, kept)
        if self._writer is not None:
            self._writer.finish(result)
        return result


def count_sources(job: Job, counts: Counts) -> None:
    """Count the sources' spikes, which engines only deliver."""
    for column, (name, population) in enumerate(job.network.populations.items()):
        if not population.emits:
            continue
        if population.emits == "clock":
            # As below, of what is known: a spike of each neuron at the end of each step.
            counts.spikes[: counts.end_tick // job.resolution, column] = population.size
            counts.first_tick[column] = job.resolution if counts.end_tick >= job.resolution else 0
            continue
        at = job.events[name][0]
        n = int(np.searchsorted(at, counts.end_tick, side="right"))
        if not n:
            continue
        steps = (at[:n] - 1) // job.resolution
        counts.spikes[:, column] = np.bincount(steps, minlength=len(counts.spikes))
        counts.first_tick[column] = at[0]
        signs = job.signs.get(name)
        if signs is not None:
            counts.negative_spikes[:, column] = np.bincount(steps[signs[:n] < 0], minlength=len(counts.spikes))


def image_of(network: Network, inputs: Any) -> npt.NDArray[np.uint8] | None:
    """The pixels that a run took, in the network's input shape; a copy."""
    if network.input is None or inputs is None or (not isinstance(inputs, np.ndarray) and isinstance(inputs, Mapping)):
        return None
    return np.array(inputs, np.uint8).reshape(network.input.shape)

"""All populations of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from eventsim.engines.layered.limits import CROWD
from eventsim.engines.layered.populations.layer import Layer
from eventsim.engines.layered.populations.population import Independent, Population, Tallies
from eventsim.engines.layered.populations.registry import KINDS
from eventsim.engines.layered.trains import Delayed, Spikes, as_train, signs_of
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace, workspace
from eventsim.job.job import OPERATIONS, Job, Recorder, check_room


class Run:
    """All populations of a run, what they count, and the spikes that are still on their way through delayed projections.

    Parameters
    ----------
    job : Job
    compiled : mapping of str to Any
        What each population's class made of it.
    order : list of str
        Populations, sources before targets.

    Attributes
    ----------
    populations : dict of str to Population
        In the network's order.
    output : Layer or None
        The readout that decides.
    readouts : dict of str to Layer
    spikes : int64 array, shape (populations, 2, steps)
        Of either sign, and those of sign -1.
    operations : int64 array, shape (projections, steps, 5)
    neurons : int
        Of all populations that fire.
    clocked : bool
        Whether some populations may run from rasters.
    lanes : int
        Of all populations.
    independent : list of Population
        Those whose spikes do not follow from others'.
    """

    def __init__(self, job: Job, compiled: Mapping[str, Any], order: list[str]):
        check_room(job)
        network = job.network
        self.order, self.key = order, self.key_of(job)
        self.spikes = np.zeros((len(network.populations), 2, job.steps), np.int64)
        self.operations = np.zeros((len(network.projections), job.steps, len(OPERATIONS)), np.int64)
        self.populations: dict[str, Population] = {}
        for (name, population), counts in zip(network.populations.items(), self.spikes, strict=True):
            self.populations[name] = KINDS[population.kind](job, name, compiled[name], Tallies(counts, self.operations))
        output = None if network.output is None else self.populations[network.output]
        assert output is None or isinstance(output, Layer)
        self.output = output
        self.readouts = {name: p for name, p in self.populations.items() if isinstance(p, Layer) and not p.spiking}
        sizes = [math.prod(network.populations[name].shape) for name, population in self.populations.items() if population.fires]
        self.neurons = sum(sizes)
        # Spikes of a population in a window: more than all of its neurons make in a tick.
        self._most = max([CROWD, *(4 * size for size in sizes)])
        self._ways = [way for population in self.populations.values() for way in population.ways]
        self.clocked = any(way.clocked for way in self._ways)
        self.lanes = sum(population.lanes for population in self.populations.values())
        self.independent = [p for p in self.populations.values() if isinstance(p, Independent)]
        # How :mod:`eventsim.engines.layered.together` makes such runs, as soon as it knows.
        self.together: Any = NotImplemented
        self._scratch: list[Workspace] = []
        self._repeats = 0

    @staticmethod
    def key_of(job: Job) -> Any:
        """Runs of a network that agree in this can use the same arrays."""
        return job.steps, job.resolution, job.exit_rule

    def scratch(self, threads: int) -> list[Workspace]:
        """Room to work in, for each thread."""
        events = self.job.events
        repeats = max([1, *(len(ticks) for ticks, _ in events.values())]) if events else 1
        if len(self._scratch) < threads or repeats > self._repeats:
            self._repeats = 1 << (repeats - 1).bit_length()
            self._scratch = [workspace(self._ways, self._repeats, self._most) for _ in range(threads)]
        return self._scratch[:threads]

    def begin(self, job: Job) -> None:
        """Go to the start of a run."""
        self.job = job
        self._delayed = Delayed(job.delay)
        self._before = self._begun = 0
        self.spikes.fill(0)
        self.operations.fill(0)
        for population in self.populations.values():
            population.begin(job)

    def window(self, since: int, until: int, scratch: Workspace) -> dict[str, Spikes]:
        """Run all populations from after ``since`` to the end of ``until``; returns their spikes.

        Raises
        ------
        Overflow, Crowded
        """
        spikes: dict[str, Spikes] = {}
        window = Window(since, until, spikes, self._delayed)
        for name in self.order:
            spikes[name] = self.populations[name].run(window, scratch)
        return spikes

    def population(self, name: str, since: int, until: int, spikes: Mapping[str, Spikes], scratch: Workspace) -> Spikes:
        """Run one of them, given the spikes of those that it reads; returns its own.

        Raises
        ------
        Overflow, Crowded
        """
        return self.populations[name].run(Window(since, until, spikes, self._delayed), scratch)

    def made(self, until: int) -> int:
        """Spikes of neurons up to the end of a tick, to which all populations have been run and none further."""
        step = until // self.job.resolution
        self._before += int(self.spikes[:, 0, self._begun : step].sum())
        self._begun = step
        part = int(self.spikes[:, 0, step].sum()) if until % self.job.resolution else 0
        return self._before + part

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run a window again."""
        populations = [(population, population.snapshot()) for population in self.populations.values()]
        return populations, self._delayed.snapshot(), self.spikes.copy(), self.operations.copy()

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot; the readouts of the steps after it are written again."""
        populations, delayed, self.spikes[:], self.operations[:] = snapshot
        self._delayed.restore(delayed)
        for population, state in populations:
            population.restore(state)


def record(recorder: Recorder, population: Population, spikes: Spikes) -> None:
    """Record the spikes of a population in a window, if they are wanted and those of neurons."""
    # Asked every time: the recorder may want to stop the run.
    if not recorder.wants(population.name) or not population.fires:
        return
    train = as_train(spikes)
    if len(train.tick):
        recorder.record(population.name, train.tick, train.neuron, signs_of(train))

"""What the layered engine asks of a way to run a population.

A population in a run has an object of each way that can run it. They share its state, which one of them has at a time: the distances
``d`` of its neurons from threshold. Where a way keeps more than that in mind (who is due, say), it finds it when it takes over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from eventsim.engines.layered.trains import Spikes, Train
from eventsim.engines.layered.ways.records import FOREVER
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job

if TYPE_CHECKING:
    from eventsim.engines.layered.populations.layer import Layer

# From this resolution on so few spikes share a tick that tables for many are not worth it.
SPARSE = 2**10


class Way(ABC):
    """A way to run a population, in a run."""

    # Whether a tick is a step: windows are as long as there is room for a bit for each neuron and tick, potentials have 32 bits.
    clocked: ClassVar[bool] = False
    # Whether potentials have 32 bits though it is not.
    wide: ClassVar[bool] = False
    # Whether neurons that wait for the end of a refractory period are parked: out of the reach of all tests.
    parks: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def why_not(cls, layout: Any, job: Job, name: str) -> str | None:
        """Why this way cannot run a population in a run; None if it can.

        Parameters
        ----------
        layout : Layout
            The population, compiled.
        job : Job
            The run. For populations that others' spikes reach, its inputs do not matter.
        name : str
            Of the population.
        """

    @classmethod
    @abstractmethod
    def room(cls, ways: Sequence[Any], repeats: int) -> Any:
        """Room to work in for any of these ways (of this class); ``repeats``: spikes of a source in a tick, at most."""

    def begin(self, job: Job) -> None:  # noqa: B027
        """Go to the start of a run, at which the population is already."""

    def alternate(self) -> None:  # noqa: B027
        """From now on leave the spikes of a window alone while the next ones run."""

    def longest(self) -> int:
        """Ticks of the longest window that it can run."""
        return int(FOREVER)

    def takes(self, window: Window) -> bool:
        """Whether this way can run the population's next window, as its potentials are now."""
        return True

    def enter(self, since: int) -> None:  # noqa: B027
        """Take over from another way after a tick."""

    @abstractmethod
    def run(self, window: Window, scratch: Workspace) -> Spikes:
        """Run a window.

        Raises
        ------
        Overflow, Crowded
        """

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs, beside the population's state, to run on from here again."""
        return None

    def restore(self, snapshot: Any) -> None:  # noqa: B027
        """Go back to a snapshot."""


class TrainWay(Way):
    """A way that goes along the spikes that reach the population, in the order of time: it can be left between two of them."""

    population: Layer

    def run(self, window: Window, scratch: Workspace) -> Train:
        """Run a window along the spikes that reach the population, some of them at a time."""
        population, train = self.population, window.arrivals(self.population.incoming)
        population.begin_window()
        return along(self, train, 0, window, scratch)

    @abstractmethod
    def advance(self, train: Train, until: int, scratch: Workspace) -> int:
        """Run up to the end of a tick; returns the last tick that is done: an earlier one if another way has to go on from there."""


def along(way: TrainWay, train: Train, at: int, window: Window, scratch: Workspace) -> Train:
    """Run the population of a way on from the place ``at`` of a train to the end of a window; returns its spikes in the window."""
    population = way.population
    for part, until in parts(train, at, population.some, window.until):
        way = population.advance(way, part, window, until, scratch)
        if population.exited:
            break
    return population.fired()


def parts(train: Train, at: int, some: int, until: int) -> Iterator[tuple[Train, int]]:
    """A train from place ``at`` on, about ``some`` spikes at a time: what comes by the end of a tick, and that tick, at last ``until``."""
    while len(train.tick) - at > some:
        tick = int(train.tick[at + some - 1])
        at = int(np.searchsorted(train.tick, tick, "right"))
        yield Train(*(a[:at] for a in train)), tick
    yield train, until

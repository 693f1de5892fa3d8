"""What the layered engine asks of a population in a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from eventsim.engines.layered.trains import Spikes
from eventsim.engines.layered.ways.records import FOREVER
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.model.network import Network
from eventsim.model.tables import IntArray


class Tallies(NamedTuple):
    """Where a population counts: its spikes, all and negative (2, steps); and the operations of all projections (projections, steps, 5)."""

    spikes: IntArray
    operations: IntArray


class Population(ABC):
    """A population during a run, and in the runs after it that can use the same arrays.

    Parameters
    ----------
    job : Job
        A run.
    name : str
    layout : Any
        What :meth:`compiled` made of it.
    tallies : Tallies

    Attributes
    ----------
    name : str
    fires : bool
        Whether its spikes are those of neurons: they are recorded, and count for the limit. (Those of sources are given.)
    ways : list of Way
        Those that may run it, the best first.
    lanes : int
        Bits of a raster that one of its ticks takes.
    """

    fires = False
    lanes = 0

    def __init__(self, job: Job, name: str, layout: Any, tallies: Tallies):
        self.name = name
        self.ways: list[Any] = []

    @staticmethod
    def compiled(network: Network, name: str) -> Any:
        """What of a population of this kind does not change from run to run."""
        return None

    @property
    def first_tick(self) -> int:
        """The tick of its first spike so far, 0 if there was none (and for sources)."""
        return 0

    @abstractmethod
    def begin(self, job: Job) -> None:
        """Go to the start of a run."""

    @abstractmethod
    def run(self, window: Window, scratch: Workspace) -> Spikes:
        """Run the next window.

        Raises
        ------
        Overflow, Crowded
        """

    def alternate(self) -> None:
        """From now on leave the spikes of a window alone while the next ones run."""
        for way in self.ways:
            way.alternate()

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        return [way.snapshot() for way in self.ways]

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        for way, part in zip(self.ways, snapshot, strict=True):
            way.restore(part)


class Independent(Population):
    """A population whose spikes do not follow from others' spikes: how many there are can be told before a run."""

    @abstractmethod
    def expected(self) -> float:
        """About how many spikes it makes in the run."""

    def longest(self) -> int:
        """Ticks of the longest window that it can run."""
        return int(FOREVER)

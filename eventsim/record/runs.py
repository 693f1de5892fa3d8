"""What many runs of a network leave: the result of each, and what they have in common as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from eventsim.errors import RunError
from eventsim.job.job import OPERATIONS
from eventsim.model.network import Network
from eventsim.model.tables import IntArray
from eventsim.record.result import Result, decisions

# Counts by step (:class:`eventsim.job.job.Counts`) of populations; those of projections are OPERATIONS.
_OF_POPULATIONS = "spikes", "negative_spikes"


class Runs(Sequence[Result]):
    """The results of many inputs, in their order; attributes are named as those of a :class:`Result`, with a row an input.

    Parameters
    ----------
    network : Network
    results : list of Result
        Of runs of this network with the same settings.
    """

    def __init__(self, network: Network, results: list[Result]):
        self._network, self._results = network, results

    def __repr__(self) -> str:
        if not self._results:
            return "<Runs: none>"
        means = f"{self.total_spikes.mean():,.0f} spikes, {self.total_synaptic_events.mean():,.0f} synaptic events on average"
        return f"<Runs: {len(self)}; {means}>"

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    @overload
    def __getitem__(self, number: int) -> Result: ...
    @overload
    def __getitem__(self, number: slice) -> Runs: ...
    def __getitem__(self, number: int | slice) -> Result | Runs:
        return Runs(self._network, self._results[number]) if isinstance(number, slice) else self._results[number]

    @property
    def populations(self) -> list[str]:
        """Columns of what is counted by population."""
        return list(self._network.populations)

    @property
    def projections(self) -> list[str]:
        """Columns of what is counted by projection."""
        return [p.name for p in self._network.projections]

    @cached_property
    def decision(self) -> IntArray:
        """Index of the largest readout potential at the end: int64 (inputs,), -1 where there is no decision."""
        return np.array([-1 if r.counts.decision is None else r.counts.decision for r in self], np.int64)

    @cached_property
    def decision_latency(self) -> npt.NDArray[np.float64]:
        """First time (steps) from which the decision never changes again: (inputs,), nan without a decision."""
        return np.array([np.nan if r.decision_latency is None else r.decision_latency for r in self], np.float64)

    @cached_property
    def duration(self) -> npt.NDArray[np.float64]:
        """Simulated time in steps: (inputs,)."""
        return np.array([r.duration for r in self], np.float64)

    @cached_property
    def exited(self) -> npt.NDArray[np.bool_]:
        """Whether the exit rule ended the run: (inputs,)."""
        return np.array([r.counts.exited for r in self], bool)

    @cached_property
    def stopped(self) -> npt.NDArray[np.bool_]:
        """Whether a run stopped since there were too many spikes (``max_spikes``): (inputs,)."""
        return np.array([r.stopped is not None for r in self], bool)

    def counted(self, name: str) -> IntArray:
        """What was counted by step: int64 (inputs, steps, populations or projections), zeros behind the end of a run.

        Parameters
        ----------
        name : str
            ``spikes`` and ``negative_spikes`` of populations; ``deliveries``, ``synaptic_events``, ``additions``, ``toolbox`` and
            ``effective`` of projections (docs/definitions.md).

        Raises
        ------
        RunError
            Nothing of this name is counted.
        """
        if name not in _OF_POPULATIONS + OPERATIONS:
            raise RunError(f"{name!r} is not counted by step; there are: {', '.join(_OF_POPULATIONS + OPERATIONS)}")
        columns = len(self.populations if name in _OF_POPULATIONS else self.projections)
        rows = np.zeros((len(self), self._steps, columns), np.int64)
        for row, result in zip(rows, self, strict=True):
            found = getattr(result.counts, name)
            row[: len(found)] = found
        return rows

    @property
    def total_spikes(self) -> IntArray:
        """Spikes of all populations but the bias clocks: int64 (inputs,)."""
        return np.array([r.total_spikes for r in self], np.int64)

    @property
    def total_synaptic_events(self) -> IntArray:
        """Synaptic events of all projections but the bias clocks' and those that are compared: int64 (inputs,)."""
        return np.array([r.total_synaptic_events for r in self], np.int64)

    @property
    def total_additions(self) -> IntArray:
        """Additions performed in all projections but the bias clocks': int64 (inputs,)."""
        return np.array([r.total_additions for r in self], np.int64)

    def spikes_per_population(self) -> dict[str, IntArray]:
        """Number of spikes (of either sign) of each population: int64 (inputs,)."""
        return dict(zip(self.populations, self.counted("spikes").sum(1).T, strict=True))

    @property
    def readout(self) -> IntArray:
        """Output potentials at the end of each step: int64 (inputs, steps, neurons); behind the end of a run those of its end.

        Raises
        ------
        RunError
            The network has no output readout.
        """
        output = self._network.output
        if output is None:
            raise RunError("the network has no output readout")
        rows = np.empty((len(self), self._steps, self._network.populations[output].size), np.int64)
        for row, result in zip(rows, self, strict=True):
            found = result.counts.readout[output]
            row[: len(found)], row[len(found) :] = found, found[-1]
        return rows

    def decision_over_time(self) -> IntArray:
        """The decision at the end of each step: int64 (inputs, steps), -1 where there is none yet; behind the end of a run its last.

        Raises
        ------
        RunError
            The network has no output readout.
        """
        potentials = self.readout
        arriving = [i for i, p in enumerate(self._network.projections) if p.target == self._network.output]
        return decisions(potentials, self.counted("deliveries")[:, :, arriving].sum(2))

    @property
    def _steps(self) -> int:
        return self._results[0].info.steps if self._results else 0

"""What is counted during a run, by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from eventsim.job.job import OPERATIONS, Job
from eventsim.model.tables import IntArray


class Tally:
    """Counts per step, and the readouts' potentials at the end of each.

    Parameters
    ----------
    job : Job
    readouts : dict of str to list of int
        Their potentials, which change as the run goes on.
    """

    def __init__(self, job: Job, readouts: dict[str, list[int]]):
        self._job, self._step = job, 0
        self._counts: dict[str, Counter[tuple[int, str]]] = {}
        self._first_tick: dict[str, int] = {}
        self._readouts = readouts
        self._rows: dict[str, list[list[int]]] = {name: [] for name in readouts}
        self.spikes = 0

    def ends_step(self, tick: int) -> bool:
        """Whether the step at hand ended before this tick; then it is over."""
        if (self._step + 1) * self._job.resolution >= tick:
            return False
        self._note_readouts()
        self._step += 1
        return True

    def deliver(self, projection: str, operations: Sequence[int]) -> None:
        """A spike has been delivered."""
        for kind, number in zip(OPERATIONS, operations, strict=True):
            self._add(kind, projection, number)

    def fire(self, population: str, tick: int, signs: list[int]) -> None:
        """Neurons have fired."""
        self._first_tick.setdefault(population, tick)
        self._add("spikes", population, len(signs))
        self._add("negative_spikes", population, signs.count(-1))
        self.spikes += len(signs)

    def counts(self, end: int) -> dict[str, Any]:
        """Those of the fields of :class:`eventsim.job.job.Counts` that are tables, of a run that ended after this tick."""
        network, steps = self._job.network, -(-end // self._job.resolution)
        while self._step < steps:
            self._note_readouts()
            self._step += 1
        populations, projections = list(network.populations), [p.name for p in network.projections]
        return {
            **{kind: self._table(kind, populations, steps) for kind in ("spikes", "negative_spikes")},
            **{kind: self._table(kind, projections, steps) for kind in OPERATIONS},
            "first_tick": np.array([self._first_tick.get(name, 0) for name in populations], np.int64),
            "readout": {name: np.array(rows, np.int64) for name, rows in self._rows.items()},
        }

    def _add(self, kind: str, name: str, number: int) -> None:
        self._counts.setdefault(kind, Counter())[self._step, name] += number

    def _note_readouts(self) -> None:
        for name, potentials in self._readouts.items():
            self._rows[name].append(list(potentials))

    def _table(self, kind: str, columns: list[str], steps: int) -> IntArray:
        out = np.zeros((steps, len(columns)), np.int64)
        for (step, name), number in self._counts.get(kind, Counter()).items():
            out[step, columns.index(name)] = number
        return out

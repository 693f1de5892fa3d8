"""What a run's spikes say between the ends of its steps: readout potentials and costs at every tick."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eventsim.errors import RunError
from eventsim.model.exits import ExitKind, exit_kinds, exit_values
from eventsim.model.network import Network
from eventsim.model.periods import ticks
from eventsim.model.tables import IntArray, Table
from eventsim.record.result import Run, Spikes

# Spikes that become rows of potentials at a time: bounds memory.
BLOCK = 2**15


def _thresholds() -> IntArray:
    """Every whole number up to 32, then 32 an octave up to 2**31."""
    octaves = np.floor(2 ** (5 + np.arange(1, 26 * 32 + 1) / 32)).astype(np.int64)
    return np.unique(np.concatenate((np.arange(1, 33), octaves)))


# The thresholds of exit rules for which a trade-off is known exactly.
EXIT_THRESHOLDS = _thresholds()


class Exits(NamedTuple):
    """What stopping early would have given, one row per moment at which a higher threshold was first reached.

    Attributes
    ----------
    level : int64
        How many of :data:`EXIT_THRESHOLDS` were reached; ascending.
    tick : int64
    decision : int64
    spikes, synaptic_events : int64
        Of all populations and projections but bias clocks, up to and including that tick.
    """

    level: IntArray
    tick: IntArray
    decision: IntArray
    spikes: IntArray
    synaptic_events: IntArray


class Trajectories:
    """Reads off runs of one network, with all spikes recorded, what happened between the ends of steps.

    Parameters
    ----------
    network : Network
        Must have an output.

    Raises
    ------
    RunError
        It has none.
    """

    def __init__(self, network: Network):
        if network.output is None:
            raise RunError("the network has no output readout")
        self._network = network
        self._start = network.populations[network.output].initial_potentials()
        self._clocks = {name for name, p in network.populations.items() if p.is_clock}
        self._matrices: dict[str, IntArray] = {}
        self._fan_out: dict[str, IntArray] = {}

    def readout(self, run: Run) -> tuple[IntArray, npt.NDArray[np.int64]]:
        """Potentials of the output after every tick at which it received spikes.

        Returns
        -------
        ticks : int64 (changes,)
        potentials : int64 (changes, neurons)

        Raises
        ------
        RunError
            The spikes of a population that projects to the output were not recorded.
        """
        blocks = list(self._blocks(run))
        if not blocks:
            return np.zeros(0, np.int64), np.zeros((0, len(self._start)), np.int64)
        return np.concatenate([at for at, _ in blocks]), np.concatenate([v for _, v in blocks])

    @staticmethod
    def needs_spikes(resolution: int) -> bool:
        """Whether :meth:`exits` and :meth:`costs` read spikes: where a step is a tick, the counts of the run say everything."""
        return resolution > 1

    def exits(self, run: Run, kind: ExitKind) -> Exits:
        """What an exit rule of any threshold would have given.

        Raises
        ------
        RunError
            The spikes of a population were not recorded, or a margin is asked for with one output neuron.
        """
        return self.all_exits(run, [kind])[kind]

    def all_exits(self, run: Run, kinds: Sequence[ExitKind]) -> dict[ExitKind, Exits]:
        """As :meth:`exits`, of several kinds of exit rules at once."""
        if not set(kinds) <= set(exit_kinds(len(self._start))):
            raise RunError("a margin needs at least two output neurons")
        reached = {kind: int(_levels(self._start, kind)) for kind in kinds}
        empty = np.zeros(0, np.int64)
        rows: dict[ExitKind, list[tuple[IntArray, IntArray, IntArray]]] = {kind: [(empty, empty, empty)] for kind in kinds}
        for ticks_, potentials in self._moments(run):
            for kind in kinds:
                level = np.maximum.accumulate(np.maximum(_levels(potentials, kind), reached[kind]))
                new = np.flatnonzero(np.diff(level, prepend=reached[kind]))
                rows[kind].append((level[new], ticks_[new], potentials[new].argmax(1)))
                reached[kind] = int(level[-1])
        found = {kind: [np.concatenate(column) for column in zip(*parts, strict=True)] for kind, parts in rows.items()}
        moments = np.unique(np.concatenate([empty, *(tick for _, tick, _ in found.values())]))
        spikes, events = self.costs(run, moments)
        made = {}
        for kind, (level, tick, decision) in found.items():
            at = np.searchsorted(moments, tick)
            made[kind] = Exits(level, tick, decision, spikes[at], events[at])
        return made

    def start_levels(self) -> dict[str, int]:
        """How many of :data:`EXIT_THRESHOLDS` hold before the first spike, by kind of exit rule."""
        return {kind: int(_levels(self._start, kind)) for kind in exit_kinds(len(self._start))}

    def costs(self, run: Run, at: IntArray) -> tuple[IntArray, IntArray]:
        """Spikes and synaptic events up to and including each tick, bias clocks left out: int64 (ticks,) each.

        Raises
        ------
        RunError
            The spikes of a population were not recorded.
        """
        populations = self._network.populations
        if not self.needs_spikes(run.info.resolution):
            firing = [i for i, (name, p) in enumerate(populations.items()) if p.sends_spikes and name not in self._clocks]
            projections = [i for i, p in enumerate(self._network.projections) if p.source not in self._clocks and p.table.weighted]
            per_step = run.counts.spikes[:, firing].sum(1), run.counts.synaptic_events[:, projections].sum(1)
            so_far = [np.concatenate(([0], np.cumsum(of_step)))[at] for of_step in per_step]
            return so_far[0], so_far[1]
        spikes, events = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
        recorded: dict[str, Spikes] = {}
        for name, population in populations.items():
            if population.sends_spikes and name not in self._clocks:
                recorded[name] = run.spikes(name)
                spikes += np.searchsorted(recorded[name].ticks, at, "right")
        for p in self._network.projections:
            if p.source in self._clocks or not p.table.weighted:
                continue
            train = recorded[p.source]
            if p.name not in self._fan_out:
                self._fan_out[p.name] = p.table.fan_out(populations[p.source].shape, populations[p.target].shape).ravel()
            fan_out = self._fan_out[p.name]
            delivered = np.searchsorted(train.ticks, at - ticks(p.delay, run.info.resolution), "right")
            if fan_out.min() == fan_out.max():
                events += delivered * fan_out[0]
            else:
                events += np.concatenate(([0], np.cumsum(fan_out[train.neurons])))[delivered]
        return spikes, events

    def _moments(self, run: Run) -> Iterator[tuple[IntArray, IntArray]]:
        """(ticks, potentials after them), some at a time: at which the output received spikes, or all."""
        if self.needs_spikes(run.info.resolution):
            yield from self._blocks(run)
        else:
            assert self._network.output is not None
            potentials = run.counts.readout[self._network.output]
            if len(potentials):
                yield np.arange(1, len(potentials) + 1), potentials

    def _blocks(self, run: Run) -> Iterator[tuple[IntArray, IntArray]]:
        """(ticks, potentials after them), some at a time."""
        arriving = []
        inputs = [p for p in self._network.projections if p.target == self._network.output]
        for number, p in enumerate(inputs):
            train = run.spikes(p.source)
            at = train.ticks + ticks(p.delay, run.info.resolution)
            n = int(np.searchsorted(at, run.counts.end_tick, "right"))
            arriving.append((at[:n], np.full(n, number), train.neurons[:n], train.signs[:n]))
        if not arriving or not sum(len(at) for at, *_ in arriving):
            return
        at, projection, neurons, signs = (np.concatenate(column) for column in zip(*arriving, strict=True))
        order = np.argsort(at, kind="stable")
        at, projection, neurons, signs = at[order], projection[order], neurons[order], signs[order]
        potentials = self._start
        low = 0
        while low < len(at):
            # A tick is never cut in two.
            high = len(at) if low + BLOCK >= len(at) else int(np.searchsorted(at, at[low + BLOCK], "right"))
            rows = np.zeros((high - low, len(potentials)), np.int64)
            for number, p in enumerate(inputs):
                here = np.flatnonzero(projection[low:high] == number)
                rows[here] = self._matrix(p.name, p.table, p.source)[neurons[low:high][here]]
            rows *= signs[low:high, None]
            new, first = np.unique(at[low:high], return_index=True)
            values = potentials + np.cumsum(np.add.reduceat(rows, first, axis=0), axis=0)
            yield new, values
            potentials = values[-1]
            low = high

    def _matrix(self, name: str, table: Table, source: str) -> IntArray:
        """Weights (source neurons, output neurons) of a projection to the output."""
        if name not in self._matrices:
            assert self._network.output is not None
            populations = self._network.populations
            self._matrices[name] = table.matrix(populations[source].shape, populations[self._network.output].shape)
        return self._matrices[name]


def _levels(potentials: IntArray, kind: ExitKind) -> IntArray:
    """How many of :data:`EXIT_THRESHOLDS` hold for potentials (..., neurons): int64 (...)."""
    return np.searchsorted(EXIT_THRESHOLDS, exit_values(potentials, kind), "right").astype(np.int64)

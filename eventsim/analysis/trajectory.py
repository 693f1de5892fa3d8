"""What a run's spikes say between the ends of its steps: readout potentials and costs at every tick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eventsim.analysis import exit_kernels as k
from eventsim.analysis.thresholds import EXIT_THRESHOLDS, Exits
from eventsim.errors import RunError
from eventsim.model.exits import ExitKind, exit_kinds, exit_values
from eventsim.model.network import Network
from eventsim.model.periods import ticks
from eventsim.model.tables import IntArray, Table
from eventsim.record.result import Run, Spikes


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
        self._decides = bool(np.any(self._start != self._start[0]))
        self._start_levels = {kind: int(_levels(self._start, kind)) for kind in exit_kinds(len(self._start))}
        self._clocks = {name for name, p in network.populations.items() if p.is_clock}
        self._firing = [i for i, (name, p) in enumerate(network.populations.items()) if p.sends_spikes and name not in self._clocks]
        self._weighted = [i for i, p in enumerate(network.projections) if p.source not in self._clocks and p.table.weighted]
        self._reaching = [i for i, p in enumerate(network.projections) if p.target == network.output]
        self._matrices: dict[str, IntArray] = {}
        self._fan_out: dict[str, tuple[IntArray, bool]] = {}
        self._weights: IntArray | None = None

    def readout(self, run: Run) -> tuple[IntArray, npt.NDArray[np.int64]]:
        """Potentials of the output after every tick at which it received spikes. (Those of a synaptic current flow at the end of a step.)

        Returns
        -------
        ticks : int64 (changes,)
        potentials : int64 (changes, neurons)

        Raises
        ------
        RunError
            The spikes of a population that projects to the output were not recorded.
        """
        arrivals, places, output = self._arrivals(run)
        at = np.empty(len(arrivals.ticks), np.int64)
        found = np.empty((len(at), len(self._start)), np.int64)
        n = k.potentials_of_arrivals(arrivals, places, run.counts.end_tick, output, self._start.copy(), at, found)
        return at[:n], found[:n]

    @property
    def reads(self) -> list[str]:
        """Populations whose spikes :meth:`exits` and :meth:`costs` read: all but clocks that do not reach the output."""
        reach = {p.source for p in self._network.projections if p.target == self._network.output}
        return [name for name, p in self._network.populations.items() if p.sends_spikes and (name in reach or name not in self._clocks)]

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
        if not set(kinds) <= set(self._start_levels):
            raise RunError("a margin needs at least two output neurons")
        if not self.needs_spikes(run.info.resolution):
            return {kind: exits for kind, (_, exits) in self.exits_of_steps([run], kinds).items()}
        found = self._room(kinds, len(EXIT_THRESHOLDS))
        arrivals, places, output = self._arrivals(run)
        k.exits_of_arrivals(arrivals, places, run.counts.end_tick, output, self._start.copy(), self._decides, found)
        *numbers, last = found.numbers.tolist()
        moments = found.moments[:last]
        spikes, events = self.costs(run, moments)
        made = {}
        for kind, rows, n in zip(kinds, found.rows, numbers, strict=True):
            level, at, decision = rows[:n].T
            made[kind] = Exits(level, moments[at], decision, spikes[at], events[at])
        return made

    def exits_of_steps(self, runs: Sequence[Run], kinds: Sequence[ExitKind]) -> dict[ExitKind, tuple[IntArray, Exits]]:
        """The exits of runs of as many steps in which a step is a tick, one after the other, and how many each has: int64 (runs,)."""
        assert self._network.output is not None
        number, steps = len(runs), max([0, *(run.info.steps for run in runs)])
        readout = np.zeros((number, steps, len(self._start)), np.int64)
        spikes, events = np.zeros((number, steps), np.int64), np.zeros((number, steps), np.int64)
        lengths = np.array([len(run.counts.spikes) for run in runs], np.int64)
        begins = lengths.copy()
        for i, (run, n) in enumerate(zip(runs, lengths.tolist(), strict=True)):
            readout[i, :n] = run.counts.readout[self._network.output]
            spikes[i, :n], events[i, :n] = self._per_step(run)
            arrived = run.counts.deliveries[:, self._reaching].any(1)
            begins[i] = 0 if self._decides else np.argmax(arrived) if arrived.any() else n
        found, behind = self._room(kinds, number * min(steps, len(EXIT_THRESHOLDS))), np.zeros((number, len(kinds)), np.int64)
        k.exits_of_steps(readout, begins, lengths, found.levels.copy(), found, behind)
        so_far = spikes.cumsum(1), events.cumsum(1)
        made = {}
        for kind, rows, ends in zip(kinds, found.rows, behind.T, strict=True):
            level, at, decision = rows[: ends[-1] if number else 0].T
            tick, rows_of = found.moments[at], np.diff(ends, prepend=0)
            run_of = np.repeat(np.arange(number), rows_of)
            made[kind] = rows_of, Exits(level, tick, decision, *(total[run_of, tick - 1] for total in so_far))
        return made

    def _room(self, kinds: Sequence[ExitKind], most: int) -> k.Exits:
        """Room for so many rows of each kind."""
        start = np.array([self._start_levels[kind] for kind in kinds], np.int64)
        codes = np.array([k.KINDS[kind] for kind in kinds], np.int64)
        rows, moments = np.empty((len(kinds), most, 3), np.int64), np.empty(len(kinds) * most, np.int64)
        return k.Exits(codes, EXIT_THRESHOLDS, start, np.zeros(len(kinds) + 1, np.int64), rows, moments)

    def _per_step(self, run: Run) -> tuple[IntArray, IntArray]:
        """Spikes and synaptic events of each step, bias clocks left out: int64 (steps,) each."""
        spikes: IntArray = run.counts.spikes[:, self._firing].sum(1)
        events: IntArray = run.counts.synaptic_events[:, self._weighted].sum(1)
        return spikes, events

    def _arrivals(self, run: Run) -> tuple[k.Arrivals, IntArray, k.Output]:
        """The spikes that reach the output, the first of each projection, and what the output does between them."""
        inputs = [p for p in self._network.projections if p.target == self._network.output]
        trains = [run.spikes(p.source) for p in inputs]
        matrices = [self._matrix(p.name, p.table, p.source) for p in inputs]
        before = np.cumsum([0, *map(len, matrices)])
        if self._weights is None:
            self._weights = np.concatenate([np.zeros((0, len(self._start)), np.int64), *matrices])
        none = np.zeros(0, np.int64)
        arrivals = k.Arrivals(
            np.concatenate([none, *(train.ticks for train in trains)]),
            np.concatenate([none, *(train.neurons + begin for train, begin in zip(trains, before, strict=False))]),
            np.concatenate([np.zeros(0, np.int8), *(train.signs for train in trains)]),
            np.cumsum([len(train.ticks) for train in trains], dtype=np.int64),
            np.array([ticks(p.delay, run.info.resolution) for p in inputs], np.int64),
            self._weights,
        )
        return arrivals, np.concatenate(([0], arrivals.ends))[: len(arrivals.ends)], self._leaks(run.info.resolution)

    def _leaks(self, resolution: int) -> k.Output:
        """What the output does by itself."""
        assert self._network.output is not None
        output, nothing = self._network.populations[self._network.output], np.zeros(len(self._start), np.int64)
        decay, leak = output.leaks() or (nothing, nothing)
        current = output.current_decays()
        return k.Output(
            output.decays > 0, output.has_current, resolution, decay, leak, nothing if current is None else current, nothing.copy()
        )

    def start_levels(self) -> dict[ExitKind, int]:
        """How many of :data:`EXIT_THRESHOLDS` hold before the first spike, by kind of exit rule."""
        return dict(self._start_levels)

    def costs(self, run: Run, at: IntArray) -> tuple[IntArray, IntArray]:
        """Spikes and synaptic events up to and including each tick, bias clocks left out: int64 (ticks,) each.

        Raises
        ------
        RunError
            The spikes of a population were not recorded.
        """
        populations = self._network.populations
        if not self.needs_spikes(run.info.resolution):
            so_far = [np.concatenate(([0], np.cumsum(of_step)))[at] for of_step in self._per_step(run)]
            return so_far[0], so_far[1]
        spikes, events = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
        trains: dict[str, Spikes] = {}
        fired: dict[str, IntArray] = {}
        for name, population in populations.items():
            if population.sends_spikes and name not in self._clocks:
                trains[name] = run.spikes(name)
                fired[name] = np.searchsorted(trains[name].ticks, at, "right")
                spikes += fired[name]
        for p in self._network.projections:
            if p.source in self._clocks or not p.table.weighted:
                continue
            train, late = trains[p.source], ticks(p.delay, run.info.resolution)
            delivered = np.searchsorted(train.ticks, at - late, "right") if late else fired[p.source]
            if p.name not in self._fan_out:
                fan_out = p.table.fan_out(populations[p.source].shape, populations[p.target].shape).ravel()
                self._fan_out[p.name] = fan_out, bool(fan_out.min() == fan_out.max())
            fan_out, same = self._fan_out[p.name]
            if same:
                events += delivered * fan_out[0]
            else:
                k.sums_until(fan_out, train.neurons, delivered, events)
        return spikes, events

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

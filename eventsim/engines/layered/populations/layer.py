"""A spiking or readout population in a run."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from eventsim.engines.layered import tables, trains
from eventsim.engines.layered.limits import check_crowd
from eventsim.engines.layered.pipeline import BUFFERS
from eventsim.engines.layered.populations.population import Population, Tallies
from eventsim.engines.layered.tables import Layout, compile_layout
from eventsim.engines.layered.trains import NO_PROJECTIONS, Spikes, Train
from eventsim.engines.layered.ways.records import PROGRESS, Exit, Role, State, Tally
from eventsim.engines.layered.ways.registry import LEAKY_WAYS, WAYS
from eventsim.engines.layered.ways.way import TrainWay, Way
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.records import numbers_of
from eventsim.kernels.stencils import aligned
from eventsim.model.network import Network
from eventsim.model.tables import IntArray

# Additions after which compiled code comes back from a population, about, so that Ctrl-C works.
WORK = 2**30
# Of what is asked in every run: to look up a record's field takes NumPy several times as long.
_FIRST_TICK, _EXITED, _DECISION, _DECIDED_AT = map((PROGRESS.names or ()).index, ("first_tick", "exited", "decision", "decided_at"))


class Layer(Population):
    """Neurons that others' spikes reach: the first way that can run a window does so.

    Attributes
    ----------
    constants : Constants
        Those of :class:`eventsim.engines.layered.ways.records.Layer`, for this run.
    start : Start
        What ``state`` is at the start of a run.
    state : State
    numbers, first_numbers : int64 array
        What ``progress`` of ``state`` and of ``start`` holds, in the same memory.
    onset : int
        The first tick at which neurons may fire.
    tally : Tally
    out : Train
        Room for the spikes of a window that is run along a train; there are ``fired`` so far.
    neurons : int
    spiking, signed, parks : bool
        Whether it is no readout; fires spikes of sign -1; has neurons parked that wait for the end of a refractory period.
    """

    def __init__(self, job: Job, name: str, layout: Layout, tallies: Tallies):
        super().__init__(job, name, layout, tallies)
        self.incoming, self._layer = layout.incoming, layout.layer
        constants = layout.layer.constants._replace(refractory=job.refractory.get(name, 1), resolution=job.resolution, end=job.end)
        if job.exit_rule is not None and name == job.network.output:
            constants = constants._replace(exit_kind=int(Exit[job.exit_rule.kind.upper()]), exit_limit=int(job.exit_rule.threshold))
        self.constants, size = constants, constants.size
        self.neurons = self.lanes = layout.v.size
        # Spikes that are delivered in one call.
        self.some = max(1, WORK // layout.work)
        self.fires = self.spiking = constants.role == Role.NEURONS
        self.signed = layout.population.signed
        every: tuple[Any, ...] = LEAKY_WAYS if layout.population.decays else WAYS
        kinds = [kind for kind in every if kind.why_not(layout, job, name) is None]
        self._starts_parked = self.parks = self.spiking and job.refractory[name] > 1 and kinds[0].parks
        self.onset = job.onset.get(name, 1)
        self.start = layout.start(self.parks, any(kind.clocked or kind.wide for kind in kinds), self.onset > 1)
        self.state = State(
            self.start.progress.copy(),
            aligned(self.start.d, self.start.d.dtype),
            None if self.start.low is None else aligned(self.start.low, self.start.low.dtype),
            np.zeros(size, np.int32) if self.signed else None,
            np.empty(size, np.int64) if self.spiking else None,
            np.empty(size, np.int32) if self.spiking else None,
            self.start.theta if self.spiking else None,
        )
        self.numbers, self.first_numbers = numbers_of(self.state.progress), numbers_of(self.start.progress)
        if self.spiking:
            self.tally = Tally(tallies.spikes[0], tallies.spikes[1], tallies.operations, None)
        else:
            self.tally = Tally(None, None, tallies.operations, np.zeros((job.steps, self.neurons), np.int64))
        self.out = trains.empty(size + 1024 if self.spiking else 0, self.signed)
        self._spare: list[Train] = []
        self.ways = [kind(self, job, layout) for kind in kinds]
        self._beginning = [way for way in self.ways if type(way).begin is not Way.begin]
        self._along_trains: list[TrainWay] = [way for way in self.ways if isinstance(way, TrainWay)]
        self._way: Way | None = None

    @staticmethod
    def compiled(network: Network, name: str) -> Layout:
        """What does not change from run to run."""
        return compile_layout(network, name)

    @property
    def kind(self) -> str:
        """What the types of the state depend on."""
        return self.state.d.dtype.char

    @property
    def first_tick(self) -> int:
        """The tick of its first spike so far, 0 if there was none."""
        return int(self.numbers[_FIRST_TICK])

    @property
    def exited(self) -> int:
        """The tick at which the exit rule held, 0 as long as it has not."""
        return int(self.numbers[_EXITED])

    @property
    def decision(self) -> tuple[int | None, int | None]:
        """Of the output: which neuron leads, and since which tick; None twice as long as there is no decision."""
        decided_at = int(self.numbers[_DECIDED_AT])
        return (int(self.numbers[_DECISION]), decided_at) if decided_at else (None, None)

    def begin(self, job: Job) -> None:
        """Go to the start of a run: with the first window, since the thread that runs it has the state in its cache then."""
        self._job = job

    def _start(self) -> None:
        state, start = self.state, self.start
        if state.d.dtype != start.d.dtype:
            low = None if start.low is None else aligned(start.low, start.low.dtype)
            theta = start.theta if self.spiking else None
            self.state = state = state._replace(d=aligned(start.d, start.d.dtype), low=low, theta=theta)
        self.numbers[:] = self.first_numbers
        state.d[:] = start.d
        if self.signed:
            state.low[:], state.net[:] = start.low, 0
        self._way, self.parks = None, self._starts_parked
        for way in self._beginning:
            way.begin(self._job)

    def run(self, window: Window, scratch: Workspace) -> Spikes:
        """Run the next window."""
        if not window.since:
            self._start()
        for way in self.ways:
            if way.takes(window):
                break
        self._use(way, window.since)
        spikes: Spikes = way.run(window, scratch)
        return spikes

    def _use(self, way: Way, since: int) -> None:
        """Hand the state over to a way after a tick. (At the start of a run they all have it, but for who waits and is not parked yet.)"""
        if self._way is None:
            if self.spiking and self.constants.refractory > 1 and way.parks and not self.parks:
                self.park()
        elif self._way is not way:
            way.enter(since)
        self._way = way

    def advance(self, way: TrainWay, train: Train, window: Window, until: int, scratch: Workspace) -> TrainWay:
        """Run on to the end of a tick; where a way cannot go on, another one takes over. Returns the last one."""
        while (since := way.advance(train, until, scratch)) < until:
            way = self.handed_over(window, since)
        return way

    def handed_over(self, window: Window, since: int) -> TrainWay:
        """The first way that can run on after a tick, which has the state now."""
        way = next(way for way in self._along_trains if way.takes(window))
        self._use(way, since)
        return way

    def alternate(self) -> None:
        """From now on leave the spikes of a window alone while the next ones run."""
        super().alternate()
        while len(self._spare) < BUFFERS - 1:
            self._spare.append(trains.empty(len(self.out.tick), self.signed))

    def begin_window(self) -> None:
        """The spikes of a window go where those of the longest time ago are."""
        progress = self.state.progress
        progress["at"] = progress["fired"] = 0
        self._spare.append(self.out)
        self.out = self._spare.pop(0)

    def fired(self) -> Train:
        """The spikes of the window so far."""
        n, out = int(self.state.progress["fired"]), self.out
        return Train(out.tick[:n], out.neuron[:n], out.sign[:n], NO_PROJECTIONS)

    def more_out(self, most: int) -> None:
        """Twice as much room for the spikes of a window."""
        check_crowd(int(self.state.progress["fired"]), most)
        self.out = trains.grown(self.out, self.signed, 2 * len(self.out.tick))

    def park(self) -> None:
        """Take those that wait for the end of a refractory period out of the reach of all tests."""
        self.parks = True
        state, progress = self.state, self.state.progress
        tables.set_limits(progress, state.d.dtype.type, True, self.constants.highest)
        waiting = state.ring_lane[(int(progress["head"]) + np.arange(int(progress["waiting"]))) % len(state.ring_lane)]
        state.d[waiting] -= progress["park"]
        if state.low is not None:
            state.low[waiting] = progress["lowest"]

    def widen(self) -> None:
        """Give d the next wider type."""
        old = self.state
        dtype = tables.TYPES[tables.TYPES.index(old.d.dtype.type) + 1]
        progress, d, low = old.progress, aligned(old.d, dtype), None
        if old.low is not None:
            low = aligned(old.low, dtype)
            low[old.low == np.iinfo(old.d.dtype).min] = np.iinfo(dtype).min
        park, waiting = int(progress["park"]), int(progress["waiting"])
        tables.set_limits(progress, dtype, self.parks, self.constants.highest)
        if self.parks:
            parked = old.ring_lane[(int(progress["head"]) + np.arange(waiting)) % len(old.ring_lane)]
            d[parked] += park - int(progress["park"])
        theta = tables.theta_of(self._layer, dtype) if self.spiking else None
        self.state = old._replace(d=d, low=low, theta=theta)

    def readout(self, steps: int) -> IntArray:
        """Potentials at the end of each of so many steps, the last one's as they are now (int64 (steps, neurons))."""
        rows: IntArray = self.tally.readout[:steps].copy()
        channels, padded = self.constants.channels, self.constants.padded
        rows[int(self.state.progress["step"]) :] = self.state.d.reshape(-1, padded)[:, :channels].ravel()
        return rows

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        state = State(*(aligned(a, a.dtype) if a is not None and a.ndim else copy(a) for a in self.state))
        return state, self._way, self.parks, super().snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.state, self._way, self.parks, ways = snapshot
        self.numbers = numbers_of(self.state.progress)
        super().restore(ways)

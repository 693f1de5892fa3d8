"""A refractory period at a time: neurons that have one, signed or not, at high resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.engines.layered.calls import Calls
from eventsim.engines.layered.tables import Layout
from eventsim.engines.layered.trains import Train, as_train
from eventsim.engines.layered.ways import period_tables
from eventsim.engines.layered.ways.period_kernels import advance as kernels
from eventsim.engines.layered.ways.period_kernels import records
from eventsim.engines.layered.ways.records import Role, Status, only
from eventsim.engines.layered.ways.way import SPARSE, TrainWay, along, parts
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job

if TYPE_CHECKING:
    from eventsim.engines.layered.populations.layer import Layer


_NO_CLOCK = np.zeros(0, np.int64)
# No site has been reached.
_START = np.zeros((), records.PROGRESS)
_START["site"] = -1


class Periods(TrainWay):
    """See :mod:`eventsim.engines.layered.ways.period_kernels`."""

    parks = False

    def __init__(self, population: Layer, job: Job, layout: Layout):
        self.population, self._call = population, Calls()
        made = layout.made(period_tables.by_period)
        assert not isinstance(made, str)
        layer, of = made
        self.layer = only(layer, "projections", "w8", "w16", "effective")._replace(constants=population.constants)
        copies = {field: np.empty_like(getattr(of, field)) for field in ("progress", "free", "begins", "plain", "loads", "found")}
        clock, wide = _clock(job, layout), layer.projections["wide"]
        plain = not np.any(wide[:clock] if clock >= 0 else wide)
        self.periods = of._replace(sizes=of.sizes._replace(plain=plain, clock=clock), **copies)

    @classmethod
    def why_not(cls, layout: Layout, job: Job, name: str) -> str | None:
        """Why a population cannot be run a period at a time in a run; None if it can be."""
        constants = layout.layer.constants
        if constants.role != Role.NEURONS or constants.zero_reset:
            return "its neurons are reset to zero, or never spike"
        if job.refractory[name] < max(SPARSE, 2):
            return f"few spikes arrive in a refractory period of fewer than {SPARSE} ticks"
        made = layout.made(period_tables.by_period)
        return made if isinstance(made, str) else None

    @classmethod
    def room(cls, ways: Sequence[Periods], repeats: int) -> records.Room:
        """Room to work in for any of these."""
        sizes, lanes = [way.periods.sizes for way in ways], max(way.layer.constants.size for way in ways)
        entries = np.empty(max(size.expected for size in sizes), np.int64)
        return records.Room(
            entries=entries,
            halves=entries.view(np.int32),
            moments=np.empty(max(size.stretch for size in sizes) + 1, np.uint16),
            ticks=np.empty(records.MOMENTS + 2, np.int64),
            places=np.empty(records.MOMENTS + 2, np.int64),
            first=np.empty(lanes, np.uint16),
            keys=np.empty(lanes, np.int64),
        )

    def takes(self, window: Window) -> bool:
        """64 bits are checked at every tick, which this does not."""
        return not self.population.state.progress["checked"]

    def begin(self, job: Job) -> None:
        """Those that are due wait for the first tick; or all, for the onset."""
        periods, population = self.periods, self.population
        periods.progress[()] = _START
        periods.free[:] = 0
        due = population.start.due
        if len(due):
            periods.free[due] = records.NEVER
            population.state.ring_tick[: len(due)], population.state.ring_lane[: len(due)] = population.onset, due

    def run(self, window: Window, scratch: Workspace) -> Train:
        """Run a window."""
        population = self.population
        if self.periods.sizes.clock < 0:
            return super().run(window, scratch)
        train, clock = (as_train(window.spikes[projection.source]) for projection in population.incoming)
        population.begin_window()
        for part, until in parts(train, 0, population.some, window.until):
            reached = self._advance(records.Arrivals(*part, clock.tick), until, scratch)
            if reached < until:
                # Another way takes what is left, with the clock's spikes among the others.
                both = window.arrivals(population.incoming)
                at = population.state.progress["at"] = int(np.searchsorted(both.tick, reached, "right"))
                return along(population.handed_over(window, reached), both, at, window, scratch)
        return population.fired()

    def advance(self, train: Train, until: int, scratch: Workspace) -> int:
        """Run up to the end of a tick, or to where potentials need 64 bits."""
        return self._advance(records.Arrivals(*train, _NO_CLOCK), until, scratch)

    def _advance(self, train: records.Arrivals, until: int, scratch: Workspace) -> int:
        population, progress = self.population, self.periods.progress
        while True:
            room, d = scratch.rooms[Periods], population.state.d
            status = self._call(
                kernels.advance, population.kind, self.layer, population.state, None if d.itemsize == 2 else d, self.periods, room, train,
                population.out, population.tally, until,
            )  # fmt: skip
            if status == Status.DONE:
                return until
            if status == Status.WIDEN:
                population.widen()
                if population.state.progress["checked"]:
                    return int(progress["reached"])
            elif status == Status.ROOM:
                needed = int(progress["needed"])
                entries = np.empty(max(len(room.entries), 2 * needed), np.int64)
                moments = np.empty(2 * needed + 1, np.uint16)
                scratch.rooms[Periods] = room._replace(entries=entries, halves=entries.view(np.int32), moments=moments)
            else:
                population.more_out(scratch.most)

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs, beside the population's state, to run on from here again."""
        return self.periods._replace(progress=self.periods.progress.copy(), free=self.periods.free.copy())

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.periods = snapshot


def _clock(job: Job, layout: Layout) -> int:
    """Which projection brings the spikes of a bias clock, which need not be put among the others; -1 if none does."""
    incoming = layout.incoming
    if len(incoming) != 2 or any(job.delay[projection.name] for projection in incoming):
        return -1
    source = job.network.populations[incoming[1].source]
    return 1 if source.emits == "clock" and source.size == 1 else -1

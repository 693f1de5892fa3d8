"""Site by site: plain neurons at high resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.engines.layered.calls import Calls
from eventsim.engines.layered.tables import Layout
from eventsim.engines.layered.trains import Train
from eventsim.engines.layered.ways import site_tables
from eventsim.engines.layered.ways.records import FOREVER, Role, Status, only
from eventsim.engines.layered.ways.site_kernels import records, stretches
from eventsim.engines.layered.ways.way import SPARSE, TrainWay
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.records import numbers_of
from eventsim.kernels.simd_spikes import SORTED

if TYPE_CHECKING:
    from eventsim.engines.layered.populations.layer import Layer


class Sites(TrainWay):
    """See :mod:`eventsim.engines.layered.ways.site_kernels`."""

    def __init__(self, population: Layer, job: Job, layout: Layout):
        self.population, self._call = population, Calls()
        made = layout.made(site_tables.by_site)
        assert not isinstance(made, str)
        layer, of = made
        self.layer = only(layer, "projections", "w8", "w16", "effective")._replace(constants=population.constants)
        copies = {field: np.empty_like(getattr(of, field)) for field in ("progress", "again", "begins", "loads", "found")}
        self.sites, start = of._replace(**copies), np.zeros((), records.PROGRESS)
        due = population.start.due
        start["site"], start["spikes"], start["pending"] = -1, of.sizes.stretch, 1 if len(due) else FOREVER
        self._numbers, self._start = numbers_of(self.sites.progress), numbers_of(start)
        self._due_blocks = due // of.sizes.block

    @classmethod
    def why_not(cls, layout: Layout, job: Job, name: str) -> str | None:
        """Why a population cannot be run site by site in a run; None if it can be."""
        constants = layout.layer.constants
        if constants.role != Role.NEURONS or layout.population.signed or constants.zero_reset or job.refractory[name] > 1:
            return "its neurons are signed, reset to zero, have refractory periods, or never spike"
        if job.resolution < SPARSE:
            return f"many spikes share a tick at fewer than {SPARSE} ticks a step"
        made = layout.made(site_tables.by_site)
        return made if isinstance(made, str) else None

    @classmethod
    def room(cls, ways: Sequence[Sites], repeats: int) -> records.Room:
        """Room to work in for any of these."""
        entries = max(way.sites.sizes.expected for way in ways)
        return records.Room(np.empty(entries, np.int64), np.zeros(2, np.int64), np.array([0, -1]))

    def takes(self, window: Window) -> bool:
        """64 bits are checked at every tick, which this does not."""
        return not self.population.state.progress["checked"]

    def begin(self, job: Job) -> None:
        """Note the blocks with neurons that are due at the first tick."""
        self._numbers[:] = self._start
        self.sites.again[:] = FOREVER
        if len(self._due_blocks):
            self.sites.again[self._due_blocks] = 1

    def advance(self, train: Train, until: int, scratch: Workspace) -> int:
        """Run up to the end of a tick, or to where potentials need 64 bits."""
        population, progress = self.population, self.sites.progress
        while True:
            status = self._call(
                stretches.advance, population.kind, self.layer, population.state, self.sites, scratch.rooms[Sites], scratch.order, train,
                population.out, scratch.keys, population.tally, until,
            )  # fmt: skip
            if status == Status.DONE:
                return until
            if status == Status.WIDEN:
                population.widen()
                if population.state.progress["checked"]:
                    return int(progress["reached"])
            elif status == Status.ROOM:
                room = scratch.rooms[Sites]
                scratch.rooms[Sites] = room._replace(entries=np.empty(2 * int(progress["needed"]), np.int64))
            else:
                n = int(progress["keys"])
                if not scratch.order.fits(n):
                    scratch.more_order()
                elif population.state.progress["fired"] + n + SORTED > len(population.out.tick):
                    population.more_out(scratch.most)
                else:
                    scratch.more_keys(n)

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs, beside the population's state, to run on from here again."""
        return self.sites._replace(progress=self.sites.progress.copy(), again=self.sites.again.copy())

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.sites, self._numbers = snapshot, numbers_of(snapshot.progress)

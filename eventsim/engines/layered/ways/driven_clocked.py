"""Driven neurons, clocked: each through many ticks, which makes a raster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.engines.layered.calls import Calls
from eventsim.engines.layered.pipeline import BUFFERS
from eventsim.engines.layered.rasters import CHUNK, NO_MASKS, Raster, masks_in, room
from eventsim.engines.layered.ways.driven_clocked_kernels import drive
from eventsim.engines.layered.ways.driven_tables import DrivenLayout
from eventsim.engines.layered.ways.raster_kernels.records import Masks
from eventsim.engines.layered.ways.raster_kernels.together import Counted, drive_together
from eventsim.engines.layered.ways.way import Way
from eventsim.engines.layered.windows import RASTERS, Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.stencils import aligned
from eventsim.model.tables import IntArray

if TYPE_CHECKING:
    from eventsim.engines.layered.populations.driven import Driven


class DrivenClocked(Way):
    """See :func:`eventsim.engines.layered.ways.driven_clocked_kernels.drive`."""

    def __init__(self, population: Driven, job: Job, layout: DrivenLayout):
        self.population, self._layout, self._call = population, layout, Calls()
        self._v = np.zeros(0, np.int32)
        self._buffers = [NO_MASKS]

    @classmethod
    def why_not(cls, layout: DrivenLayout, job: Job, name: str) -> str | None:
        """Why driven neurons cannot be clocked in a run; None if they can be."""
        if job.resolution != 1 or job.refractory[name] != 1:
            return "a step has more than one tick, or a refractory period has"
        return None if cls._charge(layout, job, name) is not None else "a potential might leave 32 bits"

    @staticmethod
    def _charge(layout: DrivenLayout, job: Job, name: str) -> IntArray | None:
        """The currents, for which no potential leaves 32 bits, before or after a spike; None if one may."""
        current = job.currents[name]
        if layout.span + job.largest[name] * job.steps < 2**31:
            return current
        # Those that begin below their threshold and sink may stay there.
        if np.all(layout.v0 < layout.threshold):
            charge: IntArray = np.maximum(current, 0)
            if layout.span + int(charge.max()) * job.steps < 2**31:
                return charge
        return None

    @classmethod
    def room(cls, ways: Sequence[DrivenClocked], repeats: int) -> IntArray:
        """Room for the counts of a chunk."""
        return np.empty(CHUNK, np.int32)

    def longest(self) -> int:
        """Ticks for whose masks there is room, in runs in which nothing else has any, too."""
        return max(CHUNK, 8 * RASTERS // self.population.lanes)

    def begin(self, job: Job) -> None:
        """Go to the start of a run."""
        charge = self._charge(self._layout, job, self.population.name)
        assert charge is not None
        self._current = charge
        if self._layout.padded > self._layout.channels:
            self._current = self._layout.lanes(charge, 0)
        self._potentials()[:] = self._layout.v

    def _potentials(self) -> IntArray:
        if not len(self._v):
            self._v = aligned(self._layout.v, np.int32)
        return self._v

    def alternate(self) -> None:
        """From now on leave the masks of a window alone while the next ones run."""
        while len(self._buffers) < BUFFERS:
            self._buffers.append(NO_MASKS)

    def run(self, window: Window, scratch: Workspace) -> Raster:
        """Run a window."""
        layout, masks = self._layout, self.target(window.since, window.ticks)
        first = self._call(
            drive, "", self._v, self._current, layout.theta, layout.back, masks, scratch.rooms[DrivenClocked], self.population.spikes
        )
        self.population.spikes_at(first)
        return Raster(masks)

    def target(self, since: int, ticks: int, runs: int = 1) -> Masks:
        """Room for the masks of a window (of so many runs): where those of the longest time ago are."""
        layout = self._layout
        size = runs * room(ticks, layout.locations, layout.channels)
        buffer = self._buffers.pop(0)
        if len(buffer) < size:
            buffer = np.zeros(size, np.uint32)
        self._buffers.append(buffer)
        return masks_in(since, ticks, layout.shape, buffer[:size], None)

    def run_together(self, jobs: Sequence[Job], target: Masks, scratch: Workspace, counted: Counted, column: int) -> bool:
        """A whole run for each of the jobs; the masks of all are written to :meth:`target`. False if a potential may leave 32 bits."""
        layout, charges = self._layout, []
        for job in jobs:
            charge = self._charge(layout, job, self.population.name)
            if charge is None:
                return False
            charges.append(charge)
        currents = charges[0].reshape(1, -1) if len(charges) == 1 else np.array(charges, np.int32)
        if layout.padded > layout.channels:
            padded = np.zeros((len(jobs), layout.locations, layout.padded), np.int32)
            padded[:, :, : layout.channels] = currents.reshape(len(jobs), layout.locations, layout.channels)
            currents = padded.reshape(len(jobs), -1)
        given = layout.v, currents, self._potentials(), layout.theta, layout.back, target, scratch.rooms[DrivenClocked], counted, column
        self._call(drive_together, "", *given)
        return True

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        return aligned(self._v, np.int32)

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self._v = snapshot

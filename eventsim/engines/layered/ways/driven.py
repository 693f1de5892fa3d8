"""Driven neurons at high resolution: their spikes in closed form, a stretch of time put in order at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.engines.layered import trains
from eventsim.engines.layered.calls import Calls
from eventsim.engines.layered.limits import check_crowd
from eventsim.engines.layered.pipeline import BUFFERS
from eventsim.engines.layered.trains import Train
from eventsim.engines.layered.ways import driven_kernels as k
from eventsim.engines.layered.ways.driven_tables import DrivenLayout
from eventsim.engines.layered.ways.records import FOREVER, Status
from eventsim.engines.layered.ways.way import Way
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.simd_spikes import SORTED
from eventsim.kernels.stencils import aligned

if TYPE_CHECKING:
    from eventsim.engines.layered.populations.driven import Driven

# Spikes of a driven population that are put in order at a time, about, so that its keys stay in the cache; or one in so many neurons, if
# that is more, since each time all neurons are looked through.
STRETCH, STRETCH_OF = 2**14, 4


class DrivenClosedForm(Way):
    """See :mod:`eventsim.engines.layered.ways.driven_kernels`."""

    def __init__(self, population: Driven, job: Job, layout: DrivenLayout):
        self.population, self._layout, self._call = population, layout, Calls()
        self._settings = k.Settings(population.refractory, job.resolution, layout.size.bit_length(), 1)
        self._progress = np.zeros((), k.PROGRESS)
        # What a spike, and the first one, takes of ``rate * tick``.
        self._period, self._need = layout.threshold * job.resolution, (layout.threshold - layout.v0) * job.resolution
        self._trains = [trains.empty(0, False)]
        self._periodic, self._held = k.periodic_for(0, job.end), k.held_for(0)
        self._neurons: k.Neurons

    @classmethod
    def why_not(cls, layout: DrivenLayout, job: Job, name: str) -> str | None:
        """It can."""
        return None

    @classmethod
    def room(cls, ways: Sequence[DrivenClosedForm], repeats: int) -> None:
        """None but what ways share."""
        return None

    def begin(self, job: Job) -> None:
        """Go to the start of a run."""
        population, layout = self.population, self._layout
        if not len(self._periodic.following):
            self._periodic = k.periodic_for(layout.size, job.end)
        self._neurons = k.Neurons(layout.threshold, layout.v0, population.current)
        held = self._call(k.start, "", self._period, self._need, population.current, population.refractory, self._periodic)
        if held != len(self._held.neuron):
            self._held = k.held_for(held)
        if held:
            self._call(k.hold, "", self._neurons, job.resolution, self._periodic, self._held)
        spikes, per_tick = max(STRETCH, layout.size // STRETCH_OF), population.per_tick()
        stretch = int(min(spikes / per_tick, FOREVER)) + 1 if per_tick else FOREVER
        if stretch != self._settings.stretch:
            self._settings = self._settings._replace(stretch=stretch)

    def alternate(self) -> None:
        """From now on leave the spikes of a window alone while the next ones run."""
        while len(self._trains) < BUFFERS:
            self._trains.append(trains.empty(0, False))

    def longest(self) -> int:
        """Ticks of a window, counted from its begin, have to fit a key together with a neuron."""
        return 2 ** (62 - self._settings.bits)

    def run(self, window: Window, scratch: Workspace) -> Train:
        """Run a window."""
        population, progress, train = self.population, self._progress, self._trains[0]
        progress[()] = window.since, 0, 0, -1
        while True:
            status = self._call(
                k.advance, "", self._neurons, self._periodic, self._held, self._settings, progress, scratch.keys, scratch.order, train,
                population.spikes, window.until,
            )  # fmt: skip
            if status != Status.GROW:
                break
            fired, keys = int(progress["fired"]), int(progress["keys"])
            if progress["place"] < len(self._held.neuron):
                scratch.more_keys(keys)
            elif not scratch.order.fits(keys):
                scratch.more_order()
            else:
                check_crowd(fired + keys, scratch.most)
                self._trains[0] = train = trains.grown(train, False, 2 * fired + keys + SORTED)
        self._trains.append(self._trains.pop(0))
        fired = int(progress["fired"])
        if fired:
            population.spikes_at(int(train.tick[0]))
        return Train(train.tick[:fired], train.neuron[:fired], train.sign, train.projection)

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        following, early = (aligned(a, a.dtype) for a in (self._periodic.following, self._periodic.early))
        held = self._held._replace(following=self._held.following.copy(), count=self._held.count.copy())
        return self._periodic._replace(following=following, early=early), held

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self._periodic, self._held = snapshot

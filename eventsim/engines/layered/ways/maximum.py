"""Ways to run a maximum population: clocked from a raster, and along the spikes that reach it. They share counts, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eventsim.engines.layered import trains
from eventsim.engines.layered.calls import Calls
from eventsim.engines.layered.limits import check_crowd
from eventsim.engines.layered.rasters import Raster, masks_in, of_train, room
from eventsim.engines.layered.trains import NO_PROJECTIONS, Train
from eventsim.engines.layered.ways.maximum_kernels import follow, follow_raster
from eventsim.engines.layered.ways.way import Way
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.windows import Maxima
from eventsim.model.network import Projection
from eventsim.model.populations import Maximum as Model
from eventsim.model.tables import IntArray, spatial

if TYPE_CHECKING:
    from eventsim.engines.layered.populations.maximum import Maximum

# Cells of windows that are looked at before compiled code comes back, so that Ctrl-C works.
WORK = 2**28
# A list of spikes is made a raster if one of so many neurons spikes at a tick, or more do.
DENSE = 64


class MaximumLayout(NamedTuple):
    """What does not change from run to run.

    Attributes
    ----------
    population : eventsim.model.populations.Maximum
    projection : Projection
        The one that leads to it.
    number : int
        Of the projection, in the network.
    maxima : Maxima
        Its windows.
    source_size : int
    cells : int
        Of a window, at most.
    work : int
        Cells that a spike has others compared with, at most about.
    """

    population: Model
    projection: Projection
    number: int
    maxima: Maxima
    source_size: int
    cells: int
    work: int


class MaximumClocked(Way):
    """Tick by tick from the raster of the source; where there are many spikes, a list is made one."""

    clocked = True

    def __init__(self, population: Maximum, job: Job, layout: MaximumLayout):
        self.population, self._call, self._maxima = population, Calls(), layout.maxima
        self._source, self._shape, self._signed = layout.projection.source, layout.population.shape, layout.population.signed
        source = job.network.populations[self._source]
        self._source_shape, self._source_signed = source.shape, source.signed
        self._upward = _bits(layout.population.largest)

    @classmethod
    def why_not(cls, layout: MaximumLayout, job: Job, name: str) -> str | None:
        """Why a population cannot be run from rasters in a run; None if it can be."""
        if job.resolution != 1:
            return "a step has more than one tick"
        return "the projection to it is delayed" if job.delay[layout.projection.name] else None

    @classmethod
    def room(cls, ways: Sequence[MaximumClocked], repeats: int) -> None:
        """What it takes is the population's own."""

    def takes(self, window: Window) -> bool:
        """Whether there is a raster, or it is worth to make one."""
        spikes = window.spikes[self._source]
        return isinstance(spikes, Raster) or DENSE * len(spikes.tick) >= window.ticks * math.prod(self._source_shape)

    def run(self, window: Window, scratch: Workspace) -> Raster:
        """Run a window."""
        spikes = window.spikes[self._source]
        if not isinstance(spikes, Raster):
            spikes = of_train(spikes, window.since, window.ticks, self._source_shape, self._source_signed)
        height, width, channels = spatial(self._shape)
        size = room(window.ticks, height * width, channels)
        negative = np.zeros(size, np.uint32) if self._signed else None
        target = masks_in(window.since, window.ticks, self._shape, np.zeros(size, np.uint32), negative)
        population, masks = self.population, spikes.masks
        arguments = (self._maxima, population.state, self._upward, masks, masks.negative, target, negative, population.counted)
        self._call(follow_raster, "", *arguments)
        if not population.first_tick:
            ticks = np.flatnonzero(population.counted.spikes[window.since : window.until])
            population.spikes_at(window.since + int(ticks[0]) + 1 if len(ticks) else 0)
        return Raster(target)


class MaximumTrains(Way):
    """Spike by spike: a rise matters if it goes above a window's maximum, a fall if it begins there."""

    def __init__(self, population: Maximum, job: Job, layout: MaximumLayout):
        self.population, self._call, self._maxima = population, Calls(), layout.maxima
        self._incoming, self._resolution = [layout.projection], job.resolution
        self._signed, self._size = layout.population.signed, layout.population.size
        self._some = max(1, WORK // layout.work)

    @classmethod
    def why_not(cls, layout: MaximumLayout, job: Job, name: str) -> str | None:
        """It can."""
        return None

    @classmethod
    def room(cls, ways: Sequence[MaximumTrains], repeats: int) -> None:
        """What it takes is the population's own."""

    def run(self, window: Window, scratch: Workspace) -> Train:
        """Run a window."""
        train, population = window.arrivals(self._incoming), self.population
        out = trains.empty(self._size + len(train.tick) + 64, self._signed)
        at = fired = 0
        while at < len(train.tick):
            end = min(len(train.tick), at + self._some)
            # Up to the end of a tick.
            end = int(np.searchsorted(train.tick, train.tick[end - 1], "right"))
            at, fired = self._call(
                follow, "", self._maxima, population.state, train, at, end, out, fired, population.counted, self._resolution
            )
            if at < end:
                check_crowd(fired, scratch.most)
                out = trains.grown(out, self._signed, 2 * len(out.tick))
        if fired:
            population.spikes_at(int(out.tick[0]))
        return Train(out.tick[:fired], out.neuron[:fired], out.sign[:fired], NO_PROJECTIONS)


def _bits(largest: IntArray) -> IntArray:
    """Of each channel a bit, the lowest one first: uint32 (blocks of 32 channels,)."""
    padded = np.zeros(-(-len(largest) // 32) * 32, np.uint8)
    padded[: len(largest)] = largest
    return np.packbits(padded, bitorder="little").view("<u4").astype(np.uint32)

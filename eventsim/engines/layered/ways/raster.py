"""Clocked layers: many ticks of a location at a time, from rasters.

At one tick a step most locations have spikes at most ticks, so it pays to give up the order of time across a population, and to keep a
location in registers for up to CHUNK ticks. A :class:`eventsim.engines.layered.rasters.Raster` holds the spikes of a window as masks:
(chunk, location, block of 32 channels, tick). A projection is seen as a convolution of stride 1: the source locations are taken in
groups of stride x stride, and all neurons of a group reach the same rows x columns target locations. (For a dense table all neurons are
one group, and its target is a row of locations of LANES channels.) For each group and tick the weights of its spikes are added up in
registers (in int8, as far as that surely goes) and then added to the *currents* of those target locations (int16), which are kept for as
many rows of targets as a group reaches, and for LANES target channels at a time. A row of target locations that no further group reaches
integrates its currents and fires, each location through all ticks of the chunk. A readout adds up the weights of the spikes of each tick
by itself.

The result is that of :mod:`eventsim.engines.layered.ways.ticks`, which takes over where a table or neuron does not fit this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eventsim.engines.layered.calls import Calls
from eventsim.engines.layered.pipeline import BUFFERS
from eventsim.engines.layered.rasters import CHUNK, NO_MASKS, Raster, blocks, masks_in, of_train, room
from eventsim.engines.layered.tables import Layout
from eventsim.engines.layered.ways import raster_tables
from eventsim.engines.layered.ways.parts import largest_now
from eventsim.engines.layered.ways.raster_kernels.integrate import advance
from eventsim.engines.layered.ways.raster_kernels.readout import read_out
from eventsim.engines.layered.ways.raster_kernels.records import Costs, Masks, Scratch
from eventsim.engines.layered.ways.raster_kernels.together import Counted, Origin, advance_together, read_out_together
from eventsim.engines.layered.ways.records import only
from eventsim.engines.layered.ways.way import Way
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.simd import LANES
from eventsim.kernels.stencils import aligned_zeros
from eventsim.model.tables import IntArray, spatial

if TYPE_CHECKING:
    from eventsim.engines.layered.populations.layer import Layer


class Rasters(Way):
    """A window from the raster of the source."""

    clocked = True

    def __init__(self, population: Layer, job: Job, layout: Layout):
        self.population, self._call = population, Calls()
        made = layout.made(raster_tables.from_raster)
        assert not isinstance(made, str)
        self._from, self._summing = made, made.summing
        layer = only(layout.layer, "projections", "records", "w8", "effective")
        self._layer = layer._replace(constants=population.constants)
        self.source, self._shape = made.source.source, layout.shape
        source = layout.network.populations[self.source]
        self._source_shape, self._source_signed = source.shape, bool(source.signed)
        # Whether potentials surely stay in 32 bits until the end of a run.
        self.always = self._stays_for(population.start.progress, job.end)
        self._costs = self._costs_of_spikes()
        self._buffers: list[tuple[IntArray, IntArray | None]] = [self._no_masks()]
        self._silent = Raster(masks_in(0, 1, self._shape, NO_MASKS, None))

    @classmethod
    def why_not(cls, layout: Layout, job: Job, name: str) -> str | None:
        """Why a population cannot be run from rasters in a run; None if it can be."""
        if job.resolution != 1:
            return "a step has more than one tick"
        if job.refractory.get(name, 1) > 1:
            return "it has a refractory period of more than a tick"
        made = layout.made(raster_tables.from_raster)
        return made if isinstance(made, str) else None

    @classmethod
    def room(cls, ways: Sequence[Rasters], repeats: int) -> Scratch:
        """Room to work in for any of these."""
        return Scratch(
            aligned_zeros(max(way._summing.current for way in ways), np.int16),
            np.empty(max(way._summing.words for way in ways), np.int64),
            np.empty(raster_tables.MOST_TAPS, np.int64),
            np.empty(CHUNK, np.int32),
            # A readout lists the channels of a source location.
            np.empty(max(32 * blocks(spatial(way._source_shape)[2]) for way in ways) + LANES, np.int32),
        )

    def _costs_of_spikes(self) -> Costs:
        """What is counted when this population runs from a raster."""
        layer, made = self._layer, self._from
        row = layer.projections[made.row]
        height, width, channels = spatial(self._source_shape)
        clocks = layer.projections[made.clocks]
        of_clock = np.zeros((len(clocks), 5), np.int64)
        for costs, clock in zip(of_clock, clocks, strict=True):
            record = layer.records[clock["records"]]
            effective = layer.effective[clock["nonzero"]] if clock["nonzero"] >= 0 else record["synapses"]
            costs[:] = 1, record["synapses"], record["additions"], record["toolbox"], effective
        numbers = np.ascontiguousarray(clocks["number"])
        return Costs(height * width, blocks(channels), int(row["records"]), int(row["number"]), bool(row["nonzero"] < 0), numbers, of_clock)

    def alternate(self) -> None:
        """From now on leave the masks of a window alone while the next ones run."""
        while len(self._buffers) < BUFFERS:
            self._buffers.append(self._no_masks())

    def takes(self, window: Window) -> bool:
        """Whether potentials surely stay in 32 bits, and the source's spikes are a raster, or are worth to be made one."""
        # (A readout takes a list as it is: to make a raster of it takes longer than to add it up.)
        return self.stays_within(window.ticks) and (self.population.spiking or isinstance(window.spikes[self.source], Raster))

    def stays_within(self, ticks: int) -> bool:
        """Whether potentials surely stay in 32 bits for so many ticks."""
        state = self.population.state
        if state.d.dtype != np.int32:
            return False
        if self.always or self._stays_for(state.progress, ticks):
            return True
        # A reset may leave |d| at the threshold.
        state.progress["bound"] = max(self.population.constants.highest, int(largest_now(state.d)))
        return self._stays_for(state.progress, ticks)

    def _stays_for(self, progress: IntArray, ticks: int) -> bool:
        """Whether the bound leaves room for what so many ticks may add."""
        return int(progress["bound"]) + ticks * self._summing.tables.rise <= int(progress["limit"])

    def run(self, window: Window, scratch: Workspace) -> Raster:
        """Run a window; its spikes are a raster, which is empty for a readout."""
        spikes = window.spikes[self.source]
        if not isinstance(spikes, Raster):
            spikes = of_train(spikes, window.since, window.ticks, self._source_shape, self._source_signed)
        population, tables, working = self.population, self._summing.tables, scratch.rooms[Rasters]
        state = population.state
        if not population.spiking:
            self._call(read_out, "", self._layer, self._costs, state, population.tally, self._from.row, tables, spikes.masks, working)
            return self._silent
        target = self.target(window.since, window.ticks)
        self._call(advance, "", tables, self._layer.records, self._costs, state, population.tally, spikes.masks, target, working)
        return Raster(target)

    def run_together(self, source: Masks, target: Masks, scratch: Workspace, counted: Counted, column: int) -> None:
        """Whole runs of a spiking population, given the masks of its source in all of them; its own are written to :meth:`target`."""
        tables, tally, working = self._summing.tables, self.population.tally, scratch.rooms[Rasters]
        state, rows = self.population.state, tally.readout
        given = self._origin(), tables, self._layer.records, self._costs, state, rows, source, target, working, counted, column
        self._call(advance_together, "", *given)

    def read_out_together(self, runs: int, source: Masks, scratch: Workspace, decided: IntArray, counted: Counted, column: int) -> IntArray:
        """So many whole runs of a readout: its potentials, int64 (runs, steps, neurons); ``decided`` is written."""
        rows = np.empty((runs, source.ticks, self.population.neurons), np.int64)
        tables, state, working = self._summing.tables, self.population.state, scratch.rooms[Rasters]
        given = self._layer, self._costs, state, rows, self._from.row, tables, source, working, decided, counted, column
        self._call(read_out_together, "", self._origin(), *given)
        return rows

    def _origin(self) -> Origin:
        population = self.population
        return Origin(population.first_numbers, population.numbers, population.start.d)

    def _no_masks(self) -> tuple[IntArray, IntArray | None]:
        """Room for no masks, of spikes of either sign if the population fires both."""
        return NO_MASKS, NO_MASKS if self.population.signed else None

    def target(self, since: int, ticks: int, runs: int = 1) -> Masks:
        """Room for the masks of a window (of so many runs): where those of the longest time ago are."""
        height, width, channels = spatial(self._shape)
        size = runs * room(ticks, height * width, channels)
        positive, negative = self._buffers.pop(0)
        if len(positive) < size:
            positive = np.zeros(size, np.uint32)
            negative = None if negative is None else np.zeros(size, np.uint32)
        self._buffers.append((positive, negative))
        return masks_in(since, ticks, self._shape, positive[:size], None if negative is None else negative[:size])

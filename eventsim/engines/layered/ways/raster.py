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
from eventsim.engines.layered.rasters import CHUNK, NO_MASKS, Raster, blocks, of_train, room
from eventsim.engines.layered.tables import Layout
from eventsim.engines.layered.ways import raster_kernels, raster_tables
from eventsim.engines.layered.ways.parts import largest
from eventsim.engines.layered.ways.way import Way
from eventsim.engines.layered.windows import Window
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import Job
from eventsim.kernels.simd import LANES
from eventsim.kernels.stencils import ADDITIONS, SYNAPSES, TOOLBOX, aligned_zeros
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
        self._layer = layout.layer._replace(constants=population.constants)
        self._source, self._shape = made.source.source, spatial(layout.shape)
        self._source_shape = layout.network.populations[self._source].shape
        self._costs = self._costs_of_spikes()
        self._buffers = [(NO_MASKS, NO_MASKS)]

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
    def room(cls, ways: Sequence[Rasters], repeats: int) -> raster_kernels.Scratch:
        """Room to work in for any of these."""
        return raster_kernels.Scratch(
            aligned_zeros(max(way._summing.current for way in ways), np.int16),
            np.empty(max(way._summing.words for way in ways), np.int64),
            np.empty(raster_tables.MOST_TAPS, np.int64),
            np.empty(CHUNK, np.int32),
            # A readout lists the channels of a source location.
            np.empty(max(32 * blocks(spatial(way._source_shape)[2]) for way in ways) + LANES, np.int32),
        )

    def _costs_of_spikes(self) -> raster_kernels.Costs:
        """What is counted when this population runs from a raster."""
        layer, made = self._layer, self._from
        row = layer.projections[made.row]
        height, width, channels = spatial(self._source_shape)
        clocks = np.zeros((len(made.clocks), 6), np.int64)
        for costs, clock in zip(clocks, layer.projections[made.clocks], strict=True):
            synapses, additions, toolbox = layer.records[clock["records"], [SYNAPSES, ADDITIONS, TOOLBOX]]
            effective = layer.effective[clock["nonzero"]] if clock["nonzero"] >= 0 else synapses
            costs[:] = clock["number"], 1, synapses, additions, toolbox, effective
        scalars = [height * width, blocks(channels), row["records"], row["number"], row["nonzero"] < 0]
        return raster_kernels.Costs(np.array(scalars, np.int64), clocks)

    def alternate(self) -> None:
        """From now on leave the masks of a window alone while the next ones run."""
        while len(self._buffers) < BUFFERS:
            self._buffers.append((NO_MASKS, NO_MASKS))

    def takes(self, window: Window) -> bool:
        """Whether potentials surely stay in 32 bits, and the source's spikes are a raster, or are worth to be made one."""
        # (A readout takes a list as it is: to make a raster of it takes longer than to add it up.)
        return self.stays_within(window.ticks) and (self.population.spiking or isinstance(window.spikes[self._source], Raster))

    def stays_within(self, ticks: int) -> bool:
        """Whether potentials surely stay in 32 bits for so many ticks."""
        state = self.population.state
        if state.d.dtype != np.int32:
            return False
        s, rise = state.progress, ticks * self._summing.rise
        if s["bound"] + rise > s["limit"]:
            # A reset may leave |d| at the threshold.
            most = largest(state.d, False, 0, state.ring_lane, 0, 0)
            s["bound"] = max(self.population.constants.highest, most)
        return bool(s["bound"] + rise <= s["limit"])

    def run(self, window: Window, scratch: Workspace) -> Raster:
        """Run a window; its spikes are a raster, which is empty for a readout."""
        since, ticks = window.since, window.ticks
        spikes = window.spikes[self._source]
        source = spikes if isinstance(spikes, Raster) else of_train(spikes, since, ticks, self._source_shape)
        population, tables, working = self.population, self._summing.tables, scratch.rooms[Rasters]
        state = population.state
        state.progress["bound"] += ticks * self._summing.rise
        height, width, channels = self._shape
        if not population.spiking:
            self._call(
                raster_kernels.read_out, "", self._layer, self._costs, state, population.tally, self._from.row, tables.constant,
                source.masks, source.negative, since, ticks, source.length, working.listed, working.counts,
            )  # fmt: skip
            return Raster(since, ticks, source.length, height * width, channels, NO_MASKS, NO_MASKS)
        out = self._masks(room(ticks, height * width, channels))
        self._call(
            raster_kernels.advance, "", *tables, self._layer.records, self._costs, state.progress, state.d, state.net, population.tally,
            source.masks, source.negative, since, ticks, source.length, *out, working,
        )  # fmt: skip
        return Raster(since, ticks, source.length, height * width, channels, *out)

    def _masks(self, size: int) -> tuple[IntArray, IntArray]:
        """Room for the masks of a window, and those of spikes of sign -1 if there may be some: where those of the longest time ago are."""
        masks, negative = self._buffers.pop(0)
        if len(masks) < size:
            masks, negative = np.zeros(size, np.uint32), np.zeros(size if self.population.signed else 0, np.uint32)
        self._buffers.append((masks, negative))
        return masks[:size], negative[:size]

"""The layered engine: feed-forward networks, a window of time and a population at a time.

The spikes of a population depend only on those of the populations before it, so a window can be run population by population: its
incoming spikes in time order, its potentials and its weights in the cache. The result is that of the queue engine, spike for spike.
Layout and kernels: :mod:`eventsim.engines.layer_kernels`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from eventsim.compile import (
    ADDITIONS,
    FIRST_LANE,
    ROWS,
    RUN,
    SYNAPSES,
    TAP,
    TOOLBOX,
    aligned,
    aligned_zeros,
    compile_tables,
    padded_stencil,
)
from eventsim.engines import layer_kernels as k
from eventsim.engines import queue, raster, raster_kernels
from eventsim.engines import site_kernels as sites
from eventsim.engines.pipeline import Pipeline
from eventsim.engines.reference import overflow_message
from eventsim.engines.simd import LANES, NEGATIVE
from eventsim.errors import PotentialOverflow, RunError
from eventsim.job import OPERATIONS, Counts, Job, NoRecorder, Recorder, check_room, prepare
from eventsim.network import Driven, Network, Projection, Readout, Source, Spiking, feed_forward_order
from eventsim.tables import Conv2d, Dense, IntArray, Shape, Sparse, spatial

# Spikes of driven neurons that a window is meant to have: enough to be worth its overhead. With several threads there have to be some
# windows for them to work on at a time.
_WINDOW, _PARALLEL_WINDOW = 2**18, 2**17
# Bits of a tick by which spikes are sorted in one pass, at most.
_DIGIT = 13
# Clocked windows are as long as the rasters of all populations together have room for in so many bytes, ...
_RASTER = 2**23
# with an exit rule they have so many ticks, since the last window may have to be run again;
_EXIT_WINDOW = 8
# a convolution to up to so many channels (a dense table: lanes) is run from rasters; gathering (bit-sliced) is faster for more.
_WIDEST, _WIDEST_DENSE = 128, 512
# From this resolution on so few spikes share a tick that gathering them is not worth its tables.
_SPARSE = 2**10
# Entries that the spikes of a stretch should make (see eventsim.engines.site_kernels), for the second-level cache; room for its own spikes.
_ENTRIES, _KEYS = 2**15, 2**12
_NO_SIGNS, _NO_PROJECTIONS = np.zeros(0, np.int8), np.zeros(0, np.int16)
_NO_RASTER = np.zeros(0, np.uint32), np.zeros(0, np.uint32)
# The spikes of a population in a window.
Spikes = k.Train | raster.Raster


class Start(NamedTuple):
    """The state of a population before a run."""

    scalars: IntArray
    d: IntArray
    low: IntArray
    theta: IntArray
    due: IntArray  # lanes


@dataclass
class Summing:
    """How a population is run from the raster of its source; its other projections are bias clocks."""

    compiled: raster.Summing
    source: Projection
    row: int  # among the incoming projections
    clocks: list[int]  # likewise


@dataclass
class Workspace:
    """Room for a thread to work in."""

    ticks: k.Scratch
    raster: raster_kernels.Scratch
    sites: sites.Room


@dataclass
class Layout:
    """The compiled tables of one population."""

    layer: k.Layer
    incoming: list[Projection]
    room: dict[str, int]
    v: IntArray  # initial potentials, (locations, channels)
    signs: bool  # whether spikes of sign -1 may reach it
    summing: Summing | None = None
    _sites: tuple[k.Layer, sites.Sites | None] | None = None
    _starts: dict[tuple[bool, bool], Start] = field(default_factory=dict)

    def start(self, parks: bool, summed: bool) -> Start:
        """The state before a run; what is summed from rasters has 32 bits."""
        key = (parks, summed)
        if key not in self._starts:
            of = self.layer.scalars
            role, highest, padded = of[k.ROLE], int(of[k.HIGHEST]), int(of[k.PADDED])
            wide = np.full((len(self.v), padded), -1, np.int64)
            wide[:, : self.v.shape[1]] = self.v - self.layer.threshold
            d: IntArray = wide.ravel()
            bound = max(int(np.abs(d).max()), highest)
            # Readouts are few; they start where they will not have to be widened soon.
            dtype = next(t for t in _TYPES[0 if role == k.NEURONS and not summed else 1 :] if bound <= _limits(t, parks, highest)[0])
            due = np.flatnonzero(d >= 0) if role == k.NEURONS else np.zeros(0, np.int64)
            scalars = np.zeros(k.SCALARS, np.int64)
            scalars[[k.BOUND, k.DECIDED_AT, k.WAITING]] = bound, 1, len(due)
            if role == k.OUTPUT:
                scalars[k.DECISION] = np.argmax(self.v)
            _set_limits(scalars, dtype, parks, highest)
            if parks:
                d[due] -= scalars[k.PARK]
            low = np.full(d.size if of[k.SIGNED] else 0, scalars[k.LOWEST], dtype)
            self._starts[key] = Start(scalars, d.astype(dtype), low, _theta(self.layer, dtype), due)
        return self._starts[key]

    def by_site(self) -> tuple[k.Layer, sites.Sites | None]:
        """For running the population site by site, if its tables allow it."""
        if self._sites is None:
            self._sites = _sites(self)
        return self._sites


class DrivenLayout:
    """What does not change from run to run of a driven population."""

    def __init__(self, population: Driven):
        self.threshold, self.v0 = (np.array(a, np.int64) for a in (population.threshold, population.v0))
        self.inverse = 1.0 / self.threshold
        self.size = int(np.prod(population.shape))
        # What a potential may be apart from what the current brings.
        self.span = int(np.abs(self.v0).max()) + int(self.threshold.max())
        self.locations, self.channels = self.size // len(self.threshold), len(self.threshold)
        # Location by location, padded with channels that never fire.
        self.padded = 32 * raster.blocks(self.channels)
        wide = self.span < 2**31
        self.v = self.lanes(self.v0 if wide else np.full(self.channels, -1), -1)
        self.theta = self.lanes(self.threshold if wide else np.ones(self.channels), 1)

    def lanes(self, values: IntArray, other: int) -> IntArray:
        """Values per channel, or per neuron, for all lanes."""
        out = np.full((self.locations, self.padded), other, np.int32)
        out[:, : self.channels] = values.reshape(-1, self.channels)
        return aligned(out, np.int32)


class Layouts:
    """A network, compiled for this engine.

    Raises
    ------
    RunError
        The network has a cycle.
    """

    def __init__(self, network: Network):
        order = feed_forward_order(network)
        if order is None:
            raise RunError("the layered engine runs feed-forward networks, and this one has a cycle; use engine 'queue' or 'auto'")
        self.network, self.order = network, order
        self.sparse = {name: _layout(network, name) for name, p in network.populations.items() if isinstance(p, (Spiking, Readout))}
        self.driven = {name: DrivenLayout(p) for name, p in network.populations.items() if isinstance(p, Driven)}
        self._dense: dict[str, Layout] | None = None
        self._idle: list[_Run] = []

    def begin(self, job: Job) -> _Run:
        """The populations at the start of a run, in the arrays of the last one if they fit."""
        try:
            state = self._idle.pop()
        except IndexError:
            state = None
        if state is None or state.key != _Run.key_of(job):
            state = _Run(job, self)
        state.begin(job)
        return state

    def end(self, state: _Run) -> None:
        """Keep the arrays for the next run."""
        self._idle[:] = [state]

    @property
    def dense(self) -> dict[str, Layout]:
        """With the tables that gathering takes."""
        if self._dense is None:
            self._dense = {name: _for_many(self.network, name, layout) for name, layout in self.sparse.items()}
        return self._dense


def _layout(network: Network, name: str) -> Layout:
    population = network.populations[name]
    assert isinstance(population, (Spiking, Readout))
    incoming = [p for p in network.projections if p.target == name]
    height, width, channels = spatial(population.shape)
    padded = -(-channels // LANES) * LANES
    size = height * width * padded
    columns = np.zeros((len(incoming), k.PROJECTION), np.int64)
    weights: list[list[IntArray]] = [[], [], []]
    filled = [0, 0, 0]
    records: list[IntArray] = []
    effective: list[IntArray] = []
    row_start: list[IntArray] = []
    lanes: list[IntArray] = []
    room = {"locations": 1, "source": 1}
    for row, projection in zip(columns, incoming, strict=True):
        source, table = network.populations[projection.source].shape, projection.table
        row[k.GATHER_FROM], row[k.NUMBER] = k.FOREVER, network.projections.index(projection)
        if isinstance(table, Sparse):
            row[k.KIND] = k.CSR
            row[k.RECORDS] = sum(map(len, row_start))
            begin = sum(map(len, lanes))
            row_start.append(table.indptr + begin)
            lanes.append(table.indices // channels * padded + table.indices % channels)
            values = table.weights
        else:
            values, record, steps = padded_stencil(table, source, population.shape, padded)
            row[k.KIND] = k.STENCIL
            row[k.SOURCE_CHANNELS] = spatial(source)[2]
            row[k.SOURCE_SHIFT] = _shift(spatial(source)[2])
            row[k.RECORDS] = sum(map(len, records))
            row[[k.ROW_STEP, k.TAP_STEP, k.CHANNEL_STEP]] = steps
            records.append(record.reshape(-1, 8))
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        wide = next(i for i, most in enumerate((2**7, 2**15, 2**31)) if -most <= low and high < most)
        row[k.LARGEST], row[k.WIDE], row[k.WEIGHTS] = max(-low, high), wide, filled[wide]
        if isinstance(table, Sparse):
            row[k.WEIGHTS] -= begin
        weights[wide].append(values.ravel())
        filled[wide] += values.size
        row[k.NONZERO] = -1
        if table.magnitude is None and not np.all(table.weights):
            row[k.NONZERO] = sum(map(len, effective))
            effective.append(table.effective_fan_out(source, population.shape))
    spiking = isinstance(population, Spiking)
    scalars = np.zeros(k.CONSTANTS, np.int64)
    scalars[[k.SIZE, k.CHANNELS, k.PADDED, k.PADDED_SHIFT]] = size, channels, padded, _shift(padded)
    scalars[k.SIGNED] = population.signed
    scalars[k.ZERO_RESET] = isinstance(population, Spiking) and population.reset == "zero"
    scalars[k.ROLE] = k.NEURONS if spiking else k.OUTPUT if name == network.output else k.READOUT
    threshold = np.array(population.threshold if isinstance(population, Spiking) else np.zeros(channels), np.int64)
    scalars[k.HIGHEST] = threshold.max()
    layer = k.Layer(
        scalars,
        columns,
        _joined(records, np.int64).reshape(-1, 8),
        _joined(weights[0], np.int8),
        _joined(weights[1], np.int16),
        _joined(weights[2], np.int32),
        _joined(effective, np.int32),
        _joined(row_start, np.int64),
        _joined(lanes, np.int32),
        np.zeros((len(incoming), k.GATHER), np.int64),
        np.zeros(0, np.uint64),
        threshold,
    )
    signs = any(getattr(network.populations[p.source], "signed", False) for p in incoming)
    return Layout(layer, incoming, room, np.broadcast_to(population.v0, (height * width, channels)).astype(np.int64), signs)


def _for_many(network: Network, name: str, layout: Layout) -> Layout:
    """Add the tables for ticks with many spikes: see :func:`layer_kernels.gather` and :mod:`eventsim.engines.raster`."""
    shape = network.populations[name].shape
    columns, gathers = layout.layer.projections.copy(), layout.layer.gathers.copy()
    bits: list[IntArray] = []
    room = dict(layout.room)
    for row, g, projection in zip(columns, gathers, layout.incoming, strict=True):
        source, table = network.populations[projection.source].shape, projection.table
        gathered = None if isinstance(table, Sparse) else _gather(table, source, shape, int(layout.layer.scalars[k.PADDED]))
        if gathered is None:
            continue  # their spikes go to their targets one by one
        g[:], values = gathered
        g[k.G_WEIGHTS] = sum(before.size for before in bits)
        bits.append(values)
        row[k.GATHER_FROM] = _worth_gathering(layout.layer, row, g)
        for key, size in (("locations", int(g[k.G_HEIGHT] * g[k.G_WIDTH])), ("source", int(np.prod(source)))):
            room[key] = max(room[key], size)
    bits.append(np.zeros(k.ZEROS, np.uint64))
    layer = layout.layer._replace(projections=columns, gathers=gathers, bits=_joined(bits, np.uint64))
    summing = _summing(network, name, layout)
    if summing is not None:
        # A readout lists the channels of a source location.
        room["source"] = max(room["source"], 32 * raster.blocks(spatial(network.populations[summing.source.source].shape)[2]))
    return Layout(layer, layout.incoming, room, layout.v, layout.signs, summing)


def _summing(network: Network, name: str, layout: Layout) -> Summing | None:
    """How a population is run from a raster, if it can be."""
    population = network.populations[name]
    assert isinstance(population, (Spiking, Readout))
    if any(p.delay for p in layout.incoming):
        return None
    sources = {row: network.populations[p.source] for row, p in enumerate(layout.incoming)}
    clocks = [row for row, p in sources.items() if isinstance(p, Source) and p.emits == "clock" and p.shape == (1,)]
    others = [row for row in sources if row not in clocks]
    if len(others) != 1 or isinstance(sources[others[0]], Source):
        return None
    height, width, channels = spatial(population.shape)
    padded = int(layout.layer.scalars[k.PADDED])
    constant = None
    if clocks:
        lanes = np.zeros((height * width, padded), np.int64)
        for row in clocks:
            table = layout.incoming[row].table
            if not isinstance(table, Dense):
                return None
            lanes[:, :channels] += table.weights.reshape(height * width, channels)
        constant = lanes
    projection = layout.incoming[others[0]]
    table = projection.table
    if isinstance(table, Sparse):
        return None
    if isinstance(population, Readout):
        if not isinstance(table, Dense) or layout.layer.projections[others[0], k.WIDE]:
            return None
        tables = raster.reading(table, constant)
    elif (padded > _WIDEST) if isinstance(table, Conv2d) else (height * width * padded > _WIDEST_DENSE):
        return None
    else:
        tables = raster.summing(
            table, sources[others[0]].shape, population.shape, padded, constant, _theta(layout.layer, np.int64), population.signed,
            population.reset == "zero",
        )  # fmt: skip
    return None if tables is None else Summing(tables, projection, others[0], clocks)


def _gather(table: Conv2d | Dense, source: Shape, target: Shape, padded: int) -> tuple[IntArray, IntArray] | None:
    """Constants and packed weights of a table, if it has weights of one magnitude and whole words of channels."""
    out_height, out_width, outputs = spatial(target)
    lanes = padded if isinstance(table, Conv2d) else out_height * out_width * padded
    # A lane that stands for no neuron must not move.
    if table.magnitude is None or padded != outputs or lanes % 64 or table.pool_before != (1, 1):
        return None
    g = np.zeros(k.GATHER, np.int64)
    block = next(b for b in (512, 256, 128, 64) if lanes % b == 0)
    g[[k.G_UNIT, k.G_LANES, k.G_BLOCK]] = table.magnitude, lanes, block
    if isinstance(table, Dense):
        signs = table.weights.reshape(1, 1, -1, lanes) > 0
        g[[k.G_HEIGHT, k.G_WIDTH, k.G_CHANNELS, k.G_OUT_HEIGHT, k.G_OUT_WIDTH]] = 1, 1, len(table.weights), 1, 1
        g[[k.G_STRIDE_Y, k.G_STRIDE_X, k.G_POOL_Y, k.G_POOL_X]] = 1
    else:
        signs = table.weights > 0
        g[[k.G_HEIGHT, k.G_WIDTH, k.G_CHANNELS]] = spatial(source)
        g[[k.G_OUT_HEIGHT, k.G_OUT_WIDTH]] = out_height, out_width
        g[[k.G_STRIDE_Y, k.G_STRIDE_X, k.G_TOP, k.G_LEFT]] = *table.stride, table.padding[0], table.padding[1]
        g[[k.G_POOL_Y, k.G_POOL_X]] = table.pool_after
    g[[k.G_ROWS, k.G_COLUMNS]] = signs.shape[:2]
    signs = signs.reshape(*signs.shape[:3], lanes // block, block).transpose(3, 0, 1, 2, 4).ravel()
    return g, np.packbits(signs, bitorder="little").view("<u8").astype(np.uint64)


def _worth_gathering(layer: k.Layer, row: IntArray, g: IntArray) -> int:
    """From how many spikes in a tick on it is faster to gather than to scatter them; results do not depend on it.

    The constants are rough measurements, in nanoseconds.
    """
    blocks, words = int(g[k.G_LANES] // g[k.G_BLOCK]), int(g[k.G_BLOCK]) // 64
    visits = int(g[k.G_OUT_HEIGHT] * g[k.G_OUT_WIDTH]) * blocks
    segments = int(g[k.G_ROWS] * g[k.G_POOL_Y] * g[k.G_POOL_X])
    reached = float(g[k.G_ROWS] * g[k.G_COLUMNS] / (g[k.G_STRIDE_Y] * g[k.G_STRIDE_X]))
    locations = int(g[k.G_HEIGHT] * g[k.G_WIDTH]) if row[k.ROW_STEP] else 1
    records = layer.records[row[k.RECORDS] :][:locations]
    scattered = 7 + 0.52 * float((records[:, ROWS] * records[:, RUN]).mean()) / LANES
    saved = scattered - (1.0 if words > 4 else 0.65) * reached * blocks
    return max(4, int(visits * (10 + 10 * segments + 9 * words) / saved)) if saved > 0 else int(k.FOREVER)


def _shift(n: int) -> int:
    """Which power of two n is, or -1."""
    return n.bit_length() - 1 if n & (n - 1) == 0 else -1


def _joined(parts: list[IntArray], dtype: type) -> IntArray:
    return aligned(np.concatenate(parts), dtype) if parts else np.zeros(0, dtype)


# Potentials: the type of d, the largest |d| that it may hold, what parking takes off it.
_TYPES = (np.int16, np.int32, np.int64)


def _limits(dtype: Any, parks: bool, highest: int) -> tuple[int, int]:
    """(largest |d|, PARK) of a type; V = d + threshold has to stay within int32 too, unless it is checked."""
    if dtype is np.int64:
        return 2**60, 2**61
    top = int(np.iinfo(dtype).max)
    park = (top + 1) // 2 if parks else 0
    return min(top - 1 - park, 2**31 - 2 - highest), park


def _set_limits(scalars: IntArray, dtype: Any, parks: bool, highest: int) -> None:
    scalars[[k.LIMIT, k.PARK]] = _limits(dtype, parks, highest)
    scalars[k.CHECKED], scalars[k.LOWEST] = dtype is np.int64, np.iinfo(dtype).min


def _theta(layer: k.Layer, dtype: Any) -> IntArray:
    """Thresholds of the lanes of a location."""
    theta = np.zeros(int(layer.scalars[k.PADDED]), np.int64)
    theta[: len(layer.threshold)] = layer.threshold
    return aligned(theta, dtype)


class _Layer:
    """A spiking or readout population during a run.

    ``spikes`` (2, steps) and ``operations`` (projections, steps, 5) are what it counts in.
    """

    def __init__(self, job: Job, name: str, layout: Layout, spikes: IntArray, operations: IntArray):
        self.name, self.incoming = name, layout.incoming
        scalars = layout.layer.scalars.copy()
        scalars[k.REFRACTORY], scalars[k.RESOLUTION], scalars[k.END] = job.refractory.get(name, 1), job.resolution, job.end
        if job.exit_rule is not None and name == job.network.output:
            scalars[k.EXIT_KIND] = {"potential": 1, "margin": 2}[job.exit_rule.kind]
            scalars[k.EXIT_LIMIT] = job.exit_rule.threshold
        self.of_sites: sites.Sites | None = None
        layer = layout.layer
        plain = scalars[k.ROLE] == k.NEURONS and not scalars[k.SIGNED] and not scalars[k.ZERO_RESET] and scalars[k.REFRACTORY] == 1
        if plain and job.resolution >= _SPARSE:
            layer, self.of_sites = layout.by_site()
        self.layer = layer._replace(scalars=scalars)
        size = int(scalars[k.SIZE])
        self.neurons = layout.v.size
        self.spiking = bool(scalars[k.ROLE] == k.NEURONS)
        self.signed = bool(scalars[k.SIGNED])
        self.parks = self.spiking and job.refractory[name] > 1
        self.summing = layout.summing if job.resolution == 1 and not self.parks else None
        self.start = layout.start(self.parks, self.summing is not None)
        lanes, signed = size if self.spiking else 0, size if self.signed else 0
        self.state = k.State(
            self.start.scalars.copy(),
            aligned(self.start.d, self.start.d.dtype),
            aligned(self.start.low, self.start.low.dtype),
            np.zeros(signed, np.int32),
            np.empty(lanes, np.int64),
            np.empty(lanes, np.int32),
            self.start.theta,
        )
        readout = np.zeros((0, 0) if self.spiking else (job.steps, self.neurons), np.int64)
        self.tally = k.Tally(spikes[0], spikes[1], operations, readout)
        self.out = _empty(size + 1024 if self.spiking else 0, self.signed)
        self.spare: k.Train | None = None
        self.shape = job.network.populations[name].shape
        self.sites = self.of_sites
        if self.sites is not None:
            of = self.sites
            copies = {field: np.empty_like(getattr(of, field)) for field in ("at", "again", "begins", "loads", "found")}
            self.sites = self.of_sites = of._replace(**copies)
        self.keys = np.empty(_KEYS if self.sites is not None else 0, np.int64)
        self.rasters = [_NO_RASTER]

    def begin(self) -> None:
        """Go to the start of a run."""
        state, start = self.state, self.start
        if state.d.dtype != start.d.dtype:
            d, low = aligned(start.d, start.d.dtype), aligned(start.low, start.low.dtype)
            self.state = state = state._replace(d=d, low=low, theta=start.theta)
        state.scalars[:], state.d[:] = start.scalars, start.d
        if self.signed:
            state.low[:], state.net[:] = start.low, 0
        if len(start.due):
            state.ring_tick[: len(start.due)], state.ring_lane[: len(start.due)] = 1, start.due
        self.in_ring, self.sites = True, self.of_sites
        if self.sites is not None:
            self._enter_sites()

    def alternate(self) -> None:
        """From now on leave the spikes of a window alone while the next one runs."""
        if self.spare is None:
            self.spare = _empty(len(self.out.tick), self.signed)
            self.rasters.append(_NO_RASTER)

    def _widen(self) -> None:
        """Give d the next wider type."""
        old = self.state
        dtype = _TYPES[_TYPES.index(old.d.dtype.type) + 1]
        scalars = old.scalars
        d, low = aligned(old.d, dtype), aligned(old.low, dtype)
        low[old.low == np.iinfo(old.d.dtype).min] = np.iinfo(dtype).min
        park, waiting = int(scalars[k.PARK]), int(scalars[k.WAITING])
        _set_limits(scalars, dtype, self.parks, int(self.layer.scalars[k.HIGHEST]))
        if self.parks:
            parked = old.ring_lane[(int(scalars[k.HEAD]) + np.arange(waiting)) % len(old.ring_lane)]
            d[parked] += park - int(scalars[k.PARK])
        self.state = old._replace(d=d, low=low, theta=_theta(self.layer, dtype))

    def sums(self, ticks: int) -> bool:
        """Whether so many ticks can be run from a raster: potentials surely stay in 32 bits."""
        if self.summing is None or self.state.d.dtype != np.int32:
            return False
        s, rise = self.state.scalars, ticks * self.summing.compiled.rise
        if s[k.BOUND] + rise > s[k.LIMIT]:
            # A reset may leave |d| at the threshold.
            most = k.largest(self.state.d, False, 0, self.state.ring_lane, 0, 0)
            s[k.BOUND] = max(int(self.layer.scalars[k.HIGHEST]), most)
        return bool(s[k.BOUND] + rise <= s[k.LIMIT])

    def run_raster(self, source: raster.Raster, since: int, until: int, scratch: Workspace) -> raster.Raster:
        """Run to the end of a tick from the raster of the source; returns that of the population."""
        assert self.summing is not None
        of, state, ticks = self.summing.compiled, self.state, until - since
        state.scalars[k.BOUND] += ticks * of.rise
        projections, records, operations = self.layer.projections, self.layer.records, self.tally.operations
        row = projections[self.summing.row]
        raster_kernels.count_operations(
            source.masks, source.negative, ticks, source.length, source.locations, raster.blocks(source.channels), records,
            int(row[k.RECORDS]), row[k.NONZERO] < 0, scratch.raster.counts, operations[row[k.NUMBER], since:until],
        )  # fmt: skip
        for clock in self.summing.clocks:
            of_clock = projections[clock]
            synapses, additions, toolbox = records[of_clock[k.RECORDS], [SYNAPSES, ADDITIONS, TOOLBOX]]
            effective = self.layer.effective[of_clock[k.NONZERO]] if of_clock[k.NONZERO] >= 0 else synapses
            operations[of_clock[k.NUMBER], since:until] += 1, synapses, additions, toolbox, effective
        height, width, channels = spatial(self.shape)
        if not self.spiking:
            raster_kernels.read_out(
                self.layer, state, self.summing.row, of.tables.constant, source.locations, source.masks, source.negative, since, ticks,
                source.length, scratch.ticks.split, self.tally.readout, operations[row[k.NUMBER]],
            )  # fmt: skip
            return raster.Raster(since, ticks, source.length, height * width, channels, *_NO_RASTER)
        room = raster.room(ticks, height * width, channels)
        out = self.rasters.pop(0)
        if len(out[0]) != room:
            out = np.zeros(room, np.uint32), np.zeros(room if self.signed else 0, np.uint32)
        self.rasters.append(out)
        raster_kernels.integrate(*of.tables, state.d, state.net, source.masks, source.negative, ticks, source.length, *out, scratch.raster)
        state.scalars[[k.HEAD, k.WAITING]] = 0
        self.in_ring = False
        found = raster.Raster(since, ticks, source.length, height * width, channels, *out)
        found.count_steps(self.tally.spikes[since:until], self.tally.negative[since:until], scratch.raster.counts)
        if not state.scalars[k.FIRST_TICK]:
            state.scalars[k.FIRST_TICK] = _first(self.tally.spikes[since:until], since)
        return found

    def _enter_ring(self, since: int) -> None:
        """From now on tick by tick: the neurons that are still due have to be in the ring."""
        state, s = self.state, self.state.scalars
        due = state.d >= 0
        if self.signed:
            state.low[:] = np.where(state.net > 0, -np.resize(state.theta, state.d.size), s[k.LOWEST])
            due |= state.d < state.low
        lanes = np.flatnonzero(due)
        state.ring_tick[: len(lanes)], state.ring_lane[: len(lanes)] = since + 1, lanes
        s[[k.HEAD, k.WAITING]] = 0, len(lanes)
        self.in_ring = True

    def run_sites(self, train: k.Train, until: int, scratch: Workspace) -> k.Train | None:
        """Run to the end of a tick, site by site; returns the spikes, or None if a potential left int32."""
        assert self.sites is not None
        if self.spare is not None:
            self.out, self.spare = self.spare, self.out
        scalars = self.state.scalars
        scalars[[k.AT, k.FIRED]] = 0
        while True:
            status = sites.advance(self.layer, self.state, self.sites, scratch.sites, train, self.out, self.keys, self.tally, until)
            if status == k.DONE:
                return self._spikes()
            if status == k.WIDEN:
                self._widen()
                if scalars[k.CHECKED]:
                    self._enter_ring(int(self.sites.at[sites.REACHED]))
                    self.sites = None
                    return self._advance(train, until, scratch)
            elif status == sites.ROOM:
                scratch.sites = scratch.sites._replace(entries=np.empty(2 * int(self.sites.at[sites.NEEDED]), np.int64))
            else:
                if scalars[k.FIRED] + self.sites.at[sites.KEYS] > len(self.out.tick):
                    self.out = _grown(self.out, self.signed)
                else:
                    self.keys = np.concatenate((self.keys, np.empty_like(self.keys)))
                scratch.sites = scratch.sites._replace(sorting=np.empty(len(self.keys), np.int64))

    def _enter_sites(self) -> None:
        """Note the blocks with neurons that are due at the first tick."""
        of = self.sites
        assert of is not None
        of.at[:], of.again[:] = 0, k.FOREVER
        of.at[[sites.SITE, sites.SPIKES]] = -1, of.scalars[sites.STRETCH]
        due = self.start.due
        if len(due):
            of.again[due // int(of.scalars[sites.BLOCK])] = 1
        of.at[sites.PENDING] = 1 if len(due) else k.FOREVER

    def _spikes(self) -> k.Train:
        n = int(self.state.scalars[k.FIRED])
        return k.Train(self.out.tick[:n], self.out.neuron[:n], self.out.sign[:n], _NO_PROJECTIONS)

    def run(self, train: k.Train, since: int, until: int, scratch: Workspace) -> k.Train | None:
        """Run to the end of a tick; returns the spikes, or None if a potential left int32."""
        if self.sites is not None:
            return self.run_sites(train, until, scratch)
        if not self.in_ring:
            self._enter_ring(since)
        if self.spare is not None:
            self.out, self.spare = self.spare, self.out
        self.state.scalars[[k.AT, k.FIRED]] = 0
        return self._advance(train, until, scratch)

    def _advance(self, train: k.Train, until: int, scratch: Workspace) -> k.Train | None:
        while True:
            status = k.advance(self.layer, self.state, scratch.ticks, train, self.out, self.tally, until)
            if status == k.DONE:
                return self._spikes()
            if status == k.OVERFLOW:
                return None
            if status == k.WIDEN:
                self._widen()
            else:
                self.out = _grown(self.out, self.signed)

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        state, of = self.state._replace(**{key: aligned(a, a.dtype) for key, a in self.state._asdict().items()}), self.sites
        if of is not None:
            of = of._replace(at=of.at.copy(), again=of.again.copy())
        return state, of, self.in_ring

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.state, self.sites, self.in_ring = snapshot


class _Driven:
    """A driven population during a run; counts its spikes in ``spikes`` (steps,)."""

    def __init__(self, job: Job, name: str, layout: DrivenLayout, spikes: IntArray):
        self.name, self.resolution, self.refractory, self.layout = name, job.resolution, job.refractory[name], layout
        self.steps, self.spikes = job.steps, spikes
        self.bits = layout.size.bit_length()
        self.padded_current = aligned_zeros(layout.v.size, np.int32)
        self.buffers = [np.empty(2**14, np.int64), np.empty(2**14, np.int64)]
        self.digits = np.empty(2**_DIGIT + 1, np.int64)
        self.trains = [_empty(0, False)]
        self.rasters = [_NO_RASTER[0]]
        self.state: list[IntArray] = []

    def begin(self, current: IntArray) -> None:
        """Go to the start of a run with these currents per step."""
        self.current = current
        self.first_tick = 0
        expected, low, high = k.expect(self.layout.inverse, current, self.resolution / self.refractory)
        # About how many spikes a tick to expect.
        self.per_tick = expected / self.resolution
        # No potential, before or after a spike, is larger than this.
        self.checked = self.layout.span + max(high, -low) * self.steps >= 2**31
        self.clocked = self.resolution == 1 and self.refractory == 1 and not self.checked
        if self.clocked:
            lanes = self.padded_current.reshape(self.layout.locations, -1)
            lanes[:, : self.layout.channels] = current.reshape(-1, self.layout.channels)
            if len(self.state) != 1:
                self.state = [aligned(self.layout.v, np.int32)]
            self.state[0][:] = self.layout.v
        else:
            # Ticks of the next spikes, and spikes so far.
            if len(self.state) != 2:
                self.state = [np.empty(len(current), np.int64) for _ in range(2)]
            self.state[1].fill(0)
            k.first_ticks(self.layout.threshold, self.layout.v0, current, self.resolution, self.state[0])

    def alternate(self) -> None:
        """From now on leave the spikes of a window alone while the next one runs."""
        if len(self.trains) == 1:
            self.trains.append(_empty(0, False))
            self.rasters.append(_NO_RASTER[0])

    def _train(self, room: int) -> k.Train:
        """Room for the spikes of a window."""
        self.trains.append(self.trains.pop(0))
        if len(self.trains[0].tick) < room:
            self.trains[0] = _empty(room, False)
        return self.trains[0]

    def longest(self) -> int:
        """The longest window that this population can run."""
        return int(k.FOREVER) if self.clocked else 2 ** (62 - self.bits)

    def run(self, since: int, until: int, scratch: Workspace) -> k.Train | raster.Raster | None:
        """The spikes of a window, sorted; None if a potential left int32."""
        if self.clocked:
            return self._run_clocked(since, until, scratch)
        train = self._run(since, until)
        if train is None or not len(train.tick):
            return train
        self.first_tick = self.first_tick or int(train.tick[0])
        return train

    def _run_clocked(self, since: int, until: int, scratch: Workspace) -> raster.Raster:
        (v,), ticks, layout = self.state, until - since, self.layout
        room = raster.room(ticks, layout.locations, layout.channels)
        masks = self.rasters.pop(0)
        if len(masks) != room:
            masks = np.zeros(room, np.uint32)
        self.rasters.append(masks)
        length = raster.chunks(ticks)[1]
        raster_kernels.drive(v, self.padded_current, layout.theta, ticks, length, masks)
        found = raster.Raster(since, ticks, length, layout.locations, layout.channels, masks, _NO_RASTER[1])
        found.count_steps(self.spikes[since:until], self.spikes[:0], scratch.raster.counts)
        self.first_tick = self.first_tick or _first(self.spikes[since:until], since)
        return found

    def _run(self, since: int, until: int) -> k.Train | None:
        n = start = 0
        while True:
            keys = self.buffers[0]
            following, count = self.state
            status, n, start = k.drive(
                self.layout.threshold, self.layout.v0, self.current, count, following, self.refractory, self.resolution,
                self.checked, since, until, self.bits, keys, n, start,
            )  # fmt: skip
            if status == k.OVERFLOW:
                return None
            if status == k.DONE:
                break
            self.buffers[0] = np.concatenate((keys, np.empty_like(keys)))
        if len(self.buffers[1]) < n:
            self.buffers[1] = np.empty_like(self.buffers[0])
        width = (until - since).bit_length()
        passes = -(-width // _DIGIT)
        digit = -(-width // passes)
        for number in range(passes):
            a, b = self.buffers
            k.sort_pass(a, n, self.bits + number * digit, self.digits[: 2**digit + 1], b)
            self.buffers = [b, a]
        train = self._train(n)
        k.unpack(self.buffers[0], n, since, self.bits, self.resolution, train.tick, train.neuron, self.spikes)
        return train._replace(tick=train.tick[:n], neuron=train.neuron[:n])

    def overflows_at(self, end: int) -> bool:
        """Whether a potential is beyond int32 at the end of the run."""
        if not self.checked:
            return False
        threshold, v0 = self.layout.threshold, self.layout.v0
        current, spikes = (a.reshape(-1, len(threshold)) for a in (self.current, self.state[1]))
        v = v0 + current * end // self.resolution - threshold * spikes
        return bool(v.max() > 2**31 - 1 or v.min() < -(2**31))

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run on from here again."""
        return [aligned(a, a.dtype) for a in self.state], self.first_tick

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self.state, self.first_tick = snapshot


def _sites(layout: Layout) -> tuple[k.Layer, sites.Sites | None]:
    """What a population needs to be run site by site, its arrays not yet filled; and its layer."""
    layer = layout.layer
    of, negated = layer.projections, layer.w8.size
    if not len(of) or np.any(of[:, k.KIND] != k.STENCIL) or np.any(of[:, k.WIDE] > 1):
        return layer, None
    if layout.signs:
        if np.any(layer.w8 == -128):
            return layer, None
        layer = layer._replace(w8=aligned(np.concatenate((layer.w8, -layer.w8)), np.int8))
    if max(layer.w8.size, layer.w16.size) >= NEGATIVE:
        return layout.layer, None
    size, padded = int(layer.scalars[k.SIZE]), int(layer.scalars[k.PADDED])
    lanes = size if all(isinstance(p.table, Dense) for p in layout.incoming) else padded
    block = 64 if padded % 64 == 0 else 32
    number, blocks = size // lanes, size // block
    reach = _reach(layer, lanes)
    if reach is None:
        return layout.layer, None
    scalars = np.zeros(sites.SCALARS, np.int64)
    scalars[[sites.SITE_LANES, sites.SITE_SHIFT, sites.BLOCK, sites.NEGATED]] = lanes, _shift(lanes), block, negated
    # A stretch looks at all locations: it should have spikes enough for that.
    scalars[sites.STRETCH] = max(_ENTRIES // max(1, int(reach[:, 0].max())), len(reach), number, 256)
    return layer, sites.Sites(
        scalars,
        np.zeros(sites.PROGRESS, np.int64),
        np.empty(blocks, np.int64),
        np.empty(number + 2, np.int64),
        np.empty(number + 1, np.int64),
        np.empty(len(layer.records), np.int64),
        reach,
    )


def _reach(layer: k.Layer, lanes: int) -> IntArray | None:
    """For each source location of each projection: its sites and their weights (see :class:`sites.Sites`)."""
    records = layer.records
    rows, columns = records[:, ROWS], records[:, RUN] // lanes
    number = rows * columns
    steps = np.zeros((len(records), 2), np.int64)
    begin = layer.projections[:, k.RECORDS]
    for of, first in zip(layer.projections, begin, strict=True):
        steps[first:] = of[k.ROW_STEP] // lanes, of[k.TAP_STEP]
    which = np.arange(int(number.max(initial=0)))
    row, column = which // np.maximum(1, columns)[:, None], which % np.maximum(1, columns)[:, None]
    first_weight = np.repeat(layer.projections[:, k.WEIGHTS], np.diff(np.append(begin, len(records)))) + records[:, TAP]
    reach = np.zeros((len(records), 4 + 2 * len(which)), np.int64)
    reach[:, 0] = number
    reach[:, 1:4] = records[:, [SYNAPSES, ADDITIONS, TOOLBOX]]
    reach[:, 4::2] = (records[:, FIRST_LANE] // lanes)[:, None] + row * steps[:, :1] + column
    reach[:, 5::2] = first_weight[:, None] - row * steps[:, 1:] + column * lanes
    # All locations of a projection have the same number, so that no branch depends on it; the site behind the last one is none.
    missing = which >= number[:, None]
    reach[:, 4::2][missing], reach[:, 5::2][missing] = int(layer.scalars[k.SIZE]) // lanes, 0
    reach[:, 0] = np.repeat(np.maximum.reduceat(number, begin), np.diff(np.append(begin, len(records))))
    return None if reach.max(initial=0) >= 2**31 else np.ascontiguousarray(reach, np.int32)


def _first(spikes: IntArray, since: int) -> int:
    """The first tick with spikes, 0 if there is none, given those of the ticks after ``since``."""
    found = np.flatnonzero(spikes)
    return since + 1 + int(found[0]) if len(found) else 0


def _empty(room: int, signed: bool) -> k.Train:
    return k.Train(np.empty(room, np.int64), np.empty(room, np.int32), np.empty(room if signed else 0, np.int8), _NO_PROJECTIONS)


def _grown(train: k.Train, signed: bool) -> k.Train:
    bigger = _empty(2 * len(train.tick), signed)
    for old, new in zip(train[:3], bigger[:3], strict=True):
        new[: len(old)] = old
    return bigger


class _Run:
    """All populations of a run, what they count, and the spikes that are still on their way through delayed projections."""

    def __init__(self, job: Job, layouts: Layouts):
        check_room(job)
        network, self.order, self.key = job.network, layouts.order, self.key_of(job)
        self.compiled = layouts.sparse if job.resolution >= _SPARSE else layouts.dense
        # Per population, all and negative; per projection.
        self.spikes = np.zeros((len(network.populations), 2, job.steps), np.int64)
        self.operations = np.zeros((len(network.projections), job.steps, len(OPERATIONS)), np.int64)
        self.layers: dict[str, _Layer] = {}
        self.driven: dict[str, _Driven] = {}
        for name, counts in zip(network.populations, self.spikes, strict=True):
            if name in layouts.driven:
                self.driven[name] = _Driven(job, name, layouts.driven[name], counts[0])
            elif name in self.compiled:
                self.layers[name] = _Layer(job, name, self.compiled[name], counts, self.operations)
        self._scratch: list[Workspace] = []
        self._split = max([1, *(layout.room["source"] for layout in self.compiled.values())])
        self.populations: list[_Layer | _Driven] = [*self.layers.values(), *self.driven.values()]

    @staticmethod
    def key_of(job: Job) -> Any:
        """Runs of a network that agree in this can use the same arrays."""
        return job.steps, job.resolution, job.exit_rule

    def scratch(self, threads: int) -> list[Workspace]:
        """Room to work in, for each thread."""
        # A source of events may repeat a neuron in a tick; all others fire at most once.
        split = max([self._split, *(len(ticks) for ticks, _ in self.job.events.values())])
        if len(self._scratch) < threads or len(self._scratch[0].ticks.split) < split:
            layouts = self.compiled.values()
            locations = max([1, *(layout.room["locations"] for layout in layouts)])
            largest = max([1, *(int(layout.layer.scalars[k.SIZE]) for layout in layouts)])
            summed = [layout.summing.compiled for layout in layouts if layout.summing is not None]
            self._scratch = [
                Workspace(
                    k.Scratch(
                        np.empty(2 * largest + LANES, np.int32),
                        np.empty(locations + 2, np.int64),
                        np.empty(split + LANES, np.int32),
                        np.empty(split + 8, np.int64),
                        np.empty(k.MOST_ROWS + 8, np.int64),
                    ),
                    raster_kernels.Scratch(
                        aligned_zeros(max([0, *(of.current for of in summed)]), np.int16),
                        np.empty(max([0, *(of.words for of in summed)]), np.int64),
                        np.empty(raster.MOST_TAPS, np.int64),
                        np.empty(raster.CHUNK, np.int32),
                    ),
                    sites.Room(
                        np.empty(2 * _ENTRIES, np.int64),
                        np.empty(_KEYS, np.int64),
                        np.empty(2**sites.DIGIT + 1, np.int64),
                        np.zeros(2, np.int64),
                        np.array([0, -1]),
                    ),
                )
                for _ in range(threads)
            ]
        return self._scratch[:threads]

    def begin(self, job: Job) -> None:
        """Go to the start of a run."""
        self.job = job
        self.late: dict[str, k.Train] = {}
        self.spikes.fill(0)
        self.operations.fill(0)
        for layer in self.layers.values():
            layer.begin()
        for name, driven in self.driven.items():
            driven.begin(job.currents[name])

    def window(self, since: int, until: int, scratch: Workspace) -> dict[str, Spikes] | None:
        """Run all populations from after ``since`` to the end of ``until``; returns their spikes, None after an overflow."""
        trains: dict[str, Spikes] = {}
        for name in self.order:
            train = self.population(name, since, until, trains, scratch)
            if train is None:
                return None
            trains[name] = train
        return trains

    def population(self, name: str, since: int, until: int, trains: Mapping[str, Spikes], scratch: Workspace) -> Spikes | None:
        """Run one of them, given the spikes of those that it reads; returns its own, None after an overflow."""
        if name in self.driven:
            return self.driven[name].run(since, until, scratch)
        if name in self.layers:
            layer = self.layers[name]
            if layer.summing is not None and layer.sums(until - since):
                source = layer.summing.source.source
                found = trains[source]
                if isinstance(found, k.Train):
                    found = raster.of_train(found, since, until - since, self.job.network.populations[source].shape)
                return layer.run_raster(found, since, until, scratch)
            return layer.run(self._arrivals(layer.incoming, trains, until), since, until, scratch)
        ticks, neurons = self.job.events[name]
        here = slice(*np.searchsorted(ticks, (since, until), side="right"))
        return k.Train(ticks[here], neurons[here], _NO_SIGNS, _NO_PROJECTIONS)

    def _arrivals(self, incoming: list[Projection], trains: Mapping[str, Spikes], until: int) -> k.Train:
        """What reaches a population in the window, by tick of arrival; what arrives later is kept in ``late``."""
        parts = []
        for number, projection in enumerate(incoming):
            train, delay = _as_train(trains[projection.source]), self.job.delay[projection.name]
            if delay:
                train = train._replace(tick=train.tick + delay)
                before = self.late.get(projection.name)
                if before is not None:
                    train = k.Train(*(np.concatenate(pair) for pair in zip(before, train, strict=True)))
                n = int(np.searchsorted(train.tick, until, side="right"))
                self.late[projection.name] = k.Train(*(a[n:].copy() for a in train))
                train = k.Train(*(a[:n] for a in train))
            if len(incoming) > 1:
                train = train._replace(projection=np.full(len(train.tick), number, np.int16))
            parts.append(train)
        if not parts:
            return _empty(0, False)
        merged = parts[0]
        for part in parts[1:]:
            n = len(merged.tick) + len(part.tick)
            both = _empty(n, bool(len(merged.sign) or len(part.sign)))._replace(projection=np.empty(n, np.int16))
            k.merge(merged, part, both)
            merged = both
        return merged

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs to run a window again."""
        populations = [(population, population.snapshot()) for population in self.populations]
        return populations, dict(self.late), self.spikes.copy(), self.operations.copy()

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot; the readouts of the steps after it are written again."""
        populations, self.late, self.spikes[:], self.operations[:] = snapshot
        for population, state in populations:
            population.restore(state)


@cache
def warm_up() -> None:
    """Compile, or load from the cache, the kernels for plain neurons."""
    network = Network()
    network.driven("input", 1, threshold=1)
    network.spiking("hidden", 1, threshold=1)
    network.readout("output", 1)
    for source, target in (("input", "hidden"), ("hidden", "output")):
        network.connect(source, target, Dense(np.ones((1, 1), np.int8)))
    run(prepare(network, {"input": [1]}, steps=1), Layouts(network), NoRecorder())


def run(job: Job, layouts: Layouts, recorder: Recorder, progress: Callable[[int], None] | None = None, threads: int = 1) -> Counts:
    """Run a job on a feed-forward network.

    Parameters
    ----------
    job : Job
    layouts : Layouts
        The job's network, compiled.
    recorder : Recorder
    progress : callable, optional
        Called now and then with the current tick.
    threads : int
        A run with an exit rule uses one.

    Raises
    ------
    PotentialOverflow
        A membrane potential would leave the range of int32.
    RunError
        More steps than the counts have room for.
    """
    state = layouts.begin(job)
    if threads > 1 and job.exit_rule is None:
        end = _run_threads(state, recorder, progress, threads)
    else:
        end = _run_alone(state, recorder, progress)
    if any(population.overflows_at(end) for population in state.driven.values()):
        raise _overflow(job)
    counts = _counts(job, state, end)
    layouts.end(state)
    return counts


def _window_length(state: _Run, threads: int) -> int:
    """Ticks in which the driven neurons and sources make about so many spikes as a window is meant to have."""
    job = state.job
    if threads == 1 and any(layer.summing is not None for layer in state.layers.values()):
        if job.exit_rule is not None:
            return _EXIT_WINDOW
        # Rasters of all populations, a bit for a neuron and tick.
        places = sum(p.layout.v.size if isinstance(p, _Driven) else p.neurons for p in state.populations)
        return max(raster.CHUNK, min(job.end, 8 * _RASTER // places))
    rate = sum(population.per_tick for population in state.driven.values())
    rate += sum(len(ticks) / job.end for ticks, _ in job.events.values())
    windows = int(rate * job.end / (_WINDOW if threads == 1 else _PARALLEL_WINDOW)) + 1
    # With one left over, the other threads would have to wait for it.
    length = -(-job.end // (-(-windows // threads) * threads))
    length = min([length, *(population.longest() for population in state.driven.values())])
    if job.exit_rule is not None:
        return min(length, job.resolution)
    return -(-length // job.resolution) * job.resolution if length > job.resolution else length


def _as_train(spikes: Spikes) -> k.Train:
    return spikes.train() if isinstance(spikes, raster.Raster) else spikes


def _record(recorder: Recorder, network: Network, name: str, spikes: Spikes) -> None:
    # Asked every time: the recorder may want to stop the run.
    if not recorder.wants(name) or not isinstance(network.populations[name], (Driven, Spiking)):
        return
    train = _as_train(spikes)
    if len(train.tick):
        signs = train.sign if len(train.sign) else np.ones(len(train.tick), np.int8)
        recorder.record(name, train.tick, train.neuron, signs)


def _run_alone(state: _Run, recorder: Recorder, progress: Callable[[int], None] | None) -> int:
    """Window by window; returns the last tick."""
    job, network = state.job, state.job.network
    (scratch,), length = state.scratch(1), _window_length(state, 1)
    output = state.layers[network.output] if network.output is not None else None
    since = 0
    while since < job.end:
        until = min(since + length, job.end)
        before = state.snapshot() if job.exit_rule is not None else None
        trains = state.window(since, until, scratch)
        if trains is None:
            raise _overflow(job)
        exited = int(output.state.scalars[k.EXITED]) if output is not None else 0
        if exited and exited < until:
            # What the populations did after the exit has to be undone: run the window again, up to there.
            until = exited
            state.restore(before)
            trains = state.window(since, until, scratch)
            assert trains is not None
        for name, train in trains.items():
            _record(recorder, network, name, train)
        since = until
        if progress is not None:
            progress(since)
        if exited:
            break
    return since


def _run_threads(state: _Run, recorder: Recorder, progress: Callable[[int], None] | None, threads: int) -> int:
    """Several windows at the same time, each in other populations (:class:`Pipeline`); returns the last tick."""
    job, network = state.job, state.job.network
    length = _window_length(state, threads)
    for population in state.populations:
        population.alternate()
    scratches = state.scratch(threads)
    # Spikes of the last two windows of each population.
    trains: tuple[dict[str, Spikes], dict[str, Spikes]] = ({}, {})
    one_at_a_time = threading.Lock()

    def work(name: str, window: int) -> bool:
        scratch = scratches.pop()
        since = window * length
        train = state.population(name, since, min(since + length, job.end), trains[window % 2], scratch)
        scratches.append(scratch)
        if train is None:
            return False
        trains[window % 2][name] = train
        with one_at_a_time:
            _record(recorder, network, name, train)
        return True

    def done(windows: int) -> None:
        if progress is not None:
            progress(min(windows * length, job.end))

    sources = {name: [p.source for p in network.projections if p.target == name] for name in state.order}
    if not Pipeline(sources, -(-job.end // length), work, done).run(threads):
        raise _overflow(job)
    return job.end


def _overflow(job: Job) -> PotentialOverflow:
    """The error with the tick and population that come first in time: populations are not run in that order here."""
    try:
        queue.run(job, compile_tables(job.network), NoRecorder())
    except PotentialOverflow as error:
        return error
    raise AssertionError(overflow_message("a population", job.end, job.resolution))


def _counts(job: Job, state: _Run, end: int) -> Counts:
    network = job.network
    steps = -(-end // job.resolution)
    spikes, negative = (np.ascontiguousarray(state.spikes[:, i, :steps].T) for i in (0, 1))
    operations = np.ascontiguousarray(state.operations[:, :steps].transpose(2, 1, 0))
    first_tick = np.zeros(len(network.populations), np.int64)
    readout = {}
    for column, name in enumerate(network.populations):
        if name in state.driven:
            first_tick[column] = state.driven[name].first_tick
        elif name in state.layers:
            layer = state.layers[name]
            first_tick[column] = layer.state.scalars[k.FIRST_TICK]
            if not layer.spiking:
                rows = layer.tally.readout[:steps].copy()
                channels, padded = (int(layer.layer.scalars[i]) for i in (k.CHANNELS, k.PADDED))
                rows[int(layer.state.scalars[k.STEP]) :] = layer.state.d.reshape(-1, padded)[:, :channels].ravel()
                readout[name] = rows
    output = state.layers[network.output].state.scalars if network.output is not None else None
    return Counts(
        end,
        output is not None and bool(output[k.EXITED]),
        spikes,
        negative,
        first_tick,
        **dict(zip(OPERATIONS, operations, strict=True)),
        readout=readout,
        decision=None if output is None else int(output[k.DECISION]),
        decision_tick=None if output is None else int(output[k.DECIDED_AT]),
    )

"""What the layered engine compiles of a network, once for all its runs: the tables of each population, for each of its ways to run it.

The ways: tick by tick (:mod:`eventsim.engines.layered.ways.tick_kernels`), from rasters (:mod:`eventsim.engines.layered.ways.raster`)
and site by site (:mod:`eventsim.engines.layered.ways.site_kernels`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from eventsim.engines.layered.ways import raster
from eventsim.engines.layered.ways import site_kernels as sites
from eventsim.engines.layered.ways import tick_kernels as k
from eventsim.kernels.simd import LANES, NEGATIVE
from eventsim.kernels.stencils import ADDITIONS, FIRST_LANE, ROWS, RUN, SYNAPSES, TAP, TOOLBOX, aligned, padded_stencil
from eventsim.model.network import Driven, Network, Projection, Readout, Source, Spiking
from eventsim.model.tables import Conv2d, Dense, IntArray, Shape, Sparse, spatial

# A convolution to up to so many channels (a dense table: lanes) is run from rasters; gathering (bit-sliced) is faster for more.
_WIDEST, _WIDEST_DENSE = 128, 512
# Entries that the spikes of a stretch should make (see eventsim.engines.layered.ways.site_kernels), for the second-level cache.
ENTRIES = 2**15
# So many times as long as an addition in a vector one takes that is on its own.
_SCATTERED = 16


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
class Layout:
    """The compiled tables of one population."""

    layer: k.Layer
    incoming: list[Projection]
    room: dict[str, int]
    v: IntArray  # initial potentials, (locations, channels)
    signs: bool  # whether spikes of sign -1 may reach it
    work: int  # additions of a spike, about, as fast as those of adjacent weights are
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
            dtype = next(t for t in TYPES[0 if role == k.NEURONS and not summed else 1 :] if bound <= _limits(t, parks, highest)[0])
            due = np.flatnonzero(d >= 0) if role == k.NEURONS else np.zeros(0, np.int64)
            scalars = np.zeros(k.SCALARS, np.int64)
            scalars[[k.BOUND, k.WAITING]] = bound, len(due)
            if role == k.OUTPUT:
                scalars[[k.DECISION, k.DECIDED_AT]] = np.argmax(self.v), self.v.min() < self.v.max()
            set_limits(scalars, dtype, parks, highest)
            if parks:
                d[due] -= scalars[k.PARK]
            low = np.full(d.size if of[k.SIGNED] else 0, scalars[k.LOWEST], dtype)
            self._starts[key] = Start(scalars, d.astype(dtype), low, theta_of(self.layer, dtype), due)
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
        # So many lanes further on the channels are the same again: whole locations, and a multiple of 64 lanes.
        self.back = math.lcm(self.padded, 64)
        wide = self.span < 2**31
        self.v = self.lanes(self.v0 if wide else np.full(self.channels, -1), -1)
        self.theta = self.lanes(self.threshold if wide else np.ones(self.channels), 1)

    def lanes(self, values: IntArray, other: int) -> IntArray:
        """Values per channel, or per neuron, for all lanes."""
        out = np.full((self.locations, self.padded), other, np.int32)
        out[:, : self.channels] = values.reshape(-1, self.channels)
        return aligned(out, np.int32)


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
    block = next(n for n in (128, 64, 32) if padded % n == 0)
    number, blocks = size // lanes, size // block
    found = _reach(layer, lanes)
    if found is None:
        return layout.layer, None
    reach, rows = found
    locations, each = len(layer.records), float((layer.records[:, ROWS] * layer.records[:, RUN]).mean()) / lanes
    scalars = np.zeros(sites.SCALARS, np.int64)
    scalars[[sites.SITE_LANES, sites.SITE_SHIFT, sites.BLOCK, sites.NEGATED]] = lanes, _shift(lanes), block, negated
    scalars[sites.BITS] = layout.v.size.bit_length()
    # A stretch looks at all locations: it should have spikes enough for that.
    scalars[sites.STRETCH] = max(int(ENTRIES / max(1.0, each)), locations, number, 256)
    scalars[sites.EXPECTED] = int(1.5 * each * scalars[sites.STRETCH]) + 2 * number
    return layer, sites.Sites(
        scalars,
        np.zeros(sites.PROGRESS, np.int64),
        np.empty(blocks, np.int64),
        np.empty(number + 2, np.int64),
        np.empty(number + 1, np.int64),
        np.empty(locations, np.int64),
        reach,
        rows,
    )


def _reach(layer: k.Layer, lanes: int) -> tuple[IntArray, IntArray] | None:
    """For each source location of each projection: its sites and their weights (``reach`` and ``rows`` of :class:`sites.Sites`)."""
    begin, none = layer.projections[:, k.RECORDS], int(layer.scalars[k.SIZE]) // lanes
    parts, rows, place = [], np.zeros((len(begin), 2), np.int64), 0
    for of, records, row in zip(layer.projections, np.split(layer.records, begin[1:]), rows, strict=True):
        columns = records[:, RUN, None] // lanes
        number = records[:, ROWS, None] * columns
        # All locations of a projection have the same number, so that no branch depends on it; the site behind the last one is none.
        which = np.arange(int(number.max(initial=0)))
        i, j = which // np.maximum(1, columns), which % np.maximum(1, columns)
        part = np.zeros((len(records), 3 + 2 * len(which)), np.int64)
        part[:, :3] = records[:, [SYNAPSES, ADDITIONS, TOOLBOX]]
        part[:, 3::2] = records[:, FIRST_LANE, None] // lanes + i * (of[k.ROW_STEP] // lanes) + j
        part[:, 4::2] = of[k.WEIGHTS] + records[:, TAP, None] - i * of[k.TAP_STEP] + j * lanes
        missing = which >= number
        part[:, 3::2][missing], part[:, 4::2][missing] = none, 0
        if part.max(initial=0) >= 2**31:
            return None
        row[:] = place, part.shape[1]
        place += part.size
        parts.append(part.astype(np.int32).ravel())
    return np.concatenate(parts), rows


def compile_layout(network: Network, name: str) -> Layout:
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
    room, work = {"locations": 1, "source": 1}, 1
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
            row[k.SOURCE_CHANNELS], row[k.LOCATIONS] = spatial(source)[2], int(np.prod(spatial(source)[:2]))
            row[k.SOURCE_SHIFT] = _shift(spatial(source)[2])
            row[k.RECORDS] = sum(map(len, records))
            row[[k.ROW_STEP, k.TAP_STEP, k.CHANNEL_STEP]] = steps
            records.append(record.reshape(-1, 8))
        each = (
            _SCATTERED * values.size / max(1, len(table.indptr) - 1)
            if isinstance(table, Sparse)
            else (record[..., ROWS] * record[..., RUN]).mean()
        )
        work = max(work, int(each))
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
    return Layout(layer, incoming, room, np.broadcast_to(population.v0, (height * width, channels)).astype(np.int64), signs, work)


def for_many(network: Network, name: str, layout: Layout) -> Layout:
    """Add the tables for ticks with many spikes: see :func:`layer_kernels.gather` and :mod:`eventsim.engines.layered.ways.raster`."""
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
        row[k.GATHER_FROM] = worth_gathering(layout.layer, row, g)
        for key, size in (("locations", int(g[k.G_HEIGHT] * g[k.G_WIDTH])), ("source", int(np.prod(source)))):
            room[key] = max(room[key], size)
    bits.append(np.zeros(k.ZEROS, np.uint64))
    layer = layout.layer._replace(projections=columns, gathers=gathers, bits=_joined(bits, np.uint64))
    summing = _summing(network, name, layout)
    if summing is not None:
        # A readout lists the channels of a source location.
        room["source"] = max(room["source"], 32 * raster.blocks(spatial(network.populations[summing.source.source].shape)[2]))
    return Layout(layer, layout.incoming, room, layout.v, layout.signs, layout.work, summing)


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
            table, sources[others[0]].shape, population.shape, padded, constant, theta_of(layout.layer, np.int64), population.signed,
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


def worth_gathering(layer: k.Layer, row: IntArray, g: IntArray) -> int:
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
TYPES = (np.int16, np.int32, np.int64)


def _limits(dtype: Any, parks: bool, highest: int) -> tuple[int, int]:
    """(largest |d|, PARK) of a type; V = d + threshold has to stay within int32 too, unless it is checked."""
    if dtype is np.int64:
        return 2**60, 2**61
    top = int(np.iinfo(dtype).max)
    park = (top + 1) // 2 if parks else 0
    return min(top - 1 - park, 2**31 - 2 - highest), park


def set_limits(scalars: IntArray, dtype: Any, parks: bool, highest: int) -> None:
    scalars[[k.LIMIT, k.PARK]] = _limits(dtype, parks, highest)
    scalars[k.CHECKED], scalars[k.LOWEST] = dtype is np.int64, np.iinfo(dtype).min


def theta_of(layer: k.Layer, dtype: Any) -> IntArray:
    """Thresholds of the lanes of a location."""
    theta = np.zeros(int(layer.scalars[k.PADDED]), np.int64)
    theta[: len(layer.threshold)] = layer.threshold
    return aligned(theta, dtype)

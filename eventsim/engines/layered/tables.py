"""What the layered engine compiles of a spiking or readout population, once for all its runs: the tables that all ways to run it share.

What a single way takes beside them stands in a module of its own: :mod:`eventsim.engines.layered.ways.gathering`,
:mod:`eventsim.engines.layered.ways.raster_tables` and :mod:`eventsim.engines.layered.ways.site_tables`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from eventsim.engines.layered.ways import records as k
from eventsim.kernels.simd import LANES
from eventsim.kernels.stencils import STENCIL, aligned, lanes_of, most_reaching, padded_stencil
from eventsim.model.network import Network, Projection
from eventsim.model.populations import Population
from eventsim.model.tables import IntArray, Rows, Shape, Table, spatial

T = TypeVar("T")
# So many times as long as an addition in a vector one takes that is on its own.
_SCATTERED = 16


class Start(NamedTuple):
    """The state of a population before a run."""

    progress: IntArray
    d: IntArray
    low: IntArray | None
    theta: IntArray
    due: IntArray  # lanes that are looked at at the first tick; or all, if none may fire before its onset


@dataclass
class Layout:
    """The compiled tables of one population."""

    network: Network
    population: Population
    layer: k.Layer
    incoming: list[Projection]
    v: IntArray  # initial potentials, (locations, channels)
    signs: bool  # whether spikes of sign -1 may reach it
    work: int  # additions of a spike, about, as fast as those of adjacent weights are
    _starts: dict[tuple[bool, bool, bool], Start] = field(default_factory=dict)
    _made: dict[Any, Any] = field(default_factory=dict)

    @property
    def shape(self) -> Shape:
        """Of the population."""
        return self.population.shape

    def made(self, make: Callable[[Layout], T]) -> T:
        """What a way to run the population makes of its tables, once."""
        if make not in self._made:
            self._made[make] = make(self)
        result: T = self._made[make]
        return result

    def start(self, parks: bool, summed: bool, held: bool) -> Start:
        """The state before a run; what is summed from rasters has 32 bits, and neurons that are held do not fire before their onset."""
        key = (parks, summed, held)
        if key not in self._starts:
            role, highest = self.layer.constants.role, self.layer.constants.highest
            padded = self.layer.constants.padded
            distances = self.v - self.layer.threshold
            bound = max(int(np.abs(distances).max()), highest)
            # Readouts are few; they start where they will not have to be widened soon. So do neurons with a refractory period: parking
            # takes half of 16 bits, and as their potentials come near the other half, the bound is found anew again and again.
            narrow = role == k.Role.NEURONS and not summed and not parks
            # Those far above their thresholds will fire at all of the first ticks, and so may many others, which add to them: too much
            # for 16 bits. (64 are for what does not fit now.)
            first = bound + max(0, int(distances.max()))
            dtype = next(t for t in TYPES[0 if narrow else 1 :] if (first if t is np.int16 else bound) <= _limits(t, parks, highest)[0])
            # (A population of one channel has many more lanes than neurons.)
            lanes = np.full((len(self.v), padded), -1, dtype)
            lanes[:, : self.v.shape[1]] = distances
            d: IntArray = lanes.ravel()
            locations, channels = np.nonzero((distances >= 0) | held)
            due = locations * padded + channels if role == k.Role.NEURONS else np.zeros(0, np.int64)
            progress = np.zeros((), k.PROGRESS)
            progress["bound"], progress["waiting"] = bound, len(due)
            if role == k.Role.OUTPUT:
                progress["decision"], progress["decided_at"] = np.argmax(self.v), self.v.min() < self.v.max()
            set_limits(progress, dtype, parks, highest)
            if parks:
                d[due] -= progress["park"]
            low = np.full(d.size, progress["lowest"], dtype) if self.population.signed else None
            self._starts[key] = Start(progress, d, low, theta_of(self.layer, dtype), due)
        return self._starts[key]


class _Incoming:
    """The tables of the projections that end at a population, as flat arrays that grow.

    Parameters
    ----------
    target : tuple of int
        Shape of the population.
    padded : int
        Lanes of a location.
    count : int
        Of the projections.
    """

    def __init__(self, target: Shape, padded: int, count: int):
        self.target, self.padded = target, padded
        self.rows = np.zeros(count, k.PROJECTION)
        self.weights: list[list[IntArray]] = [[], [], []]
        self.records: list[IntArray] = []
        self.effective: list[IntArray] = []
        self.row_start: list[IntArray] = []
        self.lanes: list[IntArray] = []
        self.work = 1

    def add(self, row: IntArray, table: Table, source: Shape) -> None:
        """Note a table, and in its row where it stands."""
        listed = table.to_rows(source, self.target)
        values, first, work = self._stencil(row, table, source) if listed is None else self._listed(row, listed)
        self.work = max(self.work, work)
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        wide = next(i for i, most in enumerate((2**7, 2**15, 2**31)) if -most <= low and high < most)
        row["largest"], row["wide"] = max(-low, high), wide
        row["weights"] = sum(map(len, self.weights[wide])) - first
        self.weights[wide].append(values.ravel())
        row["nonzero"] = -1
        if table.magnitude is None and not np.all(table.weights):
            row["nonzero"] = sum(map(len, self.effective))
            self.effective.append(table.effective_fan_out(source, self.target))

    def _listed(self, row: IntArray, listed: Rows) -> tuple[IntArray, int, int]:
        """Weights, the place of the first synapse among all that are listed, and the work of a spike."""
        channels, first = self.target[-1], sum(map(len, self.lanes))
        row["sparse"], row["records"] = 1, sum(map(len, self.row_start))
        row["most"] = np.bincount(listed.targets).max(initial=0)
        self.row_start.append(listed.indptr + first)
        self.lanes.append(listed.targets // channels * self.padded + listed.targets % channels)
        return listed.weights, first, int(_SCATTERED * listed.weights.size / max(1, len(listed.indptr) - 1))

    def _stencil(self, row: IntArray, table: Table, source: Shape) -> tuple[IntArray, int, int]:
        """Weights, 0, and the work of a spike."""
        values, record, steps = padded_stencil(table, source, self.target, self.padded)
        row["source_channels"], row["locations"], row["source_shift"] = steps.channels, len(record), power_of_two(steps.channels)
        row["records"] = sum(map(len, self.records))
        row["row_step"], row["tap_step"], row["channel_step"] = steps.row, steps.tap, steps.channel
        row["column_step"], row["column_tap"] = steps.column, steps.column_tap
        row["most"] = most_reaching(record, steps)
        self.records.append(record)
        return values, 0, int(lanes_of(record).mean())


def compile_layout(network: Network, name: str) -> Layout:
    """Compile the tables of a spiking or readout population."""
    population = network.populations[name]
    incoming = [p for p in network.projections if p.target == name]
    height, width, channels = spatial(population.shape)
    padded = -(-channels // LANES) * LANES
    tables = _Incoming(population.shape, padded, len(incoming))
    for row, projection in zip(tables.rows, incoming, strict=True):
        row["gather_from"], row["number"] = k.FOREVER, network.projections.index(projection)
        source = network.populations[projection.source]
        tables.add(row, projection.table, source.shape)
        if source.emits:
            row["most"] = k.FOREVER  # given spikes may repeat a neuron in a tick, and all others fire at most once
    threshold = np.zeros(channels, np.int64) if population.threshold is None else np.array(population.threshold, np.int64)
    constants = k.Constants(
        height * width * padded,
        channels,
        padded,
        power_of_two(padded),
        refractory=1,
        zero_reset=population.reset == "zero",
        role=int(k.Role.NEURONS if population.fires else k.Role.OUTPUT if name == network.output else k.Role.READOUT),
        resolution=1,
        end=0,
        highest=int(threshold.max()),
        exit_kind=int(k.Exit.NONE),
        exit_limit=0,
    )
    layer = k.Layer(
        constants,
        tables.rows,
        joined(tables.records, STENCIL),
        joined(tables.weights[0], np.int8),
        joined(tables.weights[1], np.int16) if tables.weights[1] else None,
        joined(tables.weights[2], np.int32) if tables.weights[2] else None,
        joined(tables.effective, np.int32),
        joined(tables.row_start, np.int64) if tables.row_start else None,
        joined(tables.lanes, np.int32) if tables.lanes else None,
        None,
        None,
        threshold,
    )
    signs = any(network.populations[p.source].signed for p in incoming)
    v = population.initial_potentials().reshape(height * width, channels)
    return Layout(network, population, layer, incoming, v, signs, tables.work)


def power_of_two(n: int) -> int:
    """Which power of two n is, or -1."""
    return n.bit_length() - 1 if n & (n - 1) == 0 else -1


def joined(parts: list[IntArray], dtype: Any) -> IntArray:
    """The parts one after the other, flat and aligned."""
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


def set_limits(progress: IntArray, dtype: Any, parks: bool, highest: int) -> None:
    """Note what follows from the type of d (PROGRESS)."""
    progress["limit"], progress["park"] = _limits(dtype, parks, highest)
    progress["checked"], progress["lowest"] = dtype is np.int64, np.iinfo(dtype).min


def theta_of(layer: k.Layer, dtype: Any) -> IntArray:
    """Thresholds of the lanes of a location."""
    theta = np.zeros(layer.constants.padded, np.int64)
    theta[: len(layer.threshold)] = layer.threshold
    return aligned(theta, dtype)

"""What running a population from a raster takes: its projection as a convolution of stride 1, in units of one weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventsim.engines.layered.rasters import CHUNK, blocks
from eventsim.engines.layered.tables import Layout, theta_of
from eventsim.engines.layered.ways.raster_kernels.records import Geometry, Tables
from eventsim.kernels.stencils import aligned
from eventsim.model.network import Projection
from eventsim.model.tables import Conv2d, IntArray, Shape, spatial

# A convolution to up to so many channels (a dense table: lanes) is run from rasters; gathering (bit-sliced) is faster for more.
_WIDEST, _WIDEST_DENSE = 128, 512
# A table with a row for each bit of the source's masks may take so many bytes; beyond, at most so many times as much as one with a row
# for each neuron, of which a map of few channels has few.
_LARGE, _EMPTY = 2**26, 4
# Target locations that are added up at a time, and lanes of each (see simd_raster).
_TAPS, _LANES = (1, 4, 9), (64, 32)
MOST_TAPS = _TAPS[-1]
_INT8_MAX, _INT16_MAX, _INT32_MAX = 2**7 - 1, 2**15 - 1, 2**31 - 1


@dataclass
class Summing:
    """How the spikes that reach a population are summed, and the room that this takes."""

    tables: Tables
    current: int  # places for currents
    words: int  # places for the masks of a group


@dataclass
class RasterLayout:
    """How a population is run from the raster of its source; its other projections are bias clocks."""

    summing: Summing
    source: Projection
    row: int  # among the incoming projections
    clocks: list[int]  # likewise


def from_raster(layout: Layout) -> RasterLayout | str:
    """How a population is run from a raster, or why it cannot be."""
    network, population = layout.network, layout.population
    if any(p.delay for p in layout.incoming):
        return "a projection to it is delayed"
    sources = {row: network.populations[p.source] for row, p in enumerate(layout.incoming)}
    clocks = [row for row, p in sources.items() if p.emits == "clock" and p.shape == (1,)]
    others = [row for row in sources if row not in clocks]
    if len(others) != 1 or sources[others[0]].emits:
        return "beside bias clocks, it needs one projection, from neurons"
    height, width, channels = spatial(population.shape)
    padded = layout.layer.constants.padded
    constant = None
    if clocks:
        lanes = np.zeros((height * width, padded), np.int64)
        for row in clocks:
            table = layout.incoming[row].table
            if not table.all_to_all:
                return "the table of a bias clock is not dense"
            lanes[:, :channels] += table.weights.reshape(height * width, channels)
        constant = lanes
    projection = layout.incoming[others[0]]
    table = projection.table
    conv = table.as_conv(sources[others[0]].shape)
    if conv is None:
        return "its table is sparse"
    if population.reads_out:
        if not table.all_to_all or layout.layer.projections[others[0]]["wide"]:
            return "its table is not a dense one of weights of 8 bits"
        summing = reading(conv, constant)
    elif (height * width * padded > _WIDEST_DENSE) if table.all_to_all else (padded > _WIDEST):
        return "it has so many channels that gathering is faster"
    elif table.all_to_all and _mostly_empty(sources[others[0]].shape, height * width * padded):
        return "its source has so many locations of few channels that its table would be mostly empty"
    else:
        theta = theta_of(layout.layer, np.int64)
        shapes, zero = (sources[others[0]].shape, population.shape), population.reset == "zero"
        summing = in_units(conv, table.all_to_all, *shapes, padded, constant, theta, zero)
    if summing is None:
        return "its weights have several magnitudes, or sums are too large for 16 bits"
    return RasterLayout(summing, projection, others[0], clocks)


def _mostly_empty(source: Shape, lanes: int) -> bool:
    """Whether a dense table from a map would take much memory for bits of its masks that are no neurons."""
    height, width, channels = spatial(source)
    rows = height * width * 32 * blocks(channels)
    return rows * lanes > _LARGE and rows > _EMPTY * height * width * channels


def in_units(
    conv: Conv2d,
    all_to_all: bool,
    source: Shape,
    target: Shape,
    padded: int,
    constant: IntArray | None,
    threshold: IntArray,
    zero: bool,
) -> Summing | None:
    """Compile a table, if it has weights of one magnitude that allow it.

    Parameters
    ----------
    conv : Conv2d
        The table as a convolution.
    all_to_all : bool
        Of the table itself: all of the target is one location of the convolution.
    source, target : tuple of int
        Shapes of the populations.
    padded : int
        Lanes of a target location.
    constant : int array, shape (target locations, padded), optional
        What bias clocks bring at every tick.
    threshold : int array, shape (padded,)
    zero : bool
        Whether a spike resets to zero.
    """
    if conv.magnitude is None or conv.pool_before != (1, 1):
        return None
    unit = int(conv.magnitude)
    fused = conv.fused() // unit
    most = int(np.abs(fused).sum(tuple(range(fused.ndim - 1))).max()) * unit
    largest = int(np.abs(fused).max())
    added = 0 if constant is None else int(np.abs(constant).max(initial=0))
    if most > _INT16_MAX or largest > _INT8_MAX or int(threshold.max()) + most + added > _INT32_MAX // 4:
        return None
    if all_to_all:
        rows, sizes = _dense_rows(fused, source, target, padded)
    else:
        rows, sizes = _rows(conv, fused, source, target, padded)
    neurons, reached, padded = rows.shape
    lanes = next(n for n in _LANES if padded % n == 0)
    taps = next((n for n in _TAPS if n >= reached), _TAPS[-1])
    passes, pairs = -(-reached // taps), -(-neurons // 64)
    rows = np.pad(rows, ((0, 64 * pairs - neurons), (0, taps * passes - reached), (0, 0)))
    weights = rows.reshape(len(rows), passes, taps, padded // lanes, lanes).transpose(3, 1, 0, 2, 4)
    limit, keep = _INT8_MAX // largest, 0 if zero else -1
    geometry = Geometry(**sizes, padded=padded, lanes=lanes, taps=taps, passes=passes, unit=unit, limit=limit, keep=keep)
    # Behind the currents: those of taps that no kernel has.
    currents = (geometry.rows * geometry.across + 1) * CHUNK * lanes
    each = np.zeros(lanes, np.int32) if constant is None else constant
    if all_to_all:
        threshold = np.tile(threshold, int(np.prod(spatial(target)[:2])))
    tables = Tables(geometry, aligned(weights, np.int8), aligned(each, np.int32), aligned(threshold, np.int32), most + added)
    return Summing(tables, currents, 2 * pairs)


def reading(conv: Conv2d, constant: IntArray | None) -> Summing | None:
    """For a readout, which takes the weights of the layered engine: what it gets at every tick, and the most that it can change by."""
    # Of a pool before the table, all neurons may spike.
    most = int(np.abs(conv.weights.astype(np.int64)).sum((0, 1, 2)).max()) * int(np.prod(conv.pool_before))
    added = 0 if constant is None else int(np.abs(constant).max(initial=0))
    if most + added > _INT32_MAX // 4:
        return None
    nothing = np.zeros(0, np.int32)
    each = nothing if constant is None else aligned(constant, np.int32)
    tables = Tables(Geometry(*[0] * len(Geometry._fields)), np.zeros(0, np.int8), each, nothing, most + added)
    return Summing(tables, 0, 0)


def _rows(table: Conv2d, fused: IntArray, source: Shape, target: Shape, padded: int) -> tuple[IntArray, dict[str, int]]:
    """Weights (neuron of a group, target location that it reaches, channel) of a convolution; and its part of :class:`Geometry`."""
    (height, width, channels), (out_height, out_width, outputs) = spatial(source), spatial(target)
    strides = [s * p for s, p in zip(table.stride, table.pool_after, strict=True)]
    # A stride beyond all that is there is as good as one that just is.
    strides = [min(s, max(k, n + 2 * p)) for s, k, n, p in zip(strides, fused.shape[:2], (height, width), table.padding[:2], strict=True)]
    reach = [-(-kernel // stride) for kernel, stride in zip(fused.shape[:2], strides, strict=True)]
    groups = [(n - 1 + pad) // stride + 1 for n, pad, stride in zip((height, width), table.padding[:2], strides, strict=True)]
    of_location = blocks(channels)
    # (row and column in the group, channel, target row and column backwards, output)
    rows = np.zeros((*strides, 32 * of_location, *reach, padded), np.int8)
    for y in range(strides[0]):
        for x in range(strides[1]):
            part = fused[y :: strides[0], x :: strides[1]]
            rows[y, x, :channels, : part.shape[0], : part.shape[1], :outputs] = part.transpose(2, 0, 1, 3)
    sizes = {"height": height, "width": width, "blocks": of_location, "stride_y": strides[0], "stride_x": strides[1]}
    sizes |= {"top": table.padding[0], "left": table.padding[1], "rows": reach[0], "columns": reach[1]}
    sizes |= {"groups_y": groups[0], "groups_x": groups[1], "out_height": out_height, "out_width": out_width}
    sizes |= {"first": reach[1] - 1, "across": max(groups[1], out_width) + reach[1] - 1}
    return rows.reshape(-1, reach[0] * reach[1], padded), sizes


def _dense_rows(fused: IntArray, source: Shape, target: Shape, padded: int) -> tuple[IntArray, dict[str, int]]:
    """As :func:`_rows`: all source neurons are one group, and each block of target lanes counts as a location."""
    (height, width, channels), (out_height, out_width, outputs) = spatial(source), spatial(target)
    locations, copies, of_location = height * width, out_height * out_width, blocks(channels)
    rows = np.zeros((locations, 32 * of_location, copies, padded), np.int8)
    rows[:, :channels, :, :outputs] = fused.reshape(locations, channels, copies, outputs)
    lanes = next(n for n in _LANES if copies * padded % n == 0)
    reached = copies * padded // lanes
    ones = ("height", "width", "stride_y", "stride_x", "rows", "groups_y", "groups_x", "out_height")
    sizes = {**dict.fromkeys(ones, 1), "blocks": locations * of_location, "top": 0, "left": 0, "first": 0}
    sizes |= {"columns": reached, "out_width": reached, "across": reached}
    # Taps count backwards.
    return np.ascontiguousarray(rows.reshape(-1, reached, lanes)[:, ::-1]), sizes

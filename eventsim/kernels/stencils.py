"""Lay tables out as stencils for compiled code, and arrays where the processor likes them.

A convolution with pooling after it is one convolution with a larger stencil and stride, and a dense table is a convolution
whose kernel covers the source. The taps of a stencil that a spike reaches in one target row are stored side by side with all their
output channels, so that one spike updates a few contiguous runs of potentials: layout (input channel, kernel row, kernel columns by
phase, output channel).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from eventsim.errors import NetworkError
from eventsim.kernels.records import record
from eventsim.kernels.simd import LANES
from eventsim.model.tables import Axis, IntArray, Shape, Table, spatial


class Laid(NamedTuple):
    """A stencil whose weights lie as compiled code takes them.

    Attributes
    ----------
    weights : integer array, shape (input channels, kernel rows, kernel columns in storage order, output channels)
    rows, columns, target, begins
        As in :class:`eventsim.model.tables.Stencil`.
    place : int array
        Of each kernel column in the storage order: taps of neighbouring target columns lie side by side.
    """

    weights: IntArray
    rows: Axis
    columns: Axis
    place: IntArray
    target: tuple[int, int, int]
    begins: IntArray | None


def stencil(table: Table, source: Shape, target: Shape) -> Laid:
    """A table as one convolution with its pooling fused in, laid out for compiled code.

    Raises
    ------
    NetworkError
        The table is no stencil.
    """
    form = table.to_stencil(source, target)
    if form is None:
        raise NetworkError(f"a {table.kind} table cannot be compiled, as it is neither a stencil nor rows; take engine 'reference'")
    order, place = _column_order(form.columns)
    weights = form.weights.transpose(2, 0, 1, 3)
    return Laid(weights[:, :, order] if len(order) > 1 else weights, form.rows, form.columns, place, form.target, form.begins)


# What the spikes of a source location, or of a block of its channels, reach, and cost: of :func:`padded_stencil`. (It fills a line of the
# cache.)
#
# first_lane: where the first run begins    rows, columns: how many runs there are    run: lanes of a run
# tap: place of the first weight of channel 0                  synapses, additions, toolbox: of a spike
STENCIL = record("first_lane rows columns run tap synapses additions toolbox")


class Steps(NamedTuple):
    """How to go on within a padded stencil."""

    row: int  # lanes from a run to that of the next row
    tap: int  # weights that those of the next row lie before
    column: int  # lanes from a run to that of the next column
    column_tap: int  # weights that those of the next column lie behind
    channel: int  # weights from a source channel to the next
    channels: int  # source channels that have a record together


def padded_stencil(table: Table, source: Shape, target: Shape, padded: int) -> tuple[IntArray, IntArray, Steps]:
    """A stencil for vectors: the channels of each target location are padded with weights 0 to ``padded`` lanes.

    A spike reaches, from its location's first lane on, runs of adjacent lanes, in rows and columns. The weights of a run are adjacent too.
    Target columns that are neighbours are one run. Channels that do not reach all channels of the target have records in blocks, of those
    that reach the same lanes, in multiples of LANES.

    Returns
    -------
    weights : integer array, flat
    records : STENCIL array, flat
        Of each source location and block of channels.
    steps : Steps
    """
    laid = stencil(table, source, target)
    rows, columns, outputs = laid.rows, laid.columns, laid.weights.shape[3]
    if laid.begins is None:
        # A dense table reaches all locations of its target in one run.
        copies = outputs // spatial(target)[2]
        values = laid.weights.reshape(*laid.weights.shape[:3], copies, outputs // copies)
        values = np.pad(values, [(0, 0)] * 4 + [(0, padded - outputs // copies)])
        width = location = copies * padded
        first, reaches, channels = np.zeros(1, np.int64), np.ones(1, bool), len(values)
    else:
        channels, first, width = _blocks(laid.begins, outputs, padded)
        location, reaches = padded, laid.begins[::channels] >= 0
        values = np.zeros((*laid.weights.shape[:3], width), laid.weights.dtype)
        for channel, begin in enumerate(laid.begins - np.repeat(first, channels)):
            if reaches[channel // channels]:
                values[channel, ..., begin : begin + outputs] = laid.weights[channel]
    # All of an image pooled at once: its locations have weights in common, which then stay in the cache.
    pooled = max(rows.count.max(), columns.count.max()) <= 1 and bool(np.all(values == values[:, :1, :1]))
    if pooled:
        values = np.ascontiguousarray(values[:, :1, :1])
    step, out_width, together = values.shape[2] * width, laid.target[1], columns.step == 1 and width == location
    # By source row, source column and block of channels.
    records = np.zeros((len(rows.first), len(columns.first), len(first)), STENCIL)
    top, left = rows.first[:, None, None].astype(np.int64), columns.first[:, None]
    tap_row, tap_column = rows.tap[:, None, None].astype(np.int64), laid.place[columns.tap][:, None]
    if pooled:
        tap_row, tap_column = 0 * tap_row, 0 * tap_column
    down, across = rows.count[:, None, None].astype(np.int64), columns.count[:, None] * reaches
    records["first_lane"] = (top * out_width + left) * location + first
    records["rows"], records["columns"] = down * (across > 0), np.minimum(across, 1) if together else across
    records["run"] = across * width if together else width
    block = channels * values.shape[1] * step
    records["tap"] = tap_row * step + tap_column * width + np.arange(len(first)) * block
    records["synapses"] = rows.synapses[:, None, None] * columns.synapses[:, None] * reaches * outputs
    records["additions"] = down * across * outputs
    records["toolbox"] = rows.toolbox[:, None, None] * columns.toolbox[:, None] * reaches * outputs
    steps = Steps(rows.step * out_width * location, rows.stride * step, columns.step * location, width, values.shape[1] * step, channels)
    return values.ravel(), records.ravel(), steps


def lanes_of(records: IntArray) -> IntArray:
    """How many lanes a spike reaches, by STENCIL record."""
    lanes: IntArray = records["rows"] * records["columns"] * records["run"]
    return lanes


def most_reaching(records: IntArray, steps: Steps) -> int:
    """How many source neurons may reach one lane, at most."""
    # Runs begin and end at multiples of this.
    unit = math.gcd(steps.row, steps.column, *(int(np.gcd.reduce(records[name])) for name in ("first_lane", "run")))
    begins: list[IntArray] = []
    ends: list[IntArray] = []
    for row in range(int(records["rows"].max(initial=0))):
        for column in range(int(records["columns"].max(initial=0))):
            reaches = (records["rows"] > row) & (records["columns"] > column)
            begins.append((records["first_lane"][reaches] + row * steps.row + column * steps.column) // unit)
            ends.append(begins[-1] + records["run"][reaches] // unit)
    if not begins:
        return 0
    # (Every end is behind its beginning.)
    size = int(np.concatenate(ends).max(initial=0)) + 1
    first, last = (np.bincount(np.concatenate(places), minlength=size) for places in (begins, ends))
    return int(np.cumsum(first - last).max()) * steps.channels


def _blocks(begins: IntArray, outputs: int, padded: int) -> tuple[int, IntArray, int]:
    """Blocks of channels that reach lanes together, as large as that makes them reach no more lanes: how many channels, first lane, width.

    ``begins`` is that of :class:`eventsim.model.tables.Stencil`; the first lane is int64 (blocks,), 0 where nothing is reached.
    """
    width, best = padded + 1, (1, np.zeros(0, np.int64), 0)
    for channels in (n for n in range(1, len(begins) + 1) if len(begins) % n == 0):
        blocks = begins.reshape(-1, channels)
        reaches = blocks[:, 0] >= 0
        if np.any((blocks >= 0) != reaches[:, None]):
            continue
        first = np.where(reaches, blocks.min(1), 0) // LANES * LANES
        needed = int(np.max(np.where(reaches, -(-(blocks.max(1) + outputs - first) // LANES) * LANES, LANES)))
        if needed <= width:
            # (The last blocks may be narrower than others.)
            width, best = needed, (channels, np.minimum(first, padded - needed), needed)
    return best


def aligned(values: IntArray, dtype: Any) -> IntArray:
    """A flat copy that begins at a cache line: vectors that straddle two lines cost twice and hold up the next load."""
    out = aligned_zeros(values.size, dtype)
    out[:] = values.ravel()
    return out


def aligned_zeros(n: int, dtype: Any) -> IntArray:
    """A flat array of zeros that begins at a cache line."""
    line = 64
    size = n * np.dtype(dtype).itemsize
    room = np.zeros(size + line, np.uint8)
    skip = -room.__array_interface__["data"][0] % line
    out: IntArray = room[skip : skip + size].view(dtype)
    return out


def _column_order(columns: Axis) -> tuple[IntArray, IntArray]:
    """Kernel columns in storage order, and the place of each: by phase of the stride, descending within a phase."""
    descending = np.arange(columns.kernel - 1, -1, -1)
    order = descending[np.argsort(descending % columns.stride, kind="stable")]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return order, place

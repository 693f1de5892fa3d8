"""Lay tables out as stencils for compiled code, and arrays where the processor likes them.

A convolution with pooling after it is one convolution with a larger stencil and stride, and a dense table is a convolution
whose kernel covers the source. The taps of a stencil that a spike reaches in one target row are stored side by side with all their
output channels, so that one spike updates a few contiguous runs of potentials: layout (input channel, kernel row, kernel columns by
phase, output channel).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.errors import NetworkError
from eventsim.kernels.records import record
from eventsim.model.tables import Axis, IntArray, Shape, Table, spatial


def stencil(table: Table, source: Shape, target: Shape) -> tuple[IntArray, Axis, Axis, IntArray, tuple[int, int, int]]:
    """A table as one convolution with its pooling fused in, laid out for compiled code.

    Returns
    -------
    weights : integer array, shape (input channels, kernel rows, kernel columns in storage order, output channels)
    rows, columns : Axis
    place : int array
        Of each kernel column in the storage order.
    out_shape : (height, width, channels)
        Of the target as this convolution sees it.

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
    return weights[:, :, order] if len(order) > 1 else weights, form.rows, form.columns, place, form.target


# What the spikes of a source location reach, and cost: of :func:`padded_stencil`. (It fills a line of the cache.)
#
# first_lane: where the first row begins   rows, run: how many there are, and of how many lanes each   lanes: of all rows
# tap: place of the first weight of channel 0                  synapses, additions, toolbox: of a spike
STENCIL = record("first_lane rows run lanes tap synapses additions toolbox")


def padded_stencil(table: Table, source: Shape, target: Shape, padded: int) -> tuple[IntArray, IntArray, tuple[int, int, int]]:
    """A stencil for vectors: the channels of each target location are padded with weights 0 to ``padded`` lanes.

    A spike reaches, from its location's first lane on, rows of adjacent lanes. The weights of a row are adjacent too.

    Returns
    -------
    weights : integer array, flat
    records : STENCIL array, shape (rows, columns)
        Of each source location.
    row_step, tap_step, channel_step : int
        From a row to the next: lanes forward, weights back; from a source channel to the next: weights forward.
    """
    values, rows, cols, place, out_shape = stencil(table, source, target)
    outputs = values.shape[3]
    # A dense table reaches all locations of its target in one run.
    copies = outputs // spatial(target)[2]
    values = values.reshape(*values.shape[:3], copies, outputs // copies)
    values = np.pad(values, [(0, 0)] * 4 + [(0, padded - outputs // copies)])
    run = copies * padded
    step = values.shape[2] * run
    out_width = out_shape[1]
    records = np.zeros((len(rows.first), len(cols.first)), STENCIL)
    records["first_lane"] = (rows.first[:, None].astype(np.int64) * out_width + cols.first) * run
    records["rows"] = rows.count[:, None] * (cols.count > 0)
    records["run"] = cols.count * run
    records["lanes"] = records["rows"] * records["run"]
    records["tap"] = rows.tap[:, None].astype(np.int64) * step + place[cols.tap] * run
    records["synapses"] = np.outer(rows.synapses, cols.synapses) * outputs
    records["additions"] = np.outer(rows.count, cols.count) * outputs
    records["toolbox"] = np.outer(rows.toolbox, cols.toolbox) * outputs
    return values.ravel(), records, (out_width * run, rows.stride * step, values.shape[1] * step)


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

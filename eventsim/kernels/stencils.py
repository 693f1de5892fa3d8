"""Compile a described network into flat arrays: fused stencils, the reach of every row and column, CSR rows.

A convolution with pooling after it is one convolution with a larger stencil and stride, and a dense table is a convolution
whose kernel covers the source, so compiled code knows two kinds of projection: stencils and CSR rows. The taps of a stencil
that a spike reaches in one target row are stored side by side with all their output channels, so that one spike updates a
few contiguous runs of potentials: layout (input channel, kernel row, kernel columns by phase, output channel).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.network import Network
from eventsim.model.tables import Axis, IntArray, Shape, Table, spatial

STENCIL, CSR = 0, 1


class Tables(NamedTuple):
    """All projections of a network, in its order, as flat arrays. ``[p]`` is an entry per projection.

    Attributes
    ----------
    kind : int64 [p]
        STENCIL or CSR.
    wide : int64 [p], 0 or 1
        Whether the weights are in ``weights32`` rather than ``weights8``.
    weights : int64 [p]
        Where the projection's weights start.
    weights8, weights32 : int8, int32
    largest : int64 [p]
        Largest magnitude of a (fused) weight.
    channels, width : int64 [p]
        Of the source, to decode a neuron's coordinates.
    kernel_rows, row_weights, out_channels, out_width, stride : int64 [p]
        Of the fused stencil: rows, weights in one row, output channels, target columns, vertical stride.
    rows, columns : int64 [p]
        Where the projection's entries in ``reach`` start, for source rows and for source columns.
    reach : int32 (source positions, 5)
        first target, count of targets, tap (rows) or place of the first tap in a kernel row (columns), synapses,
        SNN Toolbox taps.
    indptr : int64 [p]
        Where the projection's entries in ``row_start`` start (CSR only).
    row_start, targets : int64, int32
        Rows of CSR projections (absolute places in ``targets``), and their target neurons; weights lie alike.
    csr_weights : int64 [p]
        Place of a CSR projection's weights less that of its targets.
    nonzero : int64 [p]
        Where the projection's entries in ``effective`` start, -1 if no weight is zero.
    effective : int32
        Synapses with a weight that is not zero, per source neuron.
    """

    kind: IntArray
    wide: IntArray
    weights: IntArray
    weights8: IntArray
    weights32: IntArray
    largest: IntArray
    channels: IntArray
    width: IntArray
    kernel_rows: IntArray
    row_weights: IntArray
    out_channels: IntArray
    out_width: IntArray
    stride: IntArray
    rows: IntArray
    columns: IntArray
    reach: IntArray
    indptr: IntArray
    row_start: IntArray
    targets: IntArray
    csr_weights: IntArray
    nonzero: IntArray
    effective: IntArray


_PER_PROJECTION = (
    "kind", "wide", "weights", "largest", "channels", "width", "kernel_rows", "row_weights", "out_channels", "out_width",
    "stride", "rows", "columns", "indptr", "csr_weights", "nonzero",
)  # fmt: skip


def compile_tables(network: Network) -> Tables:
    """Compile all projections of a network (see :class:`Tables`)."""
    n = len(network.projections)
    column = {name: np.zeros(n, np.int64) for name in _PER_PROJECTION}
    chunks: tuple[list[IntArray], list[IntArray]] = ([], [])
    filled = [0, 0]
    reach: list[IntArray] = []
    row_start: list[IntArray] = []
    targets: list[IntArray] = []
    effective: list[IntArray] = []
    n_reach = n_row_start = n_targets = n_effective = 0
    for p, projection in enumerate(network.projections):
        source, target = network.populations[projection.source].shape, network.populations[projection.target].shape
        table = projection.table
        column["channels"][p], column["width"][p] = spatial(source)[2], spatial(source)[1]
        csr = table.to_rows()
        if csr is not None:
            column["kind"][p] = CSR
            weights = csr.weights
            column["indptr"][p] = n_row_start
            row_start.append(csr.indptr + n_targets)
            targets.append(csr.targets)
        else:
            column["kind"][p] = STENCIL
            weights, rows, columns, place, out_shape = stencil(table, source, target)
            column["kernel_rows"][p] = rows.kernel
            column["out_channels"][p] = weights.shape[3]
            column["row_weights"][p] = columns.kernel * weights.shape[3]
            column["out_width"][p] = out_shape[1]
            column["stride"][p] = rows.stride
            column["rows"][p], column["columns"][p] = n_reach, n_reach + len(rows.first)
            for axis, tap in ((rows, rows.tap), (columns, place[columns.tap])):
                reach.append(np.stack([axis.first, axis.count, tap, axis.synapses, axis.toolbox], 1).astype(np.int32))
                n_reach += len(axis.first)
        low, high = (int(weights.min()), int(weights.max())) if weights.size else (0, 0)
        column["largest"][p] = max(-low, high)
        wide = int(low < -128 or high > 127)
        column["wide"][p] = wide
        column["weights"][p] = filled[wide]
        if csr is not None:
            column["csr_weights"][p] = filled[wide] - n_targets
            n_row_start += len(csr.indptr)
            n_targets += len(csr.targets)
        chunks[wide].append(weights)
        filled[wide] += weights.size
        column["nonzero"][p] = -1
        if table.magnitude is None and not np.all(table.weights):
            column["nonzero"][p] = n_effective
            effective.append(table.effective_fan_out(source, target).astype(np.int32))
            n_effective += len(effective[-1])
    flat = []
    for wide, dtype in enumerate((np.int8, np.int32)):
        out = np.empty(filled[wide], dtype)
        at = 0
        for chunk in chunks[wide]:
            out[at : at + chunk.size].reshape(chunk.shape)[...] = chunk
            at += chunk.size
        flat.append(out)
    return Tables(
        **column,
        weights8=flat[0],
        weights32=flat[1],
        reach=np.concatenate(reach) if reach else np.zeros((0, 5), np.int32),
        row_start=_joined(row_start, np.int64),
        targets=_joined(targets, np.int32),
        effective=_joined(effective, np.int32),
    )


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


# Columns of the records of :func:`padded_stencil`.
FIRST_LANE, ROWS, RUN, TAP, SYNAPSES, ADDITIONS, TOOLBOX = range(7)


def padded_stencil(table: Table, source: Shape, target: Shape, padded: int) -> tuple[IntArray, IntArray, tuple[int, int, int]]:
    """A stencil for vectors: the channels of each target location are padded with weights 0 to ``padded`` lanes.

    A spike reaches, from its location's first lane on, rows of adjacent lanes. The weights of a row are adjacent too.

    Returns
    -------
    weights : integer array, flat
    records : int64 array, shape (rows, columns, 8)
        For each source location: first lane, rows, lanes in a row, place of the first weight of channel 0, synapses, additions
        and toolbox fan-out of a spike.
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
    record = np.zeros((len(rows.first), len(cols.first), 8), np.int64)
    record[..., FIRST_LANE] = (rows.first[:, None].astype(np.int64) * out_width + cols.first) * run
    record[..., ROWS] = rows.count[:, None] * (cols.count > 0)
    record[..., RUN] = cols.count * run
    record[..., TAP] = rows.tap[:, None].astype(np.int64) * step + place[cols.tap] * run
    record[..., SYNAPSES] = np.outer(rows.synapses, cols.synapses) * outputs
    record[..., ADDITIONS] = np.outer(rows.count, cols.count) * outputs
    record[..., TOOLBOX] = np.outer(rows.toolbox, cols.toolbox) * outputs
    return values.ravel(), record, (out_width * run, rows.stride * step, values.shape[1] * step)


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


def _joined(parts: list[IntArray], dtype: type) -> IntArray:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype)

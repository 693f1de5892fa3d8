"""Compile a network into flat arrays: fused stencils, the reach of every row and column, rows of synapses.

Compiled code knows two kinds of projection: stencils (:mod:`eventsim.kernels.stencils` says how their weights lie) and rows of synapses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels.records import record
from eventsim.kernels.stencils import stencil
from eventsim.kernels.windows import maxima_of, windows_of
from eventsim.model.network import Network, Projection
from eventsim.model.tables import IntArray, Rows, Shape, Windows

# A projection.
#
# sparse: 1 for rows of synapses, 0 for a stencil        largest: magnitude of a (fused) weight
# maximum: place in ``maxima`` of the windows of a maximum population that it leads to, or -1; the rest but ``largest`` is not used then
# wide: 1 if its weights are in weights32, else 0        weights: place of the first one
# channels, width: of the source, to decode where a neuron lies
# y, x: places in ``reach`` for the source's first row and first column
# kernel_rows, row_weights: of the stencil, rows and weights in one row      outputs: channels that each of its taps reaches
# row_step, tap_step: from a row that a spike reaches to the next: neurons of the target forward, weights back
# column_step: from a run to the next in a row: neurons of the target; weights go on where they are
# row: place in ``row_start`` of the first neuron's      shift: from a place in ``targets`` to that of the weight
# nonzero: place in ``effective`` of the first neuron's, -1 if no weight is zero
TABLE = record(
    "sparse maximum largest wide weights channels width y x kernel_rows row_weights outputs row_step tap_step column_step row shift nonzero"
)
# What a spike in a row, or a column, of the source reaches. (A stencil that joins some channels only has a column for each channel.)
#
# first: neuron of the target where its row begins, or within the row
# count, length: target rows, of one neuron; or runs of neighbouring neurons, and neurons of each
# tap: of the stencil that reaches the first one: its row, or the place of its first weight in a row of weights
# synapses, toolbox: taps as they are counted, before pooling is fused
REACH = record("first count length tap synapses toolbox")


class Tables(NamedTuple):
    """All projections of a network, in its order."""

    projections: Any  # TABLE (projections,)
    weights8: Any  # int8: weights that fit
    weights32: Any  # int32: those of tables some of whose weights do not
    reach: Any  # REACH: of the rows and columns of all sources of stencils
    row_start: Any  # int64: the synapses of a neuron lie in row_start[i]..row_start[i + 1] - 1
    targets: Any  # int32: their target neurons
    effective: Any  # int32: synapses with a weight that is not zero, by source neuron
    maxima: Any  # Maxima: in the order of the projections that lead to them


class _Parts:
    """What has been compiled so far; arrays are joined in the end."""

    def __init__(self) -> None:
        self.weights: tuple[list[IntArray], list[IntArray]] = ([], [])
        self.reach: list[IntArray] = []
        self.row_start: list[IntArray] = []
        self.targets: list[IntArray] = []
        self.effective: list[IntArray] = []

    def add_rows(self, row: Any, rows: Rows) -> IntArray:
        """Rows of synapses; returns their weights."""
        row["sparse"], row["row"], row["shift"] = 1, _size(self.row_start), -_size(self.targets)
        self.row_start.append(rows.indptr + _size(self.targets))
        self.targets.append(rows.targets)
        return rows.weights

    def add_stencil(self, row: Any, projection: Projection, network: Network) -> IntArray:
        """A stencil; returns its weights."""
        source, target = (network.populations[name].shape for name in (projection.source, projection.target))
        weights, rows, columns, place, out_shape, begins = stencil(projection.table, source, target)
        inputs, kernel_rows, kernel_columns, outputs = weights.shape
        channels, width, out_channels = inputs, len(columns.first), out_shape[2]
        first, tap = columns.first.astype(np.int64) * out_channels, place[columns.tap]
        count, synapses, toolbox = columns.count, columns.synapses, columns.toolbox
        together = columns.step == 1 and outputs == out_channels
        if begins is not None:
            # Each channel is a column of its own, and so are its taps.
            weights = weights.transpose(1, 0, 2, 3).reshape(1, kernel_rows, inputs * kernel_columns, outputs)
            first, tap = np.add.outer(first, begins).ravel(), np.add.outer(tap, np.arange(inputs) * kernel_columns).ravel()
            count, synapses, toolbox = (np.outer(each, begins >= 0).ravel() for each in (count, synapses, toolbox))
            channels, width = 1, width * inputs
        row["channels"], row["width"], row["outputs"] = channels, width, outputs
        row["kernel_rows"], row["row_weights"] = kernel_rows, weights.shape[2] * outputs
        row["row_step"], row["tap_step"] = rows.step * out_shape[1] * out_channels, rows.stride * row["row_weights"]
        row["column_step"] = columns.step * out_channels
        across = np.zeros(width, REACH)
        across["first"], across["tap"] = first * (count > 0), tap * outputs
        across["count"], across["length"] = (np.minimum(count, 1), count * outputs) if together else (count, outputs)
        down = np.zeros(len(rows.first), REACH)
        down["first"], down["count"], down["tap"] = rows.first * np.int64(out_shape[1] * out_channels), rows.count, rows.tap
        for part, key, counted in ((down, "y", (rows.synapses, rows.toolbox)), (across, "x", (synapses, toolbox))):
            row[key] = _size(self.reach)
            part["synapses"], part["toolbox"] = counted
            self.reach.append(part)
        return weights

    def add(self, row: Any, projection: Projection, network: Network) -> None:
        """A projection with weights."""
        row["maximum"] = -1
        source, target = (network.populations[name].shape for name in (projection.source, projection.target))
        rows = projection.table.to_rows(source, target)
        weights = self.add_stencil(row, projection, network) if rows is None else self.add_rows(row, rows)
        self.add_weights(row, weights)
        self.add_effective(row, projection, network)

    def add_weights(self, row: Any, weights: IntArray) -> None:
        """Weights of a table, in the order in which compiled code reads them."""
        low, high = (int(weights.min()), int(weights.max())) if weights.size else (0, 0)
        wide = int(low < -128 or high > 127)
        row["largest"], row["wide"], row["weights"] = max(-low, high), wide, _size(self.weights[wide])
        row["shift"] += row["weights"]
        self.weights[wide].append(weights)

    def add_effective(self, row: Any, projection: Projection, network: Network) -> None:
        """How many weights are not zero."""
        table, row["nonzero"] = projection.table, -1
        if table.magnitude is None and not np.all(table.weights):
            source, target = (network.populations[name].shape for name in (projection.source, projection.target))
            row["nonzero"] = _size(self.effective)
            self.effective.append(table.effective_fan_out(source, target).astype(np.int32))


def compile_tables(network: Network) -> Tables:
    """Compile all projections of a network.

    Raises
    ------
    NetworkError
        A table is neither a stencil nor rows of synapses.
    """
    parts, projections = _Parts(), np.zeros(len(network.projections), TABLE)
    maxima: list[tuple[Windows, Shape, IntArray]] = []
    for row, projection in zip(projections, network.projections, strict=True):
        if projection.table.weighted:
            parts.add(row, projection, network)
        else:
            row["maximum"], row["nonzero"] = len(maxima), -1
            maxima.append(windows_of(projection, network))
    return Tables(
        projections,
        _joined(parts.weights[0], np.int8),
        _joined(parts.weights[1], np.int32),
        _joined(parts.reach, REACH),
        _joined(parts.row_start, np.int64),
        _joined(parts.targets, np.int32),
        _joined(parts.effective, np.int32),
        maxima_of(maxima),
    )


def _size(parts: list[IntArray]) -> int:
    return sum(part.size for part in parts)


def _joined(parts: list[IntArray], dtype: Any) -> IntArray:
    """All parts behind one another; each is copied once, whatever its type and order in memory."""
    out, place = np.empty(_size(parts), dtype), 0
    for part in parts:
        out[place : place + part.size].reshape(part.shape)[...] = part
        place += part.size
    return out

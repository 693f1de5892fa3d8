"""Synapses listed one by one, in compressed sparse rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_NEURONS
from eventsim.model.tables.geometry import Rows
from eventsim.model.tables.storage import check_members, read_weights
from eventsim.model.tables.table import Table
from eventsim.model.tables.weights import integer_weights
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup


@dataclass(frozen=True, eq=False, repr=False)
class Sparse(Table):
    """Synapses listed one by one, in compressed sparse rows: row i holds the synapses of source neuron i.

    Parameters
    ----------
    indptr : array_like of int, shape (source neurons + 1,)
        Row i is ``indices[indptr[i]:indptr[i+1]]``.
    indices : array_like of int, shape (synapses,)
        Target neurons, strictly ascending within a row.
    weights : array_like of int, shape (synapses,)
    targets : int
        Number of target neurons.

    Raises
    ------
    NetworkError
        Arrays that do not make a CSR matrix of integers with sorted rows without duplicates.
    """

    indptr: IntArray
    indices: IntArray
    weights: IntArray
    targets: int

    def __post_init__(self) -> None:
        arrays = [np.asarray(a) for a in (self.indptr, self.indices, self.weights)]
        # NumPy takes an empty list for floats.
        indptr, indices, weights = (a if a.size else a.astype(np.int32) for a in arrays)
        weights = integer_weights(weights, "sparse")
        if isinstance(self.targets, bool) or not isinstance(self.targets, (int, np.integer)) or not 1 <= self.targets < 2**31:
            raise NetworkError(f"sparse: the number of targets must be a whole number from 1 on, found {self.targets!r}")
        object.__setattr__(self, "targets", int(self.targets))
        if any(a.ndim != 1 for a in (indptr, indices, weights)) or any(a.dtype.kind not in "iu" for a in (indptr, indices)):
            raise NetworkError("sparse: indptr, indices and weights must be one-dimensional integer arrays")
        if len(indptr) < 2 or indptr[0] != 0 or indptr[-1] != len(indices) or np.any(indptr[1:] < indptr[:-1]):
            raise NetworkError("sparse: indptr must start at 0, never fall, and end at the number of synapses")
        if len(indices) != len(weights):
            raise NetworkError(f"sparse: {len(indices)} indices but {len(weights)} weights")
        if len(indices) and (indices.min() < 0 or indices.max() >= self.targets):
            raise NetworkError(f"sparse: target indices must be 0..{self.targets - 1}, found {indices.min()}..{indices.max()}")
        descends = np.diff(indices.astype(np.int64)) <= 0
        inside_row = np.ones(len(descends), bool)
        starts = indptr[1:-1]
        inside_row[starts[(starts > 0) & (starts < len(indices))] - 1] = False
        if np.any(descends & inside_row):
            raise NetworkError("sparse: target indices must ascend within a row, without duplicates (sum them first)")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "indptr", np.ascontiguousarray(indptr, np.int64))
        object.__setattr__(self, "indices", np.ascontiguousarray(indices, np.int32))

    kind = "sparse"
    form = "rows"
    all_to_all = False

    @classmethod
    def from_matrix(cls, matrix: Any) -> Sparse:
        """From a SciPy sparse matrix or a dense array of integers, shape (source neurons, target neurons)."""
        from scipy.sparse import csr_array

        csr = csr_array(matrix)
        csr.sort_indices()
        return cls(csr.indptr, csr.indices, csr.data, csr.shape[1])

    @property
    def stored_bytes(self) -> int:
        """Bytes that the table takes: those of its weights, and of the places that they have."""
        return super().stored_bytes + self.indptr.nbytes + self.indices.nbytes

    def to_rows(self, source_shape: Shape, target_shape: Shape) -> Rows:
        """For compiled code, as compressed sparse rows."""
        return Rows(self.indptr, self.indices, self.weights)

    def output_shape(self, source_shape: Shape) -> Shape:
        """Shape of the target population; raises NetworkError if the source does not fit."""
        if int(np.prod(source_shape, dtype=object)) != len(self.indptr) - 1:
            raise NetworkError(f"sparse: has {len(self.indptr) - 1} rows, the source has shape {source_shape}")
        return (self.targets,)

    def check(self, source_shape: Shape, target_shape: Shape) -> None:
        """Raise NetworkError if the table cannot join populations of these shapes."""
        self.output_shape(source_shape)
        if int(np.prod(target_shape, dtype=object)) != self.targets:
            raise NetworkError(f"sparse: has {self.targets} columns, the target has shape {target_shape}")

    def synapses_from(self, neuron: int, source_shape: Shape, target_shape: Shape) -> Iterator[tuple[int, int]]:
        """Every synapse (target neuron, weight) of one source neuron."""
        for e in range(int(self.indptr[neuron]), int(self.indptr[neuron + 1])):
            yield int(self.indices[e]), int(self.weights[e])

    def fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron: int64 (source neurons,)."""
        return np.diff(self.indptr)

    additions = fan_out
    toolbox_fan_out = fan_out

    def effective_fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron whose weight is not zero: int64 (source neurons,)."""
        running = np.concatenate(([0], np.cumsum(self.weights != 0)))
        return np.diff(running[self.indptr])

    def macs(self, source_shape: Shape, target_shape: Shape) -> int:
        """Multiply-accumulates of one dense pass: one per synapse."""
        return len(self.weights)

    def apply(self, values: IntArray, target_shape: Shape) -> IntArray:
        """The table's exact integer output for dense source values: int64, flat (see :meth:`Conv2d.apply`)."""
        out, values = np.zeros(self.targets, np.int64), np.asarray(values, np.int64).ravel()
        # Of spikes, most values are 0.
        rows = np.flatnonzero(values)
        sizes = np.diff(self.indptr)[rows]
        # Entry k of the i-th of these rows is one of the table's: the row's first and k behind it.
        entries = np.arange(int(sizes.sum())) + np.repeat(self.indptr[rows] - np.cumsum(sizes) + sizes, sizes)
        np.add.at(out, self.indices[entries], np.repeat(values[rows], sizes) * self.weights[entries].astype(np.int64))
        return out

    def scaled(self, gain: IntArray) -> Sparse:
        """The table with the weights of each source channel times an integer: int64 (channels,)."""
        # Rows are neurons numbered channel last.
        per_synapse = np.repeat(np.resize(gain, len(self.indptr) - 1), np.diff(self.indptr))
        return Sparse(self.indptr, self.indices, self.weights.astype(np.int64) * per_synapse, self.targets)

    def write(self, group: NewGroup) -> None:
        """Write everything but the kind and the weights; see :meth:`Table.write`."""
        group.attributes(targets=int(self.targets))
        group.dataset("indptr", np.asarray(self.indptr, "<i8"))
        group.dataset("indices", np.asarray(self.indices, "<i4"))

    @classmethod
    def read(cls, group: StoredGroup, source_shape: Shape) -> Sparse:
        """Read it from a file that may come from anywhere; see :meth:`Table.read`."""
        check_members(group, ("targets",), ("indptr", "indices"))
        indptr = group.array("indptr", ("int64",), [(math.prod(source_shape) + 1,)])
        count = int(indptr[-1])
        if not 0 <= count <= group.budget.left:
            raise group.fail("indptr", f"ends at {count} synapses, more than the file has bytes")
        indices = group.array("indices", ("int32",), [(count,)])
        return cls(indptr, indices, read_weights(group, (count,)), group.integer("targets", 1, MAX_NEURONS))

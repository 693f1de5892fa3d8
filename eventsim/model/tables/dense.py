"""All-to-all synapses: a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.tables.conv2d import Conv2d
from eventsim.model.tables.geometry import Stencil, pair, spatial, summed
from eventsim.model.tables.storage import check_members, read_weights
from eventsim.model.tables.table import Table
from eventsim.model.tables.weights import integer_weights, product_dtype
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup


@dataclass(frozen=True, eq=False, repr=False)
class Dense(Table):
    """All-to-all synapses: ``output[j] = sum over i of weights[i, j] * input[i]``.

    Parameters
    ----------
    weights : array_like of int, shape (source neurons, target neurons)
        Source neurons are numbered row by row, channel last, after ``pool_before``.
    pool_before : int or (int, int)
        Sums a (height, width, channels) source over windows first; 1 is no pooling.

    Raises
    ------
    NetworkError
        Weights that are not integers or not a matrix, settings out of range.
    """

    weights: IntArray
    pool_before: Any = 1

    def __post_init__(self) -> None:
        weights = integer_weights(self.weights, "dense")
        if weights.ndim != 2 or 0 in weights.shape:
            raise NetworkError(f"dense: weights must be (source neurons, target neurons), found {weights.shape}")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "pool_before", pair(self.pool_before, "dense: pool_before", 1))

    kind = "dense"
    form = "stencil"
    all_to_all = True

    def as_conv(self, source_shape: Shape) -> Conv2d:
        """The same table as a convolution whose kernel covers the whole (pooled) source.

        Raises
        ------
        NetworkError
            The pooled source has another number of neurons than the weights.
        """
        height, width, channels = spatial(source_shape)
        rows, cols = height // self.pool_before[0], width // self.pool_before[1]
        n_in, n_out = self.weights.shape
        if rows * cols * channels != n_in or not n_in:
            pooled = f" pooled to {(rows, cols, channels)}" if self.pool_before != (1, 1) else ""
            raise NetworkError(f"dense: the weights take {n_in} source neurons, the source is {source_shape}{pooled}")
        return Conv2d(self.weights.reshape(rows, cols, channels, n_out), pool_before=self.pool_before)

    def output_shape(self, source_shape: Shape) -> Shape:
        """Shape of the target population; raises NetworkError if the source does not fit."""
        self.as_conv(source_shape)
        return (self.weights.shape[1],)

    def check(self, source_shape: Shape, target_shape: Shape) -> None:
        """Raise NetworkError if the table cannot join populations of these shapes."""
        self.as_conv(source_shape)
        if int(np.prod(target_shape, dtype=object)) != self.weights.shape[1]:
            raise NetworkError(f"dense: the weights make {self.weights.shape[1]} neurons, the target has shape {target_shape}")

    def matrix(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Its weights as a matrix (source neurons, target neurons)."""
        return self.weights if self.pool_before == (1, 1) else super().matrix(source_shape, target_shape)

    def to_stencil(self, source_shape: Shape, target_shape: Shape) -> Stencil:
        """For compiled code, as a stencil with its pooling fused in."""
        conv = self.as_conv(source_shape)
        stencil = conv.to_stencil(source_shape, conv.output_shape(source_shape))
        # The toolbox gives a dense table's neurons the synapses that they have.
        rows, columns = (replace(axis, toolbox=axis.synapses) for axis in (stencil.rows, stencil.columns))
        return stencil._replace(rows=rows, columns=columns)

    def synapses_from(self, neuron: int, source_shape: Shape, target_shape: Shape) -> Iterator[tuple[int, int]]:
        """Every synapse (target neuron, weight) of one source neuron."""
        height, width, channels = spatial(source_shape)
        location, channel = divmod(neuron, channels)
        y, x = divmod(location, width)
        y, x = y // self.pool_before[0], x // self.pool_before[1]
        pooled_width = width // self.pool_before[1]
        if y >= height // self.pool_before[0] or x >= pooled_width:
            return
        row = self.weights[(y * pooled_width + x) * channels + channel]
        yield from ((j, int(w)) for j, w in enumerate(row))

    def fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron: int64 (source neurons,)."""
        return self.as_conv(source_shape).fan_out(source_shape, (self.weights.shape[1],))

    # Nothing is fused in a dense table, and the toolbox counts it alike.
    additions = fan_out
    toolbox_fan_out = fan_out

    def effective_fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron whose weight is not zero: int64 (source neurons,)."""
        return self.as_conv(source_shape).effective_fan_out(source_shape, (self.weights.shape[1],))

    def macs(self, source_shape: Shape, target_shape: Shape) -> int:
        """Multiply-accumulates of the dense source layer."""
        return int(self.weights.size)

    def apply(self, values: IntArray, target_shape: Shape) -> IntArray:
        """The table's exact integer output for dense source values: int64, flat (see :meth:`Conv2d.apply`)."""
        kernel = self.as_conv(values.shape)  # checks the size
        height, width, channels = spatial(values.shape)
        x = summed(np.asarray(values, np.int64).reshape(height, width, channels), self.pool_before).ravel()
        dtype = product_dtype(x, kernel.weights)
        return (x.astype(dtype) @ self.weights.astype(dtype)).astype(np.int64)

    def scaled(self, gain: IntArray) -> Dense:
        """The table with the weights of each source channel times an integer: int64 (channels,)."""
        # Rows are neurons numbered channel last.
        rows: IntArray = np.resize(gain, len(self.weights))
        return Dense(self.weights.astype(np.int64) * rows[:, None], self.pool_before)

    def write(self, group: NewGroup) -> None:
        """Write everything but the kind and the weights; see :meth:`Table.write`."""
        group.attributes(shape=self.weights.shape, pool_before=self.pool_before)

    @classmethod
    def read(cls, group: StoredGroup, source_shape: Shape) -> Dense:
        """Read it from a file that may come from anywhere; see :meth:`Table.read`."""
        check_members(group, ("shape", "pool_before"))
        shape, pool_before = group.integers("shape", (2,), 1), group.integers("pool_before", (2,), 1)
        return cls(read_weights(group, shape), pool_before)

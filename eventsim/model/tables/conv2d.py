"""A convolution, stored once as a stencil and never unrolled, with average pooling before or after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_FUSED_WEIGHTS, WEIGHT_LIMIT
from eventsim.model.tables.geometry import Axis, Stencil, axis, check_pairs, pair, spatial, summed
from eventsim.model.tables.storage import check_members, read_weights
from eventsim.model.tables.table import Table
from eventsim.model.tables.weights import integer_weights, product_dtype
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup


@dataclass(frozen=True, eq=False, repr=False)
class Conv2d(Table):
    """A two-dimensional convolution (cross-correlation, as in deep learning), zero-padded.

    ``output[Y, X, o] = sum over ky, kx, i of weights[ky, kx, i, o] * input[Y*stride + ky - top, X*stride + kx - left, i]``

    Average pooling never becomes neurons. ``pool_after`` sums the convolution's outputs over windows before they reach the
    target (scale its threshold by the window's size to get the average); ``pool_before`` sums the source over windows
    before the convolution. Windows do not overlap; an incomplete window at the end is dropped.

    Parameters
    ----------
    weights : array_like of int, shape (kernel height, kernel width, input channels, output channels)
    stride : int or (int, int)
    padding : int, (rows, columns) or (top, left, bottom, right)
    pool_before, pool_after : int or (int, int)
        Window sizes; 1 is no pooling.

    Raises
    ------
    NetworkError
        Weights that are not integers or not four-dimensional, settings out of range.
    """

    weights: IntArray
    stride: Any = 1
    padding: Any = 0
    pool_before: Any = 1
    pool_after: Any = 1

    def __post_init__(self) -> None:
        weights = integer_weights(self.weights, "conv2d")
        if weights.ndim != 4 or 0 in weights.shape:
            raise NetworkError(
                f"conv2d: weights must be (kernel height, kernel width, input channels, output channels), found {weights.shape}"
            )
        object.__setattr__(self, "weights", weights)
        for name in ("stride", "pool_before", "pool_after"):
            object.__setattr__(self, name, pair(getattr(self, name), f"conv2d: {name}", 1))
        padding = self.padding
        if isinstance(padding, (tuple, list, np.ndarray)) and len(padding) == 4:
            padding = pair(padding[:2], "conv2d: padding", 0) + pair(padding[2:], "conv2d: padding", 0)
        else:
            padding = pair(padding, "conv2d: padding", 0) * 2
        if any(p >= k for p, k in zip(padding, weights.shape[:2] * 2, strict=True)):
            raise NetworkError(f"conv2d: padding {padding} must be smaller than the kernel {weights.shape[:2]}")
        object.__setattr__(self, "padding", padding)

    kind = "conv2d"
    form = "stencil"
    all_to_all = False

    def output_shape(self, source_shape: Shape) -> Shape:
        """Shape of the target population.

        Raises
        ------
        NetworkError
            The source has other channels than the weights, or is too small for kernel and pooling.
        """
        height, width, channels = spatial(source_shape)
        kh, kw, c_in, c_out = self.weights.shape
        if channels != c_in:
            raise NetworkError(f"conv2d: the weights take {c_in} input channels, the source has {channels}")
        top, left, bottom, right = self.padding
        rows = height // self.pool_before[0] + top + bottom - kh
        cols = width // self.pool_before[1] + left + right - kw
        out_h = (rows // self.stride[0] + 1) // self.pool_after[0] if rows >= 0 else 0
        out_w = (cols // self.stride[1] + 1) // self.pool_after[1] if cols >= 0 else 0
        if out_h < 1 or out_w < 1:
            raise NetworkError(f"conv2d: a source of {height}x{width} is too small for this kernel, padding and pooling")
        return out_h, out_w, c_out

    def check(self, source_shape: Shape, target_shape: Shape) -> None:
        """Raise NetworkError if the table cannot join populations of these shapes."""
        expected = self.output_shape(source_shape)
        if spatial(expected) != spatial(target_shape) and expected != target_shape:
            raise NetworkError(f"conv2d: makes {expected} from {source_shape}, but the target has shape {target_shape}")
        for positions, taps in zip(spatial(source_shape), self.weights.shape[:2], strict=False):
            check_pairs("conv2d", positions, taps)
        if self.pool_after == (1, 1):
            return
        (py, px), (sy, sx), (kh, kw, c_in, c_out) = self.pool_after, self.stride, self.weights.shape
        largest = max(-int(self.weights.min()), int(self.weights.max())) * py * px
        if largest > WEIGHT_LIMIT:
            raise NetworkError(f"conv2d: weights summed by pool_after could reach {largest}, the limit is {WEIGHT_LIMIT}")
        size = (kh + sy * (py - 1)) * (kw + sx * (px - 1)) * c_in * c_out
        if size > MAX_FUSED_WEIGHTS:
            raise NetworkError(
                f"conv2d: pooling by {self.pool_after} after it makes a stencil of {size} weights, the limit is {MAX_FUSED_WEIGHTS}; "
                "let the neurons fire before they are pooled (pool_before of the next table)"
            )

    def axes(self, source_shape: Shape, target_shape: Shape) -> tuple[Axis, Axis]:
        """The reach of source rows and of source columns (see :class:`Axis`)."""
        source, target = spatial(source_shape), spatial(target_shape)
        kernel, unit = self.weights.shape, self.stride == (1, 1)
        rows, columns = (
            axis(source[i], target[i], kernel[i], self.stride[i], self.padding[i], self.pool_before[i], self.pool_after[i], unit)
            for i in (0, 1)
        )
        return rows, columns

    def fused(self) -> IntArray:
        """The stencil with ``pool_after`` summed in: int64 (kh', kw', input channels, output channels)."""
        kh, kw, c_in, c_out = self.weights.shape
        (py, px), (sy, sx) = self.pool_after, self.stride
        out = np.zeros((kh + sy * (py - 1), kw + sx * (px - 1), c_in, c_out), np.int64)
        for u in range(py):
            for v in range(px):
                out[u * sy : u * sy + kh, v * sx : v * sx + kw] += self.weights
        return out

    def as_conv(self, source_shape: Shape) -> Conv2d:
        """Itself."""
        return self

    def to_stencil(self, source_shape: Shape, target_shape: Shape) -> Stencil:
        """For compiled code, as a stencil with its pooling fused in."""
        rows, columns = self.axes(source_shape, target_shape)
        weights = self.weights if self.pool_after == (1, 1) else self.fused()
        return Stencil(weights, rows, columns, spatial(target_shape))

    def synapses_from(self, neuron: int, source_shape: Shape, target_shape: Shape) -> Iterator[tuple[int, int]]:
        """Every synapse (target neuron, weight) of one source neuron, before pooling is fused, straight from the equation."""
        height, width, channels = spatial(source_shape)
        out_h, out_w, c_out = spatial(target_shape)
        location, channel = divmod(neuron, channels)
        y, x = divmod(location, width)
        y, x = y // self.pool_before[0], x // self.pool_before[1]
        if y >= height // self.pool_before[0] or x >= width // self.pool_before[1]:
            return
        for conv_y in range(out_h * self.pool_after[0]):
            ky = y + self.padding[0] - conv_y * self.stride[0]
            if not 0 <= ky < self.weights.shape[0]:
                continue
            for conv_x in range(out_w * self.pool_after[1]):
                kx = x + self.padding[1] - conv_x * self.stride[1]
                if not 0 <= kx < self.weights.shape[1]:
                    continue
                target = ((conv_y // self.pool_after[0]) * out_w + conv_x // self.pool_after[1]) * c_out
                for o in range(c_out):
                    yield target + o, int(self.weights[ky, kx, channel, o])

    def fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron, borders exact, before pooling is fused: int64 (source neurons,)."""
        rows, columns = self.axes(source_shape, target_shape)
        return self._per_neuron(np.outer(rows.synapses, columns.synapses), source_shape)

    def additions(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Additions that a spike of each source neuron costs in the fused stencil: int64 (source neurons,)."""
        rows, columns = self.axes(source_shape, target_shape)
        return self._per_neuron(np.outer(rows.count, columns.count).astype(np.int64), source_shape)

    def toolbox_fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Fan-out as the SNN Toolbox computes it (parsing/utils.py, get_fanout): int64 (source neurons,)."""
        rows, columns = self.axes(source_shape, target_shape)
        return self._per_neuron(np.outer(rows.toolbox, columns.toolbox), source_shape)

    def effective_fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Synapses of each source neuron whose weight is not zero: int64 (source neurons,)."""
        source, target = spatial(source_shape), spatial(target_shape)
        taps = np.count_nonzero(self.weights, axis=3)
        reached = []
        for i in (0, 1):
            position = np.arange(source[i]) // self.pool_before[i]
            step = position[:, None] + self.padding[i] - np.arange(self.weights.shape[i])
            hits = (step % self.stride[i] == 0) & (step >= 0) & (step // self.stride[i] < target[i] * self.pool_after[i])
            reached.append(hits * (position < source[i] // self.pool_before[i])[:, None])
        return np.einsum("yk,xl,klc->yxc", reached[0], reached[1], taps).astype(np.int64).ravel()

    def _per_neuron(self, per_location: IntArray, source_shape: Shape) -> IntArray:
        channels = spatial(source_shape)[2]
        c_out = self.weights.shape[3]
        return np.repeat(per_location.ravel() * c_out, channels)

    def macs(self, source_shape: Shape, target_shape: Shape) -> int:
        """Multiply-accumulates of the dense source layer, padding included as usual."""
        out_h, out_w, _ = spatial(target_shape)
        return out_h * self.pool_after[0] * out_w * self.pool_after[1] * int(self.weights.size)

    def apply(self, values: IntArray, target_shape: Shape) -> IntArray:
        """The table's exact integer output for dense source values.

        Parameters
        ----------
        values : integer array, shape (height, width, channels)
        target_shape : tuple of int

        Returns
        -------
        numpy.ndarray
            int64, flat, one value per target neuron.
        """
        channels = values.shape[2]
        (sy, sx), (py, px) = self.stride, self.pool_after
        x = summed(np.asarray(values, np.int64), self.pool_before)
        top, left, bottom, right = self.padding
        x = np.pad(x, ((top, bottom), (left, right), (0, 0)))
        out_h, out_w, c_out = spatial(target_shape)
        rows, cols = out_h * py, out_w * px
        dtype = product_dtype(x, self.weights)
        x = x.astype(dtype)
        out = np.zeros((rows * cols, c_out), dtype)
        for ky in range(self.weights.shape[0]):
            for kx in range(self.weights.shape[1]):
                window = x[ky : ky + (rows - 1) * sy + 1 : sy, kx : kx + (cols - 1) * sx + 1 : sx]
                out += window.reshape(rows * cols, channels) @ self.weights[ky, kx].astype(dtype)
        return out.astype(np.int64).reshape(out_h, py, out_w, px, c_out).sum((1, 3)).ravel()

    def scaled(self, gain: IntArray) -> Conv2d:
        """The table with the weights of each source channel times an integer: int64 (channels,)."""
        weights = self.weights.astype(np.int64) * gain[:, None]
        return Conv2d(weights, self.stride, self.padding, self.pool_before, self.pool_after)

    def write(self, group: NewGroup) -> None:
        """Write everything but the kind and the weights; see :meth:`Table.write`."""
        group.attributes(shape=self.weights.shape, pool_before=self.pool_before)
        group.attributes(stride=self.stride, padding=self.padding, pool_after=self.pool_after)

    @classmethod
    def read(cls, group: StoredGroup, source_shape: Shape) -> Conv2d:
        """Read it from a file that may come from anywhere; see :meth:`Table.read`."""
        check_members(group, ("shape", "stride", "padding", "pool_before", "pool_after"))
        shape, stride, padding = group.integers("shape", (4,), 1), group.integers("stride", (2,), 1), group.integers("padding", (4,), 0)
        pool_before, pool_after = group.integers("pool_before", (2,), 1), group.integers("pool_after", (2,), 1)
        return cls(read_weights(group, shape), stride, padding, pool_before, pool_after)

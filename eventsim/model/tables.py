"""Synapse tables: which target neurons a spike of one source neuron reaches, and with which weights.

Three kinds, each stored in its compact form and never unrolled: :class:`Dense`, :class:`Conv2d` (a stencil, with average
pooling before or after it) and :class:`Sparse` (CSR). A table knows nothing of the populations that it joins; the methods
take their shapes. Neurons of a (height, width, channels) population are numbered row by row, channel last:
``neuron = (y * width + x) * channels + channel``.

Counting (docs/definitions.md): a *synapse* is an entry of a dense or sparse table, or a tap of a convolution whose input
and output positions both exist; an entry whose weight is zero is a synapse too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError

Shape = tuple[int, ...]
IntArray = npt.NDArray[Any]

WEIGHT_LIMIT = 2**31 - 1
# Pooling after a convolution enlarges its stencil; more than this is surely a mistake.
MAX_FUSED_WEIGHTS = 2**26
# Sums of integer products below this are exact in float64, so BLAS may do them.
_EXACT_IN_FLOAT64 = 2**53


class ByValue:
    """Base of what networks are made of, dataclasses with arrays: equal if of one kind with equal fields, arrays compared by value.

    Not hashable, since arrays are not: use :meth:`eventsim.Simulator.digest` for a fingerprint.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ((f.name, getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{name}={_brief(value)}' for name, value in values)})"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)


def _brief(value: Any) -> str:
    """An array by its type and shape, unless it has a few values only."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    return str(value.tolist()) if value.size <= 8 else f"<{value.dtype} {'x'.join(map(str, value.shape))}>"


def spatial(shape: Shape) -> tuple[int, int, int]:
    """A population's shape as (height, width, channels); N neurons in a row are N channels of one location."""
    return (1, 1, shape[0]) if len(shape) == 1 else (shape[0], shape[1], shape[2])


def integer_weights(weights: npt.ArrayLike, what: str) -> IntArray:
    """Contiguous, in the smallest of int8, int16 and int32 that holds every value; not copied if it already is.

    Raises
    ------
    NetworkError
        The values are not integers (booleans and floats included) or exceed ``WEIGHT_LIMIT`` in magnitude.
    """
    array = np.asarray(weights)
    if array.dtype.kind not in "iu":
        raise NetworkError(f"{what}: weights must be integers, found {array.dtype}; scale and round them first")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if max(-low, high) > WEIGHT_LIMIT:
        raise NetworkError(f"{what}: weights reach {max(-low, high)}, the limit is {WEIGHT_LIMIT}")
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            break
    return np.ascontiguousarray(array, dtype=dtype)


def _pair(value: Any, what: str, least: int) -> tuple[int, int]:
    """(rows, columns) from one number or two."""
    values = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value, value)
    if len(values) != 2 or any(not isinstance(v, (int, np.integer)) or isinstance(v, bool) or v < least for v in values):
        raise NetworkError(f"{what} must be one or two whole numbers of at least {least}, found {value!r}")
    return int(values[0]), int(values[1])


@dataclass(frozen=True)
class Axis:
    """Where the source positions of a convolution reach along one axis, pooling fused in.

    All arrays have one entry per source position; an entry with ``count`` 0 reaches nothing.

    Attributes
    ----------
    first : int32 array
        First target position reached.
    count : int32 array
        Number of consecutive target positions reached.
    tap : int32 array
        Fused tap that reaches ``first``; the next target positions use ``tap - stride``, ``tap - 2 * stride``, ...
    synapses : int64 array
        Taps before pooling is fused, borders exact.
    toolbox : int64 array
        Taps as the SNN Toolbox counts them.
    pooled : int32 array
        Source position after pooling before the convolution, -1 where the pool window is incomplete.
    kernel, stride : int
        Of the fused stencil.
    """

    first: IntArray
    count: IntArray
    tap: IntArray
    synapses: IntArray
    toolbox: IntArray
    pooled: IntArray
    kernel: int
    stride: int


def _axis(n_source: int, n_target: int, kernel: int, stride: int, pad: int, before: int, after: int, unit_strides: bool) -> Axis:
    fused_kernel, fused_stride = kernel + stride * (after - 1), stride * after
    position = np.arange(n_source, dtype=np.int64) // before
    exists = position < n_source // before
    reach = position + pad
    first = np.maximum(0, -((fused_kernel - 1 - reach) // fused_stride))
    last = np.minimum(n_target - 1, reach // fused_stride)
    # Outputs of the convolution c with 0 <= reach - stride * c < kernel, before pooling.
    first_output = np.maximum(0, -((kernel - 1 - reach) // stride))
    last_output = np.minimum(n_target * after - 1, reach // stride)
    synapses = np.where(exists, np.maximum(0, last_output - first_output + 1), 0)
    # A stride beyond the kernel leaves holes in the fused stencil: a position that falls into one reaches nothing.
    count = np.where(synapses > 0, np.maximum(0, last - first + 1), 0)
    if unit_strides:
        # The toolbox gives every neuron the whole kernel, at the border too, but only if both strides are 1.
        toolbox = np.full(n_source, kernel, dtype=np.int64)
    else:
        # _get_fanout_array_2D: the nearest output always counts, further ones only inside the layer.
        toolbox = np.ones(n_source, dtype=np.int64)
        for i in range(1, (kernel - 1) // stride + 1):
            output = reach // stride - i
            toolbox += (reach % stride + i * stride < kernel) & (output >= 0) & (output < n_target * after)
    return Axis(
        first=np.where(count > 0, first, 0).astype(np.int32),
        count=count.astype(np.int32),
        tap=np.where(count > 0, reach - fused_stride * first, 0).astype(np.int32),
        synapses=synapses.astype(np.int64),
        toolbox=toolbox,
        pooled=np.where(exists, position, -1).astype(np.int32),
        kernel=fused_kernel,
        stride=fused_stride,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Conv2d(ByValue):
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
            object.__setattr__(self, name, _pair(getattr(self, name), f"conv2d: {name}", 1))
        padding = self.padding
        if isinstance(padding, (tuple, list, np.ndarray)) and len(padding) == 4:
            padding = _pair(padding[:2], "conv2d: padding", 0) + _pair(padding[2:], "conv2d: padding", 0)
        else:
            padding = _pair(padding, "conv2d: padding", 0) * 2
        if any(p >= k for p, k in zip(padding, weights.shape[:2] * 2, strict=True)):
            raise NetworkError(f"conv2d: padding {padding} must be smaller than the kernel {weights.shape[:2]}")
        object.__setattr__(self, "padding", padding)

    kind = "conv2d"

    @cached_property
    def magnitude(self) -> int | None:
        """The common magnitude of all weights if the table is binary, else None."""
        return _magnitude(self.weights)

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
            _axis(source[i], target[i], kernel[i], self.stride[i], self.padding[i], self.pool_before[i], self.pool_after[i], unit)
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
        x = _summed(np.asarray(values, np.int64), self.pool_before)
        top, left, bottom, right = self.padding
        x = np.pad(x, ((top, bottom), (left, right), (0, 0)))
        out_h, out_w, c_out = spatial(target_shape)
        rows, cols = out_h * py, out_w * px
        dtype = _product_dtype(x, self.weights)
        x = x.astype(dtype)
        out = np.zeros((rows * cols, c_out), dtype)
        for ky in range(self.weights.shape[0]):
            for kx in range(self.weights.shape[1]):
                window = x[ky : ky + (rows - 1) * sy + 1 : sy, kx : kx + (cols - 1) * sx + 1 : sx]
                out += window.reshape(rows * cols, channels) @ self.weights[ky, kx].astype(dtype)
        return out.astype(np.int64).reshape(out_h, py, out_w, px, c_out).sum((1, 3)).ravel()


@dataclass(frozen=True, eq=False, repr=False)
class Dense(ByValue):
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
        object.__setattr__(self, "pool_before", _pair(self.pool_before, "dense: pool_before", 1))

    kind = "dense"

    @cached_property
    def magnitude(self) -> int | None:
        """The common magnitude of all weights if the table is binary, else None."""
        return _magnitude(self.weights)

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
        x = _summed(np.asarray(values, np.int64).reshape(height, width, channels), self.pool_before).ravel()
        dtype = _product_dtype(x, kernel.weights)
        return (x.astype(dtype) @ self.weights.astype(dtype)).astype(np.int64)


@dataclass(frozen=True, eq=False, repr=False)
class Sparse(ByValue):
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

    @classmethod
    def from_matrix(cls, matrix: Any) -> Sparse:
        """From a SciPy sparse matrix or a dense array of integers, shape (source neurons, target neurons)."""
        from scipy.sparse import csr_array

        csr = csr_array(matrix)
        csr.sort_indices()
        return cls(csr.indptr, csr.indices, csr.data, csr.shape[1])

    @cached_property
    def magnitude(self) -> int | None:
        """The common magnitude of all weights if the table is binary, else None."""
        return _magnitude(self.weights)

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
        out = np.zeros(self.targets, np.int64)
        source = np.repeat(np.asarray(values, np.int64).ravel(), np.diff(self.indptr))
        np.add.at(out, self.indices, source * self.weights.astype(np.int64))
        return out


Table = Conv2d | Dense | Sparse


def _magnitude(weights: IntArray) -> int | None:
    if not weights.size:
        return None
    first = abs(int(weights.flat[0]))
    if first == 0:
        return None
    # Two comparisons instead of abs(): no copy, and abs(int8(-128)) would wrap.
    return first if bool(np.all((weights == first) | (weights == -first))) else None


def _summed(values: IntArray, window: tuple[int, int]) -> IntArray:
    """Sums over windows of (height, width, channels) values; an incomplete window at the end is dropped."""
    height, width, channels = values.shape
    by, bx = window
    whole = values[: height // by * by, : width // bx * bx]
    return whole.reshape(height // by, by, width // bx, bx, channels).sum((1, 3))


def _product_dtype(values: IntArray, weights: IntArray) -> type:
    largest = int(np.abs(values).max(initial=0)) * int(np.abs(weights.astype(np.int64)).max(initial=0))
    bound = largest * int(np.prod(weights.shape[:3]))
    if bound >= 2**62:
        raise NetworkError(f"conv2d: currents could reach {bound}, more than 64-bit integers hold; use smaller weights or inputs")
    return np.float64 if bound < _EXACT_IN_FLOAT64 else np.int64

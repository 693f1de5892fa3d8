"""Operators over windows of an image, each channel by itself: means, largest values, and sampling at other places."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventsim.conversion.operators.operator import Array, Operator, Shape, Values, image_shape
from eventsim.conversion.operators.weights import check_steps, reach_of
from eventsim.errors import ConversionError


class Separable(Operator):
    """Linear, each channel by itself, along rows and columns one after the other: ``y[c] = rows @ x[c] @ columns.T``."""

    def matrices(self, size: tuple[int, int]) -> tuple[Array, Array]:
        """(new rows, rows) and (new columns, columns), for an image of so many rows and columns."""
        raise NotImplementedError

    def evaluate(self, *values: Values) -> Values:
        """(batch, channels, new rows, new columns)."""
        (x,) = values
        down, across = (matrix.astype(x.dtype) for matrix in self.matrices((x.shape[2], x.shape[3])))
        return down @ x @ across.T


@dataclass(frozen=True, eq=False)
class AveragePool(Separable):
    """Mean over windows, which may overlap.

    Attributes
    ----------
    window : (rows, columns)
    stride : (rows, columns), optional
        Default: the window, so that they do not overlap.
    padding : (top, left, bottom, right)
        Of zeros.
    ceil : bool
        A last window that is not whole counts too, unless it would begin behind the image and its padding at the beginning.
    count_padding : bool
        The sum is divided by the number of cells with those of the padding (never those that ``ceil`` adds behind it), else without.
    divisor : int, optional
        By which every sum is divided instead; 1 makes sums.
    """

    window: tuple[int, int]
    stride: tuple[int, int] | None = None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil: bool = False
    count_padding: bool = False
    divisor: float | None = None

    def output_shape(self, *inputs: Shape) -> Shape:
        """(channels, rows, columns)."""
        shape = image_shape(inputs[0], "pooling")
        check_window(shape, self.window, self.step, self.padding, (1, 1))
        if self.divisor is not None and not (np.isfinite(self.divisor) and self.divisor != 0):
            raise ConversionError(f"a pooling divisor {self.divisor}; expected a number that is not 0")
        rows, cols = (len(self._starts(i, shape[1 + i])) for i in (0, 1))
        if rows < 1 or cols < 1:
            raise ConversionError(f"a pooling window {self.window} that does not fit {shape}")
        return shape[0], rows, cols

    @property
    def step(self) -> tuple[int, int]:
        """Its stride."""
        return self.window if self.stride is None else self.stride

    def plain(self, size: tuple[int, int]) -> bool:
        """Windows that do not overlap, without padding, whole, each divided by its cells: what costs no more than what it takes."""
        whole = not self.ceil or not any(size[i] % self.window[i] for i in (0, 1))
        cells = self.window[0] * self.window[1]
        return self.step == self.window and not any(self.padding) and whole and self.divisor in (None, cells)

    def _starts(self, i: int, size: int) -> npt.NDArray[np.int64]:
        """Where the windows begin along an axis, in cells of the image (those of the padding before it are negative)."""
        before, after = self.padding[i], self.padding[i + 2]
        span = size + before + after - self.window[i]
        count = (-(-span // self.step[i]) if self.ceil else span // self.step[i]) + 1
        starts: npt.NDArray[np.int64] = np.arange(max(count, 0), dtype=np.int64) * self.step[i] - before
        return starts[starts < size] if self.ceil else starts

    def matrices(self, size: tuple[int, int]) -> tuple[Array, Array]:
        """(new rows, rows) and (new columns, columns)."""
        made = []
        for i in (0, 1):
            starts = self._starts(i, size[i])[:, None]
            cell = np.arange(size[i])
            inside = ((cell >= starts) & (cell < starts + self.window[i])).astype(np.float64)
            counted = np.minimum(starts[:, 0] + self.window[i], size[i] + self.padding[i + 2]) - starts[:, 0]
            divided = counted if self.count_padding else np.maximum(inside.sum(1), 1)
            made.append(inside if self.divisor is not None else inside / divided[:, None])
        rows, columns = made
        return (rows if self.divisor is None else rows / self.divisor), columns


@dataclass(frozen=True, eq=False)
class AdaptiveAveragePool(Separable):
    """Mean over as many windows as wanted, from ``floor(i * rows / n)`` to before ``ceil((i + 1) * rows / n)``."""

    size: tuple[int, int]

    def output_shape(self, *inputs: Shape) -> Shape:
        """(channels, rows, columns)."""
        shape = image_shape(inputs[0], "pooling")
        _check_size(self.size)
        return shape[0], *self.size

    def matrices(self, size: tuple[int, int]) -> tuple[Array, Array]:
        """(new rows, rows) and (new columns, columns)."""
        made = []
        for i in (0, 1):
            inside = np.zeros((self.size[i], size[i]))
            for row, (start, stop) in zip(inside, adaptive_windows(size[i], self.size[i]), strict=True):
                row[start:stop] = 1 / (stop - start)
            made.append(inside)
        return made[0], made[1]


@dataclass(frozen=True, eq=False)
class Resample(Separable):
    """``y[c] = rows @ x[c] @ columns.T``: interpolation, and every other linear map of rows and of columns.

    Attributes
    ----------
    rows : (new rows, rows)
    columns : (new columns, columns)
    """

    rows: Array
    columns: Array

    def output_shape(self, *inputs: Shape) -> Shape:
        """(channels, new rows, new columns)."""
        shape = image_shape(inputs[0], "resampling")
        if self.rows.ndim != 2 or self.columns.ndim != 2 or (self.rows.shape[1], self.columns.shape[1]) != shape[1:]:
            raise ConversionError(f"resampling by {self.rows.shape} and {self.columns.shape} of a value of shape {shape}")
        if not (np.all(np.isfinite(self.rows)) and np.all(np.isfinite(self.columns))):
            raise ConversionError("weights that are not finite")
        return shape[0], len(self.rows), len(self.columns)

    def matrices(self, size: tuple[int, int]) -> tuple[Array, Array]:
        """Its own."""
        return self.rows, self.columns


@dataclass(frozen=True, eq=False)
class MaxPool(Operator):
    """Largest value of each window; cells of the padding (top, left, bottom, right) are left out, so is an incomplete window at the end."""

    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def output_shape(self, *inputs: Shape) -> Shape:
        """(channels, rows, columns)."""
        shape = image_shape(inputs[0], "pooling")
        check_window(shape, self.window, self.stride, self.padding, self.dilation)
        reach = reach_of(self.window, self.dilation)
        rows, cols = ((shape[1 + i] + self.padding[i] + self.padding[i + 2] - reach[i]) // self.stride[i] + 1 for i in (0, 1))
        if rows < 1 or cols < 1:
            raise ConversionError(f"a pooling window {self.window} that does not fit {shape}")
        return shape[0], rows, cols

    def evaluate(self, *values: Values) -> Values:
        """(batch, channels, rows, columns)."""
        top, left, bottom, right = self.padding
        padded = np.pad(values[0], ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach_of(self.window, self.dilation), (2, 3))
        dilated = windows[:, :, :: self.stride[0], :: self.stride[1], :: self.dilation[0], :: self.dilation[1]]
        made: Values = dilated.max((-2, -1))
        return made


@dataclass(frozen=True, eq=False)
class AdaptiveMaxPool(Operator):
    """Largest value of as many windows as wanted, those of :class:`AdaptiveAveragePool`."""

    size: tuple[int, int]

    def output_shape(self, *inputs: Shape) -> Shape:
        """(channels, rows, columns)."""
        shape = image_shape(inputs[0], "pooling")
        _check_size(self.size)
        return shape[0], *self.size

    def as_windows(self, size: tuple[int, int]) -> MaxPool | None:
        """The same as pooling over windows of one size at equal distances; None if they are not so, or several lie in one place."""
        found = []
        for i in (0, 1):
            windows = adaptive_windows(size[i], self.size[i])
            steps, lengths = {b[0] - a[0] for a, b in itertools.pairwise(windows)}, {stop - start for start, stop in windows}
            if len(steps) > 1 or len(lengths) > 1 or 0 in steps:
                return None
            found.append((lengths.pop(), *(steps or {1})))
        (height, down), (width, across) = found
        return MaxPool((height, width), (down, across))

    def evaluate(self, *values: Values) -> Values:
        """(batch, channels, rows, columns)."""
        (x,) = values
        rows, columns = (adaptive_windows(x.shape[2 + i], self.size[i]) for i in (0, 1))
        made = [[x[:, :, top:bottom, left:right].max((2, 3)) for left, right in columns] for top, bottom in rows]
        return np.stack([np.stack(row, -1) for row in made], -2)


def adaptive_windows(cells: int, count: int) -> list[tuple[int, int]]:
    """First cell of each window, and the one behind its last."""
    return [(i * cells // count, -(-(i + 1) * cells // count)) for i in range(count)]


def _check_size(size: tuple[int, ...]) -> None:
    if len(size) != 2 or min(size) < 1:
        raise ConversionError(f"pooling to {size}; expected two numbers from 1")


def check_window(
    shape: tuple[int, int, int], window: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
) -> None:
    """Raise ConversionError for a window, stride or padding that makes no sense."""
    if len(window) != 2 or min(window) < 1:
        raise ConversionError(f"a pooling window {window} that does not fit {shape}; expected two numbers from 1")
    check_steps(stride, padding, dilation)
    reach = reach_of(window, (dilation[0], dilation[1]))
    if any(padding[i] >= reach[i % 2] for i in range(4)):
        raise ConversionError(f"a pooling window {window} that may lie in the padding {padding} altogether")

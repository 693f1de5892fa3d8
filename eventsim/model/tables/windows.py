"""Windows of a maximum population: which neurons it compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.tables.geometry import pair, spatial
from eventsim.model.tables.table import Table
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup


class Span(NamedTuple):
    """Windows along one axis, borders exact: which cells each has, and which windows each cell lies in. All arrays are int64.

    Attributes
    ----------
    first_cell, end_cell : int64 array, shape (windows,)
        The window has the cells ``first_cell .. end_cell - 1``, at least one.
    first_window, end_window : int64 array, shape (cells,)
        The cell lies in the windows ``first_window .. end_window - 1``; none if the stride leaves it out.
    """

    first_cell: IntArray
    end_cell: IntArray
    first_window: IntArray
    end_window: IntArray


@dataclass(frozen=True, eq=False, repr=False)
class Windows(Table):
    """The windows of a maximum population, channel by channel; there are no weights.

    Neuron (Y, X, c) of the target compares the neurons (y, x, c) of the source with ``Y*stride - top <= y < Y*stride - top + kernel``,
    likewise x. Positions beyond the source (padding) are left out. Windows may overlap, and leave neurons out; the last ones may reach
    beyond the source as far as ``padding`` says (which is what a ceil mode does). A kernel as large as the source is global pooling.

    Parameters
    ----------
    kernel : int or (int, int)
    stride : int or (int, int), optional
        By default the kernel: windows side by side.
    padding : int, (rows, columns) or (top, left, bottom, right)

    Raises
    ------
    NetworkError
        Settings out of range.
    """

    kernel: Any
    stride: Any = None
    padding: Any = 0

    def __post_init__(self) -> None:
        kernel = pair(self.kernel, "windows: kernel", 1)
        stride = kernel if self.stride is None else pair(self.stride, "windows: stride", 1)
        padding = self.padding
        if isinstance(padding, (tuple, list, np.ndarray)) and len(padding) == 4:
            padding = pair(padding[:2], "windows: padding", 0) + pair(padding[2:], "windows: padding", 0)
        else:
            padding = pair(padding, "windows: padding", 0) * 2
        if any(p >= k for p, k in zip(padding, kernel * 2, strict=True)):
            raise NetworkError(f"windows: padding {padding} must be smaller than the kernel {kernel}")
        for name, value in (("kernel", kernel), ("stride", stride), ("padding", padding)):
            object.__setattr__(self, name, value)

    kind = "windows"
    form = "windows"
    weighted = False
    all_to_all = False
    weights = np.zeros(0, np.int8)

    def size_in_words(self) -> str:
        """Kernel and stride."""
        kernel, stride = ("x".join(map(str, pair)) for pair in (self.kernel, self.stride))
        return f"{kernel} stride {stride}"

    def output_shape(self, source_shape: Shape) -> Shape:
        """Shape of the target population.

        Raises
        ------
        NetworkError
            The source is too small for a window.
        """
        height, width, channels = spatial(source_shape)
        out = []
        for i, size in enumerate((height, width)):
            before, after = self.padding[i], self.padding[i + 2]
            room = size + before + after - self.kernel[i]
            windows = room // self.stride[i] + 1
            if room < 0:
                raise NetworkError(f"windows: a source of {height}x{width} is too small for a window of {self.kernel} with this padding")
            # (Every window has a cell of the source: there is less padding than a kernel.)
            out.append(windows)
        return out[0], out[1], channels

    def check(self, source_shape: Shape, target_shape: Shape) -> None:
        """Raise NetworkError if the table cannot join populations of these shapes."""
        expected = self.output_shape(source_shape)
        if spatial(expected) != spatial(target_shape):
            raise NetworkError(f"windows: make {expected} of {source_shape}, but the target has shape {target_shape}")

    def spans(self, source_shape: Shape) -> tuple[Span, Span]:
        """The windows along rows and along columns."""
        sizes, windows = spatial(source_shape), spatial(self.output_shape(source_shape))
        rows, columns = (self._span(i, sizes[i], windows[i]) for i in (0, 1))
        return rows, columns

    def _span(self, i: int, size: int, windows: int) -> Span:
        kernel, stride, before = self.kernel[i], self.stride[i], self.padding[i]
        first, cell = np.arange(windows, dtype=np.int64) * stride - before, np.arange(size, dtype=np.int64) + before
        first_window = np.maximum(0, -((kernel - 1 - cell) // stride))
        return Span(np.maximum(first, 0), np.minimum(first + kernel, size), first_window, np.minimum(cell // stride, windows - 1) + 1)

    def synapses_from(self, neuron: int, source_shape: Shape, target_shape: Shape) -> Iterator[tuple[int, int]]:
        """(Target neuron, 1) for each window that a source neuron lies in, straight from the definition."""
        _, width, channels = spatial(source_shape)
        out_h, out_w, _ = spatial(target_shape)
        location, channel = divmod(neuron, channels)
        y, x = divmod(location, width)
        for window_y in range(out_h):
            top = window_y * self.stride[0] - self.padding[0]
            if not top <= y < top + self.kernel[0]:
                continue
            for window_x in range(out_w):
                left = window_x * self.stride[1] - self.padding[1]
                if left <= x < left + self.kernel[1]:
                    yield (window_y * out_w + window_x) * channels + channel, 1

    def fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """Windows that each source neuron lies in, borders exact: int64 (source neurons,). A spike is compared in each of them."""
        rows, columns = (np.maximum(0, span.end_window - span.first_window) for span in self.spans(source_shape))
        return np.repeat(np.outer(rows, columns).ravel(), spatial(source_shape)[2])

    def additions(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """None: int64 zeros (source neurons,)."""
        return np.zeros(int(np.prod(source_shape)), np.int64)

    # No weight is other than zero.
    effective_fan_out = additions

    def toolbox_fan_out(self, source_shape: Shape, target_shape: Shape) -> IntArray:
        """One, as the SNN Toolbox has it for neurons before a pooling layer: int64 (source neurons,)."""
        return np.ones(int(np.prod(source_shape)), np.int64)

    def macs(self, source_shape: Shape, target_shape: Shape) -> int:
        """None."""
        return 0

    def apply(self, values: IntArray, target_shape: Shape) -> IntArray:
        """Maxima of dense source values: int64, flat."""
        rows, columns = self.spans(values.shape)
        out = np.full((len(rows.first_cell), len(columns.first_cell), values.shape[2]), np.iinfo(np.int64).min)
        for y, (top, bottom) in enumerate(zip(rows.first_cell, rows.end_cell, strict=True)):
            for x, (left, right) in enumerate(zip(columns.first_cell, columns.end_cell, strict=True)):
                out[y, x] = values[top:bottom, left:right].max((0, 1))
        return out.ravel()

    def scaled(self, gain: IntArray) -> Windows:
        """Itself, if the gain is 1: there are no weights to scale."""
        if np.any(np.asarray(gain) != 1):
            raise NetworkError("windows: have no weights that could be scaled")
        return self

    def write(self, group: NewGroup) -> None:
        """Write everything but the kind; see :meth:`Table.write`."""
        group.attributes(kernel=self.kernel, stride=self.stride, padding=self.padding)

    @classmethod
    def read(cls, group: StoredGroup, source_shape: Shape) -> Windows:
        """Read it from a file that may come from anywhere; see :meth:`Table.read`."""
        group.holds(("kind", "kernel", "stride", "padding"), ())
        return cls(group.integers("kernel", (2,), 1), group.integers("stride", (2,), 1), group.integers("padding", (4,), 0))

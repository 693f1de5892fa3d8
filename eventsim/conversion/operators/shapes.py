"""Operators that pass numbers on as they are: other shapes and orders, parts, paddings, values put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eventsim.conversion.operators.operator import Operator, Rearrangement, Shape, Values, size_of
from eventsim.errors import ConversionError


@dataclass(frozen=True, eq=False)
class Flatten(Rearrangement):
    """(channels, height, width) -> (features,), channel first."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """(features,)."""
        return (size_of(inputs[0]),)

    def evaluate(self, *values: Values) -> Values:
        """(batch, features)."""
        return values[0].reshape(len(values[0]), -1)


@dataclass(frozen=True, eq=False)
class Reshape(Rearrangement):
    """The same numbers in the same order (the last axis first, as in NumPy and every framework) in another shape, without the batch."""

    shape: Shape

    def output_shape(self, *inputs: Shape) -> Shape:
        """Its own."""
        if not self.shape or min(self.shape) < 1 or size_of(self.shape) != size_of(inputs[0]):
            raise ConversionError(f"a value of shape {inputs[0]} cannot be reshaped to {self.shape}")
        return self.shape

    def evaluate(self, *values: Values) -> Values:
        """(batch, *shape)."""
        return values[0].reshape(len(values[0]), *self.shape)


@dataclass(frozen=True, eq=False)
class Permute(Rearrangement):
    """Axes in another order, without the batch: axis i of the value is axis ``axes[i]`` of the input."""

    axes: tuple[int, ...]

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the input in the new order."""
        (shape,) = inputs
        if sorted(self.axes) != list(range(len(shape))):
            raise ConversionError(f"axes {self.axes} of a value of shape {shape}; expected each of 0..{len(shape) - 1} once")
        return tuple(shape[axis] for axis in self.axes)

    def evaluate(self, *values: Values) -> Values:
        """(batch, *new shape)."""
        return values[0].transpose(0, *(axis + 1 for axis in self.axes))


@dataclass(frozen=True, eq=False)
class Select(Rearrangement):
    """``y = x.take(indices, axis)``, axes without the batch: slices, channel shuffles, and with repeated ones nearest upsampling.

    Attributes
    ----------
    axis : int
    indices : int (n,)
        From 0; each may occur any number of times.
    """

    axis: int
    indices: npt.NDArray[np.int64]

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the input with as many entries along the axis as there are indices."""
        (shape,) = inputs
        if not 0 <= self.axis < len(shape):
            raise ConversionError(f"axis {self.axis} of a value of shape {shape}")
        if self.indices.ndim != 1 or self.indices.dtype.kind not in "iu" or not len(self.indices):
            raise ConversionError(f"a selection by {self.indices.dtype} of shape {self.indices.shape}; expected some integers")
        if self.indices.min() < 0 or self.indices.max() >= shape[self.axis]:
            raise ConversionError(f"a selection of {self.indices.min()}..{self.indices.max()} along axis {self.axis} of {shape}")
        return (*shape[: self.axis], len(self.indices), *shape[self.axis + 1 :])

    def evaluate(self, *values: Values) -> Values:
        """(batch, *new shape)."""
        return values[0].take(self.indices, self.axis + 1)


@dataclass(frozen=True, eq=False)
class Pad(Rearrangement):
    """More cells at the ends of axes.

    Attributes
    ----------
    widths : tuple of (before, after)
        One pair for each axis of the value, without the batch.
    mode : {"constant", "reflect", "edge", "wrap"}
        As NumPy and ONNX call them; PyTorch says replicate for edge and circular for wrap.
    value : float
        Of the new cells, for "constant".
    """

    widths: tuple[tuple[int, int], ...]
    mode: Literal["constant", "reflect", "edge", "wrap"] = "constant"
    value: float = 0.0

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the input with the new cells."""
        (shape,) = inputs
        if len(self.widths) != len(shape) or any(len(pair) != 2 or min(pair) < 0 for pair in self.widths):
            raise ConversionError(f"a padding {self.widths} of a value of shape {shape}; expected two numbers from 0 for each axis")
        if self.mode not in ("constant", "reflect", "edge", "wrap") or not np.isfinite(self.value):
            raise ConversionError(f"a padding {self.mode!r} with the value {self.value}; expected constant, reflect, edge or wrap")
        most = {"reflect": 1, "wrap": 0}.get(self.mode)
        if most is not None and any(max(pair) > max(n - most, 0) for pair, n in zip(self.widths, shape, strict=True)):
            raise ConversionError(f"a padding {self.widths} ({self.mode}) that is longer than the value of shape {shape}")
        return tuple(n + before + after for n, (before, after) in zip(shape, self.widths, strict=True))

    def evaluate(self, *values: Values) -> Values:
        """(batch, *new shape)."""
        options: dict[str, Any] = {"constant_values": self.value} if self.mode == "constant" else {}
        made: Values = np.pad(values[0], ((0, 0), *self.widths), self.mode, **options)
        return made


@dataclass(frozen=True, eq=False)
class Concatenate(Operator):
    """Any number of values one behind the other along an axis, without the batch: 0 is that of channels (or features)."""

    axis: int = 0

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the inputs, as long along the axis as all of them together."""
        first = inputs[0]
        if not 0 <= self.axis < len(first):
            raise ConversionError(f"a concatenation along axis {self.axis} of values of shape {first}")
        others = {(*shape[: self.axis], *shape[self.axis + 1 :]) if len(shape) == len(first) else shape for shape in inputs}
        if len(others) > 1:
            raise ConversionError(f"a concatenation along axis {self.axis} of values of shapes {', '.join(map(str, inputs))}")
        return (*first[: self.axis], sum(shape[self.axis] for shape in inputs), *first[self.axis + 1 :])

    def evaluate(self, *values: Values) -> Values:
        """(batch, *new shape)."""
        return np.concatenate(values, self.axis + 1)

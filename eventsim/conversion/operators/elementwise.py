"""Operators on each number by itself, and sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventsim.conversion.operators.operator import Array, Elementwise, Operator, Shape, Values
from eventsim.errors import ConversionError


@dataclass(frozen=True, eq=False)
class Scale(Elementwise):
    """``y = factor * x + shift``: batch norm, normalisation, constants that are added or multiplied.

    ``factor`` and ``shift`` are a number, shape (); one per channel, shape (channels,), the first axis of the value; or of as many axes as
    the value, each as long as the value's or 1. :meth:`Graph.scale` and :meth:`Graph.affine` make them so.
    """

    factor: Array
    shift: Array

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the input."""
        (shape,) = inputs
        for constant in (self.factor, self.shift):
            if not np.all(np.isfinite(constant)):
                raise ConversionError("a constant that is not finite")
            if constant.shape in ((), (shape[0],)):
                continue
            if constant.ndim != len(shape) or any(n not in (1, m) for n, m in zip(constant.shape, shape, strict=True)):
                raise ConversionError(
                    f"expected one constant, one per channel ({shape[0]}), or one that fits {shape}, found {constant.shape}"
                )
        return shape

    def evaluate(self, *values: Values) -> Values:
        """(batch, *shape)."""
        (x,) = values
        return x * along_channels(self.factor, x.ndim - 1).astype(x.dtype) + along_channels(self.shift, x.ndim - 1).astype(x.dtype)


def along_channels(constant: Array, ndim: int) -> Array:
    """A constant of a :class:`Scale` with as many axes as the value has, so that NumPy broadcasts it."""
    return constant if constant.ndim in (0, ndim) else constant.reshape(-1, *[1] * (ndim - 1))


@dataclass(frozen=True, eq=False)
class Clip(Elementwise):
    """``y = min(max(x, low), high)``; ReLU is ``Clip(0, inf)``.

    ``rate`` marks the firing rate of a spiking neuron: the layer made of it is that neuron, neither signed nor refractory by default.
    """

    low: float
    high: float
    rate: bool = False

    def evaluate(self, *values: Values) -> Values:
        """(batch, *shape)."""
        return np.clip(values[0], self.low, self.high)


@dataclass(frozen=True, eq=False)
class Floor(Elementwise):
    """``y = floor(x)``."""

    def evaluate(self, *values: Values) -> Values:
        """(batch, *shape)."""
        return np.floor(values[0])


@dataclass(frozen=True, eq=False)
class Round(Elementwise):
    """``y`` is the nearest whole number, of two that are equally near the even one, as PyTorch, NumPy and ONNX round."""

    def evaluate(self, *values: Values) -> Values:
        """(batch, *shape)."""
        return np.rint(values[0])


@dataclass(frozen=True, eq=False)
class Truncate(Elementwise):
    """``y`` is x without what stands behind the point, nearer to zero: a cast to integers."""

    def evaluate(self, *values: Values) -> Values:
        """(batch, *shape)."""
        return np.trunc(values[0])


@dataclass(frozen=True, eq=False)
class Sign(Elementwise):
    """``y = 1`` where x > 0, ``-1`` where x < 0, and ``zero`` where x = 0.

    Frameworks differ there: ``torch.sign`` and ONNX's ``Sign`` say 0, ``BipolarQuant`` and most hand-written ones 1.
    """

    zero: float = 1.0

    def evaluate(self, *values: Values) -> Values:
        """(batch, *shape)."""
        (x,) = values
        return np.where(x == 0, np.asarray(self.zero, x.dtype), np.sign(x))


@dataclass(frozen=True, eq=False)
class Add(Operator):
    """``y = x1 + x2`` of the same shape."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of either."""
        first, second = inputs[0], inputs[1]
        if first != second:
            raise ConversionError(f"an addition of values of shapes {first} and {second}; they must be equal")
        return first

    def evaluate(self, *values: Values) -> Values:
        """(batch, *shape)."""
        return values[0] + values[1]

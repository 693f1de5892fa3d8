"""What every operator of a graph answers: the shape of its value, and the value itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventsim.errors import ConversionError

Array = npt.NDArray[np.float64]
Weights = npt.NDArray[np.floating]
Values = npt.NDArray[np.floating]
Shape = tuple[int, ...]


class Operator(ABC):
    """Something done to values; a value has a shape without the batch, channel first."""

    @abstractmethod
    def output_shape(self, *inputs: Shape) -> Shape:
        """Shape of its value; raises ConversionError for what does not fit."""

    @abstractmethod
    def evaluate(self, *values: Values) -> Values:
        """Its value: from arrays (batch, *shape of an input) of floats an array (batch, *:meth:`output_shape`) of the same type."""


class Elementwise(Operator):
    """Done to each number by itself, or to each channel."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the input."""
        return inputs[0]


class Rearrangement(Operator):
    """Passes numbers on as they are, to other places: none is computed with."""


@dataclass(frozen=True, eq=False)
class Input(Operator):
    """The image, (channels, height, width), a sequence (channels, length), or a vector (features,)."""

    shape: Shape

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the image."""
        if len(self.shape) not in (1, 2, 3) or any(n < 1 for n in self.shape):
            raise ConversionError(f"the input must be (channels, height, width), (channels, length) or (features,), found {self.shape}")
        return self.shape

    def evaluate(self, *values: Values) -> Values:
        """The value that it is given, (batch, *shape) or anything that can be reshaped so."""
        return values[0].reshape(-1, *self.shape)


def image_shape(shape: Shape, what: str) -> tuple[int, int, int]:
    """The shape of an image, (channels, height, width); raises ConversionError for any other shape."""
    if len(shape) != 3:
        raise ConversionError(f"{what} of a value of shape {shape}; expected (channels, height, width)")
    return shape[0], shape[1], shape[2]


def check_weights(weight: Weights, bias: Array | None, outputs: int) -> None:
    """Raise ConversionError for weights or a bias that are not finite, or a bias of another length than there are outputs."""
    for what, values in (("weights", weight), ("a bias", bias)):
        if values is not None and not np.all(np.isfinite(values)):
            raise ConversionError(f"{what} that are not finite")
    if not weight.size:
        raise ConversionError(f"weights of shape {weight.shape}; expected at least one number")
    if bias is not None and bias.shape != (outputs,):
        raise ConversionError(f"a bias of shape {bias.shape} for {outputs} outputs")


def size_of(shape: Shape) -> int:
    """How many numbers a value of a shape has."""
    return math.prod(shape)

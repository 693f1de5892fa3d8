"""A trained network as every importer describes it: a graph of a few operators on arrays, channel first, without a batch.

Importers (PyTorch, ONNX, NIR) reduce what they read to these operators; :mod:`eventsim.conversion.lowering` turns the graph into
layers of neurons. Activations are not an operator of their own: ReLU is ``Clip(0, inf)``, and a quantised activation is the
sequence of scaling, rounding down and clipping that computes it, however a framework writes it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eventsim.errors import ConversionError
from eventsim.model.limits import MAX_NEURONS

_MAX_NODES = 2**14
Array = npt.NDArray[np.float64]
Weights = npt.NDArray[np.floating]
Shape = tuple[int, ...]


class Operator(ABC):
    """Something done to values."""

    @abstractmethod
    def output_shape(self, *inputs: Shape) -> Shape:
        """Shape of its value; raises ConversionError for what does not fit."""


class _Elementwise(Operator):
    """Done to each number by itself, or to each channel."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the input."""
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Input(Operator):
    """The image, (channels, height, width), or a vector (features,)."""

    shape: Shape

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the image."""
        if len(self.shape) not in (1, 3) or any(n < 1 for n in self.shape):
            raise ConversionError(f"the input must be (channels, height, width) or (features,), found {self.shape}")
        return self.shape


@dataclass(frozen=True, eq=False)
class Convolution(Operator):
    """``y[o] = bias[o] + sum over i, u, v of weight[o, i, u, v] * x[i, ...]``, zero-padded (top, left, bottom, right)."""

    weight: Weights
    bias: Array | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def output_shape(self, *inputs: Shape) -> Shape:
        """(outputs, rows, columns)."""
        shape = inputs[0]
        _check_weights(self.weight, self.bias)
        if self.weight.ndim != 4 or len(shape) != 3 or self.weight.shape[1] != shape[0]:
            raise ConversionError(
                f"a convolution with weights {self.weight.shape} on {shape}; expected (outputs, {shape[0]}, rows, columns)"
            )
        if min(self.stride) < 1 or min(self.padding) < 0 or len(self.stride) != 2 or len(self.padding) != 4:
            raise ConversionError(f"a stride {self.stride} and padding {self.padding}; expected two numbers from 1 and four from 0")
        top, left, bottom, right = self.padding
        rows = (shape[1] + top + bottom - self.weight.shape[2]) // self.stride[0] + 1
        cols = (shape[2] + left + right - self.weight.shape[3]) // self.stride[1] + 1
        if rows < 1 or cols < 1:
            raise ConversionError(f"a kernel {self.weight.shape[2:]} that is larger than its input {shape}")
        return self.weight.shape[0], rows, cols


@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """``y = weight @ x + bias``; weight is (outputs, inputs), inputs numbered channel first."""

    weight: Weights
    bias: Array | None = None

    def output_shape(self, *inputs: Shape) -> Shape:
        """(outputs,)."""
        shape = inputs[0]
        _check_weights(self.weight, self.bias)
        if self.weight.ndim != 2 or len(shape) != 1 or self.weight.shape[1] != shape[0]:
            raise ConversionError(f"a linear layer with weights {self.weight.shape} on {shape}; flatten its input first")
        return (self.weight.shape[0],)


@dataclass(frozen=True, eq=False)
class Scale(_Elementwise):
    """``y = factor * x + shift``; each a number or one per channel. Batch norm, normalisation, multiplication by constants."""

    factor: Array
    shift: Array


@dataclass(frozen=True, eq=False)
class Clip(_Elementwise):
    """``y = min(max(x, low), high)``; ReLU is ``Clip(0, inf)``.

    ``rate`` marks the firing rate of a spiking neuron: the layer made of it is that neuron, neither signed nor refractory by default.
    """

    low: float
    high: float
    rate: bool = False


@dataclass(frozen=True, eq=False)
class Floor(_Elementwise):
    """``y = floor(x)``. Rounding to nearest is the same after adding 1/2 (it differs on ties alone)."""


@dataclass(frozen=True, eq=False)
class Sign(_Elementwise):
    """``y = 1`` where x > 0, ``-1`` where x < 0, and ``zero`` where x = 0.

    Frameworks differ there: ``torch.sign`` and ONNX's ``Sign`` say 0, ``BipolarQuant`` and most hand-written ones 1.
    """

    zero: float = 1.0


@dataclass(frozen=True, eq=False)
class AveragePool(Operator):
    """Mean over windows that do not overlap; an incomplete window at the end is dropped."""

    window: tuple[int, int]

    def output_shape(self, *inputs: Shape) -> Shape:
        """(channels, rows, columns)."""
        shape = inputs[0]
        if len(shape) != 3:
            raise ConversionError(f"pooling of a value of shape {shape}; expected (channels, height, width)")
        rows, cols = shape[1] // max(1, self.window[0]), shape[2] // max(1, self.window[1])
        if min(self.window) < 1 or rows < 1 or cols < 1:
            raise ConversionError(f"a pooling window {self.window} that does not fit {shape}")
        return shape[0], rows, cols


@dataclass(frozen=True, eq=False)
class MaxPool(Operator):
    """Largest value of each window; cells of the padding (top, left, bottom, right) are left out, so is an incomplete window at the end."""

    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def output_shape(self, *inputs: Shape) -> Shape:
        """(channels, rows, columns)."""
        shape = inputs[0]
        if len(shape) != 3:
            raise ConversionError(f"pooling of a value of shape {shape}; expected (channels, height, width)")
        (top, left, bottom, right), window = self.padding, self.window
        if min(*window, *self.stride) < 1 or min(self.padding) < 0:
            raise ConversionError(f"a pooling window {window} with stride {self.stride} and padding {self.padding}")
        if max(top, bottom) >= window[0] or max(left, right) >= window[1]:
            raise ConversionError(f"a pooling window {window} that may lie in the padding {self.padding} altogether")
        rows = (shape[1] + top + bottom - window[0]) // self.stride[0] + 1
        cols = (shape[2] + left + right - window[1]) // self.stride[1] + 1
        if rows < 1 or cols < 1:
            raise ConversionError(f"a pooling window {window} that does not fit {shape}")
        return shape[0], rows, cols


@dataclass(frozen=True, eq=False)
class Flatten(Operator):
    """(channels, height, width) -> (features,), channel first."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """(features,)."""
        shape = inputs[0]
        return (int(np.prod(shape)),)


@dataclass(frozen=True, eq=False)
class Add(Operator):
    """``y = x1 + x2`` of the same shape."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of either."""
        first, second = inputs[0], inputs[1]
        if first != second:
            raise ConversionError(f"an addition of values of shapes {first} and {second}; they must be equal")
        return first


@dataclass(frozen=True, eq=False)
class Node:
    """One operator applied.

    Attributes
    ----------
    name : str
        As the source calls it, for messages.
    operator : Operator
    inputs : tuple of int
        Numbers of the nodes whose values it takes.
    shape : tuple of int
        Of its value.
    """

    name: str
    operator: Operator
    inputs: tuple[int, ...]
    shape: Shape


@dataclass
class Graph:
    """Nodes in an order in which every node follows those that it takes values from; the last value named is the output.

    Attributes
    ----------
    nodes : list of Node
    output : int
        Number of the node whose value is the network's answer.
    remarks : list of str
        What an importer left out or changed without effect on the answer.
    """

    nodes: list[Node] = field(default_factory=list)
    output: int = -1
    remarks: list[str] = field(default_factory=list)

    def add(self, operator: Operator, inputs: Sequence[int] = (), name: str = "") -> int:
        """Append a node and return its number; the output so far.

        Raises
        ------
        ConversionError
            Shapes that do not fit, weights that are not finite. The message names the node.
        """
        try:
            shape = operator.output_shape(*(self.nodes[i].shape for i in inputs))
            if math.prod(shape) > MAX_NEURONS or len(self.nodes) >= _MAX_NODES:
                raise ConversionError(f"more than {MAX_NEURONS} values {shape} or {_MAX_NODES} operators; no network here is so large")
        except ConversionError as error:
            raise ConversionError(f"{name or type(operator).__name__}: {error}") from None
        self.nodes.append(Node(name, operator, tuple(inputs), shape))
        self.output = len(self.nodes) - 1
        return self.output

    def scale(self, source: int, factor: npt.ArrayLike, shift: npt.ArrayLike, name: str = "") -> int:
        """Append a :class:`Scale`; factor and shift may have any shape that holds one value or one per channel."""
        channels = self.nodes[source].shape[0]
        return self.add(Scale(_per_channel(factor, channels, name), _per_channel(shift, channels, name)), (source,), name)

    def shape(self, number: int) -> Shape:
        """Shape of a node's value."""
        return self.nodes[number].shape


def _per_channel(values: npt.ArrayLike, channels: int, name: str) -> Array:
    array = np.asarray(values, np.float64)
    if not np.all(np.isfinite(array)):
        raise ConversionError(f"{name}: a constant that is not finite")
    if array.size not in (1, channels) or (array.size > 1 and max(array.shape) != array.size):
        raise ConversionError(f"{name}: expected one constant or one per channel ({channels}), found shape {array.shape}")
    return array.reshape(()) if array.size == 1 else array.reshape(channels)


def _check_weights(weight: Weights, bias: Array | None) -> None:
    for what, values in (("weights", weight), ("a bias", bias)):
        if values is not None and not np.all(np.isfinite(values)):
            raise ConversionError(f"{what} that are not finite")
    outputs = weight.shape[0]
    if bias is not None and bias.shape != (outputs,):
        raise ConversionError(f"a bias of shape {bias.shape} for {outputs} outputs")

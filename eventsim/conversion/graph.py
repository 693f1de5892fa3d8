"""A trained network as every importer describes it: a graph of operators on arrays, channel first, without a batch.

Importers (PyTorch, ONNX, NIR) reduce what they read to the operators of :mod:`eventsim.conversion.operators`;
:mod:`eventsim.conversion.lowering` turns the graph into layers of neurons. Activations are not an operator of their own: ReLU is
``Clip(0, inf)``, and a quantised activation is the sequence of scaling, rounding and clipping that computes it, however a framework
writes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eventsim.conversion.judging import Source
from eventsim.conversion.operators import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    Add,
    Array,
    AveragePool,
    Clip,
    Concatenate,
    Convolution,
    Flatten,
    Floor,
    Input,
    Linear,
    MaxPool,
    Operator,
    Pad,
    Permute,
    Rearrangement,
    Resample,
    Reshape,
    Round,
    Scale,
    Select,
    Shape,
    Sign,
    TransposedConvolution,
    Truncate,
    Values,
    Weights,
)
from eventsim.errors import ConversionError
from eventsim.model.limits import MAX_NEURONS

__all__ = [
    "AdaptiveAveragePool",
    "AdaptiveMaxPool",
    "Add",
    "Array",
    "AveragePool",
    "Clip",
    "Concatenate",
    "Convolution",
    "Flatten",
    "Floor",
    "Graph",
    "Input",
    "Linear",
    "MaxPool",
    "Node",
    "Operator",
    "Pad",
    "Permute",
    "Rearrangement",
    "Resample",
    "Reshape",
    "Round",
    "Scale",
    "Select",
    "Shape",
    "Sign",
    "TransposedConvolution",
    "Truncate",
    "Values",
    "Weights",
]

_MAX_NODES = 2**14


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
    source : callable, optional
        Runs the source network itself, to be compared with (:mod:`eventsim.conversion.judging`).
    """

    nodes: list[Node] = field(default_factory=list)
    output: int = -1
    remarks: list[str] = field(default_factory=list)
    source: Source | None = None

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
        """Append a :class:`Scale`; factor and shift may have any shape that holds one value or one per channel, or fit the value's axes.

        For parameters that are known to belong to channels, a batch norm's; constants that a network adds or multiplies by itself lie
        along other axes if their shapes say so: :meth:`affine`.
        """
        shape = self.nodes[source].shape
        return self.add(Scale(_per_channel(factor, shape, name), _per_channel(shift, shape, name)), (source,), name)

    def affine(self, source: int, factor: npt.ArrayLike, shift: npt.ArrayLike, name: str = "") -> int:
        """Append a :class:`Scale` by constants that are broadcast as NumPy, PyTorch and ONNX do it, against the value with its batch axis.

        So a constant of shape (channels, 1, 1) lies along the channels of an image, and one of shape (width,) along its width.
        """
        shape = self.nodes[source].shape
        return self.add(Scale(_broadcast(factor, shape, name), _broadcast(shift, shape, name)), (source,), name)

    def in_one_row(self, operator: Operator, source: int, name: str = "") -> int:
        """Append an operator on images for a value (channels, length), as on an image of one row; its value is (channels, new length)."""
        channels, length = self.nodes[source].shape
        image = self.add(Reshape((channels, 1, length)), (source,), name)
        made = self.add(operator, (image,), name)
        shape = self.nodes[made].shape
        if shape[1] != 1:
            raise ConversionError(f"{name}: makes {shape[1]} rows of one")
        return self.add(Reshape((shape[0], shape[2])), (made,), name)

    def evaluate(self, values: Values) -> list[Values]:
        """Every node's value for a batch of inputs, (batch, *shape of the node), node by node as the operators say."""
        known: list[Values] = []
        for node in self.nodes:
            inputs = (values,) if isinstance(node.operator, Input) else tuple(known[i] for i in node.inputs)
            known.append(node.operator.evaluate(*inputs))
        return known

    def shape(self, number: int) -> Shape:
        """Shape of a node's value."""
        return self.nodes[number].shape


def _per_channel(values: npt.ArrayLike, shape: Shape, name: str) -> Array:
    array, channels = np.asarray(values, np.float64), shape[0]
    if array.ndim == len(shape) > 1:
        return _broadcast(array, shape, name)
    if not np.all(np.isfinite(array)):
        raise ConversionError(f"{name}: a constant that is not finite")
    if array.size not in (1, channels) or (array.size > 1 and max(array.shape) != array.size):
        raise ConversionError(f"{name}: expected one constant or one per channel ({channels}), found shape {array.shape}")
    return array.reshape(()) if array.size == 1 else array.reshape(channels)


def _broadcast(values: npt.ArrayLike, shape: Shape, name: str) -> Array:
    """A constant as :class:`Scale` has it: a number, one per channel, or with as many axes as the value."""
    array = np.asarray(values, np.float64)
    if array.size == 1:
        return array.reshape(())
    axes = (*[1] * (len(shape) + 1 - array.ndim), *array.shape)
    if len(axes) != len(shape) + 1 or axes[0] != 1 or any(n not in (1, m) for n, m in zip(axes[1:], shape, strict=True)):
        raise ConversionError(f"{name}: a constant of shape {array.shape} does not fit a value of shape {('batch', *shape)}")
    array = array.reshape(axes[1:])
    return array.reshape(-1) if array.size == shape[0] and array.shape[0] == shape[0] else array

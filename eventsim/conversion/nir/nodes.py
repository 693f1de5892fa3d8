"""What each node of NIR becomes in a graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eventsim.conversion.graph import Array, AveragePool, Clip, Convolution, Flatten, Floor, Graph, Linear, Scale
from eventsim.errors import ConversionError

LEVELS = "eventsim_levels"
_LEAK = (
    "its potential leaks, so its rate is no straight line of its input; convert the neurons themselves (spiking_from_nir, --nir-neurons), "
    "or train with IF neurons"
)
REASONS = {
    **dict.fromkeys(("LIF", "CubaLIF", "LI", "CubaLI"), _LEAK),
    "Delay": "a delay changes no rate: leave the node out and join its neighbours",
    "Threshold": "it decides anew in each step, without a memory; use IF neurons",
}


@dataclass
class Reading:
    """What nodes need to know beside themselves.

    Attributes
    ----------
    graph : Graph
    dt : float
        Length of a step, in the unit of the file's time: NIR's neurons integrate ``r * dt`` times their input in it.
    """

    graph: Graph
    dt: float = 1.0
    said: set[str] = field(default_factory=set)

    def remark(self, text: str) -> None:
        """Add one, once."""
        if text not in self.said:
            self.said.add(text)
            self.graph.remarks.append(text)

    def node(self, node: Any, at: int, name: str) -> int:
        """Append what a node computes of the value ``at``; the number of the result."""
        kind = type(node).__name__
        if kind not in NODES:
            if kind in REASONS:
                raise ConversionError(f"{name}: not supported: {REASONS[kind]}")
            raise ConversionError(f"{name}: not supported; supported: {', '.join(sorted(NODES))}")
        return NODES[kind](self, node, at, name)

    def linear(self, node: Any, at: int, name: str) -> int:
        """A matrix; a diagonal one is a scale (and with a bias a shift, which NIR's Scale cannot say)."""
        weight = np.asarray(node.weight, np.float64)
        bias = np.asarray(node.bias, np.float64) if type(node).__name__ == "Affine" else None
        factor = _diagonal(weight) if weight.ndim == 2 and len(self.graph.shape(at)) == 1 else None
        if factor is not None and len(factor) == self.graph.shape(at)[0]:
            return self.graph.scale(at, factor, 0.0 if bias is None else bias, name)
        return self.graph.add(Linear(weight, bias), (at,), name)

    def convolution(self, node: Any, at: int, name: str) -> int:
        """In one dimension (an image of one row) or two."""
        weight, bias = np.asarray(node.weight, np.float64), np.asarray(node.bias, np.float64)
        flat = type(node).__name__ == "Conv1d"
        if weight.ndim != (3 if flat else 4):
            raise ConversionError(f"{name}: weights of shape {weight.shape}")
        weight = weight[:, :, None] if flat else weight
        stride, dilation = (_pair(values, flat, 1) for values in (node.stride, node.dilation))
        padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
        if isinstance(padding, str):
            if padding not in ("same", "valid") or (padding == "same" and stride != (1, 1)):
                raise ConversionError(f"{name}: padding {padding!r:.40} with strides {stride}; give the padding in numbers")
            spans = [(n - 1) * d if padding == "same" else 0 for n, d in zip(weight.shape[2:], dilation, strict=True)]
            sides = (spans[0] // 2, spans[1] // 2, spans[0] - spans[0] // 2, spans[1] - spans[1] // 2)
        else:
            sides = _pair(padding, flat, 0) * 2
        groups = int(node.groups)
        one = weight.shape[2:] == (1, 1) and stride == (1, 1) and not any(sides)
        factor = _diagonal(weight[:, :, 0, 0]) if one and groups == 1 else None
        if factor is not None and len(factor) == self.graph.shape(at)[0]:
            return self.graph.scale(at, factor, bias, name)
        return self.graph.add(Convolution(weight, bias, stride, sides, dilation, groups), (at,), name)

    def scale(self, node: Any, at: int, name: str) -> int:
        """Each number by its own factor, or a channel's."""
        shape = self.graph.shape(at)
        return self.graph.add(Scale(_least(fitting(node.scale, shape, name)), np.zeros(())), (at,), name)

    def pool(self, node: Any, at: int, name: str) -> int:
        """Means or sums of windows; cells of the padding count as zeros."""
        window, stride, padding = _pair(node.kernel_size), _pair(node.stride), _pair(node.padding)
        at = self.graph.add(AveragePool(window, stride, padding * 2, count_padding=True), (at,), name)
        cells = float(window[0] * window[1])
        return self.graph.scale(at, cells, 0.0, name) if type(node).__name__ == "SumPool2d" else at

    def flatten(self, node: Any, at: int, name: str) -> int:
        """Everything in one dimension."""
        shape = self.graph.shape(at)
        # Some writers count a batch dimension that the shape does not have.
        if int(node.start_dim) not in (0, 1) or int(node.end_dim) not in (-1, len(shape) - 1, len(shape)):
            raise ConversionError(f"{name}: only flattening of everything is supported")
        return self.graph.add(Flatten(), (at,), name) if len(shape) == 3 else at

    def same(self, node: Any, at: int, name: str) -> int:
        """Nothing."""
        return at

    def integrator(self, node: Any, at: int, name: str) -> int:
        """A readout, which adds up what it gets."""
        factor = _by_channel(node.r, self.graph.shape(at), name) * self.dt
        return self.graph.add(Scale(factor, np.zeros(())), (at,), name)

    def neurons(self, node: Any, at: int, name: str) -> int:
        """Their rate: under a constant input, ``clip(r dt I / threshold, 0, 1)`` spikes a step."""
        shape = self.graph.shape(at)
        threshold, r = (_by_channel(values, shape, name) for values in (node.v_threshold, node.r))
        if np.any(threshold <= 0) or np.any(r <= 0) or np.any(np.asarray(node.v_reset) != 0):
            raise ConversionError(f"{name}: thresholds and resistances must be positive, and v_reset 0")
        levels = int(np.asarray((node.metadata or {}).get(LEVELS, 0)))
        gain = r * self.dt / threshold
        if levels < 1:
            self.remark(f"{name} resets by subtraction of its threshold, which NIR leaves open")
            at = self.graph.add(Scale(gain, np.zeros(())), (at,), name)
            return self.graph.add(Clip(0.0, 1.0, rate=True), (at,), name)
        at = self.graph.add(Scale(gain * levels, np.asarray(0.5)), (at,), name)
        at = self.graph.add(Clip(0.0, float(levels)), (self.graph.add(Floor(), (at,), name),), name)
        return self.graph.add(Scale(np.asarray(1 / levels), np.zeros(())), (at,), name)


NODES: dict[str, Callable[[Reading, Any, int, str], int]] = {
    **dict.fromkeys(("Affine", "Linear"), Reading.linear),
    **dict.fromkeys(("Conv1d", "Conv2d"), Reading.convolution),
    **dict.fromkeys(("AvgPool2d", "SumPool2d"), Reading.pool),
    **dict.fromkeys(("Identity", "Output"), Reading.same),
    "Flatten": Reading.flatten,
    "I": Reading.integrator,
    "IF": Reading.neurons,
    "Scale": Reading.scale,
}


def _diagonal(weight: Array) -> Array | None:
    """The factors of a diagonal matrix."""
    factor = np.diagonal(weight)
    return factor if weight.shape == (len(factor), len(factor)) and np.array_equal(weight, np.diag(factor)) else None


def _pair(values: Any, flat: bool = False, none: int = 0) -> tuple[int, int]:
    """Rows and columns; one number is for both, or in one dimension (of one row) for the columns, and ``none`` for the row."""
    numbers = np.ravel(values)
    if flat:
        (only,) = numbers
        return none, int(only)
    first, second = np.broadcast_to(numbers, 2)
    return int(first), int(second)


def fitting(values: Any, shape: tuple[int, ...], name: str) -> Array:
    """Values per neuron in the shape of a node, or one for all; a batch of 1 before them is left out, a row of one added."""
    array = np.asarray(values, np.float64)
    if array.size == 1:
        return array.reshape(())
    bare = tuple(n for n in array.shape if n != 1)
    if array.size != math.prod(shape) or bare != tuple(n for n in shape if n != 1):
        raise ConversionError(f"{name}: parameters of shape {array.shape} for neurons of shape {shape}")
    return array.reshape(shape)


def _least(array: Array) -> Array:
    """As few numbers as say the same: one per channel where a channel has but one."""
    if array.ndim < 2:
        return array
    rows = array.reshape(len(array), -1)
    return rows[:, 0] if np.all(rows == rows[:, :1]) else array


def _by_channel(values: Any, shape: tuple[int, ...], name: str) -> Array:
    """Values per neuron as one per channel: a number or (channels,)."""
    array = _least(fitting(values, shape, name))
    if array.ndim > 1:
        raise ConversionError(f"{name}: parameters that differ between the neurons of a channel are not supported")
    return array

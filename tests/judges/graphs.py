"""Random source graphs, and what they compute, node by node: a judge of conversion."""

from __future__ import annotations

import numpy as np
from scipy.signal import correlate2d

from eventsim.conversion import graph as g

RELU = g.Clip(0.0, np.inf)


def evaluate(graph: g.Graph, x: np.ndarray) -> list[np.ndarray]:
    """Every node's value for one input, channel first, straight from the operators' equations."""
    values: list[np.ndarray] = []
    for node in graph.nodes:
        op, inputs = node.operator, [values[i] for i in node.inputs]
        if isinstance(op, g.Input):
            y = x.reshape(op.shape)
        elif isinstance(op, g.Convolution):
            top, left, bottom, right = op.padding
            padded = np.pad(inputs[0], ((0, 0), (top, bottom), (left, right)))
            y = np.stack([sum(correlate2d(plane, w, "valid") for plane, w in zip(padded, weights, strict=True)) for weights in op.weight])
            y = y[:, :: op.stride[0], :: op.stride[1]]
            y = y if op.bias is None else y + op.bias[:, None, None]
        elif isinstance(op, g.Linear):
            y = op.weight @ inputs[0] + (0 if op.bias is None else op.bias)
        elif isinstance(op, g.Scale):
            wide = (-1, *[1] * (inputs[0].ndim - 1))
            y = inputs[0] * op.factor.reshape(wide) + op.shift.reshape(wide)
        elif isinstance(op, g.Clip):
            y = np.clip(inputs[0], op.low, op.high)
        elif isinstance(op, g.Floor):
            y = np.floor(inputs[0])
        elif isinstance(op, g.Sign):
            y = np.where(inputs[0] >= 0, 1.0, -1.0)
        elif isinstance(op, g.AveragePool):
            c, h, w = node.shape
            py, px = op.window
            windows = inputs[0][:, : h * py, : w * px].reshape(c, h, py, w, px)
            y = windows.mean((2, 4))
        elif isinstance(op, g.Flatten):
            y = inputs[0].reshape(-1)
        else:
            y = inputs[0] + inputs[1]
        assert y.shape == node.shape
        values.append(y)
    return values


class Builder:
    """Random layers one after another."""

    def __init__(self, seed: int, shape: tuple[int, ...], levels: int):
        self.rng = np.random.default_rng(seed)
        self.graph = g.Graph()
        self.at = self.graph.add(g.Input(shape))
        self.levels = levels

    def weights(self, shape: tuple[int, ...], binary: bool) -> np.ndarray:
        if not binary:
            return self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        alpha = self.rng.uniform(0.5, 2, (shape[0], *[1] * (len(shape) - 1))) / np.sqrt(np.prod(shape[1:]))
        return self.rng.choice([-1.0, 1.0], shape) * alpha

    def conv(self, outputs: int, binary: bool, bias: bool, kernel: int = 3, stride: int = 1) -> None:
        channels = self.graph.shape(self.at)[0]
        weight = self.weights((outputs, channels, kernel, kernel), binary)
        pad = kernel // 2
        op = g.Convolution(weight, self.rng.normal(size=outputs) * 0.1 if bias else None, (stride, stride), (pad,) * 4)
        self.at = self.graph.add(op, (self.at,), "conv")

    def linear(self, outputs: int, binary: bool, bias: bool) -> None:
        if len(self.graph.shape(self.at)) == 3:
            self.at = self.graph.add(g.Flatten(), (self.at,))
        weight = self.weights((outputs, self.graph.shape(self.at)[0]), binary)
        self.at = self.graph.add(g.Linear(weight, self.rng.normal(size=outputs) * 0.1 if bias else None), (self.at,), "linear")

    def batch_norm(self) -> None:
        channels = self.graph.shape(self.at)[0]
        factor = self.rng.uniform(0.5, 2, channels) * self.rng.choice([-1, 1], channels)
        self.at = self.graph.scale(self.at, factor, self.rng.normal(size=channels) * 0.3)

    def pool(self, window: tuple[int, int] = (2, 2)) -> None:
        self.at = self.graph.add(g.AveragePool(window), (self.at,))

    def activation(self) -> None:
        graph = self.graph
        if not self.levels:
            self.at = graph.add(RELU, (self.at,))
            return
        threshold = self.rng.uniform(0.8, 1.5)
        if self.rng.random() < 0.5:  # as published: divide, clip, scale, round down, scale back
            at = graph.add(g.Clip(0.0, 1.0), (graph.scale(self.at, 1 / threshold, 0.0),))
            at = graph.add(g.Floor(), (graph.scale(at, self.levels, 0.5),))
            self.at = graph.scale(graph.scale(at, 1 / self.levels, 0.0), threshold, 0.0)
        else:  # as a quantiser: scale, round, clip, scale back
            at = graph.add(g.Floor(), (graph.scale(self.at, self.levels / threshold, 0.5),))
            self.at = graph.scale(graph.add(g.Clip(0.0, float(self.levels)), (at,)), threshold / self.levels, 0.0)


def random_graph(seed: int, levels: int = 0) -> g.Graph:
    """Convolutions with pooling in both places, batch norm, biases, a residual connection, linear layers."""
    b = Builder(seed, (3, 8, 8), levels)
    b.at = b.graph.scale(b.at, b.rng.uniform(0.5, 2, 3), b.rng.normal(size=3))  # normalisation
    b.conv(4, binary=False, bias=True)
    b.batch_norm()
    b.activation()
    shortcut = b.at
    b.conv(4, binary=True, bias=bool(seed % 2))
    b.batch_norm()
    if seed % 3:
        b.at = b.graph.add(g.Add(), (b.at, shortcut))
    b.activation()
    b.pool()  # behind the activation
    b.conv(6, binary=True, bias=False, stride=1 + seed % 2)
    b.pool()  # before the activation
    b.batch_norm()
    b.activation()
    b.linear(7, binary=True, bias=False)
    b.batch_norm()
    b.activation()
    b.linear(5, binary=False, bias=True)
    return b.graph


def deep_graph(convolutions: int, channels: int, classes: int) -> g.Graph:
    """Convolutions of colour images of 8x8 with batch norm and ReLU, binary behind the first one, and a linear layer."""
    b = Builder(3, (3, 8, 8), 0)
    for i in range(convolutions):
        b.conv(channels, binary=i > 0, bias=False)
        b.batch_norm()
        b.at = b.graph.add(RELU, (b.at,))
    b.linear(classes, binary=False, bias=True)
    return b.graph

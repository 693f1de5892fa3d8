"""Clocked networks as dense PyTorch programs: what a run is compared with.

A network of eventsim becomes a chain of layers, each of which takes all steps of all images as one batch: one convolution (its pool
fused into the kernel and stride) or matrix product, then a loop over the steps for the neurons. Products are float32, which is exact
as long as sums stay below 2**24 (checked against the spike counts by the programs that time this); int8 by oneDNN (u8 x s8 -> int32),
exact as well; or bfloat16, which is not. ``loop`` goes step by step through all layers, as most simulators do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

import eventsim as es

PRECISIONS = {"float32": torch.float32, "int8": torch.uint8, "bfloat16": torch.bfloat16}


class Outcome(NamedTuple):
    """Spikes of each layer, all images together; and what each readout neuron has in the end (images, outputs)."""

    counts: list[int]
    readout: torch.Tensor


class NotAChain(Exception):
    """A network that this has no dense form for."""


@dataclass
class Products:
    """A table: (outputs, inputs, rows, columns) weights of a convolution, or (outputs, inputs) on flattened values."""

    weights: torch.Tensor  # float64, in units of ``unit``
    unit: int
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, right, top, bottom
    before: tuple[int, int] = (1, 1)  # values are summed over such windows first

    @property
    def dense(self) -> bool:
        return self.weights.ndim == 2

    def prepared(self, precision: str) -> Any:
        """The same with weights in a type: float, or packed for int8 products, where they fit."""
        if precision != "int8" or self.weights.abs().max() > 127:
            return _Floating(self, torch.float32 if precision == "int8" else PRECISIONS.get(precision, torch.float64))
        return _Int8(self)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Values (n, channels, height, width) summed over windows and padded; flattened channel last for a matrix."""
        rows, columns = self.before
        if self.before != (1, 1):
            height, width = x.shape[2] // rows * rows, x.shape[3] // columns * columns
            parts = [x[:, :, i:height:rows, j:width:columns] for i in range(rows) for j in range(columns)]
            x = reduce(torch.add, parts)
        if self.dense:
            return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x
        return x


class _Floating:
    def __init__(self, products: Products, kind: torch.dtype):
        self.of, self.kind, self.zero = products, kind, 0
        self.weights = (products.weights * products.unit).to(kind)
        if not products.dense:
            self.weights = self.weights.contiguous(memory_format=torch.channels_last)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = self.of.pooled(x.to(self.kind))
        if self.of.dense:
            return (x @ self.weights.T).to(torch.float64 if self.kind == torch.float64 else torch.float32)
        left, right, top, bottom = self.of.padding
        if (left, top) != (right, bottom):
            x, left, top = F.pad(x, self.of.padding), 0, 0
        y = F.conv2d(x, self.weights, stride=self.of.stride, padding=(top, left))
        return y.to(torch.float64 if self.kind == torch.float64 else torch.float32)


class _Int8:
    """oneDNN's products of unsigned and signed bytes. Spikes of sign -1 take a zero point of so many as a window may sum up."""

    def __init__(self, products: Products):
        self.of, outputs = products, len(products.weights)
        self.kind, self.zero = torch.uint8, 0
        # (Packing takes other strides for a matrix that is transposed.)
        self.bytes = products.weights.to(torch.int8).contiguous()
        # What a unit is worth is multiplied in by oneDNN.
        self.scales, self.none = torch.full((outputs,), float(products.unit)), torch.zeros(outputs, dtype=torch.int64)
        self._packed: dict[tuple[Any, ...], Any] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        shift, products = self.zero * math.prod(self.of.before), self.of
        x = products.pooled(x)
        key = (shift, tuple(x.shape))
        if products.dense:
            if key not in self._packed:
                self._packed[key] = torch.ops.onednn.qlinear_prepack(self.bytes, list(x.shape))
            arguments = (x, 1.0, shift, self._packed[key], self.scales, self.none, None, 1.0, 0, torch.float32, "none", [], "")
            return torch.ops.onednn.qlinear_pointwise(*arguments)
        left, right, top, bottom = products.padding
        if (left, top) != (right, bottom):
            x, left, top = F.pad(x, products.padding, value=shift), 0, 0
        x = x.contiguous(memory_format=torch.channels_last)
        geometry = (list(products.stride), [top, left], [1, 1], 1)
        if key not in self._packed:
            self._packed[key] = torch.ops.onednn.qconv_prepack(self.bytes, self.scales, 1.0, shift, *geometry, list(x.shape))
        arguments = (x, 1.0, shift, self._packed[key], self.scales, self.none, None, *geometry, 1.0, 0, torch.float32, "none", [], "")
        return torch.ops.onednn.qconv2d_pointwise(*arguments)


@dataclass
class Neurons:
    """A population; arrays broadcast against (images, channels, height, width) or (images, neurons)."""

    name: str
    shape: tuple[int, ...]
    threshold: torch.Tensor | None  # float64; None for a readout
    v0: torch.Tensor
    signed: bool
    bias: torch.Tensor | None

    def fire(self, currents: torch.Tensor, kind: torch.dtype, zero: int) -> tuple[torch.Tensor, int]:
        """Spikes (steps, images, ...) of a type, plus ``zero``, from currents; and how many there are."""
        v = self.v0.to(currents.dtype).expand(currents.shape[1:]).clone()
        theta, spikes = self.threshold.to(currents.dtype), torch.empty(currents.shape, dtype=kind)
        bias = None if self.bias is None else self.bias.to(currents.dtype)
        net, total = torch.zeros_like(v), 0
        for step, current in enumerate(currents):
            v += current
            if bias is not None:
                v += bias
            if not self.signed:
                spike = torch.ge(v, theta, out=spikes[step])
                v.addcmul_(spike.to(v.dtype), theta, value=-1)
                continue
            spike = (v >= theta).to(v.dtype)
            spike -= ((v < 0) & (net > 0)).to(v.dtype)
            net += spike
            v.addcmul_(spike, theta, value=-1)
            total += int(torch.count_nonzero(spike))
            spikes[step] = spike + zero if zero else spike
        return spikes, total if self.signed else int(torch.count_nonzero(spikes))

    def read_out(self, currents: torch.Tensor) -> torch.Tensor:
        """Of a readout: what it has after all steps, from currents (steps, images, neurons)."""
        v = currents.sum(0) + self.v0.to(currents.dtype)
        return v if self.bias is None else v + len(currents) * self.bias.to(currents.dtype)


class Chain:
    """A clocked network, layer by layer.

    Parameters
    ----------
    network : es.Network
        Feed-forward, one projection a population beside its bias clock, no delays. (Periods of one step change nothing at one tick a step.)
    precision : {"float32", "int8", "bfloat16", "float64"}

    Raises
    ------
    NotAChain
    """

    def __init__(self, network: es.Network, precision: str = "float32"):
        self.network, self.precision = network, precision
        self.products: list[Any] = []
        self.neurons: list[Neurons] = []
        previous = None
        for name, population in network.populations.items():
            if population.emits:
                if population.emits != "clock":
                    raise NotAChain(f"{name}: a source of events")
                continue
            if (population.reset or "subtract") != "subtract" or (population.refractory or 0) > 1:
                raise NotAChain(f"{name}: another reset, or a longer refractory period")
            incoming = [p for p in network.projections if p.target == name]
            clocks = [p for p in incoming if network.populations[p.source].is_clock]
            others = [p for p in incoming if p not in clocks]
            if any(p.delay for p in incoming) or [p.source for p in others] != ([] if previous is None else [previous]):
                raise NotAChain(f"{name}: not one projection from the population before it")
            if previous is None:
                self.encoder = population
            else:
                source = network.populations[previous]
                products = _products(others[0].table, source.shape).prepared(precision)
                # Bytes have no sign: spikes are counted from 1 where there may be one of -1.
                products.zero = int(products.kind == torch.uint8 and bool(source.signed))
                self.products.append(products)
            self.neurons.append(_neurons(name, population, [p.table for p in clocks]))
            previous = name
        if self.neurons[-1].threshold is not None:
            raise NotAChain("its last population is no readout")

    def currents(self, images: np.ndarray) -> torch.Tensor:
        """Of the first layer, a step: (images, channels, height, width) or (images, neurons)."""
        population, image_input = self.encoder, self.network.input
        values = images.astype(np.int64) * image_input.scale - image_input.offset
        x = torch.from_numpy(values.transpose(0, 3, 1, 2)).double()
        products = _products(population.encoder, image_input.shape)
        y = _Floating(products, torch.float64)(x)
        y = y.reshape(len(x), *_channel_first(population.shape)) if len(population.shape) == 3 else y.flatten(1)
        return (y + _per_neuron(population.bias, population.shape)).to(self._floating)

    @property
    def _floating(self) -> torch.dtype:
        return torch.float64 if self.precision == "float64" else torch.float32

    @torch.no_grad()
    def folded(self, images: np.ndarray, steps: int) -> Outcome:
        """All steps of a layer at once, as one batch."""
        counts = []
        current = self.currents(images)
        currents = current.expand(steps, *current.shape)
        for neurons, following, after in zip(self.neurons[:-1], self.products, self.neurons[1:], strict=True):
            spikes, count = neurons.fire(currents, following.kind, following.zero)
            counts.append(count)
            # (A matrix may be what leads to maps of one location.)
            currents = following(spikes.flatten(0, 1)).reshape(steps, -1, *_channel_first(after.shape))
        return Outcome(counts, self.neurons[-1].read_out(currents))

    @torch.no_grad()
    def loop(self, images: np.ndarray, steps: int) -> Outcome:
        """Step by step through all layers, as a plain simulator does."""
        counts, current = [0] * len(self.products), self.currents(images)
        v = [neurons.v0.to(current.dtype) for neurons in self.neurons[:-1]]
        net = [torch.zeros(()) for _ in v]
        read = []
        for _ in range(steps):
            x = current
            for i, (neurons, following, after) in enumerate(zip(self.neurons[:-1], self.products, self.neurons[1:], strict=True)):
                theta = neurons.threshold.to(x.dtype)
                potential = v[i] + x if neurons.bias is None else v[i] + x + neurons.bias.to(x.dtype)
                spike = (potential >= theta).to(x.dtype)
                if neurons.signed:
                    spike -= ((potential < 0) & (net[i] > 0)).to(x.dtype)
                    net[i] = net[i] + spike
                v[i] = potential - spike * theta
                counts[i] += int(torch.count_nonzero(spike))
                x = following((spike + following.zero).to(following.kind)).reshape(len(x), *_channel_first(after.shape))
            read.append(x)
        return Outcome(counts, self.neurons[-1].read_out(torch.stack(read)))


def spikingjelly(chain: Chain) -> Callable[[np.ndarray, int], Outcome]:
    """SpikingJelly's multi-step mode: one threshold a layer, reset by subtraction, potentials of 0 at first, no biases."""
    from spikingjelly.activation_based import functional, neuron

    nodes = [neuron.IFNode(v_threshold=float(n.threshold.max()), v_reset=None, step_mode="m") for n in chain.neurons[:-1]]
    together = torch.nn.ModuleList(nodes)

    @torch.no_grad()
    def run(images: np.ndarray, steps: int) -> Outcome:
        functional.reset_net(together)
        counts = []
        current = chain.currents(images)
        currents = current.expand(steps, *current.shape)
        for node, following in zip(nodes, chain.products, strict=True):
            spikes = node(currents)
            counts.append(int(spikes.sum()))
            currents = following(spikes.flatten(0, 1)).unflatten(0, (steps, -1))
        return Outcome(counts, chain.neurons[-1].read_out(currents))

    return run


def _products(table: es.Table, source: tuple[int, ...]) -> Products:
    """(From the tables' weights and geometry alone, so that it may judge what eventsim makes of them.)"""
    unit, before = int(table.magnitude or 1), table.pool_before
    weights = torch.from_numpy(np.asarray(table.weights, np.float64)) / unit
    if isinstance(table, es.Dense):
        return Products(weights.T.contiguous(), unit, before=before)
    if not isinstance(table, es.Conv2d):
        raise NotAChain(f"a table of kind {table.kind}")
    (pool_y, pool_x), (stride_y, stride_x) = table.pool_after, table.stride
    rows, columns = weights.shape[0] + stride_y * (pool_y - 1), weights.shape[1] + stride_x * (pool_x - 1)
    # Sums over windows of a convolution are one convolution with a larger kernel and stride.
    fused = torch.zeros((rows, columns, *weights.shape[2:]), dtype=torch.float64)
    for i in range(0, stride_y * pool_y, stride_y):
        for j in range(0, stride_x * pool_x, stride_x):
            fused[i : i + weights.shape[0], j : j + weights.shape[1]] += weights
    top, left, bottom, right = table.padding
    stride = (stride_y * pool_y, stride_x * pool_x)
    return Products(fused.permute(3, 2, 0, 1).contiguous(), unit, stride, (left, right, top, bottom), before)


def _channel_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if len(shape) == 1 else (shape[2], shape[0], shape[1])


def _per_neuron(values: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """Values a channel, or a neuron, to broadcast against (images, ...): float64."""
    array = torch.from_numpy(np.asarray(values, np.int64).astype(np.float64))
    if len(shape) == 1:
        return array.flatten()
    return array.reshape(-1, 1, 1) if array.numel() == shape[2] else array.reshape(shape).permute(2, 0, 1)


def _neurons(name: str, population: Any, clocks: list[Any]) -> Neurons:
    shape = population.shape
    bias = None
    if clocks:
        brought = sum(table.weights.astype(np.int64).reshape(-1) for table in clocks)
        bias = _per_neuron(brought, shape)
        # The same for all locations where it is: a smaller array to add.
        if len(shape) == 3 and bool((bias == bias[:, :1, :1]).all()):
            bias = bias[:, :1, :1].clone()
    threshold = None if population.threshold is None else _per_neuron(population.threshold, shape)
    return Neurons(name, shape, threshold, _per_neuron(population.v0, shape), bool(population.signed), bias)

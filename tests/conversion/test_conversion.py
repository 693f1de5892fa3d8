"""Conversion against an independent evaluation of the source graph, node by node, and the spiking network against both."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate2d

import eventsim as es
from eventsim.conversion import graph as g
from eventsim.conversion.lowering import lower

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


@pytest.mark.parametrize("levels", [0, 4])
@pytest.mark.parametrize("seed", range(12))
def test_layers_compute_what_the_graph_computes(seed, levels):
    graph = random_graph(seed, levels)
    rng = np.random.default_rng(seed)
    images = rng.random((4, 3, 8, 8))
    expected = [evaluate(graph, x)[graph.output] for x in images]
    found = lower(graph).evaluate(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("levels", [0, 4])
@pytest.mark.parametrize("seed", range(12))
def test_folding_agrees_to_the_reported_rounding_error(seed, levels):
    """Thresholds, weights and biases of the network, multiplied out again, are the source's."""
    graph = random_graph(seed, levels)
    images = np.random.default_rng(seed).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    made = es.convert(graph, images)
    network, layers = made.network, {layer.name: layer for layer in made.source.layers}
    assert made.report.signs_changed == 0
    assert made.report.binary_layers == 3
    reports = {report.name: report for report in made.report.layers}
    for name, population in network.populations.items():
        if population.kind != "spiking" or reports[name].source == "":
            continue
        layer, report = layers[name], reports[name]
        low, high = report.range
        ranges = made.ranges.get(name, np.asarray(high))
        assert low <= high
        # One quantum of each channel, from the threshold that came out.
        quantum = ranges / population.threshold
        for projection in network.projections:
            if projection.target != name or projection.source.endswith(".bias") or projection.table.kind == "sparse":
                continue
            term = next(t for t in layer.terms if t.source == projection.source and t.operator is not None)
            source = layers[projection.source]
            gain = made.ranges.get(source.name, np.asarray(source.activation.high - source.activation.low))
            real = term.operator.weights * term.scale * gain
            error = np.abs(projection.table.weights * quantum - real).max() / np.abs(real).max()
            # The quantum is that of the rounded threshold: off by e / (1 + e).
            assert error <= report.weight_error + report.threshold_error * 1.02 + 1e-9
            assert report.threshold_error < 0.01
            assert report.binary == report.binary_table
        biases = [p for p in network.projections if p.source == f"{name}.bias"]
        zero = layer.activation.low + 0.5 if levels else 0.0
        expected = np.broadcast_to(layer.bias - zero, layer.shape).ravel()
        found = biases[0].table.weights[0] if biases else np.zeros(expected.size)
        found = found.reshape(-1, len(population.threshold)) * quantum
        tolerance = (report.bias_error + report.threshold_error * 10) * ranges
        assert np.abs(found - expected.reshape(found.shape)).max() <= np.max(tolerance) + 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_driven_layer_counts_are_the_quantised_activations(seed):
    """After as many steps as there are levels, the first layer's spike counts are its activation's levels."""
    graph = random_graph(seed, levels=4)
    images = np.random.default_rng(seed).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    made = es.convert(graph)
    first = made.source.layers[0]
    for image in images:
        seen = {}
        values = image[None] * made.pixel_factor + made.pixel_shift
        made.source.evaluate(values, lambda layer, z, seen=seen: seen.setdefault(layer.name, z))
        z = seen[first.name][0]
        counts = es.run(made.network, image, steps=4, resolution=1).spike_counts(first.name).reshape(first.shape)
        sure = np.abs(z - np.round(z)) > 0.15  # input and weights are rounded to 8 bits
        assert sure.mean() > 0.5
        np.testing.assert_array_equal(counts[sure], first.activation(z)[sure])


def test_rates_follow_activations():
    graph = random_graph(1)
    images = np.random.default_rng(1).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    made = es.convert(graph, images, percentile=100)
    steps = 400
    seen = {}
    made.source.evaluate(images[:1] * made.pixel_factor + made.pixel_shift, lambda layer, z: seen.setdefault(layer.name, z))
    result = es.run(made.network, images[0], steps=steps, resolution=1)
    for layer in made.source.layers[:-1]:
        rate = result.spike_counts(layer.name) / steps
        assert np.corrcoef(rate.ravel(), layer.activation(seen[layer.name][0]).ravel())[0, 1] > 0.97


def test_per_channel_ranges_and_initial_potential():
    graph = random_graph(3)
    images = np.random.default_rng(3).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    made = es.convert(graph, images, per_channel=True, initial="zero", signed=True, refractory=0.5)
    assert made.ranges["conv1"].shape == (4,)
    for population in made.network.populations.values():
        if population.kind == "spiking":
            assert population.signed
            assert population.refractory == 0.5
            assert not population.v0.any()


def two_layers(second: g.Operator) -> g.Graph:
    graph = g.Graph()
    at = graph.add(g.Input((3,)), name="in")
    at = graph.add(g.Linear(np.ones((2, 3))), (at,), "first")
    graph.add(second, (at,), "second")
    return graph


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (lambda: two_layers(g.Linear(np.ones((2, 2)))), "second: two layers with weights without an activation"),
        (lambda: two_layers(g.Linear(np.ones((2, 9)))), r"second: a linear layer with weights \(2, 9\) on \(2,\)"),
        (lambda: two_layers(g.Linear(np.full((2, 2), np.nan))), "second: weights that are not finite"),
        (lambda: two_layers(g.Floor()), "after rounding cannot become a spiking neuron"),
        (lambda: two_layers(RELU), "give images for calibration"),
        (lambda: two_layers(g.AveragePool((2, 2))), "second: pooling of a value of shape"),
        (lambda: g.Graph(), "the network is empty"),
    ],
)
def test_errors_name_the_node(graph, message):
    with pytest.raises(es.ConversionError, match=message):
        es.convert(graph())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": 0}, "percentile"),
        ({"weight_bits": 1}, "weight bits"),
        ({"fraction_bits": 40}, "fraction bits"),
        ({"initial": "full"}, "initial potential"),
        ({"std": 0.0}, "std must be"),
        ({"calibration": np.zeros((2, 8, 8, 3))}, "must be uint8"),
        ({"calibration": np.zeros((2, 9, 8, 3), np.uint8)}, "takes images of shape"),
        ({"calibration": np.zeros((2, 8, 8, 3), np.uint8), "mean": 0.0}, None),
    ],
)
def test_settings_are_checked(settings, message):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    if message is None:
        es.convert(random_graph(0), **settings)
        return
    with pytest.raises(es.ConversionError, match=message):
        es.convert(random_graph(0), **{"calibration": images} | settings)


def test_an_activation_that_is_scaled_for_one_of_its_uses_is_one_population():
    rng = np.random.default_rng(4)
    net = g.Graph()
    x = net.add(RELU, (net.add(g.Linear(rng.normal(size=(6, 5))), (net.add(g.Input((5,))),)),))
    a = net.add(g.Linear(rng.normal(size=(6, 6))), (x,))
    b = net.add(RELU, (net.add(g.Add(), (a, net.scale(x, 3.0, 0.5))),))
    net.add(g.Linear(rng.normal(size=(2, 6))), (b,))
    source = lower(net)
    assert [layer.shape for layer in source.layers] == [(6,), (6,), (2,)]
    values = rng.normal(size=5)
    np.testing.assert_allclose(source.evaluate(values[None, None, None]).ravel(), evaluate(net, values)[-1], rtol=1e-9)

"""Conversion against an independent evaluation of the source graph, node by node, and the spiking network against both."""

from __future__ import annotations

import numpy as np
import pytest
from judges.graphs import RELU, Builder, evaluate, random_graph

import eventsim as es
from eventsim.conversion import graph as g
from eventsim.conversion.lowering import lower


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
    made = es.convert(graph, images, per_channel=True, initial="zero", signed=True, refractory=0.5, check=False)
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


@pytest.mark.parametrize(("bits", "binary"), [(0, True), (1, True), (None, False), (8, False)])
def test_a_term_far_larger_than_a_binary_one_leaves_it_binary_if_there_is_room_for_both(bits, binary):
    """Its weights are 7 million times the binary ones' magnitude, and have 30 bits: no 8 of them are left for a fraction."""
    b = Builder(0, (3, 8, 8), 0)
    b.conv(4, binary=False, bias=False)
    before = b.at = b.graph.add(RELU, (b.at,))
    b.conv(4, binary=True, bias=False)
    first, b.at = b.at, before
    b.conv(4, binary=False, bias=False)
    b.at = b.graph.add(g.Add(), (first, b.graph.scale(b.at, 1e6, 0.0)))
    b.at = b.graph.add(RELU, (b.at,))
    b.linear(3, binary=False, bias=True)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    made = es.convert(b.graph, images, fraction_bits=bits, check=False)
    table = next(p.table for p in made.network.projections if p.name == "conv1->conv2")
    assert (table.magnitude is not None) == binary

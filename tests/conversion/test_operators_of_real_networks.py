"""Operators of real networks, one by one: what they become, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from judges.dense_loop import unroll

import eventsim as es
from eventsim.conversion import graph as g
from eventsim.conversion.lowering import lower

RELU = g.Clip(0.0, np.inf)
PIXEL = np.ones(()) / 255, np.zeros(())


class Net:
    """A graph that grows, with weights from a seed."""

    def __init__(self, shape=(3, 6, 6), seed=0):
        self.rng, self.graph = np.random.default_rng(seed), g.Graph()
        self.at = self.graph.add(g.Input(shape))

    def add(self, operator, *sources):
        self.at = self.graph.add(operator, sources or (self.at,))
        return self.at

    def signs(self, *shape):
        return self.rng.choice([-0.25, 0.25], shape)

    def same(self, pixel=PIXEL):
        """The layers, which compute what the graph does."""
        layers = lower(self.graph, pixel)
        images = self.rng.random((3, *self.graph.shape(0)))
        expected = self.graph.evaluate(images)[self.graph.output]
        values = images if images.ndim == 4 else images.reshape(3, images.shape[1], 1, -1)
        found = layers.evaluate(values.transpose(0, 2, 3, 1))
        found = found.transpose(0, 3, 1, 2) if found.ndim == 4 else found
        np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-12)
        return layers

    def converted(self, **settings):
        self.add(g.Flatten())
        self.add(g.Linear(self.rng.normal(size=(4, *self.graph.shape(self.at)))))
        shape = self.graph.shape(0)
        self.images = self.rng.integers(0, 256, (5, shape[1], shape[2], shape[0]), dtype=np.uint8)
        return es.convert(self.graph, self.images, **settings)


def tables(made, target):
    return [p for p in made.network.projections if p.target == target and not p.source.endswith(".bias")]


@pytest.mark.parametrize(("groups", "dilation"), [(2, 1), (8, 1), (1, 2), (8, 3)])
def test_groups_and_dilation_stay_binary_and_cost_what_exists(groups, dilation):
    net = Net(seed=groups)
    net.add(g.Convolution(net.signs(8, 3, 3, 3), None, (1, 1), (1, 1, 1, 1)))
    net.add(RELU)
    sides = (dilation,) * 4
    net.add(g.Convolution(net.signs(8, 8 // groups, 3, 3), None, (1, 1), sides, (dilation, dilation), groups))
    net.add(RELU)
    made = net.converted()
    (projection,) = tables(made, "conv2")
    assert projection.table.kind == "grouped_conv2d"
    assert projection.table.magnitude is not None
    assert projection.table.weights.size == 8 * 8 // groups * 9
    assert made.report.layers[1].binary_table
    result = es.run(made.network, net.images[0], steps=4, resolution=1)
    # Spikes x synapses that exist, from the matrix made by loops.
    synapses = unroll(projection.table, (6, 6, 8), (6, 6, 8)).synapses.sum(1)
    number = made.network.projections.index(projection)
    assert result.counts.synaptic_events[:, number].sum() == result.spike_counts("conv1").ravel() @ synapses
    assert result.counts.additions[:, number].sum() == result.counts.synaptic_events[:, number].sum()
    assert synapses.max() == 9 * 8 // groups if dilation == 1 else synapses.max() <= 9 * 8 // groups


def test_concatenation_splits_weights_and_populations():
    net = Net()
    image = net.at
    one = net.add(g.Convolution(net.signs(2, 3, 3, 3), None, (1, 1), (1, 1, 1, 1)), image)
    two = net.add(g.Convolution(net.signs(3, 3, 1, 1)), image)
    net.add(g.Concatenate(0), one, two)
    net.at = net.graph.scale(net.at, net.rng.uniform(0.5, 1, 5), net.rng.normal(size=5))
    net.add(RELU)
    net.add(g.Convolution(net.signs(4, 5, 3, 3), None, (1, 1), (1, 1, 1, 1)))
    net.add(RELU)
    layers = net.same()
    assert [layer.shape for layer in layers.layers[:2]] == [(6, 6, 2), (6, 6, 3)]
    assert [term.operator.weights.shape for term in layers.layers[2].terms] == [(3, 3, 2, 4), (3, 3, 3, 4)]
    made = net.converted()
    found = tables(made, made.source.layers[2].name)
    assert [p.table.weights.shape for p in found] == [(3, 3, 2, 4), (3, 3, 3, 4)]
    assert all(p.table.kind == "conv2d" for p in found)


def test_slices_and_shuffles_leave_no_synapses_of_weight_zero():
    net = Net()
    net.add(g.Convolution(net.signs(6, 3, 3, 3)))
    net.add(RELU)
    net.add(g.Reshape((2, 3, 4, 4)))
    net.add(g.Permute((1, 0, 2, 3)))
    net.add(g.Reshape((6, 4, 4)))
    net.add(g.Select(0, np.array([1, 2, 3])))
    net.add(g.Convolution(net.signs(5, 3, 1, 1)))
    net.add(RELU)
    net.same()
    made = net.converted()
    (projection,) = tables(made, "conv2")
    # Channels in the order 0 3 | 1 4 | 2 5, of which the second to fourth: 3, 1, 4.
    assert projection.table.fan_out((4, 4, 6), (4, 4, 5)).reshape(-1, 6).tolist() == [[0, 5, 0, 5, 5, 0]] * 16
    assert projection.table.magnitude is not None


def test_two_convolutions_of_the_image_are_one():
    net = Net()
    image = net.at
    three = net.add(g.Convolution(net.signs(4, 3, 3, 3), None, (1, 1), (1, 1, 1, 1)), image)
    one = net.add(g.Convolution(net.signs(4, 3, 1, 1)), image)
    net.add(g.Add(), three, one)
    net.add(RELU)
    layers = net.same()
    (term,) = layers.layers[0].terms
    assert term.operator.weights.shape == (3, 3, 3, 4)
    made = net.converted()
    assert made.network.populations["conv1"].kind == "driven"


@pytest.mark.parametrize("place", ["beside", "output"])
def test_the_image_beside_spikes_is_said_as_rates(place):
    """Grey levels are 1/255 spikes a step; after 255 steps the counts are the grey levels."""
    net = Net()
    image = net.graph.scale(net.at, [2.0, 1.0, 3.0], [-0.5, 0.0, 0.25])
    net.add(g.Convolution(net.signs(4, 3, 3, 3), None, (1, 1), (1, 1, 1, 1)), image)
    net.add(RELU)
    if place == "beside":
        net.add(g.Concatenate(0), image, net.at)
        net.add(g.Convolution(net.signs(4, 7, 3, 3), None, (1, 1), (1, 1, 1, 1)))
        net.add(RELU)
        net.same()
        made = net.converted()
    else:
        graph = Net()
        graph.add(g.Flatten())
        graph.add(g.Linear(graph.rng.normal(size=(4, 108))))
        graph.same()
        net = graph
        net.images = net.rng.integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
        made = es.convert(net.graph)
    result = es.run(made.network, net.images[0], steps=255, resolution=1)
    np.testing.assert_array_equal(result.spike_counts("image").reshape(6, 6, 3), net.images[0])
    if place == "output":
        expected = made.evaluate(net.images[:1])[0]
        assert np.corrcoef(np.atleast_2d(result.readout)[-1], expected)[0, 1] > 0.999


def test_a_scale_of_every_feature_is_part_of_the_next_matrix():
    net = Net()
    net.add(g.Convolution(net.signs(4, 3, 3, 3)))
    net.add(RELU)
    net.add(g.Flatten())
    features = net.graph.shape(net.at)[0]
    net.at = net.graph.scale(net.at, net.rng.uniform(0.5, 2, features), net.rng.normal(size=features))
    net.add(g.Linear(net.rng.normal(size=(5, features))))
    net.add(RELU)
    layers = net.same()
    assert layers.layers[1].terms[0].operator.weights.shape == (features, 5)


def test_a_constant_along_the_width_moves_the_first_layers_bias():
    net = Net((3, 3, 3))
    net.at = net.graph.affine(net.at, 1.0, [0.5, -0.5, 0.1])
    net.add(g.Convolution(net.signs(4, 3, 3, 3), None, (1, 1), (1, 1, 1, 1)))
    net.add(RELU)
    net.same()
    made = net.converted()
    expected = made.source.evaluate(net.images[:1] / 255.0)
    result = es.run(made.network, net.images[0], steps=600, resolution=1)
    assert np.corrcoef(result.readout.reshape(-1, 4)[-1], expected[0])[0, 1] > 0.99


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap", "constant"])
def test_paddings_are_a_convolution_and_a_list_of_what_the_border_adds(mode):
    net = Net()
    net.add(g.Convolution(net.signs(4, 3, 3, 3)))
    net.add(RELU)
    net.add(g.Pad(((0, 0), (1, 1), (1, 1)), mode, 0.5 if mode == "constant" else 0.0))
    net.add(g.Convolution(net.signs(4, 4, 3, 3)))
    net.add(RELU)
    layers = net.same()
    assert [type(term.operator).__name__ for term in layers.layers[1].terms] == ["Kernel"] + ["Map"] * (mode != "constant")
    made = net.converted()
    kinds = [p.table.kind for p in tables(made, "conv2")]
    assert kinds == ["conv2d"] + ["sparse"] * (mode != "constant")


def test_low_rank_layers_and_separable_ones_are_one():
    net = Net()
    net.add(g.Convolution(net.signs(6, 3, 3, 3)))
    net.add(RELU)
    net.add(g.Convolution(net.signs(6, 1, 3, 3), groups=6))
    net.add(g.Convolution(net.signs(8, 6, 1, 1)))
    net.add(RELU)
    net.add(g.Flatten())
    net.add(g.Linear(net.signs(3, 32)))
    net.add(g.Linear(net.signs(9, 3)))
    net.add(RELU)
    layers = net.same()
    shapes = [layer.terms[0].operator.weights.shape for layer in layers.layers[:3]]
    assert shapes == [(3, 3, 3, 6), (3, 3, 6, 8), (32, 9)]


def test_sequences_are_images_of_one_row():
    net = Net((2, 9))
    net.graph.in_one_row(g.Convolution(net.signs(4, 2, 1, 3), None, (1, 2), (0, 1, 0, 1)), net.at)
    net.at = net.graph.output
    net.add(RELU)
    net.add(g.Flatten())
    net.add(g.Linear(net.signs(3, 20)))
    images = net.rng.random((3, 2, 9))
    expected = net.graph.evaluate(images)[-1]
    found = lower(net.graph, PIXEL).evaluate(images.transpose(0, 2, 1)[:, None])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def quantised(rounding, low=0.0, high=4.0, factor=1.0):
    net = Net((1, 4, 4))
    net.at = net.graph.scale(net.at, 255.0, 0.0)  # grey levels
    net.add(g.Convolution(np.full((1, 1, 1, 1), 0.25 * factor)))
    net.add(rounding)
    net.add(g.Clip(low, high))
    return net


def test_rounding_is_half_to_even_in_the_source_and_said_where_it_matters():
    """Grey levels over four: ties are frequent."""
    net = quantised(g.Round())
    net.same()
    made = net.converted()
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    made_by = {}
    made.source.evaluate(image[None] / 255.0, lambda layer, z: made_by.setdefault(layer.name, z))
    first = made.source.layers[0]
    np.testing.assert_array_equal(first.activation(made_by[first.name]).ravel(), np.clip(np.rint(np.arange(16) / 4), 0, 4))
    assert any("exactly between two levels" in remark for remark in made.report.remarks)
    off = quantised(g.Round(), factor=0.9731)
    off.graph.nodes[2].operator.weight[:] += 1e-3
    assert not any("exactly between" in remark for remark in off.converted().report.remarks)


def test_rounding_of_few_levels_is_exact_on_ties():
    net = quantised(g.Round(), high=3.0)
    made = net.converted()
    assert made.steps
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    result = es.run(made.network, image)
    first = made.source.layers[0]
    counts = np.sum([result.spike_counts(n.name) for n in made.steps[first.name]], axis=0)
    np.testing.assert_array_equal(counts.ravel(), np.clip(np.rint(np.arange(16) / 4), 0, 3))


def test_truncation_is_rounding_down_where_nothing_is_negative():
    quantised(g.Truncate()).same()
    net = Net()
    net.add(g.Convolution(net.signs(4, 3, 3, 3)))
    net.at = net.graph.scale(net.at, 5.0, 0.0)
    net.add(g.Truncate())
    net.add(g.Clip(-3.0, 3.0))
    with pytest.raises(es.ConversionError, match="a cast to integers of negative values"):
        net.same()


def test_a_bound_that_nothing_comes_near_is_not_the_range():
    for high, expected in ((3.4e38, "relu"), (50.0, "clip"), (0.4, "clip")):
        net = Net()
        net.add(g.Convolution(net.signs(4, 3, 3, 3)))
        net.add(g.Clip(0.0, high))
        made = net.converted()
        assert made.source.layers[0].activation.kind == expected
        full = float(made.gain(made.source.layers[0]).max())
        assert full == pytest.approx(0.4) if high < 1 else full < 5


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ([g.AdaptiveMaxPool((4, 4))], "windows of different sizes"),
        ([RELU, g.MaxPool((5, 5), (5, 5)), g.AdaptiveMaxPool((2, 2))], r"of \(1, 1\) to \(2, 2\), by windows .* several in one place"),
        ([RELU, g.Select(0, np.array([0])), g.AveragePool((2, 2)), g.MaxPool((2, 2), (1, 1))], "max pooling of averages"),
        ([RELU, g.Pad(((3, 0), (0, 0), (0, 0))), g.Select(0, np.array([0, 1]))], "does not depend on the image"),
    ],
)
def test_what_has_no_counterpart_is_refused(operators, message):
    net = Net()
    net.add(g.Convolution(net.signs(4, 3, 1, 1)))
    for operator in operators:
        net.add(operator)
    with pytest.raises(es.ConversionError, match=message):
        lower(net.graph, PIXEL)


def test_more_synapses_than_can_be_listed_are_refused():
    net = Net((1, 64, 64))
    net.add(g.Convolution(net.signs(32, 1, 3, 3), None, (1, 1), (1, 1, 1, 1)))
    net.add(g.Convolution(net.signs(64, 32, 3, 3), None, (1, 1), (1, 1, 1, 1)))
    with pytest.raises(es.ConversionError, match="synapses listed one by one, the limit is 16,777,216; put a ReLU between them"):
        lower(net.graph, PIXEL)

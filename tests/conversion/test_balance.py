"""Biases corrected by what the spikes say."""

from __future__ import annotations

import numpy as np
import pytest
from judges.graphs import RELU, Builder, deep_graph, random_graph

import eventsim as es
from eventsim.conversion import graph as g
from eventsim.conversion.to_nir import write_nir

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


def errors(made: es.Conversion, images: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Mean of rate less activation of every channel, in spikes a step, of layers behind the first."""
    sums = {}
    for image in images:
        seen = {}
        values = image[None] * made.pixel_factor + made.pixel_shift
        made.source.evaluate(values, lambda layer, z, seen=seen: seen.setdefault(layer.name, (layer, z[0])))
        result = es.run(made.network, image, steps=steps, resolution=1)
        for name, (layer, z) in list(seen.items())[1:-1]:
            rate = result.spike_counts(name).reshape(-1, layer.shape[-1]) / steps
            difference = rate - (layer.activation(z) / made.gain(layer)).reshape(rate.shape)
            sums[name] = sums.get(name, 0) + difference.mean(0) / len(images)
    return sums


@pytest.mark.parametrize("seed", [1, 2])
def test_channels_are_right_on_average(seed):
    plain = es.convert(random_graph(seed), IMAGES, steps=6, check=False)
    balanced = es.convert(random_graph(seed), IMAGES, steps=6, balance=True, check=False)
    before, after = (errors(made, IMAGES, 6) for made in (plain, balanced))
    sizes = [[np.abs(found[name]).mean() for name in before if name.startswith("conv")] for found in (before, after)]
    assert all(new < old for old, new in zip(*sizes, strict=True))
    assert sum(sizes[1]) < sum(sizes[0]) * 0.6
    # What the source computes is not what has been changed.
    np.testing.assert_array_equal(balanced.evaluate(IMAGES), plain.evaluate(IMAGES))
    assert balanced.report.settings["balanced after steps"] == 6
    assert balanced.network.provenance["steps"] == 6


def test_a_deep_network_answers_better_in_few_steps_on_other_images():
    graph = deep_graph(7, 8, 5)
    others = np.random.default_rng(9).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    distances = []
    for balance in (False, True):
        made = es.convert(graph, IMAGES, steps=6, balance=balance, check=False)
        total = {name: np.square(error).mean() for name, error in errors(made, others, 6).items()}
        distances.append(sum(total.values()))
    assert distances[1] < distances[0] / 2


def test_labels_progress_and_what_cannot_be_balanced():
    seen = []
    made = es.convert(
        random_graph(1),
        IMAGES[:4],
        steps=3,
        balance=True,
        check=False,
        labels=["a", "b", "c", "d", "e"],
        progress=lambda *at: seen.append(at),
    )
    assert made.network.labels == ["a", "b", "c", "d", "e"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(es.ConversionError, match="balanced on calibration images"):
        es.convert(random_graph(1, 4), balance=True)
    signs = g.Graph()
    at = signs.add(g.Linear(np.ones((4, 192))), (signs.add(g.Flatten(), (signs.add(g.Input((3, 8, 8))),)),))
    signs.add(g.Linear(np.eye(4)), (signs.add(g.Sign(), (at,)),))
    with pytest.raises(es.ConversionError, match="nothing to balance"):
        es.convert(signs, IMAGES, balance=True)


def test_neurons_stay_of_the_kind_that_they_were():
    """A network without biases gets plain ones, and some biases of its own by balancing."""
    b = Builder(2, (3, 8, 8), 0)
    for i in range(3):
        b.conv(8, binary=i > 0, bias=False)
        b.at = b.graph.add(RELU, (b.at,))
    b.linear(5, binary=False, bias=False)
    plain, balanced = (es.convert(b.graph, IMAGES[:6], steps=4, balance=balance, check=False) for balance in (False, True))
    assert "conv2.bias" not in plain.network.populations
    assert "conv2.bias" in balanced.network.populations
    for name, population in plain.network.populations.items():
        assert balanced.network.populations[name] == population
    assert balanced.report.remarks == plain.report.remarks


def test_nir_is_written_with_the_balanced_biases(tmp_path):
    pytest.importorskip("nir")
    b = Builder(2, (3, 8, 8), 4)
    for i in range(3):
        b.conv(8, binary=i > 0, bias=True)
        b.activation()
    b.linear(5, binary=False, bias=True)
    plain, balanced = (es.convert(b.graph, IMAGES[:6], steps=4, balance=balance, check=False) for balance in (False, True))
    write_nir(balanced, tmp_path / "net.nir")
    again = es.convert(tmp_path / "net.nir", check=False)
    for projection in balanced.network.projections:
        if projection.source.endswith(".bias"):
            found, before = ([p.table for p in made.network.projections if p.name == projection.name] for made in (again, plain))
            assert np.array_equal(found[0].weights, projection.table.weights)
            if projection.target != "fc4":
                assert not np.array_equal(before[0].weights, projection.table.weights)

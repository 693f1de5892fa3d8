"""Which neurons a conversion makes when it is not told: signed ones where biases come before what balances them."""

from __future__ import annotations

import numpy as np
import pytest
from judges.graphs import RELU, Builder, random_graph

import eventsim as es

IMAGES = np.random.default_rng(2).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)


def neurons(made: es.Conversion) -> dict[str, tuple[bool, float]]:
    """Of every hidden population: whether it is signed, and its refractory period."""
    firing = {name: p for name, p in made.network.populations.items() if p.fires}
    return {name: (p.signed, p.refractory) for name, p in firing.items()}


def plain(bias_of: str = "") -> Builder:
    """Four layers without batch norm; ``bias_of`` names those that have a bias: first, hidden, last."""
    b = Builder(4, (3, 8, 8), 0)
    for i in range(3):
        b.conv(4, binary=i > 0, bias=("first" if i == 0 else "hidden") in bias_of)
        b.at = b.graph.add(RELU, (b.at,))
    b.linear(5, binary=False, bias="last" in bias_of)
    return b


def test_relu_networks_with_batch_norm_take_spikes_back():
    made = es.convert(random_graph(1), IMAGES)
    assert neurons(made) == {"conv1": (False, 1.0), "conv2": (True, 1.0), "conv3": (True, 1.0), "fc4": (True, 1.0)}
    assert any("signed" in remark for remark in made.report.remarks)


@pytest.mark.parametrize(("bias_of", "signed"), [("", False), ("first last", False), ("hidden", True)])
def test_only_biases_of_layers_behind_the_first_ask_for_it(bias_of, signed):
    made = es.convert(plain(bias_of).graph, IMAGES)
    assert {found for name, found in neurons(made).items() if name != "conv1"} == {(signed, float(signed))}
    assert any("signed" in remark for remark in made.report.remarks) == signed


def test_what_is_chosen_is_taken():
    unsigned = es.convert(random_graph(1), IMAGES, signed=False)
    assert set(neurons(unsigned).values()) == {(False, 0.0)}
    assert not any("signed" in remark for remark in unsigned.report.remarks)
    without_period = es.convert(plain().graph, IMAGES, signed=True, refractory=0.25)
    # (The first layer's neurons have a constant current, which nothing takes back: their period bounds their rate.)
    assert neurons(without_period) == {"conv1": (False, 1.0), "conv2": (True, 0.25), "conv3": (True, 0.25)}
    quantised = es.convert(random_graph(1, levels=4), signed=False)
    assert set(neurons(quantised).values()) == {(False, 1.0)}


@pytest.mark.parametrize(
    ("layers", "settings", "said"), [(10, {}, True), (9, {}, False), (10, {"signed": False}, False), (10, {"refractory": 0.75}, False)]
)
def test_deep_networks_are_told_of_shorter_periods(layers, settings, said):
    b = Builder(4, (3, 8, 8), 0)
    for i in range(layers + 1):
        b.conv(4, binary=i > 0, bias=True)
        b.at = b.graph.add(RELU, (b.at,))
    b.linear(5, binary=False, bias=True)
    made = es.convert(b.graph, IMAGES, check=False, **settings)
    assert any("10 layers of signed neurons" in remark for remark in made.report.remarks) == said


def test_rates_are_nearer_to_the_source_than_those_of_unsigned_neurons():
    def error(made: es.Conversion) -> float:
        """Of the last hidden layer's rates after 16 steps, in spikes a step."""
        total = 0.0
        for image in IMAGES[:5]:
            seen = {}
            values = image[None] * made.pixel_factor + made.pixel_shift
            made.source.evaluate(values, lambda layer, z, seen=seen: seen.setdefault(layer.name, (layer, z[0])))
            layer, z = seen["fc4"]
            rate = es.run(made.network, image, steps=16, resolution=1).spike_counts("fc4").ravel() / 16
            total += float(np.square(rate - np.minimum(layer.activation(z) / made.gain(layer), 1).ravel()).sum())
        return total

    errors = np.array([[error(es.convert(random_graph(seed), IMAGES, signed=signed)) for signed in (None, False)] for seed in range(4)])
    assert (errors[:, 0] < errors[:, 1]).all()

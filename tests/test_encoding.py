"""Poisson input keeps the expected current, whatever the encoder."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es
from eventsim.currents import Encoder
from eventsim.encoding import PIXELS, poisson_network, poisson_rates

RNG = np.random.default_rng(3)
ENCODERS = {
    "conv": es.Conv2d(RNG.integers(-4, 5, (3, 3, 2, 3)), padding=1, pool_after=2),
    "dense": es.Dense(RNG.integers(-4, 5, (8, 12)), pool_before=2),
    "sparse": es.Sparse.from_matrix(RNG.integers(-1, 2, (32, 12))),
}


def driven(encoder):
    net = es.Network()
    net.image_input((4, 4, 2), scale=[3, 5], offset=[100, -40])
    net.driven("in", (2, 2, 3), 1000, encoder=encoder, bias=[7, 0, -7])
    net.readout("out", 1)
    net.connect("in", "out", np.ones((12, 1), int))
    return net


@pytest.mark.parametrize("name", ENCODERS)
def test_expected_input_is_the_constant_current(name):
    """With only black and white pixels Poisson input is certain: each step must add exactly the constant current."""
    image = np.random.default_rng(1).choice([0, 255], (4, 4, 2)).astype(np.uint8)
    net = driven(ENCODERS[name])
    poisson = poisson_network(net)
    # A readout in place of the first layer shows what arrives.
    shape = net.populations["in"].shape
    probe = es.Network()
    probe.source(PIXELS, (4, 4, 2), "poisson")
    probe.readout("in", shape)
    for p in poisson.projections:
        if p.target == "in":
            if p.source != PIXELS:
                probe.source(p.source, 1, "clock")
            probe.connect(p.source, "in", p.table)
    arrived = es.run(probe, poisson_rates(image, net), steps=3, resolution=1).counts.readout["in"]
    current = ENCODERS[name].apply(image.astype(np.int64) * [3, 5] - [100, -40], shape) + np.tile([7, 0, -7], 4)
    assert np.array_equal(arrived, np.outer([1, 2, 3], current))


@pytest.mark.parametrize("largest", [255, 2**20, 2**27])
@pytest.mark.parametrize("name", ENCODERS)
def test_compiled_encoder_is_the_table(name, largest):
    """Values that need 32 and 64 bits included."""
    rng = np.random.default_rng(2)
    for _ in range(5):
        image = rng.integers(-largest, largest + 1, (4, 4, 2)) * rng.integers(0, 2, (4, 4, 2))
        bias = rng.integers(-9, 10, 3)
        encoder = Encoder(ENCODERS[name], bias, (4, 4, 2), (2, 2, 3))
        currents, magnitude, effective = encoder.apply(image)
        expected = ENCODERS[name].apply(image, (2, 2, 3)) + np.tile(bias, 4)
        np.testing.assert_array_equal(currents, expected)
        assert magnitude == np.abs(expected).max()
        synapses = [[w for _, w in ENCODERS[name].synapses_from(i, (4, 4, 2), (2, 2, 3))] for i in range(32)]
        assert effective == sum(np.count_nonzero(synapses[i]) for i in np.flatnonzero(image))


@pytest.mark.parametrize("channels", range(1, 10))
def test_compiled_encoder_takes_any_number_of_inputs_at_a_location(channels):
    """Four of them at a time, and what is left; at the border they have fewer synapses."""
    rng = np.random.default_rng(channels)
    table = es.Conv2d(rng.integers(-100, 101, (3, 3, channels, 40)), padding=1)
    encoder = Encoder(table, np.zeros(40, int), (5, 4, channels), (5, 4, 40))
    for density in (0.2, 0.6, 1):
        image = rng.integers(-300, 301, (5, 4, channels)) * (rng.random((5, 4, channels)) < density)
        np.testing.assert_array_equal(encoder.apply(image)[0], table.apply(image, (5, 4, 40)))


def test_currents_that_only_the_bias_makes_large():
    table = es.Dense(np.array([[1, -1]]))
    for bias, size in (([2**31 - 6, 0], 4), ([2**31 - 5, 0], 8), ([0, 5 - 2**31], 8)):
        currents, largest, _ = Encoder(table, bias, (1, 1, 1), (2,)).apply(np.array([[[5]]]))
        assert currents.tolist() == [bias[0] + 5, bias[1] - 5]
        assert largest == max(map(abs, currents.tolist()))
        assert currents.itemsize == size


def test_rates_are_those_of_the_pixels():
    net = driven(ENCODERS["conv"])
    image = np.full((4, 4, 2), 51, np.uint8)
    result = es.run(poisson_network(net), poisson_rates(image, net), steps=2000, record=[PIXELS], seed=4)
    # 64,000 draws of probability 0.2: four standard deviations are 405.
    assert abs(result.spikes_per_population()[PIXELS] - 12_800) < 405


def test_needs_an_image():
    net = es.Network()
    net.driven("in", 2, 5)
    with pytest.raises(es.InputError, match="takes an image"):
        poisson_network(net)

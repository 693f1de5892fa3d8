"""Poisson input keeps the expected current, whatever the encoder."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

import eventsim as es
from eventsim.job import encoder as currents
from eventsim.job.encoder import Encoder
from eventsim.job.poisson import PIXELS, poisson_network, poisson_rates
from eventsim.kernels import simd_pairs

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


@pytest.mark.kernels
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


@njit
def multiply_32(*args):
    simd_pairs.multiply_32(*args)


@njit
def multiply_64(*args):
    simd_pairs.multiply_64(*args)


@pytest.mark.kernels
@pytest.mark.parametrize("weight", [np.int8, np.int16])
@pytest.mark.parametrize("lanes", [32, 64])
def test_multiplying_pairs(lanes, weight):
    rng = np.random.default_rng(lanes)
    limits, compiled = np.iinfo(weight), {32: multiply_32, 64: multiply_64}[lanes]
    for most in (0, 300, 2**15 - 1):
        values = rng.integers(-most - 1, most + 1, 90).astype(np.int16)
        weights = rng.integers(limits.min, limits.max + 1, 1000 * lanes).astype(weight)
        bias = rng.integers(-(10**6), 10**6, 200).astype(np.int32)
        for n in (0, 1, 7, 60):
            pairs, rows = rng.integers(0, 80, n).astype(np.int32), rng.integers(0, 490, n).astype(np.int32)
            at, j, lane, o = int(rng.integers(0, 9)), int(rng.integers(0, 99)), int(rng.integers(0, 100)), 5
            expected = bias[lane : lane + lanes].astype(np.int64)
            for place, row in zip((at + pairs).tolist(), rows.tolist(), strict=True):
                both = weights[j + 2 * row * lanes : j + 2 * (row + 1) * lanes].reshape(lanes, 2).astype(np.int64)
                expected += both @ values[place : place + 2].astype(np.int64)
            out = np.full(lanes + 10, -7, np.int32)
            compiled(values, at, pairs, rows, n, weights, j, bias, lane, out, o)
            # Sums of the largest values and weights do not fit.
            np.testing.assert_array_equal(out[o : o + lanes], expected.astype(np.int32))
            np.testing.assert_array_equal(np.delete(out, slice(o, o + lanes)), -7)


@pytest.mark.parametrize("case", range(60))
def test_compiled_encoder_takes_convolutions_of_all_kinds(case):
    """Kernels, strides, padding, pools before and after, incomplete windows, weights of 8, 16 and 32 bits, any number of channels."""
    rng = np.random.default_rng(case)
    kernel, stride, before, after = (rng.integers(1, most, 2) for most in (6, 4, 4, 3))
    padding = [int(rng.integers(0, n)) for n in (*kernel, *kernel)]
    inputs, outputs = int(rng.integers(1, 6)), int(rng.choice([1, 5, 32, 40, 64, 70, 130]))
    limit = int(rng.choice([2, 127, 2**15 - 1, 2**20], p=[0.2, 0.5, 0.2, 0.1]))
    table = es.Conv2d(rng.integers(-limit, limit + 1, (*kernel, inputs, outputs)), tuple(stride), padding, tuple(before), tuple(after))
    source = *((kernel + stride * (after + rng.integers(0, 4, 2))) * before + rng.integers(0, before)).tolist(), inputs
    target = table.output_shape(source)
    bias = rng.integers(-1000, 1000, outputs)
    encoder = Encoder(table, bias, source, target)
    for largest in (1, 255, 3000, 2**15, 2**22):
        image = rng.integers(-largest * (case % 2), largest + 1, source) * (rng.random(source) < rng.choice([0.3, 1]))
        expected = table.apply(image, target).reshape(-1, outputs) + bias
        currents, magnitude, effective = encoder.apply(image)
        np.testing.assert_array_equal(currents, expected.ravel())
        assert magnitude == np.abs(expected).max()
        assert effective == table.effective_fan_out(source, target)[image.ravel() != 0].sum()


def test_images_take_compiled_code(monkeypatch):
    """Pixels with weights of up to 16 bits, dense tables included; for more there is the table's own code."""
    rng = np.random.default_rng(5)
    tables = {
        "conv": es.Conv2d(rng.integers(-100, 100, (3, 3, 3, 8)), padding=1),
        "wide": es.Conv2d(rng.integers(-(2**15) + 1, 2**15, (3, 3, 3, 8)), padding=1),
        "wider": es.Conv2d(np.full((1, 1, 3, 8), 2**15), 1),
        "dense": es.Dense(rng.integers(-100, 100, (75, 8))),
        "pooled": es.Dense(rng.integers(-100, 100, (12, 8)), pool_before=2),
        "sparse": es.Sparse.from_matrix(rng.integers(-1, 2, (75, 8))),
    }
    of_numpy = []
    for kind in (es.Conv2d, es.Dense, es.Sparse):
        monkeypatch.setattr(kind, "apply", lambda self, *args, apply=kind.apply: of_numpy.append(self) or apply(self, *args))
    for table in tables.values():
        target = table.output_shape((5, 5, 3)) if isinstance(table, es.Conv2d) else (8,)
        Encoder(table, np.zeros(8, int), (5, 5, 3), target).apply(rng.integers(0, 256, (5, 5, 3)))
    assert [next(name for name, table in tables.items() if table is used) for used in of_numpy] == ["wider", "sparse"]
    # An image of 7 x 7 x 3 with its padding, and two places behind it.
    image, results = rng.integers(0, 256, (5, 5, 3)), []
    for places, by_numpy in ((149, 0), (148, 1)):
        monkeypatch.setattr(currents, "PLACES", places)
        of_numpy.clear()
        results.append(Encoder(tables["conv"], np.arange(8), (5, 5, 3), (5, 5, 8)).apply(image)[0])
        assert len(of_numpy) == by_numpy
    np.testing.assert_array_equal(*results)


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

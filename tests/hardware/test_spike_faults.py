"""Spikes that are lost, or late: which ones is worked out here from the definition, and what follows by ordinary runs."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es
from eventsim.errors import HardwareError
from eventsim.hardware.faults import Faults, with_faults
from eventsim.hardware.imperfect import Imperfect

MASK = 2**32 - 1
NEURONS = 40


def mix(x):
    x ^= x >> 16
    x = x * 0x21F0AAAD & MASK
    x ^= x >> 15
    x = x * 0x735A2D97 & MASK
    return x ^ x >> 15


def drawn(seed, neuron, number):
    return mix(mix((mix(seed) + neuron) & MASK) ^ mix(number))


def network(signed=False):
    rng = np.random.default_rng(2)
    net = es.Network()
    net.driven("in", NEURONS, threshold=100)
    net.spiking("hidden", NEURONS, threshold=3, signed=signed)
    net.readout("output", 5)
    net.connect("in", "hidden", rng.integers(-2, 4, (NEURONS, NEURONS)))
    net.connect("hidden", "output", rng.integers(-3, 4, (NEURONS, 5)), delay=0.5)
    net.bias("hidden", 1)
    return net, {"in": rng.integers(0, 90, NEURONS)}


def arriving(result, name, first, seed, lost, most):
    """(ticks, neurons, signs) of the spikes of a population that reach something, and when they leave; neurons are numbered from first."""
    had, kept = {}, []
    for tick, neuron, sign in zip(*(column.tolist() for column in result.spikes(name)), strict=True):
        number = had.get(neuron, 0)
        had[neuron] = number + 1
        draw = drawn(seed, first + neuron, number)
        if draw >= lost * 2**32:
            kept.append((tick + (mix(draw ^ 0x5BD1E995) * (most + 1) >> 32), neuron, sign))
    return kept


@pytest.mark.parametrize(("lost", "jitter"), [(0.25, 0), (0, 0.5), (0.5, 0.25), (1, 0)])
@pytest.mark.parametrize("resolution", [1, 20])
@pytest.mark.parametrize("signed", [False, True])
def test_what_arrives_is_what_was_not_lost(lost, jitter, resolution, signed):
    net, given = network(signed)
    seed, steps, most = 3, 8, int(jitter * resolution + 0.5)
    result = Imperfect(net, faults=Faults(lost=lost, jitter=jitter), seed=seed).run(given, steps=steps, resolution=resolution)
    ordinary = es.run(net, given, steps=steps, resolution=resolution)
    # Driven neurons fire as ever; what they reach is what an ordinary run makes of the spikes that remain.
    assert np.array_equal(ordinary.spikes("in").ticks, result.spikes("in").ticks)
    remaining = [spike for spike in arriving(result, "in", 0, seed, lost, most) if spike[0] <= steps * resolution]
    other = es.Network()
    other.source("in", NEURONS)
    other.populations["hidden"], other.populations["output"] = net.populations["hidden"], net.populations["output"]
    other.output = "output"
    other.projections += [net.projections[0]]
    other.bias("hidden", 1)
    events = [t / resolution for t, _, _ in remaining], [n for _, n, _ in remaining]
    expected = es.run(other, {"in": events}, steps=steps, resolution=resolution)
    assert expected.total_spikes > 20
    assert all(np.array_equal(a, b) for a, b in zip(expected.spikes("hidden"), result.spikes("hidden"), strict=True))
    # And likewise behind: half a step of delay.
    weights = net.projections[1].table.weights.astype(int)
    last = [
        spike for spike in arriving(result, "hidden", NEURONS, seed, lost, most) if spike[0] + (resolution + 1) // 2 <= steps * resolution
    ]
    assert result.readout[-1].tolist() == sum((sign * weights[n] for _, n, sign in last), np.zeros(5, int)).tolist()
    assert result.counts.deliveries[:, 1].sum() == len(last)
    if lost == 1:
        assert result.decision is None


def test_how_many_are_lost():
    """As often as the probability says, whatever the neuron and its spike."""
    net, given = es.Network(), {"in": np.full(2000, 100)}
    net.driven("in", 2000, threshold=100)
    net.readout("output", 1)
    net.connect("in", "output", np.ones((2000, 1), int))
    for seed in (0, 1):
        result = Imperfect(net, faults=Faults(lost=0.1), seed=seed).run(given, steps=20, resolution=1)
        assert result.counts.spikes[:, 0].sum() == 40_000
        arrived = result.counts.deliveries[:, 0]
        assert arrived.sum() / 40_000 == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 40_000))
        assert np.ptp(arrived) < 8 * np.sqrt(0.09 * 2000)


def test_no_network_does_that():
    net, _ = network()
    with pytest.raises(HardwareError, match="Imperfect"):
        with_faults(net, Faults(lost=0.1), 0)
    with pytest.raises(HardwareError, match=r"lost must be a number in 0\.\.1, found 2"):
        Faults(lost=2)
    with pytest.raises(HardwareError, match="a jitter of 100 steps is"):
        Imperfect(net, faults=Faults(jitter=100)).run({"in": [1] * NEURONS}, steps=1, resolution=2**29)

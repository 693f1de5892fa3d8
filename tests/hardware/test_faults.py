"""Faults change what they say, as often as they say, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es
from eventsim.errors import HardwareError, NetworkError
from eventsim.hardware.faults import PARTS, Faults, with_faults


def network(size=300):
    rng = np.random.default_rng(1)
    net = es.Network()
    net.driven("input", size, threshold=100)
    net.spiking("hidden", size, threshold=7, v0=3)
    net.readout("output", 10)
    net.connect("input", "hidden", 2 * rng.choice([-1, 1], (size, size)))
    net.connect("hidden", "output", rng.integers(-9, 10, (size, 10)))
    net.bias("hidden", 5)
    return net


def weights(net):
    return [p.table.weights for p in net.projections]


def test_without_faults_it_is_the_network():
    net = network()
    assert with_faults(net, Faults(), 3) == net


def test_flips():
    net = network()
    changed = with_faults(net, Faults(flips=0.02), 3)
    before, after = weights(net)[0], weights(changed)[0]
    assert np.array_equal(np.abs(after), np.abs(before))
    share = (after != before).mean()
    assert share == pytest.approx(0.02, abs=4 * np.sqrt(0.02 * 0.98 / before.size))
    # Other weights lie elsewhere; the same seed errs alike, another does not.
    assert all(np.array_equal(a, b) for a, b in zip(weights(net)[1:], weights(changed)[1:], strict=True))
    assert with_faults(net, Faults(flips=0.02), 3) == changed
    assert with_faults(net, Faults(flips=0.02), 4) != changed
    assert np.array_equal(weights(with_faults(net, Faults(flips=1), 0))[0], -before)


def test_cells_that_stick():
    net = network()
    low, high = (with_faults(net, Faults(**{name: 1.0}), 0) for name in ("stuck_at_0", "stuck_at_1"))
    assert (weights(low)[0] == -2).all()
    assert (weights(high)[0] == 2).all()
    some = weights(with_faults(net, Faults(stuck_at_0=0.1, stuck_at_1=0.2), 0))[0]
    before = weights(net)[0]
    # Of those that were positive a tenth has turned, of the others a fifth.
    assert (some[before > 0] < 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (some[before < 0] > 0).mean() == pytest.approx(0.2, abs=0.01)


def test_spread_is_in_parts_of_everything():
    net = network()
    # No spread to speak of: the same run in other units.
    same = with_faults(net, Faults(spread=1e-9), 0)
    given = {"input": np.arange(300)}
    one, other = (es.run(n, given, steps=5) for n in (net, same))
    assert one.spikes_per_population() == other.spikes_per_population()
    assert one.spikes_per_population()["hidden"] > 0
    assert np.array_equal(one.readout, other.readout)
    varied = np.abs(weights(with_faults(net, Faults(spread=0.1), 0))[0]) / (2 * PARTS)
    assert varied.mean() == pytest.approx(1, abs=0.002)
    assert varied.std() == pytest.approx(0.1, abs=0.002)


@pytest.mark.parametrize(
    "neurons",
    [
        {"leak": 2},
        {"leak": 1, "reset": "subtract", "amount": 5},
        {"leak": 1, "reset": "value", "amount": -3},
        {"reset": "zero", "decay": 4096},
        {"leak": 1, "current_decay": 4096},
    ],
)
def test_spread_is_in_parts_of_what_leaky_neurons_have(neurons):
    net = es.Network()
    net.source("input", 40)
    net.leaky("hidden", 40, threshold=7, v0=3, **neurons)
    net.leaky_readout("output", 10, leak=3, v0=2)
    rng = np.random.default_rng(1)
    net.connect("input", "hidden", 2 * rng.choice([-1, 1], (40, 40)))
    net.connect("hidden", "output", rng.choice([-1, 1], (40, 10)))
    same = with_faults(net, Faults(spread=1e-9), 0)
    given = {"input": (rng.integers(1, 9, 300).astype(float), rng.integers(0, 40, 300))}
    one, other = (es.run(n, given, steps=9, resolution=4) for n in (net, same))
    assert one.spikes_per_population() == other.spikes_per_population()
    assert one.spikes_per_population()["hidden"] > 20
    assert np.array_equal(PARTS * one.readout, other.readout)


def test_thresholds_that_vary_stay_above_what_a_spike_leaves_and_are_what_it_takes():
    net = es.Network()
    net.source("input", 1)
    net.leaky("to a value", 300, threshold=10, reset="value", amount=9)
    net.leaky("the threshold", 300, threshold=100)
    net.leaky("half of it", 300, threshold=100, amount=50)
    for name in list(net.populations)[1:]:
        net.connect("input", name, np.ones((1, 300), int))
    varied = with_faults(net, Faults(threshold_spread=0.5), 0).populations
    assert varied["to a value"].threshold.min() == 10
    assert varied["to a value"].threshold.max() > 12
    assert set(varied["to a value"].amount) == {9}
    assert len(set(varied["the threshold"].threshold)) > 50
    assert np.array_equal(varied["the threshold"].amount, varied["the threshold"].threshold)
    assert set(varied["half of it"].amount) == {50}


@pytest.mark.parametrize("neurons", [{"threshold": 2**24}, {"threshold": 1, "v0": -(2**24)}, {"threshold": 2**22, "leak": 2**24}])
def test_parts_that_leave_32_bits(neurons):
    net = es.Network()
    net.source("input", 2)
    net.leaky("hidden", 2, **neurons)
    net.connect("input", "hidden", [[1, -1], [1, 1]])
    with pytest.raises(NetworkError, match=r"hidden: .* in 1/256 of a weight must be in"):
        with_faults(net, Faults(spread=0.1), 0)


def test_thresholds():
    net = network()
    changed = with_faults(net, Faults(threshold_spread=0.2), 0).populations["input"].threshold
    assert changed.mean() == pytest.approx(100, abs=5)
    assert changed.std() == pytest.approx(20, abs=3)
    assert with_faults(net, Faults(threshold_spread=10), 0).populations["hidden"].threshold.min() == 1


def test_what_is_wrong():
    with pytest.raises(HardwareError, match=r"flips must be a number in 0\.\.1, found 1\.5"):
        Faults(flips=1.5)
    with pytest.raises(HardwareError, match="more than 1 together"):
        Faults(stuck_at_0=0.6, stuck_at_1=0.6)
    net = es.Network()
    net.driven("input", 2, threshold=1)
    net.readout("output", 1)
    net.connect("input", "output", [[1], [2]])
    with pytest.raises(HardwareError, match="no binary weights"):
        with_faults(net, Faults(flips=0.1), 0)

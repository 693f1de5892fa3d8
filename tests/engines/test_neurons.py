"""What a neuron does in one tick, worked out by hand: ties, refractory periods, signs, resets, currents."""

from __future__ import annotations

import numpy as np
import pytest
from judges.small_networks import at_ticks, one_neuron

from eventsim.model.network import Network
from eventsim.model.tables import Dense


def test_tie_fires(engine):
    # Two spikes of weight 3 at ticks 2 and 5: V reaches 6 exactly at tick 5.
    counts, spikes = engine(one_neuron([3], threshold=6), at_ticks(8, (2, 0), (5, 0)), steps=1, resolution=8)
    assert spikes.of("n") == [(5, 0, 1)]
    assert counts.readout["out"].tolist() == [[1]]
    # One less than the threshold does not.
    assert engine(one_neuron([3], threshold=7), at_ticks(8, (2, 0), (5, 0)), steps=1, resolution=8)[1].of("n") == []


def test_one_spike_per_tick_then_again(engine):
    # 7 at tick 3 with threshold 3: spikes at ticks 3 and 4, then 1 is left. v0 = 4 fires at tick 1 and leaves 1.
    _, spikes = engine(one_neuron([7], threshold=3, v0=4), at_ticks(8, (3, 0)), steps=1, resolution=8)
    assert spikes.of("n") == [(1, 0, 1), (3, 0, 1), (4, 0, 1)]  # 1 + 7 = 8 = 2 * 3 + 2


def test_same_tick_deliveries_are_summed_before_firing(engine):
    # +5 and -3 in one tick make 2 < 4: whatever comes first, no spike; repeated events each count.
    net = one_neuron([5, -3], threshold=4)
    counts, spikes = engine(net, at_ticks(8, (2, 0), (2, 1)), steps=1, resolution=8)
    assert spikes.of("n") == []
    assert counts.deliveries.tolist() == [[2, 0]]
    # 2 * 5 - 3 = 7 >= 4 once; 3 is left.
    counts, spikes = engine(net, at_ticks(8, (2, 0), (2, 1), (2, 0)), steps=1, resolution=8)
    assert spikes.of("n") == [(2, 0, 1)]
    assert counts.deliveries.tolist() == [[3, 1]]


def test_refractory_neuron_is_looked_at_at_the_first_allowed_tick(engine):
    # 0.35 steps of 10 ticks are floor(3.5 + 0.5) = 4. Weight 3 at tick 2 against threshold 1: spikes at 2, 6, 10.
    net = one_neuron([3, -2, -1], threshold=1, refractory=0.35)
    assert engine(net, at_ticks(10, (2, 0)), steps=2, resolution=10)[1].of("n") == [(2, 0, 1), (6, 0, 1), (10, 0, 1)]
    # Inhibition in between, or at the very tick of the look, cancels it; V is 0, so nothing follows.
    for tick in (5, 6):
        assert engine(net, at_ticks(10, (2, 0), (tick, 1)), steps=2, resolution=10)[1].of("n") == [(2, 0, 1)]
    # V = 2 after tick 2; -2 at tick 4 and +3 at tick 5 make 3: due again, and fires at 6, not at 5.
    assert engine(net, at_ticks(10, (2, 0), (4, 1), (5, 0)), steps=2, resolution=10)[1].of("n") == [
        (2, 0, 1),
        (6, 0, 1),
        (10, 0, 1),
        (14, 0, 1),
    ]


def test_refractory_allows_a_spike_by_delivery_exactly_then(engine):
    # Weight 1 = threshold, 3 ticks of refractory period (0.375 * 8): events at 2, 5 fire at 2, 5; at 2, 4 fire at 2, 5.
    net = one_neuron([1], threshold=1, refractory=0.375)
    for second in (4, 5):
        assert engine(net, at_ticks(8, (2, 0), (second, 0)), steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (5, 0, 1)]


def test_signed_neuron_takes_back_a_spike(engine):
    net = one_neuron([4, -5], threshold=4, signed=True)
    # 4 at tick 2: +1, V = 0. -5 at tick 4: V = -5 < 0 and net 1: -1, V = -1. Still below 0, but net 0: no further one.
    counts, spikes = engine(net, at_ticks(8, (2, 0), (4, 1)), steps=1, resolution=8)
    assert spikes.of("n") == [(2, 0, 1), (4, 0, -1)]
    assert counts.readout["out"].tolist() == [[0]]
    assert counts.spikes.tolist() == [[0, 2, 0]]
    assert counts.negative_spikes.tolist() == [[0, 1, 0]]
    # Inhibition first: net is 0, so V = -5 stays, and 4 + 4 - 5 = 3 < 4 never fires.
    assert engine(net, at_ticks(8, (2, 1), (4, 0), (5, 0)), steps=1, resolution=8)[1].of("n") == []
    # Two spikes taken back, one a tick: 8 at tick 2 -> +1 at 2 and 3; -10 at tick 5: V = -10 -> -6 -> -2, net 0.
    twice = at_ticks(8, (2, 0), (2, 0), (5, 1), (5, 1))
    assert engine(net, twice, steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (3, 0, 1), (5, 0, -1), (6, 0, -1)]
    # Exactly 0 is not below 0.
    assert engine(one_neuron([4, -4], threshold=4, signed=True, v0=4), at_ticks(8, (2, 0), (4, 1)), steps=1, resolution=8)[1].of("n") == [
        (1, 0, 1),
        (2, 0, 1),
        (4, 0, -1),  # V = -4 -> 0
    ]


def test_signed_spikes_obey_the_refractory_period(engine):
    # 4 ticks (0.5 * 8). +1 at tick 2; V = -5 at tick 3 must wait until tick 6; at tick 5 it has been repaired in the second case.
    net = one_neuron([4, -5], threshold=4, signed=True, refractory=0.5)
    assert engine(net, at_ticks(8, (2, 0), (3, 1)), steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (6, 0, -1)]
    repaired = at_ticks(8, (2, 0), (3, 1), (5, 0), (5, 0))  # V = -5 + 8 = 3: neither due
    assert engine(net, repaired, steps=1, resolution=8)[1].of("n") == [(2, 0, 1)]


def test_negative_spikes_carry_negated_weights(engine):
    # -128 is the int8 whose negation is no int8: the readout must return to 0 exactly.
    net = Network()
    net.source("src", 2)
    net.spiking("n", 1, 4, signed=True)
    net.readout("out", 2)
    net.connect("src", "n", Dense([[4], [-4]]))
    net.connect("n", "out", Dense([[-128, 127]]), delay=1)
    net.bias("out", [1, 0])
    counts, _ = engine(net, {"src": ([1, 2, 3], [0, 1, 1])}, steps=4, resolution=1)
    # The spike +1 at step 1 arrives at step 2; V = -4 at step 2 is taken back at once and arrives at step 3.
    assert counts.readout["out"].tolist() == [[1, 0], [2 - 128, 127], [3, 0], [4, 0]]


def test_zero_reset_forgets_the_excess(engine):
    # 7 with threshold 3: one spike instead of two, and 2 more do not fire.
    net = one_neuron([7, 2], threshold=3, reset="zero")
    assert engine(net, at_ticks(8, (3, 0), (6, 1)), steps=1, resolution=8)[1].of("n") == [(3, 0, 1)]
    subtract = one_neuron([7, 2], threshold=3)  # 7 = 2 * 3 + 1, and 1 + 2 = 3 fires
    assert engine(subtract, at_ticks(8, (3, 0), (6, 1)), steps=1, resolution=8)[1].of("n") == [(3, 0, 1), (4, 0, 1), (6, 0, 1)]


def test_zero_reset_during_the_refractory_period(engine):
    # It integrates on while it may not fire: 3 at tick 2 fires and resets, 2 + 2 at ticks 3 and 4 are due, fire at 6 (0.5 * 8 = 4 later).
    net = one_neuron([3, 2], threshold=3, reset="zero", refractory=0.5)
    assert engine(net, at_ticks(8, (2, 0), (3, 1), (4, 1)), steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (6, 0, 1)]


@pytest.mark.parametrize("resolution", [1, 3, 10, 64])
@pytest.mark.parametrize("refractory", [0, 0.3, 2])
def test_driven_closed_form_equals_stepping_every_tick(engine, resolution, refractory):
    rng = np.random.default_rng(resolution)
    n, steps = 40, 12
    theta, v0, current = rng.integers(1, 30, n), rng.integers(-40, 90, n), rng.integers(-30, 60, n)
    net = Network()
    net.driven("in", n, theta, v0=v0, refractory=refractory)
    _, spikes = engine(net, {"in": current}, steps=steps, resolution=resolution)
    period = max(1, int(refractory * resolution + 0.5))
    expected = []
    count, last = [0] * n, [-(10**6)] * n
    for t in range(1, steps * resolution + 1):
        for i in range(n):
            v = v0[i] + current[i] * t // resolution - theta[i] * count[i]
            if v >= theta[i] and t - last[i] >= period:
                expected.append((t, i, 1))
                count[i], last[i] = count[i] + 1, t
    assert spikes.of("in") == expected
    assert len(expected) > n


def test_driven_spike_times_at_full_resolution(engine):
    # I = 3, theta = 7, R = 2**20: spike n at ceil(7 n R / 3); in 5 steps 15 units make 2 spikes.
    net = Network()
    net.driven("in", 1, 7)
    _, spikes = engine(net, {"in": [3]}, steps=5, resolution=2**20)
    assert spikes.of("in") == [(2446678, 0, 1), (4893355, 0, 1)]  # 7340032 / 3 = 2446677.3, 14680064 / 3 = 4893354.7

"""Potentials near and beyond the range of int32."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import INT32_MAX, both_overflow, run_both
from judges.small_networks import at_ticks, one_neuron, votes

from eventsim.errors import NetworkError
from eventsim.job.preparation import prepare
from eventsim.model.network import Network
from eventsim.model.tables import Conv2d, Dense


@pytest.mark.parametrize("sign", [1, -1])
def test_readout_beyond_int32_is_an_error(sign):
    edge = INT32_MAX if sign > 0 else -INT32_MAX - 1
    net = votes([sign * 2**30], v0=edge - sign * 2**30)
    both_overflow(net, at_ticks(8, (2, 0), (11, 0)), tick=11, name="out", steps=2)
    counts, _ = run_both(prepare(net, at_ticks(8, (2, 0)), steps=2, resolution=8))  # the edge itself is allowed
    assert counts.readout["out"][-1].tolist() == [edge]


def test_spiking_beyond_int32_is_an_error():
    # The neuron would fire and subtract, but it has to hold the sum first.
    net = one_neuron([2**30], threshold=2**31 - 1, v0=2**30 - 1)
    both_overflow(net, at_ticks(8, (2, 0), (2, 0)), tick=2, name="n")
    # v0 at the edge of int32, a large threshold (so that V - threshold is far from the edge), and a small push.
    net = one_neuron([5], threshold=2**30, v0=INT32_MAX)
    both_overflow(net, at_ticks(8, (1, 0)), tick=1, name="n")
    # A tick later it has fired and has room.
    _, spikes = run_both(prepare(net, at_ticks(8, (2, 0)), steps=1, resolution=8))
    assert spikes.of("n") == [(1, 0, 1), (2, 0, 1)]  # 2**31 - 1 = 2**30 + (2**30 - 1), + 5 - 2**30 = 4 left


def test_refractory_neuron_beyond_int32_is_an_error():
    net = one_neuron([5], threshold=2**30, v0=INT32_MAX, refractory=1)
    # Tick 1: V = 2**30 - 1. 2**30 more need 2**30 / 5 events, so use a second source of large weight.
    net.source("big", 1)
    net.connect("big", "n", Dense([[2**30]]))
    # V = 2**31 - 1 at tick 2, refractory until 9; 5 more at tick 3 leave the range.
    events = at_ticks(8, (3, 0)) | {"big": ([2 / 8], [0])}
    both_overflow(net, events, tick=3, name="n", steps=2)


def test_negative_beyond_int32_is_an_error():
    net = one_neuron([-(2**30)], threshold=2**30, v0=-(2**30))
    counts, _ = run_both(prepare(net, at_ticks(8, (2, 0)), steps=1, resolution=8))  # -2**31 is allowed
    assert counts.spikes.sum() == 0
    both_overflow(net, at_ticks(8, (2, 0), (4, 0)), tick=4, name="n")


def test_first_population_of_the_tick_is_named():
    net = votes([2**30], v0=2**30)
    net.readout("second", 1, v0=2**30)
    net.connect("src", "second", Dense([[2**30]]))
    both_overflow(net, at_ticks(8, (2, 0)), tick=2, name="out")


def test_large_weights_may_cancel_within_a_tick():
    # 8 times +-(2**31 - 1) in one tick, their sum 3: beyond int32 in between, in any order, but not at the end.
    weights = [INT32_MAX, -INT32_MAX] * 4 + [3]
    net = one_neuron(weights, threshold=3, v0=0)
    net.connect("src", "out", Dense(np.array(weights).reshape(-1, 1)))
    events = at_ticks(8, *((2, i) for i in range(9)))
    counts, spikes = run_both(prepare(net, events, steps=1, resolution=8))
    assert spikes.of("n") == [(2, 0, 1)]
    assert counts.readout["out"].tolist() == [[4]]
    # In the next tick as well, and an overflow after that is still seen.
    events = at_ticks(8, *((2, i) for i in range(9)), *((3, i) for i in range(9)), (5, 0), (6, 0))
    both_overflow(net, events, tick=5, name="out")


def test_signed_neuron_far_below_zero_does_not_fire():
    # V close to -2**31 and a threshold: V - threshold does not fit int32, and net is 0, so there is nothing to take back.
    net = one_neuron([-1, 1], threshold=100, v0=-INT32_MAX, signed=True)
    counts, spikes = run_both(prepare(net, at_ticks(8, (2, 0), (4, 1)), steps=1, resolution=8))
    assert spikes.all() == {}
    assert counts.deliveries.tolist() == [[2, 0]]


def test_signed_neuron_takes_back_from_far_below_zero():
    # +1 at tick 1 (V = 0 after it); -(2**31 - 1) at tick 2: one spike back, V = 100 - (2**31 - 1), then nothing more.
    net = one_neuron([-INT32_MAX], threshold=100, v0=100, signed=True)
    _, spikes = run_both(prepare(net, at_ticks(8, (2, 0)), steps=1, resolution=8))
    assert spikes.of("n") == [(1, 0, 1), (2, 0, -1)]


def test_largest_threshold_and_weights(engine):
    # 2**31 - 1 is threshold and weight: a tie; zero reset leaves V - threshold at its least.
    for reset in ("subtract", "zero"):
        net = one_neuron([INT32_MAX], threshold=INT32_MAX, reset=reset)
        assert engine(net, at_ticks(8, (2, 0), (4, 0)), steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (4, 0, 1)]


def test_pooled_weights_beyond_int32_are_refused():
    # Two taps of 2**31 - 1 that pooling adds up would be -2 in 32 bits.
    net = Network()
    net.source("src", (2, 1, 1))
    net.readout("out", (1, 1, 1))
    with pytest.raises(NetworkError, match="pool_after"):
        net.connect("src", "out", Conv2d(np.full((2, 1, 1, 1), INT32_MAX), padding=(1, 0), pool_after=(2, 1)))
    # The largest that is sure to fit, twice 2**30 - 1, arrives whole.
    net.connect("src", "out", Conv2d(np.full((2, 1, 1, 1), 2**30 - 1), padding=(1, 0), pool_after=(2, 1)))
    counts, _ = run_both(prepare(net, at_ticks(8, (2, 0)), steps=1, resolution=8))
    assert counts.readout["out"].tolist() == [[INT32_MAX - 1]]

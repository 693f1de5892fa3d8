"""Driven neurons that only sink, or rise for ever."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import Spikes, run_both, run_reference

from eventsim.job.preparation import prepare
from eventsim.model.network import Network


@pytest.mark.parametrize("resolution", [1, 3, 2**20])
@pytest.mark.parametrize("refractory", [0, 2])
@pytest.mark.parametrize("v0", [0, 30])
def test_a_driven_neuron_may_sink_for_ever(resolution, refractory, v0):
    """With v0 = 30 it spikes until it is below its threshold; its neighbours go on as before, from rasters when clocked."""
    rng = np.random.default_rng(1)
    net = Network()
    net.driven("in", 40, 10, v0=v0, refractory=refractory)
    net.spiking("n", 5, 4)
    net.readout("out", 3)
    net.connect("in", "n", rng.choice([-1, 1], (40, 5)))
    net.connect("n", "out", rng.integers(-3, 4, (5, 3)))
    steps = 12 if resolution > 3 else 40
    falling = rng.integers(0, 2, 40) > 0
    currents = np.where(falling, -(10**9), rng.integers(0, 30, 40))
    currents[falling] += rng.integers(-1000, 1000, falling.sum())
    currents[0] = -1
    counts, spikes = run_both(prepare(net, {"in": currents}, steps=steps, resolution=resolution))
    neurons = {neuron for _, neuron, _ in spikes.of("in")}
    assert {i for i in range(40) if currents[i] >= 10} <= neurons
    assert v0 or not neurons & set(np.flatnonzero(falling))
    # What holds for the sinking ones alone is told from what they do in few steps, in which nothing leaves int32.
    if not refractory:
        few = run_reference(prepare(net, {"in": np.maximum(currents, -1000)}, steps=steps, resolution=resolution), Spikes())
        assert v0 or few.spikes.tolist() == counts.spikes.tolist()


@pytest.mark.parametrize("resolution", [1, 8, 2**20])
@pytest.mark.parametrize("refractory", [0, 4])
def test_a_driven_neuron_may_rise_for_ever(resolution, refractory):
    """A period holds back its spikes: it spikes as often as it may, and one from far below when it should."""
    period = 4 * resolution if refractory else 1
    steps = 9 if refractory or resolution == 1 else 1
    net = Network()
    net.driven("in", 3, [10, 2**30, 10], v0=[0, -(2**31), 0], refractory=refractory)
    net.readout("out", 3)
    net.connect("in", "out", np.eye(3, dtype=int))
    counts, spikes = run_both(prepare(net, {"in": [2**31 - 1, 2**30, -(2**31) + 1]}, steps=steps, resolution=resolution, max_spikes=1000))
    ticks = [tick for tick, neuron, _ in spikes.of("in") if neuron == 0]
    assert np.all(np.diff(ticks) == period)
    assert {neuron for _, neuron, _ in spikes.of("in")} == ({0, 1} if steps == 9 else {0})
    if steps == 9:
        later = [tick for tick, neuron, _ in spikes.of("in") if neuron == 1]
        assert later == list(range(3 * resolution, counts.end_tick + 1, period))

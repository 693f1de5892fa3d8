"""Neurons of the reference engine, one at a time, against what the page on semantics says."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim.engines.reference import neurons as kinds
from eventsim.engines.reference.kinds import KINDS
from eventsim.engines.reference.synapses import Synapses
from eventsim.job.job import OPERATIONS
from eventsim.job.preparation import prepare
from eventsim.model.network import Network
from eventsim.model.registry import POPULATIONS
from eventsim.model.tables import Conv2d

INT32_MAX = 2**31 - 1


def test_every_kind_of_population_has_its_class():
    assert set(KINDS) == set(POPULATIONS)


@pytest.mark.parametrize("salt", range(20))
def test_driven_neurons_are_looked_at_when_they_fire_and_never_else(salt):
    """Tick by tick: V = v0 + floor(I t / R) - threshold * spikes; a due neuron fires once its refractory period is over."""
    rng = np.random.default_rng(salt)
    resolution, threshold = int(rng.integers(1, 12)), int(rng.integers(1, 30))
    current, v0 = int(rng.integers(-40, 60)), int(rng.integers(-30, 90))
    refractory = int(rng.integers(0, 5))
    net = Network()
    net.driven("in", 1, threshold, v0=v0, refractory=refractory / resolution)
    job = prepare(net, {"in": [current]}, steps=6, resolution=resolution)
    neurons = kinds.Driven("in", net.populations["in"], job)
    fired, last, expected = 0, -100, []
    for tick in range(1, job.end + 1):
        if v0 + current * tick // resolution - threshold * fired >= threshold and tick - last >= max(1, refractory):
            fired, last = fired + 1, tick
            expected.append(tick)
    ticks, tick = [], neurons.next_look(0, 0)
    while tick is not None and tick <= job.end:
        assert neurons.fire(0, tick) == 1
        ticks.append(tick)
        tick = neurons.next_look(0, tick)
    assert ticks == expected
    assert neurons.potentials(job.end) == [v0 + current * job.end // resolution - threshold * fired]


def spiking(**settings):
    """One spiking neuron of threshold 5; a tick is a step."""
    net = Network()
    net.spiking("n", 1, 5, **settings)
    return kinds.Spiking("n", net.populations["n"], prepare(net, None, steps=20, resolution=1))


def test_a_spiking_neuron_fires_at_its_threshold_and_keeps_the_rest():
    n = spiking()
    n.deliver(0, 1, [(0, 2), (0, 2)])
    assert (n.fire(0, 1), n.next_look(0, 1)) == (0, None)
    n.deliver(0, 1, [(0, 7)])
    # 11: two spikes, one a tick.
    assert (n.fire(0, 2), n.v, n.next_look(0, 2)) == (1, [6], 3)
    assert (n.fire(0, 3), n.v, n.next_look(0, 3)) == (1, [1], None)
    n.deliver(0, -1, [(0, 9)])
    assert (n.fire(0, 4), n.v, n.net) == (0, [-8], [2])  # it is not signed


def test_a_reset_to_zero_forgets_the_rest():
    n = spiking(reset="zero")
    n.deliver(0, 1, [(0, 11)])
    assert (n.fire(0, 1), n.v, n.next_look(0, 1)) == (1, [0], None)


def test_a_signed_neuron_takes_back_no_more_than_it_has_fired():
    n = spiking(signed=True)
    n.deliver(0, 1, [(0, 5)])
    assert n.fire(0, 1) == 1
    n.deliver(0, -1, [(0, 12)])
    assert (n.fire(0, 2), n.v, n.net, n.next_look(0, 2)) == (-1, [-7], [0], None)
    assert n.fire(0, 3) == 0


def test_a_neuron_waits_for_the_end_of_its_refractory_period():
    n = spiking(refractory=3)
    n.deliver(0, 1, [(0, 10)])
    assert (n.fire(0, 2), n.next_look(0, 2)) == (1, 5)
    n.deliver(0, 1, [(0, 1)])
    assert (n.fire(0, 4), n.next_look(0, 4)) == (0, 5)
    assert (n.fire(0, 5), n.v) == (1, [1])


def test_what_a_spike_reaches_and_counts_as():
    """A convolution whose pool after it sums two outputs at each target: pooled, two synapses are one addition."""
    net = Network()
    net.source("src", (1, 4, 1))
    net.spiking("n", (1, 1, 1), 1)
    net.connect("src", "n", Conv2d(np.array([[1, 0, -1]]).reshape(1, 3, 1, 1), pool_after=(1, 2)))
    synapses = Synapses(net)
    reach = synapses.reach("src->n", 1)
    assert sorted(reach.synapses) == [(0, 0), (0, 1)]
    assert reach.targets == {0}
    counts = dict(zip(OPERATIONS, reach.operations, strict=True))
    assert counts == {"deliveries": 1, "synaptic_events": 2, "additions": 1, "toolbox": 3, "effective": 1}
    assert synapses.reach("src->n", 1) is reach

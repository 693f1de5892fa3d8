"""Another refractory period for the neurons of a network."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import compare
from judges.graphs import random_graph

import eventsim as es
from eventsim.conversion import graph as g

IMAGES = np.random.default_rng(2).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def periods(network):
    return {name: p.refractory for name, p in network.populations.items() if p.fires and not p.is_clock}


def test_layers_behind_the_first_get_it():
    net = es.Network()
    net.image_input((2, 2, 1))
    net.driven("in", (2, 2, 1), 3, refractory=1, encoder=es.Conv2d(np.ones((1, 1, 1, 1), int)))
    net.spiking("mid", 3, 2)
    net.leaky("leaky", 3, 2, decay=2048, refractory=2)
    net.readout("out", 2)
    net.connect("in", "mid", np.ones((4, 3), int))
    net.connect("mid", "leaky", np.ones((3, 3), int))
    net.connect("leaky", "out", np.ones((3, 2), int))
    changed = es.with_refractory(net, 0.75)
    assert periods(changed) == {"in": 1, "mid": 0.75, "leaky": 0.75}
    assert periods(net) == {"in": 1, "mid": 0, "leaky": 2}
    for bad in (-1, float("nan"), "1", True):
        with pytest.raises(es.NetworkError, match="number of steps"):
            es.with_refractory(net, bad)


@pytest.mark.parametrize("seed", range(3))
def test_clocked_runs_stay_and_asynchronous_ones_keep_the_new_period(seed):
    made = es.convert(random_graph(seed), IMAGES, check=False)
    changed = es.with_refractory(made.network, 0.75)
    spread = 0
    for image in IMAGES:
        before, after = (es.run(network, image, steps=6, resolution=1) for network in (made.network, changed))
        assert np.array_equal(before.readout, after.readout)
        assert before.spikes_per_population() == after.spikes_per_population()
        run = compare(changed, image, steps=6, resolution=64)
        for name in (name for name, period in periods(changed).items() if period == 0.75):
            spikes = run.spikes(name)
            gaps = [np.diff(np.sort(spikes.ticks[spikes.neurons == n])) for n in np.unique(spikes.neurons)]
            least = min((gap.min() for gap in gaps if len(gap)), default=48)
            assert least >= 48
            spread += least < 64
    assert spread  # (some neuron fired sooner than a period of one step would let it)


def test_it_is_what_convert_would_have_made():
    for seed in range(3):
        made = es.convert(random_graph(seed), IMAGES, check=False)
        asked = es.convert(random_graph(seed), IMAGES, refractory=0.75, check=False)
        assert es.Simulator(es.with_refractory(made.network, 0.75)).digest() == es.Simulator(asked.network).digest()


def test_neurons_that_spike_once_are_refused():
    signs = g.Graph()
    at = signs.add(g.Linear(np.ones((4, 192))), (signs.add(g.Flatten(), (signs.add(g.Input((3, 8, 8))),)),))
    at = signs.add(g.Linear(np.eye(4)), (signs.add(g.Sign(), (at,)),))
    signs.add(g.Linear(np.eye(4)), (signs.add(g.Sign(), (at,)),))
    made = es.convert(signs, IMAGES, check=False)
    with pytest.raises(es.NetworkError, match="spike once"):
        es.with_refractory(made.network, 0.75)

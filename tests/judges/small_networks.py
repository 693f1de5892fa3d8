"""Networks small enough to work out by hand what they do."""

from __future__ import annotations

import numpy as np

from eventsim.model.network import Network
from eventsim.model.tables import Dense


def one_neuron(weights=(1,), **neuron):
    """An event source with a neuron per weight, driving one neuron ``n``, which drives a readout ``out`` with weight 1."""
    net = Network()
    net.source("src", len(weights))
    net.spiking("n", 1, **neuron)
    net.readout("out", 1)
    net.connect("src", "n", Dense(np.array(weights).reshape(-1, 1)))
    net.connect("n", "out", Dense([[1]]))
    return net


def at_ticks(resolution, *pairs):
    """Events (tick, neuron) as (times in steps, neurons); the resolutions used with it are powers of two or 10."""
    return {"src": ([tick / resolution for tick, _ in pairs], [neuron for _, neuron in pairs])}


def votes(*weights, v0=0):
    """A source whose neurons vote for the outputs with the given rows of weights."""
    net = Network()
    net.source("src", len(weights))
    net.readout("out", len(weights[0]), v0=v0)
    net.connect("src", "out", Dense(np.array(weights)))
    return net


def chain(threshold=1, weights=(1,), **neuron):
    """A source of events, a neuron, and a readout."""
    net = Network()
    net.source("src", len(weights))
    net.spiking("n", 1, threshold, **neuron)
    net.readout("out", 2)
    net.connect("src", "n", Dense(np.array(weights).reshape(-1, 1)))
    net.connect("n", "out", Dense([[1, 0]]))
    return net

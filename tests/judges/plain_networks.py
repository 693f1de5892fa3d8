"""Networks of neurons that other simulators of hardware have, too, and a chip for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.batch.study import delayed
from judges.random_networks import random_case

CHIP = """
name = "a chip, with costs"
[chip]
columns = 9
rows = 8
cores_per_tile = 3
step_us = 0
synchronisation = "barrier"
barrier_ns = { 1 = 3, 5 = 8 }
[links]
east_west_ns = 4.1
east_west_pj = 3
north_south_ns = 6.5
north_south_pj = 4.25
[core]
kind = "event"
neurons = 17
update_when = "potential"
message_in_ns = 16
message_in_pj = 0.5
synapse_ns = 3
synapse_pj = 35.5
access_ns = 6
access_pj = 51
update_ns = 4
update_pj = 22
spike_ns = 30
spike_pj = 69
message_out_ns = 5
message_out_pj = 111
"""


def random_networks(delay):
    """Numbered cases of neurons that SANA-FE has, half of them with initial potentials, with this delay of all but biases."""
    for i in range(250):
        case = random_case(np.random.default_rng([29, i]), 1)
        if all(p.kind in ("driven", "spiking", "readout", "source") for p in case.network.populations.values()):
            projections = [p if case.network.populations[p.source].is_clock else replace(p, delay=delay) for p in case.network.projections]
            populations = {name: plain(p, bool(i % 2)) for name, p in case.network.populations.items()}
            yield i, replace(case, network=replace(case.network, populations=populations, projections=projections))


def plain(population, potential=True):
    """Neurons that SANA-FE has."""
    changes = {"spiking": {"signed": False, "refractory": 0}, "driven": {"refractory": 0}}
    population = replace(population, **changes.get(population.kind, {}))
    return population if potential or population.v0 is None else population.with_initial(np.zeros_like(population.v0))


def mlp():
    """The shipped network with plain neurons, each layer a step behind the one before; its image."""
    network = es.load(ROOT / "networks" / "mlp-mnist.h5")
    network = replace(network, populations={name: plain(p) for name, p in network.populations.items()})
    return delayed(network, 1.0), np.asarray(Image.open(ROOT / "datasets" / "samples" / "digit-7.png"))

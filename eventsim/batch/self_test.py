"""A small run whose result tells whether another process runs the same simulator: what evaluations compare before they take results."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

from eventsim.job.job import OPERATIONS
from eventsim.model.network import Network
from eventsim.model.tables import Conv2d
from eventsim.simulate import EngineName, Simulator

_STEPS = 6
_RESOLUTIONS = (1, 2**20)
# Every column of the counts, in a fixed order.
_COUNTS = ("spikes", "negative_spikes", "first_tick", *OPERATIONS)


def _network() -> Network:
    """Pixels, a signed and a plain population, pooling, biases and a delay: a little of everything that an evaluation uses."""
    rng = np.random.default_rng(2020)
    net = Network()
    net.image_input((8, 8, 1))
    net.driven("pixels", (8, 8, 2), 700, v0=350, encoder=Conv2d(rng.integers(-3, 4, (3, 3, 1, 2)), padding=1))
    net.spiking("signed", (4, 4, 8), 3, v0=1, signed=True, refractory=1)
    net.spiking("plain", 16, 4, v0=2)
    net.readout("out", 5)
    net.connect("pixels", "signed", Conv2d(rng.choice([-1, 1], (3, 3, 2, 8)), padding=1, pool_after=2))
    net.connect("signed", "plain", rng.choice([-1, 1], (128, 16)), delay=0.5)
    net.connect("plain", "out", rng.integers(-9, 10, (16, 5)))
    net.bias("signed", rng.integers(-1, 2, 8))
    return net


@cache
def digest(engine: EngineName = "auto") -> str:
    """SHA-256 (hex) of all spikes, counts and readouts of a fixed small network, clocked and asynchronous.

    The same for every engine that follows the contract; ``"reference"`` compiles nothing.
    """
    network = _network()
    simulator = Simulator(network)
    image = np.random.default_rng(14).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    hashed = hashlib.sha256()
    for resolution in _RESOLUTIONS:
        result = simulator.run(image, steps=_STEPS, resolution=resolution, engine=engine)
        counts = result.counts
        for name in _COUNTS:
            hashed.update(np.ascontiguousarray(getattr(counts, name), np.int64).data)
        hashed.update(np.ascontiguousarray(counts.readout["out"], np.int64).data)
        hashed.update(f"{counts.end_tick} {counts.decision} {counts.decision_tick}".encode())
        for name, population in network.populations.items():
            if population.sends_spikes:
                for column in result.spikes(name):
                    hashed.update(np.ascontiguousarray(column, np.int64).data)
    return hashed.hexdigest()

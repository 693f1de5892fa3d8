"""A network's digest depends on what a run depends on, and on nothing else."""

from __future__ import annotations

import numpy as np

import eventsim as es
from eventsim.model.digest import network_digest


def network(weight=1, threshold=5, delay=0.0, label="a", dtype=np.int8):
    net = es.Network(labels=[label], provenance={"note": label})
    net.driven("in", 2, threshold)
    net.readout("out", 1)
    net.connect("in", "out", np.full((2, 1), weight, dtype), delay=delay)
    return net


def test_digest(tmp_path):
    digest = network_digest(network())
    assert digest == network_digest(network(label="b", dtype=np.int32))
    others = [network(weight=2), network(threshold=6), network(delay=1), network(weight=300, dtype=np.int16)]
    assert len({digest, *map(network_digest, others)}) == 5
    for i, net in enumerate([network(), *others]):
        es.save(net, tmp_path / f"{i}.h5")
        assert network_digest(es.load(tmp_path / f"{i}.h5")) == network_digest(net)

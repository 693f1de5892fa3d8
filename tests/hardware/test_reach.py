"""Where spikes lead on a chip: runs of target neurons, against the synapses of tables one by one."""

from __future__ import annotations

import numpy as np
import pytest
from judges.random_networks import random_grouped, random_table

import eventsim as es
from eventsim.engines.queue.tables import compile_tables
from eventsim.hardware.converters import largest_weights
from eventsim.hardware.reach import reach_of


def network_of(rng, make):
    """Two populations and a table between them."""
    shape = tuple(int(n) for n in rng.integers(1, 6, 3))
    table = make(rng, shape)
    if isinstance(table, tuple):
        table = table[0]
    net = es.Network()
    net.source("source", shape, "events")
    net.readout("readout", table.output_shape(shape))
    net.connect("source", "readout", table)
    return net


@pytest.mark.parametrize("make", [random_grouped, random_table])
@pytest.mark.parametrize("seed", range(25))
def test_runs_are_the_pairs_that_have_a_synapse(make, seed):
    """Each pair of neurons once, and the largest weight between two."""
    net = network_of(np.random.default_rng(seed), make)
    (projection,), shapes = net.projections, [net.populations[name].shape for name in ("source", "readout")]
    reach, size = reach_of(net, projection), int(np.prod(shapes[0]))
    found = [
        (site * reach.divisor + k, neuron)
        for site, start, stop in zip(reach.site.tolist(), reach.start.tolist(), reach.stop.tolist(), strict=True)
        for k in range(reach.divisor)
        for neuron in range(start, stop)
    ]
    weights = {}
    for n in range(size):
        for m, weight in projection.table.synapses_from(n, *shapes):
            weights[n, m] = weights.get((n, m), 0) + weight
    assert sorted(found) == sorted(weights)
    assert reach.sites * reach.divisor == size
    assert len(found) == reach.synapses()
    assert np.all(np.diff(reach.site) >= 0)
    assert largest_weights(net, compile_tables(net)) == {"readout": max(map(abs, weights.values()), default=0)}

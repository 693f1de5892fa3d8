"""Engines for tests that hold for each of them."""

from __future__ import annotations

import pytest
from judges.engines import ENGINES, Spikes

from eventsim.job.preparation import prepare
from eventsim.model.order import feed_forward_order


@pytest.fixture(params=ENGINES)
def engine(request):
    """A function that runs a network and returns counts and spikes."""

    def run(net, inputs=None, *, steps, resolution, exit_rule=None, seed=0):
        spikes = Spikes()
        job = prepare(net, inputs, steps=steps, resolution=resolution, exit_rule=exit_rule, seed=seed)
        if request.param == "layered" and feed_forward_order(net) is None:
            pytest.skip("the network has a cycle")
        return ENGINES[request.param](job, spikes), spikes

    return run

"""Orders of populations, and parts of networks."""

from __future__ import annotations

import numpy as np
from judges.evaluations import small_network

import eventsim as es
from eventsim.model.order import leading_to


def test_what_leads_to_a_population_spikes_alone_as_in_the_whole():
    net, rng = small_network(), np.random.default_rng(3)
    net.spiking("c", 10, 40, signed=True)
    net.connect("b", "c", rng.integers(-9, 10, (45, 10)))
    net.connect("c", "c", rng.integers(-9, 10, (10, 10)), delay=1)
    net.spiking("d", 5, 9)
    net.connect("c", "d", rng.integers(-9, 10, (10, 5)))
    # (What "b" itself feeds leads nowhere near "c".)
    net.labels = ["w", "x", "y", "z"]
    part = leading_to(net, "c")
    assert list(part.populations) == ["a", "b", "b.bias", "c"]
    assert {p.target for p in part.projections} == {"b", "c"}
    part.check()
    image = rng.integers(0, 256, (6, 6, 1), dtype=np.uint8)
    alone, whole = (es.run(each, image, steps=4, resolution=8, engine="reference") for each in (part, net))
    for name in part.populations:
        for mine, theirs in zip(alone.spikes(name), whole.spikes(name), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert len(alone.spikes("c").ticks)
    assert list(leading_to(net, "b.bias").populations) == ["b.bias"]

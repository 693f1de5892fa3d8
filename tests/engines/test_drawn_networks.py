"""Engines on graphs that hypothesis draws and, where they disagree, shrinks to a readable network."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from judges.drawn_networks import cases

import eventsim as es
from eventsim.model.order import feed_forward_order


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(cases(onsets=True), st.sampled_from([1, 2, 7, 1000]), st.sampled_from([None, 1, 4]))
def test_engines_agree(case, resolution, margin):
    net, inputs = case
    runs = []
    acyclic = feed_forward_order(net) is not None
    for engine in ("reference", "queue", "layered") if acyclic else ("reference", "queue"):
        try:
            runs.append(es.run(net, inputs, steps=4, resolution=resolution, exit_margin=margin, engine=engine))
        except es.NetworkError:  # a cycle of delays that are no ticks at this resolution
            assume(False)
        except es.RunError as error:
            # What it does not run, another engine does where none is asked for.
            if engine != "layered" or "have an onset" not in str(error):
                raise
    reference, *others = runs
    for other in others:
        for name, value in vars(reference.counts).items():
            if name == "engine":
                continue
            found = getattr(other.counts, name)
            if name == "readout":
                value, found = value["out"], found["out"]
            assert np.array_equal(value, found), name
        for name in ("src", *(n for n, p in net.populations.items() if p.fires)):
            for a, b in zip(reference.spikes(name), other.spikes(name), strict=True):
                assert np.array_equal(a, b), name

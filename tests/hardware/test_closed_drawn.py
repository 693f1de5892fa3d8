"""Closed runs on chips that take no time, of networks that are drawn anew: the ordinary run, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judges.architectures import architecture
from judges.engines import assert_same
from judges.random_networks import random_case

import eventsim as es
from eventsim.errors import HardwareError, PotentialOverflow

CHIP = """
name = "timeless"
[chip]
columns = 400
rows = 10
cores_per_tile = 2
step_us = 0.00{step:04}
{chip}
[core]
kind = "{kind}"
{core}
"""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(4, 50), st.sampled_from(["event", "crossbar"]), st.booleans())
def test_it_is_the_ordinary_run(seed, step, room, kind, barrier):
    """Maxima, signed neurons, onsets, delays, cycles, ties, biases, exits; behind barriers, where it is clocked, too."""
    resolution = 1 if barrier else step
    case = random_case(np.random.default_rng(seed), resolution)
    for number, (name, p) in enumerate(case.network.populations.items()):
        if seed % 2 and p.kind == "spiking":
            case.network.populations[name] = replace(p, onset=(0.0, 0.7, 1.0, 2.5)[(seed // 2 + number) % 4])
    core = f"neurons = {room}" if kind == "event" else f"rows = {room}\ncolumns = {room}"
    chip = architecture(CHIP.format(step=step, chip='synchronisation = "barrier"' if barrier else "", kind=kind, core=core))
    limits = {"steps": case.steps, "seed": case.seed, "max_spikes": 1000}
    if case.exit_rule is not None:
        limits[f"exit_{case.exit_rule.kind}"] = case.exit_rule.threshold
    try:
        expected = es.run(case.network, case.inputs, resolution=resolution, **limits)
    except PotentialOverflow:
        return
    try:
        found, report = es.Hardware(chip).run(case.network, case.inputs, closed=True, **limits)
    except (HardwareError, PotentialOverflow):
        # A cycle without the delay that barriers need; and populations that go before an exit may go too far.
        assert barrier
        return
    assert_same(expected.counts, found.counts)
    for name in expected.recorded:
        assert all(np.array_equal(a, b) for a, b in zip(expected.spikes(name), found.spikes(name), strict=True)), name
    assert report.waits.sum() == report.counts["dropped"] == 0

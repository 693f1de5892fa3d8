"""Readout potentials and costs between the ends of steps: against the reference engine, stopped for real."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judges.exits import compare_with_stops
from judges.leaky_networks import leaky_cases
from judges.random_networks import random_case

import eventsim as es
from eventsim.analysis.trajectory import EXIT_THRESHOLDS, Trajectories

RESOLUTIONS = (1, 3, 1000, 2**20)


def cases(count):
    """Random networks whose output receives something, without exit rules; (seed, resolution, case, result of the whole run)."""
    found = 0
    for seed in range(10_000):
        resolution = RESOLUTIONS[seed % len(RESOLUTIONS)]
        case = random_case(np.random.default_rng(seed), resolution)
        if case.network.output is None:
            continue
        result = es.run(case.network, case.inputs, steps=case.steps, resolution=resolution, engine="reference")
        if not any(
            q.target == case.network.output and result.counts.deliveries[:, i].any() for i, q in enumerate(case.network.projections)
        ):
            continue
        yield seed, resolution, case, result
        found += 1
        if found == count:
            return


@pytest.mark.parametrize(("seed", "resolution", "case", "result"), list(cases(40)))
def test_every_threshold_says_what_really_stopping_gives(seed, resolution, case, result):
    read = Trajectories(case.network)
    ticks, potentials = read.readout(result)
    # At the end of each step, the last change before it is the readout.
    output = case.network.populations[case.network.output]
    start = np.broadcast_to(output.v0, output.shape).ravel()
    for step, row in enumerate(result.readout, 1):
        before = np.searchsorted(ticks, step * resolution, "right")
        assert np.array_equal(row, potentials[before - 1] if before else start)
    compare_with_stops(case.network, case.inputs, result, steps=case.steps, resolution=resolution, engine="reference")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(leaky_cases(), st.sampled_from([1, 2, 7, 1000]))
def test_outputs_that_leak(case, resolution):
    """Between the spikes that reach them, too: what has leaked, or flows from a current, may stop a run."""
    net, inputs = case
    limits = {"steps": 8, "resolution": resolution, "max_spikes": 500}
    try:
        result = es.run(net, inputs, **limits)
    except (es.NetworkError, es.PotentialOverflow):
        return
    if result.stopped:
        return
    compare_with_stops(net, inputs, result, most=6, **limits)
    over_time = result.decision_over_time()
    for step, decision in enumerate(over_time, 1):
        shorter = es.run(net, inputs, **limits | {"steps": step}).decision
        assert decision == (-1 if shorter is None else shorter)


def test_a_leak_takes_back_what_would_have_stopped_a_run():
    """10 a step, of which a half is left, rounded up: 20 is never reached; and what differs by its leak alone decides in the step after."""
    net = es.Network()
    net.source("src", 1)
    net.leaky_readout("out", 2, decay=2048)
    net.connect("src", "out", [[10, 3]])
    result = es.run(net, {"src": ([1, 2, 3, 4], [0] * 4)}, steps=4, resolution=10)
    read = Trajectories(net)
    assert read.exits(result, "potential").level.tolist() == [10, 15, 18, 19]
    assert read.readout(result)[1][:, 0].tolist() == [10, 15, 18, 19]
    net = es.Network()
    net.source("src", 1)
    net.leaky_readout("out", 2, decay=[0, 4096], v0=[8, 8])
    net.connect("src", "out", [[1, 1]])
    result = es.run(net, {"src": ([0.5], [0])}, steps=2, resolution=10)
    exits = Trajectories(net).exits(result, "margin")
    assert (exits.level.tolist(), exits.tick.tolist()) == ([9], [11])
    assert result.decision_over_time().tolist() == [0, 0]


@pytest.mark.parametrize("resolution", [1, 10])
def test_initial_potentials_that_leak_away_go_on_deciding(resolution):
    net = es.Network()
    net.source("src", 1)
    net.leaky_readout("out", 2, decay=4096, v0=[0, 5])
    result = es.run(net, {"src": ([], [])}, steps=2, resolution=resolution)
    assert result.decision_over_time().tolist() == [1, result.decision] == [1, 0]


def test_an_output_that_nothing_reaches():
    """The first readout is the output, and only the other one is connected."""
    net = es.Network()
    net.source("src", 1)
    net.readout("other", 2)
    net.readout("out", 2)
    net.connect("src", "out", [[1, 2]])
    result = es.run(net, {"src": ([0.5], [0])}, steps=2, resolution=10)
    for kind in ("margin", "potential"):
        assert len(Trajectories(net).exits(result, kind).level) == 0
    assert Trajectories(net).readout(result)[1].shape == (0, 2)


def test_thresholds_are_whole_and_fine():
    assert np.array_equal(EXIT_THRESHOLDS[:33], np.arange(1, 34))
    assert np.all(np.diff(EXIT_THRESHOLDS) > 0)
    assert EXIT_THRESHOLDS[-1] == 2**31
    assert np.all(EXIT_THRESHOLDS[1:] / EXIT_THRESHOLDS[:-1] <= 2)


def test_needs_an_output_and_two_classes():
    net = es.Network()
    net.driven("a", 2, 5)
    with pytest.raises(es.RunError, match="no output"):
        Trajectories(net)
    net.readout("b", 1)
    net.connect("a", "b", np.ones((2, 1), int))
    result = es.run(net, {"a": [3, 4]}, steps=4)
    assert Trajectories(net).exits(result, "potential").level[-1] == result.decision + result.readout.max()
    with pytest.raises(es.RunError, match="two output neurons"):
        Trajectories(net).exits(result, "margin")


def test_costs_at_ticks_in_any_order():
    """Two neurons with one synapse and with three: what is summed goes back where the ticks do."""
    net = es.Network()
    net.source("src", 2)
    net.readout("out", 3)
    net.connect("src", "out", es.Sparse([0, 1, 4], [0, 0, 1, 2], [1, 1, 1, 1], 3), delay=1)
    result = es.run(net, {"src": ([0.5, 1, 1.5, 2], [0, 1, 1, 0])}, steps=4, resolution=10)
    spikes, events = Trajectories(net).costs(result, np.array([30, 14, 15, 40, 20, 30]))
    assert spikes.tolist() == [4, 2, 3, 4, 4, 4]
    assert events.tolist() == [8, 0, 1, 8, 4, 8]

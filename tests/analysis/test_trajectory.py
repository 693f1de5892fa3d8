"""Readout potentials and costs between the ends of steps: against the reference engine, stopped for real."""

from __future__ import annotations

import numpy as np
import pytest
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
    compared = 0
    for kind, first_level in read.start_levels().items():
        exits = read.exits(result, kind)
        levels = exits.level.tolist()
        for level in range(first_level, min((levels or [first_level])[-1] + 1, first_level + 12)):
            threshold = int(EXIT_THRESHOLDS[level])
            real = es.run(
                case.network, case.inputs, steps=case.steps, resolution=resolution, engine="reference", **{f"exit_{kind}": threshold}
            )
            row = np.searchsorted(exits.level, level, "right")
            assert real.counts.exited == (row < len(levels))
            if real.counts.exited:
                assert real.counts.end_tick == exits.tick[row]
                assert real.decision == exits.decision[row]
                assert real.total_spikes == exits.spikes[row]
                assert real.total_synaptic_events == exits.synaptic_events[row]
                compared += 1
    assert compared or not levels


def test_blocks_do_not_show(monkeypatch):
    _, _, case, result = next(cases(1))
    read = Trajectories(case.network)
    whole = read.readout(result)
    monkeypatch.setattr("eventsim.analysis.trajectory.BLOCK", 3)
    assert all(np.array_equal(a, b) for a, b in zip(whole, read.readout(result), strict=True))


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

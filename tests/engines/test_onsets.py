"""Onsets: neurons integrate from the start and do not fire before a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judges import dense_loop
from judges.engines import assert_same
from judges.random_networks import random_case

import eventsim as es
from eventsim.errors import PotentialOverflow
from eventsim.model.periods import ticks
from eventsim.model.populations import Spiking


def one_neuron(weights, **settings):
    net = es.Network()
    net.source("src", len(weights))
    net.spiking("n", 1, **settings)
    net.readout("out", 1)
    net.connect("src", "n", np.reshape(weights, (-1, 1)))
    net.connect("n", "out", [[1]])
    return net


@pytest.mark.parametrize("engine", ["reference", "queue", "layered", "auto"])
@pytest.mark.parametrize(
    ("onset", "at"),
    [
        (0, [1, 5, 9, 13]),
        (0.125, [1, 5, 9, 13]),
        (0.75, [6, 10, 14]),
        # Rounded as delays are.
        (0.8125, [7, 11, 15]),
        (2, [16]),
        (3, []),
        (1e6, []),
    ],
)
def test_a_neuron_fires_from_its_onset_on_and_has_kept_what_came_before(engine, onset, at):
    # At 8 ticks a step and half a step between two spikes; there is enough for five spikes from the start.
    net = one_neuron([10], threshold=2, refractory=0.5, onset=onset)
    result = es.run(net, {"src": ([0], [0])}, steps=2, resolution=8, engine=engine)
    assert result.spikes("n").ticks.tolist() == at


@pytest.mark.parametrize("engine", ["reference", "queue", "layered", "auto"])
def test_who_is_no_longer_due_at_its_onset_does_not_fire(engine):
    net = one_neuron([3, -2, 2], threshold=3, signed=True, refractory=0.5, onset=1)
    given = {"src": ([0.125, 0.5, 1.25], [0, 1, 2])}
    result = es.run(net, given, steps=2, resolution=8, engine=engine)
    assert result.spikes("n").ticks.tolist() == [10]
    # Nor does a signed neuron take back what it has not fired.
    assert result.spikes("n").signs.tolist() == [1]


def held(net: es.Network, rng: np.random.Generator, resolution: int, long: bool) -> es.Network:
    """With an onset for most spiking populations, and for all of these a refractory period of more than a tick if ``long``."""
    populations = dict(net.populations)
    for name, p in populations.items():
        if isinstance(p, Spiking) and rng.random() < 0.7:
            period = max(p.refractory, float(rng.choice([2 / resolution, 0.5, 2]))) if long else p.refractory
            populations[name] = replace(p, refractory=period, onset=float(rng.choice([0.3, 0.5, 1, 1.5, 2.25, 4])))
    return replace(net, populations=populations)


@pytest.mark.parametrize("resolution", [1, 3, 64, 2048, 2**20])
@pytest.mark.parametrize("seed", range(12))
def test_engines_agree(seed, resolution):
    rng = np.random.default_rng(seed)
    case = random_case(rng, resolution)
    net = held(case.network, rng, resolution, seed % 3 > 0)
    limits = {"steps": case.steps, "seed": case.seed, "resolution": resolution, "max_spikes": 20_000}
    if case.exit_rule is not None:
        limits[f"exit_{case.exit_rule.kind}"] = case.exit_rule.threshold
    try:
        expected = es.run(net, case.inputs, engine="reference", **limits)
    except PotentialOverflow:
        for engine in ("queue", "auto"):
            with pytest.raises(PotentialOverflow):
                es.run(net, case.inputs, engine=engine, **limits)
        return
    simulator = es.Simulator(net)
    others = [simulator.run(case.inputs, engine=engine, **limits) for engine in ("queue", "auto", "auto")]
    others += [simulator.run(case.inputs, threads=2, **limits), simulator.run_many([case.inputs] * 2, record="all", **limits)[1]]
    for found in others:
        assert_same(expected.counts, found.counts)
        for name in expected.recorded:
            assert all(np.array_equal(a, b) for a, b in zip(expected.spikes(name), found.spikes(name), strict=True)), name
    for name in expected.recorded:
        first = max(1, ticks(getattr(net.populations[name], "onset", 0), resolution))
        assert (expected.spikes(name).ticks >= first).all(), name


@pytest.mark.parametrize("onset", [0.3, 1.25])
def test_signed_neurons_with_long_periods_and_biases(onset):
    """The layers that conversion makes, whose spikes the layered engine computes a period at a time."""
    rng = np.random.default_rng(4)
    net = es.Network()
    net.driven("in", (6, 6, 3), 40, v0=20, refractory=1)
    net.spiking("conv", (6, 6, 8), 4, v0=2, signed=True, refractory=1, onset=onset)
    net.spiking("dense", 20, 9, v0=4, signed=True, refractory=1, onset=2 * onset)
    net.readout("out", 4)
    net.connect("in", "conv", es.Conv2d(rng.choice([-1, 1], (3, 3, 3, 8)), padding=1))
    net.connect("conv", "dense", rng.choice([-1, 1], (288, 20)))
    net.connect("dense", "out", rng.integers(-9, 10, (20, 4)))
    net.bias("conv", rng.integers(-2, 3, 8))
    given = {"in": rng.integers(0, 41, 108)}
    expected = es.run(net, given, steps=5, engine="reference")
    found = es.run(net, given, steps=5, engine="layered")
    assert_same(expected.counts, found.counts)
    assert expected.spikes("dense").ticks[0] >= 2 * onset * expected.info.resolution


def test_the_layered_engine_takes_part_in_that():
    """Were all left to the queue engine, this would compare it with itself."""
    by_engine = {"layered": 0, "queue": 0}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        case = random_case(rng, 2**20)
        net = held(case.network, rng, 2**20, seed % 3 > 0)
        try:
            result = es.run(net, case.inputs, steps=2, seed=case.seed, max_spikes=20_000)
        except PotentialOverflow:
            continue
        by_engine[result.info.settings["engine"]] += any(p.onset for p in net.populations.values())
    assert min(by_engine.values()) > 0


def test_an_onset_that_is_none_at_one_resolution_is_one_at_another():
    """On one simulator, which keeps how runs start."""
    net = one_neuron([10], threshold=2, refractory=2, onset=0.4)
    simulator = es.Simulator(net)
    found = [simulator.run({"src": ([0], [0])}, steps=4, resolution=r, engine="layered").spikes("n").ticks[0] for r in (2, 3, 2, 10)]
    assert found == [1, 1, 1, 4]


@pytest.mark.parametrize("seed", range(6))
def test_clocked_runs_are_those_of_a_loop_over_steps(seed):
    rng = np.random.default_rng(100 + seed)
    net = es.Network()
    net.driven("in", 6, 20, v0=5)
    for name in ("a", "b"):
        net.spiking(name, 5, 3, v0=1, signed=bool(seed % 2), refractory=float(seed % 3), onset=float(rng.choice([0.5, 1.5, 2, 3.7])))
    net.readout("out", 3)
    net.connect("in", "a", rng.choice([-1, 1, 2], (6, 5)))
    net.connect("a", "b", rng.choice([-1, 1, 2], (5, 5)))
    net.connect("b", "out", rng.integers(-3, 4, (5, 3)))
    currents = {"in": rng.integers(0, 30, 6)}
    result = es.run(net, currents, steps=12, resolution=1)
    dense = dense_loop.run(net, steps=12, currents=currents)
    np.testing.assert_array_equal(result.readout, dense.readout["out"])
    assert result.total_spikes


def test_the_layered_engine_says_what_it_does_not_run():
    net = one_neuron([1], threshold=1, onset=1)
    with pytest.raises(
        es.RunError, match="n: neurons without a refractory period of more than a tick have an onset here; use engine 'queue'"
    ):
        es.run(net, {"src": ([0], [0])}, steps=2, engine="layered")
    assert es.run(net, {"src": ([0], [0])}, steps=2).info.settings["engine"] == "queue"


def test_layers_wait_for_one_another():
    net = es.Network()
    net.driven("in", 2, 10)
    for name in ("a", "b", "c", "d"):
        net.spiking(name, 2, 3, refractory=1)
    net.readout("out", 2)
    eye = np.eye(2, dtype=np.int64)
    for source, target in (("in", "a"), ("a", "b"), ("in", "c"), ("b", "c"), ("in", "d"), ("c", "out"), ("d", "out")):
        net.connect(source, target, eye)
    made = es.with_onsets(net, 0.25)
    assert [made.populations[name].onset for name in "abcd"] == [0.25, 0.5, 0.75, 0.25]
    assert [net.populations[name].onset for name in "abcd"] == [0] * 4
    assert es.with_onsets(made, 0).populations["c"].onset == 0
    for wrong in (-1, float("nan"), "1", 1e6):
        with pytest.raises(es.NetworkError, match="must be a number of steps from 0 to 1e"):
            es.with_onsets(net, wrong)
    net.connect("c", "a", eye, delay=1)
    with pytest.raises(es.NetworkError, match="onsets by layer need a network without cycles"):
        es.with_onsets(net, 0.25)

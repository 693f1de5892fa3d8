"""Decisions and exits, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from judges.small_networks import at_ticks, votes

from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.model.tables import Dense, Sparse
from eventsim.simulate import Simulator


def test_decision_tie_goes_to_the_lowest_index(engine):
    net = votes([0, 2, 1], [0, 0, 1])
    # Tick 2: (0, 2, 1) -> 1. Tick 4: (0, 2, 2) -> still 1.
    counts, _ = engine(net, at_ticks(8, (2, 0), (4, 1)), steps=1, resolution=8)
    assert (counts.decision, counts.decision_tick) == (1, 2)
    counts, _ = engine(net, at_ticks(8, (2, 0), (4, 1), (6, 1)), steps=1, resolution=8)  # (0, 2, 3)
    assert (counts.decision, counts.decision_tick) == (2, 6)


def test_decision_latency(engine):
    net = votes([1, 0], [0, 1])
    # (0,1) at 2, tie (1,1) at 3 goes back to 0, (1,2) at 5 decides; (1,3) at 7 changes nothing.
    counts, _ = engine(net, at_ticks(8, (2, 1), (3, 0), (5, 1), (7, 1)), steps=1, resolution=8)
    assert (counts.decision, counts.decision_tick) == (1, 5)
    # A decision that v0 made and nothing changed stands from the first tick.
    counts, _ = engine(votes([1, 0], v0=[0, 2]), at_ticks(8, (3, 0)), steps=1, resolution=8)
    assert (counts.decision, counts.decision_tick) == (1, 1)
    # What happens within a tick is no change: +2 and -2 at tick 4 and 5.
    counts, _ = engine(votes([0, 2], [0, -2]), at_ticks(8, (4, 0), (4, 1), (5, 0), (5, 1)), steps=1, resolution=8)
    assert (counts.decision, counts.decision_tick) == (0, 4)


@pytest.mark.parametrize("resolution", [1, 8, 2**20])
@pytest.mark.parametrize("from_neurons", [False, True])
def test_there_is_no_decision_before_something_reaches_the_readout(engine, resolution, from_neurons):
    def run(*, v0, weights, time=3.0, delay=0.0, bias=False, steps=4):
        net = Network()
        net.source("src", 1)
        if from_neurons:
            net.spiking("relay", 1, 1)
            net.connect("src", "relay", Dense([[1]]))
        net.readout("out", len(weights), v0=v0)
        net.connect("relay" if from_neurons else "src", "out", Dense([weights]), delay=delay)
        if bias:
            net.bias("out", 0)
        counts, _ = engine(net, {"src": ([time], [0])}, steps=steps, resolution=resolution)
        return counts.decision, counts.decision_tick

    at = 3 * resolution
    # Class 0 as any other; also by a spike whose weights, or all of whose effects, are nothing.
    assert run(v0=0, weights=[2, 1]) == run(v0=5, weights=[2, 1]) == run(v0=0, weights=[0, 0]) == (0, at)
    assert run(v0=0, weights=[1, 2]) == (1, at)
    assert run(v0=[1, 1], weights=[3, 3]) == (0, at)
    # Initial potentials that differ decide from the first tick on.
    assert run(v0=[0, 1], weights=[0, 0]) == run(v0=[0, 2], weights=[1, 0]) == (1, 1)
    assert run(v0=[1, 0], weights=[0, 2]) == (1, at)
    # A bias is delivered at the end of the first step; a spike counts when it arrives.
    assert run(v0=0, weights=[0, 0], bias=True) == (0, resolution)
    assert run(v0=0, weights=[1, 0], delay=1) == (0, at + resolution)
    # Never: nothing arrives within the run. One output is as many.
    assert run(v0=0, weights=[1, 0], delay=2) == run(v0=0, weights=[1, 2], steps=2) == run(v0=7, weights=[1], steps=2) == (None, None)
    assert run(v0=0, weights=[1]) == (0, at)


@pytest.mark.parametrize("resolution", [1, 8, 2**20])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_spike_of_neurons_without_synapses_begins_the_decision(resolution, threads):
    # Driven, so that clocked populations are run from rasters: neuron 0 fires at the end of step 2 and reaches nothing.
    net = Network()
    net.driven("in", 2, [2, 6])
    net.spiking("hidden", 2, 1)
    net.readout("out", 2)
    net.connect("in", "hidden", Dense(np.eye(2, dtype=int)))
    net.connect("hidden", "out", Sparse([0, 0, 2], [0, 1], [1, 1], 2))
    for engine in ("reference", "queue", "layered"):
        result = Simulator(net).run({"in": [1, 1]}, steps=8, resolution=resolution, engine=engine, threads=threads)
        assert (result.decision, result.counts.decision_tick) == (0, 2 * resolution)
    net.connect("hidden", "out", Dense([[0, 0], [0, 2]]), name="dense")
    for engine in ("reference", "queue", "layered"):
        result = Simulator(net).run({"in": [1, 1]}, steps=8, resolution=resolution, engine=engine, threads=threads)
        assert (result.decision, result.counts.decision_tick) == (1, 6 * resolution)


def test_no_output_no_decision(engine):
    net = Network()
    net.driven("in", 1, 1)
    counts, _ = engine(net, {"in": [1]}, steps=2, resolution=2)
    assert counts.decision is None
    assert counts.decision_tick is None
    assert counts.spikes.tolist() == [[1], [1]]


@pytest.mark.parametrize(("kind", "threshold", "tick"), [("potential", 6, 6), ("potential", 5, 3), ("margin", 3, 7), ("margin", 6, 16)])
def test_early_exit_stops_at_the_same_tick(engine, kind, threshold, tick):
    # After the ticks 2, 3, 6, 7, 9 the readouts are (3,3) (5,4) (7,6) (9,6) (9,9); 8 ticks a step.
    net = Network()
    net.source("src", 4)
    net.spiking("relay", 4, 1)
    net.readout("out", 2)
    net.connect("src", "relay", Dense(np.eye(4, dtype=int)))
    net.connect("relay", "out", Dense([[3, 3], [2, 1], [2, 2], [2, 0]]))
    net.connect("src", "out", Sparse([0, 0, 0, 0, 1], [1], [0], 2), name="zero")
    net.source("more", 1)
    net.connect("more", "out", Dense([[0, 3]]))
    events = {"src": (np.array([2, 3, 6, 7]) / 8, [0, 1, 2, 3]), "more": ([9 / 8], [0])}
    counts, spikes = engine(net, events, steps=2, resolution=8, exit_rule=ExitRule(kind, threshold))
    states = {2: (3, 3), 3: (5, 4), 6: (7, 6), 7: (9, 6), 9: (9, 9)}
    seen = [t for t in states if t <= tick]
    assert counts.end_tick == tick
    assert counts.exited == (tick < 16)
    steps = 1 if tick <= 8 else 2
    assert counts.spikes.shape == (steps, 4)
    assert counts.spikes.sum() == len([t for t in seen if t <= 7])
    assert [s[0] for s in spikes.of("relay")] == [t for t in seen if t <= 7]
    assert counts.readout["out"][-1].tolist() == list(states[seen[-1]])
    # src -> relay: 4 synapses a spike, relay -> out: 2.
    assert counts.synaptic_events.sum(0)[:2].tolist() == [4 * counts.spikes.sum(), 2 * counts.spikes.sum()]


def test_exit_completes_its_tick(engine):
    # Both readouts get spikes at tick 3; the rule holds by the first, the second is counted too.
    net = votes([4, 0], [0, 4])
    net.readout("second", 1)
    net.connect("src", "second", Dense([[1], [1]]))
    counts, _ = engine(net, at_ticks(4, (3, 0), (3, 1), (4, 0)), steps=1, resolution=4, exit_rule=ExitRule("potential", 4))
    assert (counts.end_tick, counts.exited) == (3, True)
    assert counts.readout["out"].tolist() == [[4, 4]]
    assert counts.readout["second"].tolist() == [[2]]

"""Comparisons of maximum populations: apart from synaptic events, wherever runs are counted."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es
from eventsim.analysis.costs.operations import Costs
from eventsim.analysis.facts import describe_file, network_facts
from eventsim.analysis.trajectory import Trajectories


def network() -> es.Network:
    rng = np.random.default_rng(0)
    net = es.Network()
    net.driven("in", (4, 4, 2), 20)
    net.spiking("conv", (4, 4, 3), 2, signed=True)
    net.maximum("max", (2, 2, 3), largest=[1, 0, 1], signed=True)
    net.readout("out", 3)
    net.connect("in", "conv", es.Conv2d(rng.choice([-1, 1], (3, 3, 2, 3)), padding=1))
    net.connect("conv", "max", es.Windows(3, 2, (1, 1, 0, 0)))
    net.connect("max", "out", rng.integers(-3, 4, (12, 3)))
    return net


def windows_of(y: int, x: int) -> int:
    """Windows of 3 with a stride of 2, a cell of padding before, that a location of 4 x 4 lies in."""
    return sum(2 * i - 1 <= y <= 2 * i + 1 for i in range(2)) * sum(2 * i - 1 <= x <= 2 * i + 1 for i in range(2))


@pytest.mark.parametrize("resolution", [1, 32])
def test_counts_are_those_of_every_spike(tmp_path, resolution):
    net = network()
    currents = np.random.default_rng(1).integers(5, 30, 32)
    result = es.run(net, {"in": currents}, steps=6, resolution=resolution, trace=tmp_path / "run.h5")
    compared = sum(windows_of(*divmod(neuron // 3, 4)) for neuron in result.spikes("conv").neurons.tolist())
    report = es.counting.count_operations([result])
    row = {row.name: row for row in report.rows}["conv->max"]
    assert (row.role, row.comparisons, row.synaptic_events, row.additions, row.neurobench_acs, row.macs) == (
        "comparisons",
        compared,
        0,
        0,
        0,
        0,
    )
    assert row.spikes == row.toolbox == len(result.spikes("conv").ticks)
    assert report.comparisons.comparisons == compared > 0
    assert report.synapses.synaptic_events == result.total_synaptic_events
    weighted = [i for i, p in enumerate(net.projections) if p.table.weighted]
    assert result.total_synaptic_events == result.counts.synaptic_events[:, weighted].sum()
    # What an exit would have cost leaves comparisons out, too.
    _, events = Trajectories(net).costs(result, np.array([result.counts.end_tick]))
    assert events.tolist() == [result.total_synaptic_events]
    facts = {p["name"]: p for p in describe_file(tmp_path / "run.h5")["projections"]}
    assert (facts["conv->max"]["comparisons"], facts["conv->max"]["synaptic_events"]) == (compared, 0)


def test_energy_and_facts():
    net = network()
    result = es.run(net, {"in": np.full(32, 20)}, steps=4, resolution=1)
    report = es.counting.count_operations([result])
    costs = Costs(int8_add=1.0, float32_add=10.0, comparison=7.0, routing=100.0)
    parts = report.energy_parts(costs)
    compared, events = report.comparisons.comparisons, report.synapses.synaptic_events
    assert parts["int8"]["arithmetic"] == pytest.approx(events + 7 * compared)
    assert parts["float32"]["arithmetic"] == pytest.approx(10 * events + 7 * compared)
    assert parts["dense"]["arithmetic"] == pytest.approx(report.synapses.macs * costs.float32_mac)
    assert parts["int8"]["routing"] == 100 * (report.synapses.spikes + report.comparisons.spikes)
    assert Costs().comparison == Costs().int8_add
    facts = network_facts(net)
    assert [p["compares"] for p in facts["projections"]] == [False, True, False]
    assert facts["synapses"] == sum(p["synapses"] for p in facts["projections"] if not p["compares"])
    assert facts["populations"][2] | {"maxima": 2, "minima": 1, "signed": True} == facts["populations"][2]

"""Decays of leaky neurons: one of each potential and one of each current in every step begun, at a price of their own."""

from __future__ import annotations

import eventsim as es
from eventsim.analysis.counting import Costs, add_reports, count_operations


def test_decays_are_counted_and_cost_what_they_cost():
    net = es.Network()
    net.source("in", 1)
    net.leaky("a", 3, 9, decay=7)
    net.leaky("b", 2, 9, leak=1, current_decay=7)
    net.readout("out", 5)
    report = count_operations([es.run(net, {"in": ([], [])}, steps=4)])
    assert report.decays == 4 * (3 + 2 * 2)
    assert add_reports([report, report]).decays == 2 * report.decays
    assert add_reports([report, report]).mean().decays == report.decays
    assert report.to_dict(Costs())["decays"] == 28
    free, priced = report.energy(Costs()), report.energy(Costs(decay=0.5))
    assert priced["int8"] - free["int8"] == priced["float32"] - free["float32"] == 14
    assert priced["dense"] == free["dense"]
    assert "0.5 pJ a decay" in (Costs(decay=0.5).apart() or "")

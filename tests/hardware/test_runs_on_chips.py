"""Runs on chips: steps that end once, reads in which all that has come takes part, what is busy within the run, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from judges.architectures import architecture

import eventsim as es
from eventsim.errors import HardwareError, PotentialOverflow
from eventsim.hardware.faults import Faults, with_faults
from eventsim.hardware.imperfect import Imperfect

BARRIER = """
name = "barrier"
[chip]
columns = 4
rows = 1
step_us = 0
synchronisation = "barrier"
barrier_ns = 7
[links]
east_west_ns = 4
north_south_ns = 4
hold_ns = {hold}
[core]
kind = "event"
neurons = {neurons}
access_ns = 1
update_ns = 2
spike_ns = 5
"""
PLAIN = """
name = "plain"
[chip]
columns = 4
rows = 1
step_us = 1
[core]
kind = "event"
neurons = 4
"""
SHARED = """
name = "shared"
[chip]
columns = 2
rows = 1
step_us = 1
[core]
kind = "crossbar"
rows = 16
columns = 16
read_ns = 100
"""


def relay():
    net = es.Network()
    net.source("in", 1)
    net.readout("out", 1)
    net.connect("in", "out", [[1]])
    return net


def test_a_step_behind_a_barrier_ends_once():
    """However often the log of spikes is made longer where no message is on its way."""
    net = es.Network()
    net.driven("a", 100, threshold=1)
    net.source("in", 1)
    net.readout("out", 1)
    net.connect("in", "out", [[1]])
    given = {"a": [1] * 100, "in": ([], [])}
    reports = []
    for hold in (0, 2):
        chip = architecture(BARRIER.format(hold=hold, neurons=200))
        result, report = es.Hardware(chip).run(net, given, steps=400, closed=True, max_spikes=40_050)
        assert (result.total_spikes, result.stopped) == (40_000, None)
        reports.append(report)
    assert reports[0].duration == reports[1].duration
    assert np.array_equal(reports[0].steps, reports[1].steps)


def test_what_comes_at_one_time_is_read_at_once():
    """For whichever population of those that share a crossbar."""
    net = es.Network()
    net.source("in", 1)
    for name in ("a", "b"):
        net.readout(name, 1)
        net.connect("in", name, [[1]])
    chip = es.Hardware(architecture(SHARED, a=[1], b=[1]))
    for closed in (False, True):
        _, report = chip.run(net, {"in": ([0.5], [0])}, steps=1, closed=closed, **({} if closed else {"resolution": 10**6}))
        assert report.counts["read"] == 1
        assert report.waits.tolist() == [0, 0]


@pytest.mark.parametrize("target", ["spiking", "readout"])
def test_sums_may_leave_32_bits_within_a_tick(target):
    net = es.Network()
    net.source("in", 3)
    if target == "spiking":
        net.spiking("n", 1, threshold=2**31 - 1, v0=2**31 - 10)
        net.readout("out", 1)
        net.connect("n", "out", [[1]])
    else:
        net.readout("n", 1, v0=[2**31 - 10])
    net.connect("in", "n", np.array([[20], [-20], [20]]))
    both, one = {"in": ([1.0, 1.0], [0, 1])}, {"in": ([0.5, 1.0, 1.0], [2, 0, 1])}
    hardware = es.Hardware(architecture(PLAIN))
    for run in (
        lambda given: Imperfect(net).run(given, steps=2, resolution=10),
        lambda given: hardware.run(net, given, steps=2, closed=True)[0],
    ):
        result = run(both)
        assert result.readout.tolist() == es.run(net, both, steps=2, resolution=10, engine="reference").readout.tolist()
        with pytest.raises(PotentialOverflow, match="n"):
            run(one)


def test_cores_are_busy_within_the_run():
    net = relay()
    slow = PLAIN + "message_in_ns = 10000\n"
    _, report = es.Hardware(architecture(slow)).run(net, {"in": ([0.5], [0])}, steps=1, closed=True)
    assert report.busy.tolist() == [[0, 0], [500_000, 0]]
    _, report = es.Hardware(architecture(slow)).run(net, {"in": ([0.01, 0.02, 0.03, 0.04], [0] * 4)}, steps=12, closed=True)
    assert report.busy.tolist() == [[0, 0], [12_000_000 - 10_000, 0]]
    assert report.busiest_cores()[0]["busy_share"] < 1
    _, report = es.Hardware(architecture(PLAIN + "message_out_ns = 3000\n")).run(net, {"in": ([0.5], [0])}, steps=1, closed=True)
    assert report.busy.tolist() == [[0, 500_000], [0, 0]]


def test_a_replay_has_the_steps_of_its_run():
    """Also where links may hold messages, and are followed one by one."""
    net = relay()
    late = PLAIN + "message_in_ns = 3000\n"
    found = [
        es.Hardware(architecture(late + more)).run(net, {"in": ([0.5], [0])}, steps=1, resolution=10)[1] for more in ("", "queue = 1000\n")
    ]
    assert [report.steps.tolist() for report in found] == [[10**6]] * 2
    assert found[0].duration == found[1].duration == 3_500_000


def test_what_cannot_run_replaces_no_trace(tmp_path):
    net, given, trace = relay(), {"in": ([0.5], [0])}, tmp_path / "run.h5"
    es.run(net, given, steps=1, trace=trace)
    before = trace.read_bytes()
    large = es.Network()
    large.source("in", 1)
    large.readout("out", 10)
    large.connect("in", "out", np.ones((1, 10), int))
    chip = es.Hardware(architecture(BARRIER.format(hold=0, neurons=2)))
    with pytest.raises(HardwareError, match="needs 6 cores"):
        chip.run(large, given, steps=1, closed=True, trace=trace)
    for settings in ({"record": "none"}, {"record": "none", "resolution": 1}):
        with pytest.raises(HardwareError, match="a replay needs what record='all' records"):
            es.Hardware(architecture(PLAIN)).run(net, given, steps=1, trace=trace, **settings)
    for about in ({"engine": 5}, {"recorded": 5}, {"x": object()}):
        with pytest.raises(es.RunError, match="about: not what a trace can keep"):
            es.Hardware(architecture(PLAIN)).run(net, given, steps=1, closed=True, trace=trace, about=about)
    assert trace.read_bytes() == before
    es.Hardware(architecture(PLAIN)).run(net, given, steps=1, closed=True, trace=trace, seed=np.int64(3), max_spikes=np.int64(9))
    with es.Trace(trace) as kept:
        assert (kept.info.settings["seed"], kept.info.settings["max_spikes"]) == (3, 9)


def test_what_makes_no_sense_is_refused():
    net = relay()
    long = architecture(PLAIN.replace("step_us = 1", "step_us = 1000000000"))
    with pytest.raises(HardwareError, match="longer than is counted here"):
        es.Hardware(long).run(net, {"in": ([1], [0])}, steps=9500, resolution=1)
    clocks = es.Network()
    clocks.source("clock", 1, "clock")
    with pytest.raises(HardwareError, match="bias clocks alone"):
        es.Hardware(architecture(PLAIN)).run(clocks, steps=1, resolution=1)
    for seed in (2**63, -1, 1.5):
        with pytest.raises(HardwareError, match="a seed is a whole number"):
            Imperfect(net, seed=seed)
        with pytest.raises(HardwareError, match="a seed is a whole number"):
            with_faults(net, Faults(), seed)
    with pytest.raises(HardwareError, match=r"flips must be a number in 0..1, found '0.5'"):
        Faults(flips="0.5")

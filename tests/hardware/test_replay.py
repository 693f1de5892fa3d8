"""Replays: worked out by hand, against a chip in plain Python, and against what queueing theory and other simulators say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judges.architectures import architecture, preset, random_architecture
from judges.chip import Chip
from judges.random_networks import random_case

import eventsim as es
from eventsim.errors import HardwareError, PotentialOverflow
from eventsim.hardware.moved import moved
from eventsim.hardware.report import Report

ONE_CORE = """
name = "one core a tile"
[chip]
columns = 2
rows = 1
step_us = 1
static_power_uw = 5
[links]
east_west_ns = 4
east_west_pj = 3
[core]
kind = "event"
neurons = 4
update_ns = 2
update_pj = 1
spike_ns = 10
spike_pj = 0.5
message_out_ns = 5
message_out_pj = 0.25
message_in_ns = 7
message_in_pj = 2
synapse_ns = 20
synapse_pj = 0.125
"""


def three_to_two(weights=((1, -1), (2, 1), (1, 1)), delay=0):
    """Neurons 0 and 1 fire at the end of every step, neuron 2 never."""
    net = es.Network()
    net.driven("input", 3, threshold=1)
    net.readout("output", 2)
    net.connect("input", "output", weights, delay=delay)
    return net


def test_by_hand():
    """Two spikes at 1 us: they leave core 0 after 17 and 34 ns, travel 4 ns, and take 47 ns each at core 1."""
    net = three_to_two()
    result, report = es.Hardware(architecture(ONE_CORE)).run(net, {"input": [1, 1, 0]}, steps=1, resolution=1)
    assert result.decision == 0
    # The first is served from 1021 to 1068, the second comes at 1038 and waits until then.
    assert report.duration == 1_115_000
    assert report.decision == 1_115_000
    assert report.waits.tolist() == [0, 30_000]
    assert report.waiting() == {"mean": 15_000, "p50": 0, "p95": 30_000, "p99": 30_000, "max": 30_000}
    expected = {"neuron update": 2, "spike": 2, "message out": 2, "east-west hop": 2, "message in": 2, "synapse": 4, "message": 2}
    assert {unit: n for unit, n in report.counts.items() if n} == expected
    # 5 uW for 1.115 us, and the counts.
    assert report.energy == {
        "static": 5.575, "neuron update": 2, "spike": 1, "message out": 0.5, "east-west hop": 6, "message in": 4, "synapse": 0.5,
    }  # fmt: skip
    assert report.total_energy == 19.575
    assert report.cores == [0, 1]
    assert report.busy.tolist() == [[0, 34_000], [94_000, 0]]
    assert report.links.tolist() == [[2, 0, 0, 0], [0, 0, 0, 0]]


def test_a_crossbar_by_hand():
    """What comes while it reads is read together, once it is free."""
    chip = architecture(
        'name = "x"\n[chip]\ncolumns = 1\nrows = 1\ncores_per_tile = 2\nstep_us = 1\n[core]\nkind = "crossbar"\nrows = 8\ncolumns = 8\n'
        "columns_per_converter = 2\nread_ns = 10\nconversion_ns = 3\ncell_pj = 1\nrow_pj = 100\nconversion_pj = 1000\nmessage_out_ns = 5"
    )
    net = es.Network()
    net.driven("input", 4, threshold=1)
    net.readout("output", 3)
    net.connect("input", "output", np.ones((4, 3), int))
    _, report = es.Hardware(chip).run(net, {"input": [1, 1, 1, 1]}, steps=1, resolution=1)
    # They arrive at 5, 10, 15 and 20 ns after the step; a read takes 16: 5 to 21, then the other three together.
    assert report.duration == 1_037_000
    assert report.waits.tolist() == [0, 11_000, 6_000, 1_000]
    assert (report.counts["read"], report.counts["row"], report.counts["cell"], report.counts["conversion"]) == (2, 4, 12, 6)
    assert report.total_energy == 4 * 100 + 12 + 6 * 1000


def test_sixteen_neurons_to_thirty_two():
    """What SANA-FE 2.2.9 gives for its Loihi: a message is made in 44.8 ns, goes 48.2 ns and is served in 137.6; 250.24 nJ in ten steps."""
    net = es.Network()
    net.driven("input", 16, threshold=1)
    net.readout("output", 32)
    net.connect("input", "output", np.ones((16, 32), int), delay=1)
    _, report = preset("loihi-fitted", input=[0], output=[127]).run(net, {"input": [1] * 16}, steps=10, resolution=1)
    assert report.total_energy == 250_236.8
    # The first message, the other fifteen behind it, and the barrier of two tiles.
    assert report.steps.tolist() == [44_800 + 48_200 + 16 * 137_600 + 1_000_000] * 10
    assert report.counts["synapse"] == 16 * 32 * 10


@pytest.mark.parametrize("resolution", [1, 7, 2**20])
def test_against_a_chip_in_plain_python(resolution):
    rng = np.random.default_rng(22 + resolution)
    replayed = by_event = 0
    for i in range(60):
        case = random_case(np.random.default_rng([22, resolution, i]), resolution)
        hardware = es.Hardware(random_architecture(rng))
        settings = {"steps": case.steps, "resolution": resolution, "seed": case.seed, "max_spikes": 2000}
        try:
            placement = hardware.place(case.network)
            result, report = hardware.run(case.network, case.inputs, **settings)
        except HardwareError as error:
            if "part of a cycle" in str(error) or "cores" in str(error):
                continue
            raise
        except PotentialOverflow:
            continue
        duration, decision, counts, waits, times = Chip(placement).replay(result)
        assert report.duration == duration, i
        assert report.decision == decision
        assert {unit: n for unit, n in report.counts.items() if n} == {unit: n for unit, n in counts.items() if n}
        assert np.sort(report.waits).tolist() == waits
        assert times is None or report.steps.tolist() == times
        assert report.links.sum() == counts["east-west hop"] + counts["north-south hop"]
        replayed += 1
        if placement.architecture.chip.synchronisation == "none":
            # The same, event by event: with room that never ends.
            for when_full in ("block", "drop"):
                chip = placement.architecture
                roomy = replace(chip, core=replace(chip.core, queue=10**6), links=replace(chip.links, when_full=when_full))
                found = es.Hardware(roomy).replay(case.network, result)
                assert found.summary() | {"mode": ""} == report.summary() | {"mode": ""}, i
                assert np.array_equal(np.sort(found.waits), np.sort(report.waits))
                by_event += 1
    assert replayed > 20
    assert by_event > 10


def test_random_arrivals_wait_as_queueing_theory_says():
    """M/D/1: a server of time D whose work is a share u of the time keeps what comes at random waiting for D u / (2 (1 - u)) on average."""
    rng, n, steps = np.random.default_rng(7), 10**6, 2000
    net = es.Network()
    net.source("input", 1)
    net.readout("output", 1)
    net.connect("input", "output", [[1]])
    times = np.sort(rng.random(n)) * steps
    chip = 'name = "queue"\n[chip]\ncolumns = 2\nrows = 1\nstep_us = 1000\n[core]\nkind = "event"\nneurons = 1\nsynapse_ns = '
    result = es.run(net, {"input": (times, np.zeros(n, int))}, steps=steps)
    for share in (0.3, 0.8):
        service = int(share * 2 * 10**6)  # picoseconds; one comes in 2 us on average
        report = es.Hardware(architecture(f"{chip}{service / 1000}")).replay(net, result)
        assert len(report.waits) == n
        assert report.waits.mean() == pytest.approx(service * share / (2 * (1 - share)), rel=0.02)


@pytest.mark.parametrize(("events", "milliwatts"), [(1.57e9, 68), (2**20 * 128 * 20, 71), (12.87e9, 94)])
def test_truenorth(events, milliwatts):
    """Static power and 2.30 pJ an event; 20 Hz with 128 synapses a neuron is what the chip is usually quoted at."""
    report = of_activity("truenorth", int(events / 1000), 10**9)
    assert round(report.power) == milliwatts


@pytest.mark.parametrize(("clock", "events", "microwatts"), [("75", 37.5e6, 477), ("1.3", 256 * 256 * 10, 35)])
def test_odin(clock, events, microwatts):
    """At its fastest, an operation in two cycles of 75 MHz; and at 1.3 MHz, just enough for 256 neurons that fire ten times a second."""
    report = of_activity("odin", int(events), 10**12, ("clock_mhz = 75 ", f"clock_mhz = {clock} "))
    assert round(report.power * 1000) == microwatts
    if clock == "75":
        # "Minimum energy per synaptic operation", the abstract says.
        assert round(report.total_energy / events, 1) == 12.7


def of_activity(name, events, duration, *changes):
    """A report of so many synaptic events in a time."""
    chip = preset(name, *changes).architecture
    counts = dict.fromkeys(("message", "dropped"), 0) | {"synapse": events}
    nothing = np.zeros((0, 2), np.int64)
    return Report(chip, "replay", {}, duration, None, counts, [], nothing, nothing[:, 0], nothing, nothing[:, 0], nothing[:, 0])


def test_a_trace_is_replayed_as_the_run_was(tmp_path):
    net, hardware = three_to_two(), es.Hardware(architecture(ONE_CORE))
    _, report = hardware.run(net, {"input": [3, 2, 1]}, steps=4, trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        assert hardware.replay(net, trace).summary() == report.summary()


def test_a_trace_of_the_same_shape_is_told_by_its_weights(tmp_path):
    net, other, slower = three_to_two(), three_to_two([[1, 1]] * 3), three_to_two(delay=1)
    hardware, given = es.Hardware(architecture(ONE_CORE)), {"input": [3, 2, 1]}
    es.run(net, given, steps=4, trace=tmp_path / "run.h5")
    in_memory = es.run(net, given, steps=4)
    es.run(other, given, steps=4, trace=tmp_path / "other.h5")
    with es.Trace(tmp_path / "run.h5") as trace, es.Trace(tmp_path / "other.h5") as of_other:
        with pytest.raises(HardwareError, match="another network of the same shape, with other weights or parameters"):
            hardware.replay(other, trace)
        for run in (trace, in_memory):
            with pytest.raises(HardwareError, match="another network: its projections are others"):
                hardware.replay(slower, run)
        assert moved(in_memory, trace)["changed"] == 0
        with pytest.raises(HardwareError, match="different networks"):
            moved(trace, of_other)


def test_what_cannot_be_replayed():
    net, hardware = three_to_two(), es.Hardware(architecture(ONE_CORE))
    with pytest.raises(HardwareError, match="spikes of 'input' were not recorded"):
        hardware.replay(net, es.run(net, {"input": [1, 1, 1]}, steps=1, record="none"))
    other = es.Network()
    other.source("input", 3)
    other.readout("output", 2)
    with pytest.raises(HardwareError, match=r"takes a result or a trace, found str; es.Trace\(FILE\) opens"):
        es.Hardware("loihi").replay(es.Network(), "run.h5")
    with pytest.raises(HardwareError, match="another network"):
        hardware.replay(other, es.run(net, {"input": [1, 1, 1]}, steps=1))
    loop = es.Network()
    loop.driven("input", 1, threshold=1)
    loop.spiking("a", 1, threshold=1)
    loop.spiking("b", 1, threshold=1)
    for source, target, delay in (("input", "a", 0), ("a", "b", 0), ("b", "a", 1)):
        loop.connect(source, target, [[1]], delay=delay)
    with pytest.raises(HardwareError, match="part of a cycle with fewer whole steps of delay than projections"):
        es.Hardware("loihi").run(loop, {"input": [0]}, steps=2)


@pytest.mark.parametrize("synchronisation", ["none", "barrier"])
def test_times_that_do_not_fit(synchronisation):
    """When a message arrives, and what it brings, share 64 bits: messages of 2**14 synapses leave within 141 s."""
    text = f"""
name = "slow"
[chip]
columns = 2
rows = 1
step_us = 1
synchronisation = "{synchronisation}"
[core]
kind = "event"
neurons = 16384
message_out_ns = 1_000_000_000
"""
    for messages in (140, 142):
        net = es.Network()
        net.source("input", messages)
        net.readout("output", 2**14)
        net.connect("input", "output", np.ones((messages, 2**14), np.int8))
        hardware = es.Hardware(architecture(text))
        given = {"input": (np.full(messages, 0.5), np.arange(messages))}
        if messages == 140:
            _, report = hardware.run(net, given, steps=1, resolution=1)
            assert round(report.duration / 1e12) == 140
            continue
        since = (
            "a step, the limit here; put fewer neurons on a core" if synchronisation == "barrier" else "the run, the limit here; run fewer"
        )
        for closed in (False, True) if synchronisation == "barrier" else (False,):
            with pytest.raises(HardwareError, match=f"messages leave later than 141 s after the beginning of {since}"):
                hardware.run(net, given, steps=1, closed=closed, **({} if closed else {"resolution": 1}))

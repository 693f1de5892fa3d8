"""Closed runs behind barriers: the clocked run, step by step, and what a replay of it takes; and what only such runs do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judges.architectures import architecture, random_architecture
from judges.engines import assert_same
from judges.random_networks import random_case

import eventsim as es
from eventsim.errors import HardwareError, PotentialOverflow
from eventsim.hardware.architecture import Cost
from eventsim.hardware.imperfect import new_machine, run_machine


def behind_barriers(rng):
    """A random chip with barriers."""
    while (chip := random_architecture(rng)).chip.synchronisation != "barrier":
        pass
    return chip


def assert_same_spikes(expected, found):
    assert_same(expected.counts, found.counts)
    for name in expected.recorded:
        assert all(np.array_equal(a, b) for a, b in zip(expected.spikes(name), found.spikes(name), strict=True)), name


def step_by_step(hardware, case, settings):
    """A closed run on the chip itself, whether that could change anything or not."""
    machine = new_machine(hardware.place(case.network))
    return run_machine(es.Simulator(case.network), machine, case.inputs, machine.resolution, settings)


def cases(seed, n):
    """Random networks with their ordinary runs, and settings of these."""
    for i in range(n):
        case = random_case(np.random.default_rng([seed, i]), 1)
        settings = {"steps": case.steps, "seed": case.seed, "max_spikes": 500}
        if case.exit_rule is not None:
            settings[f"exit_{case.exit_rule.kind}"] = case.exit_rule.threshold
        try:
            yield np.random.default_rng([seed, i, 1]), case, settings, es.run(case.network, case.inputs, resolution=1, **settings)
        except PotentialOverflow:
            continue


def test_it_is_the_clocked_run_and_takes_what_a_replay_of_it_takes():
    whole = maxima = stopped = 0
    for rng, case, settings, expected in cases(24, 60):
        hardware = es.Hardware(behind_barriers(rng))
        try:
            replayed = hardware.replay(case.network, expected)
        except HardwareError:
            continue  # a cycle with less delay than the chip needs
        runs = [hardware.run(case.network, case.inputs, closed=True, **settings), step_by_step(hardware, case, settings)]
        for found, report in runs:
            assert_same_spikes(expected, found)
            assert report.mode == "closed"
        maxima += any(p.kind == "maximum" for p in case.network.populations.values())
        if expected.counts.exited or expected.stopped:
            # Populations that go before have gone on by then, which a replay does not know.
            stopped += 1
            assert all(report.counts["spike"] >= replayed.counts["spike"] for _, report in runs)
            assert runs[0][1].counts == runs[1][1].counts
            continue
        whole += 1
        # The first of them may be that replay; the second one never is.
        for _, report in runs:
            assert report.steps.tolist() == replayed.steps.tolist()
            assert (report.duration, report.decision, report.counts) == (replayed.duration, replayed.decision, replayed.counts)
            assert sorted(report.waits.tolist()) == sorted(replayed.waits.tolist())
            assert np.array_equal(report.busy, replayed.busy)
            assert np.array_equal(report.links, replayed.links)
    assert whole > 25
    assert maxima > 15
    assert stopped > 3


def test_what_is_kept_of_a_run_that_nothing_disturbs(tmp_path):
    """As of any other closed run: spikes in memory, in a trace, or nowhere; and a trace without them has the same counts."""
    net, given = summing()
    hardware = es.Hardware(architecture(CHIP.format(links="", queue=0)))
    kept, report = hardware.run(net, given, closed=True, steps=3)
    assert len(kept.spikes("in").ticks) == 3 * 6
    for record, trace in (("all", "all.h5"), ("none", None), ("none", "none.h5")):
        path = None if trace is None else tmp_path / trace
        found, same = hardware.run(net, given, closed=True, steps=3, record=record, trace=path)
        assert_same(kept.counts, found.counts)
        assert (same.duration, same.counts) == (report.duration, report.counts)
        assert list(found.recorded) == (["in"] if record == "all" else [])
        if path is not None:
            with es.Trace(path) as written:
                assert_same(kept.counts, written.counts)
                assert list(written.recorded) == (["in"] if record == "all" else [])
    with pytest.raises(HardwareError, match="records 'all' or 'none', found 'some'"):
        hardware.run(net, given, closed=True, steps=3, record="some")
    with pytest.raises(HardwareError, match="no setting 'threads'"):
        hardware.run(net, given, closed=True, steps=3, threads=2)


def test_a_cycle_that_the_chip_cannot_run_leaves_an_older_trace(tmp_path):
    net, given = summing()
    path = tmp_path / "trace.h5"
    es.run(net, given, steps=1, trace=path)
    older = path.read_bytes()
    for name in ("there", "back"):
        net.spiking(name, 1, threshold=1)
    net.connect("there", "back", np.ones((1, 1), int))
    net.connect("back", "there", np.ones((1, 1), int), delay=1)
    with pytest.raises(HardwareError, match="is part of a cycle with fewer whole steps of delay"):
        es.Hardware(architecture(CHIP.format(links="", queue=0))).run(net, given, closed=True, steps=3, trace=path)
    assert path.read_bytes() == older


def test_full_links_take_time_and_change_nothing():
    """Where messages wait for room steps take longer; the spikes are those of the clocked run."""
    longer = 0
    for rng, case, settings, expected in cases(25, 12):
        chip = behind_barriers(rng)
        hop = Cost(1000)
        free = replace(chip, links=replace(chip.links, east_west=hop, north_south=hop))
        full = replace(free, links=replace(free.links, hold=1000, buffer=1), core=replace(free.core, queue=2))
        try:
            _, one = es.Hardware(free).run(case.network, case.inputs, closed=True, **settings)
        except HardwareError:
            continue
        found, other = es.Hardware(full).run(case.network, case.inputs, closed=True, **settings)
        assert_same_spikes(expected, found)
        assert other.duration >= one.duration
        assert [other.counts[unit] for unit in ("message", "spike", "neuron update")] == [
            one.counts[unit] for unit in ("message", "spike", "neuron update")
        ]
        longer += other.duration > one.duration
    assert longer > 1


CHIP = """
name = "two cores"
[chip]
columns = 2
rows = 1
step_us = 0
synchronisation = "barrier"
barrier_ns = {{ 1 = 3, 2 = 8 }}
[links]
east_west_ns = 10
north_south_ns = 10
{links}
[core]
kind = "event"
neurons = 6
queue = {queue}
access_ns = 1
update_ns = 2
spike_ns = 4
message_out_ns = 1
message_in_ns = 5
synapse_ns = 20
"""


def summing():
    net = es.Network()
    net.driven("in", 6, threshold=1)
    net.readout("output", 1)
    net.connect("in", "output", np.ones((6, 1), int))
    return net, {"in": [1] * 6}


def test_a_step_by_hand():
    """A round of 6 x (1 + 2), in which neuron n is done by 3 n; spikes and messages come on top of that, 5 each."""
    net, given = summing()
    result, report = es.Hardware(architecture(CHIP.format(links="", queue=0))).run(net, given, closed=True, steps=2)
    assert result.readout.tolist() == [[6], [12]]
    # The first message leaves at 3 + 5 = 8 and arrives at 18; the sixth at 18 + 30 + 10; each takes 25 to be served.
    first = 18 + 6 * 25 + 8
    # A step later the input's second round is served; the readout lags a step behind, and in the end only looks remain: 6 accesses.
    assert report.steps.tolist() == [first * 1000, first * 1000, (6 + 8) * 1000]
    assert report.decision == 2 * first * 1000
    assert report.counts["neuron access"] == 3 * 7
    assert report.counts["neuron update"] == 2 * 6 + 2


def test_what_is_dropped_is_not_there():
    """A queue of two messages, of which one is served: the third to arrive finds no room; with 25 to serve and 8 between them two do."""
    net, given = summing()
    chip = architecture(CHIP.format(links='when_full = "drop"', queue=2))
    result, report = es.Hardware(chip).run(net, given, closed=True, steps=1)
    # They arrive at 18, 26, ... 58: the first is served by 43, the second by 68; that of 34 and 42 find none, that of 50 does, 58 not.
    assert report.counts["dropped"] == 3
    assert result.readout.tolist() == [[3]]
    assert result.counts.spikes[0].tolist() == [6, 0]


def test_converters_read_what_waits():
    """Behind barriers, too, a crossbar reads what has come; each read is converted by itself."""
    text = CHIP.format(links="", queue=0).replace('kind = "event"\nneurons = 6', 'kind = "crossbar"\nrows = 8\ncolumns = 6')
    text = text.replace("message_in_ns = 5\nsynapse_ns = 20", "read_ns = 20\nconverter_levels = 3\nconverter_rows = 3")
    net, given = summing()
    result, report = es.Hardware(architecture(text)).run(net, given, closed=True, steps=1)
    # Levels -3, 0, 3. Arrivals at 18, 26, ... 58: read alone at 18; 26 and 34 at 38; 42, 50 and 58 at 58: 0, 3 and 3.
    assert report.counts["read"] == 3
    assert result.readout.tolist() == [[6]]
    # Together, as in the ordinary run through the same converters: 6 rows are clipped to 3.
    ordinary, _ = es.Hardware(architecture(text)).run(net, given, steps=1, resolution=1)
    assert ordinary.readout.tolist() == [[3]]


def test_a_spike_whose_first_message_is_dropped_decides_by_the_others():
    """The output lies on two cores, of which the first has no room when the message comes."""
    net = es.Network()
    net.source("input", 2)
    net.readout("output", 2)
    net.readout("other", 1)
    net.connect("input", "other", es.Sparse([0, 1, 1], [0], [1], 1))
    net.connect("input", "output", es.Sparse([0, 2, 3], [0, 1, 0], [1, 5, 1], 2))
    text = """
name = "drops"
[chip]
columns = 3
rows = 1
step_us = 0
synchronisation = "barrier"
[links]
east_west_ns = 1
when_full = "drop"
[core]
kind = "event"
neurons = 2
queue = 1
synapse_ns = 1000
[[placement]]
population = "output"
cores = [1, 2]
neurons = [1, 1]
[[placement]]
population = "other"
cores = [1]
"""
    hardware = es.Hardware(architecture(text))
    result, report = hardware.run(net, {"input": ([0.5, 1.5], [1, 0])}, steps=2, closed=True)
    assert report.counts["dropped"] == 1
    assert result.readout[-1].tolist() == [1, 5]
    assert result.decision == 1

"""Closed runs: on a chip that takes no time they are the ordinary run; else what queues, routes and full buffers do to spikes."""

from __future__ import annotations

import numpy as np
import pytest
from judges.architectures import architecture
from judges.engines import assert_same
from judges.random_networks import random_case
from scipy.sparse import csr_array

import eventsim as es
from eventsim.errors import HardwareError, PotentialOverflow
from eventsim.hardware.moved import moved

# A step of so many picoseconds.
TIMELESS = """
name = "timeless"
[chip]
columns = {columns}
rows = 7
cores_per_tile = 2
step_us = 0.00{step:04}
[core]
"""
EVENT, CROSSBAR = 'kind = "event"\nneurons = {n}\n', 'kind = "crossbar"\nrows = {n}\ncolumns = {n}\n'


@pytest.mark.parametrize("core", [EVENT, CROSSBAR], ids=["event", "crossbar"])
def test_on_a_chip_that_takes_no_time_it_is_the_ordinary_run(core):
    rng, done, maxima = np.random.default_rng(5), 0, 0
    for i in range(150):
        step = int(rng.integers(1, 60))
        case = random_case(np.random.default_rng([23, i]), step)
        chip = architecture(TIMELESS.format(columns=40, step=step) + core.format(n=int(rng.integers(4, 50))))
        rule = case.exit_rule
        settings = {"steps": case.steps, "seed": case.seed, "max_spikes": 3000}
        if rule is not None:
            settings[f"exit_{rule.kind}"] = rule.threshold
        try:
            expected = es.run(case.network, case.inputs, resolution=chip.chip.step, **settings)
        except PotentialOverflow:
            continue
        found, report = es.Hardware(chip).run(case.network, case.inputs, closed=True, **settings)
        assert_same(expected.counts, found.counts)
        for name in expected.recorded:
            for a, b in zip(expected.spikes(name), found.spikes(name), strict=True):
                assert np.array_equal(a, b), (i, name)
        assert report.waits.sum() == 0
        assert report.counts["dropped"] == 0
        done += 1
        maxima += any(p.kind == "maximum" for p in case.network.populations.values())
    assert done > 60
    assert maxima > 20


def test_every_core_of_a_maximum_counts_for_itself():
    """Windows on four cores; what starts once, as biases do, reaches all of them without a message."""
    net = es.Network()
    net.source("start", (1, 4, 2), "start", period=0.1)
    net.driven("in", (1, 4, 2), threshold=10)
    net.maximum("pooled", (1, 2, 2))
    net.maximum("all", (1, 1, 2))
    net.readout("output", 2)
    net.connect("start", "pooled", es.Windows((1, 2)))
    net.connect("in", "all", es.Windows((1, 4)))
    net.connect("pooled", "output", np.array([[1, 2], [3, 4], [5, 6], [7, 8]]))
    net.connect("all", "output", np.array([[10, 0], [0, 10]]))
    given = {"in": [3, 9, 4, 8, 5, 7, 6, 6]}
    hardware = es.Hardware(architecture(TIMELESS.format(columns=8, step=20) + EVENT.format(n=1)))
    expected, (found, report) = es.run(net, given, steps=4, resolution=20), hardware.run(net, given, closed=True, steps=4)
    assert expected.spikes_per_population()["pooled"] == 4
    assert expected.spikes_per_population()["all"] > 4
    assert_same(expected.counts, found.counts)
    # Each of the eight inputs reaches one core of windows, each of the maxima the two cores of the output.
    assert report.counts["message"] == expected.spikes_per_population()["in"] + 2 * (4 + expected.spikes_per_population()["all"])


CHAIN = """
name = "chain"
[chip]
columns = 4
rows = 1
step_us = 1
[links]
east_west_ns = 10
hold_ns = {hold}
buffer = {buffer}
north_south_ns = 10
when_full = "{when_full}"
[core]
kind = "event"
neurons = 8
queue = {queue}
update_ns = 1
spike_ns = 2
message_out_ns = {out}
message_in_ns = 3
synapse_ns = {synapse}
"""


def chain_text(hold=0, buffer=0, when_full="block", queue=0, out=4, synapse=5):
    return CHAIN.format(hold=hold, buffer=buffer, when_full=when_full, queue=queue, out=out, synapse=synapse)


def chain(placed=None, **settings):
    return es.Hardware(architecture(chain_text(**settings), **(placed or {})))


def relay():
    """A spike of the source at 0.1 us has one neuron fire, which has the next one fire."""
    net = es.Network()
    net.source("source", 1)
    net.spiking("a", 1, threshold=1)
    net.spiking("b", 1, threshold=1)
    net.readout("output", 2)
    net.connect("source", "a", [[1]])
    net.connect("a", "b", [[1]])
    net.connect("b", "output", [[-1, 1]])
    return net


def test_a_relay_by_hand():
    """From core to core: 4 to send a message, 10 to go, 3 to take it, 5 for its weight, 1 for the neuron's update, 2 for its spike."""
    result, report = chain().run(relay(), {"source": ([0.1], [0])}, closed=True, steps=1)
    # 100 + 4 + 10 + 8 and the update: 123; + 2 + 4 + 10 + 8 + 1 = 148; the decision after 2 + 4 + 10 + 13 more.
    assert result.spikes("a").ticks.tolist() == [123_000]
    assert result.spikes("b").ticks.tolist() == [148_000]
    assert report.decision == result.counts.decision_tick == 177_000
    assert result.decision == 1
    assert result.info.resolution == 10**6
    expected = {"neuron update": 2, "spike": 2, "message out": 3, "message": 3, "east-west hop": 3, "message in": 3, "synapse": 4}
    assert {unit: n for unit, n in report.counts.items() if n} == expected


def test_what_takes_back_a_spike_in_time():
    """Plus and minus reach the neuron one after the other: the second undoes what the first made due while its update waits."""
    net = es.Network()
    net.source("source", 2)
    net.spiking("a", 3, threshold=1)
    net.readout("output", 1)
    net.connect("source", "a", [[1, 1, 1], [0, 0, -1]])
    net.connect("a", "output", [[1], [1], [1]])
    given = {"source": ([0.1, 0.1], [0, 1])}
    assert es.run(net, given, steps=1, resolution=10**6).spikes("a").neurons.tolist() == [0, 1]
    # Served at 100 + 4 + 10 + 3 + 3 * 5 = 132, and 18 later: neurons 0 and 1 take 7 each before neuron 2 would be updated at 147.
    result, _ = chain().run(net, given, closed=True, steps=1)
    assert result.spikes("a").neurons.tolist() == [0, 1, 2]
    assert result.spikes("a").ticks.tolist() == [133_000, 140_000, 147_000]
    # A message takes longer out: updates at 133 and 143, and at 153, when the minus has come (at 154 - 4: two messages of 7 and 14).
    result, _ = chain(out=7).run(net, given, closed=True, steps=1)
    assert result.spikes("a").neurons.tolist() == [0, 1]


def burst(n=6):
    """Spikes of n sources at once, each to a neuron of the output."""
    net = es.Network()
    net.source("source", n)
    net.readout("output", 1)
    net.connect("source", "output", np.ones((n, 1), int))
    return net, {"source": ([0.1] * n, range(n))}


@pytest.mark.parametrize("closed", [True, False])
def test_links_hold_messages(closed):
    """Sent at 101, 102, ...; the first link takes one every 8, and so does the second; each hop takes 10; then 3 + 1 at the core."""
    net, given = burst()
    hardware = chain({"source": [0], "output": [2]}, hold=8, out=1, synapse=1)
    _, report = hardware.run(net, given, steps=1, **({"closed": True} if closed else {"resolution": 1000}))
    assert report.decision == (101 + 20 + 4 if closed else 101 + 5 * 8 + 20 + 4) * 1000
    assert report.waits.tolist() == [0] * 6
    assert report.links[:2, 0].tolist() == [6, 6]
    assert report.counts["east-west hop"] == 12


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(("when_full", "dropped"), [("block", 0), ("drop", 3)])
def test_queues_that_are_full(closed, when_full, dropped):
    """A core that serves in 30 and has room for two takes the first, has the second wait, and then has no room until 143, and 173."""
    net, given = burst()
    hardware = chain(when_full=when_full, queue=2, out=10, synapse=27)
    _, report = hardware.run(net, given, steps=1, **({"closed": True} if closed else {"resolution": 1000}))
    # They come at 120, 130, ... 170, and are served by 150, 180 and 210: those of 140, 160 and 170 find no room.
    assert report.counts["dropped"] == dropped
    assert report.counts["message in"] == 6 - dropped
    assert sorted(report.waits.tolist()) == ([0, 20_000, 30_000] if dropped else [0, 20_000, 20_000, 20_000, 20_000, 20_000])


@pytest.mark.parametrize("buffer", [0, 1, 2])
def test_a_ring_keeps_its_messages(buffer):
    """Eight neurons in a ring over six tiles, three spikes on their way for ever: none is lost or made, however little room there is."""
    net = es.Network()
    net.source("start", 8)
    net.spiking("ring", 8, threshold=1)
    net.readout("output", 1)
    net.connect("start", "ring", csr_array(np.eye(8, dtype=int)))
    net.connect("ring", "ring", csr_array(np.roll(np.eye(8, dtype=int), 1, 1)), delay=0.001)
    changes = {
        "columns = 4\nrows = 1": "columns = 2\nrows = 3\ncores_per_tile = 3",
        "neurons = 8": "neurons = 1",
        "step_us = 1": "step_us = 10",
    }
    text = chain_text(hold=9, buffer=buffer, queue=1 if buffer else 0)
    for old, new in changes.items():
        text = text.replace(old, new)
    chip = architecture(text, ring=[0, 3, 6, 9, 1, 4, 7, 10], start=[2, 5, 8, 11, 12, 13, 14, 15])
    result, report = es.Hardware(chip).run(net, {"start": ([0.01] * 3, [0, 3, 4])}, closed=True, steps=20)
    fired = result.spikes_per_population()["ring"]
    assert fired > 1000
    assert report.counts["dropped"] == 0
    # Every message served makes a spike, and every spike a message: at the end three of them are on their way, or due.
    assert 0 <= report.counts["message in"] - fired <= 3
    assert 0 <= report.counts["message"] - report.counts["message in"] <= 3
    # Each of the three has gone round as the others have.
    assert np.ptp(result.spike_counts("ring")) <= 3


def test_nothing_but_a_source_and_a_readout_is_a_replay():
    """Where no neuron fires, what the chip takes changes nothing."""
    rng = np.random.default_rng(8)
    net = es.Network()
    net.source("in", 40)
    net.readout("output", 30)
    net.connect("in", "output", rng.integers(-3, 4, (40, 30)))
    given = {"in": (rng.random(100), rng.integers(0, 40, 100))}
    for text in (chain_text(), chain_text(hold=7, buffer=2, when_full="drop", queue=3)):
        text = text.replace("neurons = 8", "neurons = 10").replace("columns = 4", "columns = 8")
        hardware = es.Hardware(architecture(text))
        _, closed = hardware.run(net, given, closed=True, steps=20)
        replayed = hardware.replay(net, es.run(net, given, steps=20, resolution=10**6))
        assert closed.counts == replayed.counts
        assert sorted(closed.waits.tolist()) == sorted(replayed.waits.tolist())
        assert (closed.counts["dropped"] > 0) == ("drop" in text)


def test_what_is_no_closed_run():
    net, given = burst()
    with pytest.raises(HardwareError, match="is part of a cycle with fewer whole steps of delay than projections"):
        ring = es.Network()
        ring.source("source", 1)
        ring.spiking("a", 1, threshold=1)
        ring.readout("output", 1)
        ring.connect("source", "a", [[1]])
        ring.connect("a", "output", [[1]])
        ring.spiking("b", 1, threshold=1)
        ring.connect("a", "b", [[1]])
        ring.connect("b", "a", [[1]], delay=1)
        es.Hardware("loihi").run(ring, {"source": ([0.1], [0])}, closed=True, steps=1)
    with pytest.raises(HardwareError, match="has no setting 'resolution'"):
        chain().run(net, given, closed=True, resolution=1)
    with pytest.raises(HardwareError, match="records 'all' or 'none', found 'source'"):
        chain().run(net, given, closed=True, record="source")
    net = es.Network()
    net.driven("input", 1, threshold=1)
    net.readout("output", 1)
    net.connect("input", "output", [[2**30]])
    with pytest.raises(PotentialOverflow, match=r"output: .* in step 3 "):
        chain().run(net, {"input": [1]}, closed=True, steps=5)


def test_how_far_spikes_have_moved():
    net, given = relay(), {"source": ([0.1, 0.2], [0, 0])}
    ordinary = es.run(net, given, steps=1, resolution=10**6)
    closed, _ = chain().run(net, given, closed=True, steps=1)
    found = moved(ordinary, closed)
    # Neuron a comes 23 ns later each time, b 48 ns.
    assert (found["spikes"], found["ordinary_spikes"], found["changed"]) == (4, 4, 0)
    assert [found[f"{key}_shift_steps"] for key in ("mean", "p50", "p95")] == pytest.approx([0.0355, 0.023, 0.048])
    later, _ = chain(synapse=900).run(net, given, closed=True, steps=1)
    assert moved(ordinary, later)["changed"] == 4
    assert moved(ordinary, later)["p95_shift_steps"] is None
    with pytest.raises(HardwareError, match="different networks"):
        moved(ordinary, es.run(burst()[0], burst()[1], steps=1))


def test_runs_that_outgrow_the_first_arrays():
    """More spikes, messages and entries than there is room for at first; and more than compiled code takes at a time."""
    rng = np.random.default_rng(4)
    net = es.Network()
    net.driven("in", 200, threshold=100)
    net.spiking("a", 200, threshold=9, signed=True)
    net.readout("output", 5)
    net.connect("in", "a", rng.choice([-1, 1, 1], (200, 200)))
    net.connect("a", "output", rng.choice([-1, 1], (200, 5)))
    given = {"in": rng.integers(50, 100, 200)}
    chip = architecture(TIMELESS.format(columns=40, step=9999) + EVENT.format(n=20))
    expected = es.run(net, given, steps=100, resolution=9999)
    found, report = es.Hardware(chip).run(net, given, closed=True, steps=100)
    assert report.counts["message"] > 2**17
    assert_same(expected.counts, found.counts)
    for name in ("in", "a"):
        assert all(np.array_equal(a, b) for a, b in zip(expected.spikes(name), found.spikes(name), strict=True))


def test_a_full_core_holds_up_the_links_before_it():
    """While the core serves the first message, the second waits in the last link, the third in the first; the others have not left."""
    net, _ = burst()
    hardware = chain({"source": [0], "output": [2]}, hold=8, buffer=1, queue=1, out=1, synapse=200)
    _, report = hardware.run(net, {"source": ([0.9] * 6, range(6))}, closed=True, steps=1)
    # Those that have gone over a link.
    assert report.links[:2, 0].tolist() == [2, 1]
    assert len(report.waits) == 1
    report = hardware.replay(net, es.run(net, {"source": ([0.1] * 6, range(6))}, steps=1, resolution=1000))
    assert report.links[:2, 0].tolist() == [6, 6]
    # A place is free when a message has been served; the next one then comes over the last link.
    assert report.waits.tolist() == [0] * 6
    assert report.duration == (100 + 1 + 20 + 6 * 203 + 5 * 10) * 1000

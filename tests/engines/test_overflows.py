"""Where potentials leave int32: behind an exit, before one, and who is named; the largest keys of the queue."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import INT32_MAX, Spikes, assert_same, both_overflow, run_both, run_layered, run_queue, run_reference

import eventsim as es
from eventsim.engines.queue import engine as queue
from eventsim.errors import PotentialOverflow, RunError
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.model.tables import Dense


@pytest.mark.parametrize("resolution", [1, 3, 1023, 2**20])
def test_an_overflow_behind_the_exit_is_none(resolution):
    """In the window of the exit, which the layered engine runs whole before it knows of the exit."""
    net = Network()
    net.source("s", 2)
    net.spiking("a", 1, 9)
    net.readout("out", 1)
    net.connect("s", "a", [[0], [2**30]])
    net.connect("s", "out", [[10], [0]])
    events = {"s": ([0.5, 0.75, 0.75, 0.75], [0, 1, 1, 1])}
    job = prepare(net, events, steps=2, resolution=resolution, exit_rule=ExitRule("potential", 5))
    if resolution == 1:  # then it is not behind it
        with pytest.raises(PotentialOverflow, match=r"^a: "):
            run_layered(job, Spikes())
        return
    counts, _ = run_both(job)
    assert (counts.end_tick, counts.exited) == (-(-resolution // 2), True)
    assert run_layered(job, Spikes()).engine == "queue"
    assert es.run(net, events, steps=2, resolution=resolution, exit_potential=5).info.settings["engine"] == "queue"


def test_spikes_before_an_overflow_are_given_once():
    """The windows before had been recorded by the layered engine when it left the run to the queue."""
    net = Network()
    net.source("s", 3)
    net.spiking("a", 1, 1)
    net.readout("out", 1)
    net.connect("s", "a", [[1], [0], [2**31 - 2]])
    net.connect("s", "out", [[0], [10], [0]])
    events = {"s": ([0.25, 1.25, 2.25, 2.5, 2.75, 2.75], [0, 0, 0, 1, 2, 2])}
    job = prepare(net, events, steps=3, exit_rule=ExitRule("potential", 5))
    _, spikes = run_both(job)
    assert [tick for tick, _, _ in spikes.of("a")] == [2**18, 5 * 2**18, 9 * 2**18]
    assert run_layered(job, Spikes()).engine == "queue"


def test_the_first_population_in_topological_order_is_named():
    """Of those beyond int32 at one tick."""
    net = Network()
    net.source("src", 1)
    net.readout("z", 1, v0=INT32_MAX)
    net.readout("a", 1, v0=INT32_MAX)
    net.spiking("m", 1, 10, v0=0)
    net.connect("src", "a", [[1]])
    net.connect("src", "z", [[1]])
    net.connect("src", "m", [[INT32_MAX]])
    net.connect("src", "m", [[INT32_MAX]], name="again")
    job = prepare(net, {"src": ([0.5], [0])}, steps=1, resolution=8)
    both_overflow(net, {"src": ([0.5], [0])}, tick=4, name=next(name for name in job.order if name != "src"))


def test_an_overflow_is_found_where_the_queue_has_no_room_for_its_keys():
    """T * R near 2**50, and thousands of neurons."""
    net = Network()
    net.source("src", 5000)
    net.readout("out", 1)
    net.connect("src", "out", Dense(np.full((5000, 1), INT32_MAX)))
    events = {"src": ([1, 2], [4999, 3])}
    job = prepare(net, events, steps=2**10, resolution=2**40)
    assert queue.too_much(job) is not None
    with pytest.raises(RunError, match="64-bit keys of the queue engine"):
        run_queue(job, NoRecorder())
    for run in (run_reference, run_layered):
        with pytest.raises(PotentialOverflow, match=r"^out: .* in step 2 \(tick 2199023255552\)"):
            run(job, NoRecorder())


@pytest.mark.parametrize("neurons", [4092, 4093])
def test_keys_of_the_queue_at_their_limit(neurons):
    """4,095 neurons and streams have room up to tick 2**50, one more has not; with delays beyond the end."""
    net = Network()
    net.source("src", 1)
    net.spiking("n", neurons - 1, 1)
    net.readout("out", 1)
    net.connect("src", "n", Dense(np.ones((1, neurons - 1), int)), delay=0.75)
    net.connect("n", "out", Dense(np.ones((neurons - 1, 1), int)), delay=1023)
    job = prepare(net, {"src": ([0.5, 1024], [0, 0])}, steps=2**10, resolution=2**40)
    assert (queue.too_much(job) is None) == (neurons == 4092)
    if neurons == 4092:
        counts = run_queue(job, spikes := Spikes())
        layered_counts = run_layered(job, found := Spikes())
        assert_same(layered_counts, counts)
        assert found.all() == spikes.all()
        assert counts.spikes.sum() == neurons - 1

"""What engines hand over during a run: spikes in parts, progress; buffers that grow."""

from __future__ import annotations

import time

import numpy as np
import pytest
from judges.engines import MOST_SPIKES, Spikes, run_both, run_queue
from judges.random_networks import random_case
from judges.small_networks import one_neuron
from numba.core import event

from eventsim.engines.queue import state
from eventsim.engines.registry import Engines
from eventsim.job.preparation import prepare
from eventsim.model.network import Network
from eventsim.model.tables import Dense
from eventsim.simulate import Simulator


def test_many_delayed_spikes_in_flight():
    # 3 neurons fire at each of 2000 ticks, and every spike travels for 1500: the ring of 2 * 3 + 1024 spikes has to grow,
    # also after its head has moved. The slower second projection shares the arrays.
    net = Network()
    net.driven("in", 3, 1, v0=10**6)
    net.readout("out", 3)
    net.connect("in", "out", Dense(np.eye(3, dtype=int)), delay=15)
    net.connect("in", "out", Dense(10**4 * np.eye(3, dtype=int)), delay=3.0625)
    counts, spikes = run_both(prepare(net, {"in": [0, 0, 0]}, steps=20, resolution=100))
    assert spikes.number == 6000
    # Arrived at tick 2000: fired at ticks 1..500, and 1..1694 (306.25 ticks round to 306).
    assert counts.readout["out"][-1].tolist() == [500 + 10**4 * 1694] * 3
    assert counts.deliveries.sum(0).tolist() == [1500, 5082]


def test_ring_grows_after_its_head_moved():
    # A neuron fires at ticks 1..500 and at every tick of 2300..5299; each spike travels for 2000 ticks. By tick 2500 the first
    # 500 have left the ring of 2 * 1 + 1024, by tick 3326 it is full and grows with its head at place 500.
    net = Network()
    net.source("src", 2)
    net.spiking("n", 1, 1)
    net.readout("out", 1)
    net.connect("src", "n", Dense([[1], [3000]]))
    net.connect("n", "out", Dense([[1]]), delay=2000 / 128)
    times = np.append(np.arange(1, 501), 2300) / 128
    counts, spikes = run_both(prepare(net, {"src": (times, [0] * 500 + [1])}, steps=60, resolution=128))
    assert spikes.number == 3500
    assert counts.readout["out"][-1].tolist() == [3500]  # the last arrives at 7299, the run ends at 7680
    assert counts.readout["out"][19].tolist() == [500]  # tick 2560
    assert counts.readout["out"][39].tolist() == [1321]  # tick 5120: those of 2300..3120 as well


@pytest.mark.parametrize("room", [1, 10, 64])
def test_spikes_are_handed_over_in_parts(monkeypatch, room):
    monkeypatch.setattr(state, "LOG", room)
    for i in range(10):
        run_both(random_case(np.random.default_rng([5, 7, i]), 7).job(7), MOST_SPIKES)
    net = one_neuron([1], threshold=1, v0=500)
    job = prepare(net, {"src": ([], [])}, steps=1, resolution=1000)
    spikes = Spikes()
    run_queue(job, spikes)
    assert spikes.of("n") == [(t, 0, 1) for t in range(1, 501)]
    assert spikes.calls > 500 // (room + 3) - 1  # 3 neurons: at most room + 3 spikes a time


def test_progress_reports_ticks():
    net = one_neuron([1], threshold=1, v0=5)
    told: list[int] = []
    Engines(net).run("queue", prepare(net, {"src": ([], [])}, steps=1, resolution=10), Spikes(), told.append)
    assert told
    assert told == sorted(told)
    assert told[-1] <= 10


def test_source_that_repeats_its_neurons_in_a_tick():
    """More spikes in a tick than the source has neurons, beside spikes that have signs."""
    net = Network(output="out")
    net.source("src", 3)
    net.source("more", 3)
    net.spiking("signed", 4, 2, signed=True)
    net.spiking("n", 40, 3, signed=True)
    net.readout("out", 2)
    rng = np.random.default_rng(12)
    net.connect("more", "signed", rng.integers(-2, 3, (3, 4)))
    net.connect("src", "n", rng.choice([-1, 1], (3, 40)))
    net.connect("signed", "n", rng.choice([-1, 1], (4, 40)))
    net.connect("n", "out", rng.integers(-3, 4, (40, 2)))
    times = np.sort(rng.integers(1, 9, 4000)) / 2
    events = {"src": (times, rng.integers(0, 3, 4000)), "more": (times[::20], rng.integers(0, 3, 200))}
    for resolution in (1, 2):
        counts, _ = run_both(prepare(net, events, steps=4, resolution=resolution))
        assert counts.deliveries[:, 1].sum() == 4000


@pytest.mark.parametrize("engine", ["layered", "queue"])
def test_compiling_is_no_part_of_the_run(engine, monkeypatch):
    """Whatever the first run has to compile."""
    net = Network()
    net.driven("in", 1, 5)
    simulator, run = Simulator(net), Engines.run

    def compiling(*args):
        event.start_event("numba:compile", data={})
        time.sleep(0.2)
        event.end_event("numba:compile", data={})
        return run(*args)

    monkeypatch.setattr(Engines, "run", compiling)
    start = time.perf_counter()
    result = simulator.run({"in": [3]}, steps=2, engine=engine)
    assert 0 < result.summary()["wall_seconds"] <= time.perf_counter() - start - 0.2

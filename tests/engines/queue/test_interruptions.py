"""Compiled code comes back to Python, so that Ctrl-C strikes."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import Spikes, assert_same, run_layered, run_queue

from eventsim.engines.queue.kernels.delivery import PAUSE_AFTER, WORK
from eventsim.engines.registry import Engines
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare
from eventsim.model.network import Network
from eventsim.model.tables import Dense


@pytest.mark.parametrize("delay", [0, 0.5])
@pytest.mark.parametrize("from_neurons", [False, True])
def test_the_queue_comes_back_within_a_tick(delay, from_neurons):
    """So that Ctrl-C strikes and progress shows: by work done, not by ticks or visits. All here is delivered in one tick."""
    neurons, events = 1000, 2000
    net = Network()
    net.source("src", 500)
    if from_neurons:
        net.spiking("relay", 500, 1)
        net.connect("src", "relay", Dense(np.eye(500, dtype=int)))
    net.spiking("n", neurons, 1)
    net.readout("out", 1)
    for i in range(40 if from_neurons else 10):
        net.connect("relay" if from_neurons else "src", "n", Dense(np.full((500, neurons), 1)), delay=delay, name=f"p{i}")
    net.connect("n", "out", Dense(np.ones((neurons, 1), int)))
    job = prepare(net, {"src": (np.full(events, 0.25), np.arange(events) % 500)}, steps=1, resolution=8)

    class Watcher(Spikes):
        """How much had been delivered at each visit of the recorder."""

        visits = 0

        def wants(self, population):
            self.visits += population == "n"
            return True

    watcher, told = Watcher(), []
    counts = Engines(net).run("queue", job, watcher, told.append)
    work = int(counts.deliveries.sum() + counts.additions.sum() // WORK)
    assert work > PAUSE_AFTER
    # Once for each share of the work, once at the end; progress has the tick that is under way.
    assert work // PAUSE_AFTER <= watcher.visits - 1 <= work // PAUSE_AFTER + 2
    assert len(told) == watcher.visits
    assert set(told) <= {2, 6, 3, 7, *range(2, 9)}
    assert watcher.of("n") == sorted(watcher.of("n"))
    found = Engines(net).run("layered", job, spikes := Spikes())
    assert_same(found, counts)
    assert spikes.all() == watcher.all()


def test_a_recorder_that_wants_nothing_is_asked_too():
    """There may be nobody but sources and readouts; Ctrl-C is noticed when a recorder is asked."""
    net = Network()
    net.source("src", 1)
    net.readout("out", 1)
    net.connect("src", "out", [[1]])

    class Impatient(NoRecorder):
        """Stops the run."""

        def wants(self, population):
            raise KeyboardInterrupt

    for run in (run_queue, run_layered):
        with pytest.raises(KeyboardInterrupt):
            run(prepare(net, {"src": ([0.25], [0])}, steps=1), Impatient())

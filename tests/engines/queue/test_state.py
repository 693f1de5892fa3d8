"""The state of a run of the queue engine: what is in its heap at the start, and what it is with more room."""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.plan import plan_for
from eventsim.engines.queue.state import start, widened, with_more_room
from eventsim.engines.registry import Engines
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare
from eventsim.kernels.heap import is_heap
from eventsim.model.network import Network


def network():
    """Two driven neurons, a source with a delay, and a population that begins due."""
    net = Network()
    net.driven("in", 2, 10)
    net.source("src", 3)
    net.spiking("n", 4, 5, v0=[0, 5, 0, 7], signed=True)
    net.readout("out", 2)
    net.connect("in", "n", np.ones((2, 4), int), delay=0.5)
    net.connect("src", "n", np.ones((3, 4), int), delay=1)
    net.connect("n", "out", np.ones((4, 2), int))
    return net


def test_what_is_in_the_heap_at_the_start():
    job = prepare(network(), {"in": [40, 0], "src": ([0.25, 0.75], [2, 0])}, steps=2, resolution=4)
    plan = plan_for(job)
    state = start(job, plan)
    keys = state.heap[: state.progress["heap"]]
    assert is_heap(state.heap, len(keys))
    rank = {name: q for q, name in enumerate(job.order)}
    driven, spiking = (plan.populations[rank[name]] for name in ("in", "n"))
    due = {(int(key) >> plan.bits, int(key) & ((1 << plan.bits) - 1)) for key in keys}
    # A current of 40 a step brings 10 in the first tick; the first event arrives a step after tick 1; n 1 and n 3 are at their threshold.
    first_event = int(plan.projections["stream"][1])
    assert due == {(1, driven["first_entity"]), (5, first_event), (1, spiking["first_entity"] + 1), (1, spiking["first_entity"] + 3)}
    assert state.look[spiking["first"] : spiking["end"]].tolist() == [0, 1, 0, 1]
    # Streams come before the neurons of their target, and entities have their own numbers.
    assert spiking["first_stream"] <= first_event < spiking["first_entity"]
    assert int(plan.populations["end_entity"][-1]) == 2 + 3 + 4 + 2 + 2


def test_spikes_on_their_way_stay_in_order_when_their_ring_grows():
    job = prepare(network(), {"in": [40, 0], "src": ([], [])}, steps=2, resolution=4)
    plan = plan_for(job)
    state = start(job, plan)
    ring = state.rings[0]
    size = int(ring["size"])
    assert size == 2 * 2 + 1024
    # It is full, and begins near the end of its places.
    ring["head"], ring["used"] = size - 3, size
    places = (size - 3 + np.arange(size)) % size
    state.ring_tick[ring["start"] + places] = np.arange(size)
    state.ring_neuron[ring["start"] + places] = np.arange(size) % 2
    bigger = with_more_room(state, 0)
    grown = bigger.rings[0]
    assert (grown["head"], grown["used"], grown["size"]) == (0, size, 2 * size)
    assert bigger.ring_tick[grown["start"] : grown["start"] + size].tolist() == list(range(size))
    assert bigger.ring_neuron[grown["start"] : grown["start"] + size].tolist() == [i % 2 for i in range(size)]
    assert len(bigger.ring_tick) == int(bigger.rings["size"].sum())


def test_widening_changes_no_distance():
    job = prepare(network(), {"in": [40, 0], "src": ([], [])}, steps=2, resolution=4)
    state = start(job, plan_for(job))
    assert (state.d.dtype, state.low.dtype) == (np.int32, np.int32)
    state.low[3] = -5
    wide = widened(state)
    assert (wide.d.dtype, wide.low.dtype) == (np.int64, np.int64)
    assert wide.d.tolist() == state.d.tolist()
    # What no 32-bit distance is below, no 64-bit one is below either.
    assert wide.low[3] == -5
    assert set(np.delete(wide.low, 3).tolist()) == {-(2**62)} == {int(wide.progress["lowest"])}


def test_the_example_runs_alike_everywhere():
    net = network()
    job = prepare(net, {"in": [40, 0], "src": ([0.25, 0.75], [2, 0])}, steps=2, resolution=4)
    counts = [Engines(net).run(name, job, NoRecorder()) for name in ("reference", "queue", "layered")]
    assert len({tuple(c.spikes.ravel().tolist()) for c in counts}) == 1
    assert counts[0].spikes.sum() > 10

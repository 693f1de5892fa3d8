"""Clocked runs of many images in one call of compiled code: each as the queue engine runs it alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judges.engines import assert_same

import eventsim as es
from eventsim.engines.registry import Engines
from eventsim.model.tables import spatial


@pytest.fixture
def alone(monkeypatch):
    """Jobs that were run by themselves."""
    jobs, engines_run = [], Engines.run

    def run(self, engine, job, *rest):
        jobs.append(job)
        return engines_run(self, engine, job, *rest)

    monkeypatch.setattr(Engines, "run", run)
    return jobs


@st.composite
def networks(draw):
    """Convolutions and dense tables of weights of one magnitude, which run from rasters; neurons of all kinds, biases."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    net = es.Network()
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 2))
    net.image_input(shape, scale=draw(st.integers(1, 2)), offset=draw(st.sampled_from([0, 90])))
    channels = draw(st.sampled_from([1, 3, 31, 32, 40, 65]))
    encoder = es.Conv2d(rng.integers(-3, 4, (3, 3, shape[2], channels)), padding=1)
    net.driven("in", (*shape[:2], channels), rng.integers(200, 900, channels), v0=rng.integers(-300, 300, channels), encoder=encoder)
    before = "in"
    for i in range(draw(st.integers(1, 3))):
        name, source = f"n{i}", net.populations[before].shape
        signs, outputs = rng.choice([-1, 1], 10**6), draw(st.sampled_from([1, 5, 32, 33, 70]))
        if draw(st.booleans()):
            kernel = draw(st.integers(1, 3))
            pool = 2 if min(spatial(source)[:2]) > 1 and draw(st.booleans()) else 1
            weights = signs[: kernel * kernel * spatial(source)[2] * outputs].reshape(kernel, kernel, -1, outputs)
            table = es.Conv2d(draw(st.integers(1, 3)) * weights, padding=kernel - 1, pool_after=pool)
            target = table.output_shape(source)
        else:
            size = int(np.prod(source))
            table, target = es.Dense(draw(st.integers(1, 3)) * rng.choice([-1, 1], (size, outputs))), (outputs,)
        signed = draw(st.booleans())
        reset = "subtract" if signed else draw(st.sampled_from(["subtract", "zero"]))
        net.spiking(name, target, rng.integers(1, 9, target[-1]), v0=rng.integers(-3, 9, target[-1]), signed=signed, reset=reset)
        net.connect(before, name, table)
        if draw(st.booleans()):
            net.bias(name, rng.integers(-2, 3, target[-1]))
        before = name
    net.readout("out", 3, v0=draw(st.sampled_from([0, [1, 5, -2]])))
    net.connect(before, "out", rng.integers(-9, 10, (net.populations[before].size, 3)))
    images = rng.integers(0, 256, (draw(st.integers(1, 6)), *shape), dtype=np.uint8)
    images[rng.integers(len(images))] = 0
    return net, images


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(networks(), st.integers(1, 40))
def test_each_is_as_alone(alone, case, steps):
    net, images = case
    del alone[:]
    simulator = es.Simulator(net)
    runs = simulator.run_many(images, steps=steps, resolution=1)
    assert not alone
    assert {r.info.settings["engine"] for r in runs} == {"layered"}
    for image, found in zip(images, runs, strict=True):
        assert_same(es.run(net, image, steps=steps, resolution=1, engine="queue").counts, found.counts)
    # What one call leaves, another kind of run does not see.
    assert_same(runs[0].counts, simulator.run(images[0], steps=steps, resolution=1).counts)
    # That which keeps no spikes is made as one of many is.
    assert_same(runs[0].counts, simulator.run(images[0], steps=steps, resolution=1, record="none").counts)
    assert_same(runs[-1].counts, simulator.run_many(images[::-1], steps=steps, resolution=1)[0].counts)


def network(seed=5, **neuron):
    rng = np.random.default_rng(seed)
    net = es.Network()
    net.image_input((4, 4, 1))
    net.driven("in", (4, 4, 2), 500, v0=250, encoder=es.Conv2d(rng.integers(-3, 4, (3, 3, 1, 2)), padding=1))
    net.spiking("n", 20, 3, v0=1, **neuron)
    net.readout("out", 3)
    net.connect("in", "n", rng.choice([-1, 1], (32, 20)))
    net.connect("n", "out", rng.integers(-5, 9, (20, 3)))
    return net


def images(number):
    return np.random.default_rng(6).integers(0, 256, (number, 4, 4, 1), dtype=np.uint8)


def test_more_than_one_call_holds(alone):
    net, asked = network(), []

    def one_by_one():
        for image in images(150):
            asked.append(len(done))
            yield image

    done = []
    runs = es.Simulator(net).run_many(one_by_one(), steps=8, resolution=1, each=lambda number, result: done.append(number))
    assert done == list(range(150))
    # The first shows that it is possible; then there are as many as 64.
    assert asked == [0] + [1] * 64 + [65] * 64 + [129] * 21
    assert not alone
    for image, found in zip(images(150), runs, strict=True):
        assert found.image.tolist() == image.tolist()
        assert_same(es.run(net, image, steps=8, resolution=1, engine="reference").counts, found.counts)


@pytest.mark.parametrize(
    ("neuron", "common"),
    [
        ({}, {"resolution": 2}),
        ({}, {"exit_potential": 20}),
        ({}, {"max_spikes": 60}),
        ({}, {"record": ["n"]}),
        ({}, {"potentials": ["n"]}),
        ({}, {"engine": "queue"}),
        ({"refractory": 2}, {}),
    ],
)
def test_what_cannot_be_done_at_once_is_done_one_by_one(alone, neuron, common):
    net, common = network(**neuron), {"steps": 5, "resolution": 1} | common
    runs = es.Simulator(net).run_many(images(6), **common)
    assert len(alone) == 6
    for image, found in zip(images(6), runs, strict=True):
        assert_same(es.run(net, image, **common).counts, found.counts)


def test_one_whose_potentials_are_too_large_for_it(alone):
    """A current that leaves 32 bits within the run: all inputs that were to run with it run by themselves."""
    net = es.Network()
    net.driven("in", 2, 2**30)
    net.readout("out", 2)
    net.connect("in", "out", np.eye(2, dtype=int))
    currents = [[5, 2**20], [2**30 + 5, 7], [2**20, 9], [7, 7]]
    runs = es.Simulator(net).run_many([{"in": c} for c in currents], steps=9, resolution=1)
    assert len(alone) == 3
    for c, found in zip(currents, runs, strict=True):
        assert_same(es.run(net, {"in": c}, steps=9, resolution=1, engine="reference").counts, found.counts)


def test_one_alone_after_another_that_needs_another_way():
    """Runs that keep no spikes, one after the other by one simulator, the first of them with potentials that leave 32 bits."""
    net, ticks = network(), []
    simulator = es.Simulator(net)
    for largest in (2**30, 300, 2**30, 500):
        currents = {"in": np.random.default_rng(largest).integers(-largest, largest, 32)}
        found = simulator.run(currents, steps=9, resolution=1, record="none", progress=ticks.append)
        assert_same(es.run(net, currents, steps=9, resolution=1, engine="reference").counts, found.counts)
        assert (found.recorded, found.info.settings["engine"]) == ([], "layered")
    assert ticks == [9] * 4


def test_traces_and_errors_among_them(tmp_path, alone):
    net, seen = network(), []
    pictures = list(images(9))
    es.Simulator(net).run_many(pictures, steps=5, resolution=1, traces={4: tmp_path / "4.h5"})
    with es.Trace(tmp_path / "4.h5") as trace:
        assert_same(es.run(net, pictures[4], steps=5, resolution=1).counts, trace.counts)
    pictures[6] = pictures[6].astype(float)
    with pytest.raises(es.InputError, match="input 6: the network takes pixels"):
        es.Simulator(net).run_many(pictures, steps=5, resolution=1, each=lambda number, result: seen.append(number))
    # Those before it have been run.
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("engine", ["auto", "queue"])
def test_what_is_wrong_with_all_inputs_names_the_first(engine):
    net = es.Network()
    net.driven("in", 4, threshold=100)
    net.spiking("h", 64, threshold=100)
    net.readout("o", 100)
    net.connect("in", "h", np.ones((4, 64), int))
    net.connect("h", "o", np.ones((64, 100), int))
    with pytest.raises(es.EventsimError, match=r"^input 0: 1000000 steps are too many"):
        es.Simulator(net).run_many([{"in": [1, 2, 3, 4]}] * 2, steps=10**6, resolution=1, engine=engine)

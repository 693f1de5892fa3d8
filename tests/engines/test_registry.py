"""Which engine runs what: each says what it cannot run, and why."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

import eventsim as es
from eventsim.engines import registry
from eventsim.engines.reference import kinds, neurons
from eventsim.engines.registry import ENGINES, Engines
from eventsim.errors import RunError
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare
from eventsim.model.network import Network
from eventsim.model.populations import Readout
from eventsim.model.registry import POPULATIONS


def pair(cyclic=False, sources=1):
    """A source and a neuron; maybe one that excites itself."""
    net = Network()
    net.source("src", sources)
    net.spiking("n", 1, 1)
    net.readout("out", 1)
    net.connect("src", "n", np.ones((sources, 1), int))
    net.connect("n", "out", [[1]])
    if cyclic:
        net.connect("n", "n", [[-1]], delay=1)
    return net


EVENTS = {"src": ([0.5], [0])}


def test_auto_takes_the_first_that_can():
    assert Engines(pair()).choose("auto") == "layered"
    assert Engines(pair(cyclic=True)).choose("auto") == "queue"
    assert es.run(pair(), EVENTS, steps=1).info.settings["engine"] == "layered"
    assert es.run(pair(cyclic=True), EVENTS, steps=1).info.settings["engine"] == "queue"


def test_what_is_too_long_for_the_queue_runs_on_the_reference():
    """A cycle, and ticks and neurons that have no room in 64 bits."""
    net = pair(cyclic=True, sources=5000)
    job = prepare(net, EVENTS, steps=2**10, resolution=2**40)
    assert Engines(net).choose("auto", job) == "reference"
    result = es.run(net, EVENTS, steps=2**10, resolution=2**40)
    assert result.info.settings["engine"] == "reference"
    assert result.total_spikes == 2
    with pytest.raises(RunError, match=r"5002 neurons exceed the 64-bit keys of the queue engine; it takes \d+ ticks at most"):
        es.run(net, EVENTS, steps=2**10, resolution=2**40, engine="queue")


def test_an_engine_asked_for_by_name_says_why_not():
    with pytest.raises(
        RunError, match="the layered engine runs feed-forward networks, and this one has a cycle; use engine 'queue' or 'auto'"
    ):
        es.run(pair(cyclic=True), EVENTS, steps=1, engine="layered")
    for run in (es.Simulator(pair()).compile, lambda name: es.run(pair(), EVENTS, steps=1, engine=name)):
        with pytest.raises(RunError, match="unknown engine 'fast'; there are: auto, reference, queue, layered"):
            run("fast")


@pytest.mark.parametrize("kind", [Network.spiking, Network.driven])
def test_large_maps_of_few_channels_are_left_to_the_queue(kind):
    """The layered engine would take memory for 32 channels at each location."""
    for shape, engine in (((1024, 1030, 1), "queue"), ((1024, 1030, 9), "layered")):
        net = Network()
        kind(net, "map", shape, 3)
        net.readout("out", 2)
        assert Engines(net).choose("auto") == engine
        if engine == "queue":
            refusal = "32 channels at every location, 33751072 in all where this network has 1054722 neurons that integrate; use"
            with pytest.raises(RunError, match=refusal):
                Engines(net).choose("layered")
    # Sources have no room to make.
    net = Network()
    net.source("camera", (1024, 1030, 1))
    net.spiking("map", (512, 515, 2), 3)
    assert Engines(net).choose("auto") == "layered"


class Unheard(Readout):
    """A kind that compiled engines do not know."""

    kind = "unheard"


def test_a_kind_that_an_engine_does_not_know_is_refused(monkeypatch):
    """It must not be taken for another one; the reference engine needs a class for it, and no more."""
    monkeypatch.setitem(POPULATIONS, "unheard", Unheard)
    net = pair()
    net.populations["out"] = Unheard((1,), np.zeros(1, np.int64))
    for name in ("layered", "queue"):
        with pytest.raises(RunError, match=f"the {name} engine does not run unheard populations, and out is one; use engine 'auto'"):
            Engines(net).choose(name)
    with pytest.raises(RunError, match=r"the reference engine does not run unheard populations, and out is one; .*neurons\.py"):
        Engines(net).choose("auto")
    monkeypatch.setitem(kinds.KINDS, "unheard", neurons.Readout)
    counts = Engines(net).run(Engines(net).choose("auto"), prepare(net, EVENTS, steps=2), NoRecorder())
    assert (counts.engine, counts.deliveries.sum()) == ("reference", 2)


def test_an_engine_compiles_a_network_once(monkeypatch):
    net, compiled = pair(), []
    for name in ENGINES[1:]:
        module = registry.load(name)
        whole = module.compile_network
        monkeypatch.setattr(module, "compile_network", lambda n, name=name, whole=whole: compiled.append(name) or whole(n))
    engines, job = Engines(net), prepare(net, EVENTS, steps=1)
    for name in ENGINES:
        for _ in range(2):
            assert engines.run(engines.choose(name, job), job, NoRecorder()).deliveries.sum() == 2
    assert compiled == list(ENGINES[1:])


def test_a_reset_that_an_engine_does_not_know_is_not_taken_for_another(monkeypatch):
    """As if a third one had come: the reference engine learns it first, the others say that they have not."""
    net = pair()
    net.populations["n"] = replace(net.populations["n"], reset="below")
    for engine in ("layered", "queue", "reference"):
        with pytest.raises(RunError, match=f"the {engine} engine does not run neurons with reset 'below', and n has such"):
            es.run(net, EVENTS, steps=1, engine=engine)
    monkeypatch.setitem(neurons.RESETS, "below", lambda v, taken: -taken)
    result = es.run(net, {"src": ([0.5, 1.5, 2.5], [0, 0, 0])}, steps=3, resolution=10)
    assert result.info.settings["engine"] == "reference"
    assert result.spikes("n").ticks.tolist() == [5, 25]
    with pytest.raises(RunError, match="potentials with reset 'below' cannot be told"):
        es.run(net, EVENTS, steps=1, potentials=["n"]).potentials("n")


def test_a_debugger_that_looks_at_everything_changes_nothing():
    """Tables are compiled under it, too, where it holds on to arrays."""
    net = es.Network()
    net.driven("in", (4, 4, 2), 3)
    net.spiking("conv", (4, 4, 2), 3)
    net.readout("out", 2)
    net.connect("in", "conv", es.Conv2d(np.ones((3, 3, 2, 2), np.int64), padding=1))
    net.connect("conv", "out", np.ones((32, 2), np.int64))
    currents, held = {"in": np.arange(32) % 4}, []

    def look(frame, event, argument):
        if frame.f_code.co_filename.endswith("stencils.py"):
            held.append(dict(frame.f_locals))
            return look
        return None

    before = sys.gettrace()
    sys.settrace(look)
    try:
        found = es.run(net, currents, steps=2, engine="layered")
    finally:
        sys.settrace(before)
    assert held
    assert np.array_equal(found.readout, es.run(net, currents, steps=2, engine="reference").readout)

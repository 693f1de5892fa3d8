"""Windows with more spikes than there is room for, and windows in parts."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import Spikes, assert_same, run_both, run_layered, run_queue, run_reference
from judges.random_networks import random_case
from judges.small_networks import chain

from eventsim.engines.layered import state, trains, windows
from eventsim.engines.layered.layouts import Layouts
from eventsim.engines.layered.populations import layer
from eventsim.engines.registry import Engines
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.model.order import feed_forward_order
from eventsim.model.tables import Dense, Sparse


@pytest.mark.parametrize("resolution", [8, 2**10, 2**20])
@pytest.mark.parametrize("threads", [1, 2])
def test_full_windows_are_run_again_in_shorter_ones(monkeypatch, resolution, threads):
    """With delays, a refractory period, an exit; the spikes are given once, and no array is longer than meant."""
    monkeypatch.setattr(state, "CROWD", 16)
    monkeypatch.setattr(windows, "SHARED_SPIKES", 8)
    rooms = []
    grown = trains.grown
    monkeypatch.setattr(trains, "grown", lambda train, signed, room: rooms.append(room) or grown(train, signed, room))
    net = Network()
    net.driven("in", 2, 3)
    net.spiking("a", 3, 1)
    net.spiking("b", 3, 2, refractory=0.25)
    net.readout("out", 2)
    net.connect("in", "a", [[6, 1, -1], [0, 2, 40]])
    net.connect("a", "b", [[1, 0, 1], [2, 2, 2], [1, -1, 0]], delay=0.5)
    net.connect("b", "out", [[1, 0], [0, 2], [1, 1]])
    for rule in (None, ExitRule("potential", 5)):
        job = prepare(net, {"in": [2, 1]}, steps=8, resolution=resolution, exit_rule=rule)
        counts = run_reference(job, expected := Spikes())
        told = []
        found = Engines(net).run("layered", job, spikes := Spikes(), told.append, threads)
        assert_same(counts, found)
        assert found.engine == "layered"
        assert spikes.all() == expected.all()
        assert told == sorted(set(told))
    assert max(rooms, default=0) <= 4 * max(3, 16) + 4096


@pytest.mark.parametrize("resolution", [16, 2**20])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("margin", [None, 10**6])
def test_driven_neurons_that_crowd_a_window(monkeypatch, resolution, threads, margin):
    """Many more than are expected: at the first tick, since their initial potentials are above the threshold."""
    monkeypatch.setattr(state, "CROWD", 16)
    monkeypatch.setattr(windows, "SHARED_SPIKES", 8)
    net = Network()
    net.driven("in", 3, [3, 1, 1], v0=[0, 200, 90])
    net.spiking("a", 3, 2)
    net.readout("out", 2)
    net.connect("in", "a", [[1, 1, -1], [0, 2, 1], [1, 1, 1]])
    net.connect("a", "out", [[1, 0], [0, 2], [1, 1]])
    rule = None if margin is None else ExitRule("margin", margin)
    crowds, restore = [], state.Run.restore
    monkeypatch.setattr(state.Run, "restore", lambda self, before: crowds.append(1) or restore(self, before))
    job = prepare(net, {"in": [2, 1, 1]}, steps=8, resolution=resolution, exit_rule=rule)
    counts = run_reference(job, expected := Spikes())
    engines = Engines(net)
    for _ in range(2):
        assert_same(counts, engines.run("layered", job, spikes := Spikes(), None, threads))
        assert spikes.all() == expected.all()
    assert crowds


def test_run_away_firing_takes_bounded_memory(monkeypatch):
    """A spike in each of a million ticks: windows are cut, and so are the arrays."""
    monkeypatch.setattr(state, "CROWD", 2**12)
    lengths = []
    grown = trains.grown
    monkeypatch.setattr(trains, "grown", lambda train, signed, room: lengths.append(room) or grown(train, signed, room))
    net = chain(weights=[2**30])
    job = prepare(net, {"src": ([0.5], [0])}, steps=1, max_spikes=50_000)
    found = Engines(net).run("layered", job, spikes := Spikes())
    assert (found.end_tick, found.stopped) == (2**19 + 50_000, "max_spikes")
    assert [tick for tick, _, _ in spikes.of("n")] == list(range(2**19, 2**19 + 50_001))
    assert max(lengths) <= 2**14


@pytest.mark.parametrize("resolution", [2**20, 2**27, 2**29])
def test_run_away_firing_behind_an_exit(monkeypatch, resolution):
    """The window of the exit may have as many ticks as a step: its spikes behind the exit would fill gigabytes."""
    monkeypatch.setattr(state, "CROWD", 2**10)
    ran, run = [], state.Run.window
    monkeypatch.setattr(state.Run, "window", lambda self, *args: ran.append(args[:2]) or run(self, *args))
    rooms = []
    grown = trains.grown
    monkeypatch.setattr(trains, "grown", lambda train, signed, room: rooms.append(room) or grown(train, signed, room))
    net = Network()
    net.source("s", 1)
    net.spiking("a", 3, 1)
    net.readout("out", 2)
    net.connect("s", "a", np.full((1, 3), 2**30))
    net.connect("a", "out", [[1, 0]] * 3)
    job = prepare(net, {"s": ([0.5], [0])}, steps=2, resolution=resolution, exit_rule=ExitRule("potential", 60))
    counts, _ = run_both(job)
    assert (counts.end_tick, counts.exited) == (resolution // 2 + 19, True)
    assert rooms
    assert max(rooms) <= 2**13
    # Each time an eighth of the window before, and doubled while nothing happens.
    assert len(ran) < 60


@pytest.mark.parametrize("resolution", [1, 7, 2**20])
def test_parts_of_a_window_do_not_matter(monkeypatch, resolution):
    """The layered engine comes back after some additions; random networks in parts of a few spikes, with exits."""
    calls, ran = [], 0
    part = layer.Layer.advance
    monkeypatch.setattr(layer, "WORK", 64)
    monkeypatch.setattr(layer.Layer, "advance", lambda self, *args: calls.append(args[1]) or part(self, *args))
    for number in range(60):
        job = random_case(np.random.default_rng([13, resolution, number]), resolution).job(resolution)
        if feed_forward_order(job.network) is None:
            continue
        try:
            counts = run_queue(job, expected := Spikes(3000))
        except Exception:
            continue
        assert_same(counts, run_layered(job, spikes := Spikes()))
        assert spikes.all() == expected.all()
        ran += 1
    assert ran > 15
    assert len(calls) > 10 * ran


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_so_many_spikes_are_delivered_at_a_time(monkeypatch, kind):
    """64 additions of a spike in a vector, or 5 on their own, each of which takes as long as 16."""
    table = (
        Dense(np.ones((50, 64), int)) if kind == "dense" else Sparse(np.arange(51) * 5, np.tile(np.arange(5), 50), np.ones(250, int), 64)
    )
    net = Network()
    net.source("src", 50)
    net.spiking("n", 64, 1000)
    net.readout("out", 1)
    net.connect("src", "n", table)
    net.connect("n", "out", Dense(np.ones((64, 1), int)))
    lengths, part = [], layer.Layer.advance
    monkeypatch.setattr(layer, "WORK", 1000)
    monkeypatch.setattr(
        layer.Layer,
        "advance",
        lambda self, way, train, *rest: lengths.append((self.name, len(train.tick))) or part(self, way, train, *rest),
    )
    run_layered(prepare(net, {"src": (np.arange(50) / 50, np.arange(50))}, steps=1), NoRecorder())
    some = 1000 // (64 if kind == "dense" else 80)
    assert [n for name, n in lengths if name == "n"] == [*range(some, 50, some), 50]


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_windows_of_clocked_driven_neurons_have_room_for_their_rasters(kind):
    """Also where nothing else runs from rasters, as behind sparse tables; the run has few spikes, and could be one window."""
    neurons, steps = 640, 10**6
    net = Network()
    net.driven("in", neurons, 2**30)
    net.readout("out", 2)
    ones = np.ones(neurons, int)
    net.connect("in", "out", Dense(ones[:, None] * [1, 0]) if kind == "dense" else Sparse(np.arange(neurons + 1), 0 * ones, ones, 2))
    job = prepare(net, {"in": ones}, steps=steps, resolution=1)
    ticks = windows.length(Layouts(net).begin(job))
    assert 0.9 * windows.RASTERS < ticks * (neurons + 2 * (kind == "dense")) / 8 <= windows.RASTERS

"""Where runs end before their time, or nearly: too many spikes, potentials beyond int32, neurons that only sink, windows too full."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from judges.random_networks import random_case
from test_engines import ENGINES, Spikes, assert_same, both_overflow, run_both, run_layered, run_queue, run_reference
from test_engines_hypothesis import cases

import eventsim as es
from eventsim.cli.main import main
from eventsim.engines.layered import state, trains, windows
from eventsim.engines.layered.populations import layer
from eventsim.engines.queue import engine as queue
from eventsim.engines.registry import Engines
from eventsim.errors import PotentialOverflow, RunError
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network, feed_forward_order
from eventsim.model.tables import Dense, Sparse

INT32_MAX = 2**31 - 1


def chain(threshold=1, weights=(1,), **neuron):
    """A source of events, a neuron, and a readout."""
    net = Network()
    net.source("src", len(weights))
    net.spiking("n", 1, threshold, **neuron)
    net.readout("out", 2)
    net.connect("src", "n", Dense(np.array(weights).reshape(-1, 1)))
    net.connect("n", "out", Dense([[1, 0]]))
    return net


def totals(spikes: Spikes) -> np.ndarray:
    """Ticks of all spikes, in order."""
    return np.sort([tick for name in spikes.parts for tick, _, _ in spikes.of(name)])


# ------------------------------------------------------------------------------------- too many spikes


@pytest.mark.parametrize("run", ENGINES.values())
def test_a_run_stops_after_the_tick_of_one_spike_too_many(run):
    # Six neurons' worth of potential in one: a spike in each of the ticks 3..8, and one of the second neuron at 5.
    net = chain(weights=[6])
    net.spiking("m", 1, 1)
    net.connect("src", "m", Dense([[1]]), delay=0.25)

    def stopped(most, **settings):
        counts = run(prepare(net, {"src": ([0.375], [0])}, steps=2, resolution=8, max_spikes=most, **settings), spikes := Spikes())
        assert counts.spikes.sum() == len(totals(spikes)) > most or counts.stopped is None
        return counts.end_tick, counts.stopped, counts.spikes.sum(), counts.readout["out"][-1, 0], counts.exited

    assert stopped(0) == (3, "max_spikes", 1, 1, False)
    assert stopped(1) == (4, "max_spikes", 2, 2, False)
    # Tick 5 is completed: both spikes are there.
    assert stopped(2) == stopped(3) == (5, "max_spikes", 4, 3, False)
    assert stopped(6) == (8, "max_spikes", 7, 6, False)
    assert stopped(7) == (16, None, 7, 6, False)
    # The rule may hold first, later, or at the same tick.
    assert stopped(6, exit_rule=ExitRule("potential", 2)) == (4, None, 2, 2, True)
    assert stopped(1, exit_rule=ExitRule("potential", 3)) == (4, "max_spikes", 2, 2, False)
    assert stopped(1, exit_rule=ExitRule("potential", 2)) == (4, "max_spikes", 2, 2, True)


@pytest.mark.parametrize("run", ENGINES.values())
def test_the_last_tick_may_be_the_one(run):
    counts = run(prepare(chain(weights=[9]), {"src": ([0], [0])}, steps=1, resolution=4, max_spikes=3), Spikes())
    assert (counts.end_tick, counts.stopped, counts.spikes.sum()) == (4, "max_spikes", 4)


def test_spikes_of_sources_do_not_count():
    net = chain(threshold=100)
    for run in ENGINES.values():
        assert run(prepare(net, {"src": (np.arange(50) / 8, [0] * 50)}, steps=8, max_spikes=0), Spikes()).stopped is None


def same_when_stopped(job, draw, most=3000):
    """All engines stop alike, and at the tick that the spikes of a run without a limit tell."""
    try:
        whole = run_reference(job, everything := Spikes(most))
    except Exception:
        assume(False)
    ticks = totals(everything)
    limit = draw(st.integers(0, 40))
    limited = replace(job, max_spikes=limit)
    counts, spikes = run_both(limited)
    if limit >= len(ticks):
        assert (counts.stopped, counts.end_tick) == (None, whole.end_tick)
        return
    assert (counts.stopped, counts.end_tick) == ("max_spikes", ticks[limit])
    for name in everything.parts:
        assert spikes.of(name) == [spike for spike in everything.of(name) if spike[0] <= ticks[limit]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(cases(), st.sampled_from([1, 2, 7, 1000]), st.sampled_from([None, 1, 4]), st.data())
def test_engines_stop_at_the_same_tick(case, resolution, margin, data):
    net, inputs = case
    rule = None if margin is None else ExitRule("margin", margin)
    try:
        job = prepare(net, inputs, steps=4, resolution=resolution, exit_rule=rule)
    except es.EventsimError:
        assume(False)
    same_when_stopped(job, data.draw)


@pytest.mark.parametrize("resolution", [1, 7, 2**20])
def test_random_networks_stop_at_the_same_tick(resolution):
    stopped = 0
    for number in range(40):
        rng = np.random.default_rng([12, resolution, number])
        job = random_case(rng, resolution).job(resolution)
        spikes = Spikes(5000)
        try:
            run_reference(job, spikes)
        except Exception:
            continue
        ticks = totals(spikes)
        if len(ticks) < 2:
            continue
        limit = int(rng.integers(0, len(ticks)))
        counts, _ = run_both(replace(job, max_spikes=limit))
        assert (counts.stopped, counts.end_tick) == ("max_spikes", ticks[limit])
        stopped += 1
    assert stopped > 15


@pytest.mark.parametrize("resolution", [1, 2**20])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_windows_of_several_threads_stop_there_too(monkeypatch, resolution, threads):
    """Spikes of windows that others had already begun are not recorded."""
    monkeypatch.setattr(windows, "SHARED_SPIKES", 8)
    monkeypatch.setattr(windows, "SPIKES", 16)
    rng = np.random.default_rng(3)
    net = Network()
    net.driven("in", 20, 5)
    net.spiking("a", 12, 3)
    net.spiking("b", 9, 2, signed=True)
    net.readout("out", 3)
    net.connect("in", "a", rng.choice([-1, 1], (20, 12)))
    net.connect("a", "b", rng.choice([-1, 1], (12, 9)))
    net.connect("b", "out", rng.integers(-3, 4, (9, 3)))
    currents = {"in": rng.integers(0, 6, 20)}
    run_reference(prepare(net, currents, steps=12, resolution=resolution), everything := Spikes())
    ticks = totals(everything)
    for limit in (0, 5, len(ticks) // 3, len(ticks) - 2, len(ticks)):
        job = prepare(net, currents, steps=12, resolution=resolution, max_spikes=limit)
        counts = run_reference(job, expected := Spikes())
        told = []
        found = Engines(net).run("layered", job, spikes := Spikes(), told.append, threads)
        assert_same(counts, found)
        assert spikes.all() == expected.all()
        assert told == sorted(set(told))
        assert told[-1] == counts.end_tick


@pytest.mark.parametrize("engine", ["reference", "queue"])
def test_a_network_that_excites_itself_is_stopped(tmp_path, engine):
    net = chain(weights=[1])
    net.connect("n", "n", [[2]], delay=0.1)
    result = es.run(net, {"src": ([0.5], [0])}, steps=1000, engine=engine, max_spikes=200, trace=tmp_path / "t.h5")
    with es.Trace(tmp_path / "t.h5") as trace:
        for run in (result, trace):
            assert (run.stopped, run.counts.exited, run.exit_latency) == ("max_spikes", False, None)
            assert run.summary()["stopped"] == "max_spikes"
            assert 1 < run.duration < 100
            assert run.info.settings["max_spikes"] == 200
            assert len(run.spikes("n").ticks) == run.total_spikes - 1 == 201
            assert run.spikes("n").ticks[-1] == run.counts.end_tick
        assert trace.info == result.info
    report = CliRunner().invoke(main, ["report", str(tmp_path / "t.h5"), "-o", str(tmp_path / "r.html")])
    assert report.exit_code == 0, report.output
    assert "more than 200 spikes" in (tmp_path / "r.html").read_text()
    # Otherwise it says nothing.
    whole = es.run(net, {"src": ([0.5], [0])}, steps=2, engine=engine, resolution=100, trace=tmp_path / "t.h5")
    with es.Trace(tmp_path / "t.h5") as trace:
        assert whole.stopped is trace.stopped is whole.summary()["stopped"] is None


def test_limits_that_are_none():
    for wrong in (-1, 1.5, True, "many", 2**63):
        with pytest.raises(RunError, match="max_spikes must be a whole number"):
            es.run(chain(), {"src": ([0], [0])}, steps=1, max_spikes=wrong)


def test_an_evaluation_with_an_image_that_never_ends_is_refused(tmp_path, monkeypatch):
    from test_decisions import images, network

    from eventsim.batch.work import Worker

    whole = Worker.settings
    monkeypatch.setattr(Worker, "settings", lambda self: {**whole(self), "max_spikes": 2})
    with pytest.raises(RunError, match="image 0: more than 2 spikes"):
        es.evaluate(network(), images(), tmp_path / "e.h5", steps=4, workers=1)


# ------------------------------------------------------------------------------------- windows with more spikes than there is room for


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


# ------------------------------------------------------------------------------------- potentials beyond int32


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


def test_too_many_spikes_before_an_overflow():
    net = chain(weights=[2**30])
    events = {"src": ([0.5, 0.75, 0.75], [0, 0, 0])}
    counts, _ = run_both(prepare(net, events, steps=1, resolution=64, max_spikes=10))
    assert (counts.stopped, counts.end_tick) == ("max_spikes", 42)
    both_overflow(net, events, steps=1, resolution=64, tick=48, name="n")


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


# ------------------------------------------------------------------------------------- driven neurons that only sink


@pytest.mark.parametrize("resolution", [1, 3, 2**20])
@pytest.mark.parametrize("refractory", [0, 2])
@pytest.mark.parametrize("v0", [0, 30])
def test_a_driven_neuron_may_sink_for_ever(resolution, refractory, v0):
    """With v0 = 30 it spikes until it is below its threshold; its neighbours go on as before, from rasters when clocked."""
    rng = np.random.default_rng(1)
    net = Network()
    net.driven("in", 40, 10, v0=v0, refractory=refractory)
    net.spiking("n", 5, 4)
    net.readout("out", 3)
    net.connect("in", "n", rng.choice([-1, 1], (40, 5)))
    net.connect("n", "out", rng.integers(-3, 4, (5, 3)))
    steps = 12 if resolution > 3 else 40
    falling = rng.integers(0, 2, 40) > 0
    currents = np.where(falling, -(10**9), rng.integers(0, 30, 40))
    currents[falling] += rng.integers(-1000, 1000, falling.sum())
    currents[0] = -1
    counts, spikes = run_both(prepare(net, {"in": currents}, steps=steps, resolution=resolution))
    neurons = {neuron for _, neuron, _ in spikes.of("in")}
    assert {i for i in range(40) if currents[i] >= 10} <= neurons
    assert v0 or not neurons & set(np.flatnonzero(falling))
    # What holds for the sinking ones alone is told from what they do in few steps, in which nothing leaves int32.
    if not refractory:
        few = run_reference(prepare(net, {"in": np.maximum(currents, -1000)}, steps=steps, resolution=resolution), Spikes())
        assert v0 or few.spikes.tolist() == counts.spikes.tolist()


@pytest.mark.parametrize("resolution", [1, 8, 2**20])
@pytest.mark.parametrize("refractory", [0, 4])
def test_a_driven_neuron_may_rise_for_ever(resolution, refractory):
    """A period holds back its spikes: it spikes as often as it may, and one from far below when it should."""
    period = 4 * resolution if refractory else 1
    steps = 9 if refractory or resolution == 1 else 1
    net = Network()
    net.driven("in", 3, [10, 2**30, 10], v0=[0, -(2**31), 0], refractory=refractory)
    net.readout("out", 3)
    net.connect("in", "out", np.eye(3, dtype=int))
    counts, spikes = run_both(prepare(net, {"in": [2**31 - 1, 2**30, -(2**31) + 1]}, steps=steps, resolution=resolution, max_spikes=1000))
    ticks = [tick for tick, neuron, _ in spikes.of("in") if neuron == 0]
    assert np.all(np.diff(ticks) == period)
    assert {neuron for _, neuron, _ in spikes.of("in")} == ({0, 1} if steps == 9 else {0})
    if steps == 9:
        later = [tick for tick, neuron, _ in spikes.of("in") if neuron == 1]
        assert later == list(range(3 * resolution, counts.end_tick + 1, period))


# ------------------------------------------------------------------------------------- compiled code comes back to Python


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
    work = int(counts.deliveries.sum() + counts.additions.sum() // queue.k.WORK)
    assert work > queue.k.PAUSE_AFTER
    # Once for each share of the work, once at the end; progress has the tick that is under way.
    assert work // queue.k.PAUSE_AFTER <= watcher.visits - 1 <= work // queue.k.PAUSE_AFTER + 2
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
        layer.Layer, "advance", lambda self, train, *rest: lengths.append((self.name, len(train.tick))) or part(self, train, *rest)
    )
    run_layered(prepare(net, {"src": (np.arange(50) / 50, np.arange(50))}, steps=1), NoRecorder())
    some = 1000 // (64 if kind == "dense" else 80)
    assert [n for name, n in lengths if name == "n"] == [*range(some, 50, some), 50]

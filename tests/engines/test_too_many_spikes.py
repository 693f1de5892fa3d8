"""Runs that are stopped since they spike too much."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from judges.drawn_networks import cases
from judges.engines import ENGINES, Spikes, assert_same, both_overflow, run_both, run_reference, totals
from judges.evaluations import two_pixel_images, two_pixels
from judges.random_networks import random_case
from judges.small_networks import chain

import eventsim as es
from eventsim.batch.work import Worker
from eventsim.cli.main import main
from eventsim.engines.layered import windows
from eventsim.engines.registry import Engines
from eventsim.errors import RunError
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.model.tables import Dense


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
    limited = job._replace(max_spikes=limit)
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
        counts, _ = run_both(job._replace(max_spikes=limit))
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
    whole = Worker.settings
    monkeypatch.setattr(Worker, "settings", lambda self: {**whole(self), "max_spikes": 2})
    with pytest.raises(RunError, match="image 0: more than 2 spikes"):
        es.evaluate(two_pixels(), two_pixel_images(), tmp_path / "e.h5", steps=4, workers=1)


def test_too_many_spikes_before_an_overflow():
    net = chain(weights=[2**30])
    events = {"src": ([0.5, 0.75, 0.75], [0, 0, 0])}
    counts, _ = run_both(prepare(net, events, steps=1, resolution=64, max_spikes=10))
    assert (counts.stopped, counts.end_tick) == ("max_spikes", 42)
    both_overflow(net, events, steps=1, resolution=64, tick=48, name="n")

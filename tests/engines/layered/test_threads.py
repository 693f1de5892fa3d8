"""Several threads, or processes, give what one gives."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import threading
import time

import numpy as np
import pytest
from judges.engines import Spikes, assert_same
from judges.random_networks import random_case
from repository import ROOT

import eventsim as es
from eventsim.cli.main import main
from eventsim.engines.layered import engine as layered
from eventsim.engines.layered import sharing, windows
from eventsim.engines.layered.pipeline import Pipeline, Plan
from eventsim.errors import PotentialOverflow
from eventsim.model.order import feed_forward_order


@pytest.fixture
def shared(monkeypatch):
    """However short, runs are shared; counts them."""
    run, calls = sharing.run_shared, []

    def noted(*args):
        calls.append(args)
        return run(*args)

    monkeypatch.setattr(windows, "SPIKES", 7)
    monkeypatch.setattr(windows, "SHARED_SPIKES", 5)
    monkeypatch.setattr(sharing, "run_shared", noted)
    return calls


@pytest.mark.parametrize("resolution", [1, 64, 2**20])
def test_threads_change_nothing(resolution, shared):
    """On random networks, in many short windows, delays included."""
    tried = 0
    for salt in range(60):
        case = random_case(np.random.default_rng([salt, resolution]), resolution)
        if feed_forward_order(case.network) is None or case.exit_rule is not None:
            continue
        job, layouts = case.job(resolution), layered.Layouts(case.network)
        expected = Spikes()
        try:
            counts = layered.run(job, layouts, expected)
        except PotentialOverflow as error:
            with pytest.raises(PotentialOverflow, match=re.escape(str(error))):
                layered.run(job, layouts, Spikes(), threads=3)
            continue
        found = Spikes()
        told: list[int] = []
        assert_same(counts, layered.run(job, layouts, found, told.append, threads=3))
        assert found.all() == expected.all()
        assert told == sorted(told)
        assert told[-1] == job.end
        tried += 1
    assert tried > 10
    assert len(shared) > 10


def test_pipeline_keeps_to_its_rules():
    """A diamond of four populations: sources first, three buffers, one window of a population at a time, two threads at work."""
    sources = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    lock, done, order, together, rendezvous = threading.Lock(), dict.fromkeys(sources, 0), [], [], threading.Barrier(2, timeout=600)

    def work(name, window):
        with lock:
            assert done[name] == window
            assert all(done[s] > window for s in sources[name])
            assert all(done[t] >= window - 2 for t, read in sources.items() if name in read)
        if (name, window) in (("b", 0), ("c", 0)):
            rendezvous.wait()  # only two threads at the same time get past this
            together.append(name)
        with lock:
            done[name] += 1
            order.append((name, window))
        return True

    assert Pipeline(Plan(sources), 5, work).run(2)
    assert sorted(order) == sorted((name, window) for name in sources for window in range(5))
    assert sorted(together) == ["b", "c"]


@pytest.mark.parametrize("threads", [1, 3])
def test_pipeline_stops_and_raises(threads):
    assert not Pipeline(Plan({"a": [], "b": ["a"]}), 5, lambda name, window: (name, window) != ("b", 2)).run(threads)

    def fail(name, window):
        if (name, window) == ("b", 2):
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        Pipeline(Plan({"a": [], "b": ["a"]}), 5, fail).run(threads)


def test_pipeline_leaves_nobody_at_work():
    """After a stop ``run`` waits for what others have begun."""
    begun, stopped, ended = threading.Event(), threading.Event(), []

    def work(name, window):
        if name == "slow":
            begun.set()
            stopped.wait(600)
            time.sleep(0.05)
            ended.append(name)
            return True
        begun.wait(600)
        stopped.set()
        return False

    assert not Pipeline(Plan({"slow": [], "stops": []}), 1, work).run(2)
    assert ended == ["slow"]


def busy_network() -> tuple[es.Network, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    net = es.Network()
    net.driven("in", (6, 6, 32), 700)
    net.spiking("hidden", (6, 6, 32), 9)
    net.connect("in", "hidden", es.Conv2d(rng.choice([-1, 1], (3, 3, 32, 32)), padding=1))
    net.readout("out", 10)
    net.connect("hidden", "out", es.Dense(rng.integers(-5, 6, (1152, 10))))
    return net, {"in": rng.integers(0, 700, 1152)}


def test_a_short_first_window_and_long_ones(monkeypatch):
    """Rasters of several lengths in the same buffers, run after run, and runs on one thread between."""
    net, inputs = busy_network()
    simulator = es.Simulator(net)
    lengths, window_ends = [], windows.ends

    def noted(*args):
        lengths.append(window_ends(*args))
        return lengths[-1]

    monkeypatch.setattr(windows, "ends", noted)
    for threads, spikes in ((2, 200), (5, 200), (4, 5000)):
        monkeypatch.setattr(windows, "SHARED_SPIKES", spikes)
        for steps in (23, 71):
            one, two = (simulator.run(inputs, steps=steps, resolution=1, threads=n) for n in (1, threads))
            for name in ("in", "hidden"):
                for found, right in zip(two.spikes(name), one.spikes(name), strict=True):
                    np.testing.assert_array_equal(found, right)
            assert_same(one.counts, two.counts)
            ticks = np.diff(lengths[-1])
            assert ticks.sum() == steps
            assert ticks.min() > 0
            assert len(ticks) <= threads + 1
            assert len(ticks) < 3 or ticks[0] < ticks[1] == ticks.max()
    assert len({len(ends) for ends in lengths}) > 2


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("resolution", [1, 2**20])
def test_runs_of_a_few_ticks(steps, resolution, shared):
    """Fewer than windows would be wanted, clocked."""
    net, inputs = busy_network()
    one, many = (es.run(net, inputs, steps=steps, resolution=resolution, threads=threads) for threads in (1, 4))
    assert_same(one.counts, many.counts)
    assert len(shared) == (steps > 1 or resolution > 1)


def test_small_runs_are_not_shared(monkeypatch):
    """To hand over the windows takes longer than they do."""
    monkeypatch.setattr(sharing, "run_shared", None)
    net, inputs = busy_network()
    assert es.run(net, inputs, steps=20, resolution=1, threads=2).total_spikes > 1000


def test_several_runs_at_a_time_share_the_helpers(shared):
    net, inputs = busy_network()
    expected = es.run(net, inputs, steps=40, resolution=1).counts
    found = {}

    def run(number):
        found[number] = es.run(net, inputs, steps=40, resolution=1, threads=2).counts

    together = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join(60)
    assert sorted(found) == [0, 1, 2]
    assert len(shared) == 3
    for counts in found.values():
        assert_same(expected, counts)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_has_helpers_of_its_own(shared):
    """Threads do not live on in a forked process, and a run there must not wait for them."""
    net, inputs = busy_network()
    es.run(net, inputs, steps=5, threads=2)
    assert len(shared) == 1
    child = multiprocessing.get_context("fork").Process(target=es.run, args=(net, inputs), kwargs={"steps": 5, "threads": 2})
    child.start()
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize("threads", [0, 1.5, True, 10**6])
def test_number_of_threads_is_checked(threads):
    net = es.Network()
    net.driven("in", 1, 5)
    with pytest.raises(es.RunError, match="threads must be"):
        es.run(net, {"in": [1]}, threads=threads)


def test_command_line(tmp_path, capsys):
    """One image on two threads, and a folder two images at a time with a bad one between them."""
    network, digits = ROOT / "networks" / "lenet-mnist.h5", ROOT / "datasets" / "samples"
    pictures = sorted(digits.glob("digit-*.png"))[:3]
    folder = tmp_path / "in"
    folder.mkdir()
    for picture in pictures:
        (folder / picture.name).write_bytes(picture.read_bytes())
    (folder / "digit-bad.png").write_bytes(b"no image")

    def lines(*words):
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words], prog_name="eventsim")
        out, err = capsys.readouterr()
        found = [json.loads(line) for line in out.splitlines()] if "\n{" in out else [json.loads(out)]
        for summary in found:
            summary.pop("wall_seconds")
        return caught.value.code, found, err

    one = ("run", network, "-i", pictures[0], "--steps", 8, "--no-trace", "--json")
    assert lines(*one, "--threads", 2)[:2] == lines(*one)[:2]
    many = ("run", network, "-i", folder, "--steps", 8, "--trace", tmp_path / "out", "--json")
    code, found, err = lines(*many, "--threads", 2)
    again = lines(*many)
    assert code == again[0] == 1
    assert len(found) == 3
    assert found == again[1]
    assert "digit-bad.png" in err
    assert "1 of 4 inputs" in err
    with es.Trace(tmp_path / "out" / f"{pictures[0].name}.h5") as trace:
        assert trace.total_spikes == found[0]["spikes"]

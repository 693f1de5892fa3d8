"""The command line on recordings of event cameras."""

from __future__ import annotations

import json
import os
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from judges.recordings import HEIGHT, WIDTH, WRITERS, random_events

import eventsim as es
from eventsim.analysis.provenance import run_command
from eventsim.cli.main import main

# Formats whose files tell another size of the camera than 34 x 34.
SMALL = [form for form in WRITERS if form != "aedat2"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, camera in (("net", "event_input"), ("plain", "source")):
        rng = np.random.default_rng(0)
        net = es.Network()
        getattr(net, camera)("camera", (HEIGHT, WIDTH, 2))
        net.spiking("n", (17, 17, 2), 2, signed=True)
        net.readout("out", 3)
        net.connect("camera", "n", es.Conv2d(rng.choice([-1, 1], (3, 3, 2, 2)), stride=2, padding=1))
        net.connect("n", "out", rng.integers(-3, 4, (17 * 17 * 2, 3)))
        es.save(net, f"{name}.h5")


def run(*arguments):
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def summary(*arguments):
    outcome = run(*arguments, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_a_recording_gives_the_same_run_in_every_format(here):
    events = random_events(np.random.default_rng(7), 400, 20_000)
    found = []
    for form in SMALL:
        suffix, write = WRITERS[form]
        Path(f"{form}{suffix}").write_bytes(write(events))
        outcome = run("net.h5", "--input", f"{form}{suffix}", "--trace", "run.h5")
        assert outcome.exit_code == 0, outcome.stderr
        with es.Trace("run.h5") as trace:
            found.append((trace.spikes("camera"), trace.spikes("n"), trace.counts.readout["out"]))
    assert len(found) >= 6
    assert len(found[0][0].ticks) == 400
    for other in found[1:]:
        for mine, first in zip(other[:2], found[0][:2], strict=True):
            for a, b in zip(mine, first, strict=True):
                assert np.array_equal(a, b)
        assert np.array_equal(other[2], found[0][2])


def test_a_run_takes_as_long_as_is_asked_for_or_the_window_or_the_recording(here):
    events = random_events(np.random.default_rng(8), 100, 9_500)
    np.save("rec.npy", events)
    last = -(-int(events["t"][-1]) // 1000)
    assert summary("net.h5", "-i", "rec.npy", "--no-trace")["steps"] == last
    assert summary("net.h5", "-i", "rec.npy", "--no-trace", "--window", "0:4ms")["steps"] == 4
    assert summary("net.h5", "-i", "rec.npy", "--no-trace", "--window", "1:3ms", "--step-us", "100")["steps"] == 20
    outcome = run("net.h5", "-i", "rec.npy", "--no-trace", "--steps", "2")
    late = int((events["t"] > 2000).sum())
    assert f"camera: {late} events after the last of 2 steps are left out" in outcome.stderr


def test_the_command_of_a_run_makes_it_again(here):
    events = random_events(np.random.default_rng(8), 300, 9_500)
    np.save("rec.npy", np.stack([2 * events["x"], 2 * events["y"], events["p"], events["t"]], axis=1).astype(np.int64))
    reading = "--fields", "x=0,y=1,p=2,t=3", "--time-unit", "us", "--downsample", "2", "--window", "1:7ms", "--hot-pixels", "100000"
    assert run("plain.h5", "-i", "rec.npy", "--step-us", "700", "--polarity", "split", *reading).exit_code == 0
    with es.Trace("run.h5") as trace:
        command = run_command(trace)
        outcome = run(*shlex.split(command)[2:], "--trace", "again.h5")
        assert outcome.exit_code == 0, outcome.stderr
        with es.Trace("again.h5") as again:
            assert again.info.settings | {"wall_seconds": 0} == trace.info.settings | {"wall_seconds": 0}
            assert np.array_equal(again.readout, trace.readout)
            assert again.total_spikes == trace.total_spikes > 300


def test_more_steps_than_a_run_has(here):
    np.save("long.npy", np.array([(1, 1, 0, 1), (2, 2, 2_000_000, 1)], dtype=[("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "u1")]))
    for options, what in ((), "recording"), (("--window", "0:1500ms"), "window"):
        outcome = run("net.h5", "-i", "long.npy", "--no-trace", "--step-us", "1", *options)
        assert outcome.exit_code == 1
        assert f"the {what} lasts " in outcome.stderr
        assert "steps of the network, and a run at most 1,000,000; give a (shorter) window (--window), longer steps" in outcome.stderr
    assert summary("net.h5", "-i", "long.npy", "--no-trace", "--step-us", "1", "--steps", "5")["steps"] == 5


def test_a_source_of_events_takes_recordings_once_steps_have_a_length(here):
    np.save("rec.npy", random_events(np.random.default_rng(9), 100, 5_000))
    of_source = summary("plain.h5", "-i", "rec.npy", "--no-trace", "--step-us", "1000")
    of_input = summary("net.h5", "-i", "rec.npy", "--no-trace")
    differing = {key for key in of_input if of_source[key] != of_input[key]}
    assert differing <= {"network", "wall_seconds", "step_us"}
    outcome = run("plain.h5", "-i", "rec.npy", "--no-trace")
    assert outcome.exit_code == 1
    assert outcome.stderr.count("\n") == 1


def test_a_network_for_images_takes_counts_of_events(here):
    net = es.Network()
    net.image_input((HEIGHT, WIDTH, 2))
    net.driven("in", (HEIGHT, WIDTH, 2), 50, encoder=es.Conv2d(np.ones((1, 1, 2, 2), int)))
    net.readout("out", 2)
    net.connect("in", "out", np.ones((HEIGHT * WIDTH * 2, 2), int))
    es.save(net, "images.h5")
    events = random_events(np.random.default_rng(10), 100)
    np.save("rec.npy", events)
    outcome = run("images.h5", "-i", "rec.npy", "--steps", "3")
    assert outcome.exit_code == 0, outcome.stderr
    with es.Trace("run.h5") as trace:
        assert trace.image.sum() == 100


def test_what_is_no_image_is_named(here):
    test_a_network_for_images_takes_counts_of_events(here)
    Path("set/0").mkdir(parents=True)
    np.save("set/0/rec.npy", random_events(np.random.default_rng(10), 100))
    es.evaluate("net.h5", "set", "eval.h5", steps=1, resolution=1, workers=1).close()
    np.savez("x.npz", a=np.zeros((4, 4), np.uint8))
    Path("t.csv").write_text("1,2\n")
    for name, words in {
        "run.h5": "run.h5: a trace of eventsim",
        "eval.h5": "eval.h5: an evaluation of eventsim",
        "net.h5": "net.h5: a network file",
        "x.npz": "this network takes an image, or a recording",
        "t.csv": f".npy array of shape ({HEIGHT}, {WIDTH}, 2)",
    }.items():
        outcome = run("images.h5", "-i", name, "--no-trace")
        assert outcome.exit_code == 1
        assert words in outcome.stderr
        assert outcome.stderr.count("\n") == 1
        assert name.endswith(".npz") or "--fields" not in outcome.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--window", "5:1ms"], "expected START:END"),
        (["--fields", "q=1"], "expected x=NAME"),
        (["--polarity", "sign"], "an event input of polarity 'sign' has the shape"),
        (["--window", "1:2s"], "no events in this window of time"),
        (["--input", "none.npy"], ""),
    ],
)
def test_what_is_wrong_is_said_in_a_line(here, options, words):
    np.save("rec.npy", random_events(np.random.default_rng(11), 10))
    given = options if options[0] == "--input" else ["--input", "rec.npy", *options]
    outcome = run("net.h5", *given, "--no-trace")
    assert outcome.exit_code != 0
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_info_says_what_recordings_become_and_what_leaks(tmp_path):
    net = es.Network()
    net.event_input("camera", (HEIGHT, WIDTH, 1), polarity="merge", step_us=2500)
    net.leaky("a", 2, threshold=12, decay=2048)
    net.leaky("b", 2, threshold=12, decay=[1, 3], current_decay=512, reset="value", amount=-4)
    net.leaky_readout("out", 2, leak=7)
    net.connect("camera", "a", np.ones((HEIGHT * WIDTH, 2), int))
    net.connect("a", "b", np.eye(2, dtype=int))
    net.connect("b", "out", np.eye(2, dtype=int))
    es.save(net, tmp_path / "net.h5")
    outcome = CliRunner().invoke(main, ["info", str(tmp_path / "net.h5")])
    told = {line.split()[0]: line for line in outcome.stdout.splitlines() if line.strip()}
    assert "polarity merge, 2,500 us a step" in told["camera"]
    assert told["a"].endswith(" decay 2,048/4096")
    assert "decay 1..3/4096, current decay 512/4096, reset to a value" in told["b"]
    assert "leak 7, output" in told["out"]


@pytest.mark.parametrize("option", ["--window=0:9ms", "--downsample=2", "--hot-pixels=9", "--fields=x=a,y=b,t=c,p=d", "--time-unit=ns"])
def test_how_recordings_are_read_is_not_passed_over(here, option):
    """Of an image, of spikes, and of what is given by population."""
    net = es.Network()
    net.image_input((4, 4, 1))
    net.driven("n", (4, 4, 1), 200, encoder=es.Conv2d(np.full((1, 1, 1, 1), 3)))
    net.readout("out", 2)
    net.connect("n", "out", np.ones((16, 2), np.int64))
    es.save(net, "image.h5")
    np.save("image.npy", np.full((4, 4, 1), 100, np.uint8))
    np.save("spikes.npy", np.zeros((3, 2), np.int64))
    for network, source in (("image.h5", "image.npy"), ("plain.h5", "spikes.npy"), ("plain.h5", "camera=spikes.npy")):
        assert run(network, "--input", source, "--steps", 2).exit_code == 0
        outcome = run(network, "--input", source, "--steps", 2, option)
        assert outcome.exit_code == 1
        assert "are for recordings" in outcome.stderr
        assert "Traceback" not in outcome.stderr


def test_recordings_are_taken_as_they_are(here):
    counted = es.Network()
    counted.image_input((HEIGHT, WIDTH, 1))
    counted.driven("d", (HEIGHT, WIDTH, 1), 255, encoder=es.Conv2d([[[[1]]]]))
    counted.readout("out", 1)
    counted.connect("d", "out", np.ones((HEIGHT * WIDTH, 1), int))
    es.save(counted, "counted.h5")
    np.save("rec.npy", random_events(np.random.default_rng(7), 50, 2_000))
    for option in ("--invert", "--crop"):
        for net, message in (("counted.h5", "rec.npy: recordings are taken as they are"), ("net.h5", "net.h5: takes no image")):
            refused = run(net, "-i", "rec.npy", option, "--no-trace")
            assert refused.exit_code == 1
            assert message in refused.stderr


@pytest.mark.parametrize("given", ["-", "pipe"])
def test_what_is_wrong_with_a_pipe_is_said(here, given):
    """Its length is asked for before it is run, and it is read once."""
    if given == "pipe":
        os.mkfifo("pipe")
        threading.Thread(target=lambda: Path("pipe").write_bytes(b"garbage"), daemon=True).start()
    done = CliRunner().invoke(main, ["run", "net.h5", "-i", given, "--no-trace"], input=b"garbage")
    assert done.exit_code == 1
    assert "empty" not in done.stderr
    assert "no recording of events that is known" in done.stderr


def test_more_steps_than_a_run_has_are_refused_in_a_line(here):
    net = es.Network()
    net.source("in", 2)
    net.readout("out", 1)
    net.connect("in", "out", np.ones((2, 1), int))
    es.save(net, "source.h5")
    Path("list.csv").write_text("0.5,0\n")
    done = run("source.h5", "-i", "list.csv", "--no-trace", "--steps", "9" * 400)
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "steps" in done.stderr

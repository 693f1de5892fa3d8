"""Folders of inputs, and outputs that are inputs: what commands say, and what they leave alone."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from judges.evaluations import small_network
from PIL import Image

import eventsim as es


def photos(folder, n=3):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(folder / f"{i}.png")


def test_a_trace_does_not_replace_the_one_that_a_run_reads(cli, tmp_path):
    net = es.Network()
    net.source("src", 2)
    net.readout("out", 2)
    net.connect("src", "out", [[1, 0], [0, 1]])
    es.save(net, "net.h5")
    (tmp_path / "events.csv").write_text("time,neuron\n0.5,0\n1.5,1\n")
    assert cli("run", "net.h5", "--input", "src=events.csv", "--steps", "3").exit_code == 0
    before = (tmp_path / "run.h5").read_bytes()
    for given in ("src=run.h5", "src=./run.h5"):
        outcome = cli("run", "net.h5", "--input", given, "--steps", "3")
        assert outcome.exit_code == 1
        assert "run.h5: is an input of this command" in outcome.stderr
        assert (tmp_path / "run.h5").read_bytes() == before
    assert cli("run", "net.h5", "--input", "src=run.h5", "--steps", "3", "--trace", "other.h5").exit_code == 0


def test_a_recording_that_is_too_long_does_not_stop_a_folder(cli, tmp_path):
    net = es.Network()
    net.event_input("camera", (2, 2, 2), step_us=1)
    net.readout("out", 2)
    net.connect("camera", "out", np.ones((8, 2), int))
    es.save(net, "net.h5")
    (tmp_path / "recordings").mkdir()
    for name, last in (("a", 40), ("b", 5_000_000), ("c", 30)):
        events = np.zeros(2, [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")])
        events["t"] = 0, last
        np.save(tmp_path / "recordings" / f"{name}.npy", events)
    outcome = cli("run", "net.h5", "--input", "recordings", "--no-trace", "--clocked")
    assert outcome.exit_code == 1
    assert [line.partition(":")[0] for line in outcome.stdout.splitlines()] == ["recordings/a.npy", "recordings/c.npy"]
    assert "recordings/b.npy: the recording lasts 5,000,000 steps" in outcome.stderr.replace("\n", " ")
    assert "1 of 3 inputs could not be run" in outcome.stderr


@pytest.mark.parametrize("closed", [[], ["--closed"]])
def test_each_input_of_a_folder_says_what_it_takes(cli, tmp_path, closed):
    es.save(small_network(), "net.h5")
    photos(tmp_path / "photos")
    mode = closed or ["--clocked"]
    lines = cli("run", "net.h5", "--input", "photos", "--no-trace", "--hardware", "truenorth", *mode).stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "; TrueNorth: " in line
        assert " s" in line
        assert "J, " in line
        assert " messages" in line
        assert ("spikes changed" in line) == bool(closed)


def test_what_cannot_be_traced_is_said_before_anything_is_run(cli, tmp_path):
    es.save(small_network(), "net.h5")
    photos(tmp_path / "photos")
    outcome = cli("evaluate", "net.h5", "--dataset", "photos", "-o", "e.h5", "--trace", "3", "--workers", "1")
    assert outcome.exit_code == 1
    assert "there is no image 3 to trace; photos has 0..2" in outcome.stderr
    assert not (tmp_path / "e.h5").exists()


@pytest.mark.parametrize("study", [["initial"], ["faults"], ["exit"], ["onset"]])
def test_workers_or_a_cluster(cli, tmp_path, study):
    es.save(small_network(), "net.h5")
    photos(tmp_path / "photos")
    outcome = cli("study", *study, "net.h5", "--dataset", "photos", "--workers", "2", "--scheduler", "tcp://localhost:1")
    assert outcome.exit_code == 2
    assert "give --workers or --scheduler" in outcome.stderr


def test_traces_do_not_replace_other_inputs_of_a_folder(cli, tmp_path):
    """The trace of ``a.csv`` would be ``a.csv.h5``, which is run after it."""
    net = es.Network()
    net.source("src", 2)
    net.readout("out", 2)
    net.connect("src", "out", [[1, 0], [0, 1]])
    es.save(net, "net.h5")
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "a.csv").write_text("0.5,0\n1.5,1\n")
    es.run(net, {"src": ([0.2], [1])}, steps=3, trace="events/a.csv.h5")
    before = (tmp_path / "events" / "a.csv.h5").read_bytes()
    outcome = cli("run", "net.h5", "--input", "events", "--steps", "3", "--trace", "events")
    assert outcome.exit_code == 1
    assert "a.csv.h5: is an input of this command" in outcome.stderr
    assert (tmp_path / "events" / "a.csv.h5").read_bytes() == before
    assert cli("run", "net.h5", "--input", "events", "--steps", "3", "--trace", "traces").exit_code == 0


def test_names_that_a_terminal_cannot_show_are_escaped(tmp_path):
    net = small_network()
    net.labels = ["\u732b"] * net.populations[net.output].size
    es.save(net, tmp_path / "net.h5")
    photos(tmp_path / "photos", 1)
    command = [sys.executable, "-m", "eventsim", "run", "net.h5", "--input", "photos/0.png", "--no-trace", "--engine", "reference"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\u732b" in done.stdout

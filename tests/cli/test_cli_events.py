"""The command line on networks of sources: lists of events and rates (docs/inputs.md)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import eventsim as es
from eventsim.cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for emits in ("events", "poisson"):
        net = es.Network()
        net.source("in", 4, emits=emits)
        net.readout("out", 2)
        net.connect("in", "out", np.ones((4, 2), int))
        es.save(net, f"{emits}.h5")


def run(*arguments):
    return CliRunner().invoke(main, ["run", *arguments, "--no-trace", "--engine", "reference", "--resolution", "10"])


def test_events_after_the_end_are_told():
    # (Whoever writes microseconds where steps are meant gives nothing but such.)
    Path("list.csv").write_text("time,neuron\n1,0\n5;3\n5.01 1\n5000,1\n")
    np.save("list.npy", np.array([[1, 0], [5, 3], [6, 1], [5000, 1]]))
    for given in ("list.csv", "list.npy", "in=list.csv"):
        done = run("events.h5", "-i", given, "--steps", "5")
        assert done.exit_code == 0, done.stderr
        assert done.stderr == "note: in: 2 events after the last of 5 steps are left out\n"
        assert "\nspikes           2\n" in done.stdout
    assert run("events.h5", "-i", "list.csv", "--steps", "5000").stderr == ""


def test_a_folder_of_folders_is_for_an_evaluation():
    Path("digits/7").mkdir(parents=True)
    assert "digits: a folder without files; expected images" in (told := run("events.h5", "-i", "digits").stderr)
    assert "`eventsim evaluate --dataset`" in told
    assert "evaluate" not in run("events.h5", "-i", "digits/7").stderr


def test_files_of_other_kinds_are_no_traces():
    for made, reader in (("trace", es.Trace), ("evaluation", es.Evaluation)):
        h5py.File("other.h5", "w").close()
        with pytest.raises(es.EventsimError, match=rf"other.h5: not an? {made} of eventsim, as .* `eventsim info` tells what it is"):
            reader("other.h5")


def test_what_is_wrong_with_an_input_is_said_once():
    np.save("two.npy", np.zeros(2))
    assert "two.npy: expected an array of shape (4,) (or a batch of them), found float64 (2,)" in run("poisson.h5", "-i", "two.npy").stderr
    assert "array (at most 16,777,216, 2) of (time in steps, neuron)" in run("events.h5", "-i", "two.npy").stderr
    done = run("events.h5", "-i", "camera=list.csv")
    assert done.exit_code == 2
    assert "--input camera=list.csv: no such file, and no population 'camera'; there are: in, out" in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("given", ["pipe", "in=pipe"])
def test_a_pipe_is_read_as_standard_input_is(given):
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text("0.5,0\n0.7,1\n"), daemon=True)
    writer.start()
    done = run("events.h5", "-i", given, "--steps", "2")
    writer.join()
    assert done.exit_code == 0, done.stderr
    assert "\nspikes           2\n" in done.stdout

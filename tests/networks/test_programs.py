"""What the programs of networks/ take on their command lines, and how they end."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

import numpy as np
import pytest
from programs import at_least_one, check_place, ends_in_a_line
from repository import ROOT

import eventsim as es
from eventsim import datasets


def test_whole_numbers_of_at_least_one():
    assert at_least_one("12") == 12
    for text in ("0", "-3", "2.5", "many", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"found {text!r}, expected a whole number of at least 1"):
            at_least_one(text)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "interrupted; the same command goes on from there"),
        (es.InputError("no image"), "error: no image"),
        (PermissionError(13, "Permission denied", "a.h5"), r"error: a\.h5: Permission denied"),
        (OSError("not open"), "error: not open"),
    ],
)
def test_ends_in_a_line(error, message):
    with pytest.raises(SystemExit, match=f"^{message}$"), ends_in_a_line():
        raise error
    # What is a fault of the program shows where it is.
    with pytest.raises(ZeroDivisionError), ends_in_a_line():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("alternatives", ["--print"]),
        ("make", ["mlp-mnist", "--epochs", "1"]),
        ("studies", ["sweeps"]),
        ("third_party", ["lfcW1A1", "nothing.npz"]),
        ("events", ["--images", "64"]),
        ("vgg15_imagenet", ["nothing.png"]),
    ],
)
def test_programs_without_data_or_room_end_in_a_line(tmp_path, monkeypatch, program, command):
    """No data, or a folder of partial results that is a file."""
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "networks"))
    monkeypatch.setenv("EVENTSIM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    more = [] if program in ("events", "vgg15_imagenet") else ["--work", str(tmp_path / "file")]
    monkeypatch.setattr(sys, "argv", [f"{program}.py", *command, *more])
    with pytest.raises(SystemExit, match=r"^error: ") as caught:
        __import__(program).main()
    assert "\n" not in str(caught.value)


def test_places_are_looked_at_before_the_work(tmp_path):
    check_place(tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.h5").write_bytes(b"kept")
    check_place(tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == b"kept"
    with pytest.raises(FileNotFoundError):
        check_place(tmp_path / "nothing" / "a.h5")


@pytest.mark.parametrize(
    ("program", "command", "message"),
    [
        ("make", ["lenet-relu-mnist", "--epochs", "1"], "lenet-relu-mnist.ckpt: no checkpoint of a training; remove it"),
        ("make", ["mlp-mnist", "-o", "nothing/net.h5"], "nothing/net.h5: No such file or directory"),
        ("studies", ["paper"], "lenet-relu-mnist.pt: not this model's parameters"),
        ("events", ["-o", "nothing/net.h5"], "nothing/net.h5: No such file or directory"),
        ("third_party", ["plain-20-4", "nothing.mat"], "nothing.mat: No such file or directory"),
        ("vgg15_imagenet", ["net.ckpt"], "net.ckpt: not an image that can be read"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, monkeypatch, program, command, message):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "networks"))
    monkeypatch.chdir(tmp_path)
    for name in ("lenet-relu-mnist.ckpt", "lenet-relu-mnist.pt", "net.ckpt"):
        torch.save({"weight": torch.zeros(2)}, tmp_path / name)
    monkeypatch.setattr(datasets, "load", lambda *_: (np.zeros((40, 28, 28, 1), np.uint8), np.arange(40) % 10))
    more = [] if program in ("events", "vgg15_imagenet") else ["--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [f"{program}.py", *command, *more])
    with pytest.raises(SystemExit, match=rf"^error: .*{message}") as caught:
        __import__(program).main()
    assert "\n" not in str(caught.value)


def test_states_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    training = importlib.import_module("training")
    training.write_state(tmp_path / "a.pt", {"weight": torch.ones(3)})
    before = (tmp_path / "a.pt").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training.write_state(tmp_path / "a.pt", {"weight": torch.zeros(5)})
    assert (tmp_path / "a.pt").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a.pt"]


def test_results_of_the_zoo_that_cannot_be_read(tmp_path):
    zoo = importlib.import_module("zoo")
    assert zoo.read_results(tmp_path / "zoo.json") == {}
    for text in ("{", "3"):
        (tmp_path / "zoo.json").write_text(text)
        with pytest.raises(es.EventsimError, match=r"zoo\.json: cannot be read"):
            zoo.read_results(tmp_path / "zoo.json")
    net = es.Network()
    net.driven("a", 2, threshold=1)
    net.readout("out", 2)
    net.connect("a", "out", np.ones((2, 2), int))
    es.save(net, tmp_path / "net.h5")
    with pytest.raises(es.EventsimError, match=r"net\.h5: its provenance has no 'data set'"):
        zoo.read(tmp_path / "net.h5")

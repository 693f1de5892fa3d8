"""Options of all commands, given what they do not expect: one line says what is wrong, and nothing else happens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import small_network
from judges.formats import write_nir
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.cli.main import main

VALUES = (
    "", "0", "-1", "99999999999999999999", "nan", "inf", "-inf", "1e400", "0.5,0.5", "0.5,0.5,0.5", "a", "1,,2", ",", "\x1b[31mx", "[/x]",
    "$\\frac{a$", "\udcff", "1" * 5000, "1e3", "0.5", "1.5", "1000001", "2147483648", "a\nb", "=", "a=", "/", "3,8,8", "3,100000,100000",
    "1e300",
)  # fmt: skip
COMMANDS = {
    "run": ("net.h5", "-i", "data/0/0.png", "--trace", "run.h5"),
    "info": ("net.h5",),
    "evaluate": ("net.h5", "-d", "data", "--workers", "1", "-o", "e.h5", "--clocked"),
    "report": ("run.h5", "-o", "report.html"),
    "convert": ("source.nir", "-o", "converted.h5"),
    "balance": ("net.h5", "--calibrate", "data", "--steps", "2", "-o", "balanced.h5"),
    "study resolution": ("net.h5", "-d", "data", "--workers", "1", "-o", "study", "--values", "1"),
    "study delay": ("net.h5", "-d", "data", "--workers", "1", "-o", "study", "--values", "0"),
    "study initial": ("net.h5", "-d", "data", "--workers", "1", "-o", "study", "--values", "0"),
    "study exit": ("net.h5", "-d", "data", "--workers", "1", "-o", "study"),
}
# Fewer in the fast tests of what takes longer; the slow ones try all.
STRIDES = {"run": 1, "info": 1, "report": 9, "convert": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("options")
    net = small_network()
    es.save(net, place / "net.h5")
    rng = np.random.default_rng(0)
    for label in range(2):
        (place / "data" / str(label)).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(place / "data" / str(label) / "0.png")
    es.run(net, rng.integers(0, 256, (6, 6, 1), dtype=np.uint8), trace=place / "run.h5")
    return place


@pytest.fixture
def here(folder, monkeypatch, tmp_path):
    shutil.copytree(folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")


def check(arguments):
    outcome = CliRunner().invoke(main, list(arguments))
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), (arguments, outcome.exception)
    assert "\x1b" not in outcome.stdout + outcome.stderr, arguments
    if outcome.exit_code:
        said = [line for line in outcome.stderr.splitlines() if not line.startswith(("note: ", "Usage: ", "Try "))]
        lines = [line for line in said if line]
        assert len(lines) == 1, (arguments, outcome.stderr)
        assert lines[0].startswith(("eventsim: error: ", "Error: ", "eventsim: stopped: ")), (arguments, lines)
    return outcome


def calls(name):
    """Each option and argument of a command with each of the values."""
    command: click.Command = main
    for part in name.split():
        command = command.get_command(click.Context(command), part)  # type: ignore[attr-defined]
    base = COMMANDS[name]
    for parameter in command.params:
        for value in VALUES:
            if isinstance(parameter, click.Argument):
                yield (*name.split(), value, *base[1:])
            # What would start processes, or ask a network for an address, has tests of its own.
            elif not parameter.is_flag and parameter.name not in ("workers", "threads", "scheduler"):  # type: ignore[attr-defined]
                yield (*name.split(), *base, parameter.opts[0], value)


def fuzz(name, stride):
    if name == "convert":
        pytest.importorskip("nir")
        write_nir("source.nir")
    assert check((*name.split(), *COMMANDS[name])).exit_code == 0
    for number, arguments in enumerate(calls(name)):
        if number % stride == 0:
            for left in ("e.h5.parts", "study"):
                shutil.rmtree(left, ignore_errors=True)
            Path("e.h5").unlink(missing_ok=True)
            check(arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_values_that_options_do_not_expect(here, name):
    fuzz(name, STRIDES.get(name, 29))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"run", "info"}))
def test_all_values_that_options_do_not_expect(here, name):
    fuzz(name, 1)


@pytest.mark.parametrize(
    ("redirection", "code"),
    [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("<&-", 0), (">/dev/full", 1), ("| true", None), ("| head -c 5", None)],
)
def test_closed_and_broken_streams(here, redirection, code):
    """Whatever cannot be printed: no traceback, and a failure is an exit code."""
    command = f"{sys.executable} -m eventsim info net.h5 {redirection}"
    outcome = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert "Exception ignored" not in outcome.stderr
    if code is not None:
        assert outcome.returncode == code, outcome.stderr
        assert bool(outcome.stderr) == (code == 1)


def test_standard_input_that_is_closed(here):
    command = f"{sys.executable} -m eventsim run net.h5 --input - --no-trace <&-"
    outcome = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1].startswith("eventsim: error: standard input: empty")
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("content", [b"", b"\0", b"PK\x03\x04", b"x" * 1000])
def test_damaged_weights(here, content):
    pytest.importorskip("torch")
    Path("w.pt").write_bytes(content)
    Path("nets.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(2, 2)\n")
    assert check(("convert", "w.pt", "--architecture", "nets.py:net")).exit_code == 1

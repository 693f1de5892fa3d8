"""Names that a user leaves empty, and what commands are told to be."""

import subprocess
import sys

import pytest
from click.testing import CliRunner
from repository import ROOT

from eventsim.cli.main import main

LENET = ROOT / "networks" / "lenet-mnist.h5"
DIGIT = ROOT / "datasets" / "samples" / "digit-7.png"
EMPTY = [
    ["info", ""],
    ["run", "", "-i", DIGIT],
    ["run", LENET, "-i", DIGIT, "--trace", ""],
    ["run", LENET, "-i", DIGIT, "--no-trace", "--hardware", ""],
    ["evaluate", "", "-d", "mnist"],
    ["evaluate", LENET, "-d", ""],
    ["evaluate", LENET, "-d", "mnist", "-o", ""],
    ["report", ""],
    ["report", "run.h5", "-d", ""],
    ["report", "run.h5", "--costs", ""],
    ["convert", "", "--calibrate", "mnist"],
    ["convert", "net.onnx", "--calibrate", ""],
    ["convert", "net.onnx", "--nir", ""],
    ["balance", "", "--calibrate", "mnist"],
    ["balance", LENET, "--calibrate", ""],
    ["study", "exit", "", "-d", "mnist"],
    ["study", "exit", LENET, "-d", ""],
    ["data", "get", "mnist", "--from", ""],
]


@pytest.mark.parametrize("arguments", EMPTY, ids=lambda arguments: " ".join(str(a).rpartition("/")[2] or "''" for a in arguments))
def test_an_empty_name_is_not_this_folder(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: Invalid value for ")
    assert result.stderr.rstrip().endswith(": empty; give a name")
    assert not list(tmp_path.iterdir())


def test_count_ops_takes_no_empty_name(tmp_path):
    ran = subprocess.run([sys.executable, ROOT / "tools" / "count_ops.py", ""], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "empty; give a name" in ran.stderr


@pytest.mark.parametrize("group", [[], ["data"], ["study"]], ids=lambda group: " ".join(group) or "eventsim")
def test_help_says_to_the_end_what_each_command_does(group):
    """However narrow the terminal is."""
    shown = CliRunner().invoke(main, [*group, "--help"], terminal_width=60).stdout
    command = main
    for name in group:
        command = command.get_command(None, name)
    listed = " ".join(shown.partition("Commands:\n")[2].split())
    assert "..." not in listed
    for name in command.commands:
        first_sentence = " ".join(command.get_command(None, name).help.split()).partition(". ")[0].rstrip(".")
        assert f"{name} {first_sentence}" in listed

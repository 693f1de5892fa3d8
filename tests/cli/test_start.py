"""A command imports what it needs, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from repository import ROOT

import eventsim
from eventsim.cli.data import data
from eventsim.cli.lazy import LazyGroup
from eventsim.cli.main import main

NETWORK = ROOT / "networks" / "lenet-mnist.h5"
DIGIT = ROOT / "datasets" / "samples" / "digit-7.png"
# Takes longer to import than the command to run: 0.1 s and more each.
HEAVY = {"numba", "scipy", "pooch", "requests", "rich", "distributed", "matplotlib", "pandas", "torch", "onnx", "nir"}


def imported(tmp_path: Path, *command: str, **variables: str) -> set[str]:
    """The packages and modules that a command has imported when it ends; variables are those of its environment."""
    program = (
        "import sys\nfrom eventsim.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, sep='\\n', file=open('modules', 'w'))\n"
    )
    environment = {"PYTHONPATH": str(Path(eventsim.__file__).parents[1]), "PATH": "", "HOME": str(tmp_path)} | variables
    outcome = subprocess.run([sys.executable, "-c", program, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    return set((tmp_path / "modules").read_text().split())


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["data", "--help"]], ids=" ".join)
def test_help_needs_nothing_but_click(tmp_path, command):
    assert not imported(tmp_path, *command) & (HEAVY | {"numpy", "h5py", "PIL"})


@pytest.mark.parametrize("command", main.commands)
def test_help_needs_no_compiler(tmp_path, command):
    """Not that of commands that simulate, either: what holds compiled code is imported when a run comes to it."""
    assert "numba" not in imported(tmp_path, command, "--help")


def test_what_runs_nothing_needs_no_compiler(tmp_path):
    assert not imported(tmp_path, "data", "list") & HEAVY
    assert not imported(tmp_path, "info", str(NETWORK)) & (HEAVY - {"rich"})


def test_a_run_needs_the_compiler_and_nothing_beside(tmp_path):
    run = "run", str(NETWORK), "--input", str(DIGIT), "--steps", "1", "--engine", "reference"
    # Numba asks for SciPy.
    assert not imported(tmp_path, *run) & (HEAVY - {"numba", "scipy"})


def test_a_run_whose_code_is_kept_needs_nothing_of_what_compiles(tmp_path):
    """No kernel uses what numba implements of NumPy: kept code would bring it along, and SciPy's linear algebra with it."""
    kept = {name: os.environ[name] for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR") if name in os.environ}
    run = "run", str(NETWORK), "--input", str(DIGIT), "--no-trace"
    # The first may have to compile.
    assert "scipy.linalg" not in [imported(tmp_path, *run, **kept) for _ in range(2)][1]


@pytest.mark.parametrize("group", [main, data], ids=["eventsim", "eventsim data"])
def test_what_stands_for_a_command_says_what_the_command_says(group):
    assert isinstance(group, LazyGroup)
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command.name == name
        assert group.commands[name].get_short_help_str(1000) == command.get_short_help_str(1000)
        assert group.commands[name].get_short_help_str(60) == command.get_short_help_str(60)

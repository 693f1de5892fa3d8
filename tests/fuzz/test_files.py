"""Files of every kind that a command reads, changed at random."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import strategies as st
from judges.evaluations import small_data
from judges.formats import idx
from judges.fuzzing import COMMANDS, HUGE, WORDS, change_hdf5, changed, changes, check, check_all, fuzz, seal_again, structure
from repository import ROOT

from eventsim.cli.main import main


@pytest.mark.parametrize("name", COMMANDS)
def test_bytes(here, name):
    whole = Path(name).read_bytes()

    def body(steps):
        Path(name).write_bytes(changed(whole, steps))
        check_all(name)

    fuzz(changes, body)


@pytest.mark.parametrize("name", ["net.h5", "run.h5", "eval.h5"])
def test_hdf5_structure(here, name):
    whole = Path(name).read_bytes()

    def body(steps):
        Path(name).write_bytes(whole)
        try:
            change_hdf5(name, steps)
            seal_again(name, steps)
        except (KeyError, ValueError, TypeError, OSError, RuntimeError):
            return  # a change that h5py itself does not make
        check_all(name)

    fuzz(structure, body)


def text_values(value):
    """All values of a JSON document that can be replaced: (container, key)."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from text_values(value[key])


@pytest.mark.parametrize(("name", "place"), [("run.h5", "eventsim/info"), ("eval.h5", "info")])
def test_descriptions(here, name, place):
    """The JSON in traces and evaluations, changed within its structure."""
    whole = Path(name).read_bytes()
    with h5py.File(name) as file:
        text = bytes(file[place][()])
    new = st.one_of(st.sampled_from(HUGE), st.sampled_from(WORDS), st.sampled_from((None, True, [], {}, 0.5, 1e308)))

    def body(steps):
        info = json.loads(text)
        for where, value in steps:
            places = list(text_values(info))
            container, key = places[where % len(places)]
            container[key] = value
        Path(name).write_bytes(whole)
        with h5py.File(name, "r+") as file:
            del file[place]
            file[place] = np.bytes_(json.dumps(info).encode())
        seal_again(name, steps)
        check_all(name)

    fuzz(st.lists(st.tuples(st.integers(0, 2**16), new), min_size=1, max_size=2), body)


@pytest.mark.parametrize("what", ["images", "labels"])
def test_data_set_files(here, monkeypatch, what):
    monkeypatch.setenv("EVENTSIM_DATA", str(Path.cwd()))
    Path("mnist").mkdir()
    data = small_data(4)
    images = np.zeros((4, 28, 28), np.uint8)
    (Path("mnist") / "t10k-images-idx3-ubyte").write_bytes(idx(images))
    (Path("mnist") / "t10k-labels-idx1-ubyte").write_bytes(idx(data.labels.astype(np.uint8)))
    path = Path("mnist") / {"images": "t10k-images-idx3-ubyte", "labels": "t10k-labels-idx1-ubyte"}[what]
    whole = path.read_bytes()

    def body(steps):
        path.write_bytes(changed(whole, steps))
        Path("new.h5").unlink(missing_ok=True)
        shutil.rmtree("new.h5.parts", ignore_errors=True)
        check(main, ("evaluate", "net.h5", "-d", "mnist", "-o", "new.h5", "--workers", "1", "--steps", "2"))

    fuzz(changes, body)


@pytest.mark.exhaustive
@pytest.mark.parametrize("file", sorted(path.name for path in Path(__file__).parent.glob("test_*.py")))
def test_three_thousand_of_each_within_two_gigabytes(file):
    """All of this folder again, thirty times as many, in processes that may not take more memory."""

    def limit():
        # The address space of a process with LLVM and its threads is far larger than what it uses; so data is limited, not that.
        resource.setrlimit(resource.RLIMIT_DATA, (2 * 2**30, 2 * 2**30))

    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", "-W", "ignore", "-p", "no:cacheprovider", f"tests/fuzz/{file}"]
    environment = os.environ | {"EVENTSIM_FUZZ_EXAMPLES": "3000", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, preexec_fn=limit, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout

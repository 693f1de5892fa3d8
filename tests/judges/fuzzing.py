"""Files changed at random: whatever is in them, a command has a result or one line that says what is wrong.

Bytes are flipped, cut, copied and overwritten; HDF5 and ONNX files are changed within their structure too. A hundred changes of each kind
in the fast tests, 3,000 in the slow ones (there also within 2 GB of memory).
"""

from __future__ import annotations

import contextlib
import itertools
import os

import count_ops
import h5py
import numpy as np
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventsim.cli.main import main
from eventsim.files.seal import SEAL, seal
from judges.recordings import WRITERS

EXAMPLES = int(os.environ.get("EVENTSIM_FUZZ_EXAMPLES", "100"))
# More of images, arrays and events, as Python reads them: test_fuzz_inputs.py.
FORMATS = {"png": "RGB", "tif": "RGBA"}
RECORDINGS = {f"rec-{form}{suffix}": write for form, (suffix, write) in WRITERS.items()}
HUGE = (0, 1, -1, 255, 2**15, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1)
WORDS = (
    "",
    "x",
    "../x",
    "a" * 300,
    "\x1b[31m",
    "[/red]",
    "$\\frac{",
    "<script>",
    "é",
    "conv1",
    "/etc/passwd",
    "1e309",
    "NaN",
    "{",
    '{"a": []}',
)


COUNT_OPS = count_ops.main
REPORTS = itertools.count()


def check_all(name):
    """All commands on a file; reports take long, so they are made of some."""
    for command, *arguments in COMMANDS[name]:
        if arguments[0] != "report" or next(REPORTS) % 12 == 0:
            check(command, arguments)


def check(command, arguments):
    outcome = CliRunner().invoke(command, list(map(str, arguments)))
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), (arguments, outcome.exception)
    assert "\x1b" not in outcome.stdout + outcome.stderr
    if outcome.exit_code:
        lines = [line for line in outcome.stderr.splitlines() if line and not line.startswith(("note: ", "Usage: ", "Try "))]
        assert len(lines) == 1, (arguments, outcome.stderr)
        assert "error: " in lines[0].lower() or lines[0].startswith("eventsim: stopped"), lines


COMMANDS = (
    {
        "net.h5": [(main, "info", "net.h5"), (main, "run", "net.h5", "-i", "image.npy", "--steps", "3", "--trace", "new.h5")],
        "run.h5": [(main, "info", "run.h5", "--verify"), (COUNT_OPS, "run.h5"), (main, "report", "run.h5", "-o", "report.html")],
        "eval.h5": [(main, "info", "eval.h5", "--verify"), (COUNT_OPS, "eval.h5"), (main, "report", "eval.h5", "-o", "report.html")],
        "image.npy": [(main, "run", "net.h5", "-i", "image.npy", "--no-trace")],
        "batch.npy": [(main, "run", "net.h5", "-i", "batch.npy", "--no-trace")],
        "events.npy": [(main, "run", "events-net.h5", "-i", "events.npy", "--no-trace", "--steps", "3")],
        "events.csv": [(main, "run", "events-net.h5", "-i", "events.csv", "--no-trace", "--steps", "3")],
        "costs.json": [(COUNT_OPS, "run.h5", "--costs", "costs.json")],
    }
    | {name: [(main, "run", "camera-net.h5", "-i", name, "--no-trace", "--steps", "3")] for name in RECORDINGS}
    | {f"image.{suffix}": [(main, "run", "net.h5", "-i", f"image.{suffix}", "--no-trace")] for suffix in FORMATS}
)


# A kind of change, a place (as a share of the file), a length and a number.
changes = st.lists(
    st.tuples(
        st.sampled_from(("flip", "cut", "overwrite", "copy", "insert", "remove")),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 64),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, steps) -> bytes:
    content = bytearray(data)
    for kind, share, length, number in steps:
        at = int(share * len(content))
        if kind == "flip" and content:
            content[at] ^= 1 << number % 8
        elif kind == "cut":
            del content[at:]
        elif kind == "overwrite":
            content[at : at + length] = bytes([number]) * len(content[at : at + length])
        elif kind == "copy":
            source = int(number / 256 * len(content))
            content[at : at + length] = content[source : source + length]
        elif kind == "insert":
            content[at:at] = bytes([number]) * length
        else:
            del content[at : at + length]
    return bytes(content)


def fuzz(strategy, body, examples=EXAMPLES):
    """Run a body on so many examples, the same at every run."""
    run = settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    run(given(strategy)(body))()


# A place among the file's objects and attributes, a kind of change, a number and a word.
structure = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.sampled_from(("remove", "value", "shape", "type", "huge", "group", "text", "soft", "external", "attribute", "nan", "rename")),
        st.sampled_from(HUGE),
        st.sampled_from(WORDS),
    ),
    min_size=1,
    max_size=3,
)


def change_hdf5(path, steps):  # noqa: C901 - a branch for each kind of change
    with h5py.File(path, "r+") as file:
        for place, kind, number, word in steps:
            names: list[str] = []
            file.visit(names.append)
            if not names:
                return
            name = names[place % len(names)]
            item = file[name]
            attributes = list(item.attrs)
            if kind == "attribute" or (kind in ("value", "text", "huge") and isinstance(item, h5py.Group) and attributes):
                if attributes:
                    key = attributes[place % len(attributes)]
                    item.attrs[key] = number if place % 2 else word
                continue
            old = item[()] if isinstance(item, h5py.Dataset) and item.size < 10**6 else None
            if kind == "value" and old is not None and getattr(old, "size", 0) and old.dtype.kind in "iuf":
                old = np.array(old)
                with np.errstate(all="ignore"):
                    old.flat[place % old.size] = np.array(number).astype(old.dtype)
                item[...] = old
                continue
            del file[name]
            if kind == "shape" and old is not None:
                file[name] = np.resize(old, (place % 7, 3)) if place % 2 else np.resize(old, place % 11)
            elif kind == "type" and old is not None:
                file[name] = np.resize(np.array([number, -1], object).astype(("f8", "S9", "c16")[place % 3]), np.shape(old))
            elif kind == "huge":
                file.create_dataset(name, (2**20, 2**20), "i4", chunks=(1, 1024))
            elif kind == "group":
                file.create_group(name)
            elif kind == "text":
                file[name] = np.bytes_(word.encode())
            elif kind == "soft":
                file[name] = h5py.SoftLink(names[(place + 1) % len(names)])
            elif kind == "external":
                file[name] = h5py.ExternalLink("net.h5", "/")
            elif kind == "nan" and old is not None:
                file[name] = np.full(np.shape(old), np.nan)
            elif kind == "rename" and old is not None:
                file[name.rpartition("/")[0] + "/renamed"] = old


def seal_again(path, steps):
    """As somebody would who has made the file by intent; now and then without a seal."""
    with h5py.File(path, "r+") as file:
        if SEAL in file:
            del file[SEAL]
            if sum(step[0] for step in steps) % 5:
                with contextlib.suppress(MemoryError, AttributeError):  # what is declared and not there, links that lead nowhere
                    seal(file, {})

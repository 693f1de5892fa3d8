"""Files of every kind that a command reads, changed at random: whatever is in them, there is a result or one line that says what is wrong.

Bytes are flipped, cut, copied and overwritten; HDF5 and ONNX files are changed within their structure too. A hundred changes of each kind
in the fast tests, 3,000 in the slow ones (there also within 2 GB of memory).
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
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
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judges.evaluations import small_data, small_network
from judges.formats import idx, write_nir
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.cli.main import main
from eventsim.files.seal import SEAL, seal

EXAMPLES = int(os.environ.get("EVENTSIM_FUZZ_EXAMPLES", "100"))
# More of images, arrays and events, as Python reads them: test_fuzz_inputs.py.
FORMATS = {"png": "RGB", "tif": "RGBA"}
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


def count_ops():
    spec = importlib.util.spec_from_file_location("count_ops", ROOT / "tools" / "count_ops.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


COUNT_OPS = count_ops()


OPERATORS = (
    "Conv", "Gemm", "MatMul", "Add", "Mul", "Div", "Concat", "Gather", "Reshape", "Quant", "Clip", "Flatten", "Sign", "BipolarQuant",
    "ReduceMean", "Softmax", "Shape", "Constant", "Unsqueeze", "Slice", "MaxPool", "Floor", "Where",
)  # fmt: skip
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


def onnx_model():
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "w": rng.choice([-0.5, 0.5], (4, 1, 3, 3)),
        "s": np.full(4, 1.0),
        "f": rng.normal(size=(16, 5)),
        "two": np.array(2.0),
        "shape": np.array([1, -1]),
    }
    nodes = [
        helper.make_node("Sign", ["w"], ["ws"]),
        helper.make_node("Mul", ["ws", "two"], ["wb"]),
        helper.make_node("Conv", ["x", "wb"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("AveragePool", ["c"], ["d"], kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node("Reshape", ["d", "shape"], ["e"]),
        helper.make_node("MatMul", ["e", "f"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(v.astype("i8" if n == "shape" else "f4"), n) for n, v in weights.items()]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [1, 1, 6, 6])], [value("y", TensorProto.FLOAT, [1, 5])], initializers
    )
    return onnx, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """A small valid file of each kind, and what the commands on it need."""
    place = tmp_path_factory.mktemp("seeds")
    net, data = small_network(), small_data(6)
    es.save(net, place / "net.h5")
    es.run(net, data[0], trace=place / "run.h5")
    es.evaluate(net, data, place / "eval.h5", workers=1).close()
    np.save(place / "image.npy", data[0])
    np.save(place / "batch.npy", np.stack([data[0], data[1]]))
    events = es.Network()
    events.source("camera", 8)
    events.readout("out", 2)
    events.connect("camera", "out", np.arange(16).reshape(8, 2))
    es.save(events, place / "events-net.h5")
    np.save(place / "events.npy", np.array([[0.5, 7], [1.25, 0]]))
    (place / "events.csv").write_text("time,neuron\n0.5,7\n1.25,0\n")
    (place / "costs.json").write_text('{"name": "mine", "int8_add": 0.007, "float32_add": 0.38, "float32_mac": 1.7}')
    rng = np.random.default_rng(0)
    for suffix, mode in FORMATS.items():
        Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).convert(mode).save(place / f"image.{suffix}")
    return place


@pytest.fixture
def here(seeds, monkeypatch, tmp_path):
    shutil.copytree(seeds, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")


COMMANDS = {
    "net.h5": [(main, "info", "net.h5"), (main, "run", "net.h5", "-i", "image.npy", "--steps", "3", "--trace", "new.h5")],
    "run.h5": [(main, "info", "run.h5", "--verify"), (COUNT_OPS, "run.h5"), (main, "report", "run.h5", "-o", "report.html")],
    "eval.h5": [(main, "info", "eval.h5", "--verify"), (COUNT_OPS, "eval.h5"), (main, "report", "eval.h5", "-o", "report.html")],
    "image.npy": [(main, "run", "net.h5", "-i", "image.npy", "--no-trace")],
    "batch.npy": [(main, "run", "net.h5", "-i", "batch.npy", "--no-trace")],
    "events.npy": [(main, "run", "events-net.h5", "-i", "events.npy", "--no-trace", "--steps", "3")],
    "events.csv": [(main, "run", "events-net.h5", "-i", "events.csv", "--no-trace", "--steps", "3")],
    "costs.json": [(COUNT_OPS, "run.h5", "--costs", "costs.json")],
} | {f"image.{suffix}": [(main, "run", "net.h5", "-i", f"image.{suffix}", "--no-trace")] for suffix in FORMATS}

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


@pytest.mark.parametrize("name", COMMANDS)
def test_bytes(here, name):
    whole = Path(name).read_bytes()

    def body(steps):
        Path(name).write_bytes(changed(whole, steps))
        check_all(name)

    fuzz(changes, body)


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


def change_hdf5(path, steps):
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


def test_onnx(here):
    _, model = onnx_model()
    whole = model.SerializeToString()

    def body(steps):
        Path("model.onnx").write_bytes(changed(whole, steps))
        check(main, ("convert", "model.onnx", "-o", "converted.h5"))
        Path("calibrate").mkdir(exist_ok=True)

    fuzz(changes, body)


def test_onnx_structure(here):
    onnx, model = onnx_model()
    Path("calibrate").mkdir()
    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)).save("calibrate/0.png")
    kinds = st.sampled_from(("remove", "twice", "kind", "input", "output", "attribute", "dims", "value", "shape", "swap"))
    other = st.sampled_from(OPERATORS)

    def body(steps):
        new = onnx.ModelProto()
        new.CopyFrom(model)
        graph = new.graph
        for kind, place, number, name in steps:
            if not graph.node:
                break
            node = graph.node[place % len(graph.node)]
            tensors = [*graph.initializer]
            tensor = tensors[place % len(tensors)]
            names = [i for n in graph.node for i in (*n.input, *n.output)] or ["x"]
            if kind == "remove":
                graph.node.remove(node)
            elif kind == "twice":
                graph.node.add().CopyFrom(node)
            elif kind == "kind":
                node.op_type = name
            elif kind == "input":
                node.input.append(names[number % len(names)])
            elif kind == "output" and node.input:
                node.input[0] = names[number % len(names)]
            elif kind == "attribute":
                node.attribute.add().CopyFrom(
                    onnx.helper.make_attribute(("pads", "strides", "axis", "alpha")[place % 4], [number] * (place % 5 + 1))
                )
            elif kind == "dims" and tensor.dims:
                tensor.dims[place % len(tensor.dims)] = number
            elif kind == "value" and tensor.raw_data:
                with np.errstate(all="ignore"):
                    bad = np.array([number, np.nan, np.inf, 1e38])[place % 4].astype("f4").tobytes()
                tensor.raw_data = bad * (len(tensor.raw_data) // 4)
            elif kind == "shape":
                graph.input[0].type.tensor_type.shape.dim[place % 4].dim_value = number
            elif kind == "swap" and len(node.input) > 1:
                node.input[0], node.input[1] = node.input[1], node.input[0]
        Path("model.onnx").write_bytes(new.SerializeToString())
        check(main, ("convert", "model.onnx", "-o", "converted.h5", "--calibrate", "calibrate"))

    fuzz(st.lists(st.tuples(kinds, st.integers(0, 999), st.sampled_from([*HUGE, 2, 3, 100_000]), other), min_size=1, max_size=3), body)


def test_constants_that_double_and_double(here):
    """A small ONNX file that computes a huge one."""
    onnx, model = onnx_model()
    helper = onnx.helper
    last = "w"
    for i in range(3000):
        model.graph.node.insert(i, helper.make_node("Concat", [last, last], [f"d{i}"], axis=0))
        last = f"d{i}"
    Path("model.onnx").write_bytes(model.SerializeToString())
    outcome = CliRunner().invoke(main, ["convert", "model.onnx"])
    assert "would take more than" in outcome.stderr


def test_nir(here):
    pytest.importorskip("nir")
    write_nir("source.nir")
    whole = Path("source.nir").read_bytes()

    def body(steps):
        Path("source.nir").write_bytes(changed(whole, steps))
        check(main, ("convert", "source.nir", "-o", "converted.h5"))

    def within(steps):
        Path("source.nir").write_bytes(whole)
        try:
            change_hdf5("source.nir", steps)
        except (KeyError, ValueError, TypeError, OSError, RuntimeError):
            return
        check(main, ("convert", "source.nir", "-o", "converted.h5"))

    fuzz(changes, body)
    fuzz(structure, within)


def test_weights(here):
    torch = pytest.importorskip("torch")
    Path("nets.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 3))\n"
    )
    Path("calibrate").mkdir()
    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)).save("calibrate/0.png")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    torch.save(model.state_dict(), "w.pt")
    whole = Path("w.pt").read_bytes()

    def body(steps):
        Path("w.pt").write_bytes(changed(whole, steps))
        check(main, ("convert", "w.pt", "--architecture", "nets.py:net", "--calibrate", "calibrate", "-o", "converted.h5"))

    fuzz(changes, body)


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
def test_three_thousand_of_each_within_two_gigabytes(tmp_path):
    """All of the above again, thirty times as many, in a process that may not take more memory."""

    def limit():
        # The address space of a process with LLVM and its threads is far larger than what it uses; so data is limited, not that.
        resource.setrlimit(resource.RLIMIT_DATA, (2 * 2**30, 2 * 2**30))

    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"EVENTSIM_FUZZ_EXAMPLES": "3000", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, preexec_fn=limit, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-5000:]

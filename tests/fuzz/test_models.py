"""Models to be converted, changed at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import strategies as st
from judges.formats import write_nir
from judges.fuzzing import HUGE, change_hdf5, changed, changes, check, fuzz, structure
from PIL import Image

from eventsim.cli.main import main

OPERATORS = (
    "Conv", "Gemm", "MatMul", "Add", "Mul", "Div", "Concat", "Gather", "Reshape", "Quant", "Clip", "Flatten", "Sign", "BipolarQuant",
    "ReduceMean", "Softmax", "Shape", "Constant", "Unsqueeze", "Slice", "MaxPool", "Floor", "Where",
)  # fmt: skip


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


def test_onnx(here):
    _, model = onnx_model()
    whole = model.SerializeToString()

    def body(steps):
        Path("model.onnx").write_bytes(changed(whole, steps))
        check(main, ("convert", "model.onnx", "-o", "converted.h5"))
        Path("calibrate").mkdir(exist_ok=True)

    fuzz(changes, body)


def test_onnx_structure(here):  # noqa: C901 - a branch for each kind of change
    onnx, model = onnx_model()
    Path("calibrate").mkdir()
    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)).save("calibrate/0.png")
    kinds = st.sampled_from(("remove", "twice", "kind", "input", "output", "attribute", "dims", "value", "shape", "swap"))
    other = st.sampled_from(OPERATORS)

    def body(steps):  # noqa: C901 - a branch for each kind of change
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
    model.graph.node[3000].input[0] = last
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

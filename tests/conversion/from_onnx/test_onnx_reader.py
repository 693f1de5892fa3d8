"""Files as a whole: inputs, outputs, batches, layouts, constants, what is refused and in which words."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from judges.onnx_models import GENERAL, model, node, read, reference, save  # noqa: E402
from onnx import TensorProto  # noqa: E402

import eventsim as es  # noqa: E402
from eventsim.conversion import graph as g  # noqa: E402
from eventsim.conversion.from_onnx import from_onnx  # noqa: E402
from eventsim.conversion.judging import check_reading  # noqa: E402

RNG = np.random.default_rng(11)
W = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
V = RNG.normal(size=(5, 4 * 8 * 8)).astype(np.float32)
X = RNG.random((6, 3, 8, 8)).astype(np.float32)
IMAGE = (1, 3, 8, 8)
CONV = node("Conv", "x w", "z", pads=[1] * 4)
RELU = node("Relu", "z", "a")
HEAD = [node("Flatten", "a", "f"), node("Gemm", "f v", "y", transB=1)]
BASE = {"w": W, "v": V}
PLAIN = [CONV, RELU, *HEAD]


def agrees(made, folder, x=X, **settings):
    """What is read computes what the file does, and the file itself, asked, says so."""
    path = save(made, folder)
    found = read(path, x, **settings)
    expected = reference(made, x)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    graph = from_onnx(path, **settings)
    shape = graph.nodes[0].shape
    check_reading(graph, (x if x.shape[1:] == shape else np.moveaxis(x, -1, 1)).reshape(len(x), *shape))
    return graph


def refused(made, folder, message, **settings):
    with pytest.raises(es.ConversionError, match=message):
        from_onnx(save(made, folder), **settings)


@pytest.mark.parametrize("batch", [1, 2, 3, "n", None])
def test_any_batch(batch, tmp_path):
    shape = [node("Constant", "", "s", value_ints=[batch if isinstance(batch, int) else 1, -1]), node("Reshape", "a s", "f")]
    made = model([CONV, RELU, *shape, HEAD[1]], BASE, (batch, *IMAGE[1:]))
    agrees(made, tmp_path)


def test_a_batch_of_several_images_may_lie_anywhere_but_not_be_mixed(tmp_path):
    turned = [node("Flatten", "x", "f"), node("Transpose", "f", "t", perm=[1, 0]), node("MatMul", "v t", "u"), node("Transpose", "u", "y")]
    weights = {"v": RNG.normal(size=(5, 192)).astype(np.float32), "s": np.int64([1, -1])}
    agrees(model(turned, weights, (2, 3, 8, 8)), tmp_path)
    mixed = [node("Reshape", "x s", "f"), node("Slice", "f b e a", "h"), node("MatMul", "h v", "y")]
    numbers = {"b": np.int64([0]), "e": np.int64([192]), "a": np.int64([1]), "v": weights["v"].T.copy(), "s": np.int64([1, -1])}
    refused(model(mixed, numbers, (2, 3, 8, 8)), tmp_path, "several images are mixed|batch")


def test_shape_and_what_is_computed_of_it(tmp_path):
    size = [
        node("Shape", "a", "n", start=0, end=1), node("Shape", "a", "all"), node("Gather", "all two", "c", axis=0),
        node("Mul", "c eight", "d"),
        node("Unsqueeze", "d zeros", "e"), node("Concat", "n e minus", "s", axis=0), node("Reshape", "a s", "r"), node("Flatten", "r", "f"),
    ]  # fmt: skip
    numbers = {"two": np.int64(1), "eight": np.int64(2), "zeros": np.int64([0]), "minus": np.int64([-1])}
    agrees(model([CONV, RELU, *size, HEAD[1]], BASE | numbers, ("n", 3, 8, 8), 15), tmp_path)


def test_channels_last_as_tensorflow_has_them(tmp_path):
    """Converted by tf2onnx: the input is NHWC, transposed, and what is flattened has its channels last again."""
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w", "z", pads=[1] * 4), node("Relu", "z", "a"),
        node("Transpose", "a", "l", perm=[0, 2, 3, 1]), node("Reshape", "l s", "f"), node("MatMul", "f m", "q"), node("Add", "q b"),
    ]  # fmt: skip
    numbers = {"w": W, "s": np.int64([-1, 256]), "m": V.T.copy(), "b": RNG.normal(size=5).astype(np.float32)}
    x = np.ascontiguousarray(X.transpose(0, 2, 3, 1))
    graph = agrees(model(nodes, numbers, ("n", 8, 8, 3)), tmp_path, x)
    assert graph.nodes[0].shape == (3, 8, 8)
    assert any("channels last" in remark for remark in graph.remarks)
    bias = [node("Add", "x c", "h"), *nodes[:1], *nodes[1:]]
    bias[1].input[0] = "h"
    agrees(model(bias, numbers | {"c": np.float32([0.5, -1, 2])}, (1, 8, 8, 3)), tmp_path, x)


def test_images_without_an_axis_of_channels(tmp_path):
    x = RNG.random((4, 6, 5)).astype(np.float32)
    nodes = [node("Reshape", "x s", "i"), node("Conv", "i w", "z"), node("Flatten", "z", "y")]
    weights = {"w": W[:, :1].copy(), "s": np.int64([-1, 1, 6, 5])}
    agrees(model(nodes, weights, ("n", 6, 5)), tmp_path, x, input_shape=(1, 6, 5))


def test_a_signal_is_an_image_of_one_row(tmp_path):
    x = RNG.random((4, 3, 9)).astype(np.float32)
    nodes = [node("Conv", "x w", "z", strides=[2]), node("Relu", "z", "a"), node("GlobalAveragePool", "a", "p"), node("Flatten", "p", "y")]
    graph = agrees(model(nodes, {"w": W[:, :, 0].copy()}, ("n", 3, 9)), tmp_path, x)
    assert graph.nodes[0].shape == (3, 1, 9)


def test_the_shape_of_the_input(tmp_path):
    open_ = model(PLAIN, BASE, ("n", 3, "h", "w"))
    refused(open_, tmp_path, r"leaves the shape of its input open, \(3, 0, 0\)")
    agrees(open_, tmp_path, input_shape=(3, 8, 8))
    refused(model(PLAIN, BASE, IMAGE), tmp_path, r"\(3, 7, 8\) was given, the file's input x has \(3, 8, 8\)", input_shape=(3, 7, 8))
    refused(model(PLAIN, BASE, (1, 3, 2**12, 2**14)), tmp_path, "more than")
    whole = model([node("Cast", "x", "r", to=1), node("Conv", "r w", "z", pads=[1] * 4), *PLAIN[1:]], BASE, IMAGE, kind=TensorProto.UINT8)
    assert any("std 1/255" in remark for remark in from_onnx(save(whole, tmp_path)).remarks)


def test_several_outputs_and_inputs(tmp_path):
    made = model([*PLAIN, node("Gemm", "f u", "other", transB=1)], BASE | {"u": -V[:3]}, IMAGE, outputs=["y", "other"])
    refused(made, tmp_path, r"has 2 outputs \(y, other\); say which")
    refused(made, tmp_path, "no output 'z'; it has y, other", output="z")
    path = save(made, tmp_path)
    np.testing.assert_allclose(read(path, X, output="other")[:, :3], -read(path, X, output="y")[:, :3])
    refused(model([node("Add", "x z")], {}, IMAGE, inputs=["x", "z"]), tmp_path, r"2 inputs that the answer depends on \(x, z\)")
    # One that nothing takes does not matter, nor do nodes that nothing takes.
    agrees(model(PLAIN, BASE, IMAGE, inputs=["x", "mask"]), tmp_path)
    agrees(model([*PLAIN[:2], node("Erf", "a", "unused"), *PLAIN[2:]], BASE, IMAGE), tmp_path)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (node("LeakyRelu", alpha=0.1), "says nothing of negative values"),
        (node("Gelu"), "no straight line"),
        (node("Sigmoid", "x", "s"), r"takes values of Sigmoid: not supported within a network"),
        (node("Softmax", "x", "s"), "axis"),
        (node("LSTM", "x x x"), "depends on time"),
        (node("If", "x"), "which operators run"),
        (node("NonZero"), "not supported; supported: Add, "),
        (node("FusedConv", domain="com.microsoft"), "an operator of com.microsoft, which is not supported: written by ONNX Runtime"),
        (node("Foo", domain="my.own"), "an operator of my.own"),
        (node("FloatQuant", domain=GENERAL), "no equal steps"),
        (node("Mul", "x x"), "a product of two activations"),
        (node("MatMul", "x x"), "a product of two activations"),
        (node("Div", "one x"), "only division by a constant"),
        (node("Cast", to=9), "compare with a number instead"),
        (node("Conv", "x x"), "weights that depend on the network's input"),
        (node("Clip", "x one zero"), "its bounds are 1 and 0"),
        (node("Pad", "x p", mode="constant"), r"pads \[1, 2\] for 4 axes"),
        (node("MaxPool", outputs="p y", kernel_shape=[2, 2]), r"output 'y' of p \(MaxPool\)"),
        (node("Reshape", "x p"), "cannot be computed"),
        (node("Gather", "x big", axis=1), "cannot be computed"),
    ],
)
def test_what_is_refused_says_why(nodes, message, tmp_path):
    after = [node("Mul", f"{nodes.output[0]} one", "y")] if nodes.output[0] in ("s",) else []
    if message.startswith("output 'y'"):
        after = [node("Relu", "y", "z")]
    more = [nodes, *after]
    numbers = {"one": np.float32(1), "zero": np.float32(0), "p": np.int64([1, 2]), "big": np.int64(77)}
    refused(model(more, numbers, IMAGE, outputs=[more[-1].output[-1]]), tmp_path, message)


def test_constants_are_computed_as_onnx_does(tmp_path):
    """In their own types (a division of integers, a cast), and in the file's opset, not the newest."""
    nodes = [
        node("Div", "seven two", "three"), node("Cast", "three", "t", to=1), node("Mul", "w t", "scaled"),
        node("Squeeze", "scaled", "flat", axes=[0]),
        node("Clip", "flat", "clipped", min=-1.0, max=1.0), node("Conv", "x clipped", "z"), node("Flatten", "z", "y"),
    ]  # fmt: skip
    agrees(model(nodes, {"seven": np.int64(7), "two": np.int64(2), "w": W[None]}, IMAGE, 10), tmp_path)


@pytest.mark.parametrize("nodes", [[node("ConstantOfShape", "n", "c")], [node("Expand", "one n", "c")], [node("Tile", "one n", "c")]])
def test_constants_that_would_take_too_much_are_refused(nodes, tmp_path):
    numbers = {"n": np.int64([2**14, 2**14, 64]), "one": np.ones((1, 1, 1), np.float32)}
    refused(model([*nodes, node("Add", "x c")], numbers, IMAGE), tmp_path, "would take more than 256 MB")


def test_an_opset_that_onnx_does_not_know_yet(tmp_path):
    made = model(PLAIN, BASE, IMAGE)
    made.opset_import[0].version = 99
    refused(made, tmp_path, "opset 99; the installed onnx package knows them up to")


def test_a_bound_as_large_as_its_type_is_none(tmp_path):
    for kind, largest in ((np.float32, 3.4028235e38), (np.float32, np.inf), (np.float64, 1.7e308)):
        made = model([CONV, node("Clip", "z low high", "a"), *HEAD], BASE | {"low": kind(0), "high": kind(largest)}, IMAGE)
        clips = [n.operator for n in from_onnx(save(made, tmp_path)).nodes if isinstance(n.operator, g.Clip)]
        assert [clip.high for clip in clips] == [np.inf]


def test_the_source_is_asked(tmp_path):
    """Whatever reads a node wrongly is found by running the file itself."""
    graph = from_onnx(save(model(PLAIN, BASE, IMAGE), tmp_path))
    check_reading(graph, X)
    number = next(i for i, n in enumerate(graph.nodes) if isinstance(n.operator, g.Convolution))
    wrong = graph.nodes[number].operator
    graph.nodes[number] = g.Node("z", g.Convolution(wrong.weight, None, wrong.stride, (0, 0, 2, 2)), (0,), graph.shape(number))
    with pytest.raises(es.ConversionError, match=r"^z: the network itself computes other values"):
        check_reading(graph, X)


@pytest.mark.parametrize("zero", [np.uint8(2), np.uint8(3), np.int8(-5), np.int8(0)])
def test_a_zero_point_is_added_after_rounding(zero, tmp_path):
    """Halves go to the even number of steps, whatever the zero point."""
    halves = np.arange(-64, 128, dtype=np.float32).reshape(1, 3, 8, 8) / 2
    nodes = [node("QuantizeLinear", "x s zero", "q"), node("DequantizeLinear", "q s zero", "a"), node("Flatten", "a", "y")]
    agrees(model(nodes, {"s": np.float32(1), "zero": zero}, IMAGE, 21), tmp_path, x=halves)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Unsqueeze", "x", "a", axes=[1]), node("Unsqueeze", "x", "b", axes=[2]), node("Add", "a b", "c")],
        [node("Unsqueeze", "x", "a", axes=[2]), node("Mul", "a row", "c")],
    ],
)
def test_tensors_that_no_network_has_are_refused_before_they_are_made(nodes, tmp_path):
    after = [node("ReduceSum", "c", "y", axes=[2])]
    made = model([*nodes, *after], {"row": np.ones((1, 1, 65536), np.float32)}, (1, 65536), 11)
    tracemalloc.start()
    try:
        refused(made, tmp_path, "makes more than 16777216 numbers")
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()

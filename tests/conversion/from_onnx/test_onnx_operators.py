"""Every operator that is read, against ONNX's own reference: as exporters write it, and with every attribute that it has changed.

What an attribute means is either heeded or refused: it is never dropped.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from judges.onnx_models import model, read, save  # noqa: E402
from judges.onnx_samples import SAMPLES  # noqa: E402

import eventsim as es  # noqa: E402
from eventsim.conversion import from_onnx  # noqa: E402, F401 - registers the operators
from eventsim.conversion.onnx.reference import run_nodes  # noqa: E402
from eventsim.conversion.onnx.registry import HANDLERS  # noqa: E402

# Left out at a network's end: what is read is what comes before them.
HEADS = {"ArgMax", "Hardmax", "LogSoftmax", "Sigmoid", "Softmax", "Tanh", "TopK"}
# Read as constants, not as values.
CONSTANTS = {"Shape", "Size"}
# Values that an attribute may have, by its type.
OTHERS: dict[str, list[Any]] = {
    "to": [1, 6, 7, 11],
    "INT": [0, 1, 2, -1, 3, 7],
    "FLOAT": [0.3, 2.0],
    "INTS": [[0, 1], [1, 1], [2, 1], [2], [1, 0, 1, 0], [0, 1, 2, 3], [1, 2]],
    "FLOATS": [[0.5, 2.0]],
    "STRING": ["SAME_UPPER", "VALID", "linear", "reflect", "NHWC", "FLOOR", "CEIL", "DCR", "half_pixel", "align_corners", "ceil", "add"],
}  # fmt: skip
QONNX_TYPES = {
    "rounding_mode": "STRING",
    "data_layout": "STRING",
    "out_scale": "FLOAT",
    "out_bias": "FLOAT",
    "signed": "INT",
    "narrow": "INT",
}


def images(shape, n=3):
    """Values on both sides of zero, some of them on ties and on the borders of what is quantised."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, *shape[1:])).astype(np.float32)
    return np.where(rng.random(x.shape) < 0.3, np.round(x * 8) / 8, x).astype(np.float32)


def source(sample, x):
    """What the nodes of a sample compute, image by image."""
    nodes = ordered(sample)
    opsets = {"": sample.opset, nodes[0].domain or "other": sample.version}
    constants = {name: np.asarray(value) for name, value in sample.constants.items()}
    return np.concatenate([run_nodes(nodes, constants, {"x": x[i : i + 1]}, opsets)["y"].reshape(1, -1) for i in range(len(x))])


def ordered(sample):
    """The nodes of a sample, whatever makes an input of another before it."""
    nodes = sample.nodes if isinstance(sample.nodes, list) else [sample.nodes]
    return nodes[::-1] if len(nodes) > 1 and set(nodes[1].output) & set(nodes[0].input) else nodes


def made(sample):
    return model(ordered(sample), sample.constants, sample.shape, sample.opset, version=sample.version)


def title(sample):
    return f"{sample.kind[1]}-{sample.opset}"


def test_every_operator_has_a_sample():
    operators = {kind for domain, kind in HANDLERS if domain != "ai.onnx"} - CONSTANTS
    assert operators - {"Upsample"} == {node.op_type for s in SAMPLES for node in (s.nodes if isinstance(s.nodes, list) else [s.nodes])}


@pytest.mark.parametrize("sample", SAMPLES, ids=title)
def test_it_computes_what_onnx_says(sample, tmp_path):
    x = images(sample.shape)
    found = read(save(made(sample), tmp_path), x)
    if sample.kind[1] in HEADS:
        np.testing.assert_allclose(found, x.reshape(len(x), -1), rtol=1e-6)
        return
    expected = source(sample, x)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected.astype(np.float64), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("sample", SAMPLES, ids=title)
def test_an_attribute_that_nobody_knows_is_refused(sample, tmp_path):
    changed = copy.deepcopy(sample)
    node = changed.node
    node.attribute.append(onnx.helper.make_attribute("of_tomorrow", 1))
    with pytest.raises(es.ConversionError, match="of_tomorrow"):
        read(save(made(changed), tmp_path), images(sample.shape))


@pytest.mark.parametrize("sample", SAMPLES, ids=title)
def test_an_input_that_nobody_knows_is_refused(sample, tmp_path):
    changed = copy.deepcopy(sample)
    node = changed.node
    if node.op_type in ("Max", "Min", "Sum", "Mean", "Concat"):
        pytest.skip("takes any number")
    node.input.extend(["more"] * (9 - len(node.input)))
    changed.constants["more"] = np.float32(2)
    with pytest.raises(es.ConversionError):
        read(save(made(changed), tmp_path), images(sample.shape))


def attributes(node, opset):
    """Names and kinds of all attributes of a node's operator."""
    if node.domain.endswith("general"):
        return {name: kind for name, kind in QONNX_TYPES.items() if any(a.name == name for a in node.attribute)}
    schema = onnx.defs.get_schema(node.op_type, 13 if node.domain else opset)
    return {name: attribute.type.name for name, attribute in schema.attributes.items()}


@pytest.mark.parametrize("sample", SAMPLES, ids=title)
def test_every_value_of_every_attribute_is_heeded_or_refused(sample, tmp_path):
    if sample.kind[1] in HEADS:
        pytest.skip("left out: the next test")
    x = images(sample.shape, 2)
    node = sample.node
    heeded = 0
    for name, kind in attributes(node, sample.opset).items():
        for value in OTHERS.get(name, OTHERS.get(kind, [])):
            changed = copy.deepcopy(sample)
            target = changed.node
            kept = [a for a in target.attribute if a.name != name]
            del target.attribute[:]
            target.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])
            try:
                found = read(save(made(changed), tmp_path), x)
            except es.ConversionError:
                continue
            try:
                expected = source(changed, x)
            except Exception:
                expected = None
            assert expected is not None, f"{name} = {value}: read, though ONNX's reference refuses it"
            np.testing.assert_allclose(found, expected.astype(np.float64), rtol=2e-5, atol=2e-5, err_msg=f"{name} = {value}")
            heeded += 1
    assert heeded or not node.attribute or node.op_type in ("Cast", "Dropout")


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("Softmax", {"axis": 0}), ("LogSoftmax", {"axis": 2}), ("ArgMax", {"axis": 0}), ("TopK", {"largest": 0, "axis": 1})],
)
def test_heads_over_something_else_are_refused(kind, attributes, tmp_path):
    inputs = "x k" if kind == "TopK" else "x"
    changed = model(onnx.helper.make_node(kind, inputs.split(), ["y"], **attributes), {"k": np.int64([1])}, (1, 5, 2, 2))
    with pytest.raises(es.ConversionError, match="axis"):
        read(save(changed, tmp_path), images((1, 5, 2, 2)))

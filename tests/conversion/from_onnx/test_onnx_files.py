"""Weights in files beside the model: read where they may be, refused where they could be anywhere."""

from __future__ import annotations

import os

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from judges.onnx_models import model, node, read  # noqa: E402

import eventsim as es  # noqa: E402
from eventsim.conversion.from_onnx import from_onnx  # noqa: E402

W = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
X = np.random.default_rng(1).random((3, 3, 6, 6))


@pytest.fixture
def folder(tmp_path):
    """A model whose weights are in ``weights.bin``, and a secret beside its folder."""
    (tmp_path / "models").mkdir()
    made = model([node("Conv", "x w", "z"), node("Flatten", "z", "y")], {"w": W}, (1, 3, 6, 6))
    inside = tmp_path / "models" / "inside.onnx"
    inside.write_bytes(made.SerializeToString())
    onnx.save_model(made, str(tmp_path / "models" / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "secret").write_bytes(W.tobytes())
    return tmp_path / "models"


def changed(folder, **entries):
    path = folder / "model.onnx"
    made = onnx.load(path, load_external_data=False)
    (tensor,) = made.graph.initializer
    kept = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(made.SerializeToString())
    return path


def test_weights_beside_the_model_are_read(folder):
    np.testing.assert_array_equal(read(folder / "model.onnx", X), read(folder / "inside.onnx", X))


def test_a_folder_beside_it_counts_too(folder):
    (folder / "data").mkdir()
    os.rename(folder / "weights.bin", folder / "data" / "w.bin")
    np.testing.assert_array_equal(read(changed(folder, location="data/w.bin"), X), read(folder / "inside.onnx", X))


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "data/../../secret", "", "link", "linked/secret", "."])
def test_weights_anywhere_else_are_not(folder, location):
    os.symlink(folder.parent / "secret", folder / "link")
    os.symlink(folder.parent, folder / "linked")
    with pytest.raises(es.ConversionError, match=r"no file beside the model|which is not there"):
        from_onnx(changed(folder, location=location))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"location": "gone.bin"},
            r"'gone\.bin', which is not there; keep it beside the model, or save the model in one file .*external_data=False",
        ),
        ({"offset": 10**9}, "ends before byte"),
        ({"offset": -4}, "cannot be read"),
        ({"length": 7}, "7 bytes for float32"),
        ({"length": 10**30}, "cannot be read"),
        ({"offset": "many"}, "cannot be read"),
    ],
)
def test_damaged_entries(folder, entries, message):
    with pytest.raises(es.ConversionError, match=message):
        from_onnx(changed(folder, **entries))


def test_one_file_named_many_times_does_not_fill_the_memory(folder):
    made = onnx.load(folder / "model.onnx", load_external_data=False)
    (tensor,) = made.graph.initializer
    with (folder / "weights.bin").open("wb") as stream:
        stream.truncate(2**26)
    tensor.dims[:] = [2**24]
    kept = {entry.key: entry.value for entry in tensor.external_data} | {"length": str(2**26), "offset": "0"}
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=value)
    for i in range(8):
        copy = made.graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = f"w{i}"
    made.graph.node.insert(0, node("Concat", "w0 w1 w2 w3 w4 w5 w6 w7", "all", axis=0))
    made.graph.node[1].input.append("all")
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(es.ConversionError, match="more bytes than the files hold"):
        from_onnx(folder / "model.onnx")

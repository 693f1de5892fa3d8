"""Checkpoints as training scripts write them: the weights are found in them, whatever they are called, and never guessed."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import eventsim as es
from eventsim.conversion.checkpoints import weights_in
from eventsim.conversion.read import read_model

STATE = {"1.weight": np.ones((3, 4)), "1.bias": np.zeros(3), "3.weight": np.full((2, 3), 2.0), "3.bias": np.ones(2)}
OTHER = {name: values + 1 for name, values in STATE.items()}


def under(prefix, state=STATE):
    return {f"{prefix}{name}": values for name, values in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        under("module."),
        under("_orig_mod."),
        under("module._orig_mod."),
        {"1._orig_mod.weight": STATE["1.weight"], **{name: values for name, values in STATE.items() if name != "1.weight"}},
        under("model.") | {"criterion.weight": np.ones(2)},
        under("student."),
        STATE | {"2.num_batches_tracked": np.array(3)},
        {"model_state_dict": STATE, "epoch": 3, "optimizer": {"state": {0: {"step": 3.0, "exp_avg": np.ones(3)}}, "param_groups": []}},
        {"net": under("module."), "acc": 96.4, "epoch": 200},
        {"state_dict": STATE, "best_acc1": np.array(0.7), "arch": "net"},
        {"model": {"ema": under("module."), "epoch": 2}},
        {"state_dict": STATE, "ema_state_dict": OTHER},
        {"teacher": {"7.weight": np.ones(2)}, "anything": STATE},
    ],
)
def test_weights_are_found(content):
    found = weights_in(content, set(STATE))
    assert {name for name in found if "num_batches" not in name} == set(STATE)
    for name, values in STATE.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"first": STATE, "second": OTHER}, "several state dicts"),
        (under("teacher.") | under("student.", OTHER), r"several such modules \(teacher, student\)"),
    ],
)
def test_weights_are_not_guessed(content, message):
    with pytest.raises(es.ConversionError, match=message):
        weights_in(content, set(STATE))


@pytest.mark.parametrize("content", [{"7.weight": np.ones(2)}, [], {}, {"epoch": 3}, {1: STATE}, None])
def test_what_has_no_such_weights_is_left_to_the_module(content):
    assert weights_in(content, set(STATE)) is content


@pytest.mark.parametrize("name", ["net.pt", "net.pth.tar", "net.ckpt"])
def test_checkpoints_are_read_as_files(tmp_path, name):
    torch = pytest.importorskip("torch")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))\n"
    )
    state = {name: torch.from_numpy(values).float() for name, values in STATE.items()}
    torch.save({"net": under("module.", state), "epoch": 3}, tmp_path / name)
    model = read_model(tmp_path / name, f"{tmp_path / 'nets.py'}:net")
    for key, values in model.state_dict().items():
        np.testing.assert_array_equal(values.numpy(), STATE[key])
    torch.save({"net": {"0.weight": state["1.weight"]}}, tmp_path / name)
    with pytest.raises(es.ConversionError, match="does not fit the module"):
        read_model(tmp_path / name, f"{tmp_path / 'nets.py'}:net")


def test_a_file_may_be_called_as_a_module_that_is_loaded(tmp_path):
    """It is not put in its place."""
    torch = pytest.importorskip("torch")
    (tmp_path / "json.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(2, 3)\n")
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "net.pt")
    read_model(tmp_path / "net.pt", f"{tmp_path / 'json.py'}:net")
    assert sys.modules["json"] is json

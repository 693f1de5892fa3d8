"""A binary network of others, from its published file: ``EVENTSIM_TFC=TFC_1W2A.onnx`` (Brevitas' TFC on MNIST, QONNX)."""

from __future__ import annotations

import os

import numpy as np
import pytest

import eventsim as es
from eventsim.conversion.faithfulness import faithfulness
from eventsim.conversion.from_onnx import from_onnx
from eventsim.data import datasets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("EVENTSIM_TFC" not in os.environ, reason="EVENTSIM_TFC names no QONNX file of TFC 1W2A"),
    pytest.mark.skipif("EVENTSIM_DATA" not in os.environ, reason="EVENTSIM_DATA names no folder with MNIST"),
]


def test_tfc_converts_and_its_accuracy_is_the_files():
    pytest.importorskip("onnx")
    images, labels = datasets.load("mnist", "test")
    made = es.convert(from_onnx(os.environ["EVENTSIM_TFC"]))
    assert made.report.binary_layers == 4
    assert made.report.signs_changed == 0
    compared = faithfulness(made, images, labels, steps=8)
    source = compared.source_accuracy
    assert source == pytest.approx(np.mean(made.evaluate(images).argmax(1) == labels))
    assert source > 0.94  # 94.79 % by its authors
    for mode in ("clocked", "asynchronous"):
        assert compared.accuracy[mode] > source - 0.005

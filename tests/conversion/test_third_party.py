"""Binary networks of others, from their published files: ``EVENTSIM_NETWORKS`` names a folder with them.

``mnist-lfcW1A1.npz`` and ``cifar10-cnvW1A1.npz`` are the arrays of BNN-PYNQ's networks (Xilinx, BSD-3): ``w{i}`` (outputs, inputs),
inputs in the order (kernel row, kernel column, channel), and ``t{i}``: the activation is +1 where the number of agreements exceeds the
threshold.
``TFC_1W1A.onnx`` and ``TFC_1W2A.onnx`` are from the QONNX model zoo.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import eventsim as es
from eventsim.conversion.from_onnx import from_onnx
from eventsim.data import datasets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("EVENTSIM_NETWORKS" not in os.environ, reason="EVENTSIM_NETWORKS names no folder with networks of others"),
    pytest.mark.skipif("EVENTSIM_DATA" not in os.environ, reason="EVENTSIM_DATA names no folder with MNIST and CIFAR-10"),
]
FOLDER = Path(os.environ.get("EVENTSIM_NETWORKS", ""))


def lfc():
    """784-1024-1024-1024-10 on black and white pixels; the first layer has inputs that are always -1."""
    torch = pytest.importorskip("torch")
    arrays = np.load(FOLDER / "mnist-lfcW1A1.npz")
    weights = [torch.tensor(arrays[f"w{i}"].astype(np.float32)) for i in range(4)]
    thresholds = [torch.tensor(arrays[f"t{i}"].astype(np.float32).ravel()) for i in range(4)]
    weights[3], thresholds[3] = weights[3][:10], thresholds[3][:10]

    class Network(torch.nn.Module):
        def forward(self, x):
            x = torch.where(torch.flatten(x, 1) >= 127.5 / 255, 1.0, -1.0)
            self.seen = [x]
            for i, (w, t) in enumerate(zip(weights, thresholds, strict=True)):
                rest = float(w.shape[1]) - w[:, 784:].sum(1) if i == 0 else torch.full((len(w),), float(w.shape[1]))
                z = torch.nn.functional.linear(x, w[:, :784] if i == 0 else w, rest) / 2 - t
                x = torch.where(z > 0, 1.0, -1.0)
                self.seen.append(x)
            return z

    return Network(), (1, 28, 28), "mnist", 10_000


def cnv():
    """Six convolutions without padding, two max pools, three dense layers."""
    torch = pytest.importorskip("torch")
    arrays, channels = np.load(FOLDER / "cifar10-cnvW1A1.npz"), 3
    weights, thresholds = [], []
    for i in range(9):
        w = arrays[f"w{i}"].astype(np.float32)
        if i < 6:
            w = w.reshape(len(w), 3, 3, channels).transpose(0, 3, 1, 2).copy()
            channels = len(w)
        weights.append(torch.tensor(w if i < 8 else w[:10]))
        thresholds.append(torch.tensor(arrays[f"t{i}"].astype(np.float32).ravel() if i < 8 else np.zeros(10, np.float32)))

    class Network(torch.nn.Module):
        def forward(self, x):
            x = torch.clamp(torch.floor((x * 2 - 1) * 128) / 128, -1, 127 / 128)
            self.seen = []
            for i, (w, t) in enumerate(zip(weights, thresholds, strict=True)):
                if i < 6:
                    z = torch.nn.functional.conv2d(x, w)
                    z = z - (t / 256).view(1, -1, 1, 1) if i == 0 else (z + w[0].numel()) / 2 - t.view(1, -1, 1, 1)
                else:
                    z = (torch.nn.functional.linear(x, w) + w.shape[1]) / 2 - t
                x = torch.where(z > 0, 1.0, -1.0)
                self.seen.append(x)
                if i in (1, 3):
                    x = torch.max_pool2d(x, 2)
                if i == 5:
                    x = torch.flatten(x, 1)
            return z

    return Network(), (3, 32, 32), "cifar-10", 1_000


def answers_as(made: es.Conversion, images: np.ndarray, outputs: np.ndarray, accuracy: float, labels: np.ndarray) -> None:
    """The same answer on every image, whether clocked or not; where outputs are equal, one of the largest."""
    simulator = es.Simulator(made.network)
    largest = outputs >= outputs.max(1, keepdims=True) - 1e-5
    for resolution in (1, 2**20):
        found = np.array([simulator.run(image, resolution=resolution, record="none").decision for image in images])
        assert largest[np.arange(len(found)), found].all()
    assert abs(np.mean(outputs.argmax(1) == labels) - accuracy) < 0.02


@pytest.mark.parametrize(("network", "accuracy"), [(lfc, 0.9834), (cnv, 0.798)])
def test_sign_networks_answer_as_their_sources(network, accuracy):
    torch = pytest.importorskip("torch")
    module, shape, dataset, count = network()
    images, labels = (values[:count] for values in datasets.load(dataset, "test"))
    images = images.reshape(len(images), *images.shape[1:3], -1)
    made = es.convert(module, input_shape=shape)
    assert made.report.signs_changed == 0
    assert made.network.provenance["steps"] == 1
    with torch.no_grad():
        batches = [module(torch.tensor(part.transpose(0, 3, 1, 2) / 255).float()).numpy() for part in np.array_split(images, 20)]
    answers_as(made, images, np.concatenate(batches), accuracy, labels)
    # Layer by layer, every spike, against the module: (its last activation is of the output, whose values decide)
    hidden = [neurons for name, (neurons,) in made.steps.items() if not name.startswith("pool")]
    for image in images[:5]:
        with torch.no_grad():
            module(torch.tensor(image.transpose(2, 0, 1)[None] / 255).float())
        for resolution in (1, 2**20):
            result = es.run(made.network, image, resolution=resolution)
            for neurons, seen in zip(hidden, module.seen[:-1], strict=True):
                expected = (seen[0].movedim(0, -1) if seen.ndim == 4 else seen[0]).numpy().ravel() > 0
                spikes = np.bincount(result.spikes(neurons.name).neurons, minlength=expected.size)
                np.testing.assert_array_equal(spikes, expected, neurons.name)


@pytest.mark.parametrize(("file", "accuracy"), [("TFC_1W1A.onnx", 0.9317), ("TFC_1W2A.onnx", 0.9479)])
def test_published_files_answer_as_they_say(file, accuracy):
    pytest.importorskip("onnx")
    images, labels = datasets.load("mnist", "test")
    images = images.reshape(len(images), 28, 28, 1)
    made = es.convert(from_onnx(FOLDER / file))
    assert made.report.signs_changed == 0
    answers_as(made, images, made.evaluate(images), accuracy, labels)

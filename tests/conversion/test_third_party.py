"""Binary networks of others, from their published files (``networks/third_party.py``): ``EVENTSIM_NETWORKS`` names a folder with them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT

import eventsim as es
from eventsim.data import datasets

torch = pytest.importorskip("torch")
sys.path.insert(0, str(ROOT / "networks"))

import third_party  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("EVENTSIM_NETWORKS" not in os.environ, reason="EVENTSIM_NETWORKS names no folder with networks of others"),
    pytest.mark.skipif("EVENTSIM_DATA" not in os.environ, reason="EVENTSIM_DATA names no folder with MNIST and CIFAR-10"),
]
FOLDER = Path(os.environ.get("EVENTSIM_NETWORKS", ""))


def answers_as(made: es.Conversion, images: np.ndarray, outputs: np.ndarray, accuracy: float, labels: np.ndarray) -> None:
    """The same answer on every image, whether clocked or not; where outputs are equal, one of the largest."""
    simulator = es.Simulator(made.network)
    largest = outputs >= outputs.max(1, keepdims=True) - 1e-5
    for resolution in (1, 2**20):
        found = np.array([simulator.run(image, resolution=resolution, record="none").decision for image in images])
        assert largest[np.arange(len(found)), found].all()
    assert abs(np.mean(outputs.argmax(1) == labels) - accuracy) < 0.02


def steps_of(module: torch.nn.Sequential, x: torch.Tensor) -> list[np.ndarray]:
    """Where its activations are +1 (of ternary ones: above -1, and above 0), as populations have them."""
    found = []
    with torch.no_grad():
        for layer in module:
            x = layer(x)
            lasting = (x[0].movedim(0, -1) if x.ndim == 4 else x[0]).numpy().ravel()
            if isinstance(layer, (third_party.Above, third_party.BlackAndWhite)):
                found.append(lasting > 0)
            elif isinstance(layer, third_party.Exceeded):
                found += [lasting > -1, lasting > 0]
    return found


@pytest.mark.parametrize(
    ("name", "file", "count", "accuracy"),
    [
        ("lfcW1A1", "mnist-lfcW1A1.npz", 10_000, 0.9834),
        ("lfcW1A2", "mnist-lfcW1A2.npz", 10_000, 0.9855),
        ("cnvW1A1", "cifar10-cnvW1A1.npz", 1_000, 0.798),
    ],
)
def test_sign_networks_answer_as_their_sources(name, file, count, accuracy):
    published = third_party.NETWORKS[name]
    module = published.read(FOLDER / file)
    images, labels = (values[:count] for values in datasets.load(published.dataset, "test"))
    images = images.reshape(len(images), *images.shape[1:3], -1)
    made = es.convert(module, input_shape=published.shape)
    assert made.report.signs_changed == 0
    assert made.network.provenance["steps"] == 1
    with torch.no_grad():
        batches = [module(torch.tensor(part.transpose(0, 3, 1, 2) / 255).float()).numpy() for part in np.array_split(images, 20)]
    answers_as(made, images, np.concatenate(batches), accuracy, labels)
    # Layer by layer, every spike, against the module.
    hidden = [neurons for layer, parts in made.steps.items() if not layer.startswith("pool") for neurons in parts]
    for image in images[:5]:
        expected = steps_of(module, torch.tensor(image.transpose(2, 0, 1)[None] / 255).float())
        for resolution in (1, 2**20):
            result = es.run(made.network, image, resolution=resolution)
            for neurons, fires in zip(hidden, expected, strict=True):
                spikes = np.bincount(result.spikes(neurons.name).neurons, minlength=fires.size)
                np.testing.assert_array_equal(spikes, fires, neurons.name)


@pytest.mark.parametrize(("name", "accuracy"), [("TFC_1W1A", 0.9317), ("TFC_1W2A", 0.9479)])
def test_published_files_answer_as_they_say(name, accuracy):
    pytest.importorskip("onnx")
    images, labels = datasets.load("mnist", "test")
    images = images.reshape(len(images), 28, 28, 1)
    made = es.convert(FOLDER / f"{name}.onnx")
    assert made.report.signs_changed == 0
    answers_as(made, images, made.evaluate(images), accuracy, labels)


def test_a_deep_relu_network_answers_nearly_as_its_source():
    """plain-20-4 with the defaults, 16 clocked steps, 100 images: one agrees with the source where plain neurons would on half of them."""
    published = third_party.NETWORKS["plain-20-4"]
    images, labels = (values[:100] for values in datasets.load(published.dataset, "test"))
    calibration, _ = datasets.load(published.dataset, "train")
    module = published.read(FOLDER / "plain-20-4-cifar100.mat")
    made = es.convert(module, calibration[:200], steps=16)
    with torch.no_grad():
        source = module(torch.tensor(images.transpose(0, 3, 1, 2) / 255).float()).numpy().argmax(1)
    simulator = es.Simulator(made.network)
    found = np.array([simulator.run(image, resolution=1, record="none").decision for image in images])
    assert np.mean(found == source) > 0.85
    assert abs(np.mean(found == labels) - np.mean(source == labels)) <= 0.03

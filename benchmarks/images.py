"""Images to time networks on: real ones where the data set is at hand, and made ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import eventsim as es
from eventsim import datasets
from eventsim.batch.inputs import Item, read_input
from eventsim.errors import DatasetError

ROOT = Path(__file__).resolve().parents[1]
# The data set of each network in networks/.
TRAINED = {
    "mlp-mnist": "mnist",
    "lenet-mnist": "mnist",
    "lenet-relu-mnist": "mnist",
    "vgg-small-fashion": "fashion-mnist",
    "vgg-small-cifar10": "cifar-10",
    "vgg-small-max-cifar10": "cifar-10",
    "vgg-small-cifar100": "cifar-100",
    "vgg15-cifar100": "cifar-100",
    "vgg15-cifar100-qcfs": "cifar-100",
}


def real_images(name: str, network: es.Network, n: int) -> tuple[np.ndarray, str] | None:
    """The first n test images of the data set of one in networks/, uint8 (n, height, width, channels), and what they are.

    The sample digits again and again where MNIST is not at hand (EVENTSIM_DATA); None where another one is not.
    """
    if name not in TRAINED or network.input is None:
        return None
    try:
        found = datasets.open_dataset(TRAINED[name], "test")
        return np.stack([found[i].reshape(network.input.shape) for i in range(n)]), f"{TRAINED[name]} test images"
    except DatasetError:
        if TRAINED[name] != "mnist":
            return None
        digits = [read_input(network, Item(str(path)))[0] for path in sorted((ROOT / "datasets" / "samples").glob("digit-*.png"))]
        return np.stack([digits[i % len(digits)] for i in range(n)]), "sample digits"


def blocky_image(shape: tuple[int, int, int]) -> np.ndarray:
    """A random value for each 4x4 pixels: more edges than in photographs, and nothing is black. uint8 (1, height, width, channels)."""
    height, width, channels = shape
    coarse = np.random.default_rng(0).integers(0, 256, (-(-height // 4), -(-width // 4), channels))
    return coarse.repeat(4, 0).repeat(4, 1)[None, :height, :width].astype(np.uint8)

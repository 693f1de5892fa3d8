"""Images to time networks on: real ones where the data set is at hand, and made ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import eventsim as es
from eventsim import datasets
from eventsim.batch.inputs import Item, read_input
from eventsim.data.manifest import known_sets
from eventsim.errors import DatasetError

ROOT = Path(__file__).resolve().parents[1]


def real_images(network: es.Network, n: int) -> tuple[np.ndarray, str] | None:
    """The first n test images of the data set that a network was trained for, uint8 (n, height, width, channels), and what they are.

    The sample digits again and again where MNIST is not at hand (EVENTSIM_DATA); None where another one is not.
    """
    name = network.provenance.get("data set")
    if not isinstance(name, str) or name not in known_sets() or network.input is None:
        return None
    try:
        found = datasets.open_dataset(name, "test")
        return np.stack([found[i].reshape(network.input.shape) for i in range(min(n, len(found)))]), f"{name} test images"
    except DatasetError:
        if name != "mnist":
            return None
        digits = [read_input(network, Item(str(path)))[0] for path in sorted((ROOT / "datasets" / "samples").glob("digit-*.png"))]
        return np.stack([digits[i % len(digits)] for i in range(n)]), "sample digits"


def blocky_image(shape: tuple[int, int, int]) -> np.ndarray:
    """A random value for each 4x4 pixels: more edges than in photographs, and nothing is black. uint8 (1, height, width, channels)."""
    height, width, channels = shape
    coarse = np.random.default_rng(0).integers(0, 256, (-(-height // 4), -(-width // 4), channels))
    return coarse.repeat(4, 0).repeat(4, 1)[None, :height, :width].astype(np.uint8)

"""Binary networks with seeded random weights and calibrated thresholds: what simulators.py, growth.py and layer_times.py time.

Hidden weights are random signs, those of the first and last layer random int8; thresholds are set layer by layer to the wanted rate of
spikes per neuron and step, on an image with most of its power in low frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from dense import Chain, Neurons

import eventsim as es


@dataclass(frozen=True)
class Architecture:
    """Convolutions 3x3 by ``plan`` (a 2x2 sum pool behind those before "P"), then dense layers."""

    image: tuple[int, int, int]
    plan: tuple[int | str, ...]
    dense: tuple[int, ...]
    batches: tuple[int, ...]


ARCHITECTURES = {
    "mlp": Architecture((28, 28, 1), (), (512, 512, 10), (1, 4, 16, 64)),
    "cnn": Architecture((28, 28, 1), (32, 32, "P", 64, 64, "P"), (256, 10), (1, 2, 4, 8)),
    "vgg15": Architecture(
        (32, 32, 3), (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512, "P"), (4096, 100), (1, 2, 4)
    ),
}


def random_network(
    name: str, rate: float, steps: int, seed: int = 1, image: tuple[int, int, int] | None = None
) -> tuple[es.Network, np.ndarray]:
    """One of ARCHITECTURES, maybe for images of another shape, and as many images as its largest batch has."""
    architecture = ARCHITECTURES[name]
    rng = np.random.default_rng(seed)
    weights = random_weights(architecture, image or architecture.image, rng)
    images = smooth_images(image or architecture.image, max(architecture.batches), rng)
    thresholds = calibrated(build(images.shape[1:], weights, [1] * (len(weights) - 1)), images[:1], rate, steps)
    return build(images.shape[1:], weights, thresholds), images


def random_weights(architecture: Architecture, image: tuple[int, int, int], rng: np.random.Generator) -> list[tuple[np.ndarray, int]]:
    """Of each layer, (rows, columns, inputs, outputs) or (inputs, outputs), int8, and the pool behind it."""
    height, width, channels = image
    shapes: list[tuple[tuple[int, ...], int]] = []
    for i, item in enumerate(architecture.plan):
        if item != "P":
            pool = 2 if architecture.plan[i + 1 : i + 2] == ("P",) else 1
            shapes.append(((3, 3, channels, int(item)), pool))
            channels, height, width = int(item), height // pool, width // pool
    features = height * width * channels
    for outputs in architecture.dense:
        shapes.append(((features, outputs), 1))
        features = outputs
    ends = (0, len(shapes) - 1)
    return [
        ((rng.integers(-127, 128, shape) if i in ends else rng.choice([-1, 1], shape)).astype(np.int8), pool)
        for i, (shape, pool) in enumerate(shapes)
    ]


def smooth_images(shape: tuple[int, int, int], n: int, rng: np.random.Generator) -> np.ndarray:
    """Random images with most of their power in low frequencies, as photographs have: uint8 (n, height, width, channels)."""
    coarse = torch.from_numpy(rng.uniform(0, 255, (n, shape[2], 8, 8)))
    fine = F.interpolate(coarse, size=shape[:2], mode="bicubic")
    return fine.permute(0, 2, 3, 1).clamp(0, 255).round().numpy().astype(np.uint8)


@torch.no_grad()
def calibrated(network: es.Network, images: np.ndarray, rate: float, steps: int) -> list[int]:
    """Integer thresholds that give each layer the rate in a clocked run on the images."""
    chain, thresholds = Chain(network), []
    current = chain.currents(images)
    currents = current.expand(steps, *current.shape)
    for neurons, following in zip(chain.neurons[:-1], chain.products, strict=True):

        def fired(threshold: int, neurons: Neurons = neurons, currents: torch.Tensor = currents) -> torch.Tensor:
            return replace(neurons, threshold=torch.tensor(float(threshold))).fire(currents, torch.float32, 0)[0]

        low, high = 1, 2**24
        while high - low > max(1, low // 200):
            middle = (low + high) // 2
            low, high = (middle, high) if fired(middle).mean() > rate else (low, middle)
        thresholds.append(high)
        currents = following(fired(high).flatten(0, 1)).unflatten(0, (steps, -1))
    return thresholds


def build(image: tuple[int, ...], weights: list[tuple[np.ndarray, int]], thresholds: list[int]) -> es.Network:
    """The network."""
    network = es.Network()
    network.image_input(image)
    shape: tuple[int, ...] = image
    previous = ""
    for i, (w, pool) in enumerate(weights):
        table: es.Table = es.Conv2d(w, padding=1, pool_after=pool) if w.ndim == 4 else es.Dense(w)
        shape = table.output_shape(shape)
        name = f"conv{i + 1}" if w.ndim == 4 else f"fc{i + 1}"
        if i == 0:
            network.driven(name, shape, thresholds[0], encoder=table)
        else:
            if i < len(thresholds):
                network.spiking(name, shape, thresholds[i])
            else:
                network.readout(name, shape)
            network.connect(previous, name, table)
        previous = name
    return network

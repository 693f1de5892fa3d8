"""Train a network on simulated recordings (MNIST digits in three saccades) for an event input: ``python networks/events.py``.

    pip install -e '.[train]'
    python -m eventsim data get mnist                 # or set EVENTSIM_DATA to a folder that has the data

The network is trained on the numbers of events of each pixel. Its neurons round to whole numbers of spikes, without a largest one, and
become signed neurons with biases as initial potentials: at the end of a recording each has emitted exactly as many spikes, positive minus
negative, as its rounded activation says, whenever events came. What is between is what asynchronous runs are for.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from layers import BinaryConv2d, BinaryLinear, binarise
from programs import at_least_one, check_place, ends_in_a_line
from torch import Tensor, nn

import eventsim as es
from eventsim import datasets
from eventsim.data.recordings.frames import accumulated
from eventsim.data.recordings.saccades import SIZE, saccades

HERE = Path(__file__).resolve().parent
SEED = 1
# Images that are learned from at a time.
BATCH = 64
# Of a spike, in units of an activation behind batch norm; magnitude of binary weights, so that thresholds are fine enough.
UNIT, MAGNITUDE = 0.5, 64
STEP_US, STEPS = 1000, 310


class Rounded(nn.Module):
    """UNIT * floor(x / UNIT + 1/2), at least 0; straight-through gradient."""

    def forward(self, x: Tensor) -> Tensor:
        positive = x.clamp(min=0)
        return positive + (UNIT * (positive / UNIT + 0.5).floor() - positive).detach()


def build() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), Rounded(),
        BinaryConv2d(12, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), Rounded(),
        nn.Flatten(), BinaryLinear(32 * 81, 64, bias=False), nn.BatchNorm1d(64), Rounded(),
        nn.Linear(64, 10),
    )  # fmt: skip


def frames(images: np.ndarray) -> np.ndarray:
    """Numbers of events: float32 (images, 2, 34, 34)."""
    made = [
        accumulated(events, (SIZE, SIZE, 2)) for start in range(0, len(images), 200) for events in saccades(images[start : start + 200])
    ]
    return np.stack(made).transpose(0, 3, 1, 2).astype(np.float32)


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    batches = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=epochs * batches)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED + epoch))
        for pick in order[: batches * BATCH].reshape(batches, BATCH):
            loss = F.cross_entropy(model(x[pick]), y[pick], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total / batches:.4f}", flush=True)


def normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, weight: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integer weights (output, ...), thresholds and initial potentials of neurons behind a batch norm.

    ``gain`` is what one unit of a neuron's potential is worth before the batch norm.
    """
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().numpy()
    shift = norm.bias.detach().numpy() - scale * norm.running_mean.numpy()
    steepness = scale * gain / UNIT
    theta = np.maximum(1, np.rint(1 / np.abs(steepness))).astype(np.int64)
    v0 = np.rint(theta * (shift / UNIT + 0.5)).astype(np.int64)
    return weight * np.sign(steepness).astype(int).reshape(-1, *[1] * (weight.ndim - 1)), theta, v0


def converted(model: nn.Sequential) -> es.Network:
    """The network of an event input."""
    first, norm1, _, second, norm2, _, _, third, norm3, _, last = model
    net = es.Network()
    net.event_input("camera", (SIZE, SIZE, 2), polarity="split", step_us=STEP_US)
    weight = first.weight.detach().numpy()
    scale = 127 / np.abs(weight).max()
    w, theta, v0 = normalised(norm1, np.rint(weight * scale).astype(int), np.full(12, 1 / scale))
    net.spiking("conv1", (17, 17, 12), theta, v0=v0, signed=True)
    net.connect("camera", "conv1", es.Conv2d(w.transpose(2, 3, 1, 0), stride=2, padding=1))
    for name, source, layer, norm, shape in (("conv2", "conv1", second, norm2, (9, 9, 32)), ("dense", "conv2", third, norm3, (64,))):
        weight = binarise(layer.weight).detach().numpy()
        alpha = np.abs(weight).reshape(len(weight), -1).max(1)
        w, theta, v0 = normalised(norm, MAGNITUDE * np.where(weight < 0, -1, 1), alpha * UNIT / MAGNITUDE)
        net.spiking(name, shape, theta, v0=v0, signed=True)
        if w.ndim == 4:
            net.connect(source, name, es.Conv2d(w.transpose(2, 3, 1, 0), stride=2, padding=1))
        else:
            net.connect(source, name, w.reshape(64, 32, 81).transpose(2, 1, 0).reshape(-1, 64))
    weight, bias = last.weight.detach().numpy(), last.bias.detach().numpy()
    scale = 127 / np.abs(weight).max()
    net.readout("out", 10, v0=np.rint(bias / UNIT * scale).astype(int))
    net.connect("dense", "out", np.rint(weight.T * scale).astype(int))
    net.labels = [str(digit) for digit in range(10)]
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=at_least_one, default=12000, help="training images")
    parser.add_argument("--epochs", type=at_least_one, default=8)
    parser.add_argument("--tests", type=at_least_one, default=500, help="test images")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "events" / "saccades-mnist.h5")
    parser.add_argument("--data", type=Path, help="folder that holds MNIST (default: EVENTSIM_DATA, then the cache of `data get`)")
    options = parser.parse_args()
    if options.images < BATCH:
        parser.error(f"--images: training takes {BATCH} at a time, found {options.images}")
    with ends_in_a_line("interrupted"):
        make(options)


def make(options: argparse.Namespace) -> None:
    """Train, convert and evaluate."""
    check_place(options.output)
    torch.manual_seed(SEED)
    began = time.process_time()
    images, labels = datasets.load("mnist", "train", options.data)
    tests, truth = datasets.load("mnist", "test", options.data)
    tests, truth = tests[: options.tests], truth[: options.tests]
    model = build()
    train(model, torch.from_numpy(frames(images[: options.images, :, :, 0])), torch.from_numpy(labels[: options.images]), options.epochs)
    model.eval()
    with torch.no_grad():
        answers = model(torch.from_numpy(frames(tests[..., 0]))).argmax(1).numpy()
    ann = float((answers == truth).mean())
    net = converted(model)
    net.provenance = {
        "source": "networks/events.py",
        "command": f"python networks/events.py --images {min(options.images, len(images))} --epochs {options.epochs} --tests {len(truth)}",
        "data set": "mnist, simulated: three saccades before an event camera",
        "ANN test accuracy": round(ann, 4),
        "steps": STEPS,
    }
    es.save(net, options.output)
    print(f"{options.output}: ANN {ann:.2%} of {len(truth)} images; {time.process_time() - began:.0f} s of the processor", flush=True)
    simulator = es.Simulator(net)
    for mode, resolution in (("clocked", 1), ("asynchronous", es.DEFAULT_RESOLUTION)):
        right, same, spikes, events = 0, 0, 0, 0
        for recording, label, answer in zip(saccades(tests[..., 0]), truth, answers, strict=True):
            result = simulator.run({"camera": recording}, resolution=resolution, record="none")
            right, same = right + (result.decision == label), same + (result.decision == answer)
            spikes, events = spikes + result.total_spikes, events + len(recording)
        n = len(truth)
        print(
            f"{mode}: {right / n:.2%}, as the ANN {same / n:.2%}, {events / n:,.0f} events and {spikes / n:,.0f} spikes in all a recording"
        )


if __name__ == "__main__":
    main()

"""Train a binary-weight LeNet-like CNN on MNIST, convert it, and write ``networks/lenet-mnist.h5``.

    pip install -e '.[train]'
    EVENTSIM_DATA=FOLDER python networks/lenet_mnist.py          # FOLDER holds mnist/*-ubyte[.gz]

The method is that of Lu & Sengupta (Front. Neurosci. 14:535, 2020): no bias and no batch norm, average pooling between
convolution and ReLU, weights of the hidden layers binarised as alpha*sign(W) and fine-tuned from full precision, thresholds
from a percentile of the activations. The first convolution and the last layer keep 8-bit weights. Training checkpoints after
every epoch in ``--work`` and goes on from there when the same command is run again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich import progress
from rich.console import Console
from torch import Tensor, nn

import eventsim as es
from eventsim import datasets

HERE = Path(__file__).resolve().parent


class _Sign(torch.autograd.Function):
    """sign(w) with sign(0) = 1 forward; straight-through where |w| <= 1 backward."""

    @staticmethod
    def forward(ctx, w: Tensor) -> Tensor:
        ctx.save_for_backward(w)
        return torch.where(w < 0, -1.0, 1.0)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (w,) = ctx.saved_tensors
        return grad * (w.abs() <= 1)


def binarise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Signs (+1/-1, like ``weight``) and magnitude per output filter of a latent weight (output, input, ...)."""
    centred = (weight - weight.mean(dim=1, keepdim=True)).clamp(-1, 1) if weight.ndim == 4 else weight.clamp(-1, 1)
    alpha = centred.abs().flatten(1).mean(1)
    return _Sign.apply(centred), alpha


class Layer(nn.Module):
    """Convolution or linear layer without bias whose weights can be binarised, then pooling, then ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 0, pool: int = 1, binary: bool = True, relu: bool = True):
        super().__init__()
        shape = (outputs, inputs, kernel, kernel) if kernel else (outputs, inputs)
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.kernel, self.pool, self.binary, self.relu = kernel, pool, binary, relu
        self.binarised = False

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if self.binarised and self.binary:
            signs, alpha = binarise(weight)
            weight = signs * alpha.reshape(-1, *[1] * (weight.ndim - 1))
        if self.kernel:
            x = F.conv2d(x, weight, padding=self.kernel // 2)
            x = F.avg_pool2d(x, self.pool) if self.pool > 1 else x
        else:
            x = F.linear(x.flatten(1), weight)
        return F.relu(x) if self.relu else x


def lenet() -> nn.Sequential:
    """28x28x1 -> 32 -> 32 P -> 64 -> 64 P -> 256 -> 10; the first and last layers are not binary."""
    return nn.Sequential(
        Layer(1, 32, kernel=3, binary=False),
        Layer(32, 32, kernel=3, pool=2),
        Layer(32, 64, kernel=3),
        Layer(64, 64, kernel=3, pool=2),
        Layer(64 * 7 * 7, 256),
        Layer(256, 10, binary=False, relu=False),
    )


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (n, 28, 28, 1) -> float32 (n, 1, 28, 28) in [0, 1]."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32)).to(device) / 255


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    model.eval()
    hits = sum(int((model(x[i : i + 500]).argmax(1) == labels[i : i + 500]).sum()) for i in range(0, len(x), 500))
    return hits / len(x)


def shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Move every image by up to two pixels each way."""
    n, _, h, w = x.shape
    padded = F.pad(x, (2, 2, 2, 2))
    dy, dx = (torch.randint(0, 5, (n, 1), generator=generator) for _ in range(2))
    rows = (dy + torch.arange(h)).to(x.device)
    cols = (dx + torch.arange(w)).to(x.device)
    return padded[torch.arange(n, device=x.device)[:, None, None], 0, rows[:, :, None], cols[:, None, :]][:, None]


def train(data: Path | None, work: Path, full_epochs: int, binary_epochs: int, seed: int) -> tuple[nn.Sequential, float]:
    """Train from the last checkpoint in ``work``; returns the binary network and its test accuracy."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, labels = datasets.load("mnist", "train", data)
    test_images, test_labels = datasets.load("mnist", "test", data)
    x, y = to_input(images, device), torch.from_numpy(labels).to(device)
    x_test, y_test = to_input(test_images, device), torch.from_numpy(test_labels).to(device)

    torch.manual_seed(seed)
    model = lenet().to(device)
    phases = [("full precision", full_epochs, 1e-3), ("binary", binary_epochs, 2e-3)]
    checkpoint_path = work / "lenet-mnist.ckpt"
    start = (0, 0)
    state = None
    if checkpoint_path.exists():
        state = torch.load(checkpoint_path, map_location=device, weights_only=True)
        if state["plan"] != [full_epochs, binary_epochs, seed]:
            raise SystemExit(f"{checkpoint_path}: made with other --full-epochs, --binary-epochs or --seed; remove it or use them")
        model.load_state_dict(state["model"])
        start = (state["phase"], state["epoch"])
    batch = 128
    for phase, (name, epochs, rate) in enumerate(phases):
        if phase < start[0]:
            continue
        for layer in model:
            layer.binarised = phase == 1
        optimiser = torch.optim.Adam(model.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * (len(x) // batch))
        if state is not None and phase == start[0] and state["optimiser"] is not None:
            optimiser.load_state_dict(state["optimiser"])
            schedule.load_state_dict(state["schedule"])
        for epoch in range(start[1] if phase == start[0] else 0, epochs):
            # One generator per epoch: a resumed run sees the batches that an uninterrupted one sees.
            generator = torch.Generator().manual_seed(seed * 1000 + phase * 100 + epoch)
            model.train()
            order = torch.randperm(len(x), generator=generator)
            total = 0.0
            for i in track(range(0, len(x) - batch + 1, batch), f"{name} {epoch + 1}/{epochs}"):
                pick = order[i : i + batch].to(device)
                loss = F.cross_entropy(model(shift(x[pick], generator)), y[pick], label_smoothing=0.05)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item()
            print(
                f"{name} {epoch + 1}/{epochs}: loss {total / (len(x) // batch):.4f}, test accuracy {accuracy(model, x_test, y_test):.2%}",
                flush=True,
            )
            done = epoch + 1 == epochs
            work.mkdir(parents=True, exist_ok=True)
            partial = checkpoint_path.with_suffix(".part")
            torch.save(
                {
                    "plan": [full_epochs, binary_epochs, seed],
                    "model": model.state_dict(),
                    "phase": phase + 1 if done else phase,
                    "epoch": 0 if done else epoch + 1,
                    "optimiser": None if done else optimiser.state_dict(),
                    "schedule": None if done else schedule.state_dict(),
                },
                partial,
            )
            os.replace(partial, checkpoint_path)
    for layer in model:
        layer.binarised = True
    return model, accuracy(model, x_test, y_test)


@torch.no_grad()
def activation_scales(model: nn.Sequential, images: Tensor, percentile: float) -> list[float]:
    """The percentile of every hidden layer's ReLU activations, over all elements, zeros included (paper, section 2.4)."""
    model.eval()
    scales = []
    x = images
    for layer in model:
        x = layer(x)
        if layer.relu:
            scales.append(float(np.percentile(x.numpy(force=True), percentile)))
    return scales


def convert(model: nn.Sequential, calibration: Tensor, percentile: float, fraction_bits: int) -> es.Network:
    """The spiking network of a trained one: thresholds from activation scales, weights as they are.

    A hidden neuron with weights alpha*sign, pooled over P*P, and activation scales a (before) and b (behind) gets the
    threshold ``P*P * b / (a * alpha)`` in units of one sign; binary weights are stored as +-2**fraction_bits, so thresholds
    are rounded to that fraction of a unit. The first and last layers are rounded to 8 bits with one scale a layer.
    """
    scales = activation_scales(model, calibration, percentile)
    net = es.Network(labels=[str(digit) for digit in range(10)])
    net.image_input((28, 28, 1))
    unit = 2**fraction_bits
    shape: tuple[int, ...] = (28, 28, 1)
    previous, rounding = "", 0.0
    for i, layer in enumerate(model):
        weight = layer.weight.detach().cpu()
        alpha = None
        if layer.binary:
            signs, alpha = (t.detach().numpy() for t in binarise(weight))
            integer = signs.astype(np.int64) * unit
        else:
            step = float(weight.abs().max()) / 127
            integer = np.round(weight.numpy() / step).astype(np.int64)
        table: es.Table
        if layer.kernel:
            table = es.Conv2d(integer.transpose(2, 3, 1, 0), padding=layer.kernel // 2, pool_after=layer.pool)
        else:
            # PyTorch flattens channel first, populations are numbered channel last.
            rows = integer.reshape(len(integer), *(shape[2], shape[0], shape[1])) if len(shape) == 3 else integer
            rows = rows.transpose(2, 3, 1, 0).reshape(-1, len(integer)) if len(shape) == 3 else integer.T
            table = es.Dense(rows)
        shape = table.output_shape(shape)
        name = f"conv{i + 1}" if layer.kernel else f"fc{i + 1}"
        if not layer.relu:
            net.readout(name, shape)
        else:
            exact = scales[0] * 255 / step if i == 0 else layer.pool**2 * unit * scales[i] / (scales[i - 1] * alpha)
            threshold = np.maximum(1, np.round(exact)).astype(np.int64)
            rounding = max(rounding, float(np.max(np.abs(threshold / exact - 1))))
            if i == 0:
                net.driven(name, shape, threshold, v0=threshold // 2, encoder=table)
            else:
                net.spiking(name, shape, threshold, v0=threshold // 2)
        if i:
            net.connect(previous, name, table)
        previous = name
    net.provenance = {"percentile": percentile, "largest relative rounding of a threshold": round(rounding, 6)}
    return net


def evaluate(net: es.Network, images: np.ndarray, labels: np.ndarray, steps: int, resolution: int) -> dict[str, float]:
    """Accuracy after ``steps``, and mean spikes and synaptic events per image."""
    simulator = es.Simulator(net)
    hits = spikes = events = 0
    for image, label in zip(track(images, f"evaluating, {resolution} ticks a step"), labels, strict=True):
        result = simulator.run(image, steps=steps, resolution=resolution, record="none")
        hits += int(result.decision == label)
        spikes += result.total_spikes
        events += result.total_synaptic_events
    n = len(images)
    return {"accuracy": round(int(hits) / n, 4), "spikes": round(spikes / n), "synaptic events": round(events / n)}


def track(items, what: str):
    """The items, with a progress bar on a terminal."""
    console = Console(stderr=True)
    return progress.track(items, what, console=console, disable=not console.is_terminal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds mnist/ (default: EVENTSIM_DATA)")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="checkpoints go here")
    parser.add_argument("--full-epochs", type=int, default=3)
    parser.add_argument("--binary-epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--percentile", type=float, default=99.9)
    parser.add_argument("--fraction-bits", type=int, default=3)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "lenet-mnist.h5")
    options = parser.parse_args()
    try:
        model, ann = train(options.data, options.work, options.full_epochs, options.binary_epochs, options.seed)
        model = model.cpu()
        images, _ = datasets.load("mnist", "train", options.data)
        net = convert(model, to_input(images[:3500], torch.device("cpu")), options.percentile, options.fraction_bits)
        test_images, test_labels = datasets.load("mnist", "test", options.data)
        net.provenance |= {
            "source": "networks/lenet_mnist.py",
            "command": "python networks/lenet_mnist.py",
            "data set": "MNIST",
            "ANN test accuracy": ann,
            "steps": options.steps,
            "clocked": evaluate(net, test_images, test_labels, options.steps, 1),
            "asynchronous": evaluate(net, test_images, test_labels, options.steps, es.DEFAULT_RESOLUTION),
        }
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on from the last checkpoint") from None
    except es.EventsimError as error:
        raise SystemExit(f"error: {error}") from None
    es.save(net, options.output)
    for key, value in net.provenance.items():
        print(f"{key}: {value}")
    print(f"{options.output}: {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()

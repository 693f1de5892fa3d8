"""Convert binary networks that others trained and published, and measure them: ``python networks/third_party.py NAME FILE``.

    python networks/third_party.py plain-20-4 resnet_cifar100.mat --steps 8 16 32
    python networks/third_party.py cnvW1A1 cifar10-cnvW1A1.npz --steps 1

The files are their authors' and not part of this project; each is read from where you have it, and nothing in it is run.

- ``plain-20-4``: 20 convolutions with weights +-1 times one constant a layer, batch norm and ReLU, for CIFAR-100, from McDonnell, "Training
  wide residual networks for deployment using a single bit for each weight" (ICLR 2018; github.com/McDonnell-Lab/1-bit-per-weight, MIT).
- ``lfcW1A1``, ``lfcW1A2``, ``cnvW1A1``: MNIST and CIFAR-10 networks of BNN-PYNQ (github.com/Xilinx/BNN-PYNQ, BSD-3) with sign or ternary
  activations, as an ``.npz`` of their parameters: ``w{i}`` (outputs, inputs), inputs in the order (kernel row, kernel column, channel),
  and ``t{i}`` (outputs, thresholds).
- ``TFC_1W1A``, ``TFC_1W2A``: QONNX files of MNIST networks (github.com/fastmachinelearning/qonnx_model_zoo).
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from evaluation import MODES, evaluate, kept
from programs import at_least_one, check_place, ends_in_a_line
from torch import Tensor, nn

import eventsim as es
from eventsim import datasets
from eventsim.conversion.choices import choose
from eventsim.conversion.read import read_model

HERE = Path(__file__).resolve().parent


class Above(nn.Module):
    """+1 above zero, -1 at and below it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, -1.0)


class Exceeded(nn.Module):
    """How many thresholds (outputs, 2) a sum exceeds, minus one."""

    def __init__(self, thresholds: Tensor):
        super().__init__()
        self.register_buffer("low", thresholds[:, 0].clone())
        self.register_buffer("high", thresholds[:, 1].clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.low).float() + (x > self.high).float() - 1


class BlackAndWhite(nn.Module):
    """Pixels from 128 on are +1, others -1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(torch.flatten(x, 1) >= 127.5 / 255, 1.0, -1.0)


class Fixed(nn.Module):
    """Pixels as multiples of 1/128 in -1..127/128."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(torch.floor((x * 2 - 1) * 128) / 128, -1, 127 / 128)


def _normalisation(moments: np.ndarray, scale: np.ndarray, offset: np.ndarray, unit: float = 1.0) -> nn.BatchNorm2d:
    """``scale * (unit * x - mean) / sigma + offset`` as a module that is not trained."""
    module = nn.BatchNorm2d(len(moments), eps=0.0)
    with torch.no_grad():
        module.running_mean.copy_(torch.tensor(moments[:, 0] / unit))
        module.running_var.copy_(torch.tensor((moments[:, 1] / unit) ** 2))
        module.weight.copy_(torch.tensor(scale.ravel()))
        module.bias.copy_(torch.tensor(offset.ravel()))
    return module


def plain_20_4(path: Path) -> nn.Sequential:
    """McDonnell's network; norm 0 acts on pixels 0..255, norm i behind convolution i, a ReLU before every convolution."""
    arrays = scipy.io.loadmat(path)
    weights = [np.asarray(w, np.float32) * 2 - 1 for w in arrays["BooleanSingleBitWeights"].ravel()]
    scales, strides, padding = (arrays[name].ravel().tolist() for name in ("LayerScales", "Stride", "Padding"))
    norms = list(zip(*(arrays[f"BN_{name}"].ravel() for name in ("Moments", "Scales", "Offsets")), strict=True))
    layers: list[nn.Module] = [_normalisation(*norms[0], unit=255.0)]
    for w, scale, stride, pad, norm in zip(weights, scales, strides, padding, norms[1:], strict=True):
        convolution = nn.Conv2d(w.shape[2], w.shape[3], w.shape[0], int(stride), int(pad), bias=False)
        with torch.no_grad():
            convolution.weight.copy_(torch.tensor(w.transpose(3, 2, 0, 1) * np.float32(scale)))
        layers += [nn.ReLU(), convolution, _normalisation(*norm)]
    # (The published one takes the sum over locations: the mean has the same largest class.)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def _parameters(path: Path, layers: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and thresholds of BNN-PYNQ's networks, float32; of the last layer's neurons only ten are classes."""
    with np.load(path, allow_pickle=False) as arrays:
        weights = [arrays[f"w{i}"].astype(np.float32) for i in range(layers)]
        thresholds = [arrays[f"t{i}"].astype(np.float32) for i in range(layers - 1)]
        last = f"t{layers - 1}"
        thresholds.append(arrays[last].astype(np.float32) if last in arrays else np.zeros((len(weights[-1]), 1), np.float32))
    weights[-1], thresholds[-1] = weights[-1][:10], thresholds[-1][:10]
    return list(zip(weights, thresholds, strict=True))


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    module = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        module.bias.copy_(torch.tensor(bias))
    return module


def lfc_1_1(path: Path) -> nn.Sequential:
    """784-1024-1024-1024-10: agreements of inputs and weights against a threshold; 48 inputs of the first layer are always -1."""
    layers: list[nn.Module] = [BlackAndWhite()]
    parameters = _parameters(path, 4)
    for i, (w, t) in enumerate(parameters):
        inputs = 784 if i == 0 else w.shape[1]
        agreements = _linear(w[:, :inputs] / 2, (w.shape[1] - w[:, inputs:].sum(1)) / 2 - t.ravel())
        layers += [agreements] if i == len(parameters) - 1 else [agreements, Above()]
    return nn.Sequential(*layers).eval()


def lfc_1_2(path: Path) -> nn.Sequential:
    """The same with activations -1, 0 and 1."""
    layers: list[nn.Module] = [BlackAndWhite()]
    parameters = _parameters(path, 4)
    for i, (w, t) in enumerate(parameters):
        inputs = 784 if i == 0 else w.shape[1]
        last = i == len(parameters) - 1
        layers.append(_linear(w[:, :inputs], -w[:, inputs:].sum(1) - (t[:, 0] if last else 0)))
        layers += [] if last else [Exceeded(torch.tensor(t))]
    return nn.Sequential(*layers).eval()


def cnv_1_1(path: Path) -> nn.Sequential:
    """Six convolutions without padding, max pooling behind the second and the fourth, three dense layers."""
    layers: list[nn.Module] = [Fixed()]
    channels = 3
    for i, (w, t) in enumerate(_parameters(path, 9)):
        last = i == 8
        # The first thresholds are for sums of inputs in units of 1/256, the others for agreements.
        weight, bias = (w, -t.ravel() / 256) if i == 0 else (w / 2, w.shape[1] / 2 - t.ravel())
        if i < 6:
            module = nn.Conv2d(channels, len(w), 3)
            with torch.no_grad():
                module.weight.copy_(torch.tensor(weight.reshape(len(w), 3, 3, channels).transpose(0, 3, 1, 2)))
                module.bias.copy_(torch.tensor(bias))
            layers.append(module)
            channels = len(w)
        else:
            layers.append(_linear(weight, bias))
        layers += [] if last else [Above()]
        layers += [nn.MaxPool2d(2)] if i in (1, 3) else [nn.Flatten()] if i == 5 else []
    return nn.Sequential(*layers).eval()


@dataclass(frozen=True)
class Published:
    """A published network.

    Attributes
    ----------
    read : callable
        Makes what :func:`eventsim.convert` takes of the file.
    shape : tuple of int
        (channels, height, width)
    dataset : str
    steps : int
        Of a run.
    """

    read: Callable[[Path], Any]
    shape: tuple[int, int, int]
    dataset: str
    steps: int


MNIST = (1, 28, 28)
NETWORKS = {
    "plain-20-4": Published(plain_20_4, (3, 32, 32), "cifar-100", 16),
    "lfcW1A1": Published(lfc_1_1, MNIST, "mnist", 1),
    "lfcW1A2": Published(lfc_1_2, MNIST, "mnist", 1),
    "cnvW1A1": Published(cnv_1_1, (3, 32, 32), "cifar-10", 1),
    "TFC_1W1A": Published(read_model, MNIST, "mnist", 1),
    "TFC_1W2A": Published(read_model, MNIST, "mnist", 1),
}


def read_published(name: str, file: Path) -> Any:
    """The model that a published file holds.

    Raises
    ------
    ConversionError
        It is another file.
    OSError
        It cannot be opened.
    """
    with file.open("rb"):
        pass  # (scipy has words of its own for files that are not there)
    try:
        return NETWORKS[name].read(file)
    except es.EventsimError:
        raise
    except Exception as error:  # whatever another or a damaged file provokes
        raise es.ConversionError(f"{file}: not the published file of {name} ({type(error).__name__}: {error})") from None


def digest(file: Path) -> str:
    """Tells the files of a name apart."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(NETWORKS))
    parser.add_argument("file", type=Path, help="as published")
    parser.add_argument("--steps", type=at_least_one, nargs="+", help="lengths of runs (default: one that suits the network)")
    parser.add_argument("--modes", choices=list(MODES), nargs="+", default=list(MODES))
    parser.add_argument("--balance", type=at_least_one, metavar="T", help="correct biases by what the spikes say after T steps")
    parser.add_argument(
        "--refractory", type=float, metavar="P", help="steps, of the neurons behind the first layer (default: 1 of signed ones)"
    )
    parser.add_argument("--choose", type=at_least_one, metavar="N", help="compare ways of converting on N training images, take the best")
    parser.add_argument("--images", type=at_least_one, help="so many of the test images (default: all)")
    parser.add_argument("--data", type=Path, help="folder that holds the data sets (default: EVENTSIM_DATA, then the cache of `data get`)")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="partial results go here")
    parser.add_argument("--workers", type=at_least_one, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, help="the spiking network (default: in the folder of partial results)")
    options = parser.parse_args()
    published = NETWORKS[options.name]
    lengths = sorted(options.steps or [published.steps])
    output = options.output or options.work / f"{options.name}.h5"
    with ends_in_a_line():
        options.work.mkdir(parents=True, exist_ok=True)
        check_place(output)
        images, _ = datasets.load(published.dataset, "train" if options.name == "plain-20-4" else "test", options.data)
        model, steps = read_published(options.name, options.file), options.balance or lengths[-1]
        settings = {
            "input_shape": published.shape,
            "steps": steps,
            "balance": options.balance is not None,
            "refractory": options.refractory,
        }
        if options.choose:
            chosen = choose(model, images[:500], images[500 : 500 + options.choose], resolution=MODES[options.modes[0]], **settings)
            print(chosen, flush=True)
        made = chosen.conversion if options.choose else es.convert(model, images[:500], **settings)
        print(made.report, made.check, sep="\n", flush=True)
        made.network.labels = datasets.open_dataset(published.dataset, "test", options.data).classes
        made.network.provenance |= {"source": options.file.name, "data set": published.dataset, "steps": lengths[-1]}
        es.save(made.network, output)
        test, truth = datasets.load(published.dataset, "test", options.data)
        count = min(options.images or len(test), len(test))
        store = options.work / f"{options.name}-source-outputs-{digest(options.file)}.npy"
        source = kept(made.evaluate, test[:count], store, f"{options.name}, source").argmax(1)
        print(f"source, {count} images: {np.mean(source == truth[:count]):.2%}", flush=True)
        for mode in options.modes:
            scores = evaluate(
                output, published.dataset, lengths[-1], MODES[mode], options.work, options.workers, images=count, data=options.data
            )
            for steps in lengths:
                print(f"{mode}, T = {steps}, {count} images: {scores.at(steps)}", flush=True)


if __name__ == "__main__":
    main()

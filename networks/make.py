"""Train, convert and evaluate one of the networks: ``python networks/make.py NAME``.

    pip install -e '.[train]'
    python -m eventsim data get mnist                 # or set EVENTSIM_DATA to a folder that has the data
    python networks/make.py mlp-mnist

Training checkpoints after every epoch and the evaluation keeps what is done; the same command goes on from there. At the end of every
phase with binary layers the network is converted and written. A GPU is used if there is one. The recipes for VGG-15 learn from what a
published network answers: `--teacher resnet_cifar100.mat` (see `networks/third_party.py`).
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from architectures import CIFAR10, CIFAR100, VGG15, lenet_relu, mlp, vgg, vgg15
from evaluation import MODES, STEPS, evaluate, kept
from layers import Scale, folded, start_from
from programs import at_least_one, check_place, ends_in_a_line
from third_party import digest, read_published
from torch import nn
from training import Phase, Teaching, dense_outputs, fill, mixtures, read_checkpoint, to_input, train, whiten, write_state

import eventsim as es
from eventsim import datasets

HERE = Path(__file__).resolve().parent
SEED = 1


@dataclass(frozen=True)
class Recipe:
    """How one network is made.

    Attributes
    ----------
    dataset : str
    build : callable
        Makes the module, in its own random state.
    phases : tuple of Phase
    shift : int
        Augmentation: pixels by which training images are moved at most.
    flip : bool
        Augmentation: whether they are mirrored.
    whitened : bool
        Whether the first convolution starts as :func:`training.whiten` makes it.
    steps : int
        Length of a run that the network file recommends.
    percentile : float
        For activations without bounds of their own.
    refractory : float or None
        Refractory period in steps of the layers behind the first; None: as conversion makes it.
    teacher : str or None
        Of phases that are taught: a published network, by the name that ``networks/third_party.py`` has for it.
    start : str or None
        The recipe whose trained network this one starts from (:func:`layers.start_from`), from its checkpoint.
    """

    dataset: str
    build: Callable[[], nn.Module]
    phases: tuple[Phase, ...]
    shift: int = 0
    flip: bool = False
    whitened: bool = False
    steps: int = 8
    percentile: float = 99.9
    refractory: float | None = None
    teacher: str | None = None
    start: str | None = None


_BINARY = Phase("binary", 10, rate=3e-3, smoothing=0.05)
# Stochastic rounding: without it a network fits its few levels so well that it loses accuracy when spikes resolve more of them.
_ROBUST = Phase("stochastic rounding", 6, rate=1e-3, smoothing=0.05, noise=1.0)
# (Muon's rate for six layers is too high for fourteen: the loss stays where it is.)
_TAUGHT = Phase("taught", 26, 250, "muon", 0.015, "linear", sizes=(20, 24, 24, 32), others=1e-3, taught=True)

RECIPES = {
    "mlp-mnist": Recipe("mnist", lambda: mlp((784, 512, 512, 10), levels=4), (_BINARY,), shift=2),
    "lenet-mnist": Recipe(
        "mnist", lambda: vgg((32, 32, "P", 64, 64, "P"), (256,), 10, image=(1, 28, 28), levels=4), (_BINARY, _ROBUST), shift=2
    ),
    # The paper's kind of network, small: no batch norm, no bias, ReLU; binary from full precision.
    "lenet-relu-mnist": Recipe(
        "mnist",
        lenet_relu,
        (Phase("full precision", 6, rate=1e-3, binarised=False), Phase("binary", 10, rate=1e-3)),
        shift=2,
        steps=32,
    ),
    "vgg-small-fashion": Recipe(
        "fashion-mnist",
        lambda: vgg((32, 32, "P", 64, 64, "P", 128, 128), (), 10, image=(1, 28, 28), levels=4),
        (replace(_BINARY, epochs=16), _ROBUST),
        shift=2,
        flip=True,
    ),
    # As many levels as steps, for answers after two.
    "lenet-2-mnist": Recipe(
        "mnist",
        lambda: vgg((32, 32, "P", 64, 64, "P"), (256,), 10, image=(1, 28, 28), levels=2),
        (replace(_BINARY, epochs=8),),
        shift=2,
        steps=2,
    ),
    "vgg-small-2-fashion": Recipe(
        "fashion-mnist",
        lambda: vgg((32, 32, "P", 64, 64, "P", 128, 128), (), 10, image=(1, 28, 28), levels=2),
        (replace(_BINARY, epochs=7),),
        shift=2,
        flip=True,
        steps=2,
    ),
    "vgg-small-cifar10": Recipe(
        "cifar-10",
        lambda: vgg((64, 64, "P", 128, 128, "P", 256, 256, "P"), (), 10, image=(3, 32, 32), levels=4, normalise=CIFAR10),
        (replace(_BINARY, epochs=30), Phase("again", 14, rate=2e-3), _ROBUST),
        shift=4,
        flip=True,
    ),
    # Wider where maps are small; Muon gets much further in few epochs than Adam.
    "vgg-wide-cifar10": Recipe(
        "cifar-10",
        lambda: vgg((64, 64, "P", 128, 256, "P", 256, 512, "P"), (), 10, image=(3, 32, 32), levels=4, normalise=CIFAR10, whole=True),
        (
            Phase("binary", 18, 250, "muon", 0.05, "linear", smoothing=0.1, sizes=(24, 24, 32)),
            Phase("again", 16, 250, "muon", 0.03, "linear", smoothing=0.1, sizes=(24, 32)),
        ),
        shift=4,
        flip=True,
        whitened=True,
    ),
    # `vgg-small-cifar10` with max pooling, trained for as many epochs as one busy core does in 85 minutes.
    "vgg-small-max-cifar10": Recipe(
        "cifar-10",
        lambda: vgg((64, 64, "M", 128, 128, "M", 256, 256, "M"), (), 10, image=(3, 32, 32), levels=4, normalise=CIFAR10),
        (replace(_BINARY, epochs=12),),
        shift=4,
        flip=True,
    ),
    "vgg-small-cifar100": Recipe(
        "cifar-100",
        lambda: vgg((64, 64, "P", 128, 128, "P", 256, 256, "P"), (), 100, image=(3, 32, 32), levels=4, normalise=CIFAR100),
        (replace(_BINARY, epochs=24), _ROBUST),
        shift=4,
        flip=True,
    ),
    # Lu & Sengupta (2020): no batch norm, no bias, ReLU; binary from full precision. (Their optimisers take 400 epochs.)
    "vgg15-cifar100": Recipe(
        "cifar-100",
        vgg15,
        (
            replace(_TAUGHT, name="full precision", epochs=5, sizes=(20,), binarised=False),
            replace(_TAUGHT, name="binary", epochs=24, sizes=(20, 24, 24, 24, 32)),
        ),
        shift=4,
        flip=True,
        whitened=True,
        steps=100,
        teacher="plain-20-4",
    ),
    # The same network with batch norm and few levels, which the trained one starts from: a rate above a half of this undoes much of it.
    "vgg15-cifar100-qcfs": Recipe(
        "cifar-100",
        lambda: vgg(VGG15, (4096,), 100, image=(3, 32, 32), levels=4, normalise=CIFAR100, constant=True),
        (
            replace(_TAUGHT, name="levels", epochs=38, rate=0.005, sizes=(20, 24, 24, 24, 32), mixed=0.5),
            replace(_TAUGHT, name="mixtures", epochs=4, rate=0.005, sizes=(24, 24, 24, 32), mixtures=150_000, shift=2),
            # More levels at the end, into which what few have learned fits.
            replace(
                _TAUGHT, name="more mixtures", epochs=4, rate=0.005, sizes=(24, 24, 24, 32), levels=(4, 4, 8, 8), mixtures=300_000, shift=2
            ),
            replace(_TAUGHT, name="still more mixtures", epochs=4, rate=0.005, sizes=(24, 24, 24, 32), mixtures=400_000, shift=2),
            # Most of these are new to it.
            replace(
                _TAUGHT,
                name="other mixtures",
                epochs=4,
                rate=0.005,
                sizes=(24, 24, 24, 32),
                levels=(8, 8, 8, 12),
                mixtures=250_000,
                skipped=350_000,
                shift=2,
            ),
        ),
        shift=4,
        flip=True,
        # (Fifteen layers: what is fired too early is taken back sooner; docs/conversion.md.)
        refractory=0.75,
        teacher="plain-20-4",
        start="vgg15-cifar100",
    ),
}


def export(options: argparse.Namespace, model: nn.Module, calibration: np.ndarray, ann: float, phases: int) -> None:
    """Convert the model as it is after so many phases, and write the network, and the model's state beside the checkpoint."""
    recipe, output = RECIPES[options.name], options.output
    model = copy.deepcopy(model).cpu().float().eval()
    model = folded(model) if any(isinstance(layer, Scale) for layer in model) else model
    # For `eventsim convert` and `eventsim study percentile` with --architecture.
    write_state(options.work / f"{options.name}.pt", model.state_dict())
    made = es.convert(model, calibration, percentile=recipe.percentile, refractory=recipe.refractory)
    print(made.report)
    made.network.labels = datasets.open_dataset(recipe.dataset, "test", options.data).classes
    more = f" --teacher {options.teacher.name}" if recipe.teacher else ""
    more += f" --epochs {options.epochs}" if options.epochs else ""
    command = f"python networks/make.py {recipe.start}{more} && " if recipe.start else ""
    command += f"python networks/make.py {options.name}{more}" + (f" --phases {phases}" if phases < len(recipe.phases) else "")
    made.network.provenance = {
        "source": "networks/make.py",
        "command": command,
        "data set": recipe.dataset,
        "ANN test accuracy": round(ann, 4),
        "steps": recipe.steps,
        "binary layers": made.report.binary_layers,
        "largest relative rounding of a threshold": max(layer.threshold_error for layer in made.report.layers),
    }
    es.save(made.network, output)
    print(f"{output}: {output.stat().st_size} bytes, ANN {ann:.2%}", flush=True)


def teach(options: argparse.Namespace, images: np.ndarray, count: int) -> Teaching:
    """What the teacher says of the training images, and of so many mixtures of them."""
    recipe = RECIPES[options.name]
    name = recipe.teacher
    model, file = read_published(name, options.teacher), f"{digest(options.teacher)}.npy"
    store = options.work / f"{name}-teaches-{file}"
    outputs = kept(lambda block: dense_outputs(model, block), images, store, f"{name}, teacher", block=2500)
    if not count:
        return Teaching(outputs)
    made, store = mixtures(images, count, recipe.shift, SEED), options.work / f"{name}-teaches-mixtures-{file}"
    said = kept(lambda block: dense_outputs(model, block, mirrored=False), made, store, f"{name}, teacher, mixtures", block=2500)
    return Teaching(outputs, (made, said))


def begin(options: argparse.Namespace, model: nn.Module, images: np.ndarray) -> None:
    """Make the model what its recipe starts from."""
    recipe = RECIPES[options.name]
    if recipe.whitened:
        whiten(model, images)
    if recipe.start is not None:
        first, path = RECIPES[recipe.start], options.work / f"{recipe.start}.ckpt"
        state = read_checkpoint(path) if path.exists() else {"phase": 0}
        if state["phase"] < len(first.phases):
            raise es.EventsimError(f"{options.name} starts from {recipe.start}: train that first (python networks/make.py {recipe.start})")
        source = first.build()
        fill(source, state["model"], path)
        start_from(model, source, to_input(images[:1000]).float().div_(255))


def measure(options: argparse.Namespace, count: int) -> None:
    """Print accuracy and counts of the network that was written, on its test images."""
    for mode, resolution in MODES.items():
        scores = evaluate(
            options.output, RECIPES[options.name].dataset, options.steps, resolution, options.work, options.workers,
            images=options.images, data=options.data,
        )  # fmt: skip
        for steps in STEPS:
            if steps <= options.steps:
                print(f"{mode}, T = {steps}, {count} images: {scores.at(steps)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--data", type=Path, help="folder that holds the data set (default: EVENTSIM_DATA, then the cache of `data get`)")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="checkpoints and partial results go here")
    parser.add_argument("--epochs", type=at_least_one, help="epochs of every phase, to try a recipe out, and as many fewer mixtures")
    parser.add_argument("--phases", type=int, help="only so many of the recipe's phases; without it training goes on from there")
    parser.add_argument("--steps", type=at_least_one, default=100, help="length of the evaluation's runs")
    parser.add_argument("--images", type=at_least_one, help="evaluate on so many test images only")
    parser.add_argument("--workers", type=at_least_one, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, help="default: networks/NAME.h5")
    parser.add_argument("--teacher", type=Path, metavar="FILE", help="for recipes that learn from a published network: its file")
    options = parser.parse_args()
    recipe = RECIPES[options.name]
    if recipe.teacher and options.teacher is None:
        parser.error(f"{options.name} learns from {recipe.teacher}: give its file with --teacher (see networks/third_party.py)")
    if options.teacher is not None and not recipe.teacher:
        parser.error(f"--teacher: {options.name} learns from labels alone")
    if options.phases is not None and not 1 <= options.phases <= len(recipe.phases):
        parser.error(f"--phases {options.phases}: {options.name} has {len(recipe.phases)}")
    phases = recipe.phases[: options.phases]
    if options.epochs:
        phases = tuple(phase.shortened(options.epochs) for phase in phases)
    options.output = options.output or HERE / f"{options.name}.h5"
    with ends_in_a_line("interrupted; the same command goes on from the last checkpoint"):
        options.work.mkdir(parents=True, exist_ok=True)
        check_place(options.output)
        test_set = datasets.load(recipe.dataset, "test", options.data)
        train_set = datasets.load(recipe.dataset, "train", options.data)
        torch.manual_seed(SEED)
        model, calibration = recipe.build(), train_set[0][:1000]

        checkpoint = options.work / f"{options.name}.ckpt"
        if not checkpoint.exists():
            begin(options, model, train_set[0])

        def finished(number: int, ann: float) -> None:
            # (The last phase's network is written below, whether it is trained now or was before.)
            if phases[number].binarised and number < len(phases) - 1:
                export(options, model, calibration, ann, number + 1)

        ann = train(
            model, phases, train_set, test_set, checkpoint, shift=recipe.shift, flip=recipe.flip, seed=SEED, finished=finished,
            teacher=teach(options, train_set[0], max(phase.skipped + phase.mixtures for phase in phases)) if recipe.teacher else None,
        )  # fmt: skip
        if not phases[-1].binarised:
            print(f"{options.name}: nothing is converted, as nothing is binary after {phases[-1].name}; without --phases it goes on")
            return
        export(options, model, calibration, ann, len(phases))
        measure(options, options.images or len(test_set[0]))


if __name__ == "__main__":
    main()

"""Train a recipe's network in phases, with a checkpoint after every epoch, on whatever device there is."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from layers import AMX, QCFS, BinaryConv2d, BinaryLinear, pool_at_once
from muon import Muon
from rich import progress
from rich.console import Console
from torch import Tensor, nn

from eventsim import EventsimError
from eventsim.files.atomic import write_bytes

# Test images on which a training is watched between the ends of its phases.
SCORED = 2000
# At which a teacher's outputs are learned.
TEMPERATURE = 2.0


@dataclass(frozen=True)
class Phase:
    """One run over the training images with one optimiser.

    Parameters
    ----------
    name : str
    epochs, batch : int
    optimiser : "adam" or "muon" (:class:`muon.Muon` for binary layers, Adam for the others)
    rate : float
        Initial learning rate.
    schedule : "cosine" or "linear"
        "linear" rises for a twentieth of the phase and falls to 0.
    binarised : bool
        Whether the hidden layers are binary in this phase.
    noise : float
        Of the QCFS activations, in levels (see :class:`layers.QCFS`).
    smoothing : float
        Label smoothing.
    sizes : tuple of int
        Heights and widths to which the images are shrunk, for equal shares of the epochs; empty: images as they are.
    levels : tuple of int
        Of the QCFS activations, for equal shares of the epochs; empty: those of the phase before, and of the model in the first.
    others : float
        Initial learning rate of what "muon" does not train.
    taught : bool
        Whether a teacher's outputs are learned in place of labels (Hinton, Vinyals & Dean, "Distilling the knowledge in a neural
        network", 2015, at a temperature of 2).
    shift : int or None
        Augmentation: pixels by which images are moved at most, if other than in the recipe's other phases.
    mixtures : int
        How many mixtures of the training images (:func:`mixtures`) are trained on, too; for phases that are taught.
    skipped : int
        How many mixtures come before those, which phases before have learned from.
    mixed : float
        Share of the images that get a rectangle of another one, and as large a share of what is learned for that one (Yun et al.,
        "CutMix", ICCV 2019).
    """

    name: str
    epochs: int
    batch: int = 128
    optimiser: str = "adam"
    rate: float = 1e-3
    schedule: str = "cosine"
    binarised: bool = True
    noise: float = 0.0
    smoothing: float = 0.0
    sizes: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    others: float = 2e-3
    taught: bool = False
    mixed: float = 0.0
    shift: int | None = None
    mixtures: int = 0
    skipped: int = 0

    def size(self, epoch: int) -> int | None:
        """Height and width of this epoch's images, or None for images as they are."""
        return self._share(self.sizes, epoch)

    def levels_at(self, epoch: int) -> int | None:
        """Of this epoch's QCFS activations, or None for those of the phase before."""
        return self._share(self.levels, epoch)

    def shortened(self, epochs: int) -> Phase:
        """A phase of so many epochs, to try a recipe out: of fewer, with as many fewer mixtures, since a teacher takes long for these."""
        mixtures, skipped = (count * min(epochs, self.epochs) // self.epochs for count in (self.mixtures, self.skipped))
        return replace(self, epochs=epochs, mixtures=mixtures, skipped=skipped)

    def _share(self, values: tuple[int, ...], epoch: int) -> int | None:
        return values[epoch * len(values) // self.epochs] if values else None


@dataclass(frozen=True)
class Teaching:
    """What a teacher says.

    Attributes
    ----------
    outputs : float32 (images, 2, classes)
        For the training images and their mirror images.
    mixtures : (uint8 (mixtures, height, width, channels), float32 (mixtures, classes)), or None
        Mixtures of them, for phases that learn from those, and the outputs for these, which stand for mirror images, too.
    """

    outputs: np.ndarray
    mixtures: tuple[np.ndarray, np.ndarray] | None = None


def read_state(path: Path, device: torch.device | str = "cpu") -> Any:
    """What ``torch.save`` wrote: tensors, and plain values.

    Raises
    ------
    EventsimError
        It cannot be read.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a damaged file provokes
        raise EventsimError(f"{path}: cannot be read ({type(error).__name__}); remove it, and it is made anew") from None


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What :func:`train` left of a training.

    Raises
    ------
    EventsimError
        It cannot be read, or is something else.
    """
    state = read_state(path, device)
    if not isinstance(state, dict) or not {"plan", "model", "phase", "epoch", "optimisers"} <= state.keys():
        raise EventsimError(f"{path}: no checkpoint of a training; remove it, and it is made anew")
    return state


def write_state(path: Path, state: Any) -> None:
    """Write what ``torch.save`` makes of a state, whole or not at all.

    Raises
    ------
    OSError
    """
    made = io.BytesIO()
    torch.save(state, made)
    write_bytes(path, made.getbuffer())


def fill(model: nn.Module, state: Any, path: Path) -> None:
    """Give a model the parameters that were read from a file.

    Raises
    ------
    EventsimError
        They are another model's.
    """
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise EventsimError(f"{path}: not this model's parameters ({' '.join(str(error).split())[:200]})") from None


def to_input(images: np.ndarray) -> Tensor:
    """uint8 (n, height, width, channels) -> uint8 tensor (n, channels, height, width)."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def track(items, what: str):
    """The items, with a progress bar and an estimate on a terminal."""
    console = Console(stderr=True)
    return progress.track(items, what, console=console, disable=not console.is_terminal)


def augment(x: Tensor, shift: int, flip: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Move every image by up to ``shift`` pixels each way, zeros beyond the border, and mirror half of them: the images, and which of
    them are mirrored."""
    n, c, h, w = x.shape
    padded = F.pad(x, (shift,) * 4)
    rows = torch.randint(0, 2 * shift + 1, (n, 1), generator=generator) + torch.arange(h)
    cols = torch.randint(0, 2 * shift + 1, (n, 1), generator=generator) + torch.arange(w)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5 if flip else torch.zeros(n, 1, dtype=torch.bool)
    cols = torch.where(mirrored, cols.flip(1), cols)
    index = torch.arange(n)[:, None, None, None], torch.arange(c)[None, :, None, None], rows[:, None, :, None], cols[:, None, None, :]
    return padded[tuple(i.to(x.device) for i in index)], mirrored[:, 0].to(x.device)


def rectangles(sides: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Pixels within rectangles anywhere in images, each with sides of this share (n,) of the image's, as far as they lie within it: bool
    (n, height, width)."""
    inside = []
    for length in (height, width):
        centre = torch.rand(len(sides), 1, generator=generator) * length
        inside.append((torch.arange(length) + 0.5 - centre).abs() < sides[:, None] * length / 2)
    return inside[0][:, :, None] & inside[1][:, None, :]


def mix(x: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Put a rectangle of the image before it into a share of the images (n, channels, height, width), of any size and wholly or partly
    within: the images, and what part of each is its own, (n, 1)."""
    n, _, height, width = x.shape
    sides = (1 - torch.rand(n, generator=generator)).sqrt()
    chosen = torch.rand(n, 1, 1, generator=generator) < share
    other = rectangles(sides, height, width, generator) & chosen
    own = 1 - other.float().mean((1, 2))[:, None]
    return torch.where(other[:, None].to(x.device), x.roll(1, 0), x), own.to(x.device)


def mixtures(images: np.ndarray, count: int, shift: int, seed: int) -> np.ndarray:
    """Images made of two each: a mean of both (Zhang et al., "mixup", ICLR 2018), a rectangle of one within the other (as :func:`mix`), and
    one in ten of one alone. A teacher that is asked about these very images says what it makes of much that it never saw (Beyer et al.,
    "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022).

    Parameters
    ----------
    images : ndarray, uint8, shape (n, height, width, channels)
    count : int
    shift : int
        Both are moved by up to so many pixels each way, and half of them mirrored.
    seed : int

    Returns
    -------
    ndarray, uint8, shape (count, height, width, channels)
    """
    source, block = to_input(images), 500
    n, channels, height, width = source.shape
    found = np.empty((count, channels, height, width), np.uint8)
    generator = torch.Generator()
    for place in range(0, count, block):
        if place % 50_000 == 0:
            generator.manual_seed(1000 * seed + place // 50_000 + 1)
        one, other = (
            augment(source[torch.randint(0, n, (block,), generator=generator)], shift, True, generator)[0].float() for _ in range(2)
        )
        share = torch.rand(block, 1, 1, 1, generator=generator)
        mean = one * share + other * (1 - share)
        sides = (0.95 - 0.9 * torch.rand(block, generator=generator)).sqrt()
        within = torch.where(rectangles(sides, height, width, generator)[:, None], other, one)
        kind = torch.rand(block, 1, 1, 1, generator=generator)
        mixture = torch.where(kind < 0.45, mean, torch.where(kind < 0.9, within, one)).round().to(torch.uint8)
        found[place : place + block] = mixture[: count - place].numpy()
    return found.transpose(0, 2, 3, 1)


def shrink(model: nn.Module, x: Tensor, size: int | None) -> Tensor:
    """Images (float) of ``size`` x ``size`` pixels, by area; pooling of the model rounds up for them, so that its last layers see maps as
    large as those of whole images."""
    smaller = size is not None and size < x.shape[-1]
    for module in model.modules():
        if isinstance(module, (nn.AvgPool2d, nn.MaxPool2d)):
            module.ceil_mode = smaller
    return F.interpolate(x, (size, size), mode="area") if smaller else x


@torch.no_grad()
def whiten(model: nn.Sequential, images: np.ndarray, seen: int = 2000) -> None:
    """Start the first convolution with the principal components of its patches of the first images, each over its standard deviation,
    and their negatives (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, section 3.2); further filters stay as they are.

    Parameters
    ----------
    model : nn.Sequential
        What comes before its first convolution is applied to the images.
    images : ndarray, uint8, shape (n, height, width, channels)
    seen : int
        So many of the images are looked at.
    """
    place = next(i for i, layer in enumerate(model) if isinstance(layer, nn.Conv2d))
    weight = model[place].weight
    patches = F.unfold(model[:place](to_input(images[:seen]).float().div_(255)), weight.shape[2:]).transpose(1, 2).flatten(0, 1)
    variances, components = torch.linalg.eigh(torch.cov(patches.T))
    # (The last components are noise: not to be blown up.)
    filters = (components / (variances + 5e-3).sqrt()).T.flip(0)[: len(weight) // 2]
    filters = torch.cat([filters, -filters])
    weight[: len(filters)] = (filters / filters.std() * weight.std()).reshape(-1, *weight.shape[1:])


def half_precision(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32 there."""
    return device.type == "cuda" or torch.backends.cpu.get_cpu_capability() in ("AVX512", "AMX")


def distillation(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of a teacher's softened answers (:func:`softened`) and a student's, which are not softened yet, (images, classes)
    both, with gradients as large as those of labels."""
    return F.cross_entropy(outputs / TEMPERATURE, wanted) * TEMPERATURE**2


def softened(teacher: Tensor) -> Tensor:
    """Probabilities (images, classes) from a teacher's outputs."""
    return (teacher / TEMPERATURE).softmax(1)


@torch.no_grad()
def dense_outputs(model: nn.Module, images: np.ndarray, mirrored: bool = True) -> np.ndarray:
    """What a network answers to images (uint8) and, if ``mirrored``, to their mirror images: float32 (images, 2, classes), else
    (images, classes)."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device, memory_format=torch.channels_last).eval()
    found = []
    for block in to_input(images).split(250):
        x = block.to(device).float().div_(255)
        views = (torch.cat([x, x.flip(3)]) if mirrored else x).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=half_precision(device)):
            outputs = model(views).float().cpu()
        found.append(outputs.unflatten(0, (2, -1)).transpose(0, 1) if mirrored else outputs)
    return torch.cat(found).numpy()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch: int = 250, size: int | None = None) -> float:
    """Share of the images (uint8) that the model gets right, in float32."""
    model.eval()
    device = next(model.parameters()).device
    hits = 0
    for i in range(0, len(images), batch):
        x = shrink(model, images[i : i + batch].to(device).float().div_(255), size)
        hits += int((model(x).argmax(1).cpu() == labels[i : i + batch]).sum())
    return hits / len(images)


def _optimisers(model: nn.Module, phase: Phase) -> list[torch.optim.Optimizer]:
    if phase.optimiser == "muon":
        binary = [m.weight for m in model.modules() if isinstance(m, (BinaryConv2d, BinaryLinear))]
        rest = [p for p in model.parameters() if all(p is not weight for weight in binary)]
        return [Muon(binary, phase.rate, half=half_precision(binary[0].device)), torch.optim.Adam(rest, lr=phase.others)]
    return [torch.optim.Adam(model.parameters(), lr=phase.rate)]


def _factor(phase: Phase, epoch: float) -> float:
    """What the learning rate is multiplied by at this (fractional) epoch."""
    if phase.schedule == "cosine":
        return 0.5 * (1 + float(np.cos(np.pi * epoch / phase.epochs)))
    return min(1.0, 20 * epoch / phase.epochs) * (1 - epoch / phase.epochs)


def _set_up(model: nn.Module, phases: tuple[Phase, ...], number: int, epoch: int) -> None:
    """Let the model's layers be as they are in an epoch of a phase, whichever was before."""
    phase = phases[number]
    found = [*(earlier.levels_at(earlier.epochs - 1) for earlier in phases[:number]), phase.levels_at(epoch)]
    levels = [n for n in found if n is not None]
    for module in model.modules():
        if isinstance(module, (BinaryConv2d, BinaryLinear)):
            module.binarised = phase.binarised
        if isinstance(module, QCFS):
            module.noise = phase.noise
            module.levels = levels[-1] if levels else module.levels


def train(  # noqa: C901 - a recipe, read from top to bottom
    model: nn.Sequential,
    phases: tuple[Phase, ...],
    train_set: tuple[np.ndarray, np.ndarray],
    test_set: tuple[np.ndarray, np.ndarray],
    checkpoint: Path,
    *,
    shift: int,
    flip: bool,
    seed: int,
    teacher: Teaching | None = None,
    finished: Callable[[int, float], None] = lambda *_: None,
) -> float:
    """Train from the last checkpoint (if any) and return the accuracy on the test images.

    The checkpoint is used only by the same phases and seed; more phases than it was made with go on from it. An interrupted training
    loses the epoch that it is in. ``teacher`` is for phases that are taught. ``finished`` is called at the end of every phase, with its
    number (from 0) and the accuracy.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = half_precision(device)
    images, labels = to_input(train_set[0]), torch.from_numpy(train_set[1])
    classes = int(labels.max()) + 1
    test_images, test_labels = to_input(test_set[0]), torch.from_numpy(test_set[1])
    taught = None if teacher is None else torch.from_numpy(np.ascontiguousarray(teacher.outputs.swapaxes(0, 1)))
    whole = len(images)
    if teacher is not None and teacher.mixtures is not None:
        images = torch.cat([images, to_input(teacher.mixtures[0])])
        taught = torch.cat([taught, torch.from_numpy(teacher.mixtures[1]).expand(2, -1, -1)], 1)
    if device.type == "cuda":
        images, labels = images.to(device), labels.to(device)
        taught = None if taught is None else taught.to(device)
    model.to(device, memory_format=torch.channels_last)
    # (AMX has no use for fewer products with a stride.)
    trained = model if AMX else pool_at_once(model)
    plan = [repr(sorted(asdict(phase).items())) for phase in phases] + [f"seed {seed}"]
    start_phase, start_epoch, state = 0, 0, None
    if checkpoint.exists():
        state = read_checkpoint(checkpoint, device)
        done = state["phase"]
        if state["plan"][:done] != plan[:done] or (state["epoch"] and state["plan"][done] != plan[done]) or state["plan"][-1] != plan[-1]:
            raise EventsimError(f"{checkpoint}: made with other epochs, settings or seed; use those or remove it")
        fill(model, state["model"], checkpoint)
        start_phase, start_epoch = done, state["epoch"]

    for number in range(start_phase, len(phases)):
        phase = phases[number]
        optimisers = _optimisers(model, phase)
        rates = [group["lr"] for optimiser in optimisers for group in optimiser.param_groups]
        first = start_epoch if number == start_phase else 0
        if first and state is not None:
            for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(kept)
        groups = [group for optimiser in optimisers for group in optimiser.param_groups]
        number_of_images = whole + phase.mixtures
        batches = number_of_images // phase.batch
        for epoch in range(first, phase.epochs):
            began = time.monotonic()
            # One generator an epoch: a resumed run sees the batches that an uninterrupted one sees.
            generator = torch.Generator().manual_seed(seed * 100_000 + number * 10_000 + epoch)
            torch.manual_seed(seed * 100_000 + number * 10_000 + epoch)
            _set_up(model, phases, number, epoch)
            trained.train()
            order = torch.randperm(number_of_images, generator=generator).to(images.device)
            order[order >= whole] += phase.skipped
            total = 0.0
            for i in track(range(batches), f"{phase.name} {epoch + 1}/{phase.epochs}"):
                factor = _factor(phase, epoch + i / batches)
                for group, rate in zip(groups, rates, strict=True):
                    group["lr"] = rate * factor
                pick = order[i * phase.batch : (i + 1) * phase.batch]
                x, mirrored = augment(images[pick], shift if phase.shift is None else phase.shift, flip, generator)
                wanted = softened(taught[mirrored.long(), pick]) if phase.taught else F.one_hot(labels[pick], classes).float()
                if phase.mixed:
                    x, own = mix(x, phase.mixed, generator)
                    wanted = own * wanted + (1 - own) * wanted.roll(1, 0)
                x = shrink(model, x.float().div_(255), phase.size(epoch)).contiguous(memory_format=torch.channels_last)
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    outputs = trained(x)
                if phase.taught:
                    loss = distillation(outputs.float(), wanted)
                else:
                    loss = F.cross_entropy(outputs.float(), wanted, label_smoothing=phase.smoothing)
                trained.zero_grad(set_to_none=True)
                loss.backward()
                for optimiser in optimisers:
                    optimiser.step()
                total += loss.item()
            last = epoch + 1 == phase.epochs
            # The whole test set takes as long as a fifth of an epoch of training.
            some = None if last else SCORED
            scored = accuracy(model, test_images[:some], test_labels[:some], size=None if last else phase.size(epoch))
            print(
                f"{phase.name} {epoch + 1}/{phase.epochs}: loss {total / batches:.4f}, "
                f"test accuracy {scored:.2%}{f' of {some} images' if some else ''}, {time.monotonic() - began:.0f} s",
                flush=True,
            )
            write_state(
                checkpoint,
                {
                    "plan": plan,
                    "model": model.state_dict(),
                    "phase": number + 1 if last else number,
                    "epoch": 0 if last else epoch + 1,
                    "optimisers": None if last else [optimiser.state_dict() for optimiser in optimisers],
                },
            )
            if last:
                finished(number, scored)
    _set_up(model, phases, len(phases) - 1, phases[-1].epochs - 1)
    for module in model.modules():
        if isinstance(module, (BinaryConv2d, BinaryLinear)):
            module.binarised = True
    return accuracy(model, test_images, test_labels)

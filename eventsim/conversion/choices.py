"""Which way of converting a network is best, tried on a sample: neurons, ranges, initial potentials, refractory periods, biases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.conversion import convert
from eventsim.conversion.given import checked_images
from eventsim.conversion.made import Conversion
from eventsim.errors import ConversionError
from eventsim.job.preparation import default_steps
from eventsim.model.network import Network
from eventsim.simulate import Simulator

PERCENTILES = (99.0, 99.7, 99.9, 99.99, 100.0)
REFRACTORY = (1.0, 0.75, 0.5)


@dataclass(frozen=True)
class Choice:
    """A way of converting a network, and what came of it.

    Attributes
    ----------
    changed : str
        What differs from the best way before it.
    settings : dict
        Keyword arguments of :func:`eventsim.convert`.
    agreement : float
        Share of the sample's images that are answered as by the source.
    spikes : float
        Mean per image, without those of bias clocks.
    """

    changed: str
    settings: dict[str, Any]
    agreement: float
    spikes: float


@dataclass
class Choices:
    """What was tried, and what was picked.

    Attributes
    ----------
    tried : list of Choice
        The first one is what was asked for.
    picked : Choice
    conversion : Conversion
        As picked.
    images, steps, resolution : int
        Of the sample, and of its runs.
    """

    tried: list[Choice]
    picked: Choice
    conversion: Conversion
    images: int
    steps: int
    resolution: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        rows = [{"choice": c.changed, "agreement": c.agreement, "spikes": c.spikes, "settings": c.settings} for c in self.tried]
        where = {"images": self.images, "steps": self.steps, "resolution": self.resolution}
        return where | {"tried": rows, "picked": self.picked.settings}

    def __str__(self) -> str:
        mode = "clocked" if self.resolution == 1 else f"{self.resolution:,} ticks a step"
        lines = [f"{self.images} images, {mode}, T = {self.steps}", f"{'choice':22} {'answers as the source':>21} {'spikes an image':>16}"]
        lines += [f"{choice.changed:22} {choice.agreement:>21.1%} {choice.spikes:>16,.0f}" for choice in self.tried]
        return "\n".join([*lines, f"picked: {', '.join(_words(name, value) for name, value in self.picked.settings.items())}"])


def choose(
    model: Any,
    calibration: npt.ArrayLike,
    sample: npt.ArrayLike,
    *,
    resolution: int = 1,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Choices:
    """Try ways of converting a network, one after the other, and pick the best.

    Beginning with ``settings``, it is tried whether neurons should be signed, which percentile of the activations becomes a layer's range
    (where there are layers without bounds), whether neurons should begin with half a threshold, which refractory period they should have
    (in asynchronous runs; clocked ones do not tell these apart), and whether biases should be balanced. Each time the best goes on: the
    one with the most answers as the source's, and of those the one with the fewest spikes.

    Parameters
    ----------
    model, calibration
        As for :func:`eventsim.convert`.
    sample : array_like of uint8, shape (n, height, width, channels)
        Images on which they are compared; other ones than those of the calibration.
    resolution : int
        Ticks per step: 1 is clocked.
    progress : callable, optional
        Called with (images done, all images) of every way.
    **settings
        For :func:`eventsim.convert`: what is given there is where it begins.

    Raises
    ------
    ConversionError
        Conversion fails, no images, or activations became one spike each, which is exact.
    """
    images = checked_images(sample)
    if images is None:
        raise ConversionError("choices are compared on images; give a sample")
    made = convert(model, calibration, **settings)
    if made.steps:
        raise ConversionError("activations that became one spike each are exact: there is nothing to choose")
    steps, truth = default_steps(made.network), made.evaluate(images).argmax(1)

    def tried(changed: str, chosen: dict[str, Any], conversion: Conversion) -> Choice:
        return Choice(changed, chosen, *_score(conversion, images, truth, steps, resolution, progress))

    current = {"signed": settings.get("signed")} | ({"percentile": settings.get("percentile", 99.9)} if made.ranges else {})
    current |= {"initial": settings.get("initial", "half")}
    current |= {"refractory": settings.get("refractory")} if resolution > 1 else {}
    current |= {"balance": settings.get("balance", False)}
    best, network = tried("as asked for", current, made), made.network
    rows = [best]
    for alternatives in _alternatives(current):
        before, had = best, network
        for name, value in alternatives:
            if before.settings[name] == value or _has(had, name, value):
                continue
            chosen = before.settings | {name: value}
            other = convert(model, calibration, **settings | {"check": False} | chosen)
            rows.append(tried(_words(name, value), chosen, other))
            if (rows[-1].agreement, -rows[-1].spikes) > (best.agreement, -best.spikes):
                best, network = rows[-1], other.network
    if best is not rows[0]:
        made = convert(model, calibration, progress=progress, **settings | best.settings)
    return Choices(rows, best, made, len(images), steps, resolution)


def _alternatives(settings: Mapping[str, Any]) -> Iterator[list[tuple[str, Any]]]:
    """Settings and values that compete with each other, one question after the other."""
    yield [("signed", False), ("signed", True)]
    if "percentile" in settings:
        yield [("percentile", value) for value in PERCENTILES]
    yield [("initial", "half"), ("initial", "zero")]
    if "refractory" in settings:
        yield [("refractory", value) for value in REFRACTORY]
    yield [("balance", True), ("balance", False)]


def _has(network: Network, name: str, value: Any) -> bool:
    """Whether the setting makes no difference: all neurons that it is about are so by default."""
    if name not in ("signed", "refractory"):
        return False
    neurons = [population for population in network.populations.values() if population.takes_spikes and population.threshold is not None]
    return {getattr(population, name) for population in neurons} <= {value}


def _words(name: str, value: Any) -> str:
    """A setting as one reads it."""
    if name == "percentile":
        return f"percentile {value:g}"
    if name == "initial":
        return f"initial potential {value}"
    if name == "refractory":
        return "refractory period as convert makes it" if value is None else f"refractory period {value:g}"
    if value is None:
        return "signed where convert makes them so"
    words = {"signed": ("unsigned", "signed"), "balance": ("biases as they are", "biases balanced")}
    return words[name][bool(value)]


def _score(
    made: Conversion,
    images: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.integer],
    steps: int,
    resolution: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[float, float]:
    """Share of the source's answers, and mean spikes."""
    simulator = Simulator(made.network)
    counted = [name for name, population in made.network.populations.items() if not population.is_clock]
    alike = spikes = 0
    for done, (image, answer) in enumerate(zip(images, truth, strict=True)):
        run = simulator.run(image, steps=steps, resolution=resolution, record="none")
        alike += run.decision == answer
        per_population = run.spikes_per_population()
        spikes += sum(per_population[name] for name in counted)
        if progress is not None:
            progress(done + 1, len(images))
    return alike / len(images), spikes / len(images)

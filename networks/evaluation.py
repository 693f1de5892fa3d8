"""Whole test sets for the tables: one long run per image, read off at every shorter length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import eventsim as es
from eventsim import datasets
from eventsim.cli.progress import image_progress
from eventsim.files.atomic import Replacement
from eventsim.job.job import MODES

__all__ = ["MODES", "STEPS", "Scores", "evaluate", "kept"]

STEPS = (2, 4, 8, 16, 32, 64, 100)
# Images after which outputs of a dense network are kept.
_BLOCK = 100


@dataclass(frozen=True)
class Scores:
    """Per step: accuracy, and mean spikes and synaptic events per image so far, bias clocks left out.

    Attributes
    ----------
    images : int
    accuracy, spikes, synaptic_events : float64 (steps,)
    """

    images: int
    accuracy: np.ndarray
    spikes: np.ndarray
    synaptic_events: np.ndarray

    def at(self, steps: int) -> dict[str, float]:
        """Of runs of so many steps: a run of T steps is the beginning of a longer one."""
        i = steps - 1
        return {
            "accuracy": round(float(self.accuracy[i]), 4),
            "spikes": round(float(self.spikes[i])),
            "synaptic events": round(float(self.synaptic_events[i])),
        }


def evaluate(
    network: Path, dataset: str, steps: int, resolution: int, work: Path, workers: int, images: int | None = None, data: Path | None = None
) -> Scores:
    """Run the first ``images`` test images (default: all); what is done is kept in ``work`` and not done again by the same call."""
    mode = "clocked" if resolution == 1 else str(resolution)
    found = datasets.open_dataset(dataset, "test", data)
    chosen = range(min(images or len(found), len(found)))
    work.mkdir(parents=True, exist_ok=True)
    digest = es.Simulator(es.load(network)).digest()[:8]
    with image_progress(f"{network.stem}, {mode}") as progress:
        done = es.evaluate(
            network,
            found,
            work / f"{network.stem}-{mode}-{steps}-{len(chosen)}-{digest}.h5",
            images=list(chosen),
            steps=steps,
            resolution=resolution,
            trade_off=False,
            workers=workers,
            progress=progress,
        )
    with done as e:
        neurons = [i for i, p in enumerate(e.info.populations) if not p.is_clock]
        synapses = [i for i, p in enumerate(e.info.projections) if not p.apart]
        spikes, events = e.over_time("spikes")[:, neurons], e.over_time("synaptic_events")[:, synapses]
        return Scores(len(e), e.accuracy_over_time(), spikes.sum(1).cumsum(), events.sum(1).cumsum())


def kept(outputs: Callable[[np.ndarray], np.ndarray], images: np.ndarray, store: Path, what: str, block: int = _BLOCK) -> np.ndarray:
    """Outputs of a dense network, (images, outputs); what is in ``store`` is not computed again, and it grows as they are."""
    try:
        found = np.load(store)[: len(images)] if store.exists() else None
    except (ValueError, EOFError) as error:
        raise es.EventsimError(f"{store}: cannot be read ({error}); remove it, and it is made anew") from None
    with image_progress(what) as progress:
        while found is None or len(found) < len(images):
            done = 0 if found is None else len(found)
            progress(done, len(images))
            more = outputs(images[done : done + block])
            found = more if found is None else np.concatenate([found, more])
            with Replacement(store) as file:
                np.save(file, found)
    return found

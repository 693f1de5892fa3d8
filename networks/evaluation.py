"""Whole test sets: one long run per image, read off at every shorter length; in parallel, resumable."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from training import track

import eventsim as es

STEPS = (2, 4, 8, 16, 32, 64, 100)
MODES = {"clocked": 1, "asynchronous": es.DEFAULT_RESOLUTION}
_CHUNK = 50
_simulator: es.Simulator | None = None


@dataclass(frozen=True)
class Evaluation:
    """Per image and step: whether the decision is right, and spikes and synaptic events so far.

    Attributes
    ----------
    right : bool (images, steps)
    spikes, synaptic_events : int64 (images, steps)
        Cumulative, without bias clocks.
    """

    right: np.ndarray
    spikes: np.ndarray
    synaptic_events: np.ndarray

    def at(self, steps: int) -> dict[str, float]:
        """Accuracy, and mean spikes and synaptic events per image, of runs of so many steps."""
        i = steps - 1
        return {
            "accuracy": round(float(self.right[:, i].mean()), 4),
            "spikes": round(float(self.spikes[:, i].mean())),
            "synaptic events": round(float(self.synaptic_events[:, i].mean())),
        }


def _start(path: str) -> None:
    global _simulator
    _simulator = es.Simulator(es.load(path))


def _run(images: np.ndarray, labels: np.ndarray, steps: int, resolution: int) -> np.ndarray:
    assert _simulator is not None
    out = np.zeros((len(images), 3, steps), np.int64)
    for row, image, label in zip(out, images, labels, strict=True):
        result = _simulator.run(image, steps=steps, resolution=resolution, record="none")
        neurons = [i for i, p in enumerate(result.info.populations) if p.emits != "clock"]
        synapses = [i for i, p in enumerate(result.info.projections) if not p.bias]
        row[0] = result.readout.argmax(1) == label
        row[1] = result.counts.spikes[:, neurons].sum(1).cumsum()
        row[2] = result.counts.synaptic_events[:, synapses].sum(1).cumsum()
    return out


def evaluate(network: Path, images: np.ndarray, labels: np.ndarray, steps: int, resolution: int, work: Path, workers: int) -> Evaluation:
    """Run every image; what is done is kept in ``work`` and not done again by the same call.

    A run of T steps is the beginning of a longer one, so one run per image answers for every length up to ``steps``.
    """
    key = hashlib.sha256(network.read_bytes() + images.tobytes() + labels.tobytes() + f"{steps} {resolution}".encode()).hexdigest()[:16]
    partial = work / f"{network.stem}-{'clocked' if resolution == 1 else resolution}-{key}.npy"
    done = np.load(partial) if partial.exists() else np.zeros((0, 3, steps), np.int64)
    starts = range(len(done), len(images), _CHUNK)
    work.mkdir(parents=True, exist_ok=True)
    if starts:
        with ProcessPoolExecutor(workers, initializer=_start, initargs=(str(network),)) as pool:
            jobs = [pool.submit(_run, images[i : i + _CHUNK], labels[i : i + _CHUNK], steps, resolution) for i in starts]
            try:
                for number, job in enumerate(track(jobs, f"{network.stem}, {resolution} ticks a step")):
                    done = np.concatenate([done, job.result()])
                    if number % 8 == 7 or number == len(jobs) - 1:
                        scratch = partial.with_suffix(".part.npy")
                        np.save(scratch, done)
                        os.replace(scratch, partial)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return Evaluation(done[:, 0].astype(bool), done[:, 1], done[:, 2])

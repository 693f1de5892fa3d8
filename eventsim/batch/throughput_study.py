"""How fast a chip may go: accuracy, latency and energy of closed runs with steps of several durations."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import Arrays
from eventsim.analysis.provenance import spread
from eventsim.batch import self_test
from eventsim.batch.kept import Images
from eventsim.batch.pictures import pictures_of
from eventsim.batch.study import Study, file_name, make_folder
from eventsim.batch.work import bytes_of, network_of, refuse_stopped
from eventsim.data.image_sets import Dataset
from eventsim.errors import InputError, RunError
from eventsim.hardware.architecture import Architecture
from eventsim.hardware.hardware import Hardware
from eventsim.job.preparation import default_steps
from eventsim.job.recordings import steps_of_window
from eventsim.model.network import Network
from eventsim.simulate import Simulator

# Steps of 1 ms and three decades down.
STEPS_US = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)


def throughput_study(
    network: Network,
    data: Dataset,
    hardware: Hardware,
    folder: Path,
    values: Iterable[float] = STEPS_US,
    *,
    images: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    each: Callable[[str, int, int], Callable[[int, int], None] | None] = lambda *_: None,
    **settings: Any,
) -> Study:
    """Closed runs with steps of several durations: what is lost when a chip is to answer faster.

    What is done is kept in the folder, and the same call goes on from there.

    Parameters
    ----------
    network : Network
    data : Dataset
    hardware : Hardware
    folder : Path
        Holds a file a value, and the table.
    values : iterable of float
        Microseconds of a step.
    images : int, optional
        So many, spread evenly over the set. Default: all.
    workers, scheduler
        See :func:`eventsim.evaluate`.
    each : callable, optional
        As for :func:`eventsim.batch.study.run_study`.
    **settings
        ``invert`` and ``crop`` of :func:`eventsim.evaluate`; others see :meth:`eventsim.Hardware.run`: JSON values.

    Raises
    ------
    RunError
        No values, or one that is no number of picoseconds; the folder cannot be written, or holds another study.
    InputError, DatasetError, HardwareError, PotentialOverflow
    """
    values = list(values)
    picoseconds = [round(value * 10**6) if math.isfinite(value) else 0 for value in values]
    if not values or min(picoseconds) < 1 or any(p / 10**6 != value for p, value in zip(picoseconds, values, strict=True)):
        raise RunError(f"steps must be microseconds, at least 0.000001 with at most six decimals, found {values}")
    if len(set(picoseconds)) < len(values):
        raise RunError(f"found {values}; give every value once")
    if network.output is None:
        raise InputError("a study needs a network that has an output readout")
    pictures = pictures_of(network, data, **{name: settings.pop(name) for name in ("invert", "crop") if name in settings})
    chosen = np.arange(len(data)) if images is None else spread(images, len(data))
    if settings.get("steps") is None:
        # (What the network recommends is no part of its digest.)
        settings["steps"] = steps_of_window(network, data.reading.length) or default_steps(network)
    make_folder(folder)
    neuron_steps = settings["steps"] * sum(p.size for p in network.populations.values())
    here = bytes_of(network), Simulator(network).digest(), settings, version("eventsim"), self_test.digest("reference")
    rows, files = [], {}
    for number, (value, step) in enumerate(zip(values, picoseconds, strict=True), 1):
        chip = hardware.architecture
        work = ClosedWork(replace(chip, chip=replace(chip.chip, step=step)), *here)
        title = f"step {value:.15g} us"
        files[title] = folder / f"{file_name(title)}.json"
        images_of = Images(data, pictures, chosen, files[title], neuron_steps)
        found = images_of.run(work, each(title, number, len(values)), workers, scheduler)
        rows.append({"step (us)": value, "accuracy": images_of.right(found["answer"])} | _means(found))
    study = Study("throughput", rows, files, ("step (us)",))
    study.write(folder)
    return study


def _means(found: Arrays) -> dict[str, Any]:
    """Columns of the table."""
    decided = found["decision"][~np.isnan(found["decision"])]
    return {
        "decision (us)": float(np.mean(decided)) / 1e6 if len(decided) else None,
        "images/s": 1e12 / float(np.mean(found["duration"])),
        "spikes": float(np.mean(found["spikes"])),
        "messages": float(np.mean(found["messages"])),
        "dropped": float(np.mean(found["dropped"])),
        "99 % wait (us)": float(np.mean(found["wait"])) / 1e6,
        "energy (uJ)": float(np.mean(found["energy"])) / 1e6,
    }


@dataclass(frozen=True)
class ClosedWork:
    """What closed runs of all images have in common; see :class:`eventsim.batch.work.AnyWork`.

    Attributes
    ----------
    architecture : Architecture
    network : bytes
        A network file.
    digest : str
        Of the network.
    settings : dict
        Of :meth:`eventsim.Hardware.run`.
    version, self_test : str
    """

    architecture: Architecture
    network: bytes
    digest: str
    settings: dict[str, Any]
    version: str
    self_test: str

    @property
    def parts(self) -> list[Any]:
        """What results depend on but the machine: JSON values."""
        return [self.version, self.digest, self.architecture.facts(), self.settings]

    @cached_property
    def key(self) -> str:
        """SHA-256 (hex) over everything that a result depends on."""
        return hashlib.sha256(json.dumps([*self.parts, self.self_test]).encode()).hexdigest()

    def worker(self) -> ClosedWorker:
        """What runs images."""
        return ClosedWorker(self)


class ClosedWorker:
    """A network on a chip, loaded and compiled for many images."""

    def __init__(self, work: ClosedWork):
        self.work = work
        self._network, self._hardware = network_of(work.network), Hardware(work.architecture)

    def run(self, first: int, images: Sequence[npt.NDArray[np.uint8]], progress: Callable[[int], None] | None = None) -> Arrays:
        """What is kept of each image: its answer (-1 without one), when it is there (picoseconds, or NaN), and what the run took."""
        settings: dict[str, Any] = {"record": "none"} | self.work.settings
        runs = [self._hardware.run(self._network, image, closed=True, progress=progress, **settings) for image in images]
        for number, (result, _) in enumerate(runs, first):
            refuse_stopped(number, result)
        return {
            "answer": np.array([-1 if result.decision is None else result.decision for result, _ in runs], np.int64),
            "decision": np.array([np.nan if report.decision is None else report.decision for _, report in runs], np.float64),
            "duration": np.array([report.duration for _, report in runs], np.int64),
            "spikes": np.array([result.total_spikes for result, _ in runs], np.int64),
            "messages": np.array([report.counts["message"] for _, report in runs], np.int64),
            "dropped": np.array([report.counts["dropped"] for _, report in runs], np.int64),
            "wait": np.array([report.waiting()["p99"] for _, report in runs], np.int64),
            "energy": np.array([report.total_energy for _, report in runs], np.float64),
        }

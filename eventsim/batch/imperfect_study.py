"""Studies on imperfect hardware: spikes that are lost or late, converters of crossbars. What is done is kept, image by image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
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
from eventsim.batch.pictures import Pictures, pictures_of
from eventsim.batch.study import Study, file_name, make_folder, titles_of
from eventsim.batch.work import bytes_of, network_of, refuse_stopped
from eventsim.data.image_sets import Dataset
from eventsim.errors import HardwareError, InputError, RunError
from eventsim.hardware.architecture import Architecture, CrossbarCore
from eventsim.hardware.faults import Faults
from eventsim.hardware.imperfect import Imperfect
from eventsim.hardware.reading import MAX_LEVELS, MAX_LINES
from eventsim.job.job import MODES
from eventsim.job.preparation import default_steps
from eventsim.job.recordings import steps_of_window
from eventsim.model.network import Network
from eventsim.simulate import Simulator

# One less than powers of two, so that one of the levels is zero.
LEVELS = (3, 7, 15, 31, 63, 127, 255)


@dataclass(frozen=True)
class ImperfectPoint:
    """One point of a sweep; see :class:`eventsim.hardware.imperfect.Imperfect`.

    Attributes
    ----------
    columns : dict
        What identifies it in the table.
    network : Network
    resolution : int
    architecture : Architecture or None
    faults : Faults
    seed : int
    """

    columns: dict[str, Any]
    network: Network
    resolution: int
    architecture: Architecture | None = None
    faults: Faults = field(default_factory=Faults)
    seed: int = 0


def converter_points(
    network: Network, architecture: Architecture, levels: Iterable[int] = LEVELS, rows: Iterable[int] = (), seeds: int = 1
) -> list[ImperfectPoint]:
    """Converters of so many levels, clocked and asynchronous.

    Parameters
    ----------
    network : Network
    architecture : Architecture
        Its cores are crossbars.
    levels : iterable of int
    rows : iterable of int
        Full scales, in rows. Default: that of the architecture.
    seeds : int
        So many sets of offsets, where the architecture has any.

    Raises
    ------
    HardwareError
        No crossbars, or numbers out of range.
    """
    core = architecture.core
    if not isinstance(core, CrossbarCore):
        raise HardwareError(f"{architecture.source}: its cores are of kind {core.kind!r}, and converters are a matter of crossbars")
    points = []
    levels = list(levels)
    for full_scale in list(rows) or [core.full_scale or core.rows]:
        for n in levels:
            if not 2 <= n <= MAX_LEVELS or not 1 <= full_scale <= MAX_LINES:
                raise HardwareError(
                    f"converters have 2..{MAX_LEVELS:,} levels for 1..{MAX_LINES:,} rows, found {n} levels for {full_scale} rows"
                )
            for seed in range(seeds if core.offset else 1):
                converters = replace(core, levels=n, full_scale=full_scale, offset_seed=core.offset_seed + seed)
                changed = replace(architecture, core=converters)
                columns = {"rows": full_scale, "levels": n, "bits": (n - 1).bit_length(), "seed": seed}
                points += [ImperfectPoint({"series": mode} | columns, network, ticks, changed) for mode, ticks in MODES.items()]
    return points


@dataclass(frozen=True)
class ImperfectWork:
    """What all images of a point have in common; see :class:`eventsim.batch.work.AnyWork`.

    Attributes
    ----------
    network : bytes
        A network file.
    digest : str
        Of the network.
    steps, resolution : int
    architecture : Architecture or None
    faults : Faults
    seed : int
    version, self_test : str
    """

    network: bytes
    digest: str
    steps: int
    resolution: int
    architecture: Architecture | None
    faults: Faults
    seed: int
    version: str
    self_test: str

    @property
    def parts(self) -> list[Any]:
        """What results depend on but the machine: JSON values."""
        chip = None if self.architecture is None else self.architecture.facts()
        return [self.version, self.digest, chip, asdict(self.faults), self.seed, self.resolution, self.steps]

    @cached_property
    def key(self) -> str:
        """SHA-256 (hex) over everything that a result depends on."""
        return hashlib.sha256(json.dumps([*self.parts, self.self_test]).encode()).hexdigest()

    def worker(self) -> ImperfectWorker:
        """What runs images."""
        return ImperfectWorker(self)


class ImperfectWorker:
    """A network with imperfect hardware beneath it, loaded and compiled for many images."""

    def __init__(self, work: ImperfectWork):
        self.work = work
        self._imperfect = Imperfect(network_of(work.network), work.architecture, work.faults, work.seed)

    def run(self, first: int, images: Sequence[npt.NDArray[np.uint8]], progress: Callable[[int], None] | None = None) -> Arrays:
        """What is kept of each image: its decision (-1 without one), its latency, and counts."""
        settings: dict[str, Any] = {"steps": self.work.steps, "resolution": self.work.resolution, "record": "none", "progress": progress}
        runs = [self._imperfect.run_and_count(image, **settings) for image in images]
        for number, (result, _) in enumerate(runs, first):
            refuse_stopped(number, result)
        return {
            "decision": np.array([-1 if result.decision is None else result.decision for result, _ in runs], np.int64),
            "latency": np.array([np.nan if r.decision_latency is None else r.decision_latency for r, _ in runs], np.float64),
            "spikes": np.array([result.total_spikes for result, _ in runs], np.int64),
            "events": np.array([result.total_synaptic_events for result, _ in runs], np.int64),
            "reads": np.array([counts["read"] for _, counts in runs], np.int64),
            "conversions": np.array([counts["conversion"] for _, counts in runs], np.int64),
        }


def run_points(
    name: str,
    points: Sequence[ImperfectPoint],
    data: Dataset,
    folder: Path,
    *,
    images: int | None = None,
    steps: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    each: Callable[[str, int, int], Callable[[int, int], None] | None] = lambda *_: None,
    **fitting: bool,
) -> Study:
    """Run every point on images; what is done is kept in the folder, and the same call goes on from there.

    Parameters
    ----------
    name : str
    points : sequence of ImperfectPoint
    data : Dataset
    folder : Path
        Holds a file a point, and the table.
    images : int, optional
        So many, spread evenly over the set. Default: all.
    steps : int, optional
        T. Default: what the network recommends.
    workers, scheduler
        See :func:`eventsim.evaluate`.
    each : callable, optional
        As for :func:`eventsim.batch.study.run_study`.
    **fitting
        ``invert`` and ``crop`` of :func:`eventsim.evaluate`.

    Raises
    ------
    RunError
        No points, or two that are alike; no images; the folder cannot be written, or holds another study; or as :func:`eventsim.evaluate`.
    InputError, HardwareError, PotentialOverflow
    """
    if not points:
        raise RunError("a study needs at least one value")
    if any(point.network.output is None for point in points):
        raise InputError("a study needs a network that has an output readout")
    titles = titles_of(point.columns for point in points)
    make_folder(folder)
    rows, files = [], {}
    for number, (point, title) in enumerate(zip(points, titles, strict=True), 1):
        files[title] = folder / f"{file_name(title)}.json"
        length = _steps(point, data) if steps is None else steps
        of = _images(point, data, pictures_of(point.network, data, **fitting), files[title], images, length)
        found = of.run(_work(point, length), each(title, number, len(points)), workers, scheduler)
        rows.append(point.columns | _means(found, of.right(found["decision"])))
    study = Study(name, rows, files, tuple(points[0].columns))
    study.write(folder)
    return study


def _images(point: ImperfectPoint, data: Dataset, pictures: Pictures, path: Path, images: int | None, steps: int) -> Images:
    """The images of a point."""
    net = point.network
    chosen = np.arange(len(data)) if images is None else spread(images, len(data))
    return Images(data, pictures, chosen, path, steps * sum(p.size for p in net.populations.values()))


def _work(point: ImperfectPoint, steps: int) -> ImperfectWork:
    net, here = point.network, (version("eventsim"), self_test.digest("reference"))
    return ImperfectWork(
        bytes_of(net), Simulator(net).digest(), steps, point.resolution, point.architecture, point.faults, point.seed, *here
    )


def _steps(point: ImperfectPoint, data: Dataset) -> int:
    """T where none is given."""
    return steps_of_window(point.network, data.reading.length) or default_steps(point.network)


def _means(found: Arrays, accuracy: float | None) -> dict[str, Any]:
    decided = found["latency"][~np.isnan(found["latency"])]
    return {
        "accuracy": accuracy,
        "decision latency": float(np.mean(decided)) if len(decided) else None,
        "spikes": float(np.mean(found["spikes"])),
        "synaptic events": float(np.mean(found["events"])),
        "reads": float(np.mean(found["reads"])),
        "conversions": float(np.mean(found["conversions"])),
    }

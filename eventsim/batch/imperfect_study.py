"""Studies on imperfect hardware: spikes that are lost or late, converters of crossbars. What is done is kept, image by image."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import Arrays
from eventsim.analysis.provenance import spread
from eventsim.batch import self_test
from eventsim.batch.evaluate import paying_processes
from eventsim.batch.executors.pieces import executor, results
from eventsim.batch.pictures import pictures_of
from eventsim.batch.study import Study, file_name, make_folder, title_of
from eventsim.batch.work import AnyWork, bytes_of, network_of
from eventsim.data.image_sets import Dataset
from eventsim.errors import HardwareError, InputError, RunError
from eventsim.files.atomic import write_text
from eventsim.hardware.architecture import Architecture, CrossbarCore
from eventsim.hardware.faults import Faults
from eventsim.hardware.imperfect import Imperfect
from eventsim.hardware.reading import MAX_LEVELS
from eventsim.job.job import MODES
from eventsim.job.preparation import default_steps
from eventsim.job.recordings import steps_of_window
from eventsim.model.network import Network
from eventsim.simulate import Simulator

# One less than powers of two, so that one of the levels is zero.
LEVELS = (3, 7, 15, 31, 63, 127, 255)
# Seconds after which what is done is written.
_KEEP_EVERY = 5.0
# How much longer than an ordinary run one event by event takes, about; images of a piece of work at most, and pieces for each process.
_SLOWER, _MOST_IMAGES, _PIECES = 16, 16, 4


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


class Image(NamedTuple):
    """What is kept of a run."""

    right: int  # 1 if the decision is the label, 0 if not; -1 without labels
    latency: float | None  # of the decision, in steps
    spikes: int
    events: int  # synaptic
    reads: int  # of crossbars
    conversions: int


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
            if not 2 <= n <= MAX_LEVELS or full_scale < 1:
                raise HardwareError(f"converters have 2..{MAX_LEVELS:,} levels for at least 1 row, found {n} levels for {full_scale} rows")
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

    @cached_property
    def key(self) -> str:
        """SHA-256 (hex) over everything that a result depends on."""
        chip = None if self.architecture is None else self.architecture.facts()
        parts = [self.version, self.digest, chip, asdict(self.faults), self.seed, self.resolution, self.steps, self.self_test]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

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
        return {
            "decision": np.array([-1 if result.decision is None else result.decision for result, _ in runs], np.int64),
            "latency": np.array([np.nan if r.decision_latency is None else r.decision_latency for r, _ in runs], np.float64),
            "spikes": np.array([result.total_spikes for result, _ in runs], np.int64),
            "events": np.array([result.counts.synaptic_events.sum() for result, _ in runs], np.int64),
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

    Raises
    ------
    RunError
        No points; the folder cannot be written, or holds another study; or as :func:`eventsim.evaluate`.
    InputError, HardwareError, PotentialOverflow
    """
    if not points:
        raise RunError("a study needs at least one value")
    make_folder(folder)
    rows, files = [], {}
    for number, point in enumerate(points, 1):
        title = title_of(point.columns)
        files[title] = folder / f"{file_name(title)}.json"
        done = _Point(point, data, files[title], images, steps).run(each(title, number, len(points)), workers, scheduler)
        rows.append(point.columns | _means(done))
    study = Study(name, rows, files)
    study.write(folder)
    return study


def in_order(
    work: AnyWork, pictures: Any, chosen: npt.NDArray[np.int64], first: int, neuron_steps: int, workers: int | None, scheduler: str | None
) -> Iterator[tuple[int, Arrays]]:
    """Run images event by event, in as many processes as pay; some at a time and in their order.

    Parameters
    ----------
    work : AnyWork
    pictures : Pictures
    chosen : int64 array
        Numbers of the images, of which those before place ``first`` are done.
    first : int
    neuron_steps : int
        What an image takes.
    workers, scheduler
        See :func:`eventsim.evaluate`.

    Yields
    ------
    begin : int
        The place of the first image in ``chosen``.
    arrays : Arrays
    """
    todo = len(chosen) - first
    processes = paying_processes(workers, todo, _SLOWER * todo * neuron_steps)
    size = 1 if processes == 1 and scheduler is None else max(1, min(_MOST_IMAGES, todo // (_PIECES * processes)))
    if processes > 1 and scheduler is None:
        # Compiled here, where it can be said, and once rather than in every worker.
        yield first, work.worker().run(first, [pictures[int(chosen[first])]])
        first += 1
    pieces = ((i, [pictures[int(k)] for k in chosen[i : i + size]]) for i in range(first, len(chosen), size))
    early: dict[int, Arrays] = {}
    with executor(work, processes, scheduler) as (pool, window), closing(results(pool, window, work, pieces)) as arriving:
        for begin, _, arrays in arriving:
            early[begin] = arrays
            while first in early:
                found = early.pop(first)
                yield first, found
                first += len(next(iter(found.values())))


class _Point:
    """A point on the images of a data set."""

    def __init__(self, point: ImperfectPoint, data: Dataset, path: Path, images: int | None, steps: int | None):
        net = point.network
        if net.output is None:
            raise InputError("a study needs a network that has an output readout")
        self.data, self.path = data, path
        self.pictures = pictures_of(net, data, False, False)
        self.chosen = np.arange(len(data)) if images is None else spread(images, len(data))
        if steps is None:
            steps = steps_of_window(net, data.reading.length) or default_steps(net)
        self.neuron_steps = steps * sum(p.size for p in net.populations.values())
        digest, here = Simulator(net).digest(), (version("eventsim"), self_test.digest("reference"))
        self.work = ImperfectWork(bytes_of(net), digest, steps, point.resolution, point.architecture, point.faults, point.seed, *here)

    def key(self) -> str:
        """The same for points of the same network, hardware, images and settings."""
        work, chip = self.work, self.work.architecture
        parts = (
            work.version,
            work.digest,
            None if chip is None else chip.facts(),
            asdict(work.faults),
            work.seed,
            work.resolution,
            work.steps,
            self.data.selection(self.chosen),
            *self.pictures.choices,
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def run(self, progress: Callable[[int, int], None] | None, workers: int | None, scheduler: str | None) -> list[Image]:
        """What is not done yet."""
        key = self.key()
        done, kept = self._read(key), time.monotonic()
        if progress is not None:
            progress(len(done), len(self.chosen))
        for images in self._pieces(len(done), workers, scheduler):
            done += images
            if progress is not None:
                progress(len(done), len(self.chosen))
            if time.monotonic() - kept > _KEEP_EVERY:
                self._write(key, done)
                kept = time.monotonic()
        self._write(key, done)
        return done

    def _pieces(self, first: int, workers: int | None, scheduler: str | None) -> Iterator[list[Image]]:
        """Images from one on, some at a time and in their order."""
        for begin, arrays in in_order(self.work, self.pictures, self.chosen, first, self.neuron_steps, workers, scheduler):
            yield self._images(begin, arrays)

    def _images(self, begin: int, arrays: Arrays) -> list[Image]:
        decision = arrays["decision"]
        right = np.full(len(decision), -1)
        if self.data.labels is not None:
            right = decision == self.data.labels[self.chosen[begin : begin + len(decision)]]
        latency = [None if np.isnan(value) else value for value in arrays["latency"].tolist()]
        columns = (arrays[name].tolist() for name in ("spikes", "events", "reads", "conversions"))
        return [Image(int(a), *rest) for a, *rest in zip(right.tolist(), latency, *columns, strict=True)]

    def _read(self, key: str) -> list[Image]:
        """What was done before; nothing where a file is damaged."""
        try:
            found = json.loads(self.path.read_bytes())
            done = [Image(*row) for row in found["images"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        if found["key"] != key:
            raise RunError(f"{self.path}: is of another study (of another network, hardware, images or settings); name another output")
        return done[: len(self.chosen)]

    def _write(self, key: str, done: list[Image]) -> None:
        try:
            write_text(self.path, json.dumps({"key": key, "images": done}))
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror})") from None


def _means(done: list[Image]) -> dict[str, Any]:
    latencies = [image.latency for image in done if image.latency is not None]

    def mean(name: str) -> float:
        return float(np.mean([getattr(image, name) for image in done]))

    return {
        "accuracy": None if done[0].right < 0 else mean("right"),
        "decision latency": float(np.mean(latencies)) if latencies else None,
        "spikes": mean("spikes"),
        "synaptic events": mean("events"),
        "reads": mean("reads"),
        "conversions": mean("conversions"),
    }

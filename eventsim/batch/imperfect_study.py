"""Studies on imperfect hardware: spikes that are lost or late, converters of crossbars. What is done is kept, image by image."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventsim.analysis.provenance import spread
from eventsim.batch.pictures import pictures_of
from eventsim.batch.study import Study, file_name, make_folder, title_of
from eventsim.data.image_sets import Dataset
from eventsim.errors import HardwareError, InputError, RunError
from eventsim.files.atomic import write_text
from eventsim.hardware.architecture import Architecture, CrossbarCore
from eventsim.hardware.faults import Faults
from eventsim.hardware.imperfect import Imperfect
from eventsim.hardware.reading import MAX_LEVELS
from eventsim.job.job import MODES
from eventsim.job.preparation import default_steps
from eventsim.model.network import Network

# One less than powers of two, so that one of the levels is zero.
LEVELS = (3, 7, 15, 31, 63, 127, 255)
# Seconds after which what is done is written.
_KEEP_EVERY = 5.0


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


def run_points(
    name: str,
    points: Sequence[ImperfectPoint],
    data: Dataset,
    folder: Path,
    *,
    images: int | None = None,
    steps: int | None = None,
    each: Callable[[str, int, int], Callable[[int, int], None] | None] = lambda *_: None,
) -> Study:
    """Run every point on images, one after the other; what is done is kept in the folder, and the same call goes on from there.

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
    each : callable, optional
        As for :func:`eventsim.batch.study.run_study`.

    Raises
    ------
    RunError
        No points; the folder cannot be written, or holds another study.
    InputError, HardwareError, PotentialOverflow
    """
    if not points:
        raise RunError("a study needs at least one value")
    make_folder(folder)
    rows, files = [], {}
    for number, point in enumerate(points, 1):
        title = title_of(point.columns)
        files[title] = folder / f"{file_name(title)}.json"
        done = _Point(point, data, files[title], images, steps).run(each(title, number, len(points)))
        rows.append(point.columns | _means(done))
    study = Study(name, rows, files)
    study.write(folder)
    return study


class _Point:
    """A point on the images of a data set."""

    def __init__(self, point: ImperfectPoint, data: Dataset, path: Path, images: int | None, steps: int | None):
        net = point.network
        if net.output is None:
            raise InputError("a study needs a network that has an output readout")
        self.point, self.data, self.path = point, data, path
        self.pictures = pictures_of(net, data, False, False)
        self.chosen = np.arange(len(data)) if images is None else spread(images, len(data))
        self.steps = default_steps(net) if steps is None else steps
        self.imperfect = Imperfect(net, point.architecture, point.faults, point.seed)

    def key(self) -> str:
        """The same for points of the same network, hardware, images and settings."""
        point, chip = self.point, self.point.architecture
        parts = (
            version("eventsim"),
            self.imperfect.digest(),
            None if chip is None else chip.facts(),
            asdict(point.faults),
            point.seed,
            point.resolution,
            self.steps,
            self.data.selection(self.chosen),
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def run(self, progress: Callable[[int, int], None] | None) -> list[Image]:
        """What is not done yet."""
        key = self.key()
        done, kept = self._read(key), time.monotonic()
        for number in self.chosen[len(done) :].tolist():
            if progress is not None:
                progress(len(done), len(self.chosen))
            done.append(self._image(number))
            if time.monotonic() - kept > _KEEP_EVERY:
                self._write(key, done)
                kept = time.monotonic()
        self._write(key, done)
        if progress is not None:
            progress(len(done), len(self.chosen))
        return done

    def _image(self, number: int) -> Image:
        result, counts = self.imperfect.run_and_count(
            self.pictures[number], steps=self.steps, resolution=self.point.resolution, record="none"
        )
        right = -1 if self.data.labels is None else int(result.decision == int(self.data.labels[number]))
        events = int(result.counts.synaptic_events.sum())
        return Image(right, result.decision_latency, result.total_spikes, events, counts["read"], counts["conversion"])

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

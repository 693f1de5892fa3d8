"""Runs many images of one network, in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import TOTALS, Arrays
from eventsim.analysis.thresholds import Exits
from eventsim.batch import self_test
from eventsim.batch.executors import local as processes
from eventsim.errors import RunError
from eventsim.model.exits import ExitKind, ExitRule, exit_kinds
from eventsim.model.netfile import load, save
from eventsim.model.network import Network
from eventsim.record.result import Result
from eventsim.record.runs import Runs
from eventsim.simulate import Simulator

if TYPE_CHECKING:
    from eventsim.hardware.architecture import Architecture
    from eventsim.hardware.report import Report

# What is kept of what an image takes on hardware (docs/evaluation-format.md): picoseconds, picojoules, messages.
_ON_HARDWARE: dict[str, Callable[[Report], Any]] = {
    "duration": lambda report: np.int64(report.duration),
    "decision": lambda report: np.int64(-1 if report.decision is None else report.decision),
    "energy": lambda report: np.float64(report.total_energy),
    "messages": lambda report: np.int64(report.counts["message"]),
    "dropped": lambda report: np.int64(report.counts["dropped"]),
    "p99_waiting": lambda report: np.int64(report.waiting()["p99"]),
}


class AnyWork(Protocol):
    """What all images have in common, however they are run."""

    @property
    def key(self) -> str:
        """SHA-256 (hex) over everything that a result depends on."""

    @property
    def version(self) -> str:
        """Of the eventsim that asks."""

    @property
    def self_test(self) -> str:
        """What :func:`eventsim.batch.self_test.digest` is there."""

    def worker(self) -> AnyWorker:
        """What runs images, loaded and compiled."""


class AnyWorker(Protocol):
    """Runs images of a work."""

    @property
    def work(self) -> AnyWork:
        """Which it runs."""

    def run(self, first: int, images: Sequence[npt.NDArray[np.uint8]], progress: Callable[[int], None] | None = None) -> Arrays:
        """Run images, numbered from ``first``; what is kept of them, one row an image.

        ``progress`` is called with the current tick now and then.
        """


@dataclass(frozen=True)
class Work:
    """What all images of an evaluation have in common.

    Attributes
    ----------
    network : bytes
        A network file.
    digest : str
        Of the network.
    steps, resolution, seed : int
    exit_rule : ExitRule or None
    trade_off : bool
        Record what exit rules of any threshold would have given.
    version : str
        Of the eventsim that asks.
    self_test : str
        What :func:`eventsim.batch.self_test.digest` is there.
    hardware : Architecture or None
        Record what each image takes there.
    """

    network: bytes
    digest: str
    steps: int
    resolution: int
    seed: int
    exit_rule: ExitRule | None
    trade_off: bool
    version: str
    self_test: str
    hardware: Architecture | None = None

    @cached_property
    def key(self) -> str:
        """SHA-256 (hex) over everything that a result depends on: two evaluations never take each other's workers."""
        rule = None if self.exit_rule is None else (self.exit_rule.kind, self.exit_rule.threshold)
        parts = [self.digest, self.steps, self.resolution, self.seed, rule, self.trade_off, self.version, self.self_test]
        if self.hardware is not None:
            # Whatever file it came from.
            parts.append(repr(replace(self.hardware, source="")))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def worker(self) -> Worker:
        """What runs images."""
        return Worker(self)


class Done(NamedTuple):
    """What a worker sends back.

    Attributes
    ----------
    arrays : dict of str to array
        One row an image.
    key : str
        Of the work that it took these from.
    version, self_test : str
        Of the worker's own eventsim.
    worker : str
        Host and process.
    """

    arrays: Arrays
    key: str
    version: str
    self_test: str
    worker: str


def refuse_stopped(number: int, result: Result) -> None:
    """Refuse a run that was ended by its number of spikes: it says nothing of an image.

    Raises
    ------
    RunError
    """
    if result.stopped:
        limit = result.info.settings["max_spikes"]
        raise RunError(f"image {number}: more than {limit:,} spikes in {result.duration:g} steps; is this network meant to fire so much?")


class Worker:
    """A network, loaded and compiled for many images."""

    def __init__(self, work: Work):
        self.simulator = Simulator(network_of(work.network))
        self.work = work
        # What holds compiled code is loaded when there is work; evaluations without hardware do without loading it.
        self._trajectories = import_module("eventsim.analysis.trajectory").Trajectories(self.simulator.network)
        self._hardware = None if work.hardware is None else import_module("eventsim.hardware.hardware").Hardware(work.hardware)

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of :meth:`Simulator.run`."""
        rule = {} if self.work.exit_rule is None else self.work.exit_rule.settings
        return {"steps": self.work.steps, "resolution": self.work.resolution, "seed": self.work.seed, **rule}

    def run(self, first: int, images: Sequence[npt.NDArray[np.uint8]], progress: Callable[[int], None] | None = None) -> Arrays:
        """Run images, numbered from ``first``; what is kept of them, one row an image (docs/evaluation-format.md).

        ``progress`` is called with the current tick now and then.
        """
        kinds, exits_need_spikes = self._kinds(), self._trajectories.needs_spikes(self.work.resolution)
        recorded: dict[str, Any] = {"record": self._trajectories.reads if kinds and exits_need_spikes else []}
        if self._hardware is not None:
            recorded = self._hardware.recorded
        exits: list[dict[ExitKind, Exits]] = []
        reports: list[Report] = []

        def look_at(number: int, result: Result) -> None:
            refuse_stopped(number, result)
            if kinds and exits_need_spikes:
                exits.append(self._trajectories.all_exits(result, kinds))
            if self._hardware is not None:
                reports.append(self._hardware.replay(self.simulator.network, result))

        runs = self.simulator.run_many(images, **recorded, first=first, each=look_at, progress=progress, **self.settings())
        kept = _rows(runs)
        if kinds and not exits_need_spikes:
            for kind, (rows, found) in self._trajectories.exits_of_steps(runs, kinds).items():
                kept |= {f"exits/{kind}/rows": rows} | {f"exits/{kind}/{column}": values for column, values in found._asdict().items()}
        else:
            for kind in kinds:
                kept[f"exits/{kind}/rows"] = np.array([len(found[kind].tick) for found in exits])
                for column in Exits._fields:
                    kept[f"exits/{kind}/{column}"] = np.concatenate([getattr(found[kind], column) for found in exits])
        if reports:
            kept |= {f"hardware/{name}": np.stack([value(report) for report in reports]) for name, value in _ON_HARDWARE.items()}
        return kept

    def _kinds(self) -> list[ExitKind]:
        if not self.work.trade_off or self.work.exit_rule is not None:
            return []
        output = self.simulator.network.populations[self.simulator.network.output or ""]
        return exit_kinds(math.prod(output.shape))


def _rows(runs: Runs) -> Arrays:
    counts = [result.counts for result in runs]
    rows: Arrays = {
        "decision_tick": np.array([c.decision_tick or 0 for c in counts], np.int64),
        "end_tick": np.array([c.end_tick for c in counts], np.int64),
        "exited": runs.exited.astype(np.int8),
        "first_tick": np.stack([c.first_tick for c in counts]),
        # A run that stopped early keeps its last state; nothing more happens.
        "readout": runs.readout.astype(np.int32),
        "prediction": runs.decision_over_time().astype(np.int32),
        "spikes": runs.counted("spikes"),
        "negative_spikes": runs.counted("negative_spikes").sum(1),
        "synaptic_events": runs.counted("synaptic_events"),
        "encoded": np.array([[e.effective for e in result.info.encoders] for result in runs], np.int64),
    }
    return rows | {name: runs.counted(name).sum(1) for name in TOTALS}


def bytes_of(network: Network) -> bytes:
    """A network as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.h5"
        save(network, path)
        return path.read_bytes()


def network_of(content: bytes) -> Network:
    """The network of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.h5"
        path.write_bytes(content)
        return load(path)


# By key, with the number of evaluations that need it: several may use one process at a time, as threads or on one Dask cluster.
works_here: dict[str, tuple[AnyWork, int]] = {}
_workers: dict[str, AnyWorker] = {}
_MOST_WORKERS = 2
# A simulator runs one image at a time.
_one_at_a_time = threading.Lock()
_registering = threading.Lock()


def register(work: AnyWork) -> None:
    """Make this process ready for :func:`run_images` of this work."""
    with _registering:
        works_here[work.key] = work, works_here.get(work.key, (work, 0))[1] + 1


def forget(key: str) -> None:
    """What :func:`register` has made ready is not needed any more by one of those who asked for it."""
    with _registering:
        work, users = works_here.pop(key)
        if users > 1:
            works_here[key] = work, users - 1
        else:
            _workers.pop(key, None)


def run_images(key: str, first: int, images: Sequence[npt.NDArray[np.uint8]]) -> Done:
    """Run images in a process that was made ready by :func:`register` for the work of this key.

    Raises
    ------
    RunError
        Nobody waits for it any more: :func:`forget`, or a worker process that is to stop.
    """

    def wanted(tick: int = 0) -> None:
        processes.check()
        if key not in works_here:
            raise RunError(f"the evaluation {key[:12]} was given up")

    with _one_at_a_time:
        wanted()
        if key not in _workers:
            work, _ = works_here[key]
            while len(_workers) >= _MOST_WORKERS:
                _workers.pop(next(iter(_workers)))
            _workers[key] = work.worker()
        worker = _workers[key]
        arrays = worker.run(first, images, wanted)
        return Done(arrays, worker.work.key, version("eventsim"), self_test.digest(), f"{socket.gethostname()}, process {os.getpid()}")

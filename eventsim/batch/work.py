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
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import TOTALS, Arrays
from eventsim.analysis.trajectory import Exits, Trajectories
from eventsim.batch import self_test
from eventsim.batch.executors import local as processes
from eventsim.errors import EventsimError, RunError
from eventsim.model.exits import ExitKind, ExitRule, exit_kinds
from eventsim.model.netfile import load
from eventsim.record.result import Result
from eventsim.simulate import Simulator


@dataclass(frozen=True)
class Work:
    """What all images have in common.

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

    @cached_property
    def key(self) -> str:
        """SHA-256 (hex) over everything that a result depends on: two evaluations never take each other's workers."""
        rule = None if self.exit_rule is None else (self.exit_rule.kind, self.exit_rule.threshold)
        parts = (self.digest, self.steps, self.resolution, self.seed, rule, self.trade_off, self.version, self.self_test)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


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


class Worker:
    """A network, loaded and compiled for many images."""

    def __init__(self, work: Work):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.h5"
            path.write_bytes(work.network)
            self.simulator = Simulator(load(path))
        self.work = work
        self._trajectories = Trajectories(self.simulator.network)

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of :meth:`Simulator.run`."""
        rule = {} if self.work.exit_rule is None else self.work.exit_rule.settings
        return {"steps": self.work.steps, "resolution": self.work.resolution, "seed": self.work.seed, **rule}

    def run(self, first: int, images: Sequence[npt.NDArray[np.uint8]], progress: Callable[[int], None] | None = None) -> Arrays:
        """Run images, numbered from ``first``; what is kept of them, one row an image (docs/evaluation-format.md).

        ``progress`` is called with the current tick now and then.
        """
        rows: list[Arrays] = []
        exits: dict[ExitKind, list[Exits]] = {kind: [] for kind in self._kinds()}
        record: Literal["all", "none"] = "all" if exits and self._trajectories.needs_spikes(self.work.resolution) else "none"
        for number, image in enumerate(images, first):
            try:
                result = self.simulator.run(image, record=record, progress=progress, **self.settings())
                if result.stopped:
                    limit = result.info.settings["max_spikes"]
                    raise RunError(f"more than {limit:,} spikes in {result.duration:g} steps; is this network meant to fire so much?")
                if exits:
                    for kind, found in self._trajectories.all_exits(result, list(exits)).items():
                        exits[kind].append(found)
            except EventsimError as error:
                raise type(error)(f"image {number}: {error}") from None
            rows.append(_row(result))
        kept = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        for kind, of_images in exits.items():
            kept[f"exits/{kind}/rows"] = np.array([len(e.tick) for e in of_images])
            for column in Exits._fields:
                kept[f"exits/{kind}/{column}"] = np.concatenate([getattr(e, column) for e in of_images])
        return kept

    def _kinds(self) -> list[ExitKind]:
        if not self.work.trade_off or self.work.exit_rule is not None:
            return []
        output = self.simulator.network.populations[self.simulator.network.output or ""]
        return exit_kinds(math.prod(output.shape))


def _row(result: Result) -> Arrays:
    counts, steps = result.counts, result.info.steps
    readout = result.readout
    assert readout is not None
    missing = steps - len(readout)
    decision = result.decision_over_time()
    if missing:
        # A run that stopped early keeps its last state; nothing more happens.
        decision, readout = np.pad(decision, (0, missing), "edge"), np.pad(readout, ((0, missing), (0, 0)), "edge")

    def whole(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.pad(values, ((0, missing), (0, 0))) if missing else values

    row: Arrays = {
        "decision_tick": np.asarray(counts.decision_tick or 0, np.int64),
        "end_tick": np.asarray(counts.end_tick, np.int64),
        "exited": np.asarray(counts.exited, np.int8),
        "first_tick": counts.first_tick,
        "readout": readout.astype(np.int32),
        "prediction": decision.astype(np.int32),
        "spikes": whole(counts.spikes),
        "negative_spikes": counts.negative_spikes.sum(0),
        "synaptic_events": whole(counts.synaptic_events),
        "encoded": np.array([e.effective for e in result.info.encoders], np.int64),
    }
    return row | {name: getattr(counts, name).sum(0) for name in TOTALS}


# By key, with the number of evaluations that need it: several may use one process at a time, as threads or on one Dask cluster.
works_here: dict[str, tuple[Work, int]] = {}
_workers: dict[str, Worker] = {}
_MOST_WORKERS = 2
# A simulator runs one image at a time.
_one_at_a_time = threading.Lock()
_registering = threading.Lock()


def register(work: Work) -> None:
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
            _workers[key] = Worker(work)
        worker = _workers[key]
        arrays = worker.run(first, images, wanted)
        return Done(arrays, worker.work.key, version("eventsim"), self_test.digest(), f"{socket.gethostname()}, process {os.getpid()}")

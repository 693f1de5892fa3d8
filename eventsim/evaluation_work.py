"""Runs many images of one network, in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eventsim import processes, self_test
from eventsim.errors import EventsimError, RunError
from eventsim.interrupt import DeferredInterrupt
from eventsim.job import OPERATIONS
from eventsim.netfile import load
from eventsim.result import Result
from eventsim.simulate import Simulator
from eventsim.trajectory import EXIT_KINDS, Exits, Trajectories

Arrays = dict[str, npt.NDArray[Any]]
# Operations kept per image; synaptic events are kept per step too.
TOTALS = tuple(name for name in OPERATIONS if name != "synaptic_events")


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
    exit_rule : (str, int) or None
        Kind and threshold.
    trade_off : bool
        Record what exit rules of any threshold would have given.
    version : str
        Of the eventsim that asks.
    self_test : str
        What :func:`eventsim.self_test.digest` is there.
    """

    network: bytes
    digest: str
    steps: int
    resolution: int
    seed: int
    exit_rule: tuple[str, int] | None
    trade_off: bool
    version: str
    self_test: str

    @cached_property
    def key(self) -> str:
        """SHA-256 (hex) over everything that a result depends on: two evaluations never take each other's workers."""
        parts = (self.digest, self.steps, self.resolution, self.seed, self.exit_rule, self.trade_off, self.version, self.self_test)
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
        rule = {} if self.work.exit_rule is None else {f"exit_{self.work.exit_rule[0]}": self.work.exit_rule[1]}
        return {"steps": self.work.steps, "resolution": self.work.resolution, "seed": self.work.seed, **rule}

    def run(self, first: int, images: Sequence[npt.NDArray[np.uint8]], progress: Callable[[int], None] | None = None) -> Arrays:
        """Run images, numbered from ``first``; what is kept of them, one row an image (docs/evaluation-format.md).

        ``progress`` is called with the current tick now and then.
        """
        rows: list[Arrays] = []
        exits: dict[str, list[Exits]] = {kind: [] for kind in self._kinds()}
        for number, image in enumerate(images, first):
            try:
                result = self.simulator.run(image, record="all" if exits else "none", progress=progress, **self.settings())
                if result.stopped:
                    limit = result.info.settings["max_spikes"]
                    raise RunError(f"more than {limit:,} spikes in {result.duration:g} steps; is this network meant to fire so much?")
                for kind, found in exits.items():
                    found.append(self._trajectories.exits(result, kind))  # type: ignore[arg-type]
            except EventsimError as error:
                raise type(error)(f"image {number}: {error}") from None
            rows.append(_row(result))
        kept = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        for kind, found in exits.items():
            kept[f"exits/{kind}/rows"] = np.array([len(e.tick) for e in found])
            for column in Exits._fields:
                kept[f"exits/{kind}/{column}"] = np.concatenate([getattr(e, column) for e in found])
        return kept

    def _kinds(self) -> list[str]:
        if not self.work.trade_off or self.work.exit_rule is not None:
            return []
        output = self.simulator.network.populations[self.simulator.network.output or ""]
        return [kind for kind in EXIT_KINDS if kind != "margin" or np.prod(output.shape) > 1]


def _row(result: Result) -> Arrays:
    counts, steps = result.counts, result.info.steps
    readout = result.readout
    assert readout is not None
    missing = steps - len(readout)
    decision = np.pad(result.decision_over_time(), (0, missing), "edge")
    # A run that stopped early keeps its last state; nothing more happens.
    readout = np.pad(readout, ((0, missing), (0, 0)), "edge")

    def whole(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.pad(values, ((0, missing), (0, 0)))

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
_works: dict[str, tuple[Work, int]] = {}
_workers: dict[str, Worker] = {}
_MOST_WORKERS = 2
# A simulator runs one image at a time.
_one_at_a_time = threading.Lock()
_registering = threading.Lock()


def register(work: Work) -> None:
    """Make this process ready for :func:`run_images` of this work."""
    with _registering:
        _works[work.key] = work, _works.get(work.key, (work, 0))[1] + 1


def forget(key: str) -> None:
    """What :func:`register` has made ready is not needed any more by one of those who asked for it."""
    with _registering:
        work, users = _works.pop(key)
        if users > 1:
            _works[key] = work, users - 1
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
        if key not in _works:
            raise RunError(f"the evaluation {key[:12]} was given up")

    with _one_at_a_time:
        wanted()
        if key not in _workers:
            work, _ = _works[key]
            while len(_workers) >= _MOST_WORKERS:
                _workers.pop(next(iter(_workers)))
            _workers[key] = Worker(work)
        worker = _workers[key]
        arrays = worker.run(first, images, wanted)
        return Done(arrays, worker.work.key, version("eventsim"), self_test.digest(), f"{socket.gethostname()}, process {os.getpid()}")


def _checked(work: Work, done: Any) -> Arrays:
    """The arrays, if they are what was asked for and come from the same eventsim.

    Raises
    ------
    RunError
        They are not.
    """
    if not isinstance(done, Done):
        raise RunError(f"a worker runs an older eventsim; all workers need eventsim {work.version}")
    if done.version != work.version:
        raise RunError(f"the worker {done.worker} runs eventsim {done.version}, this is {work.version}; install the same on all workers")
    if done.self_test != work.self_test:
        raise RunError(
            f"the worker {done.worker} gives another result for a small test run ({done.self_test[:12]}, here {work.self_test[:12]}), "
            f"though it says that it is eventsim {done.version} too; install the same there"
        )
    if done.key != work.key:
        raise RunError(f"the worker {done.worker} sent results of another evaluation ({done.key[:12]}, asked for {work.key[:12]})")
    return done.arrays


class _Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def _local(work: Work, workers: int) -> Iterator[tuple[Executor, int]]:
    if workers == 1 or not processes.possible():
        register(work)
        try:
            yield _Here(), 1
        finally:
            forget(work.key)
        return
    with processes.pool(workers, "the same command goes on from what is done", register, work) as pool:
        yield pool, 2 * workers


def executor(work: Work, workers: int, scheduler: str | None) -> AbstractContextManager[tuple[Executor, int]]:
    """Where the images run, and how many pieces of work to have there at a time.

    Raises
    ------
    RunError
        The Dask scheduler cannot be reached, or Dask is not installed.
    """
    if scheduler is None:
        return _local(work, workers)
    try:
        from eventsim.cluster import cluster
    except ImportError:
        raise RunError("a scheduler needs Dask; install eventsim[dask]") from None
    return cluster(work, scheduler)


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def results(
    pool: Executor, window: int, work: Work, pieces: Iterable[tuple[int, Sequence[npt.NDArray[np.uint8]]]]
) -> Generator[tuple[int, int, Arrays], None, None]:
    """(first image, images, what was kept) of each piece, as they come; at most ``window`` pieces are under way.

    Raises
    ------
    RunError
        A worker runs another eventsim.
    """
    pending: dict[Future[Done], tuple[int, int]] = {}

    def arrived(interrupt: DeferredInterrupt) -> Iterator[tuple[int, int, Arrays]]:
        for future in interrupt.wait_for_one(pending):
            first, number = pending.pop(future)
            yield first, number, _checked(work, future.result())
            interrupt.check()

    # What runs in this process may be interrupted at once.
    with DeferredInterrupt(not isinstance(pool, _Here)) as interrupt:
        for first, images in pieces:
            pending[pool.submit(run_images, work.key, first, images)] = (first, len(images))
            while len(pending) >= window:
                yield from arrived(interrupt)
        while pending:
            yield from arrived(interrupt)

"""Runs many images of one network, in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
    """

    network: bytes
    digest: str
    steps: int
    resolution: int
    seed: int = 0
    exit_rule: tuple[str, int] | None = None
    trade_off: bool = True


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

    def run(self, first: int, images: Sequence[npt.NDArray[np.uint8]]) -> Arrays:
        """Run images, numbered from ``first``; what is kept of them, one row an image (docs/evaluation-format.md)."""
        rows: list[Arrays] = []
        exits: dict[str, list[Exits]] = {kind: [] for kind in self._kinds()}
        for number, image in enumerate(images, first):
            try:
                result = self.simulator.run(image, record="all" if exits else "none", **self.settings())
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
        "prediction": readout.argmax(1).astype(np.int32),
        "spikes": whole(counts.spikes),
        "negative_spikes": counts.negative_spikes.sum(0),
        "synaptic_events": whole(counts.synaptic_events),
        "encoded": np.array([e.effective for e in result.info.encoders], np.int64),
    }
    return row | {name: getattr(counts, name).sum(0) for name in TOTALS}


_work: dict[str, Work] = {}
_workers: dict[str, Worker] = {}
# A Dask worker may run several tasks in threads of one process; a simulator runs one image at a time.
_one_at_a_time = threading.Lock()


def register(work: Work) -> None:
    """Make this process ready for :func:`run_images` of this work."""
    _work[work.digest] = work


def _start(work: Work) -> None:
    # Ctrl-C is for the parent, which then stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    register(work)


def run_images(digest: str, first: int, images: Sequence[npt.NDArray[np.uint8]]) -> Arrays:
    """Run images in a process that was made ready by :func:`register`."""
    with _one_at_a_time:
        work = _work[digest]
        if digest not in _workers or _workers[digest].work != work:
            _workers.clear()
            _workers[digest] = Worker(work)
        return _workers[digest].run(first, images)


class _Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def _local(work: Work, workers: int) -> Iterator[tuple[Executor, int]]:
    if workers == 1:
        register(work)
        yield _Here(), 1
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(work,)) as pool:
        try:
            yield pool, 2 * workers
        except BrokenProcessPool:
            raise RunError("a worker process died (out of memory?); the same command goes on from what is done") from None
        finally:
            pool.shutdown(cancel_futures=True)


def executor(work: Work, workers: int | None, scheduler: str | None) -> AbstractContextManager[tuple[Executor, int]]:
    """Where the images run, and how many pieces of work to have there at a time.

    Raises
    ------
    RunError
        The Dask scheduler cannot be reached, or Dask is not installed.
    """
    if scheduler is None:
        return _local(work, workers or available_processors())
    try:
        from eventsim.cluster import cluster
    except ImportError:
        raise RunError("a scheduler needs Dask; install eventsim[dask]") from None
    return cluster(work, scheduler)


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def results(
    pool: Executor, window: int, digest: str, pieces: Iterable[tuple[int, Sequence[npt.NDArray[np.uint8]]]]
) -> Generator[tuple[int, int, Arrays], None, None]:
    """(first image, images, what was kept) of each piece, as they come; at most ``window`` pieces are under way."""
    pending: dict[Future[Arrays], tuple[int, int]] = {}
    # What runs in this process may be interrupted at once.
    with DeferredInterrupt(not isinstance(pool, _Here)) as interrupt:
        for first, images in pieces:
            pending[pool.submit(run_images, digest, first, images)] = (first, len(images))
            while len(pending) >= window:
                for future in interrupt.wait_for_one(pending):
                    yield *pending.pop(future), future.result()
        while pending:
            for future in interrupt.wait_for_one(pending):
                yield *pending.pop(future), future.result()

"""Where images run: in this process, in processes of this machine, or on a Dask cluster; what comes back is checked."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import Arrays
from eventsim.batch.executors import local as processes
from eventsim.batch.work import AnyWork, Done, forget, register, run_images
from eventsim.errors import RunError
from eventsim.kernels.interrupt import DeferredInterrupt


def _checked(work: AnyWork, done: Any) -> Arrays:
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


class Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def _local(work: AnyWork, workers: int) -> Iterator[tuple[Executor, int]]:
    if workers == 1 or not processes.possible():
        register(work)
        try:
            yield Here(), 1
        finally:
            forget(work.key)
        return
    with processes.pool(workers, "the same command goes on from what is done", register, work) as pool:
        yield pool, 2 * workers


def executor(work: AnyWork, workers: int, scheduler: str | None) -> AbstractContextManager[tuple[Executor, int]]:
    """Where the images run, and how many pieces of work to have there at a time.

    Raises
    ------
    RunError
        The Dask scheduler cannot be reached, or Dask is not installed.
    """
    if scheduler is None:
        return _local(work, workers)
    try:
        from eventsim.batch.executors.dask import cluster
    except ImportError:
        raise RunError("a scheduler needs Dask; install eventsim[dask]") from None
    return cluster(work, scheduler)


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def results(
    pool: Executor, window: int, work: AnyWork, pieces: Iterable[tuple[int, Sequence[npt.NDArray[np.uint8]]]]
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
    with DeferredInterrupt(not isinstance(pool, Here)) as interrupt:
        for first, images in pieces:
            pending[pool.submit(run_images, work.key, first, images)] = (first, len(images))
            while len(pending) >= window:
                yield from arrived(interrupt)
        while pending:
            yield from arrived(interrupt)

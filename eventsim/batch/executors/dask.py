"""Evaluation on an existing Dask cluster. Needs ``eventsim[dask]``; the cluster's workers need eventsim too."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from typing import Any

from distributed import Client, KilledWorker, WorkerPlugin

from eventsim.batch.work import AnyWork, forget, register
from eventsim.errors import EventsimError, RunError

TIMEOUT = "10s"
# Who tells, with tracebacks, what a lost connection means to the client.
_TALKATIVE = ("distributed.client", "distributed.batched", "distributed.comm", "distributed.core", "distributed.utils")


class _Ready(WorkerPlugin):
    """Makes each worker ready, those that join later too."""

    def __init__(self, work: AnyWork):
        self._work = work
        # A name of its own: the same evaluation may run twice at a time, and each removes what it has registered.
        self.name = f"eventsim-{work.key}-{uuid.uuid4()}"

    def setup(self, worker: Any) -> None:
        register(self._work)

    def teardown(self, worker: Any) -> None:
        forget(self._work.key)


@contextmanager
def cluster(work: AnyWork, scheduler: str) -> Iterator[tuple[Executor, int]]:
    """An executor on the cluster of a scheduler (``tcp://host:port``), and the pieces of work to have there at a time.

    Raises
    ------
    RunError
        It cannot be reached, has no workers, is lost, or one piece of work has killed several workers.
    """
    with _quiet():
        yield from _cluster(work, scheduler)


@contextmanager
def _quiet() -> Iterator[None]:
    """What is lost is said in one line."""

    def other(record: logging.LogRecord) -> bool:
        return not record.name.startswith(_TALKATIVE)

    names = ["distributed", *(name for name in logging.root.manager.loggerDict if name.startswith("distributed."))]
    handlers = [handler for name in names for handler in logging.getLogger(name).handlers]
    for handler in handlers:
        handler.addFilter(other)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(other)


def _cluster(work: AnyWork, scheduler: str) -> Iterator[tuple[Executor, int]]:
    try:
        client = Client(scheduler, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise RunError(f"{scheduler}: no Dask scheduler answers ({error})") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise RunError(f"{scheduler}: the scheduler has no workers; start some with `dask worker {scheduler}`")
        plugin = _Ready(work)
        client.register_plugin(plugin)
        pool = client.get_executor(pure=False)
        try:
            yield pool, 4 * threads
        except KilledWorker as error:
            raise RunError(f"a piece of work killed several workers of the cluster ({error})") from None
        except Exception as error:
            # What is under way when the connection is lost is cancelled; nobody else does that.
            lost = isinstance(error, CancelledError) or client.status not in ("running", "connecting")
            if isinstance(error, EventsimError) or not lost:
                raise
            raise RunError(f"{scheduler}: the Dask scheduler is gone; once it is back, the same command goes on") from None
        finally:
            # Where the scheduler is gone, so are the pieces and the plugin: the client, closed by then, refuses to say so.
            with contextlib.suppress(Exception):
                pool.shutdown(wait=False)
            with contextlib.suppress(Exception):
                client.unregister_worker_plugin(plugin.name)

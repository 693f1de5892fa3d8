"""Evaluation on an existing Dask cluster. Needs ``eventsim[dask]``; the cluster's workers need eventsim too."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from distributed import Client, KilledWorker, WorkerPlugin

from eventsim.errors import RunError
from eventsim.evaluation_work import Work, forget, register

_TIMEOUT = "10s"


class _Ready(WorkerPlugin):
    """Makes each worker ready, those that join later too."""

    def __init__(self, work: Work):
        self._work = work
        # A name of its own: the same evaluation may run twice at a time, and each removes what it has registered.
        self.name = f"eventsim-{work.key}-{uuid.uuid4()}"

    def setup(self, worker: Any) -> None:
        register(self._work)

    def teardown(self, worker: Any) -> None:
        forget(self._work.key)


@contextmanager
def cluster(work: Work, scheduler: str) -> Iterator[tuple[Executor, int]]:
    """An executor on the cluster of a scheduler (``tcp://host:port``), and the pieces of work to have there at a time.

    Raises
    ------
    RunError
        It cannot be reached, has no workers, or one piece of work has killed several workers.
    """
    try:
        client = Client(scheduler, timeout=_TIMEOUT, set_as_default=False)
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
        finally:
            pool.shutdown(wait=False)
            # Where the scheduler is gone, so is the plugin.
            with contextlib.suppress(Exception):
                client.unregister_worker_plugin(plugin.name)

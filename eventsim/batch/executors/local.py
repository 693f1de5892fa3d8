"""Processes of this machine that work for this one: they stop when they are told to, and end when it is gone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any

from eventsim.errors import RunError

# Seconds that a worker has to come to its next check once its parent is gone.
_GRACE = 5.0
# Of a worker; never set in other processes.
_stop = threading.Event()
_failed: BaseException | None = None
_busy = threading.Lock()
_hiding = threading.Lock()


class _Process(SpawnProcess):
    """A spawned process that does not run the user's script again: it needs no ``if __name__ == "__main__"``, nor be a file."""

    def start(self) -> None:
        # What a new process prepares itself with is read off sys.modules; functions of ours are found without.
        with _hiding:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class _Context(SpawnContext):
    def __init__(self) -> None:
        super().__init__()
        self.started: list[_Process] = []

    def Process(self, *args: Any, **kwargs: Any) -> _Process:  # type: ignore[override]
        self.started.append(_Process(*args, **kwargs))
        return self.started[-1]


class Pool(ProcessPoolExecutor):
    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_work, function, args, kwargs)


def possible() -> bool:
    """Whether this process may have others: daemons of multiprocessing may not."""
    return not multiprocessing.current_process().daemon


@contextlib.contextmanager
def pool(workers: int, advice: str, start: Callable[..., None], *args: Any) -> Iterator[ProcessPoolExecutor]:
    """An executor of so many processes, each made ready by ``start(*args)``.

    What they still do when the block is left is stopped at its next :func:`check`, and at once if waiting for that is interrupted.

    Raises
    ------
    RunError
        A process died; ``advice`` says what to do then.
    """
    reader, writer = multiprocessing.Pipe(duplex=False)
    context = _Context()
    with reader, writer, Pool(workers, context, _start, (reader, start, args)) as executor:
        try:
            yield executor
        except BrokenProcessPool:
            raise RunError(f"a worker process died (killed, or out of memory?); {advice}") from None
        finally:
            # Nobody takes it out, so that all see it.
            writer.send_bytes(b"stop")
            try:
                executor.shutdown(cancel_futures=True)
            except KeyboardInterrupt:
                for process in context.started:
                    if process.pid is not None:
                        process.kill()
                raise


def check(tick: int = 0) -> None:
    """Raise an error in a worker process that is to stop; may be the progress of a run."""
    if _stop.is_set():
        raise RunError("a worker process was told to end; run the same again")


def _work(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with _busy:
        check()
        if _failed is not None:
            raise _failed
        return function(*args, **kwargs)


def _start(told: Connection, start: Callable[..., None], args: tuple[Any, ...]) -> None:
    # Ctrl-C is for the parent, which then stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_end, daemon=True).start())
    threading.Thread(target=_watch, args=(told,), daemon=True).start()
    global _failed
    try:
        start(*args)
    except Exception as error:
        # An executor prints a traceback and says nothing of the reason; the first piece of work brings it home.
        _failed = error


def _watch(told: Connection) -> None:
    """Stop what runs here when the parent says so, and end when it is gone, however that came."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([told, parent.sentinel])
    _stop.set()
    wait([parent.sentinel])
    _end()


def _end() -> None:
    _stop.set()
    # Time to clean up.
    _busy.acquire(timeout=_GRACE)
    os._exit(1)

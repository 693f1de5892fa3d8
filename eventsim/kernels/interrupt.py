"""Ctrl-C, and SIGTERM of a command, that is never lost.

A KeyboardInterrupt that strikes inside a weakref callback or a destructor is printed and forgotten, and h5py has many of
both: without this module about one Ctrl-C in three during a traced run had no effect. One that strikes while LLVM calls back makes the
compilation fail with another error. One that strikes while a future is waited for may leave its lock taken, and the executor waits for
that lock for ever when it is shut down.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# Seconds until Ctrl-C is noticed while futures are waited for.
_PATIENCE = 0.2


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


@contextmanager
def terminable() -> Iterator[None]:
    """In the block, SIGTERM raises :class:`Terminated`, if nobody handles it otherwise."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# What strikes where it is not deferred.
_HANDLERS: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: _terminate,
}


class DeferredInterrupt:
    """Context manager that turns Ctrl-C into a KeyboardInterrupt at the next :meth:`check`, at the latest on leaving.

    :func:`check_all` is one for all such blocks. So it does with SIGTERM where that is :func:`terminable`. A second Ctrl-C strikes at
    once. Does nothing if not ``wanted``, outside the main thread, or if the program handles the signal itself.
    """

    def __init__(self, wanted: bool = True) -> None:
        self._wanted = wanted
        self._requested: int | None = None
        self._active: list[signal.Signals] = []

    def __enter__(self) -> DeferredInterrupt:
        if self._wanted and threading.current_thread() is threading.main_thread():
            self._active = [number for number, handler in _HANDLERS.items() if signal.getsignal(number) is handler]
            for number in self._active:
                signal.signal(number, self._request)
            if self._active:
                _deferring.append(self)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested is not None:
            _HANDLERS[signal.Signals(number)](number, frame)
        self._requested = number

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._requested is not None:
            raise Terminated if self._requested == signal.SIGTERM else KeyboardInterrupt

    def wait_for_one(self, futures: Iterable[Future[Any]]) -> set[Future[Any]]:
        """Those that are done, at least one; raises KeyboardInterrupt if Ctrl-C was pressed."""
        while True:
            done = wait(futures, _PATIENCE, FIRST_COMPLETED).done
            self.check()
            if done:
                return done

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number in self._active:
            signal.signal(number, _HANDLERS[number])
        if self._active:
            _deferring.remove(self)
        if kind is None:
            self.check()


# Those whose blocks are entered, by the main thread.
_deferring: list[DeferredInterrupt] = []


def check_all() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed and is deferred, for what knows nothing of the block that it is in."""
    if threading.current_thread() is threading.main_thread():
        for interrupt in _deferring:
            interrupt.check()

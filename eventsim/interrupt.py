"""Ctrl-C that is never lost.

A KeyboardInterrupt that strikes inside a weakref callback or a destructor is printed and forgotten, and h5py has many of
both: without this module about one Ctrl-C in three during a traced run had no effect. One that strikes while a future is waited for
may leave its lock taken, and the executor waits for that lock for ever when it is shut down.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import FrameType, TracebackType
from typing import Any

from eventsim.job import Recorder
from eventsim.tables import IntArray

# Seconds until Ctrl-C is noticed while futures are waited for.
_PATIENCE = 0.2


class DeferredInterrupt:
    """Context manager that turns Ctrl-C into a KeyboardInterrupt at the next :meth:`check`, at the latest on leaving.

    A second Ctrl-C strikes at once. Does nothing if not ``wanted``, outside the main thread, or if the program handles SIGINT itself.
    """

    def __init__(self, wanted: bool = True) -> None:
        self._wanted = wanted
        self._requested = False
        self._active = False

    def __enter__(self) -> DeferredInterrupt:
        in_main = threading.current_thread() is threading.main_thread()
        if self._wanted and in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._request)
            self._active = True
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            signal.default_int_handler(number, frame)
        self._requested = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._requested:
            raise KeyboardInterrupt

    def wait_for_one(self, futures: Iterable[Future[Any]]) -> set[Future[Any]]:
        """Those that are done, at least one; raises KeyboardInterrupt if Ctrl-C was pressed."""
        while True:
            done = wait(futures, _PATIENCE, FIRST_COMPLETED).done
            self.check()
            if done:
                return done

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._active:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if kind is None:
            self.check()


class InterruptibleRecorder:
    """A recorder at which an engine notices Ctrl-C: every engine asks ``wants`` again and again."""

    def __init__(self, recorder: Recorder, interrupt: DeferredInterrupt):
        self._recorder = recorder
        self._interrupt = interrupt

    def wants(self, population: str) -> bool:
        """As the recorder; raises KeyboardInterrupt if Ctrl-C was pressed."""
        self._interrupt.check()
        return self._recorder.wants(population)

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """As the recorder."""
        self._recorder.record(population, ticks, neurons, signs)

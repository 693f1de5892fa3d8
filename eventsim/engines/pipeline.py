"""Several threads on one run: a population may run a window while those before it run the next one.

Every population runs its windows in order, on the spikes that it gets in a run on one thread, so results are the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

# With two, a short first window would have its sources wait for longer ones.
BUFFERS = 3


@cache
def _helpers(number: int) -> ThreadPoolExecutor:
    """Threads that wait for runs: to start new ones takes as long as a small run."""
    return ThreadPoolExecutor(number, "eventsim")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)


class Pipeline:
    """Runs ``work(name, window)`` for all names and windows 0..windows-1, on several threads.

    A window of a name runs after its window before, after that window of all its sources, and when there is room for its spikes: of
    each name, BUFFERS windows that its targets have not all done.

    Parameters
    ----------
    sources : mapping of str to sequence of str
        The names, in topological order, and those that each of them reads.
    windows : int
    work : callable
        Returns False to stop everything.
    done : callable, optional
        Called with the number of windows that all names have done, whenever it grows.
    """

    def __init__(
        self,
        sources: Mapping[str, Sequence[str]],
        windows: int,
        work: Callable[[str, int], bool],
        done: Callable[[int], None] | None = None,
    ):
        self._windows, self._work, self._tell = windows, work, done
        targets: dict[str, list[str]] = {name: [] for name in sources}
        for name, read in sources.items():
            for source in read:
                targets[source].append(name)
        # How many names have to be run after a window of this one, at least.
        after: dict[str, int] = {}
        for name in reversed(targets):
            after[name] = max([after[target] + 1 for target in targets[name]], default=0)
        self._order = [(name, after[name], read, targets[name]) for name, read in sources.items()]
        self._done = dict.fromkeys(sources, 0)
        self._running: set[str] = set()
        self._last: dict[str, int] = {}
        self._waiting = 0
        self._finished = 0
        self._stopped = False
        self._error: BaseException | None = None
        self._change = threading.Condition()

    def run(self, threads: int) -> bool:
        """Run everything; returns whether it was not stopped. What ``work`` and ``done`` raise is raised here."""
        others = [_helpers(threads - 1).submit(self._serve) for _ in range(1, threads)]
        self._serve()
        for other in others:
            # One that has not begun yet, the helpers being busy with another run, is not needed any more.
            if not other.cancel():
                other.result()
        if self._error is not None:
            raise self._error
        return not self._stopped

    def _serve(self) -> None:
        me = threading.get_ident()
        name, going_on = None, True
        while True:
            with self._change:
                if name is not None:
                    self._finish(name, going_on)
                while (name := self._ready(me)) is None and not self._over():
                    self._waiting += 1
                    self._change.wait()
                    self._waiting -= 1
                if name is None or self._over():
                    return
                self._running.add(name)
                self._last[name] = me
                window = self._done[name]
            try:
                going_on = self._work(name, window)
            except BaseException as error:  # it belongs to the caller of run()
                going_on = False
                self._error = self._error or error

    def _finish(self, name: str, going_on: bool) -> None:
        """A window of a name is done."""
        self._running.discard(name)
        self._done[name] += 1
        self._stopped |= not going_on
        if self._done[name] == self._finished + 1:
            finished = min(self._done.values())
            if finished > self._finished:
                self._finished = finished
                try:
                    if self._tell is not None:
                        self._tell(finished)
                except BaseException as error:  # the other threads must not wait for this one
                    self._stopped = True
                    self._error = self._error or error
        if self._waiting:
            self._change.notify_all()

    def _over(self) -> bool:
        return self._stopped or self._finished == self._windows

    def _ready(self, me: int) -> str | None:
        """Of the names that may run, the one before which most windows of itself and others have to wait; among equals one of this thread.

        So no long chain is left to one thread at the end. What a population works with is in the caches of the processor that ran its
        window before.
        """
        best, best_rank, done, windows = None, 2 * self._windows, self._done, self._windows
        # This is asked for every window of every name: no generators here.
        for name, after, read, targets in self._order:
            window = done[name]
            rank = 2 * (window - after) + (self._last.get(name, me) != me)
            if rank >= best_rank or window == windows or name in self._running:
                continue
            for source in read:
                if done[source] <= window:
                    break
            else:
                for target in targets:
                    if done[target] <= window - BUFFERS:
                        break
                else:
                    best, best_rank = name, rank
        return best

"""Several threads on one run: a population may run a window while those before it run the next one.

Every population runs its windows in order, on the spikes that it gets in a run on one thread, so results are the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence


class Pipeline:
    """Runs ``work(name, window)`` for all names and windows 0..windows-1, on several threads.

    A window of a name runs after its window before, after that window of all its sources, and after its targets have done the
    second window before: two buffers for the spikes of a population are enough.

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
        self._order = [(name, read, [other for other, of in sources.items() if name in of]) for name, read in sources.items()]
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
        others = [threading.Thread(target=self._serve, name=f"eventsim-{n}") for n in range(1, threads)]
        for thread in others:
            thread.start()
        self._serve()
        for thread in others:
            thread.join()
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
        """The name that is furthest behind among those that may run; before others those that this thread ran last.

        What a population works with is in the caches of the processor that ran its window before.
        """
        best, best_rank, done, others = None, 2 * self._windows, self._done, self._windows
        # This is asked for every window of every name: no generators here.
        for name, read, targets in self._order:
            window = done[name]
            rank = window if self._last.get(name, me) == me else window + others
            if rank >= best_rank or window == others or name in self._running:
                continue
            for source in read:
                if done[source] <= window:
                    break
            else:
                for target in targets:
                    if done[target] < window - 1:
                        break
                else:
                    best, best_rank = name, rank
        return best

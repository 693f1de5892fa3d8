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
        self._finished = 0
        self._stopped = False
        self._error: BaseException | None = None
        self._change = threading.Condition()

    def run(self, threads: int) -> bool:
        """Run everything; returns whether it was not stopped. What ``work`` raises is raised here."""
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
        while True:
            with self._change:
                while (name := self._ready()) is None and not self._over():
                    self._change.wait()
                if name is None or self._over():
                    return
                self._running.add(name)
                window = self._done[name]
            try:
                going_on = self._work(name, window)
            except BaseException as error:  # it belongs to the caller of run()
                going_on = False
                self._error = self._error or error
            with self._change:
                self._running.discard(name)
                self._done[name] += 1
                self._stopped |= not going_on
                finished = min(self._done.values())
                if finished > self._finished:
                    self._finished = finished
                    if self._tell is not None:
                        self._tell(finished)
                self._change.notify_all()

    def _over(self) -> bool:
        return self._stopped or self._finished == self._windows

    def _ready(self) -> str | None:
        """The name that is furthest behind among those that may run."""
        best, lowest, done = None, self._windows, self._done
        # This is asked for every window of every name: no generators here.
        for name, read, targets in self._order:
            window = done[name]
            if window >= lowest or name in self._running:
                continue
            for source in read:
                if done[source] <= window:
                    break
            else:
                for target in targets:
                    if done[target] < window - 1:
                        break
                else:
                    best, lowest = name, window
                    if window == self._finished:
                        break
        return best

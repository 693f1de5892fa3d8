"""Several threads on one run: a population may run a window while those before it run the next one.

Every population runs its windows in order, on the spikes that it gets in a run on one thread, so results are the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from weakref import ref

# With two, a short first window would have its sources wait for longer ones.
BUFFERS = 3


@cache
def _helpers(number: int) -> ThreadPoolExecutor:
    """Threads that wait for runs: to start new ones takes as long as a small run."""
    return ThreadPoolExecutor(number, "eventsim")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)


class Plan:
    """Who waits for whom in a pipeline.

    Parameters
    ----------
    sources : mapping of str to sequence of str
        The names, in topological order, and those that each of them reads.
    """

    def __init__(self, sources: Mapping[str, Sequence[str]]):
        self.names = list(sources)
        number = {name: i for i, name in enumerate(self.names)}
        self.sources = [[number[source] for source in read] for read in sources.values()]
        self.targets: list[list[int]] = [[] for _ in self.names]
        for i, read in enumerate(self.sources):
            for source in read:
                self.targets[source].append(i)
        # How many names have to be run after a window of this one, at least.
        self.after = [0] * len(self.names)
        for i in reversed(range(len(self.names))):
            self.after[i] = max([self.after[target] + 1 for target in self.targets[i]], default=0)
        # Who may be able to run once this one has.
        self.near = [[i, *targets, *read] for i, (targets, read) in enumerate(zip(self.targets, self.sources, strict=True))]


class Pipeline:
    """Runs ``work(name, window)`` for all names and windows 0..windows-1, on several threads.

    A window of a name runs after its window before, after that window of all its sources, and when there is room for its spikes: of
    each name, BUFFERS windows that its targets have not all done.

    Parameters
    ----------
    plan : Plan
    windows : int
    work : callable
        Returns False to stop everything.
    """

    def __init__(self, plan: Plan, windows: int, work: Callable[[str, int], bool]):
        self._plan, self._windows, self._work = plan, windows, work
        self._done = [0] * len(plan.names)
        self._running: set[int] = set()
        self._ready = {i for i in range(len(plan.names)) if self._may_run(i)}
        # The threads that ran them last.
        self._last = [0] * len(plan.names)
        self._waiting = 0
        self._finished = 0
        self._stopped = False
        self._error: BaseException | None = None
        self._change = threading.Condition(threading.Lock())

    def run(self, threads: int) -> bool:
        """Run everything; returns whether it was not stopped. What ``work`` raises is raised here."""
        for _ in range(1, threads):
            _helpers(threads - 1).submit(_help, ref(self))
        try:
            self._serve()
        except BaseException:  # Ctrl-C where nobody defers it
            with self._change:
                self._stopped = True
                self._change.notify_all()
            raise
        # The others have to wake up yet and see that nothing is left to do: nobody waits for that. After a stop some may be at work.
        with self._change:
            while self._running:
                self._wait()
        if self._error is not None:
            raise self._error
        return not self._stopped

    def _serve(self) -> None:
        me, work, names, change = threading.get_ident(), self._work, self._plan.names, self._change
        i, going_on = -1, True
        while True:
            with change:
                if i >= 0:
                    self._finish(i, going_on)
                while not self._ready and not self._over():
                    self._wait()
                if self._over():
                    change.notify_all()
                    return
                i = self._take(me)
                if self._ready and self._waiting:
                    change.notify()
                window = self._done[i]
            try:
                going_on = work(names[i], window)
            except BaseException as error:  # it belongs to the caller of run()
                going_on = False
                self._error = self._error or error

    def _wait(self) -> None:
        self._waiting += 1
        self._change.wait()
        self._waiting -= 1

    def _finish(self, i: int, going_on: bool) -> None:
        """A window of a name is done."""
        done = self._done
        self._running.discard(i)
        done[i] += 1
        self._stopped |= not going_on
        for near in self._plan.near[i]:
            if near not in self._ready and self._may_run(near):
                self._ready.add(near)
        self._finished = min(done)

    def _over(self) -> bool:
        return self._stopped or self._finished == self._windows

    def _may_run(self, i: int) -> bool:
        done, window = self._done, self._done[i]
        if window == self._windows or i in self._running:
            return False
        for source in self._plan.sources[i]:
            if done[source] <= window:
                return False
        return all(done[target] > window - BUFFERS for target in self._plan.targets[i])

    def _take(self, me: int) -> int:
        """Of the names that may run, the one before which most windows of itself and others have to wait.

        So no long chain is left to one thread at the end. Among equals one that no other thread ran last (what a population works with
        is in the caches of the processor that ran its window before), and of those the last one in the order: it has others wait for it
        soonest.
        """
        done, after, last = self._done, self._plan.after, self._last
        best, best_rank = -1, (0, False, 0)
        for i in self._ready:
            rank = done[i] - after[i], last[i] not in (0, me), -i
            if best < 0 or rank < best_rank:
                best, best_rank = i, rank
        self._ready.discard(best)
        self._running.add(best)
        self._last[best] = me
        return best


def _help(pipeline: ref[Pipeline]) -> None:
    """Work for a pipeline, if it is still there: the helpers may have been busy with another one all the time."""
    if (found := pipeline()) is not None:
        found._serve()

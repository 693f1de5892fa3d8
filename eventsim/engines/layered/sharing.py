"""A run on several threads: several windows at the same time, each in other populations."""

from __future__ import annotations

import threading

from eventsim.engines.layered.limits import Limit
from eventsim.engines.layered.pipeline import BUFFERS, Pipeline, Plan
from eventsim.engines.layered.rasters import Raster
from eventsim.engines.layered.state import Run, record
from eventsim.engines.layered.trains import Spikes, Train, as_train, copied
from eventsim.engines.once import Once


class Shared:
    """A run on several threads (see :class:`eventsim.engines.layered.pipeline.Pipeline`).

    Parameters
    ----------
    run : Run
        At its start.
    once : Once
    threads : int
    ends : list of int
        The ticks after which windows begin, and the last one.
    """

    def __init__(self, run: Run, once: Once, threads: int, ends: list[int]):
        self._run, self._once, self._threads, self._ends = run, once, threads, ends
        for population in run.populations.values():
            population.alternate()
        self._scratch = run.scratch(threads)
        # Spikes of the last windows of each population.
        self._spikes: list[dict[str, Spikes]] = [{} for _ in range(BUFFERS)]
        self._one_at_a_time = threading.Lock()
        # Of each window: spikes to be recorded once it is known that the run gets there, all spikes, and populations that are done.
        self._kept: list[list[tuple[str, Train]]] = [[] for _ in ends[1:]]
        self._made, self._done = [0] * len(self._kept), [0] * len(self._kept)
        self._column = {name: i for i, name in enumerate(run.populations)}
        self._total = 0

    def finish(self, plan: Plan) -> None:
        """Run to the end.

        Raises
        ------
        Overflow, Crowded, Limit
        """
        Pipeline(plan, len(self._kept), self._work).run(self._threads)

    def _work(self, name: str, window: int) -> bool:
        """Run a window of a population."""
        scratch, spikes = self._scratch.pop(), self._spikes[window % BUFFERS]
        since, until = self._ends[window], self._ends[window + 1]
        own = self._run.population(name, since, until, spikes, scratch)
        self._scratch.append(scratch)
        spikes[name] = own
        number = self._number(name, own, since, until)
        with self._one_at_a_time:
            if self._once.wants(name) and number:
                # Its arrays are used again for another window, maybe before the other populations are done with this one.
                self._kept[window].append((name, copied(as_train(own))))
            self._made[window] += number
            self._done[window] += 1
            if self._done[window] == len(self._run.order):
                self._end(window)
        return True

    def _number(self, name: str, spikes: Spikes, since: int, until: int) -> int:
        """How many spikes a population made in a window, if they are those of neurons."""
        if not self._run.populations[name].fires:
            return 0
        if isinstance(spikes, Raster):  # of whole steps
            return int(self._run.spikes[self._column[name], 0, since:until].sum())
        return len(spikes.tick)

    def _end(self, window: int) -> None:
        """All populations are done with a window."""
        self._total += self._made[window]
        if self._total > self._run.job.max_spikes:
            raise Limit(0)
        for name, train in self._kept[window]:
            record(self._once, self._run.populations[name], train)
        self._kept[window].clear()
        self._once.reached(self._ends[window + 1])


def run_shared(run: Run, once: Once, threads: int, ends: list[int], plan: Plan) -> None:
    """Run to the end on several threads; see :class:`Shared`.

    Raises
    ------
    Overflow, Crowded, Limit
    """
    Shared(run, once, threads, ends).finish(plan)

"""Images of a data set run event by event, as studies of imperfect and closed hardware run them: many processes, one order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import Arrays
from eventsim.batch.evaluate import paying_processes
from eventsim.batch.executors.pieces import executor, results
from eventsim.batch.pictures import Pictures
from eventsim.batch.work import AnyWork

# How much longer than an ordinary run one event by event takes, about; images of a piece of work at most, and pieces for each process.
_SLOWER, _MOST_IMAGES, _PIECES = 16, 16, 4


def in_order(
    work: AnyWork,
    pictures: Pictures,
    chosen: npt.NDArray[np.int64],
    first: int,
    neuron_steps: int,
    workers: int | None,
    scheduler: str | None,
) -> Iterator[tuple[int, Arrays]]:
    """Run images event by event, in as many processes as pay; some at a time and in their order.

    Parameters
    ----------
    work : AnyWork
    pictures : Pictures
    chosen : int64 array
        Numbers of the images, of which those before place ``first`` are done.
    first : int
    neuron_steps : int
        What an image takes.
    workers, scheduler
        See :func:`eventsim.evaluate`.

    Yields
    ------
    begin : int
        The place of the first image in ``chosen``.
    arrays : Arrays
    """
    todo = len(chosen) - first
    processes = paying_processes(workers, todo, _SLOWER * todo * neuron_steps)
    size = 1 if processes == 1 and scheduler is None else max(1, min(_MOST_IMAGES, todo // (_PIECES * processes)))
    if processes > 1 and scheduler is None:
        # Compiled here, where it can be said, and once rather than in every worker.
        yield first, work.worker().run(first, [pictures[int(chosen[first])]])
        first += 1
    pieces = ((i, [pictures[int(k)] for k in chosen[i : i + size]]) for i in range(first, len(chosen), size))
    early: dict[int, Arrays] = {}
    with executor(work, processes, scheduler) as (pool, window), closing(results(pool, window, work, pieces)) as arriving:
        for begin, _, arrays in arriving:
            early[begin] = arrays
            while first in early:
                found = early.pop(first)
                yield first, found
                first += len(next(iter(found.values())))

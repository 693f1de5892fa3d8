"""Windows of time: what a population is run for at a time, and how long they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventsim.engines.layered.rasters import CHUNK
from eventsim.engines.layered.trains import Delayed, Spikes, Train

if TYPE_CHECKING:
    from eventsim.engines.layered.state import Run
    from eventsim.model.network import Projection

# Spikes of driven neurons that a window is meant to have: enough to be worth its overhead. With several threads there have to be some
# windows for them to work on at a time, none with fewer than so many.
SPIKES, SHARED_SPIKES = 2**18, 2**15
# Clocked windows are as long as the rasters of all populations together have room for in so many bytes; with an exit rule they have so
# many ticks, since the last one may have to be run again.
RASTERS, WITH_EXIT = 2**23, 8
# A window with too many spikes for the memory is run in parts, shorter by so much.
SHORTER = 8


@dataclass(slots=True)
class Window:
    """The ticks since+1..until, and what populations did in them.

    Attributes
    ----------
    since, until : int
    spikes : mapping of str to Spikes
        By population, of those that have been run.
    delayed : Delayed
        What is still on its way from the windows before.
    """

    since: int
    until: int
    spikes: Mapping[str, Spikes]
    delayed: Delayed

    @property
    def ticks(self) -> int:
        """How many it has."""
        return self.until - self.since

    def arrivals(self, incoming: list[Projection]) -> Train:
        """What reaches a population through its projections; to be asked for once."""
        return self.delayed.arrivals(incoming, self.spikes, self.until)


def length(run: Run) -> int:
    """Ticks of a window."""
    job = run.job
    if run.clocked:
        return longest(run) if job.exit_rule is None else WITH_EXIT
    windows = int(expected_spikes(run) / SPIKES) + 1
    ticks = min(longest(run), -(-job.end // windows))
    if job.exit_rule is not None:
        return min(ticks, job.resolution)
    return -(-ticks // job.resolution) * job.resolution if ticks > job.resolution else ticks


def ends(run: Run, threads: int) -> list[int]:
    """The ticks after which windows begin, and the last one, for several threads; one window if the run is too short to be shared.

    The first one is half as long as the others, since all threads but one wait for it; the last one is a bit shorter, too: in the end
    one thread may have to wait for another.
    """
    end, most_ticks = run.job.end, longest(run)
    spikes = expected_spikes(run)
    # Each window costs something, clocked at every location.
    most = threads + 1 if run.clocked else max(2 * threads, int(spikes / SPIKES) + 1)
    windows = max(min(most, int(spikes / SHARED_SPIKES) + 1), -(-end // most_ticks))
    if windows < 3:
        first = ticks = -(-end // windows)
    else:
        ticks = min(most_ticks, -(-8 * end // (8 * windows - 5)))
        first = max(1, ticks // 2)
    return [0, *range(first, end, ticks), end]


def longest(run: Run) -> int:
    """Ticks for which there is room: for the keys of driven neurons, and for the rasters of all populations (a bit a neuron and tick)."""
    most = min([run.job.end, *(population.longest() for population in run.independent)])
    if not run.clocked:
        return most
    return min(most, max(CHUNK, 8 * RASTERS // run.lanes))


def expected_spikes(run: Run) -> float:
    """About how many spikes driven neurons and sources make in the run."""
    return sum(population.expected() for population in run.independent)

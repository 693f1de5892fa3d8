"""The layered engine: feed-forward networks, a window of time and a population at a time.

The spikes of a population depend only on those of the populations before it, so a window can be run population by population: its
incoming spikes in time order, its potentials and its weights in the cache. The result is that of the queue engine, spike for spike.
There are several ways to run one (:mod:`eventsim.engines.layered.ways.registry`): tick by tick, clocked from rasters, and at high
resolution site by site, or, with a refractory period, a period at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from eventsim.engines.layered import sharing, windows
from eventsim.engines.layered.layouts import Layouts
from eventsim.engines.layered.limits import Crowded, Limit, Overflow
from eventsim.engines.layered.populations.driven import Driven
from eventsim.engines.layered.populations.layer import Layer
from eventsim.engines.layered.populations.registry import KINDS
from eventsim.engines.layered.results import counts_of
from eventsim.engines.layered.state import Run, record
from eventsim.engines.layered.together import run_together
from eventsim.engines.layered.trains import Spikes, as_train
from eventsim.engines.once import Once
from eventsim.engines.protocol import RESETS, LeftToAnother, unknown_kind, unknown_table
from eventsim.job.job import Counts, Job, NoRecorder, Recorder
from eventsim.kernels.simd import LANES
from eventsim.model.network import Network
from eventsim.model.order import feed_forward_order

# Lanes may be so many; beyond, at most so many times as many as neurons, as in maps of few channels.
_MOST_LANES, _EMPTY = 2**25, 4


def why_not(network: Network) -> str | None:
    """Why the engine cannot run a network, or None if it can."""
    if feed_forward_order(network) is None:
        return "the layered engine runs feed-forward networks, and this one has a cycle; use engine 'queue' or 'auto'"
    unknown = unknown_kind("layered", network, KINDS, (*RESETS, "value"), "use engine 'auto'") or unknown_table("layered", network)
    return unknown or _mostly_empty(network)


def _mostly_empty(network: Network) -> str | None:
    """That the network would take much memory for lanes that are no neurons, or None if it does not."""
    # (Maxima and sources have none; driven populations have them in clocked runs.)
    shapes = [population.shape for population in network.populations.values() if KINDS[population.kind] in (Layer, Driven)]
    lanes = sum(-(-shape[-1] // LANES) * LANES * math.prod(shape[:-1]) for shape in shapes)
    neurons = sum(map(math.prod, shapes))
    if lanes <= _MOST_LANES or lanes <= _EMPTY * neurons:
        return None
    return (
        f"the layered engine has room for a multiple of {LANES} channels at every location, {lanes} in all where this network has "
        f"{neurons} neurons that integrate; use engine 'queue' or 'auto'"
    )


def too_much(job: Job) -> str | None:
    """It runs jobs of any length; neurons wait for their onset as they do for the end of a refractory period, which they must have."""
    held = next((name for name in job.onset if job.refractory[name] == 1), None)
    if held is None:
        return None
    return f"{held}: neurons without a refractory period of more than a tick have an onset here; use engine 'queue' or 'auto'"


def compile_network(network: Network) -> Layouts:
    """What the engine needs to know of a network that it can run."""
    return Layouts(network)


class _Everything(NoRecorder):
    """Wants all spikes, and forgets them: what makes lists of them is compiled, too."""

    def wants(self, population: str) -> bool:
        """All."""
        return True


def warm_up(job: Job, layouts: Layouts) -> None:
    """Compile the kernels that a job like this takes, or load them from the disk cache, by running its first tick."""
    state = layouts.begin(job)
    with suppress(Overflow, Crowded, Limit):
        _run_alone(state, Once(_Everything(), None), 1, False)
    layouts.end(state)


def run(job: Job, layouts: Layouts, recorder: Recorder, progress: Callable[[int], None] | None = None, threads: int = 1) -> Counts:
    """Run a job on a feed-forward network.

    Parameters
    ----------
    job : Job
    layouts : Layouts
        The job's network, compiled.
    recorder : Recorder
    progress : callable, optional
        Called now and then with the current tick.
    threads : int
        A run with an exit rule uses one.

    Raises
    ------
    LeftToAnother
        A potential has left int32, maybe behind the end of the run.
    RunError
        More steps than the counts have room for.
    """
    once = Once(recorder, progress)
    if threads == 1 and not any(map(recorder.wants, job.network.populations)):
        together = run_together([job], layouts)
        if together is not None:
            once.reached(job.end)
            return together[0]
    state = layouts.begin(job)
    ends = windows.ends(state, threads) if threads > 1 and job.exit_rule is None else [0, job.end]
    alone, careful, last = len(ends) == 2, False, job.end
    while True:
        try:
            if alone:
                end, stopped = _run_alone(state, once, last, careful)
            else:
                sharing.run_shared(state, once, threads, ends, layouts.plan)
                end, stopped = job.end, False
            break
        except Overflow:
            # An engine that goes tick by tick finds the tick and population that come first in time, or that the run ends before.
            once.again()
            raise LeftToAnother(once.given) from None
        except Crowded:
            careful = True
        except Limit as limit:
            last = limit.tick or last
        # From the start again, up to a known tick or in windows that can be made shorter.
        alone = True
        state.begin(job)
        once.again()
    counts = counts_of(state, end, stopped)
    layouts.end(state)
    return counts


def run_many(jobs: Sequence[Job], layouts: Layouts) -> list[Counts] | None:
    """The counts of runs that differ in their inputs alone, if they can be made at once and nobody asks for spikes; else None."""
    return run_together(jobs, layouts)


def _run_alone(run: Run, once: Once, last: int, careful: bool) -> tuple[int, bool]:
    """Window by window to the end of tick ``last``; returns the last tick, and whether there were too many spikes by then.

    If ``careful``, or with an exit rule, windows with too many spikes for the memory are run again in parts.

    Raises
    ------
    Overflow, Crowded, Limit
    """
    job = run.job
    (scratch,), longest = run.scratch(1), windows.length(run)
    length = longest
    since, stopped = 0, False
    while since < last:
        until = min(since + length, last)
        before = run.snapshot() if careful or job.exit_rule is not None else None
        try:
            spikes = run.window(since, until, scratch)
        except Crowded:
            if before is None:
                raise
            run.restore(before)
            length = max(1, (until - since) // windows.SHORTER)
            continue
        length = min(2 * length, longest)
        exited = run.output.exited if run.output is not None else 0
        if exited and exited < until:
            # What the populations did after the exit has to be undone: run the window again, up to there.
            until = exited
            run.restore(before)
            spikes = run.window(since, until, scratch)
        # (That each neuron spikes once a tick need not be asked where so many spikes are allowed.)
        beyond = run.made(until) - job.max_spikes if run.neurons * until > job.max_spikes else 0
        stopped = beyond > 0
        if stopped:
            tick = _tick_of(beyond, run, spikes)
            if tick < until:
                raise Limit(tick)
        for name, train in spikes.items():
            record(once, run.populations[name], train)
        since = until
        once.reached(since)
        if exited or stopped:
            break
    return since, stopped


def _tick_of(number: int, run: Run, spikes: Mapping[str, Spikes]) -> int:
    """The tick of one of the spikes that neurons made in a window: the last one in order of time is number 1, that before it 2."""
    ticks = [as_train(train).tick for name, train in spikes.items() if run.populations[name].fires]
    together = np.concatenate(ticks)
    place = len(together) - number
    return int(np.partition(together, place)[place])

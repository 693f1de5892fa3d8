"""Many runs at once: clocked ones that go through a whole run in one window, all populations from rasters.

A small network takes longer to be told what to do than to do it. So population after population runs all inputs in one call of
compiled code; what each run counts is what it counts alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eventsim.engines.layered import windows
from eventsim.engines.layered.layouts import Layouts
from eventsim.engines.layered.populations.driven import Driven
from eventsim.engines.layered.populations.layer import Layer
from eventsim.engines.layered.populations.source import Source
from eventsim.engines.layered.state import Run
from eventsim.engines.layered.ways.driven_clocked import DrivenClocked
from eventsim.engines.layered.ways.raster import Rasters
from eventsim.engines.layered.ways.raster_kernels.records import Masks
from eventsim.engines.layered.ways.raster_kernels.together import Counted
from eventsim.job.job import OPERATIONS, Counts, Job
from eventsim.model.tables import IntArray


def run_together(jobs: Sequence[Job], layouts: Layouts) -> list[Counts] | None:
    """The counts of runs with the same settings, one for each job; None if they have to be run one by one.

    Parameters
    ----------
    jobs : sequence of Job
        They differ in their inputs alone.
    layouts : Layouts
        Their network, compiled.
    """
    first = jobs[0]
    if first.resolution != 1 or first.exit_rule is not None:
        return None
    state = layouts.begin(first)
    try:
        return _Together(state, jobs).counts() if _possible(state, jobs) else None
    finally:
        layouts.end(state)


def _possible(state: Run, jobs: Sequence[Job]) -> bool:
    first = jobs[0]
    if windows.longest(state) < first.end or state.neurons * first.end > first.max_spikes:
        return False
    for name, population in state.populations.items():
        if isinstance(population, Driven):
            # All of them: a potential of another input might leave 32 bits.
            if any(DrivenClocked.why_not(population.layout, job, name) is not None for job in jobs):
                return False
        elif isinstance(population, Layer):
            way = population.ways[0]
            if not isinstance(way, Rasters) or not way.always or population.state.d.dtype != np.int32:
                return False
            if not population.spiking and name != first.network.output:
                return False
        elif not isinstance(population, Source):
            return False
    return True


class _Together:
    """Runs that are possible."""

    def __init__(self, state: Run, jobs: Sequence[Job]):
        self._state, self._jobs, self._job = state, jobs, jobs[0]
        network, steps = self._job.network, self._job.steps
        runs, populations = len(jobs), len(network.populations)
        self._spikes = np.zeros((runs, populations, 2, steps), np.int64)
        self._operations = np.zeros((runs, len(network.projections), steps, len(OPERATIONS)), np.int64)
        self._first_tick = np.zeros((runs, populations), np.int64)
        self._readouts: dict[str, IntArray] = {}
        self._decided = np.zeros((runs, 2), np.int64)

    def counts(self) -> list[Counts]:
        """Run them all."""
        (scratch,) = self._state.scratch(1)
        rasters: dict[str, Masks] = {}
        column = {name: i for i, name in enumerate(self._job.network.populations)}
        for name in self._state.order:
            population = self._state.populations[name]
            counted = Counted(column[name], self._spikes, self._first_tick, self._operations)
            if isinstance(population, Driven):
                (way,) = (way for way in population.ways if isinstance(way, DrivenClocked))
                rasters[name] = way.run_together(self._jobs, scratch, counted)
            elif isinstance(population, Layer):
                way = population.ways[0]
                source = rasters[way.source]
                if population.spiking:
                    rasters[name] = way.run_together(len(self._jobs), source, scratch, counted)
                else:
                    self._readouts[name] = way.read_out_together(len(self._jobs), source, scratch, self._decided, counted)
        return [self._counts_of(run) for run in range(len(self._jobs))]

    def _counts_of(self, run: int) -> Counts:
        spikes, negative = self._spikes[run].transpose(1, 2, 0)
        decision, decision_tick = self._decided[run].tolist()
        decides = self._job.network.output is not None and decision_tick > 0
        return Counts(
            self._job.end,
            False,
            spikes,
            negative,
            self._first_tick[run],
            **dict(zip(OPERATIONS, self._operations[run].transpose(2, 1, 0), strict=True)),
            readout={name: rows[run] for name, rows in self._readouts.items()},
            decision=decision if decides else None,
            decision_tick=decision_tick if decides else None,
            stopped=None,
            engine="layered",
        )

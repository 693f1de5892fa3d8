"""Whole runs in one call: clocked ones that go through a run in one window, all populations from rasters, and many of them at once.

A small network takes longer to be told what to do than to do it. So population after population runs all inputs in one call of
compiled code; what each run counts is what it counts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
from eventsim.engines.layered.workspace import Workspace
from eventsim.job.job import OPERATIONS, Counts, Job
from eventsim.model.network import Network
from eventsim.model.tables import IntArray

_KINDS = list(enumerate(OPERATIONS))


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
    state = layouts.take(first)
    try:
        if state.together is NotImplemented:
            state.begin(first)
            state.together = _together(state)
        if state.together is None or state.neurons * first.end > first.max_spikes:
            return None
        return state.together.counts(jobs)
    finally:
        layouts.end(state)


def _together(state: Run) -> Together | None:
    """How to make such runs; None if they have to be made otherwise, whatever their inputs."""
    network, end = state.job.network, state.job.end
    if windows.longest(state) < end:
        return None
    driven, layers = [], {}
    for column, (name, population) in enumerate(state.populations.items()):
        if isinstance(population, Driven):
            if population.refractory > 1:
                return None
            driven.append(_Driven(name, column, next(way for way in population.ways if isinstance(way, DrivenClocked))))
        elif isinstance(population, Layer):
            way = population.ways[0]
            if not isinstance(way, Rasters) or not way.always or population.state.d.dtype != np.int32:
                return None
            if not population.spiking and name != network.output:
                return None
            layers[name] = _Layer(name, column, way)
        elif not isinstance(population, Source):
            return None
    (scratch,) = state.scratch(1)
    return Together(network, end, driven, [layers[name] for name in state.order if name in layers], scratch, {})


class _Driven(NamedTuple):
    """A driven population, its number in the network, and how it is run."""

    name: str
    column: int
    way: DrivenClocked


class _Layer(NamedTuple):
    """Such a layer."""

    name: str
    column: int
    way: Rasters


class Together(NamedTuple):
    """Makes runs of a network up to a tick.

    Attributes
    ----------
    network : Network
    end : int
    driven : list of _Driven
    layers : list of _Layer
        Each after what it reads.
    scratch : Workspace
    rooms : dict of int to dict of str to Masks
        By number of runs, and by population.
    """

    network: Network
    end: int
    driven: list[_Driven]
    layers: list[_Layer]
    scratch: Workspace
    rooms: dict[int, dict[str, Masks]]

    def counts(self, jobs: Sequence[Job]) -> list[Counts] | None:
        """Run them all; None if a potential might leave 32 bits with the input of one."""
        network, end, runs, populations = self.network, self.end, len(jobs), len(self.network.populations)
        spikes = np.zeros((runs, populations, 2, end), np.int64)
        operations = np.zeros((runs, len(network.projections), end, len(OPERATIONS)), np.int64)
        first_tick, decided = np.zeros((runs, populations), np.int64), np.zeros((runs, 2), np.int64)
        rasters = self._rasters(runs)
        readouts: dict[str, IntArray] = {}
        counted = Counted(spikes, first_tick, operations)
        for name, column, driven in self.driven:
            if not driven.run_together(jobs, rasters[name], self.scratch, counted, column):
                return None
        for name, column, way in self.layers:
            source = rasters[way.source]
            if way.population.spiking:
                way.run_together(source, rasters[name], self.scratch, counted, column)
            else:
                readouts[name] = way.read_out_together(runs, source, self.scratch, decided, counted, column)
        # Rows of steps, columns of populations or projections. (To take arrays apart by iterating them takes NumPy several times as long.)
        by_sign, by_kind = spikes.transpose(0, 2, 3, 1), operations.transpose(0, 3, 2, 1)
        made = []
        for run, (decision, decision_tick) in enumerate(decided.tolist()):
            counts = Counts(
                end,
                False,
                by_sign[run, 0],
                by_sign[run, 1],
                first_tick[run],
                **{name: by_kind[run, kind] for kind, name in _KINDS},
                readout={name: potentials[run] for name, potentials in readouts.items()},
                decision=decision if decision_tick > 0 else None,
                decision_tick=decision_tick if decision_tick > 0 else None,
                stopped=None,
                engine="layered",
            )
            made.append(counts)
        return made

    def _rasters(self, runs: int) -> dict[str, Masks]:
        """Room for the spikes of each population in so many runs."""
        if runs not in self.rooms:
            # Those of single runs are kept, and those of the last call for several.
            for other in [other for other in self.rooms if other > 1]:
                del self.rooms[other]
            made = {part.name: part.way.target(0, self.end, runs) for part in self.driven}
            made |= {part.name: part.way.target(0, self.end, runs) for part in self.layers if part.way.population.spiking}
            self.rooms[runs] = made
        return self.rooms[runs]

"""Many clocked runs of a population in one call: what :mod:`eventsim.engines.layered.together` asks for."""

from __future__ import annotations

from typing import Any, NamedTuple

from eventsim.engines.layered.ways.driven_clocked_kernels import drive
from eventsim.engines.layered.ways.raster_kernels.integrate import advance
from eventsim.engines.layered.ways.raster_kernels.readout import read_out
from eventsim.engines.layered.ways.raster_kernels.records import Masks
from eventsim.engines.layered.ways.records import Tally
from eventsim.kernels.compiled import compiled, part


class Counted(NamedTuple):
    """What is counted in many runs."""

    spikes: Any  # int64 (runs, populations, 2, steps): of either sign, and those of sign -1
    first_tick: Any  # int64 (runs, populations)
    operations: Any  # int64 (runs, projections, steps, 5)


class Origin(NamedTuple):
    """Where each run of a population begins."""

    progress: Any  # int64 (fields,): those of PROGRESS, at the start
    now: Any  # int64 (fields,): the same memory as the state's progress
    d: Any  # int32 (lanes,): distances from threshold


class Place(NamedTuple):
    """Which run it is, and of how many."""

    run: int
    runs: int


@compiled
def drive_together(start, currents, v, threshold, back, target, counts, counted, column):
    """A run of driven neurons for each row of currents.

    Parameters
    ----------
    start : int32 array (lanes,)
        Potentials at the start.
    currents : int32 array (runs, lanes)
    v, threshold, back, counts
        As for :func:`eventsim.engines.layered.ways.driven_clocked_kernels.drive`.
    target : Masks
        Of all runs, one after the other; written.
    counted : Counted
    column : int64
        Of the population.
    """
    size = len(target.positive) // len(currents)
    for run in range(len(currents)):
        for lane in range(len(v)):
            v[lane] = start[lane]
        positive = target.positive[run * size : (run + 1) * size]
        masks = Masks(target.since, target.ticks, target.length, target.locations, target.channels, positive, target.negative)
        first = drive(v, currents[run], threshold, back, masks, counts, counted.spikes[run, column, 0])
        counted.first_tick[run, column] = first


@compiled
def advance_together(origin, tables, records, costs, state, rows, source, target, scratch, counted, column):
    """A run of a spiking population for each of the rasters of its source.

    Parameters
    ----------
    origin : Origin
    tables, records, costs, state, scratch
        As for :func:`eventsim.engines.layered.ways.raster_kernels.integrate.advance`.
    rows : None
        It is no readout.
    source, target : Masks
        Of all runs, one after the other; those of the target are written.
    counted : Counted
    column : int64
        Of the population.
    """
    for run in range(len(counted.first_tick)):
        restart(origin, state, state.net)
        place = Place(run, len(counted.first_tick))
        tally = Tally(counted.spikes[run, column, 0], counted.spikes[run, column, 1], counted.operations[run], rows)
        advance_one(tables, records, costs, state, tally, source, source.negative, target, target.negative, scratch, place)
        counted.first_tick[run, column] = state.progress[()]["first_tick"]


@compiled
def read_out_together(origin, layer, costs, state, rows, projection, tables, source, scratch, decided, counted, column):
    """A run of a readout for each of the rasters of its source.

    Parameters
    ----------
    origin : Origin
    layer, costs, state, projection, tables, scratch
        As for :func:`eventsim.engines.layered.ways.raster_kernels.readout.read_out`.
    rows : int64 array (runs, steps, neurons)
        Potentials at the end of each step; written.
    source : Masks
        Of all runs, one after the other.
    decided : int64 array (runs, 2)
        Which neuron leads, and since which tick (0: there is no decision); written.
    counted : Counted
    column : int64
        Of the population.
    """
    for run in range(len(rows)):
        restart(origin, state, state.net)
        place = Place(run, len(rows))
        tally = Tally(counted.spikes[run, column, 0], counted.spikes[run, column, 1], counted.operations[run], rows[run])
        read_out_one(layer, costs, state, tally, projection, tables, source, source.negative, scratch, place)
        s = state.progress[()]
        decided[run, 0], decided[run, 1] = s["decision"], s["decided_at"]


@part
def restart(origin, state, net):
    """Go to the start of a run; ``net`` is that of the state."""
    for field in range(len(origin.now)):
        origin.now[field] = origin.progress[field]
    for lane in range(len(origin.d)):
        state.d[lane] = origin.d[lane]
    if net is not None:
        for lane in range(len(net)):
            net[lane] = 0


@part
def advance_one(tables, records, costs, state, tally, source, negative, target, out_negative, scratch, place):
    """A run of a spiking population.

    ``negative`` and ``out_negative`` are those of ``source`` and ``target``. (Where they are None, numba does not compile what stands
    behind ``is not None``; where they are not, it sees one type.)
    """
    size, out_size = len(source.positive) // place.runs, len(target.positive) // place.runs
    begin, end, out_begin, out_end = place.run * size, (place.run + 1) * size, place.run * out_size, (place.run + 1) * out_size
    signed, out_signed = negative, out_negative
    if negative is not None:
        signed = negative[begin:end]
    if out_negative is not None:
        out_signed = out_negative[out_begin:out_end]
    arriving = Masks(source.since, source.ticks, source.length, source.locations, source.channels, source.positive[begin:end], signed)
    positive = target.positive[out_begin:out_end]
    leaving = Masks(target.since, target.ticks, target.length, target.locations, target.channels, positive, out_signed)
    advance(tables, records, costs, state, tally, arriving, leaving, scratch)


@part
def read_out_one(layer, costs, state, tally, projection, tables, source, negative, scratch, place):
    """A run of a readout; ``negative`` is that of ``source``, as for :func:`advance_one`."""
    size = len(source.positive) // place.runs
    begin, end = place.run * size, (place.run + 1) * size
    signed = negative
    if negative is not None:
        signed = negative[begin:end]
    arriving = Masks(source.since, source.ticks, source.length, source.locations, source.channels, source.positive[begin:end], signed)
    read_out(layer, costs, state, tally, projection, tables, arriving, scratch)

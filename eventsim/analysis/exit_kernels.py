"""Compiled code for what exit rules of any threshold would have given (see :mod:`eventsim.analysis.trajectory`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels.compiled import compiled, part

# Kinds of exit rules.
POTENTIAL, MARGIN = range(2)
KINDS = {"potential": POTENTIAL, "margin": MARGIN}


class Arrivals(NamedTuple):
    """The spikes that reach an output, projection after projection, those of each in order of time."""

    ticks: Any  # int64 (spikes,): when they were fired
    rows: Any  # int64 (spikes,): of the weights
    signs: Any  # int8 (spikes,)
    ends: Any  # int64 (projections,): behind the last spike of each
    delays: Any  # int64 (projections,): ticks
    weights: Any  # int64 (rows, output neurons)


class Exits(NamedTuple):
    """How far exit rules got: what is found, kind by kind."""

    kinds: Any  # int64 (kinds,)
    thresholds: Any  # int64 (thresholds,): ascending
    levels: Any  # int64 (kinds,): how many thresholds have been reached
    numbers: Any  # int64 (kinds + 1,): how many rows there are of each, and how many moments
    rows: Any  # int64 (kinds, rows, 3): level, moment, decision
    moments: Any  # int64 (moments,): ticks at which some kind has a row; of several runs one after the other


@compiled
def exits_of_arrivals(arrivals, places, end, potentials, exits):
    """Go through the ticks at which an output received spikes, and note where more thresholds were reached than before.

    Parameters
    ----------
    arrivals : Arrivals
    places : int64 array (projections,)
        The first spike of each projection; written.
    end : int64
        What arrives after this tick does not.
    potentials : int64 array (output neurons,)
        Of the start; written.
    exits : Exits
        Written.
    """
    while True:
        tick = next_tick(arrivals, places)
        if tick < 0 or tick > end:
            return
        for p in range(len(places)):
            i = places[p]
            while i < arrivals.ends[p] and arrivals.ticks[i] + arrivals.delays[p] == tick:
                for neuron in range(len(potentials)):
                    potentials[neuron] += arrivals.signs[i] * arrivals.weights[arrivals.rows[i], neuron]
                i += 1
            places[p] = i
        note(potentials, tick, exits)


@compiled
def exits_of_steps(potentials, lengths, start, exits, behind):
    """As :func:`exits_of_arrivals`, of many runs in which a step is a tick.

    Parameters
    ----------
    potentials : int64 array (runs, steps, output neurons)
        After each step.
    lengths : int64 array (runs,)
        How many steps each run has.
    start : int64 array (kinds,)
        How many thresholds are reached before a run.
    exits : Exits
        Written.
    behind : int64 array (runs, kinds)
        Written: the number of rows of a run and those before it.
    """
    for run in range(len(potentials)):
        for k in range(len(start)):
            exits.levels[k] = start[k]
        for step in range(lengths[run]):
            note(potentials[run, step], step + 1, exits)
        for k in range(len(start)):
            behind[run, k] = exits.numbers[k]


@compiled
def sums_until(values, neurons, until, sums):
    """Add to each sum the values of the first spikes of a train.

    Parameters
    ----------
    values : int64 array
        By neuron.
    neurons : int64 array (spikes,)
    until : int64 array (sums,)
        How many spikes; quick if they ascend.
    sums : int64 array (sums,)
        They are added to.
    """
    total, i = np.int64(0), np.int64(0)
    for m in range(len(until)):
        if until[m] < i:
            total = i = np.int64(0)
        while i < until[m]:
            total += values[neurons[i]]
            i += 1
        sums[m] += total


@part
def next_tick(arrivals, places):
    """The tick of the next arrival, -1 if there is none."""
    tick = np.int64(-1)
    for p in range(len(places)):
        if places[p] < arrivals.ends[p]:
            at = arrivals.ticks[places[p]] + arrivals.delays[p]
            if tick < 0 or at < tick:
                tick = at
    return tick


@part
def note(potentials, tick, exits):
    """Note the thresholds that potentials reach first, by the kinds of rules."""
    leader, best = np.int64(0), potentials[0]
    second = np.int64(0)
    for neuron in range(1, len(potentials)):
        value = potentials[neuron]
        if value > best:
            leader, second, best = neuron, best, value
        elif neuron == 1 or value > second:
            second = value
    moment, new = exits.numbers[len(exits.kinds)], 0
    for k in range(len(exits.kinds)):
        value = best - second if exits.kinds[k] == MARGIN else best
        level = exits.levels[k]
        while level < len(exits.thresholds) and exits.thresholds[level] <= value:
            level += 1
        if level > exits.levels[k]:
            n = exits.numbers[k]
            exits.rows[k, n, 0], exits.rows[k, n, 1], exits.rows[k, n, 2] = level, moment, leader
            exits.levels[k], exits.numbers[k] = level, n + 1
            exits.moments[moment] = tick
            new = 1
    exits.numbers[len(exits.kinds)] += new

"""Compiled code for what exit rules of any threshold would have given (see :mod:`eventsim.analysis.trajectory`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels.compiled import compiled, part
from eventsim.model.populations.leak import DECAY_BITS

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


class Output(NamedTuple):
    """What an output does between the spikes that reach it."""

    leaks: bool  # whether potentials leak; if not, the other fields do not count
    flows: bool  # whether spikes change a synaptic current
    resolution: int  # ticks of a step
    decay: Any  # int64 (output neurons,): in 4096ths
    leak: Any  # int64 (output neurons,)
    current_decay: Any  # int64 (output neurons,): in 4096ths
    current: Any  # int64 (output neurons,): zeros; written


class Exits(NamedTuple):
    """How far exit rules got: what is found, kind by kind."""

    kinds: Any  # int64 (kinds,)
    thresholds: Any  # int64 (thresholds,): ascending
    levels: Any  # int64 (kinds,): how many thresholds have been reached
    numbers: Any  # int64 (kinds + 1,): how many rows there are of each, and how many moments
    rows: Any  # int64 (kinds, rows, 3): level, moment, decision
    moments: Any  # int64 (moments,): ticks at which some kind has a row; of several runs one after the other


@compiled
def exits_of_arrivals(arrivals, places, end, output, potentials, decides, exits):
    """Go through the ticks at which an output received spikes, or leaked, and note where more thresholds were reached than before.

    Parameters
    ----------
    arrivals : Arrivals
    places : int64 array (projections,)
        The first spike of each projection; written.
    end : int64
        What arrives after this tick does not.
    output : Output
    potentials : int64 array (output neurons,)
        Of the start; written.
    decides : bool
        Whether the potentials decide from the start on; if not, from the first arrival on.
    exits : Exits
        Written.
    """
    current, none = output.current, end + 1
    step_end, look = output.resolution if output.leaks else none, none
    while True:
        tick = next_tick(arrivals, places)
        tick = none if tick < 0 else tick
        # What leaks may decide otherwise from the first tick of the next step on; a current flows in the last one.
        tick = min(tick, step_end, look)
        if tick > end:
            return
        if deliver(arrivals, places, tick, current if output.flows else potentials):
            decides = True
        if tick == step_end and output.flows:
            flow(potentials, current)
        if decides:
            note(potentials, tick, exits)
        look = none
        if tick == step_end:
            leak(output, potentials, current)
            step_end, look = tick + output.resolution, tick + 1


@compiled
def potentials_of_arrivals(arrivals, places, end, output, potentials, at, found):
    """The potentials after every tick at which an output received spikes.

    Parameters
    ----------
    arrivals, places, end, output, potentials
        As for :func:`exits_of_arrivals`.
    at : int64 array (spikes,)
        The ticks; written.
    found : int64 array (spikes, output neurons)
        Written.

    Returns
    -------
    int64
        How many ticks there are.
    """
    current, none = output.current, end + 1
    step_end, n = output.resolution if output.leaks else none, 0
    while True:
        tick = next_tick(arrivals, places)
        tick = min(none if tick < 0 else tick, step_end)
        if tick > end:
            return n
        arrived = deliver(arrivals, places, tick, current if output.flows else potentials)
        if tick == step_end and output.flows:
            flow(potentials, current)
        if arrived:
            at[n] = tick
            for neuron in range(len(potentials)):
                found[n, neuron] = potentials[neuron]
            n += 1
        if tick == step_end:
            leak(output, potentials, current)
            step_end = tick + output.resolution


@compiled
def exits_of_steps(potentials, begins, lengths, start, exits, behind):
    """As :func:`exits_of_arrivals`, of many runs in which a step is a tick.

    Parameters
    ----------
    potentials : int64 array (runs, steps, output neurons)
        After each step.
    begins, lengths : int64 array (runs,)
        From which step on potentials decide, and how many steps each run has.
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
        for step in range(begins[run], lengths[run]):
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
def deliver(arrivals, places, tick, sums):
    """Add the weights of what arrives at a tick; returns whether something does."""
    arrived = False
    for p in range(len(places)):
        i = places[p]
        while i < arrivals.ends[p] and arrivals.ticks[i] + arrivals.delays[p] == tick:
            for neuron in range(len(sums)):
                sums[neuron] += arrivals.signs[i] * arrivals.weights[arrivals.rows[i], neuron]
            i += 1
            arrived = True
        places[p] = i
    return arrived


@part
def flow(potentials, current):
    """The last tick of a step: a synaptic current flows into the potentials."""
    for neuron in range(len(potentials)):
        potentials[neuron] += current[neuron]


@part
def leak(output, potentials, current):
    """The end of a step: what it leaves."""
    for neuron in range(len(potentials)):
        potentials[neuron] = after_step(potentials[neuron], output.decay[neuron], output.leak[neuron])
        current[neuron] = after_step(current[neuron], output.current_decay[neuron], 0)


@part
def after_step(value, decay, leak):
    """What a step leaves of a potential or a current (:func:`eventsim.model.populations.leak.decayed`)."""
    magnitude = abs(value)
    magnitude = max(np.int64(0), magnitude - (magnitude * decay >> DECAY_BITS) - leak)
    return -magnitude if value < 0 else magnitude


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

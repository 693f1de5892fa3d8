"""Compiled code by which potentials and synaptic currents leak, and currents flow: all of a population, and not before it has to.

Functions that get ``leaks`` do nothing where it is None, and are then compiled to nothing.
"""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.records import Role
from eventsim.kernels.compiled import inner
from eventsim.kernels.heap import sift_up
from eventsim.model.populations.leak import DECAY_BITS


@inner
def leak_run(d, threshold, decay, constant, first, place, size, steps):
    """Have the potentials of a run of neurons, or their currents, undergo the ends of some steps.

    Parameters
    ----------
    d : int32 or int64 array (neurons and currents,)
        V - threshold, and currents.
    threshold : int32 array (neurons and currents,)
    decay, constant : int64 array
        Of a Leaks.
    first, place, size : int64
        The neurons first..first+size-1, whose leaks are place..place+size-1.
    steps : int64
    """
    for i in range(size):
        v = np.int64(d[first + i]) + threshold[first + i]
        magnitude = abs(v)
        for _ in range(steps):
            left = max(magnitude - ((magnitude * decay[place + i]) >> DECAY_BITS) - constant[place + i], 0)
            if left == magnitude:
                break
            magnitude = left
        d[first + i] = (magnitude if v > 0 else -magnitude) - threshold[first + i]


@inner
def leak_population(d, threshold, population, leaks, steps):
    """Have a population (POPULATION) that leaks undergo the ends of some steps, with its currents; else as :func:`leak_run`."""
    if leaks is not None:
        first, place, size = population["first"], population["leak"], population["end"] - population["first"]
        leak_run(d, threshold, leaks.decay, leaks.constant, first, place, size, steps)
        if population["currents"] >= 0:
            leak_run(d, threshold, leaks.decay, leaks.constant, population["currents"], place + size, size, steps)


@inner
def catch_up(progress, population, activity, leaks, threshold, d):
    """The neurons of a population that is visited undergo the ends of the steps since it was last visited.

    A population with currents is visited at the end of every step for as long as one of them is not 0: so they flow in each.

    Parameters
    ----------
    progress : PROGRESS, without dimensions
    population : POPULATION
    activity : ACTIVITY
        The population's.
    leaks : Leaks or None
    threshold, d
        As for :func:`leak_run`.

    Returns
    -------
    int64
        Neurons that have leaked.
    """
    leaked = np.int64(0)
    if leaks is not None:
        step = progress[()]["step"]
        # (The potentials of readouts are noted at the end of each step, and leak then.)
        if population["leak"] >= 0 and population["role"] == Role.SPIKING and step > activity["decayed"]:
            leak_population(d, threshold, population, leaks, step - activity["decayed"])
            activity["decayed"] = step
            leaked = population["end"] - population["first"]
    return leaked


@inner
def flow(d, population, leaks):
    """The synaptic currents of a population flow into its potentials; ``d`` as for :func:`leak_run`."""
    if leaks is not None:
        first, currents = np.uint64(population["first"]), np.uint64(population["currents"])
        for i in range(np.uint64(population["end"] - population["first"])):
            d[first + i] += d[currents + i]


@inner
def flow_again(progress, plan, population, activity, heap, d, leaks):
    """If there are currents, queue their flow at the end of a step, unless it is queued.

    Parameters
    ----------
    progress, population, activity, leaks
        As for :func:`catch_up`.
    plan : tuple of int64
        ``bits`` and ``resolution``.
    heap : int64 array
    d : int32 or int64 array
    """
    if leaks is not None:
        s, bits, resolution = progress[()], plan[0], plan[1]
        tick = (s["tick"] // resolution + 1) * resolution
        size, currents = population["end"] - population["first"], population["currents"]
        if activity["flow"] < tick and tick <= s["end"] and any_potential(d, currents, currents + size):
            activity["flow"] = tick
            sift_up(heap, s["heap"], (tick << bits) | (population["end_entity"] - 1))
            s["heap"] += 1


@inner
def reset_leaky(d, threshold, population, neuron, leaks):
    """What a spike does to the distance of a neuron of a population that leaks; else as for :func:`catch_up`."""
    if leaks is not None:
        amount = leaks.amount[population["leak"] + neuron - population["first"]]
        d[neuron] = amount - threshold[neuron] if population["zero_reset"] else d[neuron] - amount


@inner
def any_potential(d, first, end):
    """Whether one of the readouts, or currents, first..end-1 is not 0; d is an int32 or int64 array (neurons and currents,)."""
    found = False
    for i in range(first, end):
        found |= d[i] != 0
    return found

"""Compiled code by which potentials leak: all of a population, and not before something happens to it."""

from __future__ import annotations

import numpy as np

from eventsim.kernels.compiled import brief as compiled
from eventsim.model.populations.leak import DECAY_BITS


@compiled
def leak_run(d, threshold, decay, constant, first, place, size, steps):
    """Have the potentials of a run of neurons undergo the ends of some steps.

    Parameters
    ----------
    d : int32 or int64 array (neurons,)
        V - threshold.
    threshold : int32 array (neurons,)
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


@compiled
def any_potential(d, first, end):
    """Whether one of the readouts first..end-1 has a potential that is not 0; d is an int32 or int64 array (neurons,)."""
    found = False
    for i in range(first, end):
        found |= d[i] != 0
    return found

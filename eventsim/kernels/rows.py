"""Compiled code of compressed sparse rows."""

from __future__ import annotations

import numpy as np

from eventsim.kernels.compiled import compiled

_ONE = np.uint64(1)


@compiled
def add_rows(v, indptr, targets, weights, neurons, signs):
    """For each spike, ``v[targets[e]] += sign * weights[e]`` for the entries e of its neuron's row, modulo 2^64.

    Parameters
    ----------
    v : int64 (target neurons,)
    indptr, targets, weights : int64 (source neurons + 1,), int32 (synapses,), integers (synapses,)
        See :class:`eventsim.model.tables.Rows`.
    neurons, signs : int32 (spikes,), int8 (spikes,)
    """
    for k in range(np.uint64(len(neurons))):
        row, sign = np.uint64(neurons[k]), np.int64(signs[k])
        for e in range(np.uint64(indptr[row]), np.uint64(indptr[row + _ONE])):
            v[np.uint64(targets[e])] += sign * weights[e]

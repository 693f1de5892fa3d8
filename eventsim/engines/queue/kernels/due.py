"""Compiled code that looks for due neurons: those with d >= 0, or, of signed ones, below their ``low``.

A run of neurons holds one with d >= 0 if the AND of their sign bits is clear.
"""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.kernels.pending import pending_spike
from eventsim.kernels.compiled import brief as compiled
from eventsim.kernels.compiled import part
from eventsim.kernels.sort import sort_candidates
from eventsim.kernels.windows import changed_by
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN

# Neurons that are looked at together.
BLOCK = 64


@compiled
def scan_run(d, start, length, candidates, n):
    """Append the neurons of a run with d >= 0 to the candidates.

    Parameters
    ----------
    d : int32 or int64 array (neurons,)
    start, length : int64
        The run.
    candidates : int32 array
    n : int64
        Candidates so far.

    Returns
    -------
    int64
        Candidates now.
    """
    for block in range(start, start + length, BLOCK):
        size = min(BLOCK, start + length - block)
        i = np.uint64(block)
        signs = d[i]
        for k in range(np.uint64(size)):
            signs &= d[i + np.uint64(k)]
        if signs >= 0:
            for k in range(block, block + size):
                if d[k] >= 0:
                    candidates[n] = k
                    n += 1
    return n


@compiled
def scan_run_signed(d, low, start, length, candidates, n):
    """As :func:`scan_run`, also with d < low (of the type of d)."""
    for block in range(start, start + length, BLOCK):
        size = min(BLOCK, start + length - block)
        i = np.uint64(block)
        hit = False
        for k in range(np.uint64(size)):
            hit |= (d[i + np.uint64(k)] >= 0) | (d[i + np.uint64(k)] < low[i + np.uint64(k)])
        if hit:
            for k in range(block, block + size):
                if d[k] >= 0 or d[k] < low[k]:
                    candidates[n] = k
                    n += 1
    return n


@compiled
def out_of_range(d, threshold, start, length):
    """Whether a potential of the run start..start+length-1 has left int32; d is int64, threshold int32 (neurons,)."""
    bad = False
    for i in range(start, start + length):
        v = d[i] + threshold[i]
        bad |= (v > POTENTIAL_MAX) | (v < POTENTIAL_MIN)
    return bad


@part
def scan_reached(tables, p, neuron, first, signed, state, n):
    """Append the due neurons among those that a spike reaches to the candidates.

    Parameters
    ----------
    tables : Tables
    p, neuron : int64
        The projection, and the neuron of its source that has spiked.
    first : int64
        The first neuron of the target.
    signed : bool
        Whether the target's neurons are.
    state : State
    n : int64
        Candidates so far.

    Returns
    -------
    int64
        Candidates now.
    """
    d, low, candidates = state.d, state.low, state.candidates
    of = tables.projections[p]
    if of["sparse"]:
        row = of["row"] + neuron
        for e in range(tables.row_start[row], tables.row_start[row + 1]):
            k = first + tables.targets[e]
            if d[k] >= 0 or (signed and d[k] < low[k]):
                candidates[n] = k
                n += 1
        return n
    location = neuron // of["channels"]
    row = location // of["width"]
    y, x = tables.reach[of["y"] + row], tables.reach[of["x"] + location - row * of["width"]]
    length = x["length"]
    for column in range(x["count"]):
        target = first + y["first"] + x["first"] + column * of["column_step"]
        for _ in range(y["count"]):
            n = scan_run_signed(d, low, target, length, candidates, n) if signed else scan_run(d, target, length, candidates, n)
            target += of["row_step"]
    return n


@part
def find_changed(state, plan, tables, q, compared):
    """The windows of maximum population q that pending spikes may have changed, as candidates in ascending order; returns their number.

    All windows are, where the spikes lie in as many together (``compared``).
    """
    s, population = state.progress[()], plan.populations[q]
    first, n = population["first"], np.int64(0)
    if compared >= population["end"] - first:
        for window in range(first, population["end"]):
            state.candidates[n] = window
            n += 1
        return n
    for i in range(s["pending"]):
        part = state.pending[i]
        source = plan.populations[plan.projections[part["projection"]]["source"]]["first"]
        for e in range(part["first"], part["end"]):
            neuron, sign = pending_spike(state, plan, part["store"], e, source)
            maximum = population["maximum"]
            n = changed_by(tables.maxima, maximum, state.counts, state.net, neuron, sign, first, state.candidates, n)
    if n > 1:
        sort_candidates(state.candidates, n)
    return n


@part
def scan_pending(state, plan, tables, q):
    """The candidates among the neurons of population q that the pending spikes reach; returns their number, repeats included."""
    first, signed = plan.populations[q]["first"], plan.populations[q]["signed"] != 0
    n = np.int64(0)
    for i in range(state.progress[()]["pending"]):
        part = state.pending[i]
        p, store = part["projection"], part["store"]
        first_of_source = plan.populations[plan.projections[p]["source"]]["first"]
        for e in range(part["first"], part["end"]):
            neuron, _ = pending_spike(state, plan, store, e, first_of_source)
            n = scan_reached(tables, p, neuron, first, signed, state, n)
    return n

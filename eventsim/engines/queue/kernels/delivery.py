"""Compiled code that adds the weights of arriving spikes to potentials."""

from __future__ import annotations

import numpy as np

from eventsim.engines.queue.kernels.pending import pending_spike
from eventsim.kernels.compiled import brief as compiled
from eventsim.kernels.compiled import part
from eventsim.kernels.windows import count_spike

# Work after which compiled code returns, so that Ctrl-C works and progress shows: a unit is a spike or a heap operation, or WORK additions.
PAUSE_AFTER, WORK = 1 << 20, 16


@compiled
def add_run(d, start, weights, at, length, sign):
    """``d[start:start+length] += sign * weights[at:at+length]``; unsigned indices vectorise.

    Parameters
    ----------
    d : int32 or int64 array
    weights : int8 or int32 array
    start, at, length : int64
    sign : int64
        1 or -1.
    """
    i, j = np.uint64(start), np.uint64(at)
    if sign > 0:
        for k in range(np.uint64(length)):
            d[i + np.uint64(k)] += weights[j + np.uint64(k)]
    else:
        for k in range(np.uint64(length)):
            d[i + np.uint64(k)] -= weights[j + np.uint64(k)]


@part
def deliver(tables, p, neuron, sign, first, d, counts, operations):
    """Add one spike, or have it counted by a maximum population, and count it.

    Parameters
    ----------
    tables : Tables
    p, neuron : int64
        The projection, and the neuron of its source that has spiked.
    sign : int64
        1 or -1.
    first : int64
        Place in ``d`` of what spikes to the first neuron of the target change.
    d : int32 or int64 array (neurons and currents,)
    counts : int32 array
        Of what maxima compare.
    operations : int64 array (5, projections)
        Of the step, in the order of :data:`eventsim.job.job.OPERATIONS`.

    Returns
    -------
    int64
        Additions, or windows in which it is compared.
    """
    operations[0, p] += 1
    of = tables.projections[p]
    added = exact = np.int64(0)
    if of["maximum"] >= 0:
        additions = count_spike(tables.maxima, of["maximum"], counts, neuron, sign)
        operations[1, p] += additions
        operations[3, p] += 1
    elif of["sparse"]:
        begin, end = tables.row_start[of["row"] + neuron], tables.row_start[of["row"] + neuron + 1]
        shift = of["shift"]
        if of["wide"]:
            for e in range(begin, end):
                d[first + tables.targets[e]] += sign * tables.weights32[e + shift]
        else:
            for e in range(begin, end):
                d[first + tables.targets[e]] += sign * tables.weights8[e + shift]
        additions = end - begin
        operations[1, p] += additions
        operations[3, p] += additions
        added = exact = additions
    else:
        location = neuron // of["channels"]
        channel = neuron - location * of["channels"]
        row = location // of["width"]
        y, x = tables.reach[of["y"] + row], tables.reach[of["x"] + location - row * of["width"]]
        length = x["length"]
        for column in range(x["count"]):
            target = first + y["first"] + x["first"] + column * of["column_step"]
            at = of["weights"] + (channel * of["kernel_rows"] + y["tap"]) * of["row_weights"] + x["tap"] + column * length
            for _ in range(y["count"]):
                if of["wide"]:
                    add_run(d, target, tables.weights32, at, length, sign)
                else:
                    add_run(d, target, tables.weights8, at, length, sign)
                target += of["row_step"]
                at -= of["tap_step"]
        added = additions = y["count"] * x["count"] * length
        exact = y["synapses"] * x["synapses"] * of["outputs"]
        operations[1, p] += exact
        operations[3, p] += y["toolbox"] * x["toolbox"] * of["outputs"]
    operations[2, p] += added
    if of["nonzero"] >= 0:
        operations[4, p] += tables.effective[of["nonzero"] + neuron]
    else:
        operations[4, p] += exact
    return additions


@part
def deliver_pending(state, plan, tables, q, tally):
    """Deliver pending spikes to population q, from where it has got to and up to PAUSE_AFTER; returns whether that are all.

    Sets ``part``, ``place``, ``added`` and ``work`` of the progress.
    """
    s = state.progress[()]
    operations = tally.operations[:, s["step"]]
    first = plan.populations[q]["receives"]
    total, work = s["added"], s["work"]
    while s["part"] < s["pending"]:
        part = state.pending[s["part"]]
        p, store, end = part["projection"], part["store"], part["end"]
        e = part["first"] + s["place"]
        first_of_source = plan.populations[plan.projections[p]["source"]]["first"]
        while e < end and work < PAUSE_AFTER:
            neuron, sign = pending_spike(state, plan, store, e, first_of_source)
            additions = deliver(tables, p, neuron, sign, first, state.d, state.counts, operations)
            total += additions
            work += 1 + additions // WORK
            e += 1
        if e < end:
            s["place"] = e - part["first"]
            break
        s["part"] += 1
        s["place"] = 0
    s["added"], s["work"] = total, work
    return s["part"] == s["pending"]

"""Delivering a tick: its spikes, projection by projection, each the way that suits how many there are."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import largest
from eventsim.engines.layered.ways.tick_kernels.gather import gather_group
from eventsim.engines.layered.ways.tick_kernels.scatter import scatter_all, scatter_sparse, scatter_wide
from eventsim.kernels.compiled import inner, part
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN

# What deliver() returns where all lanes may have been reached.
EVERYWHERE = 2**60


@part
def deliver(layer, d, scratch, train, operations, step, at, stop):
    """Deliver the spikes at..stop-1, those of a tick; returns about how many lanes they reach, or EVERYWHERE.

    Parameters
    ----------
    layer : Layer
    d : int16, int32 or int64 array
        As in :class:`State`.
    scratch, train : Scratch, Train
    operations : int64 (projections, steps, 5)
        Of the network.
    step, at, stop : int64
    """
    touched, e = np.int64(0), at
    while e < stop:
        p = np.int64(train.projection[e]) if len(train.projection) else 0
        of = layer.projections[p]
        counted = operations[of["number"], step]
        synapses = counted[1]
        group = end_of_group(train, e, stop)
        if gather_group(layer, layer.gathers, d, scratch, train, p, e, group, counted):
            touched = EVERYWHERE
        else:
            reached = scatter_group(layer, d, of, train, e, group, counted)
            touched = min(touched + reached, EVERYWHERE)
        if of["nonzero"] >= 0:
            for f in range(e, group):
                counted[4] += layer.effective[of["nonzero"] + train.neuron[f]]
        else:
            counted[4] += counted[1] - synapses
        e = group
    return touched


@part
def end_of_group(train, at, stop):
    """The place behind the spikes from place ``at`` on that come through the same projection, ``stop`` at last; all are of a tick."""
    if len(train.projection) == 0:
        return stop
    group = at + 1
    while group < stop and train.projection[group] == train.projection[at]:
        group += 1
    return group


@part
def scatter_group(layer, d, of, train, first, last, operations):
    """Deliver the spikes first..last-1 of a projection one by one; returns how many lanes they reach."""
    if of["sparse"]:
        return scatter_rows(layer.row_start, layer, d, of, train, first, last, operations)
    if of["wide"] == 0:
        return scatter_all(d, layer.w8, layer.records, of, train.neuron, train.sign, first, last, operations)
    if of["wide"] == 1:
        return scatter_weights(layer.w16, layer, d, of, train, first, last, operations)
    return scatter_weights(layer.w32, layer, d, of, train, first, last, operations)


@part
def scatter_rows(row_start, layer, d, of, train, first, last, operations):
    """As :func:`scatter_group` for sparse tables (whose ``row_start`` is None where there are none: nothing is compiled for them then)."""
    if row_start is None:
        return 0
    if of["wide"] == 0:
        return scatter_listed(layer.w8, layer, d, of, train, first, last, operations)
    if of["wide"] == 1:
        return scatter_listed(layer.w16, layer, d, of, train, first, last, operations)
    return scatter_listed(layer.w32, layer, d, of, train, first, last, operations)


@part
def scatter_listed(weights, layer, d, of, train, first, last, operations):
    """As :func:`scatter_weights` for sparse tables."""
    if weights is None:
        return 0
    return scatter_sparse(weights, layer.lanes, layer.row_start, d, of, train.neuron, train.sign, first, last, operations)


@part
def scatter_weights(weights, layer, d, of, train, first, last, operations):
    """As :func:`scatter_group` for weights of 16 or 32 bits (None where there are none: nothing is compiled for them then)."""
    if weights is None:
        return 0
    return scatter_wide(d, weights, layer.records, of, train.neuron, train.sign, first, last, operations)


@part
def fits(layer, state, train, at, stop):
    """Whether the spikes at..stop-1 of a tick surely leave no |d| too large for its type; if so, the bound rises by what they can add.

    A reset may leave |d| at the threshold, so the bound is found anew where it does not seem to be so.
    """
    c, s = layer.constants, state.progress[()]
    rise, e = np.int64(0), at
    while e < stop:
        of, group = layer.projections[np.int64(train.projection[e]) if len(train.projection) else 0], end_of_group(train, e, stop)
        rise += min(group - e, of["most"]) * of["largest"]
        e = group
    if s["bound"] + rise > s["limit"]:
        s["bound"] = max(c.highest, largest_unparked(state.d, state.ring_lane, c.refractory > 1, s))
        if s["bound"] + rise > s["limit"]:
            return False
    s["bound"] += rise
    return True


@part
def largest_unparked(d, lanes, parked, progress):
    """Largest |d|; parked neurons as if they were not.

    Parameters
    ----------
    d : int16, int32 or int64 array
    lanes : int32 array or None
        The ring.
    parked : bool
        Whether those in the ring are.
    progress : PROGRESS
    """
    if lanes is not None and parked:
        put_back(d, lanes, progress, progress["park"])
    most = largest(d)
    if lanes is not None and parked:
        put_back(d, lanes, progress, -progress["park"])
    return most


@part
def put_back(d, lanes, progress, park):
    """Add ``park`` to all in the ring."""
    for n in range(progress["waiting"]):
        d[lanes[(progress["head"] + n) % len(lanes)]] += park


@inner
def out_of_range(d, threshold, padded, park):
    """Whether a potential has left int32.

    Parameters
    ----------
    d : int64 array
        As in :class:`State`.
    threshold : int64 array
        By channel.
    padded : int64
        Lanes of a location.
    park : int64
        What parking takes off d.
    """
    channels = len(threshold)
    for start in range(0, len(d), padded):
        for c in range(channels):
            v = d[start + c] + threshold[c]
            if v < -(park >> 1):
                v += park
            if v > POTENTIAL_MAX or v < POTENTIAL_MIN:
                return True
    return False

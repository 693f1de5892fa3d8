"""Who is due: a neuron at its threshold or above, and a signed one below the negative one as well if that is in force."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import append
from eventsim.kernels import simd
from eventsim.kernels.compiled import part
from eventsim.kernels.simd import LANES
from eventsim.kernels.sort import sort_candidates


@part
def is_due(d, low, lane):
    """Whether a lane is due; ``d`` and ``low`` as in :class:`State`."""
    if low is None:
        return d[lane] >= 0
    return d[lane] >= 0 or d[lane] < low[lane]


@part
def vector_due(d, low, lane):
    """Which of LANES lanes from one on are due: uint32, a bit each."""
    if low is None:
        return simd.test(d, lane)
    return simd.test_signed(d, lane, low)


@part
def scan(d, low, lane, run, candidates, n):
    """Append the due lanes among ``run`` from one on to the ``n`` candidates (int32); returns their new number."""
    for k in range(lane, lane + run, LANES):
        due = vector_due(d, low, k)
        if due:
            n = append(candidates, n, k, due)
    return n


@part
def keep_due(d, low, candidates, n):
    """Keep those of the first ``n`` candidates (int32) that are due; returns how many there are."""
    kept = 0
    for i in range(n):
        lane = candidates[i]
        if is_due(d, low, lane):
            candidates[kept] = lane
            kept += 1
    return kept


@part
def scan_row(row_start, lanes, row, d, low, candidates, n):
    """Append the due lanes among those of a row of a sparse table (None where there are none) to the candidates."""
    if row_start is None:
        return n
    for i in range(row_start[row], row_start[row + 1]):
        lane = lanes[i]
        if is_due(d, low, lane):
            candidates[n] = lane
            n += 1
    return n


@part
def find_reached(layer, d, low, train, at, stop, candidates, n):
    """Append the due lanes among those that the spikes at..stop-1 of a tick reach to the ``n`` candidates; returns their new number.

    Parameters
    ----------
    layer : Layer
    d, low
        As in :class:`State`.
    train : Train
    at, stop : int64
    candidates : int32 array
        Sorted afterwards; may hold a lane more than once.
    n : int64
    """
    looked_at = np.int64(-1)
    for f in range(at, stop):
        p = np.int64(train.projection[f]) if len(train.projection) else 0
        of, neuron = layer.projections[p], np.int64(train.neuron[f])
        if of["sparse"]:
            n = scan_row(layer.row_start, layer.lanes, of["records"] + neuron, d, low, candidates, n)
            continue
        row = of["records"] + neuron // of["source_channels"]
        if row == looked_at:
            continue  # spikes of one location reach the same lanes, and count once in what was reached
        looked_at = row
        record = layer.records[row]
        for column in range(record["columns"]):
            lane = record["first_lane"] + column * of["column_step"]
            for _ in range(record["rows"]):
                n = scan(d, low, lane, record["run"], candidates, n)
                lane += of["row_step"]
    if n > 1:
        sort_candidates(candidates, n)
    return n

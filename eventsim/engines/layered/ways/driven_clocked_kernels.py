"""Compiled code for driven neurons, clocked."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.raster_kernels.counting import count_steps
from eventsim.engines.layered.ways.raster_kernels.integrate import clear_behind
from eventsim.kernels import simd
from eventsim.kernels import simd_raster as vectors
from eventsim.kernels.compiled import compiled, part


@compiled
def drive(v, current, threshold, back, target, counts, spikes):
    """A window of driven neurons, none of whose potentials leaves int32; returns the first tick with spikes, 0 if there is none.

    Parameters
    ----------
    v, current, threshold : int32 array (lanes,)
        Potentials, currents a tick, thresholds; in whole blocks of 32 channels of a location.
    back : int64
        The lane so many ones before, a multiple of 64, has the same threshold and at the start of the run the same potential.
    target : Masks
        Written.
    counts : int32 array (CHUNK,)
        Room to work in.
    spikes : int64 array (steps,)
        They are added to.
    """
    masks, ticks, length, each = target.positive, target.ticks, target.length, len(v) >> 5
    begin = np.int64(0)
    clear_behind(masks)
    for at in range(0, ticks, length):
        now = min(length, ticks - at)
        for i in range(0, len(v) - 32, 64):
            m = begin + (i >> 5) * length
            if i >= back and are_same(current, i, i - back):
                # As in the background of a digit: neurons with the same current do the same.
                copy(v, i, i - back, 64)
                copy(masks, m, m - (back >> 5) * length, 2 * length)
            else:
                vectors.charge_64(v, current, threshold, i, masks, m, length, now)
        if each & 1:
            vectors.charge_32(v, current, threshold, 32 * (each - 1), masks, begin + (each - 1) * length, length, now)
        begin += each * length
    first = count_steps(target, masks, counts, spikes)
    return target.since + 1 + first if first < ticks else 0


@part
def are_same(current, i, j):
    """Whether 64 currents (int32) from place i on are those from j on."""
    different = np.int32(0)
    for lane in range(64):
        different |= simd.peek(current, i + lane) ^ simd.peek(current, j + lane)
    return different == 0


@part
def copy(array, i, j, n):
    """Copy n values of an array from place j to place i, n or more behind it."""
    for k in range(n):
        simd.poke(array, i + k, simd.peek(array, j + k))

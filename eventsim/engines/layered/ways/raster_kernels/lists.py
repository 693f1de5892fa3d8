"""Rasters as lists of spikes, and lists as rasters."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import append
from eventsim.kernels import simd
from eventsim.kernels.compiled import compiled


@compiled
def to_train(source, negative, tick, neuron, sign):
    """List the spikes by tick, then by neuron; returns their number.

    Parameters
    ----------
    source : Masks
    negative : uint32 array or None
        ``source.negative``.
    tick : int64 array
    neuron : int32 array
        Up to SLACK places behind the spikes are overwritten.
    sign : int8 array
        Written if ``negative`` is there.
    """
    of_location, length, n = (source.channels + 31) >> 5, source.length, 0
    each = source.locations * of_location
    for t in range(source.ticks):
        chunk = t // length
        m = chunk * each * length + t - chunk * length
        before = n
        for location in range(source.locations):
            for b in range(of_location):
                mask, first = source.positive[m], location * source.channels + 32 * b
                if negative is not None:
                    at, both = n, mask | negative[m]
                    while both:
                        bit = simd.lowest(both)
                        sign[at] = 1 if (mask >> np.uint32(bit)) & np.uint32(1) else -1
                        both &= both - np.uint32(1)
                        at += 1
                    mask |= negative[m]
                n = append(neuron, n, first, mask)
                m += length
        for at in range(before, n):
            tick[at] = source.since + t + 1
    return n


@compiled
def from_train(train, target, negative):
    """Set the bits of the spikes of a window; the masks are zeros before.

    Parameters
    ----------
    train : Train
    target : Masks
        Written.
    negative : uint32 array or None
        ``target.negative``.
    """
    of_location, length = (target.channels + 31) >> 5, target.length
    for e in range(len(train.tick)):
        t = train.tick[e] - target.since - 1
        chunk, location = t // length, train.neuron[e] // target.channels
        channel = train.neuron[e] - location * target.channels
        m = ((chunk * target.locations + location) * of_location + (channel >> 5)) * length + t - chunk * length
        bit = np.uint32(1) << np.uint32(channel & 31)
        if negative is not None and train.sign[e] < 0:
            negative[m] |= bit
        else:
            target.positive[m] |= bit

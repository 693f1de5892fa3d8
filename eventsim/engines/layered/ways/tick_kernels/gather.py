"""Delivering many spikes of a tick at once: each target location sums up what reaches it, bit-sliced.

Of weights of one magnitude only the signs are kept, a bit each; so the sum of a lane is twice the number of its ones, less the number of
all rows, times the magnitude. This is faster than to scatter the spikes where they are many (``gather_from`` of a projection).
"""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import divided
from eventsim.kernels import simd
from eventsim.kernels.compiled import inner, part

# Rows of bits that are summed at a time, at most: their sums have eight binary digits.
MOST_ROWS = 248
# Places at the end of the bits that hold a row of zeros.
ZEROS = 8


@part
def gather_group(layer, gathers, d, scratch, train, p, first, last, operations):
    """Deliver the spikes first..last-1 of a tick, all of projection ``p``, if they are so many; returns whether they were.

    Parameters
    ----------
    layer : Layer
    gathers : GATHER (projections,) or None
        That of the layer.
    d : int16, int32 or int64 array
        As in :class:`State`.
    scratch, train : Scratch, Train
    p, first, last : int64
    operations : int64 (5,)
        Those of the projection and step; all but the effective ones are counted.
    """
    if gathers is None:
        return False
    of = layer.projections[p]
    if last - first < of["gather_from"]:
        return False
    g = gathers[p]
    for sign in range(1 if len(train.sign) == 0 else 2):
        spikes, begin, end = train.neuron, first, last
        if len(train.sign):
            spikes, begin, end = scratch.split, 0, split(train, first, last, 1 - 2 * sign, scratch.split)
        if end > begin:
            locate(spikes, begin, end, g["channels"], of["source_shift"], scratch.begins, g["height"] * g["width"])
            gather(d, layer.bits, g, spikes, begin, end, scratch.begins, scratch.places, scratch.offsets, (1 - 2 * sign) * g["unit"])
            count_gathered(scratch.begins, layer.records, of["records"], g["height"] * g["width"], operations)
    return True


@part
def split(train, first, last, sign, neurons):
    """List the neurons of those spikes first..last-1 that have a sign; returns how many there are."""
    n = 0
    for f in range(first, last):
        if train.sign[f] == sign:
            neurons[n] = train.neuron[f]
            n += 1
    return n


@inner
def locate(spikes, first, last, channels, shift, begins, locations):
    """Where in the list of spikes those of each location begin.

    Parameters
    ----------
    spikes : int32 array
        Source neurons, sorted from ``first`` to ``last - 1``.
    first, last : int64
    channels, shift : int64
        Of a source location; see :func:`divided`.
    begins : int64 (locations + 1,) or more
        Takes the answer; that of location ``locations`` is ``last``.
    locations : int64
    """
    begins[:locations] = first
    begins[locations] = last
    if locations > 1:
        for e in range(first, last):
            begins[divided(np.int64(simd.peek(spikes, e)), channels, shift) + 1] = e + 1
        for location in range(1, locations):
            begins[location] = max(begins[location], begins[location - 1])


@inner
def gather(d, bits, g, spikes, first, last, begins, places, offsets, scale):
    """Deliver spikes, location of the target by location; all weights are +1 or -1 times ``scale``.

    A block of lanes at a time over all locations: its weights stay in the cache. Pooling is not fused: the locations that it pools are
    summed one by one.

    Parameters
    ----------
    d : int16, int32 or int64 array
        As in :class:`State`.
    bits : uint64 array
        As in :class:`Layer`.
    g : GATHER
    spikes : int32 array
        Source neurons, sorted from ``first`` to ``last - 1``.
    first, last : int64
    begins : int64 array
        Where those of each location begin (:func:`locate`).
    places, offsets : int64 arrays
        Room for the places of all spikes' weights, and of MOST_ROWS (each and 8 more).
    scale : int64
    """
    lanes, block, width = g["lanes"], g["block"], g["out_width"]
    words = block >> 6
    for e in range(first, last):
        places[e - first] = np.int64(simd.peek(spikes, e)) * words
    for b in range(lanes // block):
        base = g["weights"] + b * g["rows"] * g["columns"] * g["channels"] * words
        for y in range(g["out_height"]):
            for x in range(width):
                gather_location(d, (y * width + x) * lanes + b * block, bits, g, y, x, base, begins, places, offsets, first, scale)


@part
def gather_location(d, lane, bits, g, y, x, base, begins, places, offsets, first, scale):
    """Sum up a block of lanes at a target location (``y``, ``x``), from ``lane`` on, its weights from ``base`` on; else as :func:`gather`.

    In each kernel row it sees the spikes of consecutive source locations, hence a range of the sorted list.
    """
    words, width, n = g["block"] >> 6, g["width"], 0
    kernel_row = g["columns"] * g["channels"] * words
    for i in range(g["pool_y"]):
        top = (y * g["pool_y"] + i) * g["stride_y"] - g["top"]
        for j in range(g["pool_x"]):
            left = (x * g["pool_x"] + j) * g["stride_x"] - g["left"]
            from_x, to_x = max(0, left), min(width, left + g["columns"])
            if from_x >= to_x:
                continue
            for row in range(max(0, -top), min(g["rows"], g["height"] - top)):
                source = (top + row) * width
                start, end = begins[source + from_x], begins[source + to_x]
                offset = base + row * kernel_row - (source + left) * g["channels"] * words
                while start < end:
                    some = min(end - start, MOST_ROWS - n)
                    for e in range(0, some, 8):
                        simd.shifted(offsets, n + e, places, start - first + e, offset)
                    n += some
                    start += some
                    if n == MOST_ROWS:
                        add_bits(d, lane, bits, g["block"], offsets, n, scale)
                        n = 0
    if n:
        add_bits(d, lane, bits, g["block"], offsets, n, scale)


@part
def add_bits(d, lane, bits, block, offsets, n, scale):
    """Add the sum of ``n`` rows of bits, at most MOST_ROWS, whose places ``offsets`` gives; see :func:`gather_location`."""
    groups = (n + 7) >> 3
    for k in range(n, 8 * groups):
        offsets[k] = len(bits) - ZEROS
    if block == 512:
        simd.add_bits_512(d, lane, bits, offsets, groups, n, scale)
    elif block == 256:
        simd.add_bits_256(d, lane, bits, offsets, groups, n, scale)
    elif block == 128:
        simd.add_bits_128(d, lane, bits, offsets, groups, n, scale)
    else:
        simd.add_bits_64(d, lane, bits, offsets, groups, n, scale)


@inner
def count_gathered(begins, records, first, locations, operations):
    """Count the operations of gathered spikes, location of the source by location.

    Parameters
    ----------
    begins : int64 array
        Where in the list of spikes those of each location begin.
    records : STENCIL (source locations,)
        As in :class:`Layer`; those of the projection begin at ``first``.
    first, locations : int64
    operations : int64 (5,)
        All but the effective ones are counted.
    """
    for location in range(locations):
        n = begins[location + 1] - begins[location]
        if n:
            record = records[first + location]
            operations[0] += n
            operations[1] += n * record["synapses"]
            operations[2] += n * record["additions"]
            operations[3] += n * record["toolbox"]

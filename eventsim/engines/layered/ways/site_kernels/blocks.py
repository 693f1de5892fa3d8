"""Running a block of a site's lanes."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.ways.parts import divided
from eventsim.engines.layered.ways.records import FOREVER
from eventsim.kernels import simd
from eventsim.kernels.compiled import inner, part


@inner
def run_block(layer, state, sites, room, keys, n, block, at, base, last):
    """Run a block to the end of a tick. It stops where there is hardly room for more keys.

    Parameters
    ----------
    layer : Layer
    state : State
    sites : Sites
        ``again`` of the block is written.
    room : Room
        With the lists of the sites.
    keys : int64 array
        Takes the spikes, ``tick - base << bits | neuron``.
    n : int64
        How many there are.
    block : int64
    at : int64
        The place in ``room.entries`` from which on its list is to be run.
    base, last : int64
        The tick before the stretch, and the last one.

    Returns
    -------
    whole : bool
        Whether it came to the end.
    at, n : int64
    """
    c, d, entries, told, masks = layer.constants, state.d, room.entries, room.told, room.masks
    most = len(keys) - 128 - simd.SLACK
    size, bits, theta, w8 = sites.sizes.block, sites.sizes.bits, state.theta, layer.w8
    lane = block * size
    location = divided(lane, c.padded, c.padded_shift)
    channel = lane - location * c.padded
    neuron = location * c.channels + channel
    # Weights of this block within those of the site.
    j = lane - divided(lane, sites.sizes.lanes, sites.sizes.shift) * sites.sizes.lanes
    again = sites.again[block]
    while True:
        if n > most:
            sites.again[block] = again
            return False, at, n
        arrival = (entries[at] >> 32) + base
        tick = min(arrival, again)
        if tick > last:
            break
        if again > tick and entries[at] & simd.WIDE == 0:
            # Through all ticks until a neuron has to fire once more.
            limit, places = min(again, last + 1) - base, simd.Running(lane, channel, j, at, n)
            if size == 128:
                at = simd.run_128(places, d, theta, w8, entries, limit, keys, most, neuron, bits, told, masks)
            elif size == 64:
                at = simd.run_64(places, d, theta, w8, entries, limit, keys, most, neuron, bits, told, masks)
            else:
                at = simd.run_32(places, d, theta, w8, entries, limit, keys, most, neuron, bits, told, masks)
            n = told[0]
            tick = (entries[at - 1] >> 32) + base
            if told[1]:
                again = tick + 1
            if entries[at] & simd.WIDE == 0 or (entries[at] >> 32) + base != tick:
                continue
        at = deliver_tick(layer, d, entries, size, lane, j, at, tick - base)
        for k in range(0, size, 32):
            fires = simd.discharge(d, lane + k, theta, channel + k)
            while fires:
                keys[n] = ((tick - base) << bits) + neuron + k + simd.lowest(fires)
                fires &= fires - np.uint32(1)
                n += 1
        again = tick + 1 if is_due(d, lane, size) else FOREVER
    sites.again[block] = again
    return True, at, n


@part
def is_due(d, lane, block):
    """Whether one of ``block`` lanes from ``lane`` on is."""
    due = np.uint32(0)
    for k in range(0, block, 32):
        due |= simd.test(d, lane + k)
    return due != 0


@part
def deliver_tick(layer, d, entries, block, lane, j, at, tick):
    """Deliver all entries of a tick (counted as theirs) to a block; returns the place behind them.

    Parameters
    ----------
    layer : Layer
    d : int16 or int32 array
    entries : int64 array
    block, lane, j : int64
        Lanes of a block; its first one, among all and among those of the site.
    at, tick : int64
    """
    while entries[at] >> 32 == tick:
        place = (entries[at] & (simd.NEGATIVE - 1)) + j
        for k in range(0, block, 32):
            if entries[at] & simd.WIDE == 0:
                simd.add(d, lane + k, layer.w8, place + k)
            else:
                add_wide(d, lane + k, layer.w16, place + k, entries[at] & simd.NEGATIVE == 0)
        at += 1
    return at


@part
def add_wide(d, i, w16, j, positive):
    """Add weights of 16 bits, or take them off; None stands for no weights."""
    if w16 is not None:
        if positive:
            simd.add(d, i, w16, j)
        else:
            simd.subtract(d, i, w16, j)

"""Vector operations on rasters for compiled code: loops over ticks with the potentials of a location in registers.

A raster says of 32 adjacent neurons and a tick which of them spike, in a mask of 32 bits; the masks of consecutive ticks lie side by
side (:mod:`eventsim.engines.layered.ways.raster`). As in :mod:`eventsim.kernels.simd`, nothing is checked here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels.compiled import part
from eventsim.kernels.simd import LANES
from eventsim.kernels.vector import (
    add_rows,
    bits,
    converted,
    full,
    load,
    load_rows,
    lowest,
    no_rows,
    ones,
    peek,
    poke,
    registers_are_wide,
    select,
    some_lanes,
    store,
    without_lowest,
)


def _summer(taps: int, lanes: int, negative: bool) -> Any:
    row_size = taps * lanes

    @part
    def add(current, places, masks, words, pairs, ticks, weights, q, limit):
        """Add the weights of all spikes of a group of source neurons to the currents of its target locations, tick by tick.

        Arguments: ``current`` (int16), ``places`` (of the target locations in it, of which there are ``taps``; a tick is ``lanes``
        further than the one before), ``masks``, ``words`` (places of masks in pairs, 64 neurons each), ``pairs``, ``ticks``, ``weights``
        (int8: neuron, tap, lane), ``q`` (where they begin), ``limit``: so many weights can be added up in int8.
        """
        nothing = no_rows(load_rows(weights, q, taps, lanes))
        sums, left = nothing, limit
        for tick in range(ticks):
            for pair in range(pairs):
                low, high = peek(masks, peek(words, 2 * pair) + tick), peek(masks, peek(words, 2 * pair + 1) + tick)
                neurons = np.uint64(low) | np.uint64(high) << np.uint64(32)
                first = q + pair * (64 * row_size)
                while neurons:
                    row = load_rows(weights, first + lowest(neurons) * row_size, taps, lanes)
                    sums = sums - row if negative else sums + row
                    neurons = without_lowest(neurons)
                    left -= 1
                    if left == 0:
                        add_rows(current, places, tick * lanes, sums)
                        sums, left = nothing, limit
            if left != limit:
                add_rows(current, places, tick * lanes, sums)
                sums, left = nothing, limit

    return add


@part
def _store_masks_32(masks, m, length, tick, fires):
    """Flags of 32 lanes at a tick, to the masks of their neurons from place m on."""
    poke(masks, m + tick, bits(fires))


@part
def _store_masks_64(masks, m, length, tick, fires):
    """Flags of 64 lanes at a tick, to the masks of 32 neurons from place m on, and of the others ``length`` further."""
    poke(masks, m + tick, bits(some_lanes(fires, 0, LANES)))
    poke(masks, m + length + tick, bits(some_lanes(fires, LANES, LANES)))


_STORE_MASKS = {32: _store_masks_32, 64: _store_masks_64}


def _charger(lanes: int) -> Any:
    store_masks = _STORE_MASKS[lanes]

    @part
    def charge(v, current, threshold, i, masks, m, length, ticks):
        """So many ticks of driven neurons: ``v += current``; those with v >= threshold spike and lose the threshold (int32 arrays)."""
        potential, rate, theta = load(v, i, lanes), load(current, i, lanes), load(threshold, i, lanes)
        for tick in range(ticks):
            after = potential + rate
            fires = after >= theta
            potential = select(fires, after - theta, after)
            store_masks(masks, m, length, tick, fires)
        store(v, i, potential)

    return charge


def _halves_charged(whole: Any, half: Any) -> Any:
    @part
    def charge(v, current, threshold, i, masks, m, length, ticks):
        """As charge_32, for 64 lanes."""
        if registers_are_wide():
            whole(v, current, threshold, i, masks, m, length, ticks)
        else:
            half(v, current, threshold, i, masks, m, length, ticks)
            half(v, current, threshold, i + 32, masks, m + length, length, ticks)

    return charge


class Firing(NamedTuple):
    """Where in its arrays a location lies that fires."""

    lane: Any  # in the distances to threshold, and the counts of spikes
    current: Any  # of the first tick
    constant: Any
    threshold: Any
    mask: Any  # of the first tick, of the lowest 32 neurons
    lanes: Any  # of the location: from the currents of a tick to those of the next one


@part
def _upper_half(places, length):
    """Where the upper 32 of 64 lanes lie; ``length`` as for :func:`fire_64`."""
    return Firing(places.lane + 32, places.current + 32, places.constant + 32, places.threshold + 32, places.mask + length, places.lanes)


def _firer(lanes: int) -> Any:
    store_masks = _STORE_MASKS[lanes]

    @part
    def fire(places, d, current, constant, threshold, masks, unit, keep, length, ticks):
        """So many ticks of integrate-and-fire neurons, from the currents that reach them; sets the currents to 0.

        Arguments: ``places`` (:class:`Firing`), ``d`` (int32, distances to threshold), ``current`` (int16), ``constant`` (int32, added at
        every tick), ``threshold`` (int32), ``masks``, ``unit`` (by which currents are multiplied), ``keep`` (0: reset to zero, -1: by
        subtraction), ``length`` (the masks of the next 32 neurons are so much further), ``ticks``.
        """
        i, j, m = places.lane, places.current, places.mask
        v, each, theta = load(d, i, lanes), load(constant, places.constant, lanes), load(threshold, places.threshold, lanes)
        change = load(current, j, lanes)
        zero, kept, none, factor = full(v, 0), full(v, keep), full(change, 0), full(change, unit)
        for tick in range(ticks):
            change = load(current, j + tick * places.lanes, lanes)
            store(current, j + tick * places.lanes, none)
            after = v + (converted(change * factor, v) + each)
            fires = after >= zero
            v = select(fires, (after & kept) - theta, after)
            store_masks(masks, m, length, tick, fires)
        store(d, i, v)

    return fire


def _halves_fired(whole: Any, half: Any) -> Any:
    @part
    def fire(places, d, current, constant, threshold, masks, unit, keep, length, ticks):
        """As fire_32, for 64 lanes."""
        if registers_are_wide():
            whole(places, d, current, constant, threshold, masks, unit, keep, length, ticks)
        else:
            half(places, d, current, constant, threshold, masks, unit, keep, length, ticks)
            half(_upper_half(places, length), d, current, constant, threshold, masks, unit, keep, length, ticks)

    return fire


def _signed_firer(lanes: int) -> Any:
    store_masks = _STORE_MASKS[lanes]

    @part
    def fire_signed(places, d, current, constant, threshold, masks, unit, keep, length, ticks, net, negative):
        """As fire_32 and fire_64, for signed neurons.

        ``net`` (int32, as d) counts their spikes, ``negative`` (as masks) gets those that take one back.
        """
        i, j, m = places.lane, places.current, places.mask
        v, each, theta = load(d, i, lanes), load(constant, places.constant, lanes), load(threshold, places.threshold, lanes)
        counted, change = load(net, i, lanes), load(current, j, lanes)
        zero, kept, none, factor = full(v, 0), full(v, keep), full(change, 0), full(change, unit)
        low = zero - theta
        for tick in range(ticks):
            change = load(current, j + tick * places.lanes, lanes)
            store(current, j + tick * places.lanes, none)
            after = v + (converted(change * factor, v) + each)
            fires, back = after >= zero, (after < low) & (counted > zero)
            v = select(back, after + theta, select(fires, (after & kept) - theta, after))
            counted = counted + converted(fires, v) - converted(back, v)
            store_masks(negative, m, length, tick, back)
            store_masks(masks, m, length, tick, fires)
        store(d, i, v)
        store(net, i, counted)

    return fire_signed


def _halves_fired_signed(whole: Any, half: Any) -> Any:
    @part
    def fire_signed(places, d, current, constant, threshold, masks, unit, keep, length, ticks, net, negative):
        """As fire_signed_32, for 64 lanes."""
        if registers_are_wide():
            whole(places, d, current, constant, threshold, masks, unit, keep, length, ticks, net, negative)
        else:
            half(places, d, current, constant, threshold, masks, unit, keep, length, ticks, net, negative)
            half(_upper_half(places, length), d, current, constant, threshold, masks, unit, keep, length, ticks, net, negative)

    return fire_signed


def _lister(negative: bool) -> Any:
    @part
    def add_listed(d, i, w, base, step, places, count):
        """``d += `` (or ``-=``) the int8 weights at ``base + places[n] * step`` for n < count, on LANES lanes; ``places`` are int32."""
        v = load(d, i, LANES)
        for n in range(count):
            change = converted(load(w, base + np.int64(peek(places, n)) * step, LANES), v)
            v = v - change if negative else v + change
        store(d, i, v)

    return add_listed


@part
def add_counts(counts, masks, m):
    """``counts[t] +=`` the spikes in the mask of tick t, for LANES ticks from place m on (counts: int32)."""
    before = load(counts, 0, LANES)
    store(counts, 0, before + converted(ones(load(masks, m, LANES)), before))


add_1_32, add_1_64, add_4_32, add_4_64, add_9_32, add_9_64 = (_summer(taps, lanes, False) for taps in (1, 4, 9) for lanes in (32, 64))
subtract_1_32, subtract_1_64, subtract_4_32, subtract_4_64, subtract_9_32, subtract_9_64 = (
    _summer(taps, lanes, True) for taps in (1, 4, 9) for lanes in (32, 64)
)
charge_32, fire_32, fire_signed_32 = _charger(32), _firer(32), _signed_firer(32)
charge_64 = _halves_charged(_charger(64), charge_32)
fire_64 = _halves_fired(_firer(64), fire_32)
fire_signed_64 = _halves_fired_signed(_signed_firer(64), fire_signed_32)
add_listed, subtract_listed = (_lister(negative) for negative in (False, True))

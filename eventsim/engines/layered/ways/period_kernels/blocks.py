"""Running a block of a site's lanes through a stretch."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.engines.layered.ways.period_kernels.records import END, GUARD, NEVER
from eventsim.kernels.compiled import inner, part
from eventsim.kernels.simd import NEGATIVE, WIDE
from eventsim.kernels.vector import (
    bits,
    converted,
    full,
    load,
    lowest,
    peek,
    poke,
    prefetch,
    select,
    some_lanes,
    spread,
    store,
    unsigned,
    without_lowest,
)

# Weights are asked for so many entries before they are added.
AHEAD = 12


def _flags_of(lanes: int) -> Any:
    @part
    def bits_of(found):
        """Not 0 if a flag is set."""
        if lanes > 64:
            return bits(some_lanes(found, 0, 64)) | bits(some_lanes(found, 64, 64))
        return bits(found)

    return bits_of


def _runner(lanes: int) -> Any:
    bits_of = _flags_of(lanes)

    @inner
    def run(layer, state, periods, room, limits, site, lane, j):
        """Add the entries of a site's list to ``d`` on so many lanes; who fires when goes to ``first``. Nobody is reset.

        Potentials are added up in 16 bits. Who is farther from its threshold than ``limits.clip`` begins there instead, as long as it does
        not come near. Returns whether that was done: not if a potential might leave its 16 bits, or came near; then nothing is written.

        Parameters
        ----------
        layer, state : Layer, State
        periods, room : Periods, Room
        limits : Limits
        site, lane, j : int64
            The first of the lanes, among all and among those of the site.
        """
        w8, entries, halves, at, plain = layer.w8, room.entries, room.halves, periods.begins[site], periods.plain[site]
        away = load(state.d, lane, lanes)
        clipped = _clipped(away, limits.clip)
        strangers = bits_of(converted(clipped, away) != away)
        if strangers and limits.clip < limits.near:
            return False
        # Who is out of bounds on either side has x > reach, unsigned.
        since, below = load(periods.free, lane, lanes), _lower_limits(state.low, lane, clipped, lanes)
        x, reach = unsigned(clipped) - below, full(below, -1) - below
        found, told, before = full(since, NEVER), full(since, 0), np.int64(0)
        while True:
            stop = min(at + GUARD - 1, plain)
            while at < stop:
                moment = peek(entries, at) >> 48
                found = _look(found, x, reach, since, told, before, moment)
                x = x + converted(load(w8, j + peek(halves, 2 * at), lanes), x)
                told, before = spread(since, peek(halves, 2 * at + 1)), moment
                if lanes > 32:
                    soon = j + peek(halves, 2 * (at + AHEAD))
                    for line in range(0, lanes, 64):
                        prefetch(w8, soon + line)
                at += 1
            entry = peek(entries, at)
            moment = entry >> 48
            found = _look(found, x, reach, since, told, before, moment)
            if moment == END:
                break
            if bits_of(x + below + full(x, limits.most) > full(x, 2 * limits.most)):
                return False
            if strangers and bits_of(_strayed(load(state.d, lane, lanes), x + below, limits)):
                return False
            place = j + (entry & (NEGATIVE - 1))
            if entry & WIDE:
                change = _wide_weights(layer.w16, place, x, lanes)
                x = x - change if entry & NEGATIVE else x + change
            else:
                x = x + converted(load(w8, place, lanes), x)
            told, before = spread(since, peek(halves, 2 * at + 1)), moment
            at += 1
        now = _signed(x + below, away)
        store(state.d, lane, _moved(load(state.d, lane, lanes), now, limits) if strangers else now)
        store(room.first, lane, _first(found, since))
        return True

    return run


@inner
def run_wide(layer, d, low, periods, room, site, lane, j):
    """As :func:`run_32`, with as many bits as ``d`` has."""
    entries, at = room.entries, periods.begins[site]
    since, x = load(periods.free, lane, 32), unsigned(load(d, lane, 32))
    below = full(x, np.int64(1) << 31) if low is None else unsigned(load(low, lane, 32))
    x, reach = x - below, full(below, -1) - below
    found, before = full(since, NEVER), full(since, 0)
    while True:
        entry = peek(entries, at)
        moment = full(since, entry >> 48)
        told = before << full(since, 1) | converted(x >> full(x, 31), since)
        found = select((x > reach) & (since < moment) & (moment != before), select(told < found, told, found), found)
        if entry >> 48 == END:
            break
        place = j + (entry & (NEGATIVE - 1))
        if entry & WIDE:
            change = _wide_weights(layer.w16, place, x, 32)
            x = x - change if entry & NEGATIVE else x + change
        else:
            x = x + converted(load(layer.w8, place, 32), x)
        before = moment
        at += 1
    store(d, lane, converted(x + below, d))
    store(room.first, lane, _first(found, since))


@part
def _look(found, x, reach, since, told, before, moment):
    """What is found of neurons when the next moment is known: who was out of bounds since the one before, and free, fired then.

    Parameters
    ----------
    found, x, reach, since : Vector
        As in the loop above.
    told : Vector
        The moment before, in every lane.
    before, moment : int64
    """
    told = told << full(since, 1) | x >> full(x, 15)
    # Within a moment nobody is looked at: nobody was free before moment 0.
    looked = full(since, moment if moment != before else 0)
    return select((x > reach) & (since < looked), select(told < found, told, found), found)


@part
def _first(found, since):
    """When neurons fired: who became free later than due fired then."""
    one = full(since, 1)
    free = since << one
    return select(free > found, free | (found & one), found)


@part
def _clipped(d, clip):
    """Numbers in 16 bits: ``clip`` and ``-clip`` for those beyond."""
    high, low = full(d, clip), full(d, -clip)
    d = select(d > high, high, d)
    return converted(select(d < low, low, d), np.int16)


@part
def _signed(x, like):
    """Signed numbers of 16 bits in the type of ``like``."""
    return converted(converted(x, np.int16), like)


@part
def _moved(d, now, limits):
    """Where neurons are that were at d, or began at ``clip`` instead, and came to ``now``."""
    return d + now - converted(_clipped(d, limits.clip), d)


@part
def _strayed(d, x, limits):
    """Which neurons farther away than ``clip``, which began there in x (unsigned), came near their limits."""
    clip, near = full(d, limits.clip), full(x, limits.near)
    return ((d > clip) | (d < full(d, -limits.clip))) & (x + near < near + near)


@part
def _wide_weights(w16, place, like, lanes):
    """Weights of 16 bits, as ``like``; None stands for no weights."""
    if w16 is None:
        return full(like, 0)
    return converted(load(w16, place, lanes), like)


@part
def _lower_limits(low, lane, like, lanes):
    """The lower limits of 16 bits, unsigned; neurons without a sign have the lowest number, which none reaches."""
    if low is None:
        return full(unsigned(like), 2**15)
    limits = load(low, lane, lanes)
    floor = full(limits, -(2**15))
    return unsigned(converted(select(limits < floor, floor, limits), np.int16))


def _finisher(lanes: int) -> Any:
    @inner
    def finish(d, low, net, free, lane, theta, channel, first, keys, places, n):
        """Reset who fired in a stretch, by what ``first`` says, and append the spikes to ``keys``; returns their new number.

        Arguments: ``d``, ``low`` and ``net`` (as in :class:`State`), ``free`` (as in :class:`Periods`), and a ``lane`` of them; ``theta``
        (as in :class:`State`) and the ``channel`` of the lane; ``first``, ``keys`` and ``places`` (as in :class:`Room`, counts of spikes),
        and how many keys there are, ``n``.
        """
        found, since = load(first, lane, lanes), load(free, lane, lanes)
        none = full(found, NEVER)
        fired = found != none
        store(free, lane, select(fired | (since == none), none, full(none, 0)))
        v, threshold = load(d, lane, lanes), load(theta, channel, lanes)
        if low is None:
            store(first, lane, found & full(found, NEVER - 1))
            store(d, lane, select(fired, v - threshold, v))
        else:
            one, limits = full(found, 1), load(low, lane, lanes)
            floor = full(limits, np.int64(-1) << (8 * d.itemsize - 1))
            # (Where there is no lower limit, the bit that stands for the sign means something else.)
            negative = fired & ((found & one) == one) & (limits != floor)
            positive = fired & ~negative
            store(first, lane, select(negative, found, found & full(found, NEVER - 1)))
            v = select(positive, v - threshold, v)
            store(d, lane, select(negative, v + threshold, v))
            balance = load(net, lane, lanes)
            balance = balance + converted(positive, balance) - converted(negative, balance)
            store(net, lane, balance)
            store(low, lane, select(balance > full(balance, 0), full(threshold, 0) - threshold, floor))
        if lanes > 64:
            n = _append(bits(some_lanes(fired, 0, 64)), lane, first, keys, places, n)
            return _append(bits(some_lanes(fired, 64, 64)), lane + 64, first, keys, places, n)
        return _append(bits(fired), lane, first, keys, places, n)

    return finish


@part
def _append(mask, lane, first, keys, places, n):
    """Append the keys of the neurons of a mask, of which bit 0 is that of a lane; returns how many keys there are then."""
    while mask:
        here = lane + lowest(mask)
        mask = without_lowest(mask)
        found = np.int64(peek(first, here))
        poke(keys, n, found << 32 | here)
        poke(places, found >> 1, peek(places, found >> 1) + 1)
        n += 1
    return n


run_32, run_64, run_128 = (_runner(lanes) for lanes in (32, 64, 128))
finish_32, finish_64, finish_128 = (_finisher(lanes) for lanes in (32, 64, 128))

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
    store,
    unsigned,
    without_lowest,
)

# Weights are asked for so many entries before they are added.
AHEAD = 12


def _runner(lanes: int) -> Any:
    @inner
    def run(d, low, free, lane, w8, w16, j, entries, at, most, first):
        """Add the entries of a list to ``d`` on so many lanes; who fires when goes to ``first``. Nobody is reset.

        Returns whether that was done: not if a potential of 16 bits might leave its type. Arguments: ``d`` and ``low`` (as in
        :class:`State`), ``free`` (as in :class:`Periods`), and a ``lane`` of them; ``w8``, ``w16`` and the place ``j`` of the lanes among
        those of the site; ``entries`` and the first place ``at``; the largest |d|, ``most``, with which GUARD entries can be added;
        ``first`` (as in :class:`Room`).
        """
        # Who is out of bounds on either side has x > reach, unsigned.
        since, below = load(free, lane, lanes), _lower_limits(d, low, lane, lanes)
        x, reach = unsigned(load(d, lane, lanes)) - below, full(below, -1) - below
        none, top = full(since, NEVER), full(x, 8 * d.itemsize - 1)
        found, before, entry, watch = none, np.int64(0), peek(entries, at), at
        while True:
            # Within a moment nobody is looked at: nobody was free before moment 0.
            moment = entry >> 32
            looked = full(since, moment if moment != before else 0)
            told = full(since, before) | converted(x >> top, since)
            found = select((x > reach) & (since < looked), select(told < found, told, found), found)
            place, soon = j + (entry & (NEGATIVE - 1)), j + (peek(entries, at + AHEAD) & (NEGATIVE - 1))
            for line in range(0, lanes, 64):
                prefetch(w8, soon + line)
            if (entry & WIDE != 0) | (at == watch):
                if moment == END:
                    break
                watch = at + GUARD
                if d.itemsize == 2 and bits_of(x + below + full(x, most) > full(x, 2 * most)):
                    return False
                if entry & WIDE:
                    change = _wide_weights(w16, place, x, lanes)
                    x = x - change if entry & NEGATIVE else x + change
                else:
                    x = x + converted(load(w8, place, lanes), x)
            else:
                x = x + converted(load(w8, place, lanes), x)
            before = moment
            at += 1
            entry = peek(entries, at)
        store(d, lane, converted(x + below, d))
        # Who became free later than due fired then. (What waits in ``since`` is even: the last bit is that of the sign.)
        store(first, lane, select(since > found, since | (found & full(found, 1)), found))
        return True

    @part
    def bits_of(found):
        """Not 0 if a flag is set."""
        if lanes > 64:
            return bits(some_lanes(found, 0, 64)) | bits(some_lanes(found, 64, 64))
        return bits(found)

    return run


@part
def _wide_weights(w16, place, like, lanes):
    """Weights of 16 bits, as ``like``; None stands for no weights."""
    if w16 is None:
        return full(like, 0)
    return converted(load(w16, place, lanes), like)


@part
def _lower_limits(d, low, lane, lanes):
    """The lower limits of d, unsigned; neurons without a sign have the lowest number of its type, which none reaches."""
    if low is None:
        here = unsigned(load(d, lane, lanes))
        return full(here, np.int64(1) << (8 * d.itemsize - 1))
    return unsigned(load(low, lane, lanes))


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

"""Vector operations for compiled code: potentials and weights, LANES neurons at a time.

``d`` is an array of distances to threshold (int16, int32 or int64), ``w`` an array of weights (int8, int16 or int32); ``i`` and ``j``
are places in them, LANES entries from each on must exist. A mask (uint32) has bit k set if lane k is due. Nothing is checked here:
callers work on arrays that :mod:`eventsim.engines.layered.engine` has laid out in multiples of LANES.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels.compiled import part
from eventsim.kernels.vector import (
    add_digits,
    any_reaches_zero,
    bits,
    converted,
    count,
    full,
    lane_numbers,
    largest,
    load,
    lowest,
    peek,
    poke,
    select,
    some_lanes,
    store,
    without_lowest,
)

LANES = 32
# So many places are written at once where some of them may not be needed.
SLACK = 4
# Flags of the entries of a list that is run through (run_32, ...).
WIDE, NEGATIVE = 2**31, 2**30

__all__ = ["LANES", "NEGATIVE", "SLACK", "WIDE", "count", "lowest", "peek", "poke"]


@part
def add(d, i, w, j):
    """``d += w``; returns which are due: d >= 0."""
    before = load(d, i, LANES)
    after = before + converted(load(w, j, LANES), before)
    store(d, i, after)
    return bits(after >= full(after, 0))


@part
def subtract(d, i, w, j):
    """``d -= w``; returns which are due: d >= 0."""
    before = load(d, i, LANES)
    after = before - converted(load(w, j, LANES), before)
    store(d, i, after)
    return bits(after >= full(after, 0))


@part
def _sum_several(d, i, w, places, count, shift):
    """What :func:`add_several` stores."""
    v = load(d, i, LANES)
    for k in range(count):
        place = peek(places, k)
        change, negative = converted(load(w, (place >> 1) + shift, LANES), v), full(v, -(place & 1))
        v = v + ((change ^ negative) - negative)
    return v


@part
def add_several(d, i, w, places, count, shift):
    """``d +=`` the rows of weights at ``count`` places, or ``-=``; returns which lanes are due then: d >= 0.

    ``places`` (int64) are twice those in ``w`` less ``shift``, and 1 more where the weights are taken off.
    """
    after = _sum_several(d, i, w, places, count, shift)
    store(d, i, after)
    return bits(after >= full(after, 0))


@part
def add_several_signed(d, i, w, places, count, shift, low):
    """As :func:`add_several`; returns which lanes are due: d >= 0, or d < low (as d)."""
    after = _sum_several(d, i, w, places, count, shift)
    store(d, i, after)
    return bits((after >= full(after, 0)) | (after < load(low, i, LANES)))


@part
def test(d, i):
    """Which lanes are due: d >= 0."""
    values = load(d, i, LANES)
    return bits(values >= full(values, 0))


@part
def test_signed(d, i, low):
    """Which lanes are due: d >= 0, or d < low."""
    values = load(d, i, LANES)
    return bits((values >= full(values, 0)) | (values < load(low, i, LANES)))


@part
def discharge(d, i, threshold, j):
    """Fire: ``d -= threshold`` where d >= 0; returns which lanes fired. Both arrays are of one type."""
    before = load(d, i, LANES)
    fires = before >= full(before, 0)
    store(d, i, select(fires, before - load(threshold, j, LANES), before))
    return bits(fires)


@part
def reset(d, i, threshold, j, kept):
    """Fire: ``d = (d & kept) - threshold`` where d >= 0 (kept: -1, or 0 for a reset to zero).

    Returns which lanes fired, and which are due yet.
    """
    before, theta = load(d, i, LANES), load(threshold, j, LANES)
    fires = before >= full(before, 0)
    after = select(fires, (before & full(before, kept)) - theta, before)
    store(d, i, after)
    return bits(fires), bits(after >= full(after, 0))


@part
def reset_signed(d, i, threshold, j, low, net, lowest_d):
    """Fire signed neurons: ``d -= threshold`` where d >= 0, ``d += threshold`` where d < low (as d).

    ``net`` (int32) counts, and of those that fire ``low`` is what follows from it: -threshold where it is positive, else ``lowest_d``.
    Returns which lanes fired, which of them with sign -1, and which are due yet.
    """
    before, theta, number, bound = load(d, i, LANES), load(threshold, j, LANES), load(net, i, LANES), load(low, i, LANES)
    up, down = before >= full(before, 0), before < bound
    after = select(up, before - theta, select(down, before + theta, before))
    one = full(number, 1)
    number = select(up, number + one, select(down, number - one, number))
    bound = select(up | down, select(number > full(number, 0), full(before, 0) - theta, full(before, lowest_d)), bound)
    store(d, i, after)
    store(net, i, number)
    store(low, i, bound)
    return bits(up | down), bits(down), bits((after >= full(after, 0)) | (after < bound))


# Rows of int8 weights together: summed in int8, where that cannot overflow, or (wide) in the type of d.


@part
def _add_sum(d, i, total):
    before = load(d, i, LANES)
    store(d, i, before + converted(total, before))


@part
def add_2(d, i, w, a, b):
    """``d +=`` the sum of the rows of weights at two places; the sum fits int8."""
    _add_sum(d, i, load(w, a, LANES) + load(w, b, LANES))


@part
def add_3(d, i, w, a, b, c):
    """``d +=`` the sum of the rows of weights at three places; the sum fits int8."""
    _add_sum(d, i, load(w, a, LANES) + load(w, b, LANES) + load(w, c, LANES))


@part
def add_4(d, i, w, a, b, c, e):
    """``d +=`` the sum of the rows of weights at four places; the sum fits int8."""
    _add_sum(d, i, load(w, a, LANES) + load(w, b, LANES) + load(w, c, LANES) + load(w, e, LANES))


@part
def _wide(d, w, j):
    return converted(load(w, j, LANES), d)


@part
def add_2_wide(d, i, w, a, b):
    """``d +=`` the sum of the rows of weights at two places."""
    _add_sum(d, i, _wide(d, w, a) + _wide(d, w, b))


@part
def add_3_wide(d, i, w, a, b, c):
    """``d +=`` the sum of the rows of weights at three places."""
    _add_sum(d, i, _wide(d, w, a) + _wide(d, w, b) + _wide(d, w, c))


@part
def add_4_wide(d, i, w, a, b, c, e):
    """``d +=`` the sum of the rows of weights at four places."""
    _add_sum(d, i, _wide(d, w, a) + _wide(d, w, b) + _wide(d, w, c) + _wide(d, w, e))


# Weights that are bits, summed bit-sliced: a vector of bits for each binary digit of the sums.


@part
def _add_digit(total, a, b):
    """A full adder: the sum's digit and the carry of three bits in each place."""
    different = a ^ b
    return total ^ different, (a & b) | (total & different)


def _bit_summer(block: int) -> Any:
    words = block // 64

    @part
    def row(w, place):
        """A row of bits: a vector of words, or a word, which LLVM knows better than vectors of one lane."""
        return load(w, place, words) if words > 1 else peek(w, place)

    @part
    def add_bits(d, i, w, offsets, groups, rows, scale):
        """``d += scale * (2 * ones - rows)`` on a block of lanes, ``ones`` being how many of the rows of bits have the lane's bit.

        ``offsets`` are the places in ``w`` (uint64) of eight times ``groups`` rows, at most 248; those beyond the number ``rows`` are
        rows of zeros.
        """
        nothing = row(w, peek(offsets, 0))
        nothing = nothing ^ nothing
        d0 = d1 = d2 = d3 = d4 = d5 = d6 = d7 = nothing
        for group in range(groups):
            at = 8 * group
            d0, a = _add_digit(d0, row(w, peek(offsets, at)), row(w, peek(offsets, at + 1)))
            d0, b = _add_digit(d0, row(w, peek(offsets, at + 2)), row(w, peek(offsets, at + 3)))
            d1, e = _add_digit(d1, a, b)
            d0, a = _add_digit(d0, row(w, peek(offsets, at + 4)), row(w, peek(offsets, at + 5)))
            d0, b = _add_digit(d0, row(w, peek(offsets, at + 6)), row(w, peek(offsets, at + 7)))
            d1, f = _add_digit(d1, a, b)
            d2, carry = _add_digit(d2, e, f)
            d3, carry = d3 ^ carry, d3 & carry
            d4, carry = d4 ^ carry, d4 & carry
            d5, carry = d5 ^ carry, d5 & carry
            d6, carry = d6 ^ carry, d6 & carry
            d7 = d7 ^ carry
        digits = d0, d1, d2, d3, d4, d5, d6, d7
        if rows >= 16:
            add_digits(d, i, digits, 8, 2 * scale, scale * rows)
        else:
            add_digits(d, i, digits, 4, 2 * scale, scale * rows)

    return add_bits


add_bits_64, add_bits_128, add_bits_256, add_bits_512 = (_bit_summer(block) for block in (64, 128, 256, 512))


class Running(NamedTuple):
    """Where a list of entries, and the keys of the spikes that it makes, have got to; and where the neurons lie that it runs."""

    lane: Any  # in the distances to threshold
    threshold: Any
    weight: Any  # entries count from here
    entry: Any
    key: Any


def _runner(lanes: int) -> Any:
    @part
    def run(places, d, threshold, w, entries, limit, keys, most, neuron, bits_of_neuron, told, masks):
        """Add weights to ``d`` on so many lanes, one entry of a list after the other; those that are due at the end of a tick fire.

        For unsigned neurons, reset by subtraction. Arguments: ``places`` (:class:`Running`), ``d``, ``threshold`` (as d), ``w`` (int8),
        ``entries``, ``limit``, ``keys`` (int64), ``most``, ``neuron``, ``bits_of_neuron``, ``told`` (int64), ``masks`` (0, -1). An entry
        is ``tick << 32 | WIDE | place``, a spike of lane k the key ``(tick << bits_of_neuron) + neuron + k``. It stops before an entry of
        tick ``limit`` or later or one that is WIDE, where a neuron is still due after it fired, and at ``most`` keys or more; the last
        entry has a tick beyond all limits. Returns the place in ``entries`` that was reached; ``told`` gets the place for the next key
        and whether a neuron is still due. Up to SLACK keys behind the last one are overwritten.
        """
        i, j, at, n = places.lane, places.weight, places.entry, places.key
        v, theta = load(d, i, lanes), load(threshold, places.threshold, lanes)
        zero, again, entry = full(v, 0), False, peek(entries, at)
        while (entry >> 32 < limit) & (entry & WIDE == 0):
            v = v + converted(load(w, j + (entry & (NEGATIVE - 1)), lanes), v)
            at += 1
            following = peek(entries, at)
            # All ones if the next entry has another tick, else 0. Read from memory, so that no branch can be made of it: that would be
            # guessed wrong every other time.
            last = peek(masks, np.int64(entry ^ following >= 2**32))
            if any_reaches_zero(v) & np.uint64(last):
                fires = v >= zero
                v = select(fires, v - theta, v)
                key = (entry >> 32 << bits_of_neuron) + neuron
                if lanes > 64:
                    n = _append_keys(keys, n, key, bits(some_lanes(fires, 0, 64)))
                    n = _append_keys(keys, n, key + 64, bits(some_lanes(fires, 64, 64)))
                else:
                    n = _append_keys(keys, n, key, bits(fires))
                again = any_reaches_zero(v) != 0
                if again | (n >= most):
                    break
            entry = following
        store(d, i, v)
        poke(told, 0, n)
        poke(told, 1, np.int64(again))
        return at

    return run


@part
def _append_keys(keys, n, key, mask):
    """Write the key of each lane of a mask; returns the place behind them. Overwrites SLACK places at least."""
    end = n + count(mask)
    # Few fire as a rule: writing some keys each time costs less than to guess how many there are.
    for _ in range(SLACK):
        poke(keys, n, key + lowest(mask))
        mask = without_lowest(mask)
        n += 1
    while mask:
        poke(keys, n, key + lowest(mask))
        mask = without_lowest(mask)
        n += 1
    return end


run_32, run_64, run_128 = (_runner(lanes) for lanes in (32, 64, 128))


@part
def shifted(out, i, values, j, by):
    """``out = values + by`` on eight lanes; both arrays are of int64."""
    before = load(values, j, 8)
    store(out, i, before + full(before, by))


@part
def leader(d, channels):
    """The place of the largest of the first ``channels`` elements, LANES at most; of equal ones the first. LANES elements must exist."""
    values = load(d, 0, LANES)
    inside = lane_numbers(values) < full(values, channels)
    # (np.iinfo in compiled code would have a start import what numba implements of NumPy, and SciPy's linear algebra.)
    least = np.int64(-1) << (8 * d.itemsize - 1)
    most = largest(select(inside, values, full(values, least)))
    return lowest(bits(inside & (values == full(values, most))))


@part
def reaching(d, first, least):
    """Mask of those of the LANES elements from ``first`` on that are not less than ``least``."""
    values = load(d, first, LANES)
    return bits(values >= full(values, least))


def _lead(lanes: int) -> Any:
    @part
    def lead(d, channels, w, of, records, train, at, end, last, best):
        """Add weights (int8) to ``d``, or take them off, a row for a spike, for as long as one lane leads; returns for how many spikes.

        Arguments: ``d`` (its first lanes are worked on), ``channels``, ``w``, the projection ``of`` the first spike and the ``records`` of
        source locations (PROJECTION and STENCIL; each reaches one row of ``w``), the ``train`` of the spikes, the first place ``at`` and
        the ``end``, the ``last`` tick, and ``best``. It stops behind the spike, the first one at least, after which another of the
        ``channels`` first lanes is as large as ``best``, before one later than ``last`` or of another projection, and at the end.
        """
        v, top, spike, j, step = load(d, 0, lanes), np.int64(peek(d, best)), at, of["weights"], of["channel_step"]
        first, in_location, shift = of["records"], of["source_channels"], of["source_shift"]
        somewhere, signed, several = of["locations"] > 1, len(train.sign) > 0, len(train.projection) > 0
        j += peek(records, first)["tap"]
        start, projection = peek(records, first)["tap"], peek(train.projection, at) if several else np.int16(0)
        number = lane_numbers(v)
        others = (number < full(v, channels)) & (number != full(v, best))
        while True:
            neuron = np.int64(peek(train.neuron, spike))
            row = j + neuron * step
            if somewhere:
                location = neuron >> shift if shift >= 0 else neuron // in_location
                row += peek(records, first + location)["tap"] - start - location * in_location * step
            change, weight = converted(load(w, row, lanes), v), np.int64(peek(w, row + best))
            if signed:
                negative = np.int64(peek(train.sign, spike)) >> 63
                change, weight = (change ^ full(v, negative)) - full(v, negative), (weight ^ negative) - negative
            v = v + change
            top += weight
            spike += 1
            if (bits(others & (v >= full(v, top))) != 0) | (spike >= end):
                break
            if peek(train.tick, spike) > last:
                break
            if several and peek(train.projection, spike) != projection:
                break
        store(d, 0, v)
        return spike - at

    return lead


lead_16, lead_32 = _lead(16), _lead(32)

"""Compiled code that puts spikes in the order of time.

A spike is a key, ``tick - base << bits | neuron``. Keys are thrown into so many buckets by their highest bits that few have more than
SORTED, and what is left of them fits 32 bits; a bucket is then sorted in a vector. Larger buckets are sorted by counting, for each key,
the smaller ones; very large ones, of spikes that share a tick as a rule, and keys that do not fit are sorted digit by digit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.kernels import simd
from eventsim.kernels.compiled import inner, part
from eventsim.kernels.simd_spikes import SORTED, rank, write_sorted

# Buckets, at most; and spikes that a bucket is meant to have, as a power of two: this to twice as many.
BUCKETS, FILL = 2**17, 2
# Up to so many keys are sorted by counting those that are smaller than each.
MANY = 128
# Bits by which keys are sorted in one pass, at most; so few keys that they are sorted otherwise.
DIGIT, FEW = 13, 24


class Room(NamedTuple):
    """Room to work in; holds nothing between calls."""

    rests: Any  # uint32, SORTED more than there are keys
    other: Any  # int64, as keys
    begins: Any  # int32 (BUCKETS + 2)
    digits: Any  # int64 (2**DIGIT + 1)

    def fits(self, n: int) -> bool:
        """Whether so many keys do."""
        return n <= len(self.other)


def room_for(keys: int) -> Room:
    """Room for so many keys."""
    return Room(
        np.empty(keys + SORTED, np.uint32), np.empty(keys, np.int64), np.empty(BUCKETS + 2, np.int32), np.empty(2**DIGIT + 1, np.int64)
    )


@inner
def sort_keys(keys, first, last, other, digits, shift, width):
    """Sort keys[first:last] by the ``width`` bits from ``shift`` on; those that are equal in them keep their order.

    ``other`` has as much room. (Few keys are sorted by all bits: what lies below ``shift`` has to be in order before.)
    """
    if last - first <= FEW:
        for i in range(first + 1, last):
            key, at = keys[i], i
            while at > first and keys[at - 1] > key:
                keys[at] = keys[at - 1]
                at -= 1
            keys[at] = key
        return
    # A pass has to look at all values of its digit, too.
    digit = 4
    while digit < DIGIT and (last - first) >> digit:
        digit += 1
    passes = (width + digit - 1) // digit
    digit = (width + passes - 1) // max(passes, 1)
    mask = (np.int64(1) << digit) - 1
    for number in range(passes):
        a, b = (other, keys) if number & 1 else (keys, other)
        low = shift + number * digit
        digits[: mask + 2] = 0
        digits[0] = first
        for i in range(first, last):
            digits[((a[i] >> low) & mask) + 1] += 1
        for i in range(1, mask + 1):
            digits[i] += digits[i - 1]
        for i in range(first, last):
            key = simd.peek(a, i)
            place = (key >> low) & mask
            to = simd.peek(digits, place)
            simd.poke(digits, place, to + 1)
            simd.poke(b, to, key)
    if passes & 1:
        for i in range(first, last):
            keys[i] = other[i]


@part
def write(keys, first, last, bits, base, tick, neuron, at):
    """The spikes of keys[first:last], which are in order, to their places behind ``at``."""
    mask = (np.int64(1) << bits) - 1
    for i in range(first, last):
        tick[at + i] = base + (keys[i] >> bits)
        neuron[at + i] = keys[i] & mask


@inner
def order(keys, n, room, bits, below, base, last, tick, neuron, at):
    """Write the spikes of n keys in order.

    Parameters
    ----------
    keys : int64 array
        Overwritten.
    n : int64
    room : Room
        For as many keys.
    bits : int64
        Of a key that say which neuron it is.
    below : int64
        So many of its lowest bits are in order already among keys that agree in the others: 0, or ``bits`` if those of a tick are.
    base, last : int64
        Ticks: what keys count from, and none is later than.
    tick, neuron : int64 and int32 array
        Take the spikes, from place ``at`` (int64) on. Up to SORTED places behind them are overwritten.
    """
    span, begins, rests = last - base, room.begins, room.rests
    shift, most = np.int64(bits), min(max(n >> FILL, 1), BUCKETS)
    while span << bits >> shift >= most:
        shift += 1
    if shift > 32 and span << bits >> 32 < min(n, BUCKETS):
        shift = np.int64(32)
    if shift > 32:
        width = np.int64(0)
        while span << bits >> below >> width:
            width += 1
        sort_keys(keys, np.int64(0), n, room.other, room.digits, below, width)
        write(keys, np.int64(0), n, bits, base, tick, neuron, at)
        return
    buckets = (span << bits >> shift) + 1
    # begins[bucket + 1] says where the next key of a bucket goes; in the end begins[bucket] says where its first one is.
    begins[: buckets + 2] = 0
    for i in range(n):
        bucket = (simd.peek(keys, i) >> shift) + 2
        simd.poke(begins, bucket, np.int32(simd.peek(begins, bucket) + 1))
    place = np.int32(0)
    for bucket in range(2, buckets + 2):
        place += begins[bucket]
        begins[bucket] = place
    mask = (np.int64(1) << shift) - 1
    for i in range(n):
        key = simd.peek(keys, i)
        bucket = (key >> shift) + 1
        to = simd.peek(begins, bucket)
        simd.poke(begins, bucket, np.int32(to + 1))
        simd.poke(rests, np.int64(to), np.uint32(key & mask))
    end = np.int64(0)
    for bucket in range(buckets):
        begin, end = end, np.int64(simd.peek(begins, bucket + 1))
        if end - begin <= SORTED:
            write_sorted(rests, begin, end - begin, tick, neuron, at + begin, base + (bucket << (shift - bits)), bits)
            continue
        if end - begin <= MANY:
            for i in range(begin, end):
                rest, to = simd.peek(rests, i), at + begin
                for part in range(begin, end, SORTED):
                    to += rank(rests, part, end - part, rest)
                tick[to] = base + (bucket << (shift - bits)) + (np.int64(rest) >> bits)
                neuron[to] = np.int64(rest) & ((np.int64(1) << bits) - 1)
            continue
        in_order = True
        for i in range(begin, end):
            keys[i] = bucket << shift | np.int64(rests[i])
            in_order &= i == begin or keys[i - 1] < keys[i]
        if not in_order:
            sort_keys(keys, begin, end, room.other, room.digits, below, shift - below)
        write(keys, begin, end, bits, base, tick, neuron, at)


@inner
def count_spikes(tick, first, last, resolution, spikes):
    """Count the ordered spikes first..last-1 by step."""
    while first < last:
        step = (tick[first] - 1) // resolution
        end, beyond = (step + 1) * resolution, last
        if tick[last - 1] > end:
            # Between ``inside`` and ``beyond`` is the first one of a later step.
            inside = first
            while beyond - inside > 1:
                middle = (inside + beyond) >> 1
                if tick[middle] <= end:
                    inside = middle
                else:
                    beyond = middle
        spikes[step] += beyond - first
        first = beyond

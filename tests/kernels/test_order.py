"""Putting spikes in the order of time: the kernels against NumPy's sort."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from eventsim.kernels import order as o
from eventsim.kernels import simd_spikes as simd

pytestmark = pytest.mark.kernels


@njit
def write_sorted(rests, i, n, tick, neuron, at, base, bits):
    simd.write_sorted(rests, i, n, tick, neuron, at, base, bits)


@njit
def rank(rests, i, n, key):
    return simd.rank(rests, i, n, key)


@njit
def order(keys, n, room, bits, below, base, last, tick, neuron, at):
    o.order(keys, n, room, bits, below, base, last, tick, neuron, at)


@njit
def sort_keys(keys, first, last, other, digits, shift, width):
    o.sort_keys(keys, first, last, other, digits, shift, width)


@njit
def count_spikes(tick, first, last, resolution, spikes):
    o.count_spikes(tick, first, last, resolution, spikes)


def test_sorting_a_vector():
    rng = np.random.default_rng(1)
    for n in range(simd.SORTED + 1):
        for bits, most in ((7, 2**32), (1, 4), (31, 2**32), (12, 2**14)):
            rests = rng.integers(0, most, 40).astype(np.uint32)
            base, at, i = int(rng.integers(0, 2**50)), 3, 5
            expected = np.sort(rests[i : i + n]).astype(np.int64)
            tick, neuron = np.full(40, -1), np.full(40, -1, np.int32)
            write_sorted(rests, i, n, tick, neuron, at, base, bits)
            np.testing.assert_array_equal(tick[at : at + n], base + (expected >> bits))
            np.testing.assert_array_equal(neuron[at : at + n], expected & (2**bits - 1))
            assert (tick[:at] == -1).all()
            assert (tick[at + simd.SORTED :] == -1).all()


def test_counting_smaller_keys():
    rng = np.random.default_rng(2)
    for n in (0, 1, 7, 16, 30):
        for most in (3, 2**32):
            rests = rng.integers(0, most, 40).astype(np.uint32)
            for key in (*rests[:8], np.uint32(0), np.uint32(2**32 - 1)):
                expected = sum(int(rest) < int(key) for rest in rests[4 : 4 + min(n, simd.SORTED)])
                assert rank(rests, 4, n, key) == expected


def spread(rng, n, span):
    return rng.integers(1, span + 1, n)


def clustered(rng, n, span):
    """Some ticks have very many spikes, some stretches many, some none."""
    centre = rng.integers(1, span + 1, 3)[rng.integers(0, 3, n)]
    return np.clip(centre + rng.integers(-2, 3, n) * rng.integers(0, 2, n) * max(1, span // 1000), 1, span)


CASES = [
    # ticks, neurons, spikes
    (spread, 2**25, 25_088, 16_000),  # the usual case
    (spread, 2**27, 700, 3000),
    (spread, 2**40, 30, 500),  # too wide for 32 bits
    (spread, 2**40, 30, 3),
    (spread, 2**43, 100, 140_000),  # and more buckets than there may be, if they did fit
    (spread, 2**21, 2**20, 1000),  # more buckets than usual, for 32 bits
    (spread, 1, 100, 60),
    (spread, 50, 4000, 20_000),
    (spread, 2**20, 5000, 1),
    (spread, 2**20, 5000, 17),
    (clustered, 2**22, 20_000, 5000),
    (clustered, 2**40, 300, 400),
    (clustered, 2**25, 20_000, 500),
]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("ticks_of", "span", "neurons", "spikes"), CASES)
def test_ordering_spikes(ticks_of, span, neurons, spikes, ordered):
    rng = np.random.default_rng(3)
    bits, base, at = neurons.bit_length(), int(rng.integers(0, 2**40)), 5
    ticks = ticks_of(rng, spikes, span)
    all_of = np.unique(ticks << bits | rng.integers(0, neurons, spikes))
    n = len(all_of)
    keys = rng.permutation(all_of)
    if ordered:
        # Those of a tick in order, the ticks mixed.
        keys[np.argsort(keys >> bits, kind="stable")] = all_of
    tick, neuron = np.full(at + n + simd.SORTED, -1), np.full(at + n + simd.SORTED, -1, np.int32)
    order(keys, n, o.room_for(n), bits, bits if ordered else 0, base, base + span, tick, neuron, at)
    np.testing.assert_array_equal(tick[at : at + n], base + (all_of >> bits))
    np.testing.assert_array_equal(neuron[at : at + n], all_of & (2**bits - 1))
    assert (tick[:at] == -1).all()


def test_cases_take_all_ways():
    """The cases above have buckets of all sizes, in order and not, and keys that are too wide."""
    ways = set()
    for ticks_of, span, neurons, spikes in CASES:
        rng = np.random.default_rng(3)
        bits = neurons.bit_length()
        keys = rng.permutation(np.unique(ticks_of(rng, spikes, span) << bits | rng.integers(0, neurons, spikes)))
        shift, most = bits, min(max(len(keys) >> o.FILL, 1), o.BUCKETS)
        while span << bits >> shift >= most:
            shift += 1
        if shift > 32:
            few = len(keys) <= o.FEW
            ways.add("many buckets" if span << bits >> 32 < len(keys) else "few" if few else "digits")
            continue
        bucket = keys >> shift
        for number, size in zip(*np.unique(bucket, return_counts=True), strict=True):
            inside = keys[bucket == number]
            in_order = bool((np.diff(inside) > 0).all())
            ways.add("vector" if size <= simd.SORTED else "counted" if size <= o.MANY else ("large", in_order))
    assert ways == {"many buckets", "few", "digits", "vector", "counted", ("large", False)}


@pytest.mark.parametrize("n", [0, 1, 20, 500])
@pytest.mark.parametrize("most", [1, 100, 2**40])
def test_sorting_by_digits(most, n):
    """By some bits, those that are equal in them in the order that they had."""
    rng = np.random.default_rng(5)
    bits, first = 9, 3
    values = rng.integers(1, most + 1, n)
    keys = np.concatenate((np.full(first, -1), values << bits | np.arange(n), np.full(2, -1)))
    sort_keys(keys, first, first + n, np.empty_like(keys), np.empty(2**o.DIGIT + 1, np.int64), bits, most.bit_length())
    order = np.argsort(values, kind="stable")
    assert keys.tolist() == [-1] * first + (values[order] << bits | order).tolist() + [-1] * 2


@pytest.mark.parametrize("resolution", [1, 3, 10, 1000])
def test_counting_spikes_by_step(resolution):
    rng = np.random.default_rng(6)
    for most in (1, 30, 300):
        for first, last in ((0, 0), (2, 3), (5, 40), (0, 50)):
            tick = np.sort(rng.integers(1, most + 1, 50))
            spikes = rng.integers(0, 5, 301)
            expected = spikes + np.bincount((tick[first:last] - 1) // resolution, minlength=301)
            count_spikes(tick, first, last, resolution, spikes)
            assert spikes.tolist() == expected.tolist()

"""The vector operations of the layered engine against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from eventsim.engines.layered.ways import parts
from eventsim.kernels import simd

pytestmark = pytest.mark.kernels

DISTANCES, WEIGHTS = (np.int16, np.int32, np.int64), (np.int8, np.int16, np.int32)


@njit
def add(d, i, w, j):
    return simd.add(d, i, w, j)


@njit
def subtract(d, i, w, j):
    return simd.subtract(d, i, w, j)


@njit
def add_several(d, i, w, places, shift, low):
    if low is None:
        return simd.add_several(d, i, w, places, len(places), shift)
    return simd.add_several_signed(d, i, w, places, len(places), shift, low)


@njit
def reset(d, i, theta, j, kept):
    return simd.reset(d, i, theta, j, kept)


@njit
def reset_signed(d, i, theta, j, low, net, lowest_d):
    return simd.reset_signed(d, i, theta, j, low, net, lowest_d)


@njit
def test(d, i):
    return simd.test(d, i)


@njit
def test_signed(d, i, low):
    return simd.test_signed(d, i, low)


@njit
def lowest(mask):
    return simd.lowest(mask)


@njit
def add_together(d, i, w, j, narrow):
    if len(j) == 2:
        if narrow:
            simd.add_2(d, i, w, j[0], j[1])
        else:
            simd.add_2_wide(d, i, w, j[0], j[1])
    elif len(j) == 3:
        if narrow:
            simd.add_3(d, i, w, j[0], j[1], j[2])
        else:
            simd.add_3_wide(d, i, w, j[0], j[1], j[2])
    elif narrow:
        simd.add_4(d, i, w, j[0], j[1], j[2], j[3])
    else:
        simd.add_4_wide(d, i, w, j[0], j[1], j[2], j[3])


@pytest.mark.parametrize("rows", [2, 3, 4])
@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("distance", DISTANCES)
def test_adding_rows_together(distance, narrow, rows):
    rng = np.random.default_rng(13)
    largest = 31 if narrow else 127
    for _ in range(30):
        d = rng.integers(-1000, 1000, 100).astype(distance)
        w = rng.integers(-largest, largest + 1, 200).astype(np.int8)
        i, j = int(rng.integers(0, 69)), rng.integers(0, 169, rows)
        expected = d.copy()
        for place in j:
            expected[i : i + 32] += w[place : place + 32].astype(distance)
        add_together(d, i, w, j, narrow)
        np.testing.assert_array_equal(d, expected)


test.__test__ = test_signed.__test__ = False


def due_lanes(d, i, low=None):
    """The mask of the lanes that are due, lane by lane."""
    return sum(1 << n for n in range(32) if d[i + n] >= 0 or (low is not None and d[i + n] < low[i + n]))


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("sign", [1, -1])
def test_adding_a_vector(distance, weight, sign):
    rng = np.random.default_rng(3)
    for _ in range(50):
        d = rng.integers(-100, 100, 128).astype(distance)
        w = rng.integers(-100, 100, 128).astype(weight)
        low = rng.integers(-200, 0, 128).astype(distance)
        i, j = rng.integers(0, 97, 2)
        expected = d.copy()
        expected[i : i + 32] += sign * w[j : j + 32].astype(distance)
        assert (add if sign > 0 else subtract)(d, i, w, j) == due_lanes(expected, i) == test(d, i)
        np.testing.assert_array_equal(d, expected)
        assert test_signed(d, i, low) == due_lanes(expected, i, low)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("signed", [False, True])
def test_adding_several_spikes(signed, distance):
    rng = np.random.default_rng(4)
    for _ in range(50):
        d, low = rng.integers(-300, 300, 100).astype(distance), rng.integers(-400, 0, 100).astype(distance)
        w = rng.integers(-128, 128, 200).astype(np.int8)
        i, shift, places, negative = (int(rng.integers(0, 69)), int(rng.integers(-9, 9)), *rng.integers(20, 150, (2, rng.integers(1, 9))))
        negative &= 1
        expected = d.copy()
        for place, taken_off in zip(places, negative, strict=True):
            expected[i : i + 32] += (1 - 2 * taken_off) * w[place + shift : place + shift + 32].astype(distance)
        due = add_several(d, i, w, 2 * places + negative, shift, low if signed else None)
        assert due == due_lanes(expected, i, low if signed else None)
        np.testing.assert_array_equal(d, expected)


@pytest.mark.parametrize("distance", DISTANCES)
def test_resetting_a_vector(distance):
    rng = np.random.default_rng(5)
    for kept in (-1, 0) * 20:
        d, theta = rng.integers(-50, 50, 100).astype(distance), rng.integers(1, 30, 64).astype(distance)
        i, j = int(rng.integers(0, 69)), 32 * int(rng.integers(0, 2))
        expected = d.copy()
        for k in np.flatnonzero(d[i : i + 32] >= 0):
            expected[i + k] = (d[i + k] if kept else 0) - theta[j + k]
        due = due_lanes(d, i)
        assert reset(d, i, theta, j, kept) == (due, due_lanes(expected, i))
        np.testing.assert_array_equal(d, expected)


@pytest.mark.parametrize("distance", DISTANCES)
def test_resetting_a_vector_of_signed_neurons(distance):
    rng, lowest_d = np.random.default_rng(6), np.iinfo(distance).min
    for _ in range(40):
        d, theta = rng.integers(-80, 30, 100).astype(distance), rng.integers(1, 30, 64).astype(distance)
        i, j, net = int(rng.integers(0, 69)), 32 * int(rng.integers(0, 2)), rng.integers(-2, 4, 100).astype(np.int32)
        # Those who wait for the end of a refractory period have the lowest bound whatever their count is, and keep it.
        low = np.full(100, lowest_d, distance)
        low[i : i + 32] = np.where((net[i : i + 32] > 0) & (rng.random(32) < 0.8), -theta[j : j + 32], lowest_d)
        fires, minus = due_lanes(d, i, low), 0
        after, bounds, counts = d.copy(), low.copy(), net.copy()
        for k in range(32):
            if fires >> k & 1:
                sign = 1 if d[i + k] >= 0 else -1
                minus |= (sign < 0) << k
                after[i + k] -= sign * theta[j + k]
                counts[i + k] += sign
                bounds[i + k] = -theta[j + k] if counts[i + k] > 0 else lowest_d
        assert reset_signed(d, i, theta, j, low, net, lowest_d) == (fires, minus, due_lanes(after, i, bounds))
        for made, expected in ((d, after), (low, bounds), (net, counts)):
            np.testing.assert_array_equal(made, expected)


@njit
def add_bits(d, i, w, offsets, groups, rows, scale, block):
    if block == 512:
        simd.add_bits_512(d, i, w, offsets, groups, rows, scale)
    elif block == 256:
        simd.add_bits_256(d, i, w, offsets, groups, rows, scale)
    elif block == 128:
        simd.add_bits_128(d, i, w, offsets, groups, rows, scale)
    else:
        simd.add_bits_64(d, i, w, offsets, groups, rows, scale)


@pytest.mark.parametrize("block", [64, 128, 256, 512])
@pytest.mark.parametrize("distance", DISTANCES)
def test_summing_rows_of_bits(distance, block):
    rng = np.random.default_rng(12)
    words = block // 64
    for rows in (1, 7, 8, 15, 16, 17, 100, 248):
        for density in (0.5, 1.0):
            signs = rng.random((20, block)) < density
            w = np.append(np.packbits(signs, axis=1, bitorder="little").view("<u8").ravel(), np.zeros(8, np.uint64))
            chosen = rng.integers(0, 20, rows)
            offsets = np.append(chosen * words, np.full(-rows % 8, 20 * words))
            d = rng.integers(-1000, 1000, 3 * block).astype(distance)
            scale, i = int(rng.integers(-9, 10)), int(rng.integers(0, 2 * block + 1))
            expected = d.copy()
            expected[i : i + block] += (scale * (2 * signs[chosen].astype(np.int64) - 1).sum(0)).astype(distance)
            add_bits(d, i, w, offsets, -(-rows // 8), rows, scale, block)
            np.testing.assert_array_equal(d, expected)


@njit
def shifted(out, i, values, j, by):
    simd.shifted(out, i, values, j, by)


def test_shifting_places():
    values, out = np.arange(20), np.zeros(20, np.int64)
    shifted(out, 3, values, 5, -100)
    assert out.tolist() == [0] * 3 + list(range(-95, -87)) + [0] * 9


def test_lowest_bit():
    for n in range(32):
        mask = np.uint32((1 << n) | (1 << 31))
        assert lowest(mask) == n


@njit
def end_of_tick(ticks, at):
    return parts.end_of_tick(ticks, at)


def test_end_of_a_tick():
    rng = np.random.default_rng(13)
    for most in (1, 3, 40):
        ticks = np.sort(rng.integers(0, most, 100))
        for at in range(100):
            assert end_of_tick(ticks, at) == np.searchsorted(ticks, ticks[at], side="right")


@njit
def peek(array, i):
    return simd.peek(array, i)


@njit
def discharge(d, i, threshold, j):
    return simd.discharge(d, i, threshold, j)


@pytest.mark.parametrize("distance", DISTANCES)
def test_firing_a_vector(distance):
    rng = np.random.default_rng(10)
    for _ in range(50):
        d, threshold = rng.integers(-50, 50, 128).astype(distance), rng.integers(1, 40, 64).astype(distance)
        before = d.copy()
        i, j = (int(n) for n in rng.integers(0, 33, 2))
        fires = discharge(d, i, threshold, j)
        assert fires == due_lanes(before, i)
        before[i : i + 32] -= np.where(before[i : i + 32] >= 0, threshold[j : j + 32], 0)
        np.testing.assert_array_equal(d, before)


@njit
def run_list(lanes, *args):
    if lanes == 128:
        return simd.run_128(*args)
    if lanes == 64:
        return simd.run_64(*args)
    return simd.run_32(*args)


@pytest.mark.parametrize("lanes", [32, 64, 128])
@pytest.mark.parametrize("distance", DISTANCES)
def test_running_through_a_list(distance, lanes):
    """Entries with ticks, to the first that it stops at: tick by tick, neuron by neuron."""
    rng = np.random.default_rng(14)
    seen = set()
    for case in range(60):
        # In places a tick has several entries, neurons are due again, an entry is wide, or there is little room.
        ticks = np.sort(rng.integers(1, 40, 30))
        places = rng.integers(0, 130, 30)
        weights = rng.integers(-30, 31, 300).astype(np.int8)
        wide = rng.random(30) < (0.1 if case % 3 == 0 else 0)
        entries = np.append(ticks << 32 | wide * simd.WIDE | places, (2**31 - 1) << 32)
        i, j, channel, neuron, bits, limit = 32, 7, 5, 1000, 11, int(rng.integers(1, 45))
        d = rng.integers(-100, -20, 192).astype(distance)
        theta = rng.integers(1 if case % 2 else 90, 100, 140).astype(distance)
        most = 6 if case % 5 == 0 else 1000
        told, masks = np.zeros(2, np.int64), np.array([0, -1])
        keys, v = np.zeros(1200, np.int64), d.astype(int)
        at, n, expected, again = 0, 3, [], False
        while at < 30 and ticks[at] < limit and not wide[at] and not again and n < most:
            v[i : i + lanes] += weights[j + places[at] : j + places[at] + lanes]
            at += 1
            if at == 30 or ticks[at] != ticks[at - 1]:
                for k in range(lanes):
                    if v[i + k] >= 0:
                        v[i + k] -= theta[channel + k]
                        expected.append((int(ticks[at - 1]) << bits) + neuron + k)
                        n += 1
                        again |= v[i + k] >= 0
        args = (simd.Running(i, channel, j, 0, 3), d, theta, weights, entries, limit)
        assert run_list(lanes, *args, keys, most, neuron, bits, told, masks) == at
        assert told.tolist() == [n, again]
        assert keys[3:n].tolist() == expected
        np.testing.assert_array_equal(d, v)
        seen |= {name for name, stops in (("again", again), ("full", n >= most), ("wide", at < 30 and wide[at])) if stops}
    assert seen == {"again", "full", "wide"}


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_leader(distance):
    rng, leader = np.random.default_rng(15), njit(lambda d, channels: simd.leader(d, channels))
    for _ in range(100):
        channels, most = int(rng.integers(1, 33)), int(rng.choice([2, 1000]))
        d = rng.integers(-most, most, 32).astype(distance)
        d[channels:] = 2**14  # is not looked at
        assert leader(d, channels) == d[:channels].tolist().index(max(d[:channels]))
    lowest = np.full(32, np.iinfo(distance).min, distance)
    assert leader(lowest, 5) == 0


def test_poking():
    array, poke = np.zeros((3, 4), np.int64), njit(lambda a, i, value: simd.poke(a, i, value))
    poke(array, 7, 5)
    assert array[1, 3] == 5
    assert array.sum() == 5


@njit
def append(places, n, first, mask):
    return parts.append(places, n, first, mask)


@pytest.mark.parametrize("bits", [0, 1, 4, 5, 32])
def test_appending_the_bits_of_a_mask(bits):
    rng = np.random.default_rng(11)
    for _ in range(20):
        chosen = np.sort(rng.permutation(32)[:bits])
        mask = np.uint32(sum(1 << int(n) for n in chosen))
        places = np.full(3 + bits + simd.SLACK, -1, np.int32)
        assert append(places, 3, 100, mask) == 3 + bits
        np.testing.assert_array_equal(places[3 : 3 + bits], chosen + 100)
        np.testing.assert_array_equal(places[:3], -1)


def test_peeking():
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    assert peek(array, 7) == 7

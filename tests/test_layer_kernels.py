"""The vector operations of the layered engine against their NumPy twins."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from eventsim.engines import layer_kernels as k
from eventsim.engines import simd

DISTANCES, WEIGHTS = (np.int16, np.int32, np.int64), (np.int8, np.int16, np.int32)


@njit
def add(d, i, w, j):
    return simd.add(d, i, w, j)


@njit
def subtract(d, i, w, j):
    return simd.subtract(d, i, w, j)


@njit
def add_signed(d, i, w, j, low):
    return simd.add_signed(d, i, w, j, low)


@njit
def subtract_signed(d, i, w, j, low):
    return simd.subtract_signed(d, i, w, j, low)


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
def add_rows(d, i, w, spikes, ranges, rows, scale, block):
    if block == 128:
        simd.add_rows_128(d, i, w, spikes, ranges, rows, scale)
    elif block == 64:
        simd.add_rows_64(d, i, w, spikes, ranges, rows, scale)
    else:
        simd.add_rows_32(d, i, w, spikes, ranges, rows, scale)


test.__test__ = test_signed.__test__ = False


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
        twin = d.copy()
        due = (add if sign > 0 else subtract)(d, i, w, j)
        assert due == simd._numpy_adder(sign)(twin, i, w, j)
        assert due == sum(1 << n for n in range(32) if d[i + n] >= 0)
        np.testing.assert_array_equal(d, twin)
        due = (add_signed if sign > 0 else subtract_signed)(d, i, w, j, low)
        assert due == simd._numpy_adder(sign)(twin, i, w, j, low)
        assert due == sum(1 << n for n in range(32) if d[i + n] >= 0 or d[i + n] < low[i + n])
        np.testing.assert_array_equal(d, twin)
        assert test(d, i) == simd._numpy_test(d, i)
        assert test_signed(d, i, low) == simd._numpy_test(d, i, low)


@pytest.mark.parametrize("block", [32, 64, 128])
@pytest.mark.parametrize("distance", DISTANCES)
def test_summing_rows(distance, block):
    rng = np.random.default_rng(4)
    for _ in range(30):
        d = rng.integers(-1000, 1000, 3 * block).astype(distance)
        w = rng.integers(-4, 5, 60 * block).astype(np.int8)
        spikes = rng.integers(0, 40, 30).astype(np.int32)
        limits = np.sort(rng.integers(0, 31, 3))
        ranges = np.array([limits[0], limits[1], 0, limits[1], limits[2], 20 * block], np.int64)
        scale, i = int(rng.integers(-9, 10)), int(rng.integers(0, 2 * block + 1))
        expected = d.copy()
        for n in range(limits[0], limits[2]):
            row = spikes[n] + (20 if n >= limits[1] else 0)
            expected[i : i + block] += (scale * w[row * block : (row + 1) * block]).astype(distance)
        twin = d.copy()
        add_rows(d, i, w, spikes, ranges, 2, scale, block)
        np.testing.assert_array_equal(d, expected)
        simd._numpy_summer(block)(twin, i, w, spikes, ranges, 2, scale)
        np.testing.assert_array_equal(twin, expected)


def test_lowest_bit():
    for n in range(32):
        mask = np.uint32((1 << n) | (1 << 31))
        assert lowest(mask) == simd._numpy_lowest(mask) == n


@pytest.mark.parametrize("most", [1, 100, 2**40])
def test_sorting_spikes(most):
    """All passes together sort by tick and keep the order of spikes of one tick."""
    rng = np.random.default_rng(5)
    since = int(rng.integers(0, 1000))
    ticks = rng.integers(since + 1, since + most + 1, 500)
    neurons = np.arange(500, dtype=np.int32)
    order = np.argsort(ticks, kind="stable")
    expected = ticks[order]
    starts, shift = np.empty(2**11 + 1, np.int64), 0
    while shift == 0 or (most - 1) >> shift:
        out = np.empty_like(ticks), np.empty_like(neurons)
        k.sort_pass(ticks, neurons, 500, since, shift, starts, *out)
        (ticks, neurons), shift = out, shift + 11
    np.testing.assert_array_equal(ticks, expected)
    np.testing.assert_array_equal(neurons, order)

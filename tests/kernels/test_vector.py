"""The vector type against its twin in NumPy, operation by operation, and what it refuses when it is compiled."""

from __future__ import annotations

import operator

import numba
import numpy as np
import pytest
from numba import njit

from eventsim.kernels import vector, vector_twin

pytestmark = pytest.mark.kernels

INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64)
LANES = (8, 16, 64)


def numbers(rng, dtype, n):
    """Of all sizes, the smallest and the largest among them, some equal."""
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, n, dtype, endpoint=True)
    small = rng.integers(-3 if limits.min else 0, 4, n).astype(dtype)
    values = np.where(rng.random(n) < 0.5, values, small)
    values[:2] = limits.min, limits.max
    return rng.permutation(values)


@pytest.mark.parametrize("operation", ["add", "sub", "mul", "and_", "or_", "xor", "lt", "le", "gt", "ge", "eq", "ne", "lshift", "rshift"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_operators(operation, dtype):
    apply = getattr(operator, operation)
    compares = operation in ("lt", "le", "gt", "ge", "eq", "ne")

    @njit
    def run(x, y, out, lanes):
        result = apply(vector.load(x, 0, 16), vector.load(y, 0, 16))
        vector.store(out, 0, vector.converted(result, out) if compares else result)

    rng = np.random.default_rng(1)
    for _ in range(10):
        x, y = numbers(rng, dtype, 16), numbers(rng, dtype, 16)
        if "shift" in operation:
            y = rng.integers(0, 8 * x.itemsize, 16).astype(dtype)
        out = np.zeros(16, dtype)
        run(x, y, out, 16)
        np.testing.assert_array_equal(out, apply(x, y))


def test_flags_have_operators():
    @njit
    def run(x, y):
        a, b = vector.load(x, 0, 32), vector.load(y, 0, 32)
        less, more = a < b, a > vector.full(a, 0)
        return vector.bits(less & more), vector.bits(less | more), vector.bits(less ^ more), vector.bits(~less)

    rng = np.random.default_rng(2)
    x, y = rng.integers(-9, 9, 32), rng.integers(-9, 9, 32)
    expected = x < y, x > 0
    wanted = expected[0] & expected[1], expected[0] | expected[1], expected[0] ^ expected[1], ~expected[0]
    assert run(x, y) == tuple(sum(1 << int(n) for n in np.flatnonzero(flags)) for flags in wanted)


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_converting(dtype, target):
    @njit
    def run(x, out):
        vector.store(out, 0, vector.converted(vector.load(x, 0, 16), out))

    x, out = numbers(np.random.default_rng(3), dtype, 16), np.zeros(16, target)
    run(x, out)
    np.testing.assert_array_equal(out, vector_twin.converted(x, out))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_from_vector_to_vector(dtype):
    @njit
    def run(x, y, number, out):
        a, b = vector.load(x, 3, 16), vector.load(y, 3, 16)
        vector.store(out, 0, vector.select(a < b, a, b))
        vector.store(out, 16, vector.full(a, number))
        vector.store(out, 32, vector.lane_numbers(a))
        vector.store(out, 48, vector.ones(a))
        vector.store(out, 64, vector.some_lanes(a, 4, 8))
        vector.store(out, 72, vector.repeated(vector.some_lanes(a, 4, 2), 8))
        vector.poke(out, 80, vector.lane(a, number & 15))
        vector.poke(out, 81, vector.peek(x, 5))
        vector.prefetch(x, number)
        vector.store(out, 82, vector.converted(vector.unsigned(a) >> vector.full(vector.unsigned(a), 1), out))

    rng = np.random.default_rng(4)
    for number in (0, 3, -1, 2**40 + 5):
        x, y, out = numbers(rng, dtype, 19), numbers(rng, dtype, 19), np.zeros(98, dtype)
        run(x, y, number, out)
        a, b = vector_twin.load(x, 3, 16), vector_twin.load(y, 3, 16)
        parts = (
            vector_twin.select(a < b, a, b),
            vector_twin.full(a, number),
            vector_twin.lane_numbers(a),
            vector_twin.ones(a),
            vector_twin.some_lanes(a, 4, 8),
            vector_twin.repeated(vector_twin.some_lanes(a, 4, 2), 8),
            [vector_twin.lane(a, number & 15), x[5]],
            (vector_twin.unsigned(a) >> 1).astype(dtype),
        )
        np.testing.assert_array_equal(out, np.concatenate(parts))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32])
@pytest.mark.parametrize("number", [np.int32(0x12345678), np.int64(-(2**40) + 77), np.int32(-5)])
def test_the_bits_of_a_number_in_a_vector(dtype, number):
    @njit
    def run(x, numbers, out):
        vector.store(out, 0, vector.spread(vector.load(x, 0, 32), vector.opaque(vector.peek(numbers, 0))))

    x, out = np.zeros(32, dtype), np.zeros(32, dtype)
    run(x, np.array([number]), out)
    np.testing.assert_array_equal(out, vector_twin.spread(x, number))
    assert out.tobytes() == (number.tobytes() * 32)[: out.nbytes]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("lanes", LANES)
def test_from_a_vector_to_a_number(lanes, dtype):
    @njit
    def run(x, y):
        a, b = vector.load(x, 0, lanes), vector.load(y, 0, lanes)
        mask = vector.bits(a < b)
        return (
            mask,
            vector.bits(vector.flags(mask)),
            vector.largest(a),
            vector.any_reaches_zero(a) != 0,
            vector.lowest(mask),
            vector.count(mask),
        )

    rng, seen = np.random.default_rng(5), set()
    for case in range(20):
        x, y = (numbers(rng, dtype, lanes) for _ in range(2))
        if case % 2:
            x[x >= 0] = -1
        if case == 2:
            y = x
        mask = vector_twin.bits(x < y)
        assert vector_twin.flags(mask).tolist() == (x < y).tolist()
        expected = mask, mask, x.max(), (x >= 0).any(), vector_twin.lowest(mask), vector_twin.count(mask)
        assert run(x, y) == expected
        assert expected[2:4] == (vector_twin.largest(x), bool(vector_twin.any_reaches_zero(x)))
        seen.add(bool(expected[3]))
        assert expected[4] == next((n for n in range(lanes) if x[n] < y[n]), lanes)
    assert seen == {False, True}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_masks(dtype):
    clear = njit(lambda mask: vector.without_lowest(mask))
    rng = np.random.default_rng(6)
    for mask in (*numbers(rng, dtype, 20), dtype(0), dtype(1)):
        expected = int(mask) & (int(mask) - 1) if mask else 0
        assert clear(mask) == vector_twin.without_lowest(mask) == expected


@pytest.mark.parametrize("lanes", [16, 12])
def test_storing_chosen_lanes(lanes):
    """With the instruction of some processors, where there is one for so many lanes, and without."""

    @njit
    def run(x, out, place):
        a = vector.load(x, 0, lanes)
        return vector.store_chosen(out, place, a, a >= vector.full(a, 0))

    rng = np.random.default_rng(7)
    for _ in range(20):
        x, out = rng.integers(-3, 9, lanes) * rng.integers(1, 2**50, lanes), np.zeros(lanes + 5, np.int64)
        twin, end = out.copy(), run(x, out, 3)
        assert end == vector_twin.store_chosen(twin, 3, x, x >= 0) == 3 + (x >= 0).sum()
        assert out[3:end].tolist() == twin[3:end].tolist() == x[x >= 0].tolist()
        assert not out[:3].any()


def test_sums_of_pairs():
    @njit
    def run(x, y, out):
        vector.store(out, 0, vector.pair_sums(vector.load(x, 0, 16), vector.load(y, 0, 16)))

    rng = np.random.default_rng(8)
    for _ in range(20):
        x, y, out = numbers(rng, np.int16, 16), numbers(rng, np.int16, 16), np.zeros(8, np.int32)
        run(x, y, out)
        products = x.astype(np.int64) * y
        expected = (products[::2] + products[1::2]).astype(np.int32)
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(vector_twin.pair_sums(x, y), expected)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
@pytest.mark.parametrize("words", [1, 4])
def test_adding_digits(words, dtype):
    @njit
    def run(x, out, factor, missing):
        digits = vector.load(x, 0, 4), vector.load(x, 4, 4), vector.load(x, 8, 4)
        vector.add_digits(out, 3, digits, 2, factor, missing)

    @njit
    def run_words(x, out, factor, missing):
        vector.add_digits(out, 3, (vector.peek(x, 0), vector.peek(x, 4), vector.peek(x, 8)), 3, factor, missing)

    rng, number = np.random.default_rng(9), 2 if words > 1 else 3
    for _ in range(10):
        x, out = rng.integers(0, 2**64, 12, np.uint64), rng.integers(-500, 500, 64 * words + 9).astype(dtype)
        factor, missing = (int(value) for value in rng.integers(-9, 10, 2))
        expected, twin = out.copy(), out.copy()
        for lane in range(64 * words):
            sums = sum((int(x[4 * k + lane // 64]) >> lane % 64 & 1) << k for k in range(number))
            expected[3 + lane] += factor * sums - missing
        (run if words > 1 else run_words)(x, out, factor, missing)
        assert out.tolist() == expected.tolist()
        digits = tuple(x[4 * k : 4 * k + words] if words > 1 else x[4 * k] for k in range(3))
        vector_twin.add_digits(twin, 3, digits, number, factor, missing)
        assert twin.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64])
@pytest.mark.parametrize("lanes", [2, 16, 32])
def test_sorting(lanes, dtype):
    @njit
    def run(x, out):
        vector.store(out, 0, vector.in_order(vector.load(x, 0, lanes)))

    rng = np.random.default_rng(10)
    for _ in range(20):
        x, out = numbers(rng, dtype, lanes), np.zeros(lanes, dtype)
        run(x, out)
        assert out.tolist() == vector_twin.in_order(x).tolist() == sorted(x.tolist())


def test_rows():
    @njit
    def run(x, places, out, shift):
        total = vector.no_rows(vector.load_rows(x, 0, 3, 16))
        for k in range(5):
            total = total + vector.load_rows(x, 48 * k, 3, 16)
        vector.add_rows(out, places, shift, total - vector.load_rows(x, 48, 3, 16))

    rng = np.random.default_rng(11)
    x, out, places = rng.integers(-9, 9, 5 * 48).astype(np.int8), rng.integers(-500, 500, 99).astype(np.int16), np.array([50, 8, 30])
    expected, twin = out.astype(int), out.copy()
    rows = x.reshape(5, 3, 16)[[0, 2, 3, 4]].sum(0)
    for place, row in zip(places + 2, rows, strict=True):
        expected[place : place + 16] += row
    run(x, places, out, 2)
    np.testing.assert_array_equal(out, expected)
    total = vector_twin.no_rows(vector_twin.load_rows(x, 0, 3, 16))
    for k in (0, 2, 3, 4):
        total = total + vector_twin.load_rows(x, 48 * k, 3, 16)
    vector_twin.add_rows(twin, places, 2, total)
    np.testing.assert_array_equal(twin, expected)


def test_every_operation_has_a_twin():
    """And no other: what runs with the compiler off is what the twin holds."""
    operations = {name for name, value in vars(vector).items() if callable(value) and not name.startswith("_")}
    operations = {name for name in operations if getattr(vars(vector)[name], "__module__", "").startswith("eventsim.kernels.vector")}
    twins = {name for name, value in vars(vector_twin).items() if getattr(value, "__module__", "") == vector_twin.__name__}
    assert operations - {"Vector", "Rows", "Pointer"} == twins
    assert len(twins) > 20


WORDS, WIDE, BYTES, REALS = np.zeros(64, np.uint64), np.zeros(64, np.int64), np.zeros(64, np.int8), np.zeros(64)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="types are checked by the compiler")
@pytest.mark.parametrize(
    ("function", "arrays", "message"),
    [
        (lambda x, y: vector.load(x, 0, len(y)), (WIDE, WIDE), "the number of lanes must be a constant, not int64"),
        (lambda x, y: vector.load(x, 0, 8), (REALS, WIDE), "a vector lies in a contiguous array of integers, not in array(float64"),
        (lambda x, y: vector.load(x, 0, 8), (WIDE[::2], WIDE), "a vector lies in a contiguous array of integers"),
        (lambda x, y: vector.store(y, 0, vector.load(x, 0, 8)), (WIDE, BYTES), "Vector(int64 x 8) cannot be stored in array(int8"),
        (lambda x, y: vector.load(x, 0, 8) + vector.load(y, 0, 8), (WIDE, BYTES), "Vector(int64 x 8) and Vector(int8 x 8) differ: convert"),
        (lambda x, y: vector.load(x, 0, 8) + vector.load(y, 0, 16), (WIDE, WIDE), "Vector(int64 x 8) and Vector(int64 x 16) differ: conv"),
        (lambda x, y: vector.load(x, 0, 8) >= 0, (WIDE, WIDE), "Vector(int64 x 8) and Literal[int](0) differ"),
        (lambda x, y: vector.bits(vector.load(x, 0, 8)), (WIDE, WIDE), "flags of lanes are needed, not Vector(int64 x 8): compare vectors"),
        (lambda x, y: vector.full(y, 1), (WIDE, WIDE), "a vector of integers is needed, not array(int64"),
        (lambda x, y: vector.some_lanes(vector.load(x, 0, 8), 4, 8), (WIDE, WIDE), "Vector(int64 x 8) has no 8 lanes from 4 on"),
        (lambda x, y: vector.lowest(x[0]), (WIDE, WIDE), "a mask is an unsigned integer, not int64"),
        (lambda x, y: vector.in_order(vector.load(x, 0, 8)), (WIDE, WIDE), "Vector(int64 x 8) cannot be sorted"),
        (lambda x, y: vector.largest(vector.load(x, 0, 8)), (WORDS, WIDE), "Vector(uint64 x 8) is not of signed integers"),
    ],
)
def test_types_are_checked(function, arrays, message):
    @njit
    def run(x, y):
        checked(x, y)

    checked = njit(function)
    with pytest.raises(numba.TypingError) as caught:
        run(*arrays)
    assert message in str(caught.value)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="types are checked by the compiler")
def test_words_of_flags():
    @njit
    def run(x):
        a = vector.load(x, 0, 24)
        return vector.bits(a == a)

    with pytest.raises(numba.TypingError, match="flags of 24 lanes are no integer: take 8, 16, 32 or 64 lanes"):
        run(WIDE)

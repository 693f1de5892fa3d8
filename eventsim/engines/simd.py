"""Vector operations for compiled code, as LLVM instructions: numba cannot say "which of these 32 lanes are not negative".

``d`` is an array of distances to threshold (int16, int32 or int64), ``w`` an array of weights (int8, int16 or int32); ``i`` and ``j``
are places in them, LANES entries from each on must exist. A mask has bit k set if lane k is due. Nothing is checked here: callers
work on arrays that :mod:`eventsim.engines.layered` has laid out in multiples of LANES.

With the JIT off, the NumPy functions at the end take the place of the compiled ones; the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 32


def pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int) -> Any:
    """Pointer to a vector of lanes at a place of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    element = context.get_data_type(array_type.dtype)
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(element, lanes).as_pointer())


def load(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int = LANES) -> Any:
    return builder.load(pointer(context, builder, array_type, array, index, lanes), align=1)


def converted(builder: Any, value: Any, element: Any) -> Any:
    """A vector of integers in another width."""
    vector = ir.VectorType(element, value.type.count)
    if element.width == value.type.element.width:
        return value
    # Narrowing wraps; the engine's bound on potentials makes sure that the sum fits.
    return builder.sext(value, vector) if element.width > value.type.element.width else builder.trunc(value, vector)


def _mask(builder: Any, value: Any, low: Any | None) -> Any:
    due = builder.icmp_signed(">=", value, ir.Constant(value.type, None))
    if low is not None:
        due = builder.or_(due, builder.icmp_signed("<", value, low))
    return builder.bitcast(due, ir.IntType(LANES))


def _adder(negative: bool, signed: bool) -> Any:
    """``d += w`` or ``d -= w`` on LANES lanes; returns which are due: d >= 0, or d < low as well."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        place = pointer(context, builder, kind[0], args[0], args[1], LANES)
        weights = converted(builder, load(context, builder, kind[2], args[2], args[3]), context.get_data_type(kind[0].dtype))
        before = builder.load(place, align=1)
        after = builder.sub(before, weights) if negative else builder.add(before, weights)
        builder.store(after, place, align=1)
        low = load(context, builder, kind[4], args[4], args[1]) if signed else None
        return _mask(builder, after, low)

    if signed:

        def with_low(typing_context: Any, d: Any, i: Any, w: Any, j: Any, low: Any) -> Any:
            return types.uint32(d, types.intp, w, types.intp, low), generate

        return intrinsic(with_low)

    def without(typing_context: Any, d: Any, i: Any, w: Any, j: Any) -> Any:
        return types.uint32(d, types.intp, w, types.intp), generate

    return intrinsic(without)


def _rows_adder(rows: int, narrow: bool) -> Any:
    """``d +=`` the sum of so many rows of int8 weights, on LANES lanes; ``narrow`` sums them in int8, which must not overflow."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        element = context.get_data_type(kind[0].dtype)
        lines = [load(context, builder, kind[2], args[2], place) for place in args[3:]]
        if not narrow:
            lines = [converted(builder, line, element) for line in lines]
        total = lines[0]
        for line in lines[1:]:
            total = builder.add(total, line)
        place = pointer(context, builder, kind[0], args[0], args[1], LANES)
        builder.store(builder.add(builder.load(place, align=1), converted(builder, total, element)), place, align=1)
        return context.get_dummy_value()

    def two(typing_context: Any, d: Any, i: Any, w: Any, a: Any, b: Any) -> Any:
        return types.void(d, types.intp, w, types.intp, types.intp), generate

    def three(typing_context: Any, d: Any, i: Any, w: Any, a: Any, b: Any, c: Any) -> Any:
        return types.void(d, types.intp, w, types.intp, types.intp, types.intp), generate

    def four(typing_context: Any, d: Any, i: Any, w: Any, a: Any, b: Any, c: Any, e: Any) -> Any:
        return types.void(d, types.intp, w, types.intp, types.intp, types.intp, types.intp), generate

    return intrinsic({2: two, 3: three, 4: four}[rows])


def _tester(signed: bool) -> Any:
    """Which of LANES lanes are due."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        low = load(context, builder, kind[2], args[2], args[1]) if signed else None
        return _mask(builder, load(context, builder, kind[0], args[0], args[1]), low)

    if signed:

        def with_low(typing_context: Any, d: Any, i: Any, low: Any) -> Any:
            return types.uint32(d, types.intp, low), generate

        return intrinsic(with_low)

    def without(typing_context: Any, d: Any, i: Any) -> Any:
        return types.uint32(d, types.intp), generate

    return intrinsic(without)


def _bit_summer(block: int) -> Any:
    """``d += scale * (2 * ones - rows)`` on a block of lanes, ``ones`` being how many of the given rows of bits have the lane's bit.

    ``offsets`` are the places in ``w`` (uint64) of eight times ``groups`` rows, at most 248; those beyond the number ``rows`` are
    rows of zeros. The rows are summed bit-sliced: by carry-save adders, into one vector of bits for each binary digit of the sums.
    """
    words = block // 64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        d, i, _, _, groups, rows, scale = args
        i64, element = ir.IntType(64), context.get_data_type(kind[0].dtype)
        line = ir.VectorType(i64, words) if words > 1 else i64
        weights, offsets = (context.make_array(kind[k])(context, builder, args[k]).data for k in (2, 3))
        digits = [cgutils.alloca_once(builder, line) for _ in range(8)]
        for digit in digits:
            builder.store(ir.Constant(line, None), digit)

        def add(digit: Any, a: Any, b: Any) -> Any:
            """Add two bits to a digit; returns the carry."""
            total = builder.load(digit)
            different = builder.xor(a, b)
            builder.store(builder.xor(total, different), digit)
            return builder.or_(builder.and_(a, b), builder.and_(total, different))

        with cgutils.for_range(builder, groups) as group:
            first = builder.mul(group.index, i64(8))
            row = []
            for k in range(8):
                place = builder.load(builder.gep(offsets, [builder.add(first, i64(k))]))
                row.append(builder.load(builder.bitcast(builder.gep(weights, [place]), line.as_pointer()), align=8))
            twos = [add(digits[0], row[k], row[k + 1]) for k in (0, 2, 4, 6)]
            fours = [add(digits[1], twos[k], twos[k + 1]) for k in (0, 2)]
            carry = add(digits[2], *fours)
            for digit in digits[3:]:
                before = builder.load(digit)
                builder.store(builder.xor(before, carry), digit)
                carry = builder.and_(before, carry)
        ones = cgutils.alloca_once(builder, ir.VectorType(ir.IntType(8), 64))
        factor, missing = builder.mul(scale, i64(2)), builder.mul(scale, rows)
        if element.width < 64:
            factor, missing = (builder.trunc(value, element) for value in (factor, missing))
        factor, missing = (splat(builder, value, 64) for value in (factor, missing))
        many = builder.icmp_signed(">=", rows, i64(16))
        for word in range(words):

            def count(some: range, word: int = word) -> None:
                total = builder.load(ones)
                for k in some:
                    digit = builder.load(digits[k])
                    bits = builder.extract_element(digit, ir.IntType(32)(word)) if words > 1 else digit
                    has = builder.bitcast(bits, ir.VectorType(ir.IntType(1), 64))
                    value = ir.Constant(total.type, [1 << k] * 64)
                    total = builder.add(total, builder.select(has, value, ir.Constant(total.type, None)))
                builder.store(total, ones)

            builder.store(ir.Constant(ones.type.pointee, None), ones)
            count(range(4))
            with builder.if_then(many):
                count(range(4, 8))
            target = pointer(context, builder, kind[0], d, builder.add(i, i64(64 * word)), 64)
            total = builder.zext(builder.load(ones), ir.VectorType(element, 64))
            change = builder.sub(builder.mul(total, factor), missing)
            builder.store(builder.add(builder.load(target, align=1), change), target, align=1)
        return context.get_dummy_value()

    def rows_of(typing_context: Any, d: Any, i: Any, w: Any, offsets: Any, groups: Any, rows: Any, scale: Any) -> Any:
        return types.void(d, types.intp, w, offsets, types.intp, types.int64, types.int64), generate

    return intrinsic(rows_of)


def splat(builder: Any, value: Any, lanes: int) -> Any:
    vector = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(vector, value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, vector, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None))


def _scaled_adder(rows: int) -> Any:
    """``d += factor * w`` on LANES lanes for so many rows of weights; d is int32, the factors are int16 (faster) or int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        place = pointer(context, builder, kind[0], args[0], args[1], LANES)
        i32 = ir.IntType(32)
        total = builder.load(place, align=1)
        for row in range(rows):
            of_row, factor = args[3 + 2 * row], args[4 + 2 * row]
            weights = converted(builder, load(context, builder, kind[2], args[2], of_row), i32)
            factor = factor if factor.type.width == 32 else builder.sext(factor, i32)
            total = builder.add(total, builder.mul(weights, splat(builder, factor, LANES)))
        builder.store(total, place, align=1)
        return context.get_dummy_value()

    def typed(d: Any, i: Any, w: Any, factor: Any) -> Any:
        return types.void(d, types.intp, w, *((types.intp, factor if factor == types.int16 else types.int32) * rows)), generate

    if rows == 1:

        def one(typing_context: Any, d: Any, i: Any, w: Any, j: Any, factor: Any) -> Any:
            return typed(d, i, w, factor)

        return intrinsic(one)

    def four(
        typing_context: Any, d: Any, i: Any, w: Any, j: Any, f: Any, j2: Any, f2: Any, j3: Any, f3: Any, j4: Any, f4: Any
    ) -> Any:  # fmt: skip
        return typed(d, i, w, f)

    return intrinsic(four)


@intrinsic
def _discharge(typing_context: Any, d: Any, i: Any, threshold: Any, j: Any) -> Any:
    """Fire: ``d -= threshold`` where d >= 0 on LANES lanes; returns which lanes fired. Both arrays are of one type."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = pointer(context, builder, signature.args[0], args[0], args[1], LANES)
        theta = load(context, builder, signature.args[2], args[2], args[3])
        before = builder.load(place, align=1)
        fires = builder.icmp_signed(">=", before, ir.Constant(before.type, None))
        builder.store(builder.select(fires, builder.sub(before, theta), before), place, align=1)
        return builder.bitcast(fires, ir.IntType(LANES))

    return types.uint32(d, types.intp, threshold, types.intp), generate


@intrinsic
def _shifted(typing_context: Any, out: Any, i: Any, values: Any, j: Any, by: Any) -> Any:
    """``out = values + by`` on eight lanes; both arrays are of int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        source = load(context, builder, kind[2], args[2], args[3], 8)
        target = pointer(context, builder, kind[0], args[0], args[1], 8)
        builder.store(builder.add(source, splat(builder, args[4], 8)), target, align=8)
        return context.get_dummy_value()

    return types.void(out, types.intp, values, types.intp, types.int64), generate


@intrinsic
def _peek(typing_context: Any, array: Any, i: Any) -> Any:
    """Element of a contiguous array by its flat place, which is not checked and does not count from the end if negative."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic
def _lowest(typing_context: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))
        return builder.zext(place, ir.IntType(64))

    return types.int64(types.uint32), generate


@intrinsic
def _count(typing_context: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.ctpop(args[0]), ir.IntType(64))

    return types.int64(types.uint32), generate


# The same in NumPy: what they mean, and what runs with the JIT off.


def _bits(due: Any) -> int:
    return int(np.packbits(due, bitorder="little").view("<u4")[0])


def _due(d: Any, i: int, low: Any | None) -> int:
    lanes = slice(i, i + LANES)
    return _bits(d[lanes] >= 0 if low is None else (d[lanes] >= 0) | (d[lanes] < low[lanes]))


def _numpy_adder(sign: int) -> Callable[..., int]:
    def add(d: Any, i: int, w: Any, j: int, low: Any | None = None) -> int:
        d[i : i + LANES] += sign * w[j : j + LANES].astype(d.dtype)
        return _due(d, i, low)

    return add


def _numpy_add_together(d: Any, i: int, w: Any, *rows: int) -> None:
    d[i : i + LANES] += sum((w[j : j + LANES].astype(d.dtype) for j in rows), np.zeros(LANES, d.dtype))


def _numpy_test(d: Any, i: int, low: Any | None = None) -> int:
    return _due(d, i, low)


def _numpy_bit_summer(block: int) -> Callable[..., None]:
    def add_bits(d: Any, i: int, w: Any, offsets: Any, groups: int, rows: int, scale: int) -> None:
        words = w[offsets[: 8 * groups, None] + np.arange(block // 64)].astype("<u8")
        ones = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").sum(0, dtype=np.int64)
        d[i : i + block] += (scale * (2 * ones - rows)).astype(d.dtype)

    return add_bits


def _numpy_add_scaled(d: Any, i: int, w: Any, *rows: int) -> None:
    for j, factor in zip(rows[::2], rows[1::2], strict=True):
        d[i : i + LANES] += int(factor) * w[j : j + LANES].astype(d.dtype)


def _numpy_discharge(d: Any, i: int, threshold: Any, j: int) -> int:
    fires = d[i : i + LANES] >= 0
    d[i : i + LANES] -= fires * threshold[j : j + LANES]
    return _bits(fires)


def _numpy_shifted(out: Any, i: int, values: Any, j: int, by: int) -> None:
    out[i : i + 8] = values[j : j + 8] + by


def _numpy_peek(array: Any, i: int) -> Any:
    return array.ravel()[i]


def _numpy_lowest(mask: int) -> int:
    return (int(mask) & -int(mask)).bit_length() - 1 if mask else LANES


def _numpy_count(mask: int) -> int:
    return int(mask).bit_count()


add_2: Callable[..., Any]
add_3: Callable[..., Any]
add_4: Callable[..., Any]
add_2_wide: Callable[..., Any]
add_3_wide: Callable[..., Any]
add_4_wide: Callable[..., Any]
add_scaled: Callable[..., Any]
add_scaled_rows: Callable[..., Any]
count: Callable[..., Any]
discharge: Callable[..., Any]
lowest: Callable[..., Any]
peek: Callable[..., Any]
shifted: Callable[..., Any]
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    add = add_signed = _numpy_adder(1)
    subtract = subtract_signed = _numpy_adder(-1)
    add_2 = add_3 = add_4 = add_2_wide = add_3_wide = add_4_wide = _numpy_add_together
    test = test_signed = _numpy_test
    add_bits_64, add_bits_128, add_bits_256, add_bits_512 = (_numpy_bit_summer(block) for block in (64, 128, 256, 512))
    add_scaled = add_scaled_rows = _numpy_add_scaled
    discharge = _numpy_discharge
    count, lowest, peek, shifted = _numpy_count, _numpy_lowest, _numpy_peek, _numpy_shifted
else:
    add, add_signed = _adder(False, False), _adder(False, True)
    subtract, subtract_signed = _adder(True, False), _adder(True, True)
    add_2, add_3, add_4 = (_rows_adder(rows, True) for rows in (2, 3, 4))
    add_2_wide, add_3_wide, add_4_wide = (_rows_adder(rows, False) for rows in (2, 3, 4))
    test, test_signed = _tester(False), _tester(True)
    add_bits_64, add_bits_128, add_bits_256, add_bits_512 = (_bit_summer(block) for block in (64, 128, 256, 512))
    add_scaled, add_scaled_rows = _scaled_adder(1), _scaled_adder(4)
    discharge = _discharge
    count, lowest, peek, shifted = _count, _lowest, _peek, _shifted

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


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int) -> Any:
    """Pointer to a vector of lanes at a place of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    element = context.get_data_type(array_type.dtype)
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(element, lanes).as_pointer())


def _load(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int = LANES) -> Any:
    return builder.load(_pointer(context, builder, array_type, array, index, lanes), align=1)


def _as(builder: Any, value: Any, element: Any) -> Any:
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
        place = _pointer(context, builder, kind[0], args[0], args[1], LANES)
        weights = _as(builder, _load(context, builder, kind[2], args[2], args[3]), context.get_data_type(kind[0].dtype))
        before = builder.load(place, align=1)
        after = builder.sub(before, weights) if negative else builder.add(before, weights)
        builder.store(after, place, align=1)
        low = _load(context, builder, kind[4], args[4], args[1]) if signed else None
        return _mask(builder, after, low)

    if signed:

        def with_low(typing_context: Any, d: Any, i: Any, w: Any, j: Any, low: Any) -> Any:
            return types.uint32(d, types.intp, w, types.intp, low), generate

        return intrinsic(with_low)

    def without(typing_context: Any, d: Any, i: Any, w: Any, j: Any) -> Any:
        return types.uint32(d, types.intp, w, types.intp), generate

    return intrinsic(without)


def _tester(signed: bool) -> Any:
    """Which of LANES lanes are due."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        low = _load(context, builder, kind[2], args[2], args[1]) if signed else None
        return _mask(builder, _load(context, builder, kind[0], args[0], args[1]), low)

    if signed:

        def with_low(typing_context: Any, d: Any, i: Any, low: Any) -> Any:
            return types.uint32(d, types.intp, low), generate

        return intrinsic(with_low)

    def without(typing_context: Any, d: Any, i: Any) -> Any:
        return types.uint32(d, types.intp), generate

    return intrinsic(without)


def _summer(block: int) -> Any:
    """``d += scale * (sum of rows of a block of int8 weights)``, the rows listed by spikes and summed in int8 lanes.

    ``ranges`` holds, three numbers for each kernel row, the first and the last (exclusive) place in ``spikes`` and the place in ``w``
    of the row of a spike number 0; the row of spike n is ``n * block`` further. The caller makes sure that no int8 sum overflows.
    """
    lanes = min(block, 64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        d, i, _, _, _, rows, scale = args
        i8, i64 = ir.IntType(8), ir.IntType(64)
        element = context.get_data_type(kind[0].dtype)
        narrow = ir.VectorType(i8, lanes)
        weights, spike, limits = (context.make_array(kind[k])(context, builder, args[k]).data for k in (2, 3, 4))
        sums = [cgutils.alloca_once_value(builder, ir.Constant(narrow, None)) for _ in range(block // lanes)]
        for total in sums:
            builder.store(ir.Constant(narrow, None), total)
        with cgutils.for_range(builder, rows) as row:
            place = builder.mul(row.index, i64(3))
            first, last, offset = (builder.load(builder.gep(limits, [builder.add(place, i64(k))])) for k in range(3))
            with cgutils.for_range(builder, builder.sub(last, first)) as step:
                number = builder.load(builder.gep(spike, [builder.add(first, step.index)]))
                start = builder.add(offset, builder.mul(builder.sext(number, i64), i64(block)))
                for k, total in enumerate(sums):
                    pointer = builder.gep(weights, [builder.add(start, i64(k * lanes))])
                    line = builder.load(builder.bitcast(pointer, narrow.as_pointer()), align=1)
                    builder.store(builder.add(builder.load(total), line), total)
        factor = builder.trunc(scale, element) if element.width < 64 else scale
        splat = _splat(builder, factor, lanes)
        for k, total in enumerate(sums):
            target = _pointer(context, builder, kind[0], d, builder.add(i, i64(k * lanes)), lanes)
            scaled = builder.mul(_as(builder, builder.load(total), element), splat)
            builder.store(builder.add(builder.load(target, align=1), scaled), target, align=1)
        return context.get_dummy_value()

    def rows_of(typing_context: Any, d: Any, i: Any, w: Any, spikes: Any, ranges: Any, rows: Any, scale: Any) -> Any:
        return types.void(d, types.intp, w, spikes, ranges, types.intp, types.int64), generate

    return intrinsic(rows_of)


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    vector = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(vector, value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, vector, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None))


@intrinsic
def _add_scaled(typing_context: Any, d: Any, i: Any, w: Any, j: Any, factor: Any) -> Any:
    """``d += factor * w`` on LANES lanes; d and the factor are int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        place = _pointer(context, builder, kind[0], args[0], args[1], LANES)
        weights = _as(builder, _load(context, builder, kind[2], args[2], args[3]), context.get_data_type(kind[0].dtype))
        product = builder.mul(weights, _splat(builder, args[4], LANES))
        builder.store(builder.add(builder.load(place, align=1), product), place, align=1)
        return context.get_dummy_value()

    return types.void(d, types.intp, w, types.intp, types.int32), generate


@intrinsic
def _charge(typing_context: Any, v: Any, current: Any, threshold: Any, i: Any) -> Any:
    """``v += current``, then fire: ``v -= threshold`` where v >= threshold; returns which lanes fired (int32 arrays)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], args[0], args[3], LANES)
        rate, theta = (_load(context, builder, signature.args[k], args[k], args[3]) for k in (1, 2))
        after = builder.add(builder.load(place, align=1), rate)
        fires = builder.icmp_signed(">=", after, theta)
        builder.store(builder.select(fires, builder.sub(after, theta), after), place, align=1)
        return builder.bitcast(fires, ir.IntType(LANES))

    return types.uint32(v, current, threshold, types.intp), generate


@intrinsic
def _discharge(typing_context: Any, d: Any, i: Any, threshold: Any, j: Any) -> Any:
    """Fire: ``d -= threshold`` where d >= 0 on LANES lanes; returns which lanes fired. Both arrays are of one type."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], args[0], args[1], LANES)
        theta = _load(context, builder, signature.args[2], args[2], args[3])
        before = builder.load(place, align=1)
        fires = builder.icmp_signed(">=", before, ir.Constant(before.type, None))
        builder.store(builder.select(fires, builder.sub(before, theta), before), place, align=1)
        return builder.bitcast(fires, ir.IntType(LANES))

    return types.uint32(d, types.intp, threshold, types.intp), generate


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


def _numpy_test(d: Any, i: int, low: Any | None = None) -> int:
    return _due(d, i, low)


def _numpy_summer(block: int) -> Callable[..., None]:
    def add_rows(d: Any, i: int, w: Any, spikes: Any, ranges: Any, rows: int, scale: int) -> None:
        total = np.zeros(block, np.int8)
        for first, last, offset in ranges[: 3 * rows].reshape(-1, 3):
            for number in spikes[first:last].astype(np.int64):
                total += w[offset + number * block :][:block]
        d[i : i + block] += (total.astype(d.dtype) * scale).astype(d.dtype)

    return add_rows


def _numpy_add_scaled(d: Any, i: int, w: Any, j: int, factor: int) -> None:
    d[i : i + LANES] += factor * w[j : j + LANES].astype(d.dtype)


def _numpy_charge(v: Any, current: Any, threshold: Any, i: int) -> int:
    lanes = slice(i, i + LANES)
    v[lanes] += current[lanes]
    fires = v[lanes] >= threshold[lanes]
    v[lanes] -= fires * threshold[lanes]
    return _bits(fires)


def _numpy_discharge(d: Any, i: int, threshold: Any, j: int) -> int:
    fires = d[i : i + LANES] >= 0
    d[i : i + LANES] -= fires * threshold[j : j + LANES]
    return _bits(fires)


def _numpy_peek(array: Any, i: int) -> Any:
    return array.ravel()[i]


def _numpy_lowest(mask: int) -> int:
    return (int(mask) & -int(mask)).bit_length() - 1 if mask else LANES


def _numpy_count(mask: int) -> int:
    return int(mask).bit_count()


add_scaled: Callable[..., Any]
charge: Callable[..., Any]
count: Callable[..., Any]
discharge: Callable[..., Any]
lowest: Callable[..., Any]
peek: Callable[..., Any]
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    add = add_signed = _numpy_adder(1)
    subtract = subtract_signed = _numpy_adder(-1)
    test = test_signed = _numpy_test
    add_rows_32, add_rows_64, add_rows_128 = (_numpy_summer(block) for block in (32, 64, 128))
    add_scaled, charge, discharge = _numpy_add_scaled, _numpy_charge, _numpy_discharge
    count, lowest, peek = _numpy_count, _numpy_lowest, _numpy_peek
else:
    add, add_signed = _adder(False, False), _adder(False, True)
    subtract, subtract_signed = _adder(True, False), _adder(True, True)
    test, test_signed = _tester(False), _tester(True)
    add_rows_32, add_rows_64, add_rows_128 = (_summer(block) for block in (32, 64, 128))
    add_scaled, charge, discharge = _add_scaled, _charge, _discharge
    count, lowest, peek = _count, _lowest, _peek

"""Vector operations for compiled code, as LLVM instructions: numba cannot say "which of these 32 lanes are not negative".

``d`` is an array of distances to threshold (int16, int32 or int64), ``w`` an array of weights (int8, int16 or int32); ``i`` and ``j``
are places in them, LANES entries from each on must exist. A mask has bit k set if lane k is due. Nothing is checked here: callers
work on arrays that :mod:`eventsim.engines.layered.engine` has laid out in multiples of LANES.

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
# So many places are written at once where some of them may not be needed.
SLACK = 4
# Flags of the entries of _runner.
WIDE, NEGATIVE = 2**31, 2**30


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


def _any_due(builder: Any, d: Any) -> Any:
    """Not 0 where some lane is not negative, as an integer: one comparison for all vectors."""
    z = builder.not_(d)
    while z.type.count * z.type.element.width > 512:
        half = z.type.count // 2
        first, second = (
            builder.shuffle_vector(z, z, ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(n, n + half)))) for n in (0, half)
        )
        z = builder.or_(first, second)
    flags = builder.bitcast(builder.icmp_signed("<", z, ir.Constant(z.type, None)), ir.IntType(z.type.count))
    return builder.zext(flags, ir.IntType(64)) if z.type.count < 64 else flags


def _if_last(builder: Any, masks: Any, entry: Any, following: Any) -> Any:
    """All ones if the next entry has another tick, else 0.

    Read from memory (``masks`` is 0, -1), so that no branch can be made of it: that would be guessed wrong every other time.
    """
    other = builder.icmp_unsigned(">=", builder.xor(entry, following), ir.Constant(entry.type, 2**32))
    return builder.load(builder.gep(masks, [builder.zext(other, entry.type)]))


def _runner(lanes: int) -> Any:
    """Add weights to ``d`` on so many lanes, one entry of a list after the other; those that are due at the end of a tick fire.

    For unsigned neurons, reset by subtraction. Arguments: ``d`` and the place ``i`` in it, ``threshold`` (as d) and ``channel``, ``w``
    (int8) and a place ``j`` in it, ``entries`` and the first place ``at``, ``limit``, ``keys`` (int64), the place ``n`` for the next one,
    ``most``, ``neuron``, ``bits``, ``told`` (int64), ``masks`` (see :func:`_if_last`). An entry is ``tick << 32 | WIDE | place`` (relative
    to ``j``), a spike of lane k the key ``(tick << bits) + neuron + k``. It stops before an entry of tick ``limit`` or later or one that is
    WIDE, where a neuron is still due after it fired, and at ``most`` keys or more; the last entry has a tick beyond all limits. Returns the
    place in ``entries`` that was reached; ``told`` gets the new ``n`` and whether a neuron is still due. Up to SLACK keys behind the last
    one are overwritten.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        _, i, _, channel, _, j, _, at, limit, _, n, most, neuron, bits, _, _ = args
        i64, mask_type = ir.IntType(64), ir.IntType(lanes)
        place = pointer(context, builder, kind[0], args[0], i, lanes)
        entries, keys, told, masks = (context.make_array(kind[k])(context, builder, args[k]).data for k in (6, 9, 14, 15))
        weights = builder.gep(context.make_array(kind[4])(context, builder, args[4]).data, [j])
        theta = load(context, builder, kind[2], args[2], channel, lanes)
        line, element = ir.VectorType(ir.IntType(8), lanes), context.get_data_type(kind[0].dtype)
        d = cgutils.alloca_once_value(builder, builder.load(place, align=1))
        here, count = cgutils.alloca_once_value(builder, at), cgutils.alloca_once_value(builder, n)
        again = cgutils.alloca_once_value(builder, i64(0))
        entry = cgutils.alloca_once_value(builder, builder.load(builder.gep(entries, [at])))
        flags = cgutils.alloca_once(builder, mask_type)
        zero = ir.Constant(theta.type, None)
        names = ("entry", "add", "fire", "more", "spiked", "added")
        head, body, fire, more, spiked, end = (builder.append_basic_block(name) for name in names)
        builder.branch(head)
        builder.position_at_end(head)
        this = builder.load(entry)
        tick = builder.lshr(this, i64(32))
        stops = builder.or_(builder.icmp_signed(">=", tick, limit), builder.icmp_signed("!=", builder.and_(this, i64(WIDE)), i64(0)))
        builder.cbranch(stops, end, body)
        builder.position_at_end(body)
        weight = builder.bitcast(builder.gep(weights, [builder.and_(this, i64(NEGATIVE - 1))]), line.as_pointer())
        after = builder.add(builder.load(d), converted(builder, builder.load(weight, align=1), element))
        builder.store(after, d)
        following = builder.add(builder.load(here), i64(1))
        builder.store(following, here)
        after_it = builder.load(builder.gep(entries, [following]))
        builder.store(after_it, entry)
        hit = builder.and_(_any_due(builder, after), _if_last(builder, masks, this, after_it))
        builder.cbranch(builder.icmp_unsigned("!=", hit, i64(0)), fire, head)

        builder.position_at_end(fire)
        fires = builder.icmp_signed(">=", after, zero)
        due = builder.bitcast(fires, mask_type)
        fired = builder.select(fires, builder.sub(after, theta), after)
        builder.store(fired, d)
        key = builder.add(builder.shl(tick, bits), neuron)
        number = builder.load(count)

        def in_64(value: Any) -> Any:
            return value if lanes == 64 else builder.zext(value, i64) if lanes < 64 else builder.trunc(value, i64)

        def spike_of(mask: Any, number: Any) -> Any:
            """Write the key of the lowest lane (of none: anything); returns the mask of the others."""
            lane = in_64(builder.cttz(mask, ir.IntType(1)(0)))
            builder.store(builder.add(key, lane), builder.gep(keys, [number]))
            return builder.and_(mask, builder.sub(mask, mask_type(1)))

        # Few fire as a rule: writing some keys each time costs less than to guess how many there are.
        rest = due
        for k in range(SLACK):
            rest = spike_of(rest, builder.add(number, i64(k)))
        total = builder.add(number, in_64(builder.ctpop(due)))
        builder.store(rest, flags)
        builder.store(builder.add(number, i64(SLACK)), count)
        builder.cbranch(builder.icmp_unsigned("!=", rest, mask_type(0)), more, spiked)
        builder.position_at_end(more)
        number = builder.load(count)
        rest = spike_of(builder.load(flags), number)
        builder.store(builder.add(number, i64(1)), count)
        builder.store(rest, flags)
        builder.cbranch(builder.icmp_unsigned("!=", rest, mask_type(0)), more, spiked)
        builder.position_at_end(spiked)
        builder.store(total, count)
        still = builder.icmp_unsigned("!=", builder.bitcast(builder.icmp_signed(">=", fired, zero), mask_type), mask_type(0))
        builder.store(builder.zext(still, i64), again)
        builder.cbranch(builder.or_(still, builder.icmp_signed(">=", builder.load(count), most)), end, head)

        builder.position_at_end(end)
        builder.store(builder.load(d), place, align=1)
        builder.store(builder.load(count), told)
        builder.store(builder.load(again), builder.gep(told, [i64(1)]))
        return builder.load(here)

    def typed(
        typing_context: Any, d: Any, i: Any, threshold: Any, channel: Any, w: Any, j: Any, entries: Any, at: Any, limit: Any,
        keys: Any, n: Any, most: Any, neuron: Any, bits: Any, told: Any, masks: Any,
    ) -> Any:  # fmt: skip
        number = types.int64
        kinds = d, number, threshold, number, w, number, entries, number, number, keys, number, number, number, number, told, masks
        return number(*kinds), generate

    return intrinsic(typed)


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
def _leader(typing_context: Any, d: Any, channels: Any) -> Any:
    """The place of the largest of the first ``channels`` elements, LANES at most; of equal ones the first. LANES elements must exist."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64, i1 = ir.IntType(64), ir.IntType(1)
        values = load(context, builder, signature.args[0], args[0], i64(0))
        numbers = ir.Constant(ir.VectorType(i64, LANES), list(range(LANES)))
        inside = builder.icmp_signed("<", numbers, splat(builder, args[1], LANES))
        lowest = ir.Constant(values.type, [-(2 ** (values.type.element.width - 1))] * LANES)
        values = builder.select(inside, values, lowest)
        kind = ir.FunctionType(values.type.element, (values.type,))
        name = f"llvm.vector.reduce.smax.v{LANES}i{values.type.element.width}"
        most = builder.call(cgutils.get_or_insert_function(builder.module, kind, name), (values,))
        equal = builder.icmp_signed("==", values, splat(builder, most, LANES))
        return builder.zext(builder.cttz(builder.bitcast(equal, ir.IntType(LANES)), i1(1)), i64)

    return types.int64(d, types.int64), generate


@intrinsic
def _reaching(typing_context: Any, d: Any, least: Any) -> Any:
    """Mask of those of the first LANES elements that are not less than ``least``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = load(context, builder, signature.args[0], args[0], ir.IntType(64)(0))
        reached = builder.icmp_signed(">=", values, splat(builder, args[1], LANES))
        return builder.bitcast(reached, ir.IntType(LANES))

    return types.uint32(d, d.dtype), generate


def _lead(lanes: int) -> Any:
    """Add weights (int8) to ``d``, a row for a spike, for as long as one lane leads; returns how many were added, at least one.

    Arguments: ``d`` (its first lanes are worked on), ``channels``, ``w``, a place ``j`` in it, ``step`` between the rows of two neurons,
    ``neurons`` and ``ticks`` of the spikes, the first place ``at`` and the ``end``, the ``last`` tick, and ``best``. It stops behind the
    spike after which another of the ``channels`` first lanes is as large as ``best``, before one later than ``last``, and at the end.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args
        _, channels, _, j, step, _, _, at, end, last, best = args
        i64, mask_type = ir.IntType(64), ir.IntType(lanes)
        place = pointer(context, builder, kind[0], args[0], i64(0), lanes)
        neurons, ticks = (context.make_array(kind[k])(context, builder, args[k]).data for k in (5, 6))
        weights = builder.gep(context.make_array(kind[2])(context, builder, args[2]).data, [j])
        line, element = ir.VectorType(ir.IntType(8), lanes), context.get_data_type(kind[0].dtype)
        inside = builder.trunc(builder.sub(builder.shl(i64(1), channels), i64(1)), mask_type)
        alone = builder.trunc(builder.shl(i64(1), best), mask_type)
        d = cgutils.alloca_once_value(builder, builder.load(place, align=1))
        top = cgutils.alloca_once_value(builder, builder.load(builder.gep(builder.bitcast(place, element.as_pointer()), [best])))
        here = cgutils.alloca_once_value(builder, at)
        body, more, stop = (builder.append_basic_block(name) for name in ("row", "more", "stop"))
        builder.branch(body)
        builder.position_at_end(body)
        spike = builder.load(here)
        row = builder.gep(weights, [builder.mul(builder.sext(builder.load(builder.gep(neurons, [spike])), i64), step)])
        weight = builder.load(builder.bitcast(row, line.as_pointer()), align=1)
        after = builder.add(builder.load(d), converted(builder, weight, element))
        builder.store(after, d)
        most = builder.add(builder.load(top), builder.sext(builder.load(builder.gep(row, [best])), element))
        builder.store(most, top)
        following = builder.add(spike, i64(1))
        builder.store(following, here)
        reached = builder.bitcast(builder.icmp_signed(">=", after, splat(builder, most, lanes)), mask_type)
        leads = builder.icmp_unsigned("==", builder.and_(reached, inside), alone)
        builder.cbranch(builder.and_(leads, builder.icmp_signed("<", following, end)), more, stop)
        builder.position_at_end(more)
        builder.cbranch(builder.icmp_signed("<=", builder.load(builder.gep(ticks, [following])), last), body, stop)
        builder.position_at_end(stop)
        builder.store(builder.load(d), place, align=1)
        return builder.sub(builder.load(here), at)

    def typed(
        typing_context: Any, d: Any, channels: Any, w: Any, j: Any, step: Any, neurons: Any, ticks: Any, at: Any, end: Any, last: Any,
        best: Any,
    ) -> Any:  # fmt: skip
        number = types.int64
        return number(d, number, w, number, number, neurons, ticks, number, number, number, number), generate

    return intrinsic(typed)


@intrinsic
def _peek(typing_context: Any, array: Any, i: Any) -> Any:
    """Element of a contiguous array by its flat place, which is not checked and does not count from the end if negative."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic
def _poke(typing_context: Any, array: Any, i: Any, value: Any) -> Any:
    """Set an element of a contiguous array by its flat place, as unchecked as :func:`_peek`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.store(args[2], builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


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


def _numpy_runner(lanes: int) -> Callable[..., int]:
    def run(
        d: Any, i: int, threshold: Any, channel: int, w: Any, j: int, entries: Any, at: int, limit: int, keys: Any, n: int, most: int,
        neuron: int, bits: int, told: Any, masks: Any,
    ) -> int:  # fmt: skip
        here, again = slice(i, i + lanes), False
        while entries[at] >> 32 < limit and not entries[at] & WIDE:
            tick, place = int(entries[at]) >> 32, j + (int(entries[at]) & (NEGATIVE - 1))
            d[here] += w[place : place + lanes].astype(d.dtype)
            at += 1
            if int(entries[at]) >> 32 != tick:
                fired = np.flatnonzero(d[here] >= 0)
                d[i + fired] -= threshold[channel + fired]
                keys[n : n + len(fired)] = (tick << bits) + neuron + fired
                n += len(fired)
                again = bool((d[here] >= 0).any())
                if len(fired) and (again or n >= most):
                    break
        told[:] = n, again
        return at

    return run


def _numpy_discharge(d: Any, i: int, threshold: Any, j: int) -> int:
    fires = d[i : i + LANES] >= 0
    d[i : i + LANES] -= fires * threshold[j : j + LANES]
    return _bits(fires)


def _numpy_shifted(out: Any, i: int, values: Any, j: int, by: int) -> None:
    out[i : i + 8] = values[j : j + 8] + by


def _numpy_leader(d: Any, channels: int) -> int:
    return int(np.argmax(d[:channels]))


def _numpy_lead(lanes: int) -> Callable[..., int]:
    def lead(d: Any, channels: int, w: Any, j: int, step: int, neurons: Any, ticks: Any, at: int, end: int, last: int, best: int) -> int:
        spike = at
        while spike == at or (spike < end and ticks[spike] <= last and np.sum(d[:channels] >= d[best]) == 1):
            row = j + int(neurons[spike]) * step
            d[:lanes] += w[row : row + lanes]
            spike += 1
        return spike - at

    return lead


def _numpy_reaching(d: Any, least: int) -> int:
    return _bits(d[:LANES] >= least)


def _numpy_peek(array: Any, i: int) -> Any:
    return array.ravel()[i]


def _numpy_poke(array: Any, i: Any, value: Any) -> None:
    array.ravel()[i] = value


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
count: Callable[..., Any]
discharge: Callable[..., Any]
lowest: Callable[..., Any]
leader: Callable[..., Any]
peek: Callable[..., Any]
poke: Callable[..., Any]
reaching: Callable[..., Any]
shifted: Callable[..., Any]
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    add = add_signed = _numpy_adder(1)
    subtract = subtract_signed = _numpy_adder(-1)
    add_2 = add_3 = add_4 = add_2_wide = add_3_wide = add_4_wide = _numpy_add_together
    test = test_signed = _numpy_test
    add_bits_64, add_bits_128, add_bits_256, add_bits_512 = (_numpy_bit_summer(block) for block in (64, 128, 256, 512))
    discharge, leader = _numpy_discharge, _numpy_leader
    count, lowest, peek, poke = _numpy_count, _numpy_lowest, _numpy_peek, _numpy_poke
    reaching, shifted = _numpy_reaching, _numpy_shifted
else:
    add, add_signed = _adder(False, False), _adder(False, True)
    subtract, subtract_signed = _adder(True, False), _adder(True, True)
    add_2, add_3, add_4 = (_rows_adder(rows, True) for rows in (2, 3, 4))
    add_2_wide, add_3_wide, add_4_wide = (_rows_adder(rows, False) for rows in (2, 3, 4))
    test, test_signed = _tester(False), _tester(True)
    add_bits_64, add_bits_128, add_bits_256, add_bits_512 = (_bit_summer(block) for block in (64, 128, 256, 512))
    discharge, leader = _discharge, _leader
    count, lowest, peek, poke, reaching, shifted = _count, _lowest, _peek, _poke, _reaching, _shifted

_make_runner = _numpy_runner if config.DISABLE_JIT else _runner  # type: ignore[attr-defined]
_make_lead = _numpy_lead if config.DISABLE_JIT else _lead  # type: ignore[attr-defined]
lead_16, lead_32 = _make_lead(16), _make_lead(32)
run_32, run_64, run_128 = (_make_runner(lanes) for lanes in (32, 64, 128))

"""A vector type for compiled code, and pointers to named tuples: what numba cannot say in Python, so that kernels are plain loops.

A :class:`Vector` holds, in registers, as many integers of one type as it has lanes, or as many flags (comparisons yield them).
``+ - * & | ^ << >> ~`` and comparisons work lane by lane on two vectors of one type; numbers are made vectors by :func:`full`, and nothing
is converted by itself. Results wrap. Vectors live within compiled code only: arrays are read by :func:`load` and written by :func:`store`.
:class:`Rows` are several vectors side by side, for sums.

:func:`pointer_to` a named tuple hands it from one compiled function to another as one number.

Here, and only here, is LLVM written by hand: each function builds the instructions of one operation, without loops or branches in
them, and checks at compile time what types it is given. Nothing is checked when it runs: lanes from a place on must exist.

With the compiler off, the functions of :mod:`eventsim.kernels.vector_twin` take their place: they say in NumPy what each one means.
"""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from llvmlite import ir
from numba import TypingError, config, types
from numba.extending import intrinsic, lower_builtin, lower_getattr_generic, models, register_model, type_callable

from eventsim.kernels import vector_twin
from eventsim.kernels.compiled import attributes, processor_has

_FLAG, _BYTE, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
# Words of flags that are integers to numba.
_WORDS = (8, 16, 32, 64)


class Vector(types.Type):
    """The type of ``lanes`` integers (or flags, ``types.boolean``) in registers."""

    # What :mod:`eventsim.kernels.fingerprint` cannot see in a kernel that has the type: functions that numba calls for it.
    built_by: ClassVar[list[Any]] = []

    def __init__(self, dtype: Any, lanes: int):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype} x {lanes})")


class Rows(types.Type):
    """The type of ``count`` vectors of one type; ``+`` and ``-`` work vector by vector."""

    built_by: ClassVar[list[Any]] = Vector.built_by

    def __init__(self, row: Vector, count: int):
        self.row, self.count = row, count
        super().__init__(f"Rows({row} x {count})")


def _bits_of(dtype: Any) -> int:
    return 1 if dtype is types.boolean else dtype.bitwidth


def _llvm(vector: Vector) -> Any:
    return ir.VectorType(ir.IntType(_bits_of(vector.dtype)), vector.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector):
        super().__init__(manager, vector, _llvm(vector))


@register_model(Rows)
class _RowsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, rows: Rows):
        super().__init__(manager, rows, ir.ArrayType(_llvm(rows.row), rows.count))


Vector.built_by += [_llvm, _VectorModel.__init__, _RowsModel.__init__]


# What the types have to be.


def _need(holds: bool, message: str) -> None:
    if not holds:
        raise TypingError(message)


def _need_array(array: Any) -> None:
    fits = isinstance(array, types.Array) and array.layout == "C" and isinstance(array.dtype, types.Integer)
    _need(fits, f"a vector lies in a contiguous array of integers, not in {array}")


def _need_vector(*values: Any) -> None:
    for value in values:
        _need(isinstance(value, Vector) and value.dtype is not types.boolean, f"a vector of integers is needed, not {value}")


def _need_flags(flags: Any) -> None:
    _need(isinstance(flags, Vector) and flags.dtype is types.boolean, f"flags of lanes are needed, not {flags}: compare vectors")


def _need_word(mask: Any) -> None:
    _need(
        isinstance(mask, types.Integer) and not mask.signed,  # type: ignore[attr-defined]
        f"a mask is an unsigned integer, not {mask}",
    )


def _number(literal: Any, meaning: str) -> int:
    _need(isinstance(literal, types.IntegerLiteral), f"{meaning} must be a constant, not {literal}")
    return int(literal.literal_value)


def _unsigned(lanes: int) -> Any:
    _need(lanes in _WORDS, f"flags of {lanes} lanes are no integer: take 8, 16, 32 or 64 lanes")
    return types.Integer.from_bitwidth(lanes, signed=False)


# Instructions that several operations are made of.


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def _place(context: Any, builder: Any, array_type: Any, array: Any, place: Any, lanes: int) -> Any:
    """Pointer to the lanes from a place of an array on."""
    line = ir.VectorType(context.get_data_type(array_type.dtype), lanes)
    return builder.bitcast(builder.gep(_data(context, builder, array_type, array), [place]), line.as_pointer())


def _constants(element: Any, numbers: Any) -> Any:
    return ir.Constant(ir.VectorType(element, len(numbers)), list(numbers))


def _shuffle(builder: Any, value: Any, lanes: Any) -> Any:
    """The lanes of these numbers, side by side."""
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), _constants(_I32, lanes))


def _splat(builder: Any, number: Any, lanes: int) -> Any:
    one = builder.insert_element(ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined), number, _I32(0))
    return _shuffle(builder, one, [0] * lanes)


def _resized(builder: Any, value: Any, target: Any, signed: bool) -> Any:
    """Integers, vectors of them or flags in another width; narrowing wraps."""
    width, wanted = (getattr(kind, "element", kind).width for kind in (value.type, target))
    if width == wanted:
        return value
    return builder.trunc(value, target) if width > wanted else builder.sext(value, target) if signed else builder.zext(value, target)


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(builder.module.declare_intrinsic(name, (), kind), args)


# Arrays.


@intrinsic(prefer_literal=True)
def load(typing_context: Any, array: Any, place: Any, lanes: Any) -> Any:
    """The ``lanes`` integers (a constant) of an array from a place on."""
    _need_array(array)
    vector = Vector(array.dtype, _number(lanes, "the number of lanes"))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature.args[0], args[0], args[1], vector.lanes), align=1)

    return vector(array, types.intp, lanes), generate


@intrinsic
def store(typing_context: Any, array: Any, place: Any, vector: Any) -> Any:
    """Write a vector to an array of its type, from a place on."""
    _need_array(array)
    _need(isinstance(vector, Vector) and vector.dtype == array.dtype, f"{vector} cannot be stored in {array}: convert it")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature.args[0], args[0], args[1], vector.lanes), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def store_chosen(typing_context: Any, array: Any, place: Any, vector: Any, flags: Any) -> Any:
    """Write the lanes whose flag is set to an array of int64, side by side from a place on; returns the place behind them.

    Overwrites as many places as there are lanes. It chooses by the processor, and is one operation for that reason. (The instruction that
    stores only the chosen ones is slow on AMD's processors.)
    """
    _need_array(array)
    _need_flags(flags)
    _need(vector == Vector(types.int64, flags.lanes) and array.dtype == types.int64, f"{vector} cannot be stored in {array} by {flags}")
    lanes, width = vector.lanes, 8

    def one_by_one(builder: Any, data: Any, place: Any, values: Any, chosen: Any) -> Any:
        # Without branches: which lanes are chosen cannot be guessed.
        for lane in range(lanes):
            builder.store(builder.extract_element(values, _I32(lane)), builder.gep(data, [place]))
            place = builder.add(place, builder.zext(builder.extract_element(chosen, _I32(lane)), _I64))
        return place

    def packed(builder: Any, data: Any, place: Any, values: Any, chosen: Any) -> Any:
        line = ir.VectorType(_I64, width)
        for first in range(0, lanes, width):
            some, wanted = (_shuffle(builder, each, range(first, first + width)) for each in (values, chosen))
            together = _call(builder, f"llvm.x86.avx512.mask.compress.v{width}i64", line, some, ir.Constant(line, None), wanted)
            builder.store(together, builder.bitcast(builder.gep(data, [place]), line.as_pointer()), align=8)
            place = builder.add(place, builder.zext(builder.ctpop(builder.bitcast(wanted, ir.IntType(width))), _I64))
        return place

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _data(context, builder, signature.args[0], args[0])
        write = packed if processor_has(context, "avx512f") and lanes % width == 0 else one_by_one
        return write(builder, data, args[1], args[2], args[3])

    return types.int64(array, types.int64, vector, flags), generate


@intrinsic(prefer_literal=True)
def add_digits(typing_context: Any, array: Any, place: Any, digits: Any, number: Any, factor: Any, missing: Any) -> Any:
    """``array += factor * sums - missing`` from a place on; ``sums``: the sum of ``2**k`` for the digits that have a lane's bit.

    A digit is a word (uint64) with a bit for each of 64 lanes, or a vector of words; of the tuple of ``digits`` the first ``number`` (a
    constant) are summed. One operation, as words are taken out of vectors by constants to be fast, and the many instructions for them,
    one by one, would take numba half a second.
    """
    _need_array(array)
    count = _number(number, "the number of digits")
    fits = isinstance(digits, types.UniTuple) and types.uint64 in (digits.dtype, getattr(digits.dtype, "dtype", None))
    _need(fits and 0 < count <= min(digits.count, 8), f"{count} digits cannot be summed in {digits}")
    in_vectors = isinstance(digits.dtype, Vector)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_data_type(array.dtype)
        line = ir.VectorType(element, 64)
        times, less = (_splat(builder, _resized(builder, arg, element, True), 64) for arg in args[4:])
        none = ir.Constant(ir.VectorType(_BYTE, 64), None)
        columns = [builder.extract_value(args[2], k) for k in range(count)]
        for word in range(digits.dtype.lanes if in_vectors else 1):
            sums = none
            for k, column in enumerate(columns):
                bits_of_word = builder.extract_element(column, _I32(word)) if in_vectors else column
                has = builder.bitcast(bits_of_word, ir.VectorType(_FLAG, 64))
                sums = builder.add(sums, builder.select(has, _constants(_BYTE, [1 << k] * 64), none))
            target = _place(context, builder, signature.args[0], args[0], builder.add(args[1], _I64(64 * word)), 64)
            change = builder.sub(builder.mul(_resized(builder, sums, line, False), times), less)
            builder.store(builder.add(builder.load(target, align=1), change), target, align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, digits, number, types.int64, types.int64), generate


@intrinsic
def peek(typing_context: Any, array: Any, place: Any) -> Any:
    """Element of a contiguous array, a number or record, by its flat place, which is not checked and does not count from the end."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        # A record is where it lies.
        return pointer if isinstance(array.dtype, types.Record) else builder.load(pointer)

    return array.dtype(array, types.intp), generate


@intrinsic
def poke(typing_context: Any, array: Any, place: Any, value: Any) -> Any:
    """Set an element of a contiguous array by its flat place, as unchecked as :func:`peek`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


@intrinsic
def prefetch(typing_context: Any, array: Any, place: Any) -> Any:
    """Have an element of a contiguous array in the cache soon, with its neighbours: nothing else happens. The place need not exist."""
    _need_array(array)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.bitcast(builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]]), _BYTE.as_pointer())
        # To be read, used again, and data.
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


# Vectors from numbers and from other vectors.


@intrinsic
def full(typing_context: Any, like: Any, number: Any) -> Any:
    """A vector of the type of ``like`` with a number in every lane; a larger one wraps."""
    _need_vector(like)
    _need(isinstance(number, types.Integer), f"a vector is filled with an integer, not with {number}")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, _resized(builder, args[1], _llvm(like).element, number.signed), like.lanes)

    return like(like, number), generate


@intrinsic
def spread(typing_context: Any, like: Any, number: Any) -> Any:
    """The bits of an integer again and again in a vector of the type of ``like``, whose lanes have a part of them: the lowest first."""
    _need_vector(like)
    fits = isinstance(number, types.Integer) and _bits_of(number) % _bits_of(like.dtype) == 0
    _need(fits and like.lanes * _bits_of(like.dtype) % _bits_of(number) == 0, f"the bits of {number} do not fill {like}")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(_splat(builder, args[1], like.lanes * _bits_of(like.dtype) // _bits_of(number)), _llvm(like))

    return like(like, number), generate


@intrinsic
def lane_numbers(typing_context: Any, like: Any) -> Any:
    """0, 1, 2, ... in a vector of the type of ``like``."""
    _need_vector(like)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _constants(_llvm(like).element, range(like.lanes))

    return like(like), generate


@intrinsic
def converted(typing_context: Any, vector: Any, like: Any) -> Any:
    """A vector in the integer type of ``like``, a vector, an array or a type (np.int8); flags become 0 and 1. Narrowing wraps."""
    _need(isinstance(vector, Vector), f"only a vector can be converted, not {vector}")
    _need(isinstance(getattr(like, "dtype", None), types.Integer), f"there is no vector of {like}")
    target = Vector(like.dtype, vector.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _resized(builder, args[0], _llvm(target), vector.dtype is not types.boolean and vector.dtype.signed)

    return target(vector, like), generate


@intrinsic
def unsigned(typing_context: Any, vector: Any) -> Any:
    """The same bits as unsigned integers of the same width."""
    _need_vector(vector)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[0]

    return Vector(types.Integer.from_bitwidth(vector.dtype.bitwidth, signed=False), vector.lanes)(vector), generate


@intrinsic(prefer_literal=True)
def some_lanes(typing_context: Any, vector: Any, first: Any, lanes: Any) -> Any:
    """The ``lanes`` lanes (a constant) of a vector from the lane ``first`` (a constant) on; also of flags."""
    start, count = _number(first, "the first lane"), _number(lanes, "the number of lanes")
    _need(isinstance(vector, Vector) and 0 <= start <= start + count <= vector.lanes, f"{vector} has no {count} lanes from {start} on")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _shuffle(builder, args[0], range(start, start + count))

    return Vector(vector.dtype, count)(vector, first, lanes), generate


@intrinsic(prefer_literal=True)
def repeated(typing_context: Any, vector: Any, lanes: Any) -> Any:
    """The lanes of a vector again and again, until there are so many (a constant)."""
    _need_vector(vector)
    count = _number(lanes, "the number of lanes")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _shuffle(builder, args[0], [lane % vector.lanes for lane in range(count)])

    return Vector(vector.dtype, count)(vector, lanes), generate


@intrinsic
def select(typing_context: Any, flags: Any, yes: Any, no: Any) -> Any:
    """``yes`` where a lane's flag is set, else ``no``."""
    _need_flags(flags)
    _need(isinstance(yes, Vector) and yes == no and yes.lanes == flags.lanes, f"{flags} cannot select from {yes} and {no}")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return yes(flags, yes, no), generate


@intrinsic
def ones(typing_context: Any, vector: Any) -> Any:
    """How many bits of each lane are set, in a vector of the same type."""
    _need_vector(vector)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, f"llvm.ctpop.v{vector.lanes}i{vector.dtype.bitwidth}", args[0].type, args[0])

    return vector(vector), generate


@intrinsic
def pair_sums(typing_context: Any, x: Any, y: Any) -> Any:
    """``x[2k] * y[2k] + x[2k + 1] * y[2k + 1]`` (int32) of two vectors of int16, for which processors have one instruction."""
    _need_vector(x, y)
    _need(x == y and x.dtype == types.int16, f"products are summed of two vectors of int16, not of {x} and {y}")
    lanes = x.lanes // 2

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # In this form LLVM sees the instruction.
        wide = ir.VectorType(_I32, 2 * lanes)
        products = builder.mul(builder.sext(args[0], wide), builder.sext(args[1], wide))
        evens, odds = (_shuffle(builder, products, range(odd, 2 * lanes, 2)) for odd in (0, 1))
        return builder.add(evens, odds)

    return Vector(types.int32, lanes)(x, y), generate


@intrinsic
def in_order(typing_context: Any, vector: Any) -> Any:
    """The lanes of a vector of unsigned integers by size, the smallest first.

    One operation, as the exchanges between lanes are constants of the instructions.
    """
    _need_vector(vector)
    _need(not vector.dtype.signed and vector.lanes & (vector.lanes - 1) == 0, f"{vector} cannot be sorted")
    lanes = range(vector.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # A bitonic sorting network.
        values, run = args[0], 2
        while run <= vector.lanes:
            apart = run // 2
            while apart:
                other = _shuffle(builder, values, [lane ^ apart for lane in lanes])
                less = builder.icmp_unsigned("<", values, other)
                smaller, larger = builder.select(less, values, other), builder.select(less, other, values)
                first = [(lane & apart == 0) == (lane & run == 0) for lane in lanes]
                values = builder.select(_constants(_FLAG, first), smaller, larger)
                apart //= 2
            run *= 2
        return values

    return vector(vector), generate


# Numbers from vectors.


@intrinsic
def lane(typing_context: Any, vector: Any, number: Any) -> Any:
    """The integer in one lane."""
    _need_vector(vector)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.extract_element(args[0], args[1])

    return vector.dtype(vector, types.intp), generate


@intrinsic
def bits(typing_context: Any, flags: Any) -> Any:
    """Flags of 8, 16, 32 or 64 lanes as an unsigned integer: bit k is set if the flag of lane k is."""
    _need_flags(flags)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(flags.lanes))

    return _unsigned(flags.lanes)(flags), generate


@intrinsic
def flags(typing_context: Any, mask: Any) -> Any:
    """The flags of as many lanes as an unsigned integer has bits: the inverse of :func:`bits`."""
    _need_word(mask)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.VectorType(_FLAG, mask.bitwidth))

    return Vector(types.boolean, mask.bitwidth)(mask), generate


@intrinsic
def largest(typing_context: Any, vector: Any) -> Any:
    """The largest number of the lanes of a vector of signed integers."""
    _need_vector(vector)
    _need(vector.dtype.signed, f"{vector} is not of signed integers")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name = f"llvm.vector.reduce.smax.v{vector.lanes}i{vector.dtype.bitwidth}"
        return _call(builder, name, args[0].type.element, args[0])

    return vector.dtype(vector), generate


@intrinsic
def any_reaches_zero(typing_context: Any, vector: Any) -> Any:
    """Not 0 (uint64) where some lane of a vector of signed integers is not negative; only that is meant by the number.

    One comparison for all registers of a long vector, where ``bits(vector >= zero)`` takes one for each.
    """
    _need_vector(vector)
    _need(vector.dtype.signed, f"{vector} is not of signed integers")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[0]
        while value.type.count * value.type.element.width > 512:
            half = value.type.count // 2
            first, second = (_shuffle(builder, value, range(start, start + half)) for start in (0, half))
            value = builder.and_(first, second)
        reached = builder.icmp_signed(">=", value, ir.Constant(value.type, None))
        return _resized(builder, builder.bitcast(reached, ir.IntType(value.type.count)), _I64, False)

    return types.uint64(vector), generate


@intrinsic
def opaque(typing_context: Any, number: Any) -> Any:
    """A number of which LLVM does not see where it comes from: it makes no branch that goes round it where one is chosen of two."""
    _need(isinstance(number, types.Integer), f"only an integer can be opaque, not {number}")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(args[0].type, [args[0].type])
        return builder.asm(kind, "", "=r,0", [args[0]], side_effect=False)

    return number(number), generate


@intrinsic
def registers_are_wide(typing_context: Any) -> Any:
    """Whether a register holds 512 bits, a constant. If not, they are too few for what takes several of 64 lanes in a loop."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _FLAG(processor_has(context, "avx512f"))

    return types.boolean(), generate


# Masks: unsigned integers of which each bit stands for a lane.


@intrinsic
def lowest(typing_context: Any, mask: Any) -> Any:
    """The number of the lowest bit that is set; the number of bits if none is."""
    _need_word(mask)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _resized(builder, builder.cttz(args[0], _FLAG(0)), _I64, False)

    return types.int64(mask), generate


@intrinsic
def count(typing_context: Any, mask: Any) -> Any:
    """How many bits are set."""
    _need_word(mask)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _resized(builder, builder.ctpop(args[0]), _I64, False)

    return types.int64(mask), generate


@intrinsic
def without_lowest(typing_context: Any, mask: Any) -> Any:
    """The mask with its lowest bit cleared (in numba's arithmetic it would become a longer integer); 0 stays 0."""
    _need_word(mask)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.and_(args[0], builder.sub(args[0], args[0].type(1)))

    return mask(mask), generate


# Rows.


@intrinsic(prefer_literal=True)
def load_rows(typing_context: Any, array: Any, place: Any, count: Any, lanes: Any) -> Any:
    """``count`` vectors of ``lanes`` lanes (constants) that follow one another in an array from a place on."""
    _need_array(array)
    rows = Rows(Vector(array.dtype, _number(lanes, "the number of lanes")), _number(count, "the number of rows"))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        together = ir.Constant(context.get_value_type(rows), ir.Undefined)
        for row in range(rows.count):
            first = builder.add(args[1], _I64(rows.row.lanes * row))
            line = builder.load(_place(context, builder, signature.args[0], args[0], first, rows.row.lanes), align=1)
            together = builder.insert_value(together, line, row)
        return together

    return rows(array, types.intp, count, lanes), generate


@intrinsic
def add_rows(typing_context: Any, array: Any, places: Any, shift: Any, rows: Any) -> Any:
    """``array[places[k] + shift] += rows[k]`` for every row, converted to the type of the array.

    One operation, since a row cannot be taken from registers by a number that is not constant.
    """
    _need_array(array)
    _need_array(places)
    _need(isinstance(rows, Rows), f"rows are needed, not {rows}")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _data(context, builder, signature.args[1], args[1])
        for row in range(rows.count):
            place = builder.add(builder.load(builder.gep(data, [_I64(row)])), args[2])
            line = _place(context, builder, signature.args[0], args[0], place, rows.row.lanes)
            before = builder.load(line, align=1)
            change = _resized(builder, builder.extract_value(args[3], row), before.type, rows.row.dtype.signed)
            builder.store(builder.add(before, change), line, align=1)
        return context.get_dummy_value()

    return types.void(array, places, types.int64, rows), generate


@intrinsic
def no_rows(typing_context: Any, like: Any) -> Any:
    """Rows of zeros of the type of ``like``."""
    _need(isinstance(like, Rows), f"rows are needed, not {like}")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(args[0].type, None)

    return like(like), generate


# Operators.


def _operator(operation: Callable[..., Any], build: Callable[..., Any], *, compares: bool = False, rows: bool = False) -> None:
    """Give vectors an operator of Python; ``build(builder, x, y, signed)`` makes the instruction for two LLVM vectors."""

    @type_callable(operation)
    def typing(context: Any) -> Any:
        def typed(x: Any, y: Any) -> Any:
            if not isinstance(x, (Vector, Rows)) and not isinstance(y, (Vector, Rows)):
                return None  # somebody else's
            _need(x == y, f"{x} and {y} differ: convert one of them, or make the number a vector with full()")
            _need(not compares or x.dtype is not types.boolean, "flags have no order")
            return Vector(types.boolean, x.lanes) if compares else x

        return typed

    def on_vectors(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return build(builder, *args, getattr(signature.args[0].dtype, "signed", False))

    def on_rows(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        together = ir.Constant(args[0].type, ir.Undefined)
        for row in range(signature.return_type.count):
            x, y = (builder.extract_value(value, row) for value in args)
            together = builder.insert_value(together, build(builder, x, y, signature.return_type.row.dtype.signed), row)
        return together

    lower_builtin(operation, Vector, Vector)(on_vectors)
    Vector.built_by += [operation, typing, on_vectors]
    if rows:
        lower_builtin(operation, Rows, Rows)(on_rows)
        Vector.built_by.append(on_rows)


def _comparison(sign: str) -> Callable[..., Any]:
    def build(builder: Any, x: Any, y: Any, signed: bool) -> Any:
        return builder.icmp_signed(sign, x, y) if signed else builder.icmp_unsigned(sign, x, y)

    return build


def _instruction(name: str, unsigned: str | None = None) -> Callable[..., Any]:
    def build(builder: Any, x: Any, y: Any, signed: bool) -> Any:
        return getattr(builder, name if signed or unsigned is None else unsigned)(x, y)

    return build


def _operators() -> None:
    _operator(operator.add, _instruction("add"), rows=True)
    _operator(operator.sub, _instruction("sub"), rows=True)
    for operation, name in ((operator.mul, "mul"), (operator.lshift, "shl")):
        _operator(operation, _instruction(name))
    for operation, name in ((operator.and_, "and_"), (operator.or_, "or_"), (operator.xor, "xor")):
        _operator(operation, _instruction(name))
    _operator(operator.rshift, _instruction("ashr", "lshr"))
    for operation, sign in (
        (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "=="), (operator.ne, "!="),
    ):  # fmt: skip
        _operator(operation, _comparison(sign), compares=True)

    @type_callable(operator.invert)
    def typing(context: Any) -> Any:
        def typed(x: Any) -> Any:
            return x if isinstance(x, Vector) else None

        return typed

    @lower_builtin(operator.invert, Vector)
    def invert(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.not_(args[0])

    Vector.built_by += [operator.invert, typing, invert]


_operators()


# Pointers to named tuples.
#
# Numba hands over a tuple part by part: one of fifty arrays as four hundred numbers, which every call packs and every function unpacks. To
# compile that takes most of the time in which a program of many small functions is compiled, though little is left of it in the machine
# code. What is handed over by a pointer is one number; a field is read where it is used.


class Pointer(types.Type):
    """The type of a pointer to a named tuple, whose fields do not change. They are read by their names, and no more."""

    # What :mod:`eventsim.kernels.fingerprint` cannot see in a kernel that has the type: functions that numba calls for it.
    built_by: ClassVar[list[Any]] = []

    def __init__(self, pointee: Any):
        self.pointee = pointee
        # The name of a tuple is made of those of all of its fields.
        digest = hashlib.blake2b(str(pointee).encode(), digest_size=8).hexdigest()
        super().__init__(f"Pointer({pointee.instance_class.__qualname__} {digest})")


@functools.cache
def _pointer(pointee: Any) -> Pointer:
    # Numba asks for the type of a field whenever it is read.
    return Pointer(pointee)


@register_model(Pointer)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, pointer: Pointer):
        super().__init__(manager, pointer, manager[pointer.pointee].get_value_type().as_pointer())


@attributes(Pointer)
def _typed(pointer: Any, name: str) -> Any:
    if name not in pointer.pointee.fields:
        return None
    field = pointer.pointee.types[pointer.pointee.fields.index(name)]
    return _pointer(field) if isinstance(field, types.BaseNamedTuple) else field


def _mark_not_kept(argument: Any) -> None:
    """Say to LLVM that a pointer is kept nowhere: in the words of its new versions, else in those of old ones."""
    for words in ("captures(none)", "nocapture"):
        with suppress(ValueError):
            argument.add_attribute(words)
            return


def _part(builder: Any, place: Any, number: int) -> Any:
    """The place of a part of what lies at a place."""
    return builder.gep(place, [_I32(0), _I32(number)], inbounds=True)


def _parts(kind: Any) -> int:
    """How many parts a value of an LLVM type has, 0 if it is one number."""
    return len(kind) if isinstance(kind, (ir.BaseStructType, ir.ArrayType)) else 0


def _read(builder: Any, place: Any) -> Any:
    """What lies at a place. It is read number by number: those that are not used are not read."""
    kind = place.type.pointee
    if not _parts(kind):
        return builder.load(place)
    value = ir.Constant(kind, ir.Undefined)
    for number in range(_parts(kind)):
        value = builder.insert_value(value, _read(builder, _part(builder, place, number)), number)
    return value


def _write(builder: Any, value: Any, place: Any) -> None:
    if not _parts(value.type):
        builder.store(value, place)
    for number in range(_parts(value.type)):
        _write(builder, builder.extract_value(value, number), _part(builder, place, number))


@lower_getattr_generic(Pointer)
def _field(context: Any, builder: Any, pointer: Any, value: Any, name: str) -> Any:
    # What is written to arrays leaves the tuple as it is, so LLVM need not read it again.
    for argument in builder.function.args:
        if argument.type == value.type:
            argument.add_attribute("noalias")
            _mark_not_kept(argument)
    number = pointer.pointee.fields.index(name)
    place = _part(builder, value, number)
    return place if isinstance(pointer.pointee.types[number], types.BaseNamedTuple) else _read(builder, place)


Pointer.built_by += [_PointerModel.__init__, _typed, _part, _parts, _read, _write, _mark_not_kept, _field]


@intrinsic
def pointer_to(typing_context, named_tuple):  # type: ignore[no-untyped-def]
    """A pointer to a named tuple, for functions that the calling one calls: it lies there until that returns."""
    if isinstance(named_tuple, Pointer):
        return named_tuple(named_tuple), lambda context, builder, signature, arguments: arguments[0]
    if not isinstance(named_tuple, types.BaseNamedTuple):
        raise TypingError(f"a named tuple is needed, not {named_tuple}")

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():
            place = builder.alloca(arguments[0].type)
        _write(builder, arguments[0], place)
        return place

    return _pointer(named_tuple)(named_tuple), build


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    globals().update({name: value for name, value in vars(vector_twin).items() if getattr(value, "__module__", "") == vector_twin.__name__})

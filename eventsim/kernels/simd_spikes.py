"""Vector operations on lists of spikes for compiled code.

As in :mod:`eventsim.kernels.simd`, nothing is checked here, and NumPy functions take the place of the compiled ones with the JIT off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from eventsim.kernels.simd import converted, load, pointer, splat

# So many neurons are driven together.
GROUP = 16
# So many keys are sorted together.
SORTED = 16
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def _write_sorted(typing_context: Any, rests: Any, i: Any, n: Any, tick: Any, neuron: Any, at: Any, base: Any, bits: Any) -> Any:
    """Sort n keys ``tick - base << bits | neuron`` from place i of ``rests`` (uint32) on, SORTED at most, and write what they say.

    ``tick`` (int64) and ``neuron`` (int32) take it from place ``at`` on. SORTED places are read and written whatever n is.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        narrow, wide = ir.VectorType(_I32, SORTED), ir.VectorType(_I64, SORTED)
        lanes = range(SORTED)
        n, base, bits = (splat(builder, value, SORTED) for value in (builder.trunc(args[2], _I32), args[6], builder.trunc(args[7], _I32)))
        keys = load(context, builder, signature.args[0], args[0], args[1], SORTED)
        inside = builder.icmp_unsigned("<", ir.Constant(narrow, list(lanes)), n)
        keys = builder.select(inside, keys, ir.Constant(narrow, [2**32 - 1] * SORTED))
        # A bitonic sorting network.
        run = 2
        while run <= SORTED:
            apart = run // 2
            while apart:
                other = builder.shuffle_vector(keys, keys, ir.Constant(narrow, [k ^ apart for k in lanes]))
                less = builder.icmp_unsigned("<", keys, other)
                smaller, larger = builder.select(less, keys, other), builder.select(less, other, keys)
                first = [(k & apart == 0) == (k & run == 0) for k in lanes]
                keys = builder.select(ir.Constant(ir.VectorType(ir.IntType(1), SORTED), first), smaller, larger)
                apart //= 2
            run *= 2
        ones = ir.Constant(narrow, [1] * SORTED)
        ticks = builder.add(builder.zext(builder.lshr(keys, bits), wide), base)
        neurons = builder.and_(keys, builder.sub(builder.shl(ones, bits), ones))
        for k, values, align in ((3, ticks, 8), (4, neurons, 4)):
            builder.store(values, pointer(context, builder, signature.args[k], args[k], args[5], SORTED), align=align)
        return context.get_dummy_value()

    number = types.int64
    return types.void(rests, number, number, tick, neuron, number, number, number), generate


@intrinsic
def _rank(typing_context: Any, rests: Any, i: Any, n: Any, key: Any) -> Any:
    """How many of n keys from place i of ``rests`` (uint32) on are smaller than ``key``; of SORTED keys if n is larger."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.Constant(ir.VectorType(_I64, SORTED), list(range(SORTED)))
        inside = builder.icmp_signed("<", lanes, splat(builder, args[2], SORTED))
        keys = load(context, builder, signature.args[0], args[0], args[1], SORTED)
        smaller = builder.icmp_unsigned("<", keys, splat(builder, args[3], SORTED))
        return builder.zext(builder.ctpop(builder.bitcast(builder.and_(smaller, inside), ir.IntType(SORTED))), _I64)

    return types.int64(rests, types.int64, types.int64, rests.dtype), generate


def _put(context: Any, builder: Any, values: Any, chosen: Any, data: Any, n: Any) -> Any:
    """Store the chosen lanes of a vector (int64) side by side at ``data[n]``; returns the place behind them.

    Overwrites as many places as there are lanes. (The instruction that stores only the chosen ones is slow on AMD's processors.)
    """
    lanes, width = values.type.count, 8
    if "+avx512f" not in context.codegen().magic_tuple()[2].split(","):
        # Without branches: which lanes are chosen cannot be guessed.
        for lane in range(lanes):
            at = ir.Constant(_I32, lane)
            builder.store(builder.extract_element(values, at), builder.gep(data, [n]))
            n = builder.add(n, builder.zext(builder.extract_element(chosen, at), _I64))
        return n
    line, flags = ir.VectorType(_I64, width), ir.VectorType(ir.IntType(1), width)
    kind = ir.FunctionType(line, (line, line, flags))
    compress = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.mask.compress.v{width}i64")
    for first in range(0, lanes, width):
        here = ir.Constant(ir.VectorType(_I32, width), list(range(first, first + width)))
        some, wanted = (builder.shuffle_vector(a, a, here) for a in (values, chosen))
        packed = builder.call(compress, (some, ir.Constant(line, None), wanted))
        builder.store(packed, builder.bitcast(builder.gep(data, [n]), line.as_pointer()), align=8)
        n = builder.add(n, builder.zext(builder.ctpop(builder.bitcast(wanted, ir.IntType(width))), _I64))
    return n


@intrinsic
def _emit(
    typing_context: Any, following: Any, early: Any, whole: Any, rest: Any, gain: Any, i: Any, since: Any, until: Any, bits: Any,
    keys: Any, n: Any,
) -> Any:  # fmt: skip
    """The next spike of each of the GROUP neurons from i on, unless it is later than tick ``until``, as ``tick - since << bits | neuron``.

    Returns the new n, and 1 if one of them has another spike by then, else 0. From spike to spike a neuron takes ``whole`` ticks, or one
    more: ``early`` says, in units of its own, by how much it was over its threshold at the tick of its spike, loses ``rest`` each time,
    and gains ``gain`` in place of it where it does not have so much (following, whole: int32 or int64; the others: int32).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i, since, until, bits, n = (args[k] for k in (5, 6, 7, 8, 10))
        line, flags = ir.VectorType(_I64, GROUP), ir.IntType(GROUP)
        element = context.get_data_type(signature.args[0].dtype)
        keys = context.make_array(signature.args[9])(context, builder, args[9]).data
        at, surplus = (pointer(context, builder, signature.args[k], args[k], i, GROUP) for k in (0, 1))
        tick, before = builder.load(at, align=element.width // 8), builder.load(surplus, align=4)
        period, lost, gained = (load(context, builder, signature.args[k], args[k], i, GROUP) for k in (2, 3, 4))
        if element.width < 64:
            since, until = builder.trunc(since, element), builder.trunc(until, element)
        last, base, shift = (splat(builder, value, GROUP) for value in (until, since, bits))
        fires = builder.icmp_signed("<=", tick, last)
        neurons = builder.add(splat(builder, i, GROUP), ir.Constant(line, list(range(GROUP))))
        key = builder.or_(builder.shl(converted(builder, builder.sub(tick, base), _I64), shift), neurons)
        number = _put(context, builder, key, fires, keys, n)
        late = builder.icmp_signed("<", before, lost)
        after = builder.select(fires, builder.add(builder.add(tick, period), builder.zext(late, tick.type)), tick)
        left = builder.select(late, builder.add(before, gained), builder.sub(before, lost))
        builder.store(after, at, align=element.width // 8)
        builder.store(builder.select(fires, left, before), surplus, align=4)
        more = builder.icmp_unsigned("!=", builder.bitcast(builder.icmp_signed("<=", after, last), flags), flags(0))
        return context.make_tuple(builder, signature.return_type, (number, builder.zext(more, _I64)))

    number = types.int64
    pair = types.UniTuple(number, 2)
    return pair(following, early, whole, rest, gain, number, number, number, number, keys, number), generate


def _numpy_write_sorted(rests: Any, i: int, n: int, tick: Any, neuron: Any, at: int, base: int, bits: int) -> None:
    keys = np.sort(rests[i : i + n]).astype(np.int64)
    tick[at : at + n], neuron[at : at + n] = base + (keys >> bits), keys & ((1 << bits) - 1)


def _numpy_rank(rests: Any, i: int, n: int, key: int) -> int:
    return int((rests[i : i + min(n, SORTED)] < key).sum())


def _numpy_emit(
    following: Any, early: Any, whole: Any, rest: Any, gain: Any, i: int, since: int, until: int, bits: int, keys: Any, n: int
) -> tuple[int, int]:
    fires = i + np.flatnonzero(following[i : i + GROUP] <= until)
    keys[n : n + len(fires)] = (following[fires].astype(np.int64) - since) << bits | fires
    late = early[fires] < rest[fires]
    following[fires] += whole[fires] + late.astype(whole.dtype)
    early[fires] += np.where(late, gain[fires], -rest[fires])
    return n + len(fires), int((following[i : i + GROUP] <= until).any())


emit: Callable[..., Any]
rank: Callable[..., Any]
write_sorted: Callable[..., Any]
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    emit, rank, write_sorted = _numpy_emit, _numpy_rank, _numpy_write_sorted
else:
    emit, rank, write_sorted = _emit, _rank, _write_sorted

"""Vector operation of the integer convolution of an image, as LLVM instructions; see :mod:`eventsim.kernels.simd`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from eventsim.kernels.simd import pointer, splat

_I16, _I32, _I64 = (ir.IntType(bits) for bits in (16, 32, 64))


def _multiplier(lanes: int) -> Any:
    """``out[o] = bias[lane] + sum over k < n of values[at + places[k]] * w[0] + values[at + places[k] + 1] * w[1]``, on so many lanes.

    The two weights (int8 or int16) of lane l for pair k are at ``weights[j + 2 * (rows[k] * lanes + l)]``. ``values`` are int16, ``places``
    and ``rows`` int32, ``bias`` and ``out`` int32; sums wrap. Processors with vectors have one instruction for two products and their sum.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, at, places, rows, n, weights, j, bias, lane, out, o = args
        kind = signature.args
        of_values, of_places, of_rows, of_weights = (
            context.make_array(kind[k])(context, builder, array).data for k, array in ((0, values), (2, places), (3, rows), (5, weights))
        )
        narrow, wide = ir.VectorType(_I16, 2 * lanes), ir.VectorType(_I32, 2 * lanes)
        line = ir.VectorType(context.get_data_type(kind[5].dtype), 2 * lanes)
        sums = cgutils.alloca_once_value(builder, builder.load(pointer(context, builder, kind[7], bias, lane, lanes), align=4))
        with cgutils.for_range(builder, n) as loop:
            place, row = (builder.sext(builder.load(builder.gep(of, [loop.index])), _I64) for of in (of_places, of_rows))
            pair = builder.bitcast(builder.gep(of_values, [builder.add(at, place)]), _I32.as_pointer())
            both = builder.bitcast(splat(builder, builder.load(pair, align=2), lanes), narrow)
            first = builder.gep(of_weights, [builder.add(j, builder.mul(row, _I64(2 * lanes)))])
            weight = builder.load(builder.bitcast(first, line.as_pointer()), align=1)
            if line != narrow:
                weight = builder.sext(weight, narrow)
            # In this form LLVM sees the instruction.
            products = builder.mul(builder.sext(weight, wide), builder.sext(both, wide))
            even, odd = (
                builder.shuffle_vector(products, products, ir.Constant(ir.VectorType(_I32, lanes), list(range(part, 2 * lanes, 2))))
                for part in (0, 1)
            )
            builder.store(builder.add(builder.load(sums), builder.add(even, odd)), sums)
        builder.store(builder.load(sums), pointer(context, builder, kind[9], out, o, lanes), align=4)
        return context.get_dummy_value()

    def typed(
        typing_context: Any, values: Any, at: Any, places: Any, rows: Any, n: Any, weights: Any, j: Any, bias: Any, lane: Any, out: Any,
        o: Any,
    ) -> Any:  # fmt: skip
        number = types.int64
        return types.void(values, number, places, rows, number, weights, number, bias, number, out, number), generate

    return intrinsic(typed)


def _numpy_multiplier(lanes: int) -> Callable[..., None]:
    def multiply(
        values: Any, at: int, places: Any, rows: Any, n: int, weights: Any, j: int, bias: Any, lane: int, out: Any, o: int
    ) -> None:  # fmt: skip
        sums = bias[lane : lane + lanes].copy()
        for place, row in zip(at + places[:n], j + rows[:n].astype(np.int64) * 2 * lanes, strict=True):
            for k in (0, 1):
                sums += weights[row + k : row + 2 * lanes : 2].astype(np.int32) * np.int32(values[place + k])
        out[o : o + lanes] = sums

    return multiply


_make = _numpy_multiplier if config.DISABLE_JIT else _multiplier  # type: ignore[attr-defined]
multiply_32, multiply_64 = (_make(lanes) for lanes in (32, 64))

"""Quantisers: QONNX's, FINN's and ONNX's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventsim.conversion.graph import Array, Clip, Floor, Operator, Round, Sign, Truncate
from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.operators.arithmetic import finite
from eventsim.conversion.onnx.registry import operator, qonnx
from eventsim.conversion.onnx.rounding import bounds
from eventsim.conversion.onnx.values import Value

# More thresholds than these become a rounding, if they are equally far apart.
_FEW_THRESHOLDS = 3
# A rounding as an operator between two signs and two shifts: sign * op(sign * x + shift).
_MODES: dict[str, tuple[Operator, float, float]] = {
    "ROUND": (Round(), 1.0, 0.0),
    "HALF_EVEN": (Round(), 1.0, 0.0),
    "FLOOR": (Floor(), 1.0, 0.0),
    "CEIL": (Floor(), -1.0, 0.0),
    "DOWN": (Truncate(), 1.0, 0.0),
}
# The same where nothing is below zero (what is, is clipped to it).
_UNSIGNED: dict[str, tuple[Operator, float, float]] = {
    **_MODES,
    "DOWN": (Floor(), 1.0, 0.0),
    "UP": (Floor(), -1.0, 0.0),
    "HALF_UP": (Floor(), 1.0, 0.5),
    "HALF_DOWN": (Floor(), -1.0, 0.5),
}


def quantised(call: Call, value: Value, factor: Array, shift: Array, mode: str, range_: tuple[float, float]) -> tuple[Value, float]:
    """``clip(round(factor * value + shift))`` times a sign, and that sign: rounding up is rounding down of the opposite."""
    low, high = range_
    modes = _UNSIGNED if low >= 0 else _MODES
    if mode.upper() not in modes:
        raise call.error(f"rounding {mode} of signed numbers; supported: {', '.join(modes)}")
    op, sign, offset = modes[mode.upper()]
    at = call.scale(value, sign * factor, sign * shift + offset)
    limits = (low, high) if sign > 0 else (-high, -low)
    rounded = call.same_places(op, at)
    return (rounded if math.isinf(low) else call.same_places(Clip(*limits), rounded)), sign


def _grid(call: Call) -> tuple[Array, Array]:
    """Scale and zero point."""
    scale, zero = call.needed(1, "scales"), call.constant(2, "zero points")
    if np.any(scale <= 0) or not np.all(np.isfinite(scale)):
        raise call.error("scales that are not above zero")
    return scale, np.zeros(()) if zero is None else zero


def _range(call: Call, place: int) -> tuple[float, float]:
    """Of whole numbers of a number of bits, which is an input."""
    bits = finite(call.needed(place, "bit widths"), call)
    low, high = bounds(bits, bool(call.attribute("signed", 1)), bool(call.attribute("narrow", 0)))
    if not 0 < bits <= 32 or low != round(low) or high != round(high) or low >= high:
        raise call.error(f"{bits:g} bits, the range {low:g} .. {high:g}; expected whole numbers")
    return low, high


@qonnx("Quant", "IntQuant")
def int_quant(call: Call) -> Value:
    """Whole numbers of so many bits, times a scale."""
    scale, zero = _grid(call)
    at, sign = quantised(call, call.value(), 1 / scale, zero, call.attribute("rounding_mode", "ROUND"), _range(call, 3))
    return call.scale(at, sign * scale, -zero * scale)


@qonnx("BipolarQuant")
def bipolar_quant(call: Call) -> Value:
    """A scale, or minus it: 0 counts as positive."""
    scale = call.needed(1, "scales")
    if np.any(scale <= 0):
        raise call.error("scales that are not above zero")
    return call.scale(call.same_places(Sign(1.0), call.value()), scale, 0.0)


@qonnx("Trunc")
def truncation(call: Call) -> Value:
    """Fewer bits of whole numbers: the grid of the input is given, and it lies on it."""
    scale, zero = _grid(call)
    mode = call.attribute("rounding_mode", "FLOOR")
    value = call.value()
    call.graph.remarks.append(f"{call.name}: what it cuts off is taken to be whole bits of its input's scale")
    # Half a step more, so that what a computation missed a whole number by is not cut off with it.
    half = 0.5 if mode.upper() == "FLOOR" else 0.0
    if len(call.args) < 6:
        cut = 2.0 ** (finite(call.needed(3, "bit widths"), call) - finite(call.needed(4, "bit widths"), call))
        call.meaningless("signed", "narrow")
        at, sign = quantised(call, value, 1 / (scale * cut), (zero + half) / cut, mode, (-math.inf, math.inf))
        return call.scale(at, sign * scale, -zero * scale)
    call.constant(3, "bit widths")
    coarse = call.needed(4, "output scales")
    if np.any(coarse <= 0):
        raise call.error("output scales that are not above zero")
    cut = 2.0 ** np.round(np.log2(coarse / scale))
    at, sign = quantised(call, value, 1 / (scale * cut), (zero + half) / cut, mode, _range(call, 5))
    return call.scale(at, sign * coarse, -zero / cut * coarse)


@qonnx("MultiThreshold")
def multi_threshold(call: Call) -> Value:
    """``out_scale * (number of thresholds that are not above the value) + out_bias``; thresholds (channels or 1, number)."""
    call.meaningless("out_dtype")
    levels = call.needed(1, "thresholds")
    scale, bias = float(call.attribute("out_scale", 1.0)), float(call.attribute("out_bias", 0.0))
    value, layout = call.value(), call.attribute("data_layout", "NCHW")
    if levels.ndim != 2 or not levels.size or not np.all(np.isfinite(levels)) or layout not in ("NCHW", "NHWC"):
        raise call.error(f"thresholds of shape {levels.shape} in the layout {layout}; expected numbers, a row a channel")
    rank = len(value.shape)
    axis = 1 if layout == "NCHW" and rank in (2, 4) else rank - 1
    if len(levels) not in (1, value.shape[axis]):
        raise call.error(f"thresholds for {len(levels)} channels, of which the value of shape {value.shape} has {value.shape[axis]}")
    along = [1] * rank
    along[axis] = len(levels)
    levels = np.sort(levels, axis=1)
    count = levels.shape[1]
    step = (levels[:, -1] - levels[:, 0]) / max(count - 1, 1)
    even = levels[:, :1] + np.arange(count) * step[:, None]
    if count > _FEW_THRESHOLDS and np.all(step > 0) and np.array_equal(even.astype(np.float32), levels.astype(np.float32)):
        at = call.scale(value, (1 / step).reshape(along), (1 - levels[:, 0] / step).reshape(along))
        return call.scale(call.same_places(Clip(0.0, float(count)), call.same_places(Floor(), at)), scale, bias)
    if count > 256:
        raise call.error(f"{count} thresholds that are not equally far apart; supported: 256")
    total: Value | None = None
    for column in levels.T:
        step_up = call.same_places(Sign(1.0), call.scale(value, 1.0, -column.reshape(along)))
        total = step_up if total is None else call.add(total, step_up)
    assert total is not None
    return call.scale(total, scale / 2, bias + scale * count / 2)


def _along(call: Call, values: Array, rank: int) -> Array:
    """Scales or zero points: one, or one for each place along an axis."""
    if call.attribute("block_size", 0):
        raise call.error("scales of blocks are not supported")
    axis = call.attribute("axis", 1)
    if values.size == 1:
        return values.reshape(())
    if values.ndim != 1:
        raise call.error(f"scales of shape {values.shape} along axis {axis}")
    shape = [1] * rank
    shape[call.axis(axis, rank)] = -1
    return values.reshape(shape)


@operator("QuantizeLinear")
def quantize_linear(call: Call) -> Value:
    """To whole numbers of a type, which that of the zero point is."""
    call.meaningless("saturate", "precision")
    value = call.value()
    zero_point: Any = call.input(2)
    scale, zero = (_along(call, values, len(value.shape)) for values in _grid(call))
    kind = call.attribute("output_dtype", 0)
    low, high = _whole_range(call, kind, zero_point)
    if np.ptp(zero):
        if np.any(zero % 2):
            raise call.error("zero points that differ along an axis, odd ones among them")
        at, _ = quantised(call, value, 1 / scale, zero, "ROUND", (low, high))
        return Value(at.number, at.places, at.size, "whole")
    # The zero point is added after rounding: behind an odd one halves would be rounded to odd numbers.
    point = float(zero.flat[0])
    at, _ = quantised(call, value, 1 / scale, np.zeros(()), "ROUND", (low - point, high - point))
    return call.scale(at, 1.0, point, "whole")


def _whole_range(call: Call, kind: int, zero_point: Any) -> tuple[float, float]:
    from onnx.helper import tensor_dtype_to_np_dtype

    name = "uint8" if zero_point is None else np.asarray(zero_point).dtype.name
    if kind:
        name = np.dtype(tensor_dtype_to_np_dtype(kind)).name
    bits = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16}.get(name)
    if bits is None:
        raise call.error(f"to numbers of the type {name}; supported: integers of up to 16 bits")
    return bounds(bits, name.startswith("int"), narrow=False)


@operator("DequantizeLinear")
def dequantize_linear(call: Call) -> Value:
    """From whole numbers."""
    call.meaningless("output_dtype")
    value = call.value()
    scale, zero = (_along(call, values, len(value.shape)) for values in _grid(call))
    return call.scale(value, scale, -zero * scale)

"""Functions of each number by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventsim.conversion.graph import Clip, Floor, Round, Sign, Truncate
from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.registry import operator
from eventsim.conversion.onnx.values import Value

# A bound beyond it is none: exporters write the largest number of a type where there is no bound.
_NO_BOUND = 1e30


def bound(values: Any, call: Call) -> float:
    """A bound of a clip, the same for all; infinite where it is as large as its type allows."""
    array = np.asarray(values)
    if array.size < 1 or np.any(array != array.flat[0]) or np.any(np.isnan(np.asarray(array, np.float64))):
        raise call.error(f"bounds {array!s:.60}; expected one for all")
    number = float(array.flat[0])
    largest = float(np.finfo(array.dtype).max) if array.dtype.kind == "f" else _NO_BOUND
    return math.copysign(math.inf, number) if abs(number) >= min(largest, _NO_BOUND) else number


def clip(call: Call, value: Value, low: float, high: float) -> Value:
    """A clip, unless it has no bounds."""
    if low > high:
        raise call.error(f"its bounds are {low:g} and {high:g}")
    return value if math.isinf(low) and math.isinf(high) else call.same_places(Clip(low, high), value, value.kind)


@operator("Relu")
def relu(call: Call) -> Value:
    """max(x, 0)"""
    value = call.value()
    return call.same_places(Clip(0.0, math.inf), value, value.kind)


@operator("Clip")
def clipped(call: Call) -> Value:
    """Bounds as inputs, or in old opsets as attributes."""
    bounds = []
    for place, name, none in ((1, "min", -math.inf), (2, "max", math.inf)):
        call.constant(place, "bounds")  # that they are constants
        given = call.input(place)
        given = call.attribute(name) if given is None else given
        bounds.append(none if given is None else bound(np.float32(given) if isinstance(given, float) else given, call))
    return clip(call, call.value(), *bounds)


@operator("Max", "Min")
def extremes(call: Call) -> Value:
    """Of one value and constants."""
    values = [i for i in range(len(call.args)) if isinstance(call.input(i), Value)]
    if len(values) != 1:
        raise call.error("of two values that depend on the input; supported: of one and constants")
    bounds = [bound(arg, call) for i, arg in enumerate(call.args) if i not in values and arg is not None]
    value = call.value(values[0])
    if not bounds:
        return value
    return clip(call, value, max(bounds), math.inf) if call.node.op_type == "Max" else clip(call, value, -math.inf, min(bounds))


@operator("HardSigmoid")
def hard_sigmoid(call: Call) -> Value:
    """clip(alpha x + beta, 0, 1)"""
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    return call.same_places(Clip(0.0, 1.0), call.scale(call.value(), alpha, beta))


@operator("PRelu")
def parametric_relu(call: Call) -> Value:
    """A ReLU where all slopes are 0."""
    if np.any(call.needed(1, "slopes") != 0):
        raise call.error("has slopes below zero that are not 0; a spiking neuron says nothing of negative values: train with ReLU")
    return call.same_places(Clip(0.0, math.inf), call.value())


@operator("Floor")
def floor(call: Call) -> Value:
    """The largest whole number below."""
    return call.same_places(Floor(), call.value())


@operator("Ceil")
def ceil(call: Call) -> Value:
    """-floor(-x)"""
    return call.scale(call.same_places(Floor(), call.scale(call.value(), -1.0, 0.0)), -1.0, 0.0)


@operator("Round")
def rounded(call: Call) -> Value:
    """To nearest; ties to even."""
    return call.same_places(Round(), call.value())


@operator("Sign")
def sign(call: Call) -> Value:
    """-1, 0 or 1."""
    return call.same_places(Sign(0.0), call.value())


@operator("Identity")
def identity(call: Call) -> Value:
    """Nothing."""
    return call.value()


@operator("Dropout")
def dropout(call: Call) -> Value:
    """Nothing, once training is over."""
    call.meaningless("ratio", "seed")
    call.input(1)
    training = call.constant(2, "training flags")
    if (training is not None and training.any()) or not call.attribute("is_test", 1):
        raise call.error("is in training mode: export the model after model.eval()")
    return call.value()


@operator("Cast", "CastLike")
def cast(call: Call) -> Value:
    """To whole numbers it drops what is behind the point; to real ones it changes nothing but precision."""
    from onnx.helper import tensor_dtype_to_np_dtype

    value = call.value()
    call.meaningless("saturate", "round_mode")
    if call.node.op_type == "CastLike":
        like = call.input(1)
        kind = "f" if isinstance(like, Value) and like.kind == "real" else "i" if isinstance(like, Value) else np.asarray(like).dtype.kind
    else:
        kind = np.dtype(tensor_dtype_to_np_dtype(call.attribute("to"))).kind
    if kind in "fV" or (kind == "b" and value.kind == "truth"):
        return Value(value.number, value.places, value.size, "real" if kind != "b" else "truth")
    if kind not in "iu":
        raise call.error("a cast to truth values; compare with a number instead")
    if value.kind != "real":
        return Value(value.number, value.places, value.size, "whole")
    return call.same_places(Truncate(), value, "whole")

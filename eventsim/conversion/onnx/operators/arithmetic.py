"""Sums, and products with constants."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.registry import operator
from eventsim.conversion.onnx.values import Value


def summed(call: Call, first: Any, second: Any, sign: float = 1.0) -> Value:
    """``first + sign * second``, of which one may be a constant."""
    if isinstance(first, Value) and isinstance(second, Value):
        return call.add(first, second if sign > 0 else call.scale(second, sign, 0.0))
    if isinstance(first, Value):
        return call.scale(first, 1.0, sign * np.asarray(second, np.float64))
    return call.scale(second, sign, np.asarray(first, np.float64))


@operator("Add")
def add(call: Call) -> Value:
    """Of two."""
    return summed(call, call.input(0), call.input(1))


@operator("Sub")
def subtract(call: Call) -> Value:
    """Of two."""
    return summed(call, call.input(0), call.input(1), -1.0)


@operator("Sum", "Mean")
def total(call: Call) -> Value:
    """Of any number."""
    args = [call.input(i) for i in range(len(call.args))]
    made = args[0]
    for arg in args[1:]:
        made = summed(call, made, arg) if isinstance(made, Value) or isinstance(arg, Value) else np.add(made, arg)
    return made if call.node.op_type == "Sum" else call.scale(made, 1 / len(args), 0.0)


@operator("Neg")
def negative(call: Call) -> Value:
    """-x"""
    return call.scale(call.value(), -1.0, 0.0)


@operator("Mul")
def product(call: Call) -> Value:
    """With a constant."""
    first, second = call.input(0), call.input(1)
    if isinstance(first, Value) and isinstance(second, Value):
        raise call.error("a product of two activations has no spiking counterpart")
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    return call.scale(value, constant, 0.0)


@operator("Div")
def quotient(call: Call) -> Value:
    """By a constant; of whole numbers it would drop what is behind the point."""
    value, divisor = call.input(0), call.input(1)
    if not isinstance(value, Value) or isinstance(divisor, Value) or np.any(np.asarray(divisor) == 0):
        raise call.error("only division by a constant that is not zero is supported")
    if value.kind != "real":
        raise call.error("a division of whole numbers, which rounds; cast to float before it")
    return call.scale(value, 1 / np.asarray(divisor, np.float64), 0.0)


@operator("Pow")
def power(call: Call) -> Value:
    """The first power."""
    if np.any(call.needed(1, "exponents") != 1):
        raise call.error("a power of an activation has no spiking counterpart")
    return call.value()


@operator("BatchNormalization")
def batch_normalization(call: Call) -> Value:
    """By the statistics in the file."""
    call.meaningless("momentum")
    if call.attribute("training_mode", 0) or (call.opset < 7 and not call.attribute("is_test", 0)):
        raise call.error("is in training mode, its effect depends on the batch: export the model after model.eval()")
    names = ("scales", "shifts", "means", "variances")
    scale, shift, mean, variance = (call.needed(i, name).reshape(-1) for i, name in enumerate(names, 1))
    if np.any(variance < 0):
        raise call.error("has variances below zero")
    factor = scale / np.sqrt(variance + call.attribute("epsilon", 1e-5))
    value = call.value()
    along = (-1, *[1] * (len(value.shape) - 2))
    if len(value.shape) < 2 or not factor.size == shift.size == mean.size == value.shape[1]:
        raise call.error(f"has {factor.size} channels, the value before it the shape {value.shape}")
    return call.scale(value, factor.reshape(along), (shift - mean * factor).reshape(along))


def finite(values: Any, call: Call) -> float:
    """One number."""
    array = np.asarray(values, np.float64)
    if array.size != 1 or not math.isfinite(array.reshape(())):
        raise call.error(f"expected one number, found {array.size}")
    return float(array.reshape(()))

"""Comparisons, and what is chosen by them."""

from __future__ import annotations

import numpy as np

from eventsim.conversion.graph import Sign
from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.operators.arithmetic import summed
from eventsim.conversion.onnx.registry import operator
from eventsim.conversion.onnx.values import Value

# For each: what equality counts as (1 or -1), and whether it holds where the first is below the second.
_KINDS = {"Greater": (-1.0, False), "GreaterOrEqual": (1.0, False), "Less": (1.0, True), "LessOrEqual": (-1.0, True)}


@operator(*_KINDS)
def compare(call: Call) -> Value:
    """1 where it holds, else 0."""
    zero, falls = _KINDS[call.node.op_type]
    difference = summed(call, call.input(0), call.input(1), -1.0)
    return call.scale(call.same_places(Sign(zero), difference), -0.5 if falls else 0.5, 0.5, "truth")


@operator("Not")
def negation(call: Call) -> Value:
    """1 - x of truth values."""
    return call.scale(call.value(), -1.0, 1.0, "truth")


@operator("Where")
def where(call: Call) -> Value:
    """A choice between two constants."""
    condition, yes, no = (call.input(i) for i in range(3))
    if not isinstance(condition, Value) or isinstance(yes, Value) or isinstance(no, Value):
        raise call.error("only a choice between two constants is supported")
    yes, no = np.asarray(yes, np.float64), np.asarray(no, np.float64)
    return call.scale(condition, yes - no, no)

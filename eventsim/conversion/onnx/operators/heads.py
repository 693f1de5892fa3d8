"""What networks end with and what changes nothing of which output is the largest: left out, with a remark."""

from __future__ import annotations

import math
from dataclasses import replace

from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.registry import operator
from eventsim.conversion.onnx.values import Value

# Those of which only the answer itself is left.
DECISIONS = {"ArgMax", "TopK"}


def left_out(call: Call, value: Value) -> Value:
    """The value itself, marked: whatever computes with it is refused."""
    call.graph.remarks.append(f"{call.name} left out: it does not change which output is largest")
    return replace(value, head=call.node.op_type)


@operator("Softmax", "LogSoftmax", "Hardmax")
def softmax(call: Call) -> Value:
    """Over all outputs of an image."""
    value = call.value()
    old = call.opset < 13
    shape = value.shape
    axis = call.axis(call.attribute("axis", 1 if old else -1), len(shape))
    over = math.prod(shape[axis:]) if old else shape[axis]
    places, _ = call.one_image(value)
    if over != places.size:
        raise call.error(f"over axis {axis} of a value of shape {shape}; at a network's end it is left out if it is over all outputs")
    return left_out(call, value)


@operator("Sigmoid", "Tanh")
def squashed(call: Call) -> Value:
    """Rises with its input, so the largest stays the largest."""
    return left_out(call, call.value())


@operator("ArgMax")
def decision(call: Call) -> Value:
    """Of all outputs."""
    value = call.value()
    call.meaningless("keepdims")
    axis = call.axis(call.attribute("axis", 0), len(value.shape))
    places, _ = call.one_image(value)
    if value.shape[axis] != places.size:
        raise call.error(f"over axis {axis} of a value of shape {value.shape}; supported: over all outputs, as the network's answer")
    return left_out(call, value)


@operator("TopK")
def best(call: Call) -> list[Value]:
    """The largest output and its number."""
    value = call.value()
    call.meaningless("sorted")
    axis = call.axis(call.attribute("axis", -1), len(value.shape))
    count = call.integers(1, "k", "counts")
    places, _ = call.one_image(value)
    if count != (1,) or not call.attribute("largest", 1) or value.shape[axis] != places.size:
        raise call.error(f"the {count} best along axis {axis} of a value of shape {value.shape}; supported: the largest of all outputs")
    made = left_out(call, value)
    return [made, made]

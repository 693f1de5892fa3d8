"""QONNX's operators on tensors whose channels are last: the usual ones between two transpositions."""

from __future__ import annotations

import numpy as np

from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.domains import CHANNELS_FIRST_OPSET, CHANNELS_LAST
from eventsim.conversion.onnx.operators.arithmetic import batch_normalization
from eventsim.conversion.onnx.operators.pools import average_pool, max_pool
from eventsim.conversion.onnx.operators.weights import convolution
from eventsim.conversion.onnx.registry import operator
from eventsim.conversion.onnx.values import Value

_INNER = {"Conv": convolution, "MaxPool": max_pool, "AveragePool": average_pool, "BatchNormalization": batch_normalization}


@operator(*_INNER, domains=(CHANNELS_LAST,))
def wrapped(call: Call) -> Value:
    """The value's channels first (a convolution's weights, too, have them last), and back."""
    value = call.value()
    call.opset = CHANNELS_FIRST_OPSET
    call.args[0] = value.moved(np.moveaxis(value.places, -1, 1))
    if call.node.op_type == "Conv" and isinstance(call.args[1], np.ndarray):
        call.args[1] = np.moveaxis(call.args[1], -1, 1)
    made: Value = _INNER[call.node.op_type](call)
    return made.moved(np.moveaxis(made.places, 1, -1))

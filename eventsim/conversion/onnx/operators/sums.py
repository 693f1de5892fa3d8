"""Sums and means over axes."""

from __future__ import annotations

import numpy as np

from eventsim.conversion.graph import AveragePool, Linear
from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.operators.pools import Reduction
from eventsim.conversion.onnx.operators.weights import product
from eventsim.conversion.onnx.registry import operator
from eventsim.conversion.onnx.values import Value


@operator("ReduceMean", "ReduceSum")
def reduced_sum(call: Call) -> Value:
    """A mean over places is average pooling, one over channels or features a product with a matrix of one row."""
    value, mean = call.value(), call.node.op_type == "ReduceMean"
    reduction = Reduction(call, value)
    image = reduction.image
    count = image[0].size
    weight = 1 / count if mean else 1.0
    if len(image) == 1:
        node = call.node_of(value, image.reshape(-1))
        return reduction.result(call.graph.add(Linear(np.full((1, count), weight)), (node,), call.name))
    if len(reduction.reduced) == 1 and _is_channels(call, value, reduction.reduced[0]):
        made = product(call, value, reduction.reduced[0], np.full((1, count), weight))
        return made.moved(made.places.reshape(reduction.result(0).shape))
    node = call.node_of(value, image)
    made = reduction.result(call.graph.add(AveragePool((image.shape[1], image.shape[2])), (node,), call.name))
    return made if mean else call.scale(made, float(count), 0.0)


def _is_channels(call: Call, value: Value, axis: int) -> bool:
    """Whether along an axis the channels of an image follow one another."""
    shape = call.graph.shape(value.number)
    steps = np.unique(np.diff(value.places, axis=axis))
    return len(shape) == 3 and len(steps) == 1 and int(steps[0]) == shape[1] * shape[2]

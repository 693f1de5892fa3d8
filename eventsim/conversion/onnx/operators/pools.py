"""Pooling over windows, or over everything that an image has."""

from __future__ import annotations

import numpy as np

from eventsim.conversion.graph import AveragePool, MaxPool
from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.operators.windows import image_of, of_image, windows
from eventsim.conversion.onnx.registry import operator
from eventsim.conversion.onnx.values import Value


@operator("MaxPool")
def max_pool(call: Call) -> Value:
    """Largest values; in which order their indices would be counted does not matter."""
    call.meaningless("storage_order")
    number, places = image_of(call, call.value())
    at = windows(call, tuple(int(n) for n in call.attribute("kernel_shape") or ()), places.shape[1:], bool(call.attribute("ceil_mode", 0)))
    made = call.graph.add(MaxPool(at.size, at.stride, at.with_last(), at.dilation), (number,), call.name)
    return of_image(call, made, places.ndim)


@operator("AveragePool")
def average_pool(call: Call) -> Value:
    """Means."""
    number, places = image_of(call, call.value())
    at = windows(call, tuple(int(n) for n in call.attribute("kernel_shape") or ()), places.shape[1:], bool(call.attribute("ceil_mode", 0)))
    if at.dilation != (1, 1):
        raise call.error(f"average pooling with dilations {at.dilation} is not supported")
    op = AveragePool(at.size, at.stride, at.padding, at.ceil, count_padding=bool(call.attribute("count_include_pad", 0)))
    return of_image(call, call.graph.add(op, (number,), call.name), places.ndim)


@operator("GlobalAveragePool", "GlobalMaxPool")
def global_pool(call: Call) -> Value:
    """Over all places of a channel."""
    number, places = image_of(call, call.value())
    _, rows, columns = call.graph.shape(number)
    largest = call.node.op_type == "GlobalMaxPool"
    op = MaxPool((rows, columns), (rows, columns)) if largest else AveragePool((rows, columns))
    return of_image(call, call.graph.add(op, (number,), call.name), places.ndim)


@operator("ReduceMax", "ReduceMin")
def reduced_extreme(call: Call) -> Value:
    """Largest or smallest values over axes."""
    value, negative = call.value(), call.node.op_type == "ReduceMin"
    if negative:
        value = call.scale(value, -1.0, 0.0)
    reduction = Reduction(call, value)
    window = reduction.image.shape[1:]
    made = call.graph.add(MaxPool((window[0], window[1]), (window[0], window[1])), (call.node_of(value, reduction.image),), call.name)
    result = reduction.result(made)
    return call.scale(result, -1.0, 0.0) if negative else result


class Reduction:
    """Axes of a tensor that are reduced to one number, as an image whose rows and columns they are.

    Attributes
    ----------
    image : int64 (what stays, rows, columns)
        Places of one image.
    reduced : tuple of int
        Axes of the tensor.
    """

    def __init__(self, call: Call, value: Value):
        self.call, self.value = call, value
        axes = call.integers(1, "axes", "axes")
        keeps = bool(call.attribute("keepdims", 1))
        rank = len(value.shape)
        if not axes and call.attribute("noop_with_empty_axes", 0):
            raise call.error("reduces nothing (noop_with_empty_axes)")
        call.meaningless("noop_with_empty_axes")
        if axes and len({axis % rank for axis in axes}) < len(axes):
            raise call.error(f"axes {axes}, one of them twice")
        self.reduced = tuple(sorted({call.axis(axis, rank) for axis in axes})) if axes else tuple(range(rank))
        places, along = call.one_image(value)
        if along is not None and along in self.reduced:
            raise call.error("reduces along the images of a batch")
        # Axes of the tensor, without that of the images.
        local = [axis for axis in range(rank) if axis != along]
        kept = [i for i, axis in enumerate(local) if axis not in self.reduced]
        gone = [i for i, axis in enumerate(local) if axis in self.reduced]
        sizes = [places.shape[i] for i in gone if places.shape[i] > 1]
        if len(sizes) > 2:
            raise call.error(f"reduces {len(sizes)} axes of a value of shape {value.shape}; supported: two")
        rows, columns = (1, 1, *sizes)[-2:]
        self.image = places.transpose(*kept, *gone).reshape(-1, rows, columns)
        shape = [places.shape[i] if axis not in self.reduced else 1 for i, axis in enumerate(local)]
        self.shape = tuple(shape) if keeps else tuple(places.shape[i] for i in kept)
        before = 0 if along is None else sum(axis < along and (keeps or axis not in self.reduced) for axis in range(rank))
        self.along = None if along is None else before

    def result(self, made: int) -> Value:
        """The tensor of a node that has one number for each that stays."""
        numbers = np.arange(len(self.image), dtype=np.int64).reshape(self.shape)
        return self.call.batched(made, numbers, self.along)

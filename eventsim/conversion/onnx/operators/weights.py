"""Convolutions and products with matrices."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from eventsim.conversion.graph import Array, Convolution, Linear, TransposedConvolution, Weights
from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.operators.arithmetic import summed
from eventsim.conversion.onnx.operators.windows import Windows, image_of, of_image, windows
from eventsim.conversion.onnx.registry import operator
from eventsim.conversion.onnx.values import Value


def _weights(call: Call, place: int) -> Weights:
    """As float64 if they were that, else float32: large layers need no more memory than they had."""
    weight = call.input(place)
    if weight is None or isinstance(weight, Value):
        raise call.error("weights that depend on the network's input are not supported")
    return np.asarray(weight, np.float64 if weight.dtype.itemsize > 4 else np.float32)


def _kernel(call: Call, weight: Weights) -> tuple[tuple[int, ...], Weights]:
    """The size of a kernel, which may be said twice, and its weights with rows and columns."""
    size = tuple(int(n) for n in call.attribute("kernel_shape") or weight.shape[2:])
    if size != weight.shape[2:] or weight.ndim not in (3, 4):
        raise call.error(f"a kernel {size} with weights {weight.shape}; supported: one or two dimensions")
    return size, weight[:, :, None, :] if weight.ndim == 3 else weight


@operator("Conv")
def convolution(call: Call) -> Value:
    """In one or two dimensions."""
    weight, bias = _weights(call, 1), call.constant(2, "biases")
    size, kernel = _kernel(call, weight)
    number, places = image_of(call, call.value())
    at = windows(call, size, places.shape[1:])
    op = Convolution(kernel, bias, at.stride, at.padding, at.dilation, int(call.attribute("group", 1)))
    return of_image(call, call.graph.add(op, (number,), call.name), places.ndim)


@operator("ConvTranspose")
def transposed_convolution(call: Call) -> Value:
    """In one or two dimensions."""
    weight, bias = _weights(call, 1), call.constant(2, "biases")
    size, kernel = _kernel(call, weight)
    number, places = image_of(call, call.value())
    rank = places.ndim - 1
    wanted = call.attribute("output_shape")
    extra = tuple(int(n) for n in call.attribute("output_padding") or (0,) * rank)
    rule = call.attribute("auto_pad", "NOTSET")
    at = windows(call, size, places.shape[1:])
    if len(extra) != rank or (wanted is not None and len(wanted) not in (rank, rank + 2)):
        raise call.error(f"output_padding {extra} and output_shape {wanted}; expected {rank} numbers each")
    more = (0, extra[0]) if rank == 1 else (extra[0], extra[1])
    if wanted is not None or rule in ("SAME_UPPER", "SAME_LOWER"):
        inner = (1, *wanted)[-2:] if wanted is not None else (at.image[0] * at.stride[0], at.image[1] * at.stride[1])
        at = replace(at, padding=_cut(call, at, inner if rank == 2 else (1, inner[-1]), more, rule))
    op = TransposedConvolution(kernel, bias, at.stride, at.padding, more, at.dilation, int(call.attribute("group", 1)))
    return of_image(call, call.graph.add(op, (number,), call.name), places.ndim)


def _cut(call: Call, at: Windows, wanted: tuple[int, ...], extra: tuple[int, ...], rule: str) -> tuple[int, int, int, int]:
    """What is cut off at each side so that the output has a size."""
    ends = []
    for i in (0, 1):
        total = at.stride[i] * (at.image[i] - 1) + extra[i] + at.reach[i] - wanted[i]
        if total < 0:
            raise call.error(f"an output of {wanted} that is larger than what the kernel reaches; use output_padding")
        least = total // 2
        ends.append((least, total - least) if rule == "SAME_UPPER" else (total - least, least))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def product(call: Call, value: Value, axis: int, matrix: Weights, bias: Array | None = None) -> Value:
    """``matrix @ value`` along an axis, (outputs, inputs); the other axes stay, as the rows and columns of a convolution of 1 x 1."""
    places, along = call.one_image(value.moved(np.moveaxis(value.places, axis, -1)))
    if along == value.places.ndim - 1:
        raise call.error("a product along the images of a batch; export the model with a batch of 1")
    others = places.shape[:-1]
    outputs = len(matrix)
    if math.prod(others) == 1:
        made = call.graph.add(Linear(matrix, bias), (call.node_of(value, places.reshape(-1)),), call.name)
    else:
        image = np.moveaxis(places, -1, 0).reshape(places.shape[-1], others[0], -1)
        made = call.graph.add(Convolution(matrix[:, :, None, None], bias), (call.node_of(value, image),), call.name)
    inner = np.moveaxis(np.arange(outputs * math.prod(others), dtype=np.int64).reshape(outputs, *others), 0, -1)
    result = call.batched(made, inner, along)
    return result.moved(np.moveaxis(result.places, -1, axis))


@operator("MatMul")
def matrix_product(call: Call) -> Value:
    """Of a value and a constant matrix, or the other way round."""
    first, second = call.input(0), call.input(1)
    if isinstance(first, Value) and isinstance(second, Value):
        raise call.error("a product of two activations has no spiking counterpart")
    weight = _weights(call, 1 if isinstance(first, Value) else 0)
    while weight.ndim > 2 and weight.shape[0] == 1:
        weight = weight[0]
    if weight.ndim not in (1, 2):
        raise call.error(f"a product with constants of shape {weight.shape}; expected a matrix")
    vector = weight.ndim == 1
    if isinstance(first, Value):
        made = product(call, first, len(first.shape) - 1, weight[None] if vector else weight.T)
        return made.moved(made.places[..., 0]) if vector else made
    if len(second.shape) < 2:
        raise call.error(f"a product of constants {weight.shape} and a value of shape {second.shape}")
    made = product(call, second, len(second.shape) - 2, weight[None] if vector else weight)
    return made.moved(made.places[..., 0, :]) if vector else made


@operator("Gemm")
def general_product(call: Call) -> Value:
    """``alpha A' B' + beta C``, A or B a constant, each perhaps transposed."""
    first, second = call.input(0), call.input(1)
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    turned, other_turned = bool(call.attribute("transA", 0)), bool(call.attribute("transB", 0))
    if isinstance(first, Value) and isinstance(second, Value):
        raise call.error("a product of two activations has no spiking counterpart")
    value_first = isinstance(first, Value)
    value, weight = (first, _weights(call, 1)) if value_first else (second, _weights(call, 0))
    if len(value.shape) != 2 or weight.ndim != 2:
        raise call.error(f"a product of a value of shape {value.shape} and weights {weight.shape}; expected two matrices")
    weight = weight if alpha == 1 else weight * np.asarray(alpha, weight.dtype)
    if value_first:
        matrix, axis, flipped = (weight if other_turned else weight.T), (0 if turned else 1), turned
    else:
        matrix, axis, flipped = (weight.T if turned else weight), (1 if other_turned else 0), other_turned
    constant = call.input(2)
    bias = None
    if value_first and constant is not None and not isinstance(constant, Value) and np.shape(constant) in _per_output(len(matrix)):
        bias = np.broadcast_to(np.asarray(constant, np.float64).reshape(-1) * beta, (len(matrix),))
    made = product(call, value, axis, matrix, bias)
    made = made.moved(made.places.T) if flipped else made
    if constant is None or bias is not None:
        return made
    return summed(call, made, call.scale(constant, beta, 0.0) if isinstance(constant, Value) else beta * np.asarray(constant, np.float64))


def _per_output(outputs: int) -> list[tuple[Any, ...]]:
    return [(), (1,), (1, 1), (outputs,), (1, outputs)]

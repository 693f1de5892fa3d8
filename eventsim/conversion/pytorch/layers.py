"""Operators with weights, normalisation, pooling, and what only the end of a network may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from eventsim.conversion.graph import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    Array,
    AveragePool,
    Convolution,
    Linear,
    MaxPool,
    Operator,
    Resample,
    TransposedConvolution,
    Weights,
)
from eventsim.conversion.pytorch.call import Call, pair
from eventsim.conversion.pytorch.recording import Hidden, Made, Value

# Weights


def convolution(call: Call) -> Made:
    """In one dimension or two, transposed or not."""
    value, weight, bias = call.value("input"), call.weights("weight"), call.constant("bias")
    if weight.ndim not in (3, 4):
        raise call.error(f"a convolution in {weight.ndim - 2} dimensions; supported: 1 and 2")
    row = weight.ndim == 3
    weight = weight[:, :, None, :] if row else weight
    stride, dilation = ((1, steps[1]) if row else steps for steps in (pair(call.ask("stride")), pair(call.ask("dilation"))))
    sides, more = ((0, ends[1]) if row else ends for ends in (pair(call.ask("padding")), pair(call.ask("output_padding", 0))))
    groups = int(call.ask("groups", 1))
    made = call.recording.ordered(value, call.name)
    if call.ask("transposed", False):
        return call.new(TransposedConvolution(weight, bias, stride, sides * 2, more, dilation, groups), made)
    return call.new(Convolution(weight, bias, stride, sides * 2, dilation, groups), made)


def add_product(call: Call) -> Made:
    """A layer that joins all with all, with a bias."""
    bias, alpha, beta = call.constant("self"), float(call.ask("alpha", 1)), float(call.ask("beta", 1))
    assert bias is not None
    return _product(call, "mat1", "mat2", bias * beta, alpha)


def product(call: Call) -> Made:
    """A layer that joins all with all."""
    return _product(call, "self", "mat2")


def products(call: Call) -> Made:
    """The same for a batch of them, of which all have the same weights."""
    return _product(call, "self", "mat2")


def linear(call: Call) -> Made:
    """As some devices do it in one."""
    return _rows(call, call.value("input"), call.weights("weight"), call.constant("bias"))


def product_with_vector(call: Call) -> Made:
    """A layer of one output."""
    value = call.value()
    made = _rows(call, value, call.weights("vec")[None])
    return Made(made.number, made.places.reshape(value.shape[0]))


def _product(call: Call, first: str, second: str, bias: Array | None = None, factor: float = 1.0) -> Made:
    """Of a value and a matrix of weights, or the other way round."""
    a, b = call.ask(first), call.ask(second)
    if isinstance(a, Value) and isinstance(b, Value):
        raise call.error("a product of two values that depend on the input (attention) has no spiking counterpart")
    turned = isinstance(b, Value)
    weight = call.weights(first if turned else second)
    if weight.ndim == 3:
        if np.any(weight != weight[:1]):
            raise call.error("products with other weights for each image, which a spiking network cannot have")
        weight = weight[0]
    value = call.value(second if turned else first)
    if turned:
        made = _rows(call, Value(value.tokens.mT, value.real.mT), weight * factor, None if bias is None else bias.reshape(-1))
        return Made(made.number, made.places.swapaxes(-1, -2))
    return _rows(call, value, weight.T * factor, bias)


def _rows(call: Call, value: Value, weight: Weights, bias: Array | None = None) -> Made:
    """Weights (outputs, inputs) on the last axis of a value."""
    recording, batch = call.recording, call.recording.batch
    outputs, inputs = weight.shape
    if bias is not None:
        if bias.size not in (1, outputs):
            raise call.error(f"a bias of shape {bias.shape} for {outputs} outputs")
        bias = np.broadcast_to(bias.reshape(-1), (outputs,)).astype(np.float64)
    count = int(np.prod(value.shape[:-1]))
    if count % batch:
        raise call.error(f"mixes the images of a batch: {count} rows for {batch} images")
    if count == batch:
        made = recording.ordered(Value(value.tokens.reshape(batch, inputs), value.real.reshape(batch, inputs)), call.name)
        return Made(call.new(Linear(weight, bias), made).number, np.arange(batch * outputs).reshape(*value.shape[:-1], outputs))
    # The same weights at every place: a convolution of one tap.
    places = np.arange(count * outputs).reshape(batch, outputs, count // batch).transpose(0, 2, 1)
    tokens, real = (t.reshape(batch, count // batch, inputs).transpose(1, 2) for t in (value.tokens, value.real))
    made = recording.ordered(Value(tokens, real), call.name)
    return Made(call.new(Convolution(weight[:, :, None, None], bias), made).number, places.reshape(*value.shape[:-1], outputs))


def batch_norm(call: Call) -> list[Made | Hidden]:
    """A normalisation by running statistics."""
    call.ignore("momentum", "exponential_average_factor", "cudnn_enabled")
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if call.ask("training", False) or mean is None or variance is None:
        raise call.error(
            "normalises by the statistics of the batch itself, not by running statistics; call it with training=False and those"
        )
    epsilon = call.ask("eps", None)
    factor = 1 / np.sqrt(variance + float(call.ask("epsilon", 0.0) if epsilon is None else epsilon))
    weight, bias = call.constant("weight"), call.constant("bias")
    factor = factor if weight is None else factor * weight
    shift = -mean * factor if bias is None else bias - mean * factor
    value = call.value("input")
    made = call.recording.node(value, call.name)
    along = (1, -1, *(1,) * (len(value.shape) - 2))
    constants = (call.recording.constant(made, torch.from_numpy(c.reshape(along)), value.shape, call.name) for c in (factor, shift))
    statistics = Hidden("takes the statistics of a normalisation")
    return [call.scale(made, *constants), statistics, statistics]


# Pooling


def average_pool(call: Call) -> Made:
    """Means over windows."""
    window, sides = pair(call.ask("kernel_size")), pair(call.ask("padding", 0))
    stride = pair(call.ask("stride") or window)
    divisor = call.ask("divisor_override")
    operator = AveragePool(
        window,
        stride,
        sides * 2,
        bool(call.ask("ceil_mode")),
        bool(call.ask("count_include_pad", True)),
        None if divisor is None else int(divisor),
    )
    return call.new(operator, _image(call))


def adaptive_average_pool(call: Call) -> Made:
    """Means over as many windows as wanted."""
    made, (rows, columns) = _image(call), pair(call.ask("output_size"))
    _, height, width = call.graph.shape(made.number)
    if height % rows or width % columns:
        return call.new(AdaptiveAveragePool((rows, columns)), made)
    return call.new(AveragePool((height // rows, width // columns)), made)


def max_pool(call: Call) -> list[Made | Hidden]:
    """Largest values of windows."""
    window, sides, dilation = pair(call.ask("kernel_size")), pair(call.ask("padding", 0)), pair(call.ask("dilation", 1))
    stride = pair(call.ask("stride") or window)
    made = _image(call)
    ends = sides
    if call.ask("ceil_mode"):
        reach = tuple((n - 1) * step + 1 for n, step in zip(window, dilation, strict=True))
        rows, columns = map(_ceil_padding, call.graph.shape(made.number)[1:], reach, stride, sides)
        ends = rows, columns
    return [call.new(MaxPool(window, stride, (*sides, *ends), dilation), made), Hidden("takes the places of the largest values")]


def _ceil_padding(size: int, reach: int, stride: int, padding: int) -> int:
    """What ``ceil_mode`` adds at the end: a last window that is not whole counts, unless it begins in the padding there."""
    count = -((size + 2 * padding - reach) // -stride) + 1
    if (count - 1) * stride >= size + padding:
        count -= 1
    return max(padding, (count - 1) * stride + reach - size - padding)


def adaptive_max_pool(call: Call) -> list[Made | Hidden]:
    """Largest values of as many windows as wanted."""
    made, pooled = _image(call), AdaptiveMaxPool(pair(call.ask("output_size")))
    _, height, width = call.graph.shape(made.number)
    return [call.new(pooled.as_windows((height, width)) or pooled, made), Hidden("takes the places of the largest values")]


def _image(call: Call) -> Made:
    value = call.value()
    if len(value.shape) != 4:
        raise call.error(f"pooling of a value of shape {value.shape}; expected (batch, channels, height, width)")
    return call.recording.ordered(value, call.name)


def mean(call: Call) -> Made:
    """Over axes."""
    call.ignore("keepdim", "dtype")
    axes, value, count = _axes(call)
    return _pooled(call, value, axes, count)


def total(call: Call) -> Made:
    """A sum over axes."""
    call.ignore("keepdim", "dtype")
    axes, value, _ = _axes(call)
    return _pooled(call, value, axes, 1)


def largest(call: Call) -> list[Made | Hidden]:
    """The largest value over axes."""
    call.ignore("keepdim")
    axes, value, count = _axes(call)
    return [_pooled(call, value, axes, count, largest=True), Hidden("takes the places of the largest values")]


def _axes(call: Call) -> tuple[tuple[int, ...], Value, int]:
    """The axes to be reduced, the value, and how many numbers become one."""
    value, given = call.value(), call.ask("dim")
    rank = len(value.shape)
    axes = tuple(sorted({int(d) % rank for d in np.atleast_1d(given if given is not None else [])})) or tuple(range(rank))
    if 0 in axes:
        raise call.error("reduces over the images of a batch; name the other axes")
    return axes, value, int(np.prod([value.shape[axis] for axis in axes]))


def _pooled(call: Call, value: Value, axes: tuple[int, ...], divisor: int, largest: bool = False) -> Made:
    rank, batch = len(value.shape), call.recording.batch
    if not largest and axes == (1,) and rank in (2, 4):
        made, ones = call.recording.ordered(value, call.name), np.full((1, value.shape[1]), 1 / divisor)
        return call.new(Linear(ones) if rank == 2 else Convolution(ones[:, :, None, None]), made)
    if rank == 4 and 1 not in axes:
        window = (value.shape[2] if 2 in axes else 1, value.shape[3] if 3 in axes else 1)
    else:
        kept = [axis for axis in range(1, rank) if axis not in axes]
        window = (1, int(np.prod([value.shape[axis] for axis in axes])))
        tokens, real = (t.permute(0, *kept, *axes).reshape(batch, -1, window[1]) for t in (value.tokens, value.real))
        value = Value(tokens, real)
    operator: Operator = MaxPool(window, window) if largest else AveragePool(window, divisor=None if divisor != 1 else 1)
    return call.new(operator, call.recording.ordered(value, call.name))


def interpolate(call: Call) -> Made:
    """Between pixels: along rows and along columns, as PyTorch does it to ones."""
    sizes = call.ask("output_size")
    options = {name: call.ask(name) for name in ("align_corners", "scales", "scales_h", "scales_w") if name in call.arguments}
    value = call.value()
    made = call.recording.ordered(value, call.name)
    _, height, width = call.graph.shape(made.number)

    def matrix(size: int, axis: int) -> Array:
        ones = torch.eye(size, dtype=torch.float64)
        if len(sizes) == 1:
            return call.function(ones[None], sizes, **options)[0].T.numpy()
        image = ones[None, :, :, None].expand(1, size, size, width) if axis == 0 else ones[None, :, None].expand(1, size, height, size)
        sampled = call.function(image, sizes, **options)[0]
        return (sampled[:, :, 0] if axis == 0 else sampled[:, 0]).T.numpy()

    return call.new(Resample(np.ones((1, 1)) if len(sizes) == 1 else matrix(height, 0), matrix(width, 1)), made)


# The end of a network


def softmax(call: Call) -> Hidden:
    """Shares of outputs."""
    call.ignore("half_to_float")
    value = call.value()
    axis = int(call.ask("dim")) % len(value.shape)
    if axis == 0 or any(n > 1 for i, n in enumerate(value.shape) if i not in (0, axis)):
        return Hidden("a softmax over other axes than the outputs has no spiking counterpart")
    return _head(call, value, axis)


def sigmoid(call: Call) -> list[Hidden]:
    """A share each."""
    return [_head(call, call.value(), 0), Hidden("takes what a logarithm keeps")]


def _head(call: Call, value: Value, axis: int) -> Hidden:
    function, name = call.function, call.name

    def head(values: torch.Tensor) -> torch.Tensor:
        made: Any = function(values, axis, False) if axis else function(values)
        return made[0] if isinstance(made, tuple) else made

    operator = function._schema.name.removeprefix("aten::").strip("_").removesuffix("_forward")
    return Hidden(
        f"takes what {name} makes; {operator} inside a network has no spiking counterpart, at its end it is left out",
        value,
        head,
        f"{name} left out: it does not change which output is largest",
    )

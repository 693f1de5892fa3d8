"""What PyTorch's functions and layers become in a graph, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eventsim.conversion.graph import Add, AveragePool, Clip, Convolution, Flatten, Floor, Graph, Linear, MaxPool, Sign
from eventsim.errors import ConversionError

SUPPORTED = (
    "Conv2d, Linear, BatchNorm, ReLU, ReLU6, Hardtanh, clamp, floor, round, sign, comparisons with constants, where, AvgPool2d, MaxPool2d, "
    "AdaptiveAvgPool2d(1), Flatten, Dropout, Identity, addition, and multiplication by constants"
)


class Value:
    """A tensor that depends on the network's input: the number of the graph's node that makes it."""

    def __init__(self, number: int):
        self.number = number


@dataclass(frozen=True)
class Call:
    """A function or layer at work.

    Attributes
    ----------
    graph : Graph
        That it becomes a part of.
    name : str
        For messages.
    x : Value
        The first of its arguments that depends on the network's input.
    args, kwargs : tuple, dict
        All arguments of a function.
    """

    graph: Graph
    name: str
    x: Value
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None

    def given(self, *names: str) -> dict[str, Any]:
        """The arguments that are given, by name; the names are those of arguments given by position."""
        return dict(zip(names, self.args, strict=False)) | (self.kwargs or {})

    def add(self, operator: Any) -> Value:
        """An operator on what it is called with."""
        return Value(self.graph.add(operator, (self.x.number,), self.name))

    def scale(self, value: Value, factor: Any, shift: Any) -> Value:
        """A value times a factor, plus a shift."""
        return Value(self.graph.scale(value.number, factor, shift, self.name))

    def error(self, message: str) -> ConversionError:
        """One that names it."""
        return ConversionError(f"{self.name}: {message}")


# Layers, and the functions that they share with them


def convolution(call: Call, weight: Any, bias: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Value:
    """A convolution in two dimensions."""
    if _pair(dilation) != (1, 1) or groups != 1:
        raise call.error(f"dilation {dilation} and {groups} groups; supported: neither")
    kernel = _weights(weight, call)
    if padding == "valid":
        padding = 0
    if padding == "same":
        rows, cols = kernel.shape[2] - 1, kernel.shape[3] - 1
        sides = (rows // 2, cols // 2, rows - rows // 2, cols - cols // 2)
    else:
        sides = _pair(padding) * 2
    offset = None if bias is None else _array(bias, call)
    return call.add(Convolution(kernel, offset, _pair(stride), sides))


def linear(call: Call, weight: Any, bias: Any) -> Value:
    """A layer that joins all with all."""
    offset = None if bias is None else _array(bias, call)
    return call.add(Linear(_weights(weight, call), offset))


def batch_norm(call: Call, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Value:
    """A normalisation by running statistics."""
    if mean is None or variance is None:
        raise call.error("keeps no running statistics, so its effect depends on the batch")
    factor = 1 / np.sqrt(_array(variance, call) + eps)
    if weight is not None:
        factor = factor * _array(weight, call)
    shift = -_array(mean, call) * factor
    if bias is not None:
        shift = shift + _array(bias, call)
    return call.scale(call.x, factor, shift)


def average_pool(call: Call, kernel: Any, stride: Any, padding: Any, ceil_mode: bool) -> Value:
    """Average pooling over windows of a size."""
    window = _pair(kernel)
    if _pair(stride if stride is not None else kernel) != window or _pair(padding) != (0, 0) or ceil_mode:
        raise call.error("only pooling over windows that do not overlap, without padding, is supported")
    return call.add(AveragePool(window))


def adaptive_pool(call: Call, size: Any) -> Value:
    """Average pooling to a size."""
    shape = call.graph.shape(call.x.number)
    rows, cols = _pair(size)
    if len(shape) != 3 or shape[1] % rows or shape[2] % cols:
        raise call.error(f"{shape[1:]} cannot be pooled to {(rows, cols)} by equal windows")
    return call.add(AveragePool((shape[1] // rows, shape[2] // cols)))


def flatten(call: Call, start: int, end: int) -> Value:
    """Everything but the batch in one dimension."""
    dims = len(call.graph.shape(call.x.number)) + 1
    if start != 1 or end % dims != dims - 1:
        raise call.error("only flattening of everything but the batch is supported")
    return call.x if dims == 2 else call.add(Flatten())


def softmax(call: Call) -> Value:
    """Left out, with a remark."""
    call.graph.remarks.append(f"{call.name} left out: it does not change which output is largest")
    return call.x


def max_pool(
    call: Call, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, indices: bool = False
) -> Value:
    """Largest values of windows."""
    if _pair(dilation) != (1, 1) or indices:
        raise call.error(f"dilation {dilation}{' and indices' if indices else ''}; supported: neither")
    window, steps, sides = _pair(kernel), _pair(stride or kernel), _pair(padding)
    shape = call.graph.shape(call.x.number)
    if len(shape) != 3:
        raise call.error(f"pooling of a value of shape {shape}; expected (channels, height, width)")
    bottom, right = sides if not ceil_mode else map(_ceil_padding, shape[1:], window, steps, sides)
    return call.add(MaxPool(window, steps, (*sides, bottom, right)))


def _ceil_padding(size: int, window: int, stride: int, padding: int) -> int:
    """What ``ceil_mode`` adds at the end: a last window that is not whole counts, unless it begins in the padding there."""
    count = -((size + 2 * padding - window) // -stride) + 1
    if (count - 1) * stride >= size + padding:
        count -= 1
    return max(padding, (count - 1) * stride + window - size - padding)


# Functions


def _one(operator: Any) -> Callable[[Call], Value]:
    return lambda call: call.add(operator)


def _clamp(call: Call) -> Value:
    given = call.kwargs or {}
    bounds = [*call.args[1:3], *[None] * (3 - len(call.args))]
    low = given.get("min", given.get("min_val", bounds[0]))
    high = given.get("max", given.get("max_val", bounds[1]))
    return call.add(Clip(-np.inf if low is None else _number(low, call), np.inf if high is None else _number(high, call)))


def _round(call: Call) -> Value:
    return Value(call.graph.add(Floor(), (call.scale(call.x, 1.0, 0.5).number,), call.name))


def _sum(sign: float) -> Callable[[Call], Value]:
    def apply(call: Call) -> Value:
        a, b = call.args[0], call.args[1]
        if (call.kwargs or {}).get("alpha", 1) != 1:
            raise call.error("alpha is not supported")
        if isinstance(a, Value) and isinstance(b, Value):
            if sign < 0:
                b = call.scale(b, -1.0, 0.0)
            return Value(call.graph.add(Add(), (a.number, b.number), call.name))
        if isinstance(a, Value):
            return call.scale(a, 1.0, sign * _constant(b, call))
        return call.scale(b, sign, _constant(a, call))

    return apply


def _sign(call: Call) -> Value:
    return call.add(Sign(0.0))


def _compare(zero: float, falls: bool = False) -> Callable[[Call], Value]:
    """1 where it holds, else 0: above (with ``falls`` below) the other value, and for ``zero`` = 1 (-1) where they are equal."""

    def apply(call: Call) -> Value:
        given = call.given("input", "other")
        difference = _sum(-1.0)(replace(call, args=(given["input"], given["other"]), kwargs=None))
        number = call.graph.add(Sign(zero), (difference.number,), call.name)
        return call.scale(Value(number), -0.5 if falls else 0.5, 0.5)

    return apply


def _heaviside(call: Call) -> Value:
    between = _number(call.given("input", "values")["values"], call)
    return call.scale(call.add(Sign(2 * between - 1)), 0.5, 0.5)


def _where(call: Call) -> Value:
    given = call.given("condition", "input", "other")
    yes, no = given.get("input", given.get("self")), given.get("other")
    if not isinstance(given["condition"], Value) or isinstance(yes, Value) or isinstance(no, Value):
        raise call.error("only a choice between two constants is supported")
    return call.scale(given["condition"], _constant(yes, call) - _constant(no, call), _constant(no, call))


def _negative(call: Call) -> Value:
    return call.scale(call.x, -1.0, 0.0)


def _filled(value: float) -> Callable[[Call], float]:
    return lambda call: value


def _full_like(call: Call) -> float:
    return _number(call.given("input", "fill_value")["fill_value"], call)


def _max_pool2d(call: Call) -> Value:
    names = ("kernel", "stride", "padding", "dilation", "ceil_mode", "indices")
    given = call.given("input", *names)
    renamed = {"kernel": given.get("kernel", given.get("kernel_size")), "indices": given.get("indices", given.get("return_indices", False))}
    return max_pool(call, **{name: given[name] for name in names if name in given} | renamed)


def _product(call: Call) -> Value:
    a, b = (call.args[0], call.args[1]) if isinstance(call.args[0], Value) else (call.args[1], call.args[0])
    if isinstance(b, Value):
        raise call.error("a product of two activations has no spiking counterpart")
    return call.scale(a, _constant(b, call), 0.0)


def _quotient(call: Call) -> Value:
    if not isinstance(call.args[0], Value) or isinstance(call.args[1], Value) or (call.kwargs or {}).get("rounding_mode") is not None:
        raise call.error("only division by a constant is supported")
    return call.scale(call.args[0], 1 / _constant(call.args[1], call), 0.0)


def _same(call: Call) -> Value:
    return call.x


def _conv2d(call: Call) -> Value:
    names = ("weight", "bias", "stride", "padding", "dilation", "groups")
    given = call.given("input", *names)
    return convolution(call, **{"bias": None} | {name: given[name] for name in names if name in given})


def _linear(call: Call) -> Value:
    given = call.given("input", "weight", "bias")
    return linear(call, given["weight"], given.get("bias"))


def _batch_norm(call: Call) -> Value:
    given = call.given("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    return batch_norm(call, given["running_mean"], given["running_var"], given.get("weight"), given.get("bias"), given.get("eps", 1e-5))


def _avg_pool2d(call: Call) -> Value:
    given = call.given("input", "kernel_size", "stride", "padding", "ceil_mode")
    return average_pool(call, given["kernel_size"], given.get("stride") or None, given.get("padding", 0), given.get("ceil_mode", False))


def _adaptive_avg_pool2d(call: Call) -> Value:
    return adaptive_pool(call, (call.kwargs or {}).get("output_size", call.args[-1]))


def _mean(call: Call) -> Value:
    given = call.kwargs or {}
    dims = given.get("dim", call.args[1] if len(call.args) > 1 else None)
    shape = call.graph.shape(call.x.number)
    if len(shape) != 3 or dims is None or sorted(d % 4 for d in np.atleast_1d(dims)) != [2, 3]:
        raise call.error("only the mean over height and width is supported")
    pooled = call.add(AveragePool((shape[1], shape[2])))
    keeps = given.get("keepdim", call.args[2] if len(call.args) > 2 else False)
    return pooled if keeps else Value(call.graph.add(Flatten(), (pooled.number,), call.name))


def _flatten(call: Call) -> Value:
    given = call.given("input", "start_dim", "end_dim")
    return flatten(call, given.get("start_dim", 0), given.get("end_dim", -1))


def _view(call: Call) -> Value:
    wanted = call.args[1] if isinstance(call.args[1], (tuple, list)) else call.args[1:]
    features = int(np.prod(call.graph.shape(call.x.number)))
    if len(wanted) != 2 or wanted[1] not in (-1, features):
        raise call.error(f"only a reshape to (batch, features) is supported, found {tuple(wanted)}")
    return call.add(Flatten())


FUNCTIONS: dict[str, Callable[[Call], Any]] = {
    "floor": _one(Floor()),
    "relu6": _one(Clip(0.0, 6.0)),
    "round": _round,
    **dict.fromkeys(("sign", "sgn"), _sign),
    "heaviside": _heaviside,
    **dict.fromkeys(("ge", "greater_equal"), _compare(1.0)),
    **dict.fromkeys(("gt", "greater"), _compare(-1.0)),
    **dict.fromkeys(("le", "less_equal"), _compare(-1.0, falls=True)),
    **dict.fromkeys(("lt", "less"), _compare(1.0, falls=True)),
    "where": _where,
    "neg": _negative,
    "ones_like": _filled(1.0),
    "zeros_like": _filled(0.0),
    "full_like": _full_like,
    **dict.fromkeys(("max_pool2d", "boolean_dispatch"), _max_pool2d),
    **dict.fromkeys(("relu", "relu_"), _one(Clip(0.0, np.inf))),
    **dict.fromkeys(("clamp", "clip", "clamp_min", "hardtanh"), _clamp),
    **dict.fromkeys(("add", "iadd", "radd"), _sum(1.0)),
    **dict.fromkeys(("sub", "isub"), _sum(-1.0)),
    **dict.fromkeys(("mul", "imul"), _product),
    **dict.fromkeys(("truediv", "div"), _quotient),
    **dict.fromkeys(("dropout", "contiguous", "float", "to", "detach", "clone", "type", "type_as"), _same),
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "mean": _mean,
    "flatten": _flatten,
    **dict.fromkeys(("view", "reshape"), _view),
    **dict.fromkeys(("softmax", "log_softmax"), softmax),
}


def _array(value: Any, call: Call) -> Any:
    return _weights(value, call).astype(np.float64)


def _weights(value: Any, call: Call) -> Any:
    """As float64 if they were that, else float32: large layers need no more memory than they had."""
    try:
        value = value.detach().cpu()
        return (value if value.element_size() > 4 else value.float()).numpy()
    except AttributeError:
        raise call.error("weights that depend on the input are not supported") from None


def _constant(value: Any, call: Call) -> Any:
    if isinstance(value, Value):
        raise call.error("expected a constant")
    return np.asarray(value, np.float64) if isinstance(value, (int, float)) else _array(value, call)


def _number(value: Any, call: Call) -> float:
    array = _constant(value, call)
    if array.size != 1:
        raise call.error(f"one bound for all channels is supported, found {array.size}")
    return float(array.reshape(()))


def _pair(value: Any) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return (int(values[0]), int(values[-1]))

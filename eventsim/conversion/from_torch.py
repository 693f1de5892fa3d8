"""Read a PyTorch module with ``torch.fx``.

The module is traced symbolically; only PyTorch's own layers are taken as they are, everything else is looked into. Parameters
and buffers are real tensors during the trace, so weights may be computed in any way (binarised, normalised, parametrised): the
trace sees their values. Functions are told apart by name, so ``torch.relu``, ``F.relu``, ``x.relu()`` and the module are one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eventsim.conversion.graph import Add, AveragePool, Clip, Convolution, Flatten, Floor, Graph, Input, Linear, Sign
from eventsim.errors import ConversionError

SUPPORTED = (
    "Conv2d, Linear, BatchNorm, ReLU, ReLU6, Hardtanh, clamp, floor, round, sign, AvgPool2d, AdaptiveAvgPool2d(1), Flatten, Dropout, "
    "Identity, addition, and multiplication by constants"
)


def from_torch(model: Any, input_shape: Sequence[int]) -> Graph:
    """Describe a module as a graph.

    Parameters
    ----------
    model : torch.nn.Module
        Taken in evaluation mode; it is not changed.
    input_shape : sequence of int
        (channels, height, width) or (features,), without a batch.

    Returns
    -------
    Graph

    Raises
    ------
    ConversionError
        PyTorch is not installed, the module cannot be traced, or a node has no counterpart; the message names it.
    """
    try:
        import torch
        from torch import fx
    except ImportError:
        raise ConversionError("PyTorch is not installed; install it with: pip install 'eventsim[train]'") from None

    class Tracer(fx.Tracer):
        def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
            return attr_val

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            tracer = Tracer()
            traced = fx.GraphModule(model, tracer.trace(model))
        return _Reader(traced, tuple(int(n) for n in input_shape)).run()
    except ConversionError:
        raise
    except Exception as error:  # whatever user code raises while it is traced
        raise ConversionError(f"the module cannot be traced by torch.fx: {error}") from None
    finally:
        model.train(training)


class _Reader:
    def __init__(self, traced: Any, input_shape: tuple[int, ...]):
        self.traced = traced
        self.graph = Graph()
        self.input_shape = input_shape
        self.modules = dict(traced.named_modules())

    def run(self) -> Graph:
        values: dict[Any, Any] = {}
        inputs = 0
        for node in self.traced.graph.nodes:
            args, kwargs = _resolve(node.args, values), _resolve(node.kwargs, values)
            if node.op == "placeholder":
                inputs += 1
                if inputs > 1:
                    raise ConversionError(f"{node.name}: a second input; expected a module of one argument")
                values[node] = _Value(self.graph.add(Input(self.input_shape), name=node.name))
            elif node.op == "get_attr":
                value: Any = self.traced
                for part in node.target.split("."):
                    value = getattr(value, part)
                values[node] = value
            elif node.op == "output":
                result = args[0][0] if isinstance(args[0], (tuple, list)) and len(args[0]) == 1 else args[0]
                if not isinstance(result, _Value):
                    raise ConversionError("the module must return one tensor")
                self.graph.output = result.number
            elif node.op == "call_module":
                module = self.modules[node.target]
                values[node] = self._module(module, args, f"{node.target} ({type(module).__name__})")
            else:
                target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
                name = target.split(".")[0].strip("_")
                values[node] = self._function(name, args, kwargs, f"{node.name} ({target})")
        return self.graph

    def _module(self, module: Any, args: tuple[Any, ...], name: str) -> _Value:
        from torch import nn

        x = args[0]
        if not isinstance(x, _Value):
            raise ConversionError(f"{name}: its input does not come from the network's input")
        if isinstance(module, nn.Conv2d):
            if module.padding_mode != "zeros":
                raise ConversionError(f"{name}: padding {module.padding_mode!r}; supported: zeros")
            return self._conv(x, module.weight, module.bias, module.stride, module.padding, module.dilation, module.groups, name)
        if isinstance(module, nn.Linear):
            return self._linear(x, module.weight, module.bias, name)
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            return self._batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias, module.eps, name)
        if isinstance(module, nn.ReLU6):
            return _Value(self.graph.add(Clip(0.0, 6.0), (x.number,), name))
        if isinstance(module, nn.ReLU):
            return _Value(self.graph.add(Clip(0.0, np.inf), (x.number,), name))
        if isinstance(module, nn.Hardtanh):
            return _Value(self.graph.add(Clip(float(module.min_val), float(module.max_val)), (x.number,), name))
        if isinstance(module, nn.AvgPool2d):
            return self._pool(x, module.kernel_size, module.stride, module.padding, module.ceil_mode, name)
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return self._adaptive(x, module.output_size, name)
        if isinstance(module, nn.Flatten):
            return self._flatten(x, module.start_dim, module.end_dim, name)
        if isinstance(module, (nn.Dropout, nn.Dropout2d, nn.Identity)):
            return x
        if isinstance(module, (nn.Softmax, nn.LogSoftmax)):
            self.graph.remarks.append(f"{name} left out: it does not change which output is largest")
            return x
        if isinstance(module, (nn.MaxPool2d, nn.AdaptiveMaxPool2d)):
            raise ConversionError(_max_pool(name))
        raise ConversionError(f"{name}: not supported; supported: {SUPPORTED}")

    def _function(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
        values = [a for a in (*args, *kwargs.values()) if isinstance(a, _Value)]
        if not values:
            raise ConversionError(f"{name}: a computation that does not depend on the input and was not folded")
        if function in ("size", "getattr", "dim"):
            return self._shape(args, function, name)
        x = values[0]
        handler = self._handlers().get(function)
        if handler is None:
            if "max_pool" in function:
                raise ConversionError(_max_pool(name))
            raise ConversionError(f"{name}: not supported; supported: {SUPPORTED}")
        return handler(x, args, kwargs, name)

    def _handlers(self) -> dict[str, Callable[..., Any]]:
        graph = self.graph

        def unary(*operators: Any) -> Callable[..., _Value]:
            def apply(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
                number = x.number
                for operator in operators:
                    number = graph.add(operator, (number,), name)
                return _Value(number)

            return apply

        def clamp(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            bounds = [*args[1:3], *[None] * (3 - len(args))]
            low = kwargs.get("min", kwargs.get("min_val", bounds[0]))
            high = kwargs.get("max", kwargs.get("max_val", bounds[1]))
            limits = -np.inf if low is None else _number(low, name), np.inf if high is None else _number(high, name)
            return _Value(graph.add(Clip(*limits), (x.number,), name))

        def round_(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            return _Value(graph.add(Floor(), (graph.scale(x.number, 1.0, 0.5, name),), name))

        def arithmetic(sign: float, reverse: bool = False) -> Callable[..., _Value]:
            def apply(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
                a, b = args[0], args[1]
                if kwargs.get("alpha", 1) != 1:
                    raise ConversionError(f"{name}: alpha is not supported")
                if isinstance(a, _Value) and isinstance(b, _Value):
                    if sign < 0:
                        b = _Value(graph.scale(b.number, -1.0, 0.0, name))
                    return _Value(graph.add(Add(), (a.number, b.number), name))
                if isinstance(a, _Value):
                    return _Value(graph.scale(a.number, 1.0, sign * _constant(b, name), name))
                return _Value(graph.scale(b.number, sign, _constant(a, name), name))

            return apply

        def multiply(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            a, b = (args[0], args[1]) if isinstance(args[0], _Value) else (args[1], args[0])
            if isinstance(b, _Value):
                raise ConversionError(f"{name}: a product of two activations has no spiking counterpart")
            return _Value(graph.scale(a.number, _constant(b, name), 0.0, name))

        def divide(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            if not isinstance(args[0], _Value) or isinstance(args[1], _Value) or kwargs.get("rounding_mode") is not None:
                raise ConversionError(f"{name}: only division by a constant is supported")
            return _Value(graph.scale(args[0].number, 1 / _constant(args[1], name), 0.0, name))

        def keep(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            return x

        def conv(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            given = dict(zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args, strict=False)) | kwargs
            return self._conv(
                x,
                given["weight"],
                given.get("bias"),
                given.get("stride", 1),
                given.get("padding", 0),
                given.get("dilation", 1),
                given.get("groups", 1),
                name,
            )

        def linear(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            return self._linear(x, given["weight"], given.get("bias"), name)

        def batch_norm(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            keys = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
            given = dict(zip(keys, args, strict=False)) | kwargs
            return self._batch_norm(
                x, given["running_mean"], given["running_var"], given.get("weight"), given.get("bias"), given.get("eps", 1e-5), name
            )

        def pool(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            given = dict(zip(("input", "kernel_size", "stride", "padding", "ceil_mode"), args, strict=False)) | kwargs
            return self._pool(
                x, given["kernel_size"], given.get("stride") or None, given.get("padding", 0), given.get("ceil_mode", False), name
            )

        def adaptive(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            return self._adaptive(x, kwargs.get("output_size", args[-1]), name)

        def mean(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
            shape = graph.shape(x.number)
            if len(shape) != 3 or dims is None or sorted(d % 4 for d in np.atleast_1d(dims)) != [2, 3]:
                raise ConversionError(f"{name}: only the mean over height and width is supported")
            pooled = graph.add(AveragePool((shape[1], shape[2])), (x.number,), name)
            keeps = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
            return _Value(pooled if keeps else graph.add(Flatten(), (pooled,), name))

        def flatten(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            given = dict(zip(("input", "start_dim", "end_dim"), args, strict=False)) | kwargs
            return self._flatten(x, given.get("start_dim", 0), given.get("end_dim", -1), name)

        def view(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            wanted = args[1] if isinstance(args[1], (tuple, list)) else args[1:]
            features = int(np.prod(graph.shape(x.number)))
            if len(wanted) != 2 or wanted[1] not in (-1, features):
                raise ConversionError(f"{name}: only a reshape to (batch, features) is supported, found {tuple(wanted)}")
            return _Value(graph.add(Flatten(), (x.number,), name))

        def softmax(x: _Value, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> _Value:
            graph.remarks.append(f"{name} left out: it does not change which output is largest")
            return x

        return {
            "relu": unary(Clip(0.0, np.inf)),
            "relu_": unary(Clip(0.0, np.inf)),
            "relu6": unary(Clip(0.0, 6.0)),
            "floor": unary(Floor()),
            "sign": unary(Sign()),
            "round": round_,
            "clamp": clamp,
            "clip": clamp,
            "clamp_min": clamp,
            "hardtanh": clamp,
            "add": arithmetic(1.0),
            "iadd": arithmetic(1.0),
            "radd": arithmetic(1.0),
            "sub": arithmetic(-1.0),
            "isub": arithmetic(-1.0),
            "mul": multiply,
            "imul": multiply,
            "truediv": divide,
            "div": divide,
            "dropout": keep,
            "contiguous": keep,
            "float": keep,
            "to": keep,
            "detach": keep,
            "clone": keep,
            "conv2d": conv,
            "linear": linear,
            "batch_norm": batch_norm,
            "avg_pool2d": pool,
            "adaptive_avg_pool2d": adaptive,
            "mean": mean,
            "flatten": flatten,
            "view": view,
            "reshape": view,
            "softmax": softmax,
            "log_softmax": softmax,
        }

    def _shape(self, args: tuple[Any, ...], function: str, name: str) -> Any:
        x = args[0]
        if not isinstance(x, _Value) or (function == "getattr" and args[1] != "shape"):
            raise ConversionError(f"{name}: not supported; supported: {SUPPORTED}")
        shape = (-1, *self.graph.shape(x.number))
        if function == "dim":
            return len(shape)
        return shape[args[1]] if function == "size" and len(args) > 1 else shape

    def _conv(self, x: _Value, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, name: str) -> _Value:
        if _pair(dilation) != (1, 1) or groups != 1:
            raise ConversionError(f"{name}: dilation {dilation} and {groups} groups; supported: neither")
        kernel = _weights(weight, name)
        if padding == "valid":
            padding = 0
        if padding == "same":
            rows, cols = kernel.shape[2] - 1, kernel.shape[3] - 1
            sides = (rows // 2, cols // 2, rows - rows // 2, cols - cols // 2)
        else:
            sides = _pair(padding) * 2
        offset = None if bias is None else _array(bias, name)
        return _Value(self.graph.add(Convolution(kernel, offset, _pair(stride), sides), (x.number,), name))

    def _linear(self, x: _Value, weight: Any, bias: Any, name: str) -> _Value:
        offset = None if bias is None else _array(bias, name)
        return _Value(self.graph.add(Linear(_weights(weight, name), offset), (x.number,), name))

    def _batch_norm(self, x: _Value, mean: Any, variance: Any, weight: Any, bias: Any, eps: float, name: str) -> _Value:
        if mean is None or variance is None:
            raise ConversionError(f"{name}: keeps no running statistics, so its effect depends on the batch")
        factor = 1 / np.sqrt(_array(variance, name) + eps)
        if weight is not None:
            factor = factor * _array(weight, name)
        shift = -_array(mean, name) * factor
        if bias is not None:
            shift = shift + _array(bias, name)
        return _Value(self.graph.scale(x.number, factor, shift, name))

    def _pool(self, x: _Value, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, name: str) -> _Value:
        window = _pair(kernel)
        if _pair(stride if stride is not None else kernel) != window or _pair(padding) != (0, 0) or ceil_mode:
            raise ConversionError(f"{name}: only pooling over windows that do not overlap, without padding, is supported")
        return _Value(self.graph.add(AveragePool(window), (x.number,), name))

    def _adaptive(self, x: _Value, size: Any, name: str) -> _Value:
        shape = self.graph.shape(x.number)
        rows, cols = _pair(size)
        if len(shape) != 3 or shape[1] % rows or shape[2] % cols:
            raise ConversionError(f"{name}: {shape[1:]} cannot be pooled to {(rows, cols)} by equal windows")
        return _Value(self.graph.add(AveragePool((shape[1] // rows, shape[2] // cols)), (x.number,), name))

    def _flatten(self, x: _Value, start: int, end: int, name: str) -> _Value:
        dims = len(self.graph.shape(x.number)) + 1
        if start != 1 or end % dims != dims - 1:
            raise ConversionError(f"{name}: only flattening of everything but the batch is supported")
        return x if dims == 2 else _Value(self.graph.add(Flatten(), (x.number,), name))


class _Value:
    """A tensor that depends on the network's input: the number of the graph's node that makes it."""

    def __init__(self, number: int):
        self.number = number


def _resolve(argument: Any, values: dict[Any, Any]) -> Any:
    """A node's arguments with nodes replaced by what they stand for."""
    from torch import fx

    if isinstance(argument, fx.Node):
        return values[argument]
    if isinstance(argument, (tuple, list)):
        return tuple(_resolve(a, values) for a in argument)
    if isinstance(argument, dict):
        return {key: _resolve(a, values) for key, a in argument.items()}
    return argument


def _array(value: Any, name: str) -> Any:
    return _weights(value, name).astype(np.float64)


def _weights(value: Any, name: str) -> Any:
    """As float64 if they were that, else float32: large layers need no more memory than they had."""
    try:
        value = value.detach().cpu()
        return (value if value.element_size() > 4 else value.float()).numpy()
    except AttributeError:
        raise ConversionError(f"{name}: weights that depend on the input are not supported") from None


def _constant(value: Any, name: str) -> Any:
    if isinstance(value, _Value):
        raise ConversionError(f"{name}: expected a constant")
    return np.asarray(value, np.float64) if isinstance(value, (int, float)) else _array(value, name)


def _number(value: Any, name: str) -> float:
    array = _constant(value, name)
    if array.size != 1:
        raise ConversionError(f"{name}: one bound for all channels is supported, found {array.size}")
    return float(array.reshape(()))


def _pair(value: Any) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return (int(values[0]), int(values[-1]))


def _max_pool(name: str) -> str:
    return (
        f"{name}: max pooling has no exact event rule (the largest of several rates is not known until all spikes have come); "
        "train with average pooling (nn.AvgPool2d) instead"
    )

"""Read a PyTorch module with ``torch.fx``.

The module is traced symbolically; only PyTorch's own layers are taken as they are, everything else is looked into. Parameters
and buffers are real tensors during the trace, so weights may be computed in any way (binarised, normalised, parametrised): the
trace sees their values. Functions are told apart by name, so ``torch.relu``, ``F.relu``, ``x.relu()`` and the module are one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eventsim.conversion import torch_operators as operators
from eventsim.conversion.graph import Clip, Graph, Input
from eventsim.conversion.torch_operators import FUNCTIONS, SUPPORTED, Call, Value
from eventsim.errors import ConversionError


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
        self.layers = _layers()

    def run(self) -> Graph:
        values: dict[Any, Any] = {}
        inputs = 0
        for node in self.traced.graph.nodes:
            args, kwargs = _resolve(node.args, values), _resolve(node.kwargs, values)
            if node.op == "placeholder":
                inputs += 1
                if inputs > 1:
                    raise ConversionError(f"{node.name}: a second input; expected a module of one argument")
                values[node] = Value(self.graph.add(Input(self.input_shape), name=node.name))
            elif node.op == "get_attr":
                value: Any = self.traced
                for part in node.target.split("."):
                    value = getattr(value, part)
                values[node] = value
            elif node.op == "output":
                result = args[0][0] if isinstance(args[0], (tuple, list)) and len(args[0]) == 1 else args[0]
                if not isinstance(result, Value):
                    raise ConversionError("the module must return one tensor")
                self.graph.output = result.number
            elif node.op == "call_module":
                module = self.modules[node.target]
                values[node] = self._module(module, args, f"{node.target} ({type(module).__name__})")
            else:
                target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
                name = target.split(".")[0].strip("_")
                text = f"{node.name} ({target})"
                known = _constant_only(args, kwargs)
                values[node] = _computed(node, args, kwargs, text) if known else self._function(name, args, kwargs, text)
        return self.graph

    def _module(self, module: Any, args: tuple[Any, ...], name: str) -> Value:
        x = args[0]
        if not isinstance(x, Value):
            raise ConversionError(f"{name}: its input does not come from the network's input")
        call = Call(self.graph, name, x)
        for kind, layer in self.layers:
            if isinstance(module, kind):
                return layer(call, module)
        raise call.error(f"not supported; supported: {SUPPORTED}")

    def _function(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
        values = [a for a in (*args, *kwargs.values()) if isinstance(a, Value)]
        if function in ("size", "getattr", "dim"):
            return self._shape(args, function, name)
        handler = FUNCTIONS.get(function)
        if handler is None or not values:
            raise ConversionError(f"{name}: not supported; supported: {SUPPORTED}")
        return handler(Call(self.graph, name, values[0], args, kwargs))

    def _shape(self, args: tuple[Any, ...], function: str, name: str) -> Any:
        x = args[0]
        if function == "getattr" and args[1] in ("dtype", "device"):
            return None  # for what is made to match it
        if not isinstance(x, Value) or (function == "getattr" and args[1] != "shape"):
            raise ConversionError(f"{name}: not supported; supported: {SUPPORTED}")
        shape = (-1, *self.graph.shape(x.number))
        if function == "dim":
            return len(shape)
        return shape[args[1]] if function == "size" and len(args) > 1 else shape


def _layers() -> list[tuple[type, Callable[[Call, Any], Value]]]:
    """What PyTorch's layers become: the first one that a module is an instance of."""
    from torch import nn

    return [
        (nn.Conv2d, _conv2d),
        (nn.Linear, lambda call, m: operators.linear(call, m.weight, m.bias)),
        *((kind, _batch_norm) for kind in (nn.BatchNorm1d, nn.BatchNorm2d)),
        (nn.ReLU6, lambda call, m: call.add(Clip(0.0, 6.0))),
        (nn.ReLU, lambda call, m: call.add(Clip(0.0, np.inf))),
        (nn.Hardtanh, lambda call, m: call.add(Clip(float(m.min_val), float(m.max_val)))),
        (nn.AvgPool2d, lambda call, m: operators.average_pool(call, m.kernel_size, m.stride, m.padding, m.ceil_mode)),
        (nn.AdaptiveAvgPool2d, lambda call, m: operators.adaptive_pool(call, m.output_size)),
        (nn.Flatten, lambda call, m: operators.flatten(call, m.start_dim, m.end_dim)),
        *((kind, lambda call, m: call.x) for kind in (nn.Dropout, nn.Dropout2d, nn.Identity)),
        *((kind, lambda call, m: operators.softmax(call)) for kind in (nn.Softmax, nn.LogSoftmax)),
        (nn.MaxPool2d, _max_pool2d),
    ]


def _conv2d(call: Call, m: Any) -> Value:
    if m.padding_mode != "zeros":
        raise call.error(f"padding {m.padding_mode!r}; supported: zeros")
    return operators.convolution(call, m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups)


def _batch_norm(call: Call, m: Any) -> Value:
    return operators.batch_norm(call, m.running_mean, m.running_var, m.weight, m.bias, m.eps)


def _max_pool2d(call: Call, m: Any) -> Value:
    return operators.max_pool(call, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


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


def _constant_only(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether nothing of a call depends on the network's input."""

    def depends(value: Any) -> bool:
        return isinstance(value, Value) or (isinstance(value, (tuple, list)) and any(map(depends, value)))

    return not any(map(depends, (*args, *kwargs.values())))


def _computed(node: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    """The value of a call on constants."""
    try:
        return getattr(args[0], node.target)(*args[1:], **kwargs) if node.op == "call_method" else node.target(*args, **kwargs)
    except Exception as error:  # whatever PyTorch raises
        raise ConversionError(f"{name}: cannot be computed ({error})") from None

"""Read an ONNX or QONNX file: the usual operators, and QONNX's ``Quant`` and ``BipolarQuant``.

What depends on constants alone is computed; what remains becomes the graph. Nothing is executed but the operators listed here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eventsim.conversion.graph import Add, AveragePool, Clip, Convolution, Flatten, Floor, Graph, Input, Linear, MaxPool, Sign
from eventsim.errors import ConversionError

_FOLDED: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Sqrt": np.sqrt,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sign": np.sign,
    "Floor": np.floor,
    "Identity": lambda x: x,
}
# What else weights are computed with, evaluated by ONNX's own reference.
_EVALUATED = {
    "And", "Ceil", "Clip", "Equal", "Exp", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Not", "Or",
    "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Round", "Sigmoid", "Slice",
    "Squeeze", "Sum", "Tanh", "Where",
}  # fmt: skip
# For constants that are computed, beside eight times the file's size.
_FOLDED_BYTES = 2**28
_SUPPORTED = (
    "Add, AveragePool, BatchNormalization, BipolarQuant, Clip, Conv, Div, Dropout, Flatten, Floor, Gemm, GlobalAveragePool, Identity, "
    "Greater, GreaterOrEqual, Less, LessOrEqual, MatMul, MaxPool, Mul, MultiThreshold, Neg, Not, Quant, ReduceMean, Relu, Reshape, Round, "
    "Sign, Softmax, Sub, Where"
)


def from_onnx(path: str | os.PathLike[str], input_shape: Sequence[int] | None = None) -> Graph:
    """Describe an ONNX file as a graph.

    Parameters
    ----------
    path : path-like
    input_shape : sequence of int, optional
        (channels, height, width) or (features,), where the file leaves it open.

    Raises
    ------
    ConversionError
        The onnx package is not installed, the file is not readable, or a node has no counterpart; the message names it.
    """
    try:
        import onnx
    except ImportError:
        raise ConversionError("the onnx package is not installed; install it with: pip install 'eventsim[onnx]'") from None
    if not Path(path).is_file():
        raise ConversionError(f"{path}: no such file")
    try:
        # Weights in other files could be anywhere on the disk: only what is in this one is read.
        model = onnx.load(os.fspath(path), load_external_data=False)
    except Exception as error:  # protobuf raises what it likes
        raise ConversionError(f"{path}: not a readable ONNX file ({error})") from None
    try:
        return _Reader(model, None if input_shape is None else tuple(int(n) for n in input_shape)).run()
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from None


def _size(kind: str, args: list[Any]) -> int:
    """Bytes that the result of a computed constant takes at the most, known from the shapes of what it is computed from."""
    shapes = [np.shape(a) for a in args if a is not None]
    numbers = sum(math.prod(shape) for shape in shapes)
    if kind == "Gather":
        numbers = max(numbers, math.prod(shapes[0]) * max(1, math.prod(shapes[1])))
    elif kind not in ("Concat", "Reshape", "Unsqueeze", "Slice", "Squeeze", "Transpose"):
        rank = max((len(shape) for shape in shapes), default=0)
        padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
        numbers = max(numbers, math.prod(max(dims) for dims in zip(*padded, strict=True)))
    return 8 * numbers


class _Value:
    """A tensor that depends on the network's input: the number of the graph's node that makes it."""

    def __init__(self, number: int):
        self.number = number


class _Reader:
    def __init__(self, model: Any, input_shape: tuple[int, ...] | None):
        self.proto = model.graph
        self.opsets = {opset.domain: opset.version for opset in model.opset_import}
        self.graph = Graph()
        self.input_shape = input_shape
        self.values: dict[str, Any] = {"": None}
        # Bytes that computed constants may still take: a small file must not become a large one here.
        self.room = _FOLDED_BYTES + 8 * model.ByteSize()

    def run(self) -> Graph:
        for tensor in self.proto.initializer:
            self.values[tensor.name] = self._tensor(tensor)
        inputs = [i for i in self.proto.input if i.name not in self.values]
        if len(inputs) != 1 or len(self.proto.output) != 1:
            raise ConversionError(f"{len(inputs)} inputs and {len(self.proto.output)} outputs; expected one of each")
        shape = self.input_shape
        if shape is None:
            dims = tuple(d.dim_value for d in inputs[0].type.tensor_type.shape.dim)[1:]
            if len(dims) not in (1, 3) or min(dims) < 1:
                raise ConversionError(f"the file leaves the shape of its input open, {dims}; give it: (channels, height, width)")
            shape = dims
        self.values[inputs[0].name] = _Value(self.graph.add(Input(shape), name=inputs[0].name))
        for node in self.proto.node:
            if not node.output:
                raise ConversionError(f"{node.name} ({node.op_type}): makes nothing; a damaged file")
            name = f"{node.name or node.output[0]} ({node.op_type})"
            missing = [i for i in node.input if i not in self.values]
            if missing:
                raise ConversionError(f"{name}: takes {missing[0]!r}, which nothing makes")
            try:
                result = self._node(node, [self.values[i] for i in node.input], name)
            except ConversionError:
                raise
            except Exception as error:  # a node may have anything in it: attributes and inputs of other kinds, numbers or shapes
                raise ConversionError(f"{name}: cannot be read ({' '.join(str(error).split())[:200]})") from None
            self.values[node.output[0]] = result
        output = self.values.get(self.proto.output[0].name)
        if not isinstance(output, _Value):
            raise ConversionError("the output does not depend on the input")
        self.graph.output = output.number
        return self.graph

    def _tensor(self, tensor: Any) -> Any:
        from onnx import TensorProto, numpy_helper

        if tensor.data_location == TensorProto.EXTERNAL:
            raise ConversionError(f"{tensor.name}: its values are in another file; save the model with its weights inside")
        try:
            return numpy_helper.to_array(tensor)
        except Exception as error:
            raise ConversionError(f"{tensor.name}: damaged values ({error})") from None

    def _node(self, node: Any, args: list[Any], name: str) -> Any:
        import onnx

        attributes = {a.name: a.t if a.name == "value" else onnx.helper.get_attribute_value(a) for a in node.attribute}
        kind = node.op_type
        if kind == "Constant":
            if "value" in attributes:
                return self._tensor(attributes["value"])
            return np.asarray(next(iter(attributes.values())))
        if kind == "Shape":
            shape = (1, *self.graph.shape(args[0].number)) if isinstance(args[0], _Value) else args[0].shape
            return np.asarray(shape, np.int64)
        if not any(isinstance(a, _Value) for a in args):
            return self._fold(node, args, attributes, name)
        method = getattr(self, f"_op_{kind.lower()}", None)
        if method is None:
            raise ConversionError(f"{name}: not supported; supported: {_SUPPORTED}")
        return method(args, attributes, name)

    def _fold(self, node: Any, args: list[Any], attributes: dict[str, Any], name: str) -> Any:
        self.room -= _size(node.op_type, args)
        if self.room < 0:
            raise ConversionError(
                f"{name}: constants computed from the file's own would take more than {_FOLDED_BYTES >> 20} MB beyond them"
            )
        kind = node.op_type
        if kind in _FOLDED:
            return _FOLDED[kind](*args)
        if kind == "Transpose":
            return np.transpose(args[0], attributes.get("perm"))
        if kind == "Reshape":
            return np.reshape(args[0], [int(n) for n in args[1]])
        if kind == "Gather":
            return np.take(args[0], args[1], attributes.get("axis", 0))
        if kind == "Unsqueeze":
            axes = attributes.get("axes") or [int(a) for a in args[1]]
            return np.expand_dims(args[0], tuple(axes))
        if kind == "Concat":
            return np.concatenate([np.atleast_1d(a) for a in args], attributes.get("axis", 0))
        if kind == "Cast":
            return args[0]
        if kind == "BipolarQuant":
            return np.where(args[0] >= 0, 1.0, -1.0) * args[1]
        if kind == "Quant":
            scale, zero, low, high, round_ = _quantiser(args, attributes, name)
            steps = args[0] / scale + zero
            rounded = np.floor(steps) if round_ == "FLOOR" else np.round(steps)
            return (np.clip(rounded, low, high) - zero) * scale
        if kind in _EVALUATED:
            return self._evaluate(node, args, name)
        raise ConversionError(f"{name}: a constant made by an operator that is not supported; simplify the file first")

    def _evaluate(self, node: Any, args: list[Any], name: str) -> Any:
        from onnx.reference import ReferenceEvaluator

        given = {of: arg for of, arg in zip(node.input, args, strict=True) if of}
        try:
            evaluator: Any = ReferenceEvaluator(node, opsets=self.opsets)
            return evaluator.run(None, given)[0]
        except Exception as error:  # whatever the reference says of a node that is not well formed
            raise ConversionError(f"{name}: cannot be computed ({' '.join(str(error).split())[:200]})") from None

    # Operators, by ONNX's names; each takes the inputs, the attributes and a name for messages.

    def _op_conv(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        x, weight, bias = args[0], args[1], args[2] if len(args) > 2 else None
        rank = weight.ndim - 2
        if rank != 2 or set(attributes.get("dilations", [1])) != {1} or attributes.get("group", 1) != 1:
            raise ConversionError(f"{name}: only two-dimensional convolutions without dilation and groups are supported")
        automatic = attributes.get("auto_pad", b"NOTSET")
        if automatic not in (b"NOTSET", b"VALID"):
            raise ConversionError(f"{name}: automatic padding {automatic!r}; give the padding in numbers")
        stride = tuple(attributes.get("strides", (1, 1)))
        padding = tuple(attributes.get("pads", (0, 0, 0, 0)))
        offset = None if bias is None else np.asarray(bias, np.float64)
        op = Convolution(np.asarray(weight, np.float64), offset, stride, padding)
        return self._make(op, x, name)

    def _op_gemm(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        if attributes.get("transA", 0):
            raise ConversionError(f"{name}: a transposed input is not supported")
        weight = np.asarray(args[1], np.float64) * attributes.get("alpha", 1.0)
        weight = weight if attributes.get("transB", 0) else weight.T
        bias = None
        if len(args) > 2 and args[2] is not None:
            values = np.asarray(args[2], np.float64) * attributes.get("beta", 1.0)
            bias = np.broadcast_to(values.reshape(-1), (len(weight),))
        return self._make(Linear(weight, bias), args[0], name)

    def _op_matmul(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        if not isinstance(args[0], _Value) or isinstance(args[1], _Value):
            raise ConversionError(f"{name}: only the product of a value and a constant matrix is supported")
        return self._make(Linear(np.asarray(args[1], np.float64).T), args[0], name)

    def _op_batchnormalization(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        scale, bias, mean, variance = (np.asarray(a, np.float64) for a in args[1:5])
        factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        return _Value(self.graph.scale(args[0].number, factor, bias - mean * factor, name))

    def _op_relu(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return self._make(Clip(0.0, np.inf), args[0], name)

    def _op_clip(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        given = [*args[1:3], None, None]
        low = given[0] if given[0] is not None else attributes.get("min", -np.inf)
        high = given[1] if given[1] is not None else attributes.get("max", np.inf)
        return self._make(Clip(float(np.reshape(low, ())), float(np.reshape(high, ()))), args[0], name)

    def _op_floor(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return self._make(Floor(), args[0], name)

    def _op_round(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return self._make(Floor(), _Value(self.graph.scale(args[0].number, 1.0, 0.5, name)), name)

    def _op_sign(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return self._make(Sign(0.0), args[0], name)

    def _compare(self, args: list[Any], zero: float, falls: bool, name: str) -> _Value:
        """1 where the first is above (with ``falls`` below) the second, and for ``zero`` = 1 (-1) where they are equal; else 0."""
        difference = self._op_sub(args, {}, name)
        return _Value(self.graph.scale(self._make(Sign(zero), difference, name).number, -0.5 if falls else 0.5, 0.5, name))

    def _op_greater(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return self._compare(args, -1.0, False, name)

    def _op_greaterorequal(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return self._compare(args, 1.0, False, name)

    def _op_less(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return self._compare(args, 1.0, True, name)

    def _op_lessorequal(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return self._compare(args, -1.0, True, name)

    def _op_not(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return _Value(self.graph.scale(args[0].number, -1.0, 1.0, name))

    def _op_neg(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return _Value(self.graph.scale(args[0].number, -1.0, 0.0, name))

    def _op_where(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        condition, yes, no = args
        if not isinstance(condition, _Value) or isinstance(yes, _Value) or isinstance(no, _Value):
            raise ConversionError(f"{name}: only a choice between two constants is supported")
        yes, no = np.asarray(yes, np.float64), np.asarray(no, np.float64)
        return _Value(self.graph.scale(condition.number, yes - no, no, name))

    def _op_multithreshold(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        """FINN's: ``out_scale * (number of thresholds that are not above the value) + out_bias``, thresholds (channels or 1, number)."""
        levels = np.asarray(args[1], np.float64)
        if levels.ndim != 2 or not levels.shape[1] or np.any(np.diff(levels, axis=1) < 0):
            raise ConversionError(f"{name}: thresholds of shape {levels.shape}; expected ascending ones, a row a channel")
        scale, bias = (float(attributes.get(key, default)) for key, default in (("out_scale", 1.0), ("out_bias", 0.0)))
        total = None
        for column in levels.T:
            step = self._make(Sign(1.0), _Value(self.graph.scale(args[0].number, 1.0, -column, name)), name)
            total = step if total is None else _Value(self.graph.add(Add(), (total.number, step.number), name))
        assert total is not None
        return _Value(self.graph.scale(total.number, scale / 2, bias + scale * levels.shape[1] / 2, name))

    def _op_maxpool(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        window = tuple(int(n) for n in attributes["kernel_shape"])
        stride = tuple(int(n) for n in attributes.get("strides", (1,) * len(window)))
        pads = tuple(int(n) for n in attributes.get("pads", (0,) * 2 * len(window)))
        if (
            len(window) != 2
            or set(attributes.get("dilations", [1])) != {1}
            or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
        ):
            raise ConversionError(f"{name}: only two-dimensional pooling with padding in numbers and without dilation is supported")
        if attributes.get("ceil_mode", 0):
            sizes = self.graph.shape(args[0].number)[1:]
            ends = [
                last if (last := (-((size + front + back - wide) // -step)) * step + wide - size - front) - wide < back else back
                for size, wide, step, front, back in zip(sizes, window, stride, pads[:2], pads[2:], strict=True)
            ]
            pads = (*pads[:2], *(max(0, end) for end in ends))
        return self._make(MaxPool((window[0], window[1]), (stride[0], stride[1]), (pads[0], pads[1], pads[2], pads[3])), args[0], name)

    def _op_bipolarquant(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return _Value(self.graph.scale(self._make(Sign(), args[0], name).number, np.abs(args[1]), 0.0, name))

    def _op_quant(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        scale, zero, low, high, rounding = _quantiser(args, attributes, name)
        at = self.graph.scale(args[0].number, 1 / scale, zero + (0.5 if rounding == "ROUND" else 0.0), name)
        at = self.graph.add(Clip(low, high), (self.graph.add(Floor(), (at,), name),), name)
        return _Value(self.graph.scale(at, scale, -zero * scale, name))

    def _op_averagepool(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        window = tuple(attributes["kernel_shape"])
        if tuple(attributes.get("strides", (1, 1))) != window or any(attributes.get("pads", (0,))) or attributes.get("ceil_mode", 0):
            raise ConversionError(f"{name}: only pooling over windows that do not overlap, without padding, is supported")
        return self._make(AveragePool((int(window[0]), int(window[1]))), args[0], name)

    def _op_globalaveragepool(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        shape = self.graph.shape(args[0].number)
        return self._make(AveragePool((shape[1], shape[2])), args[0], name)

    def _op_reducemean(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        axes = attributes.get("axes") if len(args) < 2 else [int(a) for a in args[1]]
        shape = self.graph.shape(args[0].number)
        if len(shape) != 3 or axes is None or sorted(a % 4 for a in axes) != [2, 3]:
            raise ConversionError(f"{name}: only the mean over height and width is supported")
        pooled = self._make(AveragePool((shape[1], shape[2])), args[0], name)
        return pooled if attributes.get("keepdims", 1) else self._make(Flatten(), pooled, name)

    def _op_flatten(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        if attributes.get("axis", 1) != 1:
            raise ConversionError(f"{name}: only flattening of everything but the batch is supported")
        return self._make(Flatten(), args[0], name) if len(self.graph.shape(args[0].number)) == 3 else args[0]

    def _op_reshape(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        wanted = [int(n) for n in np.ravel(args[1])]
        features = int(np.prod(self.graph.shape(args[0].number)))
        if len(wanted) != 2 or wanted[1] not in (-1, features):
            raise ConversionError(f"{name}: only a reshape to (batch, features) is supported, found {tuple(wanted)}")
        return self._op_flatten(args, {}, name)

    def _op_add(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        a, b = args
        if isinstance(a, _Value) and isinstance(b, _Value):
            return _Value(self.graph.add(Add(), (a.number, b.number), name))
        value, constant = (a, b) if isinstance(a, _Value) else (b, a)
        return _Value(self.graph.scale(value.number, 1.0, constant, name))

    def _op_sub(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        a, b = args
        if isinstance(b, _Value):
            return self._op_add([a, _Value(self.graph.scale(b.number, -1.0, 0.0, name))], attributes, name)
        return _Value(self.graph.scale(a.number, 1.0, -np.asarray(b, np.float64), name))

    def _op_mul(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        value, constant = args if isinstance(args[0], _Value) else args[::-1]
        if isinstance(constant, _Value):
            raise ConversionError(f"{name}: a product of two activations has no spiking counterpart")
        return _Value(self.graph.scale(value.number, constant, 0.0, name))

    def _op_div(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        if not isinstance(args[0], _Value) or isinstance(args[1], _Value) or np.any(np.asarray(args[1]) == 0):
            raise ConversionError(f"{name}: only division by a constant that is not zero is supported")
        return _Value(self.graph.scale(args[0].number, 1 / np.asarray(args[1], np.float64), 0.0, name))

    def _op_identity(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        return args[0]

    _op_dropout = _op_identity
    _op_cast = _op_identity

    def _op_softmax(self, args: list[Any], attributes: dict[str, Any], name: str) -> _Value:
        self.graph.remarks.append(f"{name} left out: it does not change which output is largest")
        return args[0]

    _op_logsoftmax = _op_softmax

    def _make(self, operator: Any, source: _Value, name: str) -> _Value:
        return _Value(self.graph.add(operator, (source.number,), name))


def _quantiser(args: list[Any], attributes: dict[str, Any], name: str) -> tuple[Any, Any, float, float, str]:
    """Scale, zero point, bounds and rounding of a QONNX ``Quant`` node."""
    scale, zero, bits = (np.asarray(a, np.float64) for a in args[1:4])
    rounding = attributes.get("rounding_mode", b"ROUND").decode()
    if rounding not in ("ROUND", "FLOOR") or bits.size != 1 or np.any(scale <= 0):
        raise ConversionError(f"{name}: rounding {rounding}, {bits.size} bit widths; supported: ROUND or FLOOR with one bit width")
    width, narrow = float(bits.reshape(())), int(attributes.get("narrow", 0))
    if attributes.get("signed", 1):
        return scale, zero, -(2.0 ** (width - 1)) + narrow, 2.0 ** (width - 1) - 1, rounding
    return scale, zero, 0.0, 2.0**width - 1 - narrow, rounding

"""How many numbers a node makes, known before it is computed: a small file must not become a large one in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Shapes = list[tuple[int, ...]]
Sizes = Callable[[Shapes, list[Any], dict[str, Any]], float]


def numbers_made(kind: str, args: list[Any], attributes: dict[str, Any]) -> float:
    """At most so many numbers are in the outputs of an operator, all together.

    Parameters
    ----------
    kind : str
        ONNX's name of the operator, one of :data:`SIZES`.
    args : list of array or None
    attributes : dict
    """
    shapes = [np.shape(arg) for arg in args if arg is not None]
    return SIZES[kind](shapes, args, attributes)


def _as_first(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    return math.prod(shapes[0])


def _together(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    return sum(math.prod(shape) for shape in shapes)


def _broadcast(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return math.prod(max(dims) for dims in zip(*padded, strict=True))


def _chosen(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    return math.prod(shapes[0]) * max(1, math.prod(shapes[1]))


def _filled(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    return _product(args[0])


def _expanded(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    return _broadcast([shapes[0], tuple(int(n) for n in args[1])], args, attributes)


def _tiled(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    return math.prod(shapes[0]) * _product(args[1])


def _counted(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    start, limit, step = (float(np.reshape(arg, ())) for arg in args)
    return abs((limit - start) / step) + 1 if step else math.inf


def _padded(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    pads = np.ravel(attributes.get("pads", args[1] if len(args) > 1 else 0))
    return math.prod(n + float(np.abs(pads.astype(np.float64)).sum()) for n in shapes[0])


def _resized(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    given = [attributes.get("scales")] + [arg for arg in args[1:]]
    most = float(math.prod(shapes[0]))
    for i, values in enumerate(given):
        if values is not None and np.size(values):
            # Sizes (the last of four inputs) are as many numbers; anything else is a factor.
            most = max(most, _product(values) * (1 if i == 4 else math.prod(shapes[0])))
    return most


def _multiplied(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    return float(math.prod(shapes[0])) * math.prod(shapes[1])


def _compared(shapes: Shapes, args: list[Any], attributes: dict[str, Any]) -> float:
    return float(math.prod(shapes[0])) * shapes[1][-1]


def _product(values: Any) -> float:
    return float(np.prod(np.abs(np.asarray(values, np.float64)), initial=1.0))


# Operators that move numbers about and compute nothing.
MOVING: dict[str, Sizes] = {
    **dict.fromkeys(("DepthToSpace", "Flatten", "Identity", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze"), _as_first),
    **dict.fromkeys(("Transpose", "Unsqueeze"), _as_first),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND"), _chosen),
    "Expand": _expanded,
    "Pad": _padded,
    "Tile": _tiled,
    **dict.fromkeys(("Resize", "Upsample"), _resized),
}
# What constants may be computed with, by ONNX's own reference.
SIZES: dict[str, Sizes] = {
    **MOVING,
    **dict.fromkeys(
        ("Abs", "Cast", "CastLike", "Ceil", "Exp", "Floor", "IsInf", "IsNaN", "Log", "Neg", "Not", "Reciprocal", "Relu"), _as_first
    ),
    **dict.fromkeys(("Round", "Sigmoid", "Sign", "Sqrt", "Tanh", "CumSum", "Trilu", "Softmax"), _as_first),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _as_first),
    **dict.fromkeys(("ReduceSumSquare", "ArgMax", "ArgMin", "Shape", "Size"), _as_first),
    **dict.fromkeys(("Add", "And", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max"), _broadcast),
    **dict.fromkeys(("Mean", "Min", "Mod", "Mul", "Or", "Pow", "PRelu", "Sub", "Sum", "Where", "Xor"), _broadcast),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), _broadcast),
    "BatchNormalization": _as_first,
    "Concat": _together,
    "ConstantOfShape": _filled,
    **dict.fromkeys(("Gemm", "MatMul"), _multiplied),
    "Range": _counted,
    **dict.fromkeys(("BipolarQuant", "IntQuant", "Quant", "Trunc"), _broadcast),
    "MultiThreshold": _compared,
}

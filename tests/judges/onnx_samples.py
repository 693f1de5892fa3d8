"""A node of every operator that is read, with its attributes as exporters write them; ``x`` is the image, ``y`` the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from judges.onnx_models import GENERAL, node

CHANNELS_LAST = "qonnx.custom_op.channels_last"
RNG = np.random.default_rng(3)
W = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
B = RNG.normal(size=4).astype(np.float32)
LINE = RNG.normal(size=(4, 3, 3)).astype(np.float32)
MATRIX = RNG.normal(size=(5, 4)).astype(np.float32)
PLANE = (1, 3, 6, 5)
VECTOR = (1, 5)
INT = np.int64


@dataclass
class Sample:
    """A model of one node, or of a few, of which the first is the one that it is about."""

    nodes: Any
    constants: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = PLANE
    opset: int = 13
    #: QONNX has another version of the operator from here on.
    version: int = 1

    @property
    def kind(self) -> tuple[str, str]:
        """Domain and name of the operator that it is about."""
        return self.node.domain, self.node.op_type

    @property
    def node(self) -> Any:
        """The one that it is about."""
        return self.nodes[0] if isinstance(self.nodes, list) else self.nodes


def of(kind: str, more: str = "", constants: Any = None, **settings: Any) -> Sample:
    """One node of ``x`` and constants; what is no setting of a sample is an attribute."""
    own = {key: settings.pop(key) for key in ("shape", "opset", "version", "inputs") if key in settings}
    inputs = own.pop("inputs", f"x {more}")
    return Sample(node(kind, inputs, **settings), constants or {}, **own)


def truth(kind: str, more: str, constants: Any, **settings: Any) -> Sample:
    """A comparison and the cast that makes numbers of it."""
    sample = of(kind, more, constants, **settings)
    sample.nodes.output[0] = "t"
    sample.nodes = [sample.nodes, node("Cast", "t", to=1)]
    return sample


def quantiser(kind: str, more: str, constants: Any, **settings: Any) -> Sample:
    """One of QONNX."""
    return of(kind, more, {name: np.float32(value) for name, value in constants.items()}, domain=GENERAL, **settings)


def on_grid(more: str, constants: Any, **settings: Any) -> Sample:
    """A truncation of whole numbers times its scale."""
    sample = quantiser("Trunc", more, constants, **settings)
    sample.nodes.input[0] = "q"
    sample.nodes = [sample.nodes, node("Quant", "x s z n", "q", GENERAL)]
    return sample


half = np.float32(0.5)
STEPS = np.array([[-0.5, 0.1, 0.2]] * 3, np.float32)
EVEN = (np.arange(7) * 0.25 - 0.5)[None].astype(np.float32)
POOL = {"kernel_shape": [3, 2], "strides": [2, 1]}
NORM = dict(zip("sbmv", (np.float32([1, -2, 3]), np.float32([0, 1, 2]), np.float32([0.5, 0, -1]), np.float32([1, 2, 0.5])), strict=True))
GRID = {"s": 0.25, "z": 0.0, "n": 3.0}

SAMPLES: list[Sample] = [
    of("Conv", "w b", {"w": W, "b": B}, pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2], group=1, auto_pad="NOTSET"),
    of("Conv", "w", {"w": W[:, :1].repeat(1, 1)[:3]}, group=3, kernel_shape=[3, 3]),
    of("Conv", "w", {"w": W}, auto_pad="SAME_UPPER", strides=[2, 2]),
    of("Conv", "w", {"w": W}, auto_pad="SAME_LOWER", strides=[2, 2], shape=(1, 3, 7, 6)),
    of("Conv", "w", {"w": W}, auto_pad="VALID"),
    of("Conv", "w b", {"w": LINE, "b": B}, pads=[2, 1], strides=[2], dilations=[2], shape=(1, 3, 9)),
    of("ConvTranspose", "w b", {"w": W.transpose(1, 0, 2, 3), "b": B}, strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 2]),
    of("ConvTranspose", "w", {"w": W.transpose(1, 0, 2, 3)[:, :2]}, group=3, dilations=[1, 2]),
    of("ConvTranspose", "w", {"w": W.transpose(1, 0, 2, 3)}, strides=[2, 2], output_shape=[12, 10]),
    of("ConvTranspose", "w", {"w": W.transpose(1, 0, 2, 3)}, strides=[2, 2], auto_pad="SAME_UPPER"),
    of("Gemm", "w c", {"w": MATRIX, "c": B}, shape=VECTOR, alpha=0.5, beta=2.0),
    of("Gemm", "w", {"w": MATRIX.T.copy()}, shape=VECTOR, transB=1, transA=0),
    of("Gemm", inputs="w x c", constants={"w": MATRIX.T.copy(), "c": np.float32([[1], [2], [3], [4]])}, shape=VECTOR, transB=1, beta=0.5),
    of("MatMul", "w", {"w": MATRIX}, shape=VECTOR),
    of("MatMul", "w", {"w": MATRIX}),
    of("MatMul", inputs="w x", constants={"w": RNG.normal(size=(4, 6)).astype(np.float32)}),
    of("MaxPool", **POOL, pads=[1, 0, 1, 1], dilations=[1, 2], ceil_mode=0, storage_order=0),
    of("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, shape=(1, 2, 7, 5)),
    of("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    of("MaxPool", kernel_shape=[3], strides=[2], pads=[1, 1], shape=(1, 3, 9)),
    of("AveragePool", **POOL, pads=[1, 0, 1, 1], count_include_pad=1, ceil_mode=0),
    of("AveragePool", **POOL, pads=[1, 0, 1, 1]),
    of("AveragePool", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER", shape=(1, 3, 7, 5)),
    of("AveragePool", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_LOWER", shape=(1, 3, 7, 5)),
    of("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, shape=(1, 3, 7, 5)),
    of("AveragePool", kernel_shape=[3], strides=[2], shape=(1, 3, 9)),
    of("AveragePool", **POOL, dilations=[1, 1], opset=19),
    of("GlobalAveragePool"),
    of("GlobalMaxPool"),
    of("ReduceMean", axes=[2, 3], keepdims=1),
    of("ReduceMean", axes=[-1, -2], keepdims=0),
    of("ReduceMean", "a", {"a": np.int64([2, 3])}, opset=18, keepdims=1, noop_with_empty_axes=0),
    of("ReduceMean", axes=[1]),
    of("ReduceSum", "a", {"a": np.int64([2, 3])}),
    of("ReduceSum", "a", {"a": np.int64([1])}, shape=VECTOR),
    of("ReduceMax", axes=[2, 3]),
    of("ReduceMin", axes=[3], keepdims=0),
    of("BatchNormalization", "s b m v", NORM, epsilon=0.01, momentum=0.9, opset=15, training_mode=0),
    of("Relu"),
    of("Clip", "l h", {"l": np.float32(-0.5), "h": half}),
    of("Clip", "_ h", {"h": half}),
    of("Clip", "l h", {"l": np.float32(0), "h": np.float32(3.4028235e38)}),
    of("Clip", min=-0.25, max=0.5, opset=10),
    of("Max", "z", {"z": np.zeros(1, np.float32)}),
    of("Min", "z h", {"z": np.float32(1), "h": half}),
    of("HardSigmoid", alpha=0.25, beta=0.4),
    of("PRelu", "s", {"s": np.zeros((3, 1, 1), np.float32)}),
    of("Floor"), of("Ceil"), of("Round"), of("Sign"), of("Identity"), of("Neg"),
    of("Dropout", "r t", {"r": half, "t": np.bool_(False)}, seed=1),
    of("Dropout", ratio=0.3, opset=10),
    of("Cast", to=1),
    Sample([node("Cast", "x", "i", to=7), node("Cast", "i", to=1)]),
    Sample([node("CastLike", "x like", "i"), node("Cast", "i", to=1)], {"like": np.int32(0)}, opset=15),
    of("Add", "c", {"c": np.float32([1, 2, 3]).reshape(3, 1, 1)}),
    of("Add", "c", {"c": RNG.normal(size=5).astype(np.float32)}),
    of("Add", inputs="x x"),
    of("Sub", inputs="c x", constants={"c": half}),
    of("Sub", "c", {"c": RNG.normal(size=(1, 3, 6, 5)).astype(np.float32)}),
    of("Mul", "c", {"c": np.float32([[1], [-2], [3], [4], [5], [6]])}),
    of("Div", "c", {"c": np.float32(3)}),
    of("Sum", "x c", {"c": half}), of("Mean", "x c", {"c": half}),
    of("Pow", "o", {"o": np.float32(1)}),
    truth("Greater", "c", {"c": half}), truth("GreaterOrEqual", "c", {"c": half}),
    truth("Less", "c", {"c": half}), truth("LessOrEqual", "c", {"c": np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1)}),
    Sample([node("Less", "x c", "t"), node("Not", "t", "n"), node("Cast", "n", to=1)], {"c": half}),
    Sample([node("Greater", "x c", "t"), node("Where", "t a b")], {"c": half, "a": np.float32(2), "b": np.float32(-1)}),
    of("Flatten", axis=1), of("Flatten", axis=-3),
    of("Reshape", "s", {"s": np.int64([1, -1])}), of("Reshape", "s", {"s": np.int64([0, 3, -1])}, opset=14, allowzero=0),
    of("Transpose", perm=[0, 2, 3, 1]), of("Transpose", perm=[0, 1, 3, 2]),
    of("Squeeze", "a", {"a": np.int64([1])}, shape=(1, 1, 6, 5)), of("Squeeze", axes=[1], shape=(1, 1, 6, 5), opset=11),
    of("Unsqueeze", "a", {"a": np.int64([1])}), of("Unsqueeze", axes=[2], opset=11),
    of("Slice", "s e a t", {"s": np.int64([1, 0]), "e": np.int64([3, 5]), "a": np.int64([1, -1]), "t": np.int64([1, 2])}),
    of("Slice", starts=[1], ends=[-1], axes=[2], opset=9),
    of("Gather", "i", {"i": np.int64([2, 0])}, axis=1), of("Gather", "i", {"i": np.int64(1)}, axis=1),
    of("GatherElements", "i", {"i": np.zeros((1, 3, 6, 2), INT)}, axis=3), of("GatherND", "i", {"i": np.int64([[0, 1]])}, batch_dims=0),
    Sample(node("Split", "x", "a y", axis=1, num_outputs=2), {}, (1, 4, 6, 5), 18),
    of("Expand", "s", {"s": np.int64([1, 3, 6, 5])}, shape=(1, 3, 1, 1)), of("Tile", "r", {"r": np.int64([1, 1, 2, 2])}),
    of("DepthToSpace", blocksize=2, mode="CRD", shape=(1, 8, 3, 2)), of("SpaceToDepth", blocksize=2, shape=(1, 3, 6, 4)),
    of("Resize", "_ s", {"s": np.float32([1, 1, 2, 2])}, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    of("Resize", "_ _ n", {"n": np.int64([1, 3, 9, 10])}, mode="nearest", opset=18),
    of("Pad", "p v", {"p": np.int64([0, 0, 1, 0, 0, 0, 2, 1]), "v": np.float32(0)}),
    of("Pad", "p v", {"p": np.int64([0, 0, 1, 0, 0, 0, 2, 1]), "v": half}),
    of("Pad", "p", {"p": np.int64([0, 0, 1, 2, 0, 0, 2, 1])}, mode="reflect"),
    of("Pad", "p", {"p": np.int64([0, 0, 1, 2, 0, 0, 2, 1])}, mode="edge"),
    of("Pad", "p _ a", {"p": np.int64([1, 2]), "a": np.int64([-2])}, opset=18),
    of("Pad", pads=[0, 0, 1, 0, 0, 0, 2, 1], value=0.5, opset=10),
    of("Concat", inputs="x x", axis=1), of("Concat", inputs="x x", axis=-1),
    of("QuantizeLinear", "s z", {"s": np.float32(0.125), "z": np.int8(3)}, axis=1), of("DequantizeLinear", "s", {"s": half}, axis=1),
    quantiser("Quant", "s z n", GRID, signed=1, narrow=0, rounding_mode="ROUND"),
    quantiser("IntQuant", "s z n", GRID | {"z": 1.0}, signed=0, narrow=1, rounding_mode="FLOOR"),
    quantiser("BipolarQuant", "s", {"s": 0.5}),
    on_grid("s z n m", {"s": 0.25, "z": 0, "n": 6, "m": 4}, rounding_mode="FLOOR"),
    on_grid("s z n c m", {"s": 0.25, "z": 0, "n": 6, "c": 0.5, "m": 3}, rounding_mode="ROUND", signed=1, narrow=0, version=2),
    quantiser("MultiThreshold", "t", {"t": STEPS}, out_scale=2.0, out_bias=-1.0, data_layout="NCHW", out_dtype="INT2"),
    quantiser("MultiThreshold", "t", {"t": EVEN}, out_scale=0.25, data_layout="NHWC", out_dtype="UINT3"),
    of("Conv", "w b", {"w": np.moveaxis(W[..., :], 1, -1).copy(), "b": B}, domain=CHANNELS_LAST, pads=[1, 1, 1, 1], shape=(1, 6, 5, 3)),
    of("MaxPool", domain=CHANNELS_LAST, kernel_shape=[2, 2], strides=[2, 2], shape=(1, 6, 5, 3)),
    of("AveragePool", domain=CHANNELS_LAST, kernel_shape=[2, 2], strides=[2, 2], shape=(1, 6, 5, 3)),
    of("BatchNormalization", "s b m v", NORM, domain=CHANNELS_LAST, epsilon=0.01, shape=(1, 6, 5, 3)),
    of("Softmax", axis=-1, shape=VECTOR), of("Softmax", opset=11, shape=VECTOR), of("LogSoftmax", axis=1, shape=VECTOR),
    of("Hardmax", axis=1, shape=VECTOR), of("Sigmoid", shape=VECTOR), of("Tanh", shape=VECTOR),
    of("ArgMax", axis=1, keepdims=0, shape=VECTOR, select_last_index=0),
    of("TopK", "k", {"k": np.int64([1])}, shape=VECTOR, axis=1, largest=1, sorted=1),
]  # fmt: skip

"""What PyTorch's operators become, by name, and what is said of those that become nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from eventsim.conversion.graph import Clip, Floor, Truncate
from eventsim.conversion.pytorch import elementwise, layers, moves
from eventsim.conversion.pytorch.call import Call
from eventsim.conversion.pytorch.recording import Recording
from eventsim.errors import ConversionError

OPERATORS: dict[str, Callable[[Call], Any]] = {
    # (Names without the underscores before and behind them: what works in place, or on one device, is the same.)
    "convolution": layers.convolution,
    "addmm": layers.add_product,
    "mm": layers.product,
    "bmm": layers.products,
    "mv": layers.product_with_vector,
    "linear": layers.linear,
    **dict.fromkeys(
        ("native_batch_norm", "native_batch_norm_legit", "native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm"),
        layers.batch_norm,
    ),
    "avg_pool2d": layers.average_pool,
    "adaptive_avg_pool2d": layers.adaptive_average_pool,
    "max_pool2d_with_indices": layers.max_pool,
    "adaptive_max_pool2d": layers.adaptive_max_pool,
    "mean": layers.mean,
    "sum": layers.total,
    **dict.fromkeys(("amax", "max"), layers.largest),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d", "upsample_linear1d"), layers.interpolate),
    **dict.fromkeys(("softmax", "log_softmax"), layers.softmax),
    **dict.fromkeys(("sigmoid", "log_sigmoid_forward"), layers.sigmoid),
    "relu": elementwise.one(Clip(0.0, np.inf)),
    "relu6": elementwise.one(Clip(0.0, 6.0)),
    "floor": elementwise.one(Floor()),
    **dict.fromkeys(("trunc", "fix"), elementwise.one(Truncate())),
    "ceil": elementwise.ceil,
    "round": elementwise.round_,
    "fake_quantize_per_tensor_affine_cachemask": elementwise.fake_quantize,
    "clamp": elementwise.clamp,
    "clamp_min": elementwise.clamp_min,
    "clamp_max": elementwise.clamp_max,
    "hardtanh": elementwise.hardtanh,
    "threshold": elementwise.threshold,
    "maximum": elementwise.larger,
    "minimum": elementwise.smaller,
    "to_copy": elementwise.cast,
    "add": elementwise.add,
    "sub": elementwise.subtract,
    "rsub": elementwise.subtract_from,
    "neg": elementwise.negative,
    "mul": elementwise.multiply,
    "div": elementwise.divide,
    "floor_divide": elementwise.floor_divide,
    **dict.fromkeys(("sign", "sgn"), elementwise.sign),
    "heaviside": elementwise.heaviside,
    "ge": elementwise.compare(1.0),
    "gt": elementwise.compare(-1.0),
    "le": elementwise.compare(-1.0, falls=True),
    "lt": elementwise.compare(1.0, falls=True),
    **dict.fromkeys(("bitwise_not", "logical_not"), elementwise.opposite),
    "where": elementwise.where,
    "masked_fill": elementwise.masked_fill,
    **dict.fromkeys(
        (
            "cat", "channel_shuffle", "clone", "constant_pad_nd", "flip", "gather", "im2col", "index", "index_select", "index_put",
            "native_channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "reflection_pad1d", "reflection_pad2d", "repeat",
            "replication_pad1d", "replication_pad2d", "roll", "select_scatter", "slice_scatter", "stack",
            "unsafe_view", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest_exact1d", "upsample_nearest_exact2d",
        ),
        moves.move,
    ),
    "copy": moves.copy,
    **dict.fromkeys(("fill", "zero"), moves.constant),
    **dict.fromkeys(
        (
            "empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like",
        ),
        moves.shape_only,
    ),
}  # fmt: skip

_CURVED = "its curve has no spiking counterpart; train with ReLU"
_BATCH = "normalises by statistics of each image, which has no spiking counterpart; train with batch norm"
_READ = "decides by values of the input, in Python, what to compute; only the same operations for every image can be converted"
_ADVICE: dict[str, str] = {
    **dict.fromkeys(("leaky_relu", "prelu_kernel", "prelu"), "what is below zero needs spikes of its own; train with ReLU"),
    **dict.fromkeys(("gelu", "silu", "elu", "hardswish", "hardsigmoid", "softplus", "mish", "celu", "tanh", "exp", "log", "erf"), _CURVED),
    **dict.fromkeys(("pow", "sqrt", "rsqrt", "reciprocal", "square", "sin", "cos"), "its curve has no spiking counterpart"),
    **dict.fromkeys(("native_layer_norm", "native_group_norm", "linalg_vector_norm", "var_mean", "std"), _BATCH),
    **dict.fromkeys(("local_scalar_dense", "nonzero", "equal", "is_nonzero"), _READ),
    **dict.fromkeys(("argmax", "topk", "sort"), "return the outputs themselves: the largest is the answer"),
    "abs": "write it as relu(x) + relu(-x)",
    **dict.fromkeys(("bitwise_and", "bitwise_or", "logical_and", "logical_or"), "two comparisons at once have no spiking counterpart"),
    **dict.fromkeys(("remainder", "fmod", "frac"), "what is left of a division has no spiking counterpart"),
    **dict.fromkeys(("conv3d", "max_pool3d_with_indices", "avg_pool3d", "adaptive_avg_pool3d"), "three dimensions; supported: one and two"),
    "scaled_dot_product_attention": "attention has no spiking counterpart",
}
SUPPORTED = (
    "convolutions (1-D and 2-D, transposed too), linear layers, batch norm, ReLU, ReLU6, Hardtanh, clamp, floor, round, sign, "
    "comparisons with constants, where, pooling, means and sums, padding, reshapes, slices, concatenation, upsampling, additions, "
    "multiplication by constants"
)


def operate(recording: Recording, function: Any, arguments: dict[str, Any], name: str) -> list[Any]:
    """Do to a recording what an operator does to tensors.

    Parameters
    ----------
    recording : Recording
    function : torch._ops.OpOverload
    arguments : dict
        By the names of its schema; tensors that depend on the input are values.
    name : str
        For messages.

    Returns
    -------
    list
        For each of its results: a node, what is hidden, tokens, or nothing (a constant).

    Raises
    ------
    ConversionError
        An operator that is not supported, or an argument of it that is not understood.
    """
    full = function._schema.name
    operator = full.removeprefix("aten::").strip("_")
    handler = OPERATORS.get(operator)
    if handler is None:
        advice = _ADVICE.get(operator)
        shown = f"{operator}: " if f"({operator})" not in name else ""
        raise ConversionError(
            f"{name}: {shown}not supported: {advice}" if advice else f"{name}: {shown}not supported; supported: {SUPPORTED}"
        )
    call = Call(recording, function, arguments, name)
    made = handler(call)
    call.check()
    return made if isinstance(made, list) else [made]

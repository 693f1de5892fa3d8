"""The image as a file takes it: its shape, and whether its channels are first or last."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eventsim.conversion.onnx.domains import CHANNELS_LAST
from eventsim.conversion.onnx.values import Value
from eventsim.errors import ConversionError
from eventsim.model.limits import MAX_NEURONS

# Operators on numbers by themselves: whether channels are first or last, what comes behind them says.
_ELEMENTWISE = {"Add", "BipolarQuant", "Cast", "Clip", "Div", "Identity", "IntQuant", "Mul", "MultiThreshold", "Quant", "Relu", "Sub"}
# Channels that images have, where nothing else tells which of their axes is that of the channels.
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Layout:
    """How a file's input holds an image.

    Attributes
    ----------
    shape : tuple of int
        (channels, height, width) or (features,).
    batch : int
        Images at a time.
    last : bool
        Channels are the last axis.
    dims : tuple of int
        Of the tensor, without the batch.
    kind : str
        ``whole`` numbers or ``real`` ones.
    type : numpy.dtype
        Of the tensor.
    remarks : list of str
    """

    shape: tuple[int, ...]
    batch: int
    last: bool
    dims: tuple[int, ...] = ()
    type: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))
    remarks: list[str] = field(default_factory=list)

    def value(self, number: int) -> Value:
        """The tensor of the graph's input node."""
        size = math.prod(self.shape)
        places = np.arange(self.batch * size, dtype=np.int64).reshape(self.batch, *self.shape)
        return Value(number, self.ordered(places), size, "real" if self.type.kind == "f" else "whole")

    def ordered(self, images: Any) -> Any:
        """Arrays (images, \\*shape) as the tensor has them."""
        if self.last:
            return np.moveaxis(images, 1, -1)
        return images.reshape(len(images), *self.dims)


def layout_of(tensor: Any, nodes: list[Any], given: tuple[int, ...] | None) -> Layout:
    """What a file says of its input, and what the user does.

    Parameters
    ----------
    tensor : onnx.ValueInfoProto
    nodes : list of onnx.NodeProto
        Those that the answer depends on.
    given : tuple of int or None
        (channels, height, width) or (features,).

    Raises
    ------
    ConversionError
        The shape is open, or another one than the given.
    """
    from onnx.helper import tensor_dtype_to_np_dtype

    if not tensor.type.HasField("tensor_type"):
        raise ConversionError(f"its input {tensor.name} is no tensor")
    kind = np.dtype(tensor_dtype_to_np_dtype(tensor.type.tensor_type.elem_type or 1))
    has_shape = tensor.type.tensor_type.HasField("shape")
    dims = tuple(max(0, d.dim_value) for d in tensor.type.tensor_type.shape.dim) if has_shape else ()
    batch, inner = (max(1, dims[0]), dims[1:]) if dims else (1, ())
    remarks = []
    if kind.kind in "iu":
        remarks.append(f"the input {tensor.name} takes whole numbers ({kind}): pixels 0..255 have mean 0 and std 1/255 = 0.00392157")
    if not inner and given is not None:
        inner = given
    last = len(inner) == 3 and _channels_last(tensor.name, nodes, inner, given)
    shape = _shape(tensor.name, inner, last, given)
    if batch * math.prod(shape) > MAX_NEURONS:
        raise ConversionError(f"its input {tensor.name} has the shape {(batch, *shape)}; more than {MAX_NEURONS} numbers")
    if last:
        remarks.append(f"the input {tensor.name} has its channels last")
    # A tensor may have the same numbers in fewer or more axes than the image: (28, 28) for (1, 28, 28).
    filled = tuple(n or m for n, m in zip(inner, _as_inner(shape, inner, last), strict=True))
    return Layout(shape, batch, last, filled, kind, remarks)


def _as_inner(shape: tuple[int, ...], inner: tuple[int, ...], last: bool) -> tuple[int, ...]:
    if last:
        return (*shape[1:], shape[0])
    if len(shape) == len(inner):
        return shape
    if len(inner) == 2 and len(shape) == 3:
        return shape[1:] if shape[0] == 1 and inner[0] in (0, shape[1]) else (shape[0], shape[2])
    return inner


def _shape(name: str, inner: tuple[int, ...], last: bool, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """(channels, height, width) or (features,)."""
    known = inner and all(inner)
    first = (inner[-1], *inner[:-1]) if last else inner
    if given is not None:
        if len(given) not in (1, 3) or min(given) < 1:
            raise ConversionError(f"an input shape {given}; expected (channels, height, width) or (features,)")
        fits = len(given) == len(first) and all(n in (0, m) for n, m in zip(first, given, strict=True))
        if not fits and not (known and len(first) < 3 and math.prod(first) == math.prod(given) and len(given) == 3 and 1 in given[:2]):
            raise ConversionError(f"the input shape {given} was given, the file's input {name} has {first} (channel first)")
        return given
    if not known or len(inner) > 3:
        raise ConversionError(f"the file leaves the shape of its input open, {inner}; give it: (channels, height, width)")
    # A signal of one dimension is an image of one row.
    return (first[0], 1, first[1]) if len(first) == 2 else first


def _channels_last(name: str, nodes: list[Any], inner: tuple[int, ...], given: tuple[int, ...] | None) -> bool:
    """Whether an image's channels are its last axis: by what comes first, by what the user says, or by how many there are."""
    behind, found = {name}, None
    for node in nodes:
        if not behind.intersection(node.input):
            continue
        perm = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), None)
        if (node.op_type == "Transpose" and perm == (0, 3, 1, 2)) or node.domain == CHANNELS_LAST:
            found = True
        elif node.op_type in ("Conv", "MaxPool", "AveragePool", "ConvTranspose"):
            found = False
        elif node.op_type in _ELEMENTWISE:
            behind.update(node.output)
        if found is not None:
            return found
    if given is not None and len(given) == 3:
        agrees = [all(n in (0, m) for n, m in zip(dims, given, strict=True)) for dims in (inner, (inner[2], *inner[:2]))]
        return agrees == [False, True]
    return inner[2] in _CHANNELS and inner[0] not in (*_CHANNELS, 0)

"""What moves numbers about and computes nothing: done to the places by ONNX's own reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eventsim.conversion.graph import Concatenate, Pad
from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.registry import operator
from eventsim.conversion.onnx.values import Value


def _computed(call: Call, first: Any) -> list[Any]:
    """The outputs of the node with something else as its first input; everything else must be constant."""
    args = [first, *(call.constant_or_none(i) for i in range(1, len(call.args)))]
    call.meaningless(*(a.name for a in call.node.attribute))  # the reference heeds them
    return call.compute(args)


@operator("DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape", "Slice", "SpaceToDepth", "Split")
def moved(call: Call) -> list[Value]:
    """Places instead of numbers."""
    value = call.value()
    return [value.moved(places.astype(np.int64)) for places in _computed(call, value.places) if places is not None]


operator("Squeeze", "Tile", "Transpose", "Unsqueeze")(moved)


@operator("Shape", "Size")
def shape(call: Call) -> Any:
    """A constant."""
    return _computed(call, call.value().places)


@operator("Resize")
def resize(call: Call) -> Value:
    """To the nearest numbers."""
    if call.attribute("mode", "nearest") != "nearest":
        raise call.error(f"mode {call.attribute('mode')}; supported: nearest")
    if call.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise call.error("tf_crop_and_resize is not supported")
    value = call.value()
    # The reference computes in floats, which hold places exactly.
    (places,) = _computed(call, value.places.astype(np.float64))
    return value.moved(np.rint(places).astype(np.int64))


@operator("Upsample")
def upsample(call: Call) -> Value:
    """To the nearest numbers below, as opsets before 10 had it."""
    value = call.value()
    if call.attribute("mode", "nearest") != "nearest":
        raise call.error(f"mode {call.attribute('mode')}; supported: nearest")
    scales = call.constant(1, "scales")
    factors = np.ravel(call.attribute("scales", ()) if scales is None else scales).astype(np.float64)
    if factors.shape != (len(value.shape),) or not np.all(factors >= 1) or math.prod(factors) * value.places.size > call.most:
        raise call.error(f"scales {factors.tolist()!s:.60} for a value of shape {value.shape}; expected one from 1 for each axis")
    places = value.places
    for axis, (size, factor) in enumerate(zip(value.shape, factors, strict=True)):
        places = places.take(np.minimum(np.floor(np.arange(int(size * factor)) / factor), size - 1).astype(np.int64), axis)
    return value.moved(places)


@operator("Pad")
def pad(call: Call) -> Value:
    """More cells at the ends of axes."""
    value = call.value()
    mode = call.attribute("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise call.error(f"mode {mode}")
    given = call.attribute("pads", call.attribute("paddings")) if call.constant(1, "paddings") is None else call.constant(1, "paddings")
    fill = call.constant(2, "values")
    number = float(call.attribute("value", 0.0) if fill is None or not fill.size else fill.reshape(()))
    rank = len(value.shape)
    axes = call.constant(3, "axes")
    along = list(range(rank)) if axes is None else [call.axis(axis, rank) for axis in np.ravel(axes)]
    sides = np.asarray(() if given is None else given, np.int64).reshape(2, -1)
    if sides.shape[1] != len(along):
        raise call.error(f"pads {sides.ravel().tolist()} for {len(along)} axes")
    widths = np.zeros((rank, 2), np.int64)
    widths[along] = sides.T
    places = value.places
    # Less than none cuts cells off.
    cut = tuple(slice(max(0, -before), n - max(0, -after)) for (before, after), n in zip(widths, value.shape, strict=True))
    value, widths = value.moved(places[cut]), np.maximum(widths, 0)
    call.check_size(math.prod(n + before + after for n, (before, after) in zip(value.shape, widths.tolist(), strict=True)))
    if mode != "constant":
        return value.moved(np.pad(value.places, widths, mode))
    if number == 0 or not widths.any():
        return value.moved(np.pad(value.places, widths, constant_values=-1))
    if widths[0].any():
        raise call.error("a padding of the images of a batch")
    inner = call.images(value)
    node = call.node_of(value, inner[:, None] if inner.ndim == 2 else inner)
    pairs = [(int(before), int(after)) for before, after in widths[1:]]
    made = call.graph.add(Pad(tuple([pairs[0], (0, 0), pairs[1]] if inner.ndim == 2 else pairs), "constant", number), (node,), call.name)
    return call.laid_out(made, tuple(n + before + after for n, (before, after) in zip(inner.shape, pairs, strict=True)), 0)


@operator("Concat")
def concatenate(call: Call) -> Value:
    """Along the channels, or the features."""
    values = [call.value(i) for i in range(len(call.args))]
    rank = len(values[0].shape)
    axis = call.axis(call.attribute("axis", 1), rank)
    if len(values) == 1:
        return values[0]
    parts = [call.one_image(value) for value in values]
    along = parts[0][1]
    if any(len(value.shape) != rank for value in values) or any(part[1] != along for part in parts) or axis == along:
        raise call.error(f"a concatenation along axis {axis} of values of shapes {', '.join(str(v.shape) for v in values)}")
    inner = axis - (along is not None and along < axis)
    # The axis along which they lie one behind the other is the node's first.
    moved = [np.moveaxis(places, inner, 0) for places, _ in parts]
    nodes = [call.node_of(value, as_image(places)) for value, places in zip(values, moved, strict=True)]
    made = call.graph.add(Concatenate(0), nodes, call.name)
    shape = (sum(len(places) for places in moved), *moved[0].shape[1:])
    together = np.moveaxis(np.arange(math.prod(shape), dtype=np.int64).reshape(shape), 0, inner)
    return call.batched(made, together, along)


def as_image(places: Any) -> Any:
    """Places of one image as a node has them: (features,), or (channels, rows, columns)."""
    return places if places.ndim == 1 else places.reshape(len(places), places.shape[1], -1) if places.ndim > 2 else places[:, None, :]

"""A node at work: what it is given, and which of that its operator has looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.conversion.graph import Add, Graph, Operator, Scale
from eventsim.conversion.onnx.values import Kind, Places, Value, of_each_image
from eventsim.conversion.places import take
from eventsim.errors import ConversionError
from eventsim.model.limits import MAX_NEURONS

Array = npt.NDArray[np.float64]


class Call:
    """A node, its inputs and its attributes.

    What an operator does not ask for must be absent or at its default: :meth:`refuse_unread` says so otherwise. So an attribute that is
    new, or that an operator has forgotten, is an error and never a silent change of meaning.

    Parameters
    ----------
    graph : Graph
        That the node becomes a part of.
    node : onnx.NodeProto
    args : list
        A :class:`~eventsim.conversion.onnx.values.Value`, an array, or None (left out) each.
    name : str
        For messages.
    opset : int
        Version of the node's domain.
    batch : int
        Images in a tensor, 1 where the file leaves it open.
    compute : callable
        The outputs of the node for other inputs, which are arrays.
    """

    def __init__(
        self, graph: Graph, node: Any, args: list[Any], name: str, opset: int, batch: int, compute: Callable[[list[Any]], list[Any]]
    ):
        from onnx.helper import get_attribute_value

        self.graph, self.node, self.name, self.opset, self.batch, self.compute = graph, node, name, opset, batch, compute
        self.args = args
        self._attributes = {a.name: get_attribute_value(a) for a in node.attribute}
        self._unread = set(self._attributes)
        self._unseen = {i for i, arg in enumerate(args) if arg is not None}

    # What it is given

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value; texts as str, lists as tuples of int or float."""
        self._unread.discard(name)
        value = self._attributes.get(name, default)
        value = default if value is None else value
        if isinstance(value, bytes):
            return value.decode()
        return tuple(value) if isinstance(value, (list, tuple)) else value

    def meaningless(self, *names: str) -> None:
        """Attributes that change nothing here."""
        self._unread.difference_update(names)

    def input(self, place: int) -> Any:
        """An input, None where it is left out."""
        self._unseen.discard(place)
        return self.args[place] if place < len(self.args) else None

    def value(self, place: int = 0) -> Value:
        """An input that must depend on the network's input."""
        arg = self.input(place)
        if not isinstance(arg, Value):
            raise self.error(f"its input {place + 1} is a constant; expected a value that depends on the network's input")
        return arg

    def constant(self, place: int, what: str) -> Array | None:
        """An input that must be a constant, as float64; None where it is left out."""
        arg = self.input(place)
        if isinstance(arg, Value):
            raise self.error(f"{what} that depend on the network's input are not supported")
        return None if arg is None else np.asarray(arg, np.float64)

    def constant_or_none(self, place: int) -> Any:
        """An input that must be a constant, in its own type; None where it is left out."""
        self.constant(place, f"its input {place + 1}: values")
        return self.args[place]

    def needed(self, place: int, what: str) -> Array:
        """A constant input that must be there."""
        values = self.constant(place, what)
        if values is None:
            raise self.error(f"has no {what}")
        return values

    def integers(self, place: int, attribute: str, what: str) -> tuple[int, ...] | None:
        """Whole numbers, which older opsets give as an attribute and newer ones as an input; None where they are left out."""
        values = self.constant(place, what) if place < len(self.args) else None
        found = self.attribute(attribute) if values is None else tuple(int(n) for n in np.ravel(values))
        return None if found is None else tuple(int(n) for n in found)

    def refuse_unread(self) -> None:
        """Refuse what the operator has not looked at, unless it is at its default.

        Raises
        ------
        ConversionError
        """
        for name in sorted(self._unread):
            value = self._attributes[name]
            if value != self._default(name):
                shown = value.decode(errors="replace") if isinstance(value, bytes) else value
                raise self.error(f"its attribute {name} = {shown!s:.60} is not supported")
        for place in sorted(self._unseen):
            raise self.error(f"its input {place + 1} ({self.node.input[place]}) is not supported")

    def _default(self, name: str) -> Any:
        schema = schema_of(self.node, self.opset)
        attribute = None if schema is None else schema.attributes.get(name)
        if attribute is None or not attribute.default_value.name:
            return None
        from onnx.helper import get_attribute_value

        return get_attribute_value(attribute.default_value)

    @property
    def most(self) -> int:
        """Numbers that a tensor may have."""
        return MAX_NEURONS * self.batch

    def check_size(self, numbers: float) -> None:
        """Refuse a tensor that would be larger than any network's."""
        if numbers > self.most:
            raise self.error(f"makes more than {self.most} numbers")

    def error(self, message: str) -> ConversionError:
        """One that names the node."""
        return ConversionError(f"{self.name}: {message}")

    def axis(self, axis: Any, rank: int) -> int:
        """An axis of a tensor of so many, counted from the front."""
        number = int(axis)
        if not -rank <= number < rank:
            raise self.error(f"axis {number} of a value of {rank} axes")
        return number % rank

    # What it becomes

    def same_places(self, operator: Operator, value: Value, kind: Kind = "real") -> Value:
        """An operator that is done to each number by itself."""
        value = self.solid(value)
        made = self.graph.add(operator, (value.number,), self.name)
        return Value(made, value.places, value.size, kind)

    def images(self, value: Value, axis: int = 0) -> Places:
        """Which of the node's numbers the tensor of one image holds, without its batch axis."""
        if not value.places.ndim or value.shape[axis] != self.batch:
            raise self.error(f"a value of shape {value.shape}, of which axis {axis} should count the images ({self.batch})")
        places = of_each_image(value.places, axis, value.size)
        if places is None:
            raise self.error("numbers of several images are mixed; export the model with a batch of 1")
        return places

    def one_image(self, value: Value) -> tuple[Places, int | None]:
        """As :meth:`images`, wherever the batch axis is; also which it is, None in a tensor of one image that has none."""
        if self.batch == 1:
            has = value.places.ndim > 1 and value.shape[0] == 1
            return (value.places[0], 0) if has else (value.places, None)
        for axis, count in enumerate(value.shape):
            if count == self.batch and (places := of_each_image(value.places, axis, value.size)) is not None:
                return places, axis
        raise self.error("numbers of several images are mixed; export the model with a batch of 1")

    def laid_out(self, number: int, shape: tuple[int, ...], axis: int | None, kind: Kind = "real") -> Value:
        """A tensor of a node's numbers in order: of one image it has a shape, and the images lie along an axis."""
        return self.batched(number, np.arange(math.prod(shape), dtype=np.int64).reshape(shape), axis, kind)

    def batched(self, number: int, places: Places, axis: int | None, kind: Kind = "real") -> Value:
        """A tensor of a node's numbers at the places of one image, and the images along an axis (None: one, without an axis)."""
        size = math.prod(self.graph.shape(number))
        if axis is None:
            return Value(number, places, size, kind)
        all_places = places[None] + np.arange(self.batch).reshape(-1, *[1] * places.ndim) * size
        return Value(number, np.moveaxis(all_places, 0, axis), size, kind)

    def solid(self, value: Value) -> Value:
        """The value with cells of zeros (padding) as numbers of a node, which something may be done to."""
        if not np.any(value.places < 0):
            return value
        places, axis = self.one_image(value)
        return replace(self.laid_out(self.node_of(value, _as_node(places)), places.shape, axis, value.kind), head=value.head)

    def node_of(self, value: Value, places: Places) -> int:
        """The number of a node whose value is the numbers at these places, in that shape: (channels, rows, columns) or (features,).

        ``value`` says of which node, ``places`` are its :meth:`images`, perhaps with other axes.
        """
        return take(self.graph, value.number, places, self.name)

    def scale(self, value: Value, factor: Any, shift: Any, kind: Kind = "real") -> Value:
        """``factor * value + shift``; arrays lie as ONNX broadcasts them, along the last axes."""
        factor, shift = np.asarray(factor, np.float64), np.asarray(shift, np.float64)
        shape = np.broadcast_shapes(value.shape, factor.shape, shift.shape)
        self.check_size(math.prod(shape))
        if shape != value.shape:
            value = value.moved(np.broadcast_to(value.places, shape))
        if factor.size == 1 and shift.size == 1:
            value = self.solid(value)
            made = self.graph.add(Scale(factor.reshape(()), shift.reshape(())), (value.number,), self.name)
            return Value(made, value.places, value.size, kind)
        spread = [self._spread(value, np.broadcast_to(constant, shape)) for constant in (factor, shift)]
        if any(one is None for one in spread) or np.any(value.places < 0):
            # Numbers that are left out, or that stand at several places: they get a node of their own first.
            places, axis = self.one_image(value)
            value = self.laid_out(self.node_of(value, _as_node(places)), places.shape, axis)
            spread = [self._spread(value, np.broadcast_to(constant, shape)) for constant in (factor, shift)]
        first, second = spread
        if first is None or second is None:
            raise self.error("a constant that differs from image to image of a batch")
        target = self.graph.shape(value.number)
        made = self.graph.add(Scale(_least(first, target), _least(second, target)), (value.number,), self.name)
        return Value(made, value.places, value.size, kind)

    def _spread(self, value: Value, constant: Array) -> Array | None:
        """A constant per place as one per number of the node; None where numbers have none or several."""
        if constant.size and np.all(constant == constant.flat[0]):
            return np.full(value.size, constant.flat[0])
        at = value.places % value.size
        spread = np.full(value.size, np.nan)
        spread[at] = constant
        known = np.isfinite(spread)
        return spread if known.all() and np.array_equal(spread[at], constant) else None

    def add(self, first: Value, second: Value) -> Value:
        """The sum of two values, which ONNX broadcasts."""
        shape = np.broadcast_shapes(first.shape, second.shape)
        self.check_size(math.prod(shape))
        first, second = (self.solid(value.moved(np.broadcast_to(value.places, shape))) for value in (first, second))
        same = np.array_equal(first.places, second.places) and self.graph.shape(first.number) == self.graph.shape(second.number)
        if same:
            made = self.graph.add(Add(), (first.number, second.number), self.name)
            return Value(made, first.places, first.size)
        (one, axis), (other, along) = (self.one_image(value) for value in (first, second))
        if axis != along:
            raise self.error("the images of a batch lie along different axes; export the model with a batch of 1")
        # In the order of the first one where that holds every number once, else in the tensor's own.
        order = np.argsort(one, axis=None)
        target = self.graph.shape(first.number)
        if one.size == first.size and np.array_equal(one.ravel()[order], np.arange(first.size)):
            number = self.node_of(second, other.ravel()[order].reshape(target))
            return Value(self.graph.add(Add(), (first.number, number), self.name), first.places, first.size)
        numbers = [self.node_of(value, _as_node(at)) for value, at in ((first, one), (second, other))]
        return self.laid_out(self.graph.add(Add(), numbers, self.name), one.shape, axis)


def schema_of(node: Any, opset: int) -> Any:
    """ONNX's own description of a node's operator, None where it has none (QONNX)."""
    from onnx import defs

    try:
        return defs.get_schema(node.op_type, opset, "" if node.domain == "ai.onnx" else node.domain)
    except defs.SchemaError:
        return None


def _as_node(places: Places) -> Places:
    """Places of one image in the shape of a node: a vector, or an image of one row where there is but one axis behind the channels."""
    if places.ndim == 3 or places.ndim == 1:
        return places
    if places.ndim == 2:
        return places[:, None, :]
    return places.reshape(-1)


def _least(spread: Array, shape: tuple[int, ...]) -> Array:
    """Numbers of a node in as few as say the same: one, one per channel, or all of them."""
    if np.all(spread == spread[0]):
        return spread[0]
    rows = spread.reshape(shape[0], -1)
    return rows[:, 0] if np.all(rows == rows[:, :1]) else spread.reshape(shape)

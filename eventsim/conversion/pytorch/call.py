"""An operator of PyTorch at work, with its arguments by name: what is not asked for is not understood."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from eventsim.conversion.graph import Array, Graph, Operator, Scale, Weights
from eventsim.conversion.pytorch.recording import Made, Recording, Value, array
from eventsim.errors import ConversionError


class Call:
    """One operator that is called on values.

    Attributes
    ----------
    recording : Recording
    function : torch._ops.OpOverload
        The operator itself.
    name : str
        For messages.
    arguments : dict
        Those given, by the names of its schema; tensors that depend on the network's input are values.
    """

    def __init__(self, recording: Recording, function: Any, arguments: dict[str, Any], name: str):
        self.recording = recording
        self.function = function
        self.name = name
        self.arguments = arguments
        self._asked: set[str] = set()

    @property
    def graph(self) -> Graph:
        """That it becomes a part of."""
        return self.recording.graph

    def error(self, message: str) -> ConversionError:
        """One that names it."""
        return ConversionError(f"{self.name}: {message}")

    def ask(self, name: str, default: Any = None) -> Any:
        """An argument, as it is given or by the default of the operator."""
        self._asked.add(name)
        if name in self.arguments:
            return self.arguments[name]
        for argument in self.function._schema.arguments:
            if argument.name == name and argument.has_default_value():
                return argument.default_value
        return default

    def ignore(self, *names: str) -> None:
        """Arguments that change nothing here, whatever they are."""
        self._asked.update(names)

    def value(self, name: str = "self") -> Value:
        """An argument that depends on the network's input."""
        value = self.ask(name)
        if not isinstance(value, Value):
            raise self.error("takes the network's input elsewhere than expected; what depends on it cannot be a weight")
        return value

    def constant(self, name: str) -> Array | None:
        """An argument that is a constant: float64."""
        value = self.ask(name)
        if value is None:
            return None
        if isinstance(value, Value):
            raise self.error(f"its {name} depends on the network's input; expected a constant")
        return array(value) if isinstance(value, torch.Tensor) else np.asarray(value, np.float64)

    def weights(self, name: str) -> Weights:
        """Weights: float64 if they were that, else float32, so that large layers need no more memory than they had."""
        value = self.ask(name)
        if isinstance(value, Value):
            raise self.error("weights that depend on the network's input are not supported")
        value = value.detach().cpu()
        weights: Weights = (value if value.element_size() > 4 else value.float()).numpy()
        return weights

    def number(self, name: str, default: float) -> float:
        """An argument that is one number; default where none is given."""
        value = self.constant(name)
        if value is None:
            return default
        if np.any(value != value.flat[0]):
            raise self.error(f"its {name} differs between numbers; expected one for all")
        return float(value.flat[0])

    def check(self) -> None:
        """Raise ConversionError if an argument was given that nobody asked for, and that is not what it is by default."""
        for argument in self.function._schema.arguments:
            if argument.name in self._asked or argument.name not in self.arguments or argument.is_out:
                continue
            value = self.arguments[argument.name]
            default = argument.default_value if argument.has_default_value() else None
            if value is None or (not isinstance(value, (torch.Tensor, Value)) and value == default):
                continue
            what = "a tensor" if isinstance(value, (torch.Tensor, Value)) else value
            raise self.error(f"{self.function._schema.name} with {argument.name} = {what} is not understood; leave it out")

    def add(self, operator: Operator, made: Made) -> Made:
        """An operator on each number of a node by itself."""
        return Made(self.graph.add(operator, (made.number,), self.name), made.places)

    def scale(self, made: Made, factor: Any = 1.0, shift: Any = 0.0) -> Made:
        """A node times a factor, plus a shift: constants as the node has its numbers (:meth:`Recording.constant`)."""
        factor, shift = np.asarray(factor, np.float64), np.asarray(shift, np.float64)
        if np.all(factor == 1) and np.all(shift == 0):
            return made
        return self.add(Scale(factor, shift), made)

    def new(self, operator: Operator, made: Made) -> Made:
        """An operator on a node in its own order; the result is in the order of its own value."""
        number = self.graph.add(operator, (made.number,), self.name)
        return Made(number, np.arange(self.recording.batch * int(np.prod(self.graph.shape(number)))))


def spread(value: Value, shape: tuple[int, ...]) -> Value:
    """A value as it is broadcast to a shape."""
    return value if value.shape == shape else Value(value.tokens.expand(shape), value.real.expand(shape))


def pair(value: Any) -> tuple[int, int]:
    """One number for both axes, or one each."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return int(values[0]), int(values[-1])

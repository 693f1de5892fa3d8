"""A source network as layers: populations to be, and what they are in the source, which can be evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from eventsim.conversion.operators import Shape
from eventsim.conversion.terms import IMAGE, Array, Term, apply
from eventsim.errors import ConversionError


@dataclass(frozen=True)
class Activation:
    """``a(z) = clip(z, low, high) - low``, or for ``steps`` ``clip(floor(z), low, high) - low``, or for ``sign`` 1 where z > 0, 0 where
    z < 0, and ``(zero + 1) / 2`` where z = 0.

    ``even``, of ``steps``, is the floor that rounding half to even makes of a value and a half: of an odd whole number it is one less.

    ``extreme`` passes on what an :class:`Extreme` makes of another layer's values. ``rate`` is a clip that was a spiking neuron's rate
    in the source network already.

    Every activation starts at 0, so that a silent neuron says 0; what is missing from the source's activation (offset, scale)
    is in the terms and biases that use it.
    """

    kind: Literal["relu", "clip", "rate", "steps", "sign", "extreme"]
    low: float = 0.0
    high: float = np.inf
    zero: float = 1.0
    even: bool = False

    def __call__(self, z: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        if self.kind == "sign":
            return np.heaviside(z, np.asarray((self.zero + 1) / 2, z.dtype))
        if self.kind == "extreme":
            return z
        values = z if self.kind != "steps" else rounded(z, self.even)
        return np.clip(values, self.low, self.high) - self.low


@dataclass(frozen=True, eq=False)
class Layer:
    """A population to be: its input and its activation (None for the output).

    Attributes
    ----------
    name : str
    shape : tuple of int
        (height, width, channels) or (neurons,).
    terms : tuple of Term
    bias : float64, () or (channels,) or the full shape
    activation : Activation or None
    """

    name: str
    shape: Shape
    terms: tuple[Term, ...]
    bias: Array
    activation: Activation | None


@dataclass
class SourceNetwork:
    """The source network as layers, in an order in which every layer follows those that it takes values from.

    Attributes
    ----------
    input_shape : tuple of int
        (height, width, channels); a vector of N features is (1, 1, N).
    input_factor, input_shift : float64 (channels,)
        ``x = factor * value + shift`` is what the first layers see of the network's input value.
    layers : list of Layer
        The last one is the output.
    remarks : list of str
    """

    input_shape: Shape
    input_factor: Array
    input_shift: Array
    layers: list[Layer]
    remarks: list[str] = field(default_factory=list)

    def evaluate(
        self, values: npt.ArrayLike, watch: Callable[[Layer, npt.NDArray[np.floating]], None] | None = None, dtype: type = np.float64
    ) -> npt.NDArray[np.floating]:
        """The dense source network's outputs.

        Parameters
        ----------
        values : array_like, shape (batch, height, width, channels)
            The network's input values (not pixels).
        watch : callable, optional
            Called with each layer and its pre-activations, (batch, *layer.shape).
        dtype : type
            float32 is faster, float64 exact enough to serve as a reference.

        Returns
        -------
        numpy.ndarray
            (batch, *shape of the output layer)
        """
        x: npt.NDArray[np.floating] = np.asarray(values, dtype) * self.input_factor.astype(dtype) + self.input_shift.astype(dtype)
        if x.shape[1:] != self.input_shape:
            raise ConversionError(f"the network takes inputs of shape {self.input_shape}, found {x.shape[1:]}")
        known = {IMAGE: x}
        last_use = {term.source: i for i, layer in enumerate(self.layers) for term in layer.terms}
        z = x
        for i, layer in enumerate(self.layers):
            z = np.broadcast_to(layer.bias.astype(dtype), (len(x), *layer.shape)).copy()
            for term in layer.terms:
                z += apply(term, known[term.source], layer.shape[-1]).reshape(z.shape)
            if watch is not None:
                watch(layer, z)
            if layer.activation is not None:
                known[layer.name] = layer.activation(z)
            for name in [name for name, use in last_use.items() if use == i]:
                del known[name]
        return z


def rounded(z: npt.NDArray[np.floating], even: bool) -> npt.NDArray[np.floating]:
    """The whole number below, or with ``even`` what rounding half to even makes of a half less."""
    return np.rint(z - np.asarray(0.5, z.dtype)) if even else np.floor(z)

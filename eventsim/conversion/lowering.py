"""From a graph of operators to layers of neurons.

Every activation of the source network becomes a population. What lies between activations is linear, so each population's
input is a sum of *terms*, one per activation that it takes values from: a convolution, a matrix or a list of synapses, with pooling and a
scale per channel (:mod:`eventsim.conversion.terms`); plus a bias. Batch norm and every other scaling end up in the scales and biases,
exactly. Values that are put together along the channels are sums too, of terms in different channels.

Arrays are channel last here, as in :mod:`eventsim.model.tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from eventsim.conversion import graph as g
from eventsim.conversion.activations import joined
from eventsim.conversion.compose import Join, compose, mapped, matrix
from eventsim.conversion.layers import Activation, Layer, SourceNetwork
from eventsim.conversion.parts import as_one, components, inputs_scaled, restricted
from eventsim.conversion.signals import (
    Form,
    Pool,
    Signal,
    along,
    evaluated,
    gathered,
    grid_of,
    narrowed,
    scaled,
    standard,
)
from eventsim.conversion.terms import IMAGE, Array, Extreme, Grid, Kernel, Map, Matrix, Numbers, Term, apply, listed, spatial
from eventsim.errors import ConversionError

__all__ = ["IMAGE_RATES", "Array", "Layer", "SourceNetwork", "lower"]

# The population that says the image as rates, where it stands beside spikes.
IMAGE_RATES = "image"
# The network's input before it is fixed how its values are scaled; terms of layers have IMAGE instead.
_RAW = "\n"


class _Lowering:
    def __init__(self, source: g.Graph, pixel: tuple[Array, Array] | None):
        self.graph = source
        self.pixel = pixel
        self.layers: list[Layer] = []
        self.input_grid: Grid = (1, 1, 1)
        self.input_affine: tuple[Array, Array] | None = None
        self.image: Layer | None = None  # the population that says the image as rates, if there is one
        self.populations: dict[int, list[tuple[Layer, Numbers | None]]] = {}  # by their forms' origin: each with its channels
        self.pools: dict[tuple[str, g.MaxPool, bytes], Layer] = {}
        self.numbers = 0

    def run(self) -> SourceNetwork:
        nodes = self.graph.nodes
        if not nodes:
            raise ConversionError("the network is empty")
        sums = _cancelling_sums(nodes)
        needed = {self.graph.output}
        for number in range(len(nodes) - 1, -1, -1):
            if number in needed:
                needed.update(sums.get(number, nodes[number].inputs))
        signals: dict[int, Signal] = {}
        for number, node in enumerate(nodes):
            if number in needed:
                try:
                    signals[number] = self._sum(sums[number], signals) if number in sums else self._apply(node, number, signals)
                except ConversionError as error:
                    raise ConversionError(f"{node.name}: {error}" if node.name else str(error)) from None
        self._finish(signals[self.graph.output])
        channels = self.input_grid[-1]
        factor, shift = self.input_affine or (np.ones(channels), np.zeros(channels))
        return SourceNetwork(self.input_grid, factor, shift, self.layers, list(self.graph.remarks))

    # --- Operators --------------------------------------------------------------------------------------------------

    def _apply(self, node: g.Node, number: int, signals: dict[int, Signal]) -> Signal:
        op = node.operator
        if isinstance(op, g.Input):
            return self._input(op)
        inputs = [signals[source] for source in node.inputs]
        signal, shape = inputs[0], self.graph.shape(node.inputs[0])
        if isinstance(op, g.Scale):
            return self._scale(signal, op, shape)
        if isinstance(op, (g.Clip, g.Floor, g.Round, g.Truncate, g.Sign)):
            return self._elementwise(signal, op, number)
        if isinstance(op, (g.MaxPool, g.AdaptiveMaxPool)):
            return self._max_pool(signal, op, shape, node.shape)
        if isinstance(op, g.Add):
            return self._add(inputs[0], inputs[1], node.shape)
        if isinstance(op, g.Concatenate):
            return self._concatenate(inputs, op, node)
        if isinstance(op, g.Rearrangement) and not (isinstance(op, g.Pad) and len(shape) == 3 and not any(op.widths[0])):
            return self._rearrange(signal, op, shape, node.shape)
        if isinstance(op, g.Linear):
            return self._matrix(self._seen(self._materialise(signal)), op, node.name)
        return self._linear(signal, op, node)

    def _input(self, op: g.Input) -> Signal:
        shape = op.shape
        self.input_grid = (1, shape[1], shape[0]) if len(shape) == 2 else grid_of(shape)
        term = Term(_RAW, self.input_grid, (1, 1), None, (1, 1), np.ones(self.input_grid[2]))
        layout = standard(self.input_grid, False).reshape(shape) if len(shape) == 2 else None
        return Signal(self.input_grid, len(shape) != 3, (term,), np.zeros(()), layout=layout)

    def _scale(self, signal: Signal, op: g.Scale, shape: g.Shape) -> Signal:
        factor, shift = along(op.factor, signal, shape), along(op.shift, signal, shape)
        if max(factor.ndim, shift.ndim) == 3:
            signal = self._materialise(signal)
            signal = self._seen(signal) if factor.ndim == 3 else signal
        return scaled(signal, factor, shift)

    def _elementwise(self, signal: Signal, op: g.Clip | g.Floor | g.Round | g.Truncate | g.Sign, number: int) -> Signal:
        if isinstance(op, g.Round):
            signal = scaled(signal, np.ones(()), np.asarray(0.5))
        form = joined(signal, op, number)
        if form is not None:
            return form
        # Two activations in a row: the first one becomes a population of its own.
        made = joined(self._materialise(signal), op, number)
        assert made is not None
        return made

    def _max_pool(self, signal: Signal, op: g.MaxPool | g.AdaptiveMaxPool, before: g.Shape, shape: g.Shape) -> Signal:
        if signal.pool is not None or signal.layout is not None:
            signal = self._canonical(self._materialise(signal), before)
        if isinstance(op, g.AdaptiveMaxPool):
            windows = op.as_windows(signal.grid[:2])
            if windows is None:
                raise ConversionError(
                    f"adaptive max pooling of {signal.grid[:2]} to {op.size}, by windows of different sizes, or several in one place"
                )
            op = windows
        return replace(signal, grid=grid_of(shape), pool=Pool(op, signal.grid, np.ones(shape[0])))

    def _add(self, first: Signal, second: Signal, shape: g.Shape) -> Signal:
        first, second = self._materialise(first), self._materialise(second)
        if first.grid != second.grid or not np.array_equal(first.places(), second.places()):
            first, second = self._canonical(first, shape), self._canonical(second, shape)
        return replace(first, terms=_merged(first.terms + second.terms), bias=first.bias + second.bias)

    def _concatenate(self, inputs: Sequence[Signal], op: g.Concatenate, node: g.Node) -> Signal:
        """A sum of what each value makes in its range of channels; along other axes, of maps."""
        grid, flat = grid_of(node.shape), len(node.shape) != 3
        neurons = standard(grid, flat).reshape(node.shape)
        ends = np.cumsum([self.graph.shape(i)[op.axis] for i in node.inputs])
        terms: list[Term] = []
        bias = np.zeros(grid)
        for signal, source, part in zip(inputs, node.inputs, np.split(neurons, ends[:-1], op.axis), strict=True):
            signal = self._seen(self._materialise(signal))
            shape = self.graph.shape(source)
            if op.axis == 0 and len(shape) in (1, 3):
                signal = self._canonical(signal, shape)
                first = int(part.flat[0])  # the first channel, at the first location
                terms += [replace(term, place=first + term.places()) for term in signal.terms]
            else:
                join = Join(signal.grid, grid, node.name)
                sizes = int(np.prod(signal.grid)), int(np.prod(grid))
                places = signal.places().ravel()
                moves = listed(places, part.ravel(), np.ones(len(places)), sizes)
                terms += [mapped(term, moves, join) for term in signal.terms]
            bias.reshape(-1)[part.ravel()] = np.broadcast_to(signal.bias, signal.grid).reshape(-1)[signal.places().ravel()]
        return Signal(grid, flat, tuple(terms), narrowed(bias), layout=neurons if len(node.shape) not in (1, 3) else None)

    def _rearrange(self, signal: Signal, op: g.Operator, before: g.Shape, shape: g.Shape) -> Signal:
        """An operator that passes numbers on to other places; a permutation of all of them is none yet."""
        counted = signal.places().reshape(before) + 1.0
        value = op.value if isinstance(op, g.Pad) and op.mode == "constant" else 0.0
        silent = replace(op, value=0.0) if isinstance(op, g.Pad) else op
        places: Numbers = silent.evaluate(counted[None])[0].astype(np.int64) - 1
        flat = len(shape) != 3
        if places.size == counted.size and len(np.unique(places)) == places.size:
            same = len(shape) in (1, 3) and signal.grid == grid_of(shape) and np.array_equal(places, standard(signal.grid, flat))
            return replace(signal, flat=flat, layout=None if same else places)
        return gathered(self._seen(self._materialise(signal)), places, shape, value)

    def _linear(self, signal: Signal, op: g.Operator, node: g.Node) -> Signal:
        shape = self.graph.shape(node.inputs[0])
        signal = self._canonical(self._seen(self._materialise(signal)), shape)
        grid = grid_of(node.shape)
        join = Join(signal.grid, grid, node.name)
        terms = [made for term in signal.terms for made in compose(term, op, join)]
        return Signal(grid, False, tuple(terms), evaluated(signal.bias, op, signal.grid, False))

    def _matrix(self, signal: Signal, op: g.Linear, name: str) -> Signal:
        weights = np.empty(op.weight.shape[::-1], op.weight.dtype)
        weights[signal.places().ravel()] = op.weight.T
        grid = 1, 1, len(op.weight)
        bias = np.broadcast_to(signal.bias, signal.grid).reshape(-1) @ weights if np.any(signal.bias) else np.zeros(())
        if op.bias is not None:
            bias = bias + op.bias
        return Signal(grid, True, tuple(matrix(term, weights, Join(signal.grid, grid, name)) for term in signal.terms), np.asarray(bias))

    def _canonical(self, signal: Signal, shape: g.Shape) -> Signal:
        """A signal whose neurons lie as its numbers do, in a layer of the value's shape."""
        return signal if signal.layout is None else gathered(self._seen(signal), signal.layout.reshape(shape), shape)

    def _sum(self, parts: dict[int, float], signals: dict[int, Signal]) -> Signal:
        """What is left of a sum in which something cancels."""
        (first, factor), *others = parts.items()
        signal = scaled(signals[first], np.asarray(factor), np.zeros(())) if factor != 1 else signals[first]
        for number, factor in others:
            signal = self._add(signal, scaled(signals[number], np.asarray(factor), np.zeros(())), self.graph.shape(number))
        return signal

    # --- Populations ------------------------------------------------------------------------------------------------

    def _materialise(self, signal: Signal) -> Signal:
        """The signal as terms: an activation that is still pending becomes a population."""
        if signal.pool is not None:
            return self._pooled(signal, signal.pool)
        form = signal.form
        if form is None:
            return signal
        straight = self._straight_on_pixels(signal, form)
        if straight is not None:
            return straight
        if form.truncated and form.low < 0:
            raise ConversionError(
                "a cast to integers of negative values, rounded towards zero, has no spiking counterpart; clip at 0 first"
            )
        if form.high <= form.low or np.isinf(form.low) or (form.floor and np.isinf(form.high)):
            raise ConversionError(
                f"an activation that is limited to {form.low:g}..{form.high:g}{' after rounding' if form.floor else ''} cannot become "
                "a spiking neuron; expected ReLU, a clip with two bounds, or rounding within two bounds"
            )
        kind: Literal["relu", "clip", "rate", "steps", "sign"]
        kind = "sign" if form.sign else "steps" if form.floor else "relu" if np.isinf(form.high) else "rate" if form.rate else "clip"
        made = self.populations.get(form.origin)
        if made is None:
            made = self.populations[form.origin] = self._layer(signal, Activation(kind, form.low, form.high, form.zero, form.even))
        channels = signal.grid[2]
        factor = np.broadcast_to(np.asarray(form.factor, np.float64), (channels,))
        terms = tuple(_passed(layer, factor if place is None else factor[place], place) for layer, place in made)
        # The activation starts at 0 where the source's starts at low.
        bias = np.asarray(form.shift, np.float64) + np.asarray(form.factor, np.float64) * form.low
        return Signal(signal.grid, signal.flat, terms, bias, layout=signal.layout)

    def _straight_on_pixels(self, signal: Signal, form: Form) -> Signal | None:
        """An activation of the image that is a straight line over whole grey levels is none: quantisers of 8 bits, bounds never met."""
        if self.pixel is None or len(signal.terms) != 1 or signal.terms[0].source != _RAW or signal.bias.ndim > 1:
            return None
        (term,) = signal.terms
        factor, shift = self.pixel
        z = (np.arange(256.0)[:, None] * factor + shift) * term.scale + signal.bias
        kind: Literal["sign", "steps", "clip"] = "sign" if form.sign else "steps" if form.floor else "clip"
        core = Activation(kind, form.low, form.high, form.zero, form.even)(z) + (0 if form.sign else form.low)
        y = core * form.factor + form.shift
        slope = (y[255] - y[0]) / 255
        line = y[0] + np.arange(256.0)[:, None] * slope
        if not np.all(np.isfinite(y)) or np.any(slope == 0) or np.abs(y - line).max() > 1e-9 * np.abs(y).max():
            return None
        relative = np.broadcast_to(slope / factor, (self.input_grid[-1],))
        return replace(signal, terms=(replace(term, scale=relative.copy()),), bias=y[0] - relative * shift, form=None)

    def _pooled(self, signal: Signal, pool: Pool) -> Signal:
        """A maximum over the windows of an activation becomes a population behind that of the activation."""
        inner = self._materialise(replace(signal, pool=None, grid=pool.grid, layout=None))
        if inner.terms and all(term.source in (_RAW, IMAGE) for term in inner.terms):
            inner = self._as_rates(self._seen(inner))
        counts = np.bincount(np.concatenate([term.places() for term in inner.terms]), minlength=inner.grid[2])
        if any(term.operator is not None or any(term.margin) for term in inner.terms) or np.any(counts > 1):
            raise ConversionError("max pooling of values that are no activations; put the activation before it or right behind it")
        if any(term.before != (1, 1) for term in inner.terms) or inner.bias.ndim > 1:
            raise ConversionError("max pooling of averages is not supported")
        terms = tuple(self._extreme(term, pool.operator, pool.signs[term.places()]) for term in inner.terms)
        return Signal(signal.grid, signal.flat, terms, inner.bias, layout=signal.layout)

    def _extreme(self, term: Term, op: g.MaxPool, signs: Array) -> Term:
        """The term that takes the largest values (where scale and signs agree; else the smallest) of what one without an operator takes."""
        largest = np.ones(term.grid[2], bool)
        largest[slice(None) if term.take is None else term.take] = signs * np.where(term.scale < 0, -1, 1) > 0
        key = term.source, op, largest.tobytes()
        if key not in self.pools:
            self.numbers += 1
            below = next(layer for layer in self.layers if layer.name == term.source)
            assert below.activation is not None
            activation = Activation("extreme", 0.0, below.activation.high - below.activation.low)
            passed = Term(
                term.source,
                term.grid,
                (1, 1),
                Extreme(op.window, op.stride, op.padding, largest, op.dilation),
                (1, 1),
                np.ones(term.grid[2]),
            )
            rows, cols = op.output_shape((term.grid[2], *term.grid[:2]))[1:]
            self.pools[key] = Layer(f"pool{self.numbers}", (rows, cols, term.grid[2]), (passed,), np.zeros(()), activation)
            self.layers.append(self.pools[key])
        made = _passed(self.pools[key], term.scale, term.place)
        return replace(made, take=term.take)

    def _layer(self, signal: Signal, activation: Activation | None) -> list[tuple[Layer, Numbers | None]]:
        """The population of an activation; several if its channels take nothing in common, each with its channels."""
        signal = self._seen(signal)
        signal = replace(signal, terms=_merged(signal.terms))
        if not signal.terms:
            raise ConversionError("an activation or output that does not depend on the image")
        images = [term.source == IMAGE for term in signal.terms]
        alone = activation is not None and all(images)
        # (A current has one bias a channel.)
        differs = signal.bias.ndim == 3 and self.pixel is not None and activation is not None and activation.kind != "sign"
        if any(images) and (not alone or differs):
            signal = self._as_rates(signal)
        parts = components(signal.terms, signal.grid[2]) if activation is not None else []
        if len(parts) < 2:
            return [(self._population(signal, activation), None)]
        return [(self._population(restricted(signal, channels), activation), channels) for channels in parts]

    def _population(self, signal: Signal, activation: Activation | None) -> Layer:
        self.numbers += 1
        if len(signal.terms) > 1 and all(term.source == IMAGE for term in signal.terms):
            signal = replace(signal, terms=(as_one(signal.terms, signal.grid),))
        operators = [term.operator for term in signal.terms]
        spread = signal.grid[:2] != (1, 1)
        if any(isinstance(op, Kernel) or (spread and isinstance(op, Map)) for op in operators):
            kind = "conv"
        elif any(isinstance(op, (Matrix, Map)) for op in operators):
            kind = "fc"
        else:
            kind = "input" if any(term.source == IMAGE for term in signal.terms) else "act"
        shape = (signal.grid[2],) if not spread and (signal.flat or kind == "fc") else signal.grid
        bias = signal.bias.reshape(shape) if signal.bias.ndim == 3 else signal.bias
        layer = Layer(f"{kind}{self.numbers}", shape, signal.terms, bias, activation)
        self.layers.append(layer)
        return layer

    def _finish(self, signal: Signal) -> None:
        signal = self._materialise(signal)
        if signal.layout is not None:
            signal = self._canonical(signal, (signal.layout.size,))
        self._layer(signal, None)

    # --- The image --------------------------------------------------------------------------------------------------

    def _seen(self, signal: Signal) -> Signal:
        """Fix how the input's values are scaled by their first use; later uses are relative to that."""
        if all(term.source != _RAW for term in signal.terms):
            return signal
        channels = self.input_grid[-1]
        if self.input_affine is None:
            term = signal.terms[0]
            if len(signal.terms) == 1 and np.all(term.scale != 0) and signal.bias.ndim < 2:
                self.input_affine = term.scale.copy(), np.broadcast_to(signal.bias, (channels,)).copy()
            else:
                self.input_affine = np.ones(channels), np.zeros(channels)
        factor, shift = self.input_affine
        terms, bias = [], signal.bias
        for term in signal.terms:
            if term.source == _RAW:
                relative = term.scale / factor
                term, bias = replace(term, source=IMAGE, scale=relative), bias - relative * shift
            terms.append(term)
        return replace(signal, terms=tuple(terms), bias=bias)

    def _as_rates(self, signal: Signal) -> Signal:
        """The image in company of spikes, or without an activation: neurons that say it as rates, a grey level as 1/255 spikes a step."""
        if self.pixel is None:
            raise ConversionError("the image beside spikes, or straight to the output; say what its pixels are worth")
        channels = self.input_grid[-1]
        assert self.input_affine is not None
        factor, shift = (np.broadcast_to(value, (channels,)) for value in self.pixel)
        gain, offset = self.input_affine[0] * factor * 255, self.input_affine[0] * shift + self.input_affine[1]
        if self.image is None:
            term = Term(IMAGE, self.input_grid, (1, 1), None, (1, 1), 1 / gain)
            self.image = Layer(IMAGE_RATES, self.input_grid, (term,), -offset / gain, Activation("clip", 0.0, 1.0))
            self.layers.append(self.image)
        terms, bias = [], signal.bias
        for term in signal.terms:
            if term.source == IMAGE:
                made = apply(term, np.broadcast_to(offset, (1, *self.input_grid)), signal.grid[2])[0]
                term, bias = replace(inputs_scaled(term, gain), source=self.image.name), narrowed(made + bias)
            terms.append(term)
        return replace(signal, terms=tuple(terms), bias=bias)


def _passed(layer: Layer, factor: Array, place: Numbers | None) -> Term:
    return Term(layer.name, spatial(layer.shape), (1, 1), None, (1, 1), factor.copy(), layer.name, place=place)


def _cancelling_sums(nodes: list[g.Node]) -> dict[int, dict[int, float]]:
    """Sums in which a value is added and taken away again, by number: what is left, as factors of other nodes.

    Straight-through estimators are written so: ``(sign(x) - x).detach() + x``.
    """
    sums: dict[int, dict[int, float]] = {}
    cancelling = {}
    for number, node in enumerate(nodes):
        op = node.operator
        parts = {number: 1.0}
        if isinstance(op, g.Scale) and op.factor.ndim == 0 and op.shift.ndim == 0 and op.shift == 0:
            parts = {source: float(op.factor) * factor for source, factor in sums[node.inputs[0]].items()}
        elif isinstance(op, g.Add):
            one, other = (sums[i] for i in node.inputs)
            both = {source: one.get(source, 0.0) + other.get(source, 0.0) for source in one | other}
            left = {source: factor for source, factor in both.items() if factor != 0}
            parts = both
            if left and len(left) < len(both):
                parts = cancelling[number] = left
        sums[number] = parts
    return cancelling


def _merged(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Terms with the same source and no operator are one (``x + x``)."""
    merged: list[Term] = []
    for term in terms:
        for i, other in enumerate(merged):
            if term.operator is None and other.operator is None and _alike(term, other):
                merged[i] = replace(other, scale=other.scale + term.scale)
                break
        else:
            merged.append(term)
    return tuple(merged)


def _alike(term: Term, other: Term) -> bool:
    pairs = (term.take, other.take), (term.place, other.place)
    same = all((a is None) == (b is None) and (a is None or b is None or np.array_equal(a, b)) for a, b in pairs)
    return same and (term.source, term.before, term.margin) == (other.source, other.before, other.margin)


def lower(source: g.Graph, pixel: tuple[Array, Array] | None = None) -> SourceNetwork:
    """Turn a graph into layers.

    Parameters
    ----------
    source : Graph
    pixel : (factor, shift), optional
        ``value = factor * pixel + shift`` per channel, pixels in 0..255: what the input's values are.

    Raises
    ------
    ConversionError
        Something that has no spiking counterpart. The message names the node.
    """
    return _Lowering(source, pixel).run()

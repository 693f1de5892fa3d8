"""From a graph of operators to layers of neurons.

Every activation of the source network becomes a population. What lies between activations is linear, so each population's
input is a sum of *terms*, one per activation that it takes values from: pooling, at most one convolution or matrix, pooling,
and a scale per channel; plus a bias. Batch norm and every other scaling end up in the scales and biases, exactly.

Arrays are channel last here, as in :mod:`eventsim.model.tables`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from eventsim.conversion import graph as g
from eventsim.errors import ConversionError

Array = npt.NDArray[np.float64]
Shape = tuple[int, ...]

IMAGE = ""  # The name under which terms refer to the network's input.


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution: float weights (rows, columns, inputs, outputs), stride, zero padding (top, left, bottom, right)."""

    weights: g.Weights
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Matrix:
    """All-to-all weights: float (inputs, outputs), inputs numbered row by row, channel last."""

    weights: g.Weights


@dataclass(frozen=True, eq=False)
class Extreme:
    """The largest or smallest value of each window and channel; cells of the padding (top, left, bottom, right) are left out.

    ``largest`` says which of the two, bool (channels,): a negative scale behind a maximum makes a minimum of what is before it.
    """

    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    largest: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Term:
    """What one source contributes to a population: ``scale * after(operator(before(values)))``.

    Attributes
    ----------
    source : str
        A layer's name, or ``IMAGE``.
    before, after : (int, int)
        Windows whose *sums* are taken (the division is in the scale); (1, 1) is no pooling.
    operator : Kernel, Matrix, Extreme or None
        None passes the values on, each neuron to its counterpart.
    scale : float64 (outputs,)
    name : str
        Of the source network's node, for messages and reports.
    """

    source: str
    before: tuple[int, int]
    operator: Kernel | Matrix | Extreme | None
    after: tuple[int, int]
    scale: Array
    name: str = ""


@dataclass(frozen=True)
class Activation:
    """``a(z) = clip(z, low, high) - low``, or for ``steps`` ``clip(floor(z), low, high) - low``, or for ``sign`` 1 where z > 0, 0 where
    z < 0, and ``(zero + 1) / 2`` where z = 0.

    ``extreme`` passes on what an :class:`Extreme` makes of another layer's values. ``rate`` is a clip that was a spiking neuron's rate
    in the source network already.

    Every activation starts at 0, so that a silent neuron says 0; what is missing from the source's activation (offset, scale)
    is in the terms and biases that use it.
    """

    kind: Literal["relu", "clip", "rate", "steps", "sign", "extreme"]
    low: float = 0.0
    high: float = np.inf
    zero: float = 1.0

    def __call__(self, z: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        if self.kind == "sign":
            return np.heaviside(z, np.asarray((self.zero + 1) / 2, z.dtype))
        if self.kind == "extreme":
            return z
        values = np.floor(z) if self.kind == "steps" else z
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
                z += apply(term, known[term.source]).reshape(z.shape)
            if watch is not None:
                watch(layer, z)
            if layer.activation is not None:
                known[layer.name] = layer.activation(z)
            for name in [name for name, use in last_use.items() if use == i]:
                del known[name]
        return z


def _pool(x: npt.NDArray[np.floating], window: tuple[int, int]) -> npt.NDArray[np.floating]:
    """Sums over windows of (batch, height, width, channels)."""
    if window == (1, 1):
        return x
    n, height, width, channels = x.shape
    rows, cols = height // window[0], width // window[1]
    x = x[:, : rows * window[0], : cols * window[1]]
    return x.reshape(n, rows, window[0], cols, window[1], channels).sum((2, 4))


def convolve(x: npt.NDArray[np.floating], kernel: Kernel) -> npt.NDArray[np.floating]:
    """The convolution of (batch, height, width, channels), in x's floating-point type."""
    top, left, bottom, right = kernel.padding
    weights = kernel.weights.astype(x.dtype)
    kh, kw, inputs, outputs = weights.shape
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    rows = (padded.shape[1] - kh) // kernel.stride[0] + 1
    cols = (padded.shape[2] - kw) // kernel.stride[1] + 1
    out = np.zeros((len(x) * rows * cols, outputs), x.dtype)
    for u in range(kh):
        for v in range(kw):
            window = padded[
                :,
                u : u + (rows - 1) * kernel.stride[0] + 1 : kernel.stride[0],
                v : v + (cols - 1) * kernel.stride[1] + 1 : kernel.stride[1],
            ]
            out += window.reshape(-1, inputs) @ weights[u, v]
    return out.reshape(len(x), rows, cols, outputs)


def extreme(x: npt.NDArray[np.floating], operator: Extreme) -> npt.NDArray[np.floating]:
    """Largest or smallest values of the windows of (batch, height, width, channels)."""
    top, left, bottom, right = operator.padding
    sign = np.where(operator.largest, 1, -1).astype(x.dtype)
    padded = np.pad(x * sign, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, operator.window, (1, 2))
    return windows[:, :: operator.stride[0], :: operator.stride[1]].max((-2, -1)) * sign


def apply(term: Term, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """What a term makes of its source's values (batch, *source shape)."""
    x = values if values.ndim == 4 else values[:, None, None, :]
    x = _pool(x, term.before)
    if isinstance(term.operator, Kernel):
        x = convolve(x, term.operator)
    elif isinstance(term.operator, Extreme):
        x = extreme(x, term.operator)
    elif isinstance(term.operator, Matrix):
        x = (x.reshape(len(x), -1) @ term.operator.weights.astype(x.dtype))[:, None, None, :]
    return _pool(x, term.after) * term.scale.astype(x.dtype)


@dataclass(frozen=True)
class _Form:
    """An activation under construction: ``y = factor * core(z) + shift`` with ``core = clip([floor] z, low, high)``.

    ``origin`` is the number of the node that made the core: uses that scale it differently share one population.
    """

    origin: int
    low: float = -np.inf
    high: float = np.inf
    floor: bool = False
    sign: bool = False
    zero: float = 1.0
    rate: bool = False
    factor: Array | float = 1.0
    shift: Array | float = 0.0


@dataclass(frozen=True, eq=False)
class _Pool:
    """A maximum over windows that is not yet a population; what is monotone may be done before it as well as after.

    ``shape`` is that of the values before it, ``signs`` (per channel) is -1 where what has been done since it falls.
    """

    operator: g.MaxPool
    shape: Shape
    signs: Array


@dataclass(frozen=True, eq=False)
class _Signal:
    """A value of the graph: a sum of terms and a bias, perhaps under an activation that is not yet a population.

    With ``pool``, terms, bias and activation are those of the values before pooling, the shape is the one after it.
    """

    shape: Shape  # channel last; of the spatial value where it has been flattened
    flat: bool
    terms: tuple[Term, ...]
    bias: Array
    form: _Form | None = None
    pool: _Pool | None = None


def _whole(value: float) -> bool:
    return np.isinf(value) or abs(value - round(value)) < 1e-4


class _Lowering:
    def __init__(self, source: g.Graph, pixel: tuple[Array, Array] | None):
        self.graph = source
        self.pixel = pixel
        self.layers: list[Layer] = []
        self.input_shape: Shape = (1, 1, 1)
        self.input_affine: tuple[Array, Array] | None = None
        self.populations: dict[int, Layer] = {}  # by their forms' origin
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
        signals: dict[int, _Signal] = {}
        for number, node in enumerate(nodes):
            if number in needed:
                try:
                    signals[number] = self._sum(sums[number], signals) if number in sums else self._apply(node, number, signals)
                except ConversionError as error:
                    raise ConversionError(f"{node.name}: {error}" if node.name else str(error)) from None
        self._finish(signals[self.graph.output])
        channels = self.input_shape[-1]
        factor, shift = self.input_affine or (np.ones(channels), np.zeros(channels))
        return SourceNetwork(self.input_shape, factor, shift, self.layers, list(self.graph.remarks))

    def _apply(self, node: g.Node, number: int, signals: dict[int, _Signal]) -> _Signal:
        op = node.operator
        if isinstance(op, g.Input):
            shape = (1, 1, op.shape[0]) if len(op.shape) == 1 else (op.shape[1], op.shape[2], op.shape[0])
            self.input_shape = shape
            term = Term(IMAGE, (1, 1), None, (1, 1), np.ones(shape[-1]))
            return _Signal(shape, len(op.shape) == 1, (term,), np.zeros(()))
        source = node.inputs[0]
        signal = signals[source]
        if isinstance(op, g.Scale):
            return self._scale(signal, op.factor, op.shift)
        if isinstance(op, (g.Clip, g.Floor, g.Sign)):
            return self._elementwise(signal, op, number)
        if isinstance(op, g.Flatten):
            return replace(signal, flat=True)
        if isinstance(op, g.MaxPool) and op.dilation == (1, 1):
            signal = self._materialise(signal) if signal.pool is not None else signal
            channels, rows, cols = node.shape
            return replace(signal, shape=(rows, cols, channels), pool=_Pool(op, signal.shape, np.ones(channels)))
        signal = self._materialise(signal)
        if isinstance(op, g.Convolution) and (op.groups != 1 or op.dilation != (1, 1)):
            raise ConversionError("groups and dilation are not converted yet")
        if isinstance(op, g.Add):
            other = self._materialise(signals[node.inputs[1]])
            return replace(signal, terms=signal.terms + other.terms, bias=signal.bias + other.bias)
        if isinstance(op, g.AveragePool):
            if not op.plain((signal.shape[0], signal.shape[1])):
                raise ConversionError("average pooling over windows that overlap, padding, ceil_mode or a divisor are not converted yet")
            return self._average(signal, op.window)
        if not isinstance(op, (g.Convolution, g.Linear)):
            raise ConversionError(f"{type(op).__name__} is not converted yet")
        return self._weights(signal, op, node.name)

    def _scale(self, signal: _Signal, factor: Array, shift: Array) -> _Signal:
        if (factor.ndim or shift.ndim) and signal.flat and signal.shape[:2] != (1, 1):
            raise ConversionError("a scale per feature of a flattened image is not supported; scale channels before flattening")
        if signal.pool is not None:
            signal = replace(signal, pool=replace(signal.pool, signs=signal.pool.signs * np.where(factor < 0, -1.0, 1.0)))
        if signal.form is not None:
            form = replace(signal.form, factor=signal.form.factor * factor, shift=signal.form.shift * factor + shift)
            return replace(signal, form=form)
        terms = tuple(replace(term, scale=term.scale * factor) for term in signal.terms)
        return replace(signal, terms=terms, bias=signal.bias * factor + shift)

    def _elementwise(self, signal: _Signal, op: g.Clip | g.Floor | g.Sign, number: int) -> _Signal:
        form = signal.form
        if form is None:
            if isinstance(op, g.Sign):
                return replace(signal, form=_Form(number, low=0, high=1, sign=True, zero=op.zero, factor=2.0, shift=-1.0))
            if signal.pool is not None and any(term.source == IMAGE and term.operator is None for term in signal.terms):
                raise ConversionError("max pooling of the image; put it behind an activation")
            if isinstance(op, g.Floor):
                return replace(signal, form=_Form(number, floor=True))
            return replace(signal, form=_Form(number, low=op.low, high=op.high, rate=op.rate))
        if form.sign or isinstance(op, g.Sign):
            found = _sign_of(form, op, number)
            if found is not None:
                return replace(signal, form=found) if form.sign else self._behind_bound(signal, found)
        uniform = np.ndim(form.factor) == 0 and np.ndim(form.shift) == 0 and float(form.factor) > 0
        if isinstance(op, g.Clip) and uniform and not form.sign:
            low, high = (bound - float(form.shift) for bound in (op.low, op.high))
            low, high = max(form.low, low / float(form.factor)), min(form.high, high / float(form.factor))
            if not form.floor or (_whole(low) and _whole(high)):
                if form.floor:
                    low, high = (bound if np.isinf(bound) else round(bound) for bound in (low, high))
                return replace(signal, form=replace(form, origin=number, low=low, high=high))
        if isinstance(op, g.Floor) and not form.floor and not form.sign:
            positive = bool(np.all(np.asarray(form.factor) > 0))
            bounds = [np.asarray(form.factor) * bound + form.shift for bound in (form.low, form.high)]
            if positive and all(
                np.ptp(np.floor(b + 1e-9)) == 0 if np.all(np.isfinite(b)) else bool(np.all(b == b.flat[0])) for b in bounds
            ):
                low, high = (float(np.floor(b.flat[0] + 1e-9)) for b in bounds)
                inner = self._scale(replace(signal, form=None), np.asarray(form.factor), np.asarray(form.shift))
                return replace(inner, form=_Form(number, low=low, high=high, floor=True))
        # Two activations in a row: the first one becomes a population of its own.
        return self._elementwise(self._materialise(signal), op, number)

    def _materialise(self, signal: _Signal) -> _Signal:
        """The signal as terms: an activation that is still pending becomes a population."""
        if signal.pool is not None:
            return self._pooled(signal, signal.pool)
        form = signal.form
        if form is None:
            return signal
        straight = self._straight_on_pixels(signal, form)
        if straight is not None:
            return straight
        if form.high <= form.low or np.isinf(form.low) or (form.floor and np.isinf(form.high)):
            raise ConversionError(
                f"an activation that is limited to {form.low:g}..{form.high:g}{' after rounding' if form.floor else ''} cannot become "
                "a spiking neuron; expected ReLU, a clip with two bounds, or rounding within two bounds"
            )
        kind: Literal["relu", "clip", "rate", "steps", "sign"]
        kind = "sign" if form.sign else "steps" if form.floor else "relu" if np.isinf(form.high) else "rate" if form.rate else "clip"
        layer = self.populations.get(form.origin)
        if layer is None:
            layer = self.populations[form.origin] = self._layer(signal, Activation(kind, form.low, form.high, form.zero))
        shape = signal.shape
        factor = np.broadcast_to(np.asarray(form.factor, np.float64), (shape[-1],))
        term = Term(layer.name, (1, 1), None, (1, 1), factor.copy(), layer.name)
        # The activation starts at 0 where the source's starts at low.
        bias = np.asarray(form.shift, np.float64) + np.asarray(form.factor, np.float64) * form.low
        return _Signal(shape, signal.flat, (term,), bias)

    def _straight_on_pixels(self, signal: _Signal, form: _Form) -> _Signal | None:
        """An activation of the image that is a straight line over whole grey levels is none: quantisers of 8 bits, bounds never met."""
        if self.pixel is None or len(signal.terms) != 1 or signal.terms[0].source != IMAGE or signal.bias.ndim > 1:
            return None
        (term,) = signal.terms
        if term.operator is not None or term.before != (1, 1):
            return None
        factor, shift = self.pixel
        z = (np.arange(256.0)[:, None] * factor + shift) * term.scale + signal.bias
        core = Activation("sign", zero=form.zero)(z) if form.sign else np.clip(np.floor(z) if form.floor else z, form.low, form.high)
        y = core * form.factor + form.shift
        slope = (y[255] - y[0]) / 255
        line = y[0] + np.arange(256.0)[:, None] * slope
        if np.any(slope == 0) or np.abs(y - line).max() > 1e-9 * np.abs(y).max():
            return None
        relative = np.broadcast_to(slope / factor, (self.input_shape[-1],))
        return replace(signal, terms=(replace(term, scale=relative.copy()),), bias=y[0] - relative * shift, form=None)

    def _pooled(self, signal: _Signal, pool: _Pool) -> _Signal:
        """A maximum over the windows of an activation becomes a population behind that of the activation."""
        if signal.form is None and not (len(signal.terms) == 1 and signal.terms[0].operator is None and signal.terms[0].source != IMAGE):
            raise ConversionError("max pooling of values that are no activations; put the activation before it or right behind it")
        inner = self._materialise(replace(signal, pool=None, shape=pool.shape))
        (term,) = inner.terms
        if term.before != (1, 1) or inner.bias.ndim > 1:
            raise ConversionError("max pooling of averages is not supported")
        largest = pool.signs * np.where(term.scale < 0, -1, 1) > 0
        key = term.source, pool.operator, largest.tobytes()
        if key not in self.pools:
            self.numbers += 1
            op = Extreme(pool.operator.window, pool.operator.stride, pool.operator.padding, largest)
            below = next(layer for layer in self.layers if layer.name == term.source)
            assert below.activation is not None
            activation = Activation("extreme", 0.0, below.activation.high - below.activation.low)
            passed = Term(term.source, (1, 1), op, (1, 1), np.ones(signal.shape[-1]))
            self.pools[key] = Layer(f"pool{self.numbers}", signal.shape, (passed,), np.zeros(()), activation)
            self.layers.append(self.pools[key])
        name = self.pools[key].name
        return _Signal(signal.shape, signal.flat, (Term(name, (1, 1), None, (1, 1), term.scale, name),), inner.bias)

    def _sum(self, parts: dict[int, float], signals: dict[int, _Signal]) -> _Signal:
        """What is left of a sum in which something cancels."""
        (first, factor), *others = parts.items()
        signal = self._scale(signals[first], np.asarray(factor), np.zeros(())) if factor != 1 else signals[first]
        for number, factor in others:
            signal = self._materialise(signal)
            other = self._materialise(self._scale(signals[number], np.asarray(factor), np.zeros(())))
            signal = replace(signal, terms=signal.terms + other.terms, bias=signal.bias + other.bias)
        return signal

    def _behind_bound(self, signal: _Signal, form: _Form) -> _Signal:
        """The sign of a clipped value is that of the value itself; what was done to it since counts before the sign."""
        assert signal.form is not None
        inner = self._scale(replace(signal, form=None), np.asarray(signal.form.factor), np.asarray(signal.form.shift))
        return replace(inner, form=form)

    def _image_terms(self, signal: _Signal) -> _Signal:
        """Fix how the input's values are scaled by its first use; later uses are relative to that."""
        if len(signal.terms) != 1 or signal.terms[0].source != IMAGE or signal.terms[0].operator is not None or signal.bias.ndim > 1:
            return signal
        term = signal.terms[0]
        channels = self.input_shape[-1]
        shift = np.broadcast_to(signal.bias, (channels,))
        if self.input_affine is None and np.all(term.scale != 0) and term.before == (1, 1):
            self.input_affine = term.scale.copy(), shift.copy()
        if self.input_affine is None:
            return signal
        relative = term.scale / self.input_affine[0]
        return replace(signal, terms=(replace(term, scale=relative),), bias=shift - relative * self.input_affine[1])

    def _average(self, signal: _Signal, window: tuple[int, int]) -> _Signal:
        terms = []
        for term in signal.terms:
            scale = term.scale / (window[0] * window[1])
            if term.operator is None:
                terms.append(replace(term, before=(term.before[0] * window[0], term.before[1] * window[1]), scale=scale))
            else:
                terms.append(replace(term, after=(term.after[0] * window[0], term.after[1] * window[1]), scale=scale))
        bias = signal.bias
        if bias.ndim == 3:
            bias = _pool(bias[None], window)[0] / (window[0] * window[1])
        shape = (signal.shape[0] // window[0], signal.shape[1] // window[1], signal.shape[2])
        return replace(signal, shape=shape, terms=tuple(terms), bias=bias)

    def _weights(self, signal: _Signal, op: g.Convolution | g.Linear, name: str) -> _Signal:
        signal = self._image_terms(signal)
        if any(term.operator is not None for term in signal.terms):
            raise ConversionError("two layers with weights without an activation between them; put a ReLU between them or merge them")
        height, width, channels = signal.shape
        operator: Kernel | Matrix
        if isinstance(op, g.Convolution):
            operator = Kernel(op.weight.transpose(2, 3, 1, 0), op.stride, op.padding)
            bias = signal.bias
            if np.any(bias != 0):
                # A constant input makes a constant output, except at padded borders.
                made = convolve(np.broadcast_to(bias, signal.shape)[None].astype(np.float64), operator)[0]
                flat = made.reshape(-1, made.shape[-1])
                bias = flat[0] if np.all(flat == flat[0]) else made
            else:
                bias = np.zeros(())
            rows = (height + op.padding[0] + op.padding[2] - op.weight.shape[2]) // op.stride[0] + 1
            cols = (width + op.padding[1] + op.padding[3] - op.weight.shape[3]) // op.stride[1] + 1
            shape: Shape = (rows, cols, op.weight.shape[0])
        else:
            outputs = op.weight.shape[0]
            matrix = op.weight.reshape(outputs, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, outputs)
            operator = Matrix(matrix)
            bias = np.broadcast_to(signal.bias, signal.shape).reshape(-1) @ matrix if np.any(signal.bias != 0) else np.zeros(())
            shape = (1, 1, outputs)
        terms = []
        for term in signal.terms:
            used, scale = operator, np.ones(shape[-1])
            if np.all(term.scale == term.scale[0]):
                # One scale for all inputs: binary weights stay binary.
                scale = scale * term.scale[0]
            elif isinstance(operator, Kernel):
                used = replace(operator, weights=operator.weights * term.scale[:, None])
            else:
                used = Matrix(operator.weights * np.tile(term.scale, height * width)[:, None])
            terms.append(replace(term, operator=used, scale=scale, name=name))
        if op.bias is not None:
            bias = bias + op.bias
        return _Signal(shape, isinstance(op, g.Linear), tuple(terms), bias)

    def _layer(self, signal: _Signal, activation: Activation | None) -> Layer:
        signal = self._image_terms(signal)
        self.numbers += 1
        operators = [term.operator for term in signal.terms]
        if any(isinstance(op, Kernel) for op in operators):
            kind = "conv"
        elif any(isinstance(op, Matrix) for op in operators):
            kind = "fc"
        else:
            kind = "input" if any(term.source == IMAGE for term in signal.terms) else "act"
        shape = (signal.shape[2],) if signal.shape[:2] == (1, 1) and (signal.flat or kind == "fc") else signal.shape
        bias = signal.bias
        if bias.ndim == 3:
            bias = bias.reshape(shape)
        terms = tuple(_merged(signal.terms))
        layer = Layer(f"{kind}{self.numbers}", shape, terms, bias, activation)
        self.layers.append(layer)
        return layer

    def _finish(self, signal: _Signal) -> None:
        signal = self._materialise(signal)
        self._layer(signal, None)


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


def _sign_of(form: _Form, op: g.Clip | g.Floor | g.Sign, number: int) -> _Form | None:
    """The form of an operator on a sign, or of a sign on a clipped value; None if it is none of a sign."""

    def done(value: Array) -> Array:
        if isinstance(op, g.Sign):
            return np.where(value > 0, 1.0, np.where(value < 0, -1.0, op.zero))
        return np.floor(value) if isinstance(op, g.Floor) else np.clip(value, op.low, op.high)

    factor, shift = np.asarray(form.factor, np.float64), np.asarray(form.shift, np.float64)
    if form.sign:
        low, between, high = (done(factor * core + shift) for core in (0.0, (form.zero + 1) / 2, 1.0))
        if np.any(low == high):
            raise ConversionError("a sign of which the same is made in both cases")
        zero = np.unique(np.round(2 * (between - low) / (high - low) - 1, 9))
        if len(zero) > 1 or zero[0] not in (-1.0, 0.0, 1.0):
            raise ConversionError("an activation behind a sign that tells zero from both signs in another way than by halves")
        return replace(form, zero=float(zero[0]), factor=high - low, shift=low)
    assert isinstance(op, g.Sign)
    if form.floor or factor.ndim or shift.ndim or factor <= 0:
        return None
    turns = -shift / factor
    if form.low < turns < form.high:
        return _Form(number, low=0, high=1, sign=True, zero=op.zero, factor=2.0, shift=-1.0)
    if form.low == turns and op.zero < 1:
        # (Behind a ReLU: 1 above the bound, and what the framework makes of zero at and below it.)
        return _Form(number, low=0, high=1, sign=True, zero=-1.0, factor=1 - op.zero, shift=op.zero)
    raise ConversionError(f"the sign of a value that is limited to {form.low:g}..{form.high:g} is always the same")


def _merged(terms: tuple[Term, ...]) -> list[Term]:
    """Terms with the same source and no operator are one (``x + x``)."""
    merged: list[Term] = []
    for term in terms:
        for i, other in enumerate(merged):
            if term.operator is None and other.operator is None and (term.source, term.before) == (other.source, other.before):
                merged[i] = replace(other, scale=other.scale + term.scale)
                break
        else:
            merged.append(term)
    return merged


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

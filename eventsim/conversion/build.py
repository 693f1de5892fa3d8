"""From layers to integers: thresholds, weights and biases of the spiking network, and how much rounding changed them.

A population's membrane potential is counted in *quanta*, one size per output channel. With activation range ``r`` (the
pre-activation at which a neuron fires once per step), quantum ``u`` and source range ``g`` (what one spike per step of the
source stands for), a weight w becomes ``w * g / u``, a threshold ``r / u`` and a bias ``b / u`` (Lu & Sengupta 2020, section 2.4,
written for weights that stay binary). Binary weights choose the quantum, so that they become +-2**bits exactly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eventsim.conversion.layers import Layer, SourceNetwork
from eventsim.conversion.terms import IMAGE, Array, Extreme
from eventsim.conversion.weights import (
    LARGEST_WEIGHT,
    SAME_MAGNITUDE,
    Integers,
    ScaledWeights,
    common_quantum,
    passes,
    signs_of,
    smallest_type,
    source_is_binary,
    table_of,
    weights_of,
)
from eventsim.errors import ConversionError
from eventsim.model.network import Network
from eventsim.model.order import feed_forward_order
from eventsim.model.tables import IntArray, Table, Windows

# A channel whose scale is (nearly) zero would need a threshold beyond any potential; at this one its weights hardly count.
_LARGEST_THRESHOLD = 2**24
_LARGEST_PIXEL = 255
_LARGEST_FRACTION_BITS = 8
# Fraction bits are added until no threshold is off by more than this share.
_THRESHOLD_TOLERANCE = 1 / 512
# The steps into which a pixel value is divided where its offset is no whole number.
_PIXEL_FRACTION = 4
_EXACT_OFFSET = 1e-6
# Networks of 6 such layers gain nothing by a shorter period, those of 14 and 20 much (docs/conversion.md).
_DEEP = 10
# And until no other weight of a single magnitude, or passed on, is off by more than this share; others have so many quanta at least.
_WEIGHT_TOLERANCE, _LEAST_QUANTA = 1 / 64, 32


@dataclass(frozen=True)
class Settings:
    """How a network is made (see :func:`eventsim.convert`)."""

    initial: Literal["half", "zero"] = "half"
    signed: bool | None = None
    refractory: float | None = None
    fraction_bits: int | None = None
    weight_bits: int = 8
    phase: float | None = None


@dataclass
class LayerReport:
    """What conversion did to one layer's weights and thresholds.

    Attributes
    ----------
    name : str
        Of the population.
    source : str
        Of the source network's node.
    weights : int
    binary : bool
        The source's weights are +-alpha, one alpha per filter or for all.
    binary_table : bool
        The spiking network stores them as signs with one magnitude.
    signs_changed : int
        Weights whose sign is not the source's, negative batch-norm scales taken into account. Of non-binary layers,
        weights rounded to zero do not count.
    flipped_filters : int
        Output channels whose weights changed sign because the source scales them by a negative number.
    range : (float, float)
        Smallest and largest activation range over the channels, in the source network's units.
    threshold : (int, int) or None
        Smallest and largest threshold.
    threshold_error : float
        Largest relative rounding error of a threshold.
    weight_error : float
        Largest rounding error of a weight, relative to the layer's largest.
    bias_error : float
        Largest rounding error of a bias, relative to the threshold (of the readout: to its largest weight).
    """

    name: str
    source: str
    weights: int
    binary: bool
    binary_table: bool
    signs_changed: int
    flipped_filters: int
    range: tuple[float, float]
    threshold: tuple[int, int] | None
    threshold_error: float
    weight_error: float
    bias_error: float


@dataclass
class ConversionReport:
    """Rounding and binarity of a conversion, per layer.

    Attributes
    ----------
    layers : list of LayerReport
    settings : dict
    remarks : list of str
    """

    layers: list[LayerReport] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def binary_layers(self) -> int:
        """Number of layers whose weights are binary in the source network."""
        return sum(layer.binary for layer in self.layers)

    @property
    def signs_changed(self) -> int:
        """Number of weights whose sign differs from the source's: 0 proves that binary stayed binary."""
        return sum(layer.signs_changed for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "binary layers": self.binary_layers,
            "layers": [asdict(layer) for layer in self.layers],
            "settings": self.settings,
            "signs changed": self.signs_changed,
            "remarks": self.remarks,
        }

    def __str__(self) -> str:
        lines = [
            f"{self.binary_layers} of {len(self.layers)} layers are binary; {self.signs_changed} weights changed sign",
            f"{'layer':12} {'weights':>11}  {'binary':7} {'threshold':>19}  {'rounding of threshold':>21} {'weights':>9} {'bias':>9}",
        ]
        for layer in self.layers:
            threshold = "readout" if layer.threshold is None else f"{layer.threshold[0]:,}..{layer.threshold[1]:,}"
            lines.append(
                f"{layer.name:12} {layer.weights:>11,}  {('yes' if layer.binary_table else 'signs') if layer.binary else 'no':7} "
                f"{threshold:>19}  {layer.threshold_error:>21.2e} {layer.weight_error:>9.2e} {layer.bias_error:>9.2e}"
            )
        return "\n".join(lines + [f"note: {remark}" for remark in self.remarks])


def build(
    source: SourceNetwork, ranges: dict[str, Array], pixel: tuple[Array, Array], settings: Settings, biased: bool | None = None
) -> tuple[Network, ConversionReport]:
    """Make the spiking network.

    Parameters
    ----------
    source : SourceNetwork
    ranges : dict of str to float64, () or (channels,)
        Activation range of every hidden layer: the activation that one spike per step stands for.
    pixel : (factor, shift)
        ``value = factor * pixel + shift`` per channel, pixels in 0..255: the network's input values.
    settings : Settings
    biased : bool, optional
        Whether neurons of ReLU layers are signed on account of biases. Default: as :func:`biases_ask_for_signs` says of the source.

    Raises
    ------
    ConversionError
        A layer that has no spiking counterpart here, or settings out of range.
    """
    net = Network()
    report = ConversionReport(settings=asdict(settings), remarks=list(source.remarks))
    scale, offset, unit = image_scale(source, pixel)
    net.image_input(source.input_shape, scale, offset)
    if settings.signed is None and (biases_ask_for_signs(source) if biased is None else biased):
        settings = replace(settings, signed=True)
        report.remarks.append("neurons are signed, since biases come before what balances them (--unsigned: they are not)")
    for layer in source.layers:
        try:
            _add(net, report, source, layer, ranges, unit, settings)
        except ConversionError as error:
            raise ConversionError(f"{layer.name}: {error}") from None
    if settings.refractory is None and (layers := _signed_layers(net)) >= _DEEP:
        report.remarks.append(f"{layers} layers of signed neurons: asynchronous runs are right sooner with --refractory 0.75")
    return net, report


def _signed_layers(net: Network) -> int:
    """How many layers of signed neurons a spike passes at most."""
    passed: dict[str, int] = {}
    for name in feed_forward_order(net) or []:
        before = max((passed[p.source] for p in net.projections if p.target == name), default=0)
        neurons = net.populations[name]
        passed[name] = before + (neurons.signed and neurons.refractory is not None)
    return max(passed.values(), default=0)


def biases_ask_for_signs(source: SourceNetwork) -> bool:
    """Whether neurons of ReLU layers should be able to take back a spike.

    They should where a layer behind the first has a bias (batch norm makes one): it comes in every step from the first on, while what
    balances it has yet to pass the layers before, so neurons fire that should be silent. The first layer's bias is part of a constant
    current, the readout's moves no spike, and without biases (the paper's networks) a silent layer below leaves its successors silent.
    Neurons that were spiking ones in the source network stay as they are.
    """
    hidden = [layer for layer in source.layers if layer.activation is not None and all(term.source != IMAGE for term in layer.terms)]
    kinds = {layer.activation.kind for layer in hidden if layer.activation is not None}
    return "relu" in kinds and "rate" not in kinds and any(np.any(layer.bias) for layer in hidden)


def check_settings(settings: Settings) -> None:
    """Raise ConversionError where a setting is out of range."""
    if settings.initial not in ("half", "zero"):
        raise ConversionError(f"the initial potential is 'half' a threshold or 'zero', found {settings.initial!r}")
    if not 2 <= settings.weight_bits <= 16:
        raise ConversionError(f"weight bits must be 2..16, found {settings.weight_bits}")
    if settings.phase is not None and not 0 <= settings.phase <= 1000:
        raise ConversionError(f"a phase must have 0..1000 steps, found {settings.phase}")
    if settings.fraction_bits is not None and not 0 <= settings.fraction_bits <= 12:
        raise ConversionError(f"fraction bits must be 0..12, found {settings.fraction_bits}")


def image_scale(source: SourceNetwork, pixel: tuple[Array, Array]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """Integer scale and offset of the image, and what one unit of the integer input stands for, per channel."""
    factor, offset = _image(source, pixel)
    fraction = _fraction(offset)
    return np.full(len(factor), fraction), np.round(offset * fraction).astype(np.int64), factor / fraction


def offset_error(source: SourceNetwork, pixel: tuple[Array, Array]) -> float:
    """By how many grey levels :func:`image_scale` rounds the image's offset at most; 0 for what is no more than rounding of the source."""
    _, offset = _image(source, pixel)
    fraction = _fraction(offset)
    error = float(np.abs(offset - np.round(offset * fraction) / fraction).max())
    return error if error > _EXACT_OFFSET else 0.0


def _image(source: SourceNetwork, pixel: tuple[Array, Array]) -> tuple[Array, Array]:
    """What a grey level is worth, and the grey level that is 0: per channel."""
    factor = np.broadcast_to(pixel[0] * source.input_factor, (source.input_shape[-1],))
    shift = np.broadcast_to(pixel[1] * source.input_factor + source.input_shift, (source.input_shape[-1],))
    if np.any(factor == 0):
        raise ConversionError("an input channel is multiplied by zero")
    return factor, -shift / factor


def _fraction(offset: Array) -> int:
    return 1 if np.allclose(offset, np.round(offset), rtol=0, atol=_EXACT_OFFSET) else _PIXEL_FRACTION


def _range(layer: Layer, ranges: dict[str, Array]) -> Array:
    """Pre-activation per channel at which a neuron fires once per step."""
    assert layer.activation is not None
    if layer.name not in ranges:
        return np.full(layer.shape[-1], layer.activation.high - layer.activation.low)
    return np.broadcast_to(np.asarray(ranges[layer.name], np.float64), (layer.shape[-1],))


def gain(layer: Layer, ranges: dict[str, Array]) -> Array:
    """What one spike per step of a layer stands for, per channel."""
    assert layer.activation is not None
    return _range(layer, ranges)


def _zero(layer: Layer, full: Array) -> Array:
    """Pre-activation at which the rate is 0: rounding down becomes rounding to nearest with half a threshold to begin with."""
    assert layer.activation is not None
    kind = layer.activation.kind
    if kind == "steps":
        return np.full(len(full), layer.activation.low + 0.5)
    return np.full(len(full), layer.activation.low)


@dataclass(frozen=True)
class _Scaled:
    """A layer's numbers as integers.

    Attributes
    ----------
    quantum : float64 (channels,)
        What an integer weight of 1 is worth.
    full : float64 or None
        The range of the activation: what a threshold is worth. None for the output.
    threshold : int64 or None
    bias : int64
    bias_error : float64
        Of the bias, relative to the range.
    integers : list of integer arrays
        The weights of each term.
    tables : list of Table
        One a term.
    """

    quantum: Array
    full: Array | None
    threshold: IntArray | None
    bias: IntArray
    bias_error: Array
    threshold_error: float
    integers: list[Integers]
    tables: list[Table]


def _add(
    net: Network, report: ConversionReport, source: SourceNetwork, layer: Layer, ranges: dict[str, Array], unit: Array, settings: Settings
) -> None:
    known = {other.name: other for other in source.layers}
    if layer.activation is not None and layer.activation.kind == "extreme":
        _pool(net, layer)
        return
    from_image = [term.source == IMAGE for term in layer.terms]
    if any(from_image) and (len(layer.terms) > 1 or layer.activation is None):
        raise ConversionError("the image is added to spikes, or goes straight to the output; put an activation behind its first layer")
    terms = [weights_of(term, unit if term.source == IMAGE else gain(known[term.source], ranges)) for term in layer.terms]
    scaled = _scale(layer, terms, _range(layer, ranges) if layer.activation is not None else None, settings)
    _connect(net, layer, scaled, any(from_image), settings)
    if layer.activation is not None and layer.activation.even and _ties(layer, known, unit):
        report.remarks.append(
            f"{layer.name}: sums can lie exactly between two levels, where the source takes the even one and a neuron the upper one; "
            "at most one level, and only there"
        )
    report.layers += [_report(layer, weights, i, scaled) for i, weights in enumerate(terms)]


def _pool(net: Network, layer: Layer) -> None:
    """Max pooling of rates: net counts are those of what is pooled, so a spike stands for what it does there."""
    (term,) = layer.terms
    assert isinstance(term.operator, Extreme)
    if term.operator.dilation != (1, 1):
        raise ConversionError("max pooling over windows with a dilation; expected windows without gaps")
    below = net.populations[term.source]
    net.maximum(layer.name, layer.shape, largest=term.operator.largest, signed=below.signed)
    net.connect(term.source, layer.name, Windows(term.operator.window, term.operator.stride, term.operator.padding))


def _ties(layer: Layer, known: dict[str, Layer], unit: Array) -> bool:
    """Whether a layer that rounds half to even can have sums exactly between two levels: they are on a grid, and so are those places."""
    below = [known[term.source].activation for term in layer.terms if term.source != IMAGE]
    if not all(activation is not None and activation.kind in ("steps", "sign", "extreme") for activation in below):
        return False
    quantum, found = common_quantum([(term, 1.0) for term in layer.terms], layer.shape[-1], True, unit)
    finest = np.minimum(quantum, 1.0)
    places, levels = layer.bias / finest, np.maximum(quantum, 1.0) / finest
    return found and bool(np.any(np.abs(places - np.round(places)) + np.abs(levels - np.round(levels)) < 1e-6))


def _scale(layer: Layer, terms: list[ScaledWeights], full: Array | None, settings: Settings) -> _Scaled:
    """Round a layer's weights, threshold and bias."""
    quantum, bits, exact = _quantum(terms, layer.shape[-1], full, settings)
    bias = np.asarray(layer.bias, np.float64)
    threshold = None
    if full is not None:
        threshold = np.clip(np.round(full / quantum), 1, _LARGEST_THRESHOLD).astype(np.int64)
        bias = bias - _zero(layer, full)
    # Where the threshold was capped, the quantum that the bias is counted in follows it.
    bias_quantum = quantum if full is None else np.maximum(quantum, full / _LARGEST_THRESHOLD)
    integer_bias = np.round(bias / bias_quantum)
    if np.abs(integer_bias).max(initial=0) >= 2**30:
        raise ConversionError("a bias that is more than 2**30 times a weight; the layer cannot be represented")
    integer_bias = integer_bias.astype(np.int64)
    integers = [_integers(weights, quantum[weights.term.places()], bits, exact) for weights in terms]
    tables = [table_of(weights.term, numbers, layer.shape) for weights, numbers in zip(terms, integers, strict=True)]
    reference = float(np.abs(quantum).max()) * 2.0**bits if threshold is None else 1.0
    bias_error = np.abs(integer_bias * bias_quantum - bias) / (reference if full is None else full)
    threshold_error = 0.0 if threshold is None or full is None else float(np.max(np.abs(threshold * bias_quantum / full - 1)))
    return _Scaled(quantum, full, threshold, integer_bias, bias_error, threshold_error, integers, tables)


def _connect(net: Network, layer: Layer, scaled: _Scaled, from_image: bool, settings: Settings) -> None:
    """Add the layer's population, and its projections."""
    threshold = scaled.threshold
    steps = layer.activation is not None and layer.activation.kind not in ("relu", "rate")
    signed = settings.signed if settings.signed is not None else steps
    # Without a period, signed neurons answer every passing surplus of an asynchronous run with a spike and its opposite. (The first
    # layer's have a constant current: their period bounds their rate, and a shorter one lets them fire more than one spike a step.)
    refractory = settings.refractory if settings.refractory is not None and not from_image else float(steps or signed)
    v0: Any = 0 if threshold is None or settings.initial != "half" else threshold // 2
    if threshold is None:
        net.readout(layer.name, layer.shape)
    elif from_image:
        if scaled.bias.ndim > 1:
            raise ConversionError("a bias that differs between positions in the first layer")
        net.driven(layer.name, layer.shape, threshold, v0=v0, refractory=refractory, encoder=scaled.tables[0], bias=scaled.bias)
    else:
        net.spiking(layer.name, layer.shape, threshold, v0=v0, signed=signed, refractory=refractory)
    if not from_image:
        for term, table in zip(layer.terms, scaled.tables, strict=True):
            net.connect(term.source, layer.name, table)
        if np.any(scaled.bias):
            net.bias(layer.name, scaled.bias)


def _report(layer: Layer, weights: ScaledWeights, number: int, scaled: _Scaled) -> LayerReport:
    """What became of one of a layer's tables."""
    table, integers = scaled.tables[number], scaled.integers[number]
    changed, flipped = signs_of(weights, integers)
    full, threshold, binary = scaled.full, scaled.threshold, source_is_binary(weights.term)
    return LayerReport(
        name=layer.name,
        source=weights.term.name,
        weights=int(integers.size),
        binary=binary,
        binary_table=binary and table.magnitude is not None,
        signs_changed=changed,
        flipped_filters=flipped,
        range=(0.0, 0.0) if full is None else (float(full.min()), float(full.max())),
        threshold=None if threshold is None else (int(threshold.min()), int(threshold.max())),
        threshold_error=scaled.threshold_error,
        weight_error=_weight_error(weights, integers, scaled.quantum[weights.term.places()]),
        bias_error=float(scaled.bias_error.max(initial=0)),
    )


def _quantum(terms: list[ScaledWeights], channels: int, full: Array | None, settings: Settings) -> tuple[Array, int, int | None]:
    """Quantum per output channel, bits of the largest weights, and which term is represented exactly (None: none is)."""
    for i, weights in enumerate(terms):
        magnitude = weights.magnitude
        if magnitude is None or (full is None and np.ptp(magnitude) > SAME_MAGNITUDE * magnitude.max()):
            continue
        if weights.term.place is not None or (passes(weights.term) and len(terms) > 1):
            continue
        magnitude = np.full(channels, magnitude.mean()) if full is None else magnitude
        # A channel that is scaled by zero still needs a quantum; its threshold is capped.
        magnitude = np.maximum(magnitude, 1e-30)
        others = [other for j, other in enumerate(terms) if j != i]
        most = LARGEST_WEIGHT / 2.0 ** (_LARGEST_FRACTION_BITS if settings.fraction_bits is None else settings.fraction_bits)
        if any(np.any(other.largest() > magnitude[other.term.places()] * most) for other in others):
            continue
        if settings.fraction_bits is not None:
            return _capped(weights, magnitude, full, settings.fraction_bits), settings.fraction_bits, i
        bits = 6 if full is None else 0
        while full is not None and bits < _LARGEST_FRACTION_BITS:
            exact = np.minimum(full / magnitude * 2.0**bits, _LARGEST_THRESHOLD)
            close = np.all(np.abs(np.maximum(1, np.round(exact)) / exact - 1) <= _THRESHOLD_TOLERANCE)
            if close and all(_fine(other, magnitude[other.term.places()] / 2.0**bits) for other in others):
                break
            bits += 1
        return _capped(weights, magnitude, full, bits), bits, i
    largest = np.zeros(channels)
    for weights in terms:
        places = weights.term.places()
        largest[places] = np.maximum(largest[places], weights.largest())
    if full is None:
        largest = np.full(channels, largest.max())
    top = 2.0 ** (settings.weight_bits - 1) - 1
    quantum = np.maximum(largest, 1e-30) / top
    # Weights that are small beside the range get fewer bits, rather than a threshold beyond any potential.
    return quantum if full is None else np.maximum(quantum, full / _LARGEST_THRESHOLD), settings.weight_bits - 1, None


def _capped(weights: ScaledWeights, magnitude: Array, full: Array | None, bits: int) -> Array:
    """The quantum of binary weights; a larger one for channels whose threshold is capped but whose weights count at that threshold."""
    quantum: Array = magnitude / 2.0**bits
    if full is None or not np.any(full > quantum * _LARGEST_THRESHOLD):
        return quantum
    worth = weights.over_outputs(lambda real, _: np.full(real.shape, 2.0**bits), np.add)
    if weights.term.source == IMAGE:
        worth = worth * _LARGEST_PIXEL
    counts = np.zeros(len(quantum), bool)
    counts[weights.term.places()] = worth > _THRESHOLD_TOLERANCE * _LARGEST_THRESHOLD
    return np.where(counts, np.maximum(quantum, full / _LARGEST_THRESHOLD), quantum)


def _fine(weights: ScaledWeights, quantum: Array) -> bool:
    """Whether weights are represented well by quanta that another term chose."""
    if weights.magnitude is None:
        return bool(np.all((weights.largest() >= _LEAST_QUANTA * quantum) | (weights.largest() == 0)))
    exact = weights.magnitude / quantum
    return bool(np.all(np.abs(np.round(exact) / exact - 1) <= _WEIGHT_TOLERANCE))


def _integers(weights: ScaledWeights, quantum: Array, bits: int, exact: int | None) -> Integers:
    """A term's weights in quanta (per output of the term), shaped as its operator has them."""
    binary = exact is not None and weights.magnitude is not None and np.allclose(weights.magnitude, quantum * 2.0**bits, rtol=1e-4)
    largest = 2.0**bits if binary else float(np.max(weights.largest() / quantum, initial=0))
    dtype = smallest_type(largest)
    flat = weights.shape if len(weights.shape) == 1 else (int(np.prod(weights.shape[:-1])), weights.shape[-1])
    integers = np.empty(flat, dtype)
    for part, real, outputs in weights.parts():
        integers[part] = np.where(real < 0, -(2**bits), 2**bits) if binary else np.round(real / quantum[outputs])
    return integers.reshape(weights.shape)


def _weight_error(weights: ScaledWeights, integers: Integers, quantum: Array) -> float:
    if passes(weights.term):
        return 0.0
    return weights.error(integers, quantum) / max(float(weights.largest().max()), 1e-30)

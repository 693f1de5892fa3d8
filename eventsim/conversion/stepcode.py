"""Networks whose activations have one to three thresholds, exactly: a neuron for each threshold, which spikes once or not at all.

A sign activation is ``a = 2 s - 1`` with ``s`` = 1 where the neuron spikes, so ``W a = 2 W s - sum W``; an activation with more levels
is a sum of such neurons, one for each threshold. Weights on a grid (binary ones are) are whole numbers of quanta, so each channel's
batch norm, bias and the sums that belong to ``-1`` become one whole number, the least sum at which the neuron spikes, and nothing is
rounded.

Time: the first layer spikes in the first tick, and a spike takes one *phase* from layer to layer, the delay of its projection. All
that a neuron gets arrives in one tick, together with a pulse that brings what is not spikes, and its refractory period is longer than
any run; so it is decided once, with all its inputs in, at any resolution. A phase is short enough that the answer comes within one
step, and so short that it is no tick at all in a clocked run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eventsim.conversion.build import ConversionReport, LayerReport, Settings, image_scale, offset_error
from eventsim.conversion.layers import Activation, Layer, SourceNetwork
from eventsim.conversion.terms import IMAGE, Array, Extreme, Term
from eventsim.conversion.weights import (
    ScaledWeights,
    common_quantum,
    reach_of_spikes,
    shared,
    signs_of,
    smallest_type,
    source_is_binary,
    table_of,
)
from eventsim.errors import ConversionError
from eventsim.model.limits import MAX_PERIOD
from eventsim.model.network import Network
from eventsim.model.periods import ticks
from eventsim.model.tables import Sparse

# Thresholds of an activation; with more of them, spikes that count levels are cheaper.
MOST_THRESHOLDS = 3
# What comes so near to a whole number of quanta is meant to be one; of large ones float32 leaves so large a share open, but no more quanta.
_TIE, _TIE_SHARE, _LARGEST_TIE = 1e-6, 2.0**-21, 0.1
# Digits of a float32 number: what is finer than the last one of the largest sum, the source's own sums do not resolve.
_FLOAT32_BITS = 24
# Where there is no common quantum.
_READOUT_BITS = 16
_PULSE = "start"


def thresholds(activation: Activation) -> list[tuple[float, bool]]:
    """The pre-activations at which an activation steps up, ascending, and whether the value itself still lies below the step."""
    if activation.kind == "steps":
        levels = range(round(activation.low) + 1, round(activation.high) + 1)
        # Of two whole numbers that are equally near, rounding takes the even one.
        return [(float(k), activation.even and k % 2 != 0) for k in levels]
    return {1.0: [(0.0, False)], -1.0: [(0.0, True)], 0.0: [(0.0, False), (0.0, True)]}[activation.zero]


def applies(source: SourceNetwork, settings: Settings) -> bool:
    """Whether a network is converted this way: all its activations are steps, few enough; and some of them signs, or it can be exact.

    Without signs, it is not if settings ask for neurons that count levels.

    Raises
    ------
    ConversionError
        Signs that cannot be converted, or settings that have no effect on them; a phase for other networks.
    """
    chosen = [name for name in ("initial", "signed", "refractory", "fraction_bits") if getattr(settings, name) != getattr(Settings(), name)]
    found = _all_steps(source)
    if found == "signs" and chosen:
        raise ConversionError(f"sign activations become one spike each; {', '.join(chosen)} would have no effect, leave them out")
    applied = found == "signs" or (found == "steps" and not chosen)
    if settings.phase is not None and not applied:
        raise ConversionError("a phase is for networks whose activations have one to three thresholds each, with nothing else chosen")
    return applied


def _all_steps(source: SourceNetwork) -> Literal["signs", "steps"] | None:
    """Whether all activations have few thresholds, with signs among them, or else with weights that can be exact."""
    hidden = [layer for layer in source.layers if layer.activation is not None and layer.activation.kind != "extreme"]
    activations = [layer.activation for layer in hidden if layer.activation is not None]
    if not activations or any(a.kind not in ("sign", "steps") or len(thresholds(a)) > MOST_THRESHOLDS for a in activations):
        if any(a.kind == "sign" for a in activations):
            kinds = ", ".join(sorted({a.kind for a in activations} - {"sign"})) or "more than three thresholds"
            raise ConversionError(
                f"sign activations beside others ({kinds}): a sign is decided once, with all its inputs in, and rates are never all in; "
                "expected one to three thresholds in every activation, or no signs"
            )
        return None
    if any(a.kind == "sign" for a in activations):
        return "signs"
    inside = [layer for layer in hidden if all(term.source != IMAGE for term in layer.terms)]
    return "steps" if all(common_quantum([(term, 1.0) for term in layer.terms], layer.shape[-1], True)[1] for layer in inside) else None


@dataclass(frozen=True)
class StepNeurons:
    """The neurons of one threshold of a layer.

    Attributes
    ----------
    name : str
        Of the population.
    share : float
        What a spike of theirs is worth, as a share of the layer's highest value.
    """

    name: str
    share: float


def build(
    source: SourceNetwork, pixel: tuple[Array, Array], settings: Settings
) -> tuple[Network, ConversionReport, dict[str, list[StepNeurons]]]:
    """Make the spiking network.

    Parameters
    ----------
    source : SourceNetwork
        One that :func:`applies` to.
    pixel : (factor, shift)
        As in :func:`eventsim.conversion.build.build`.
    settings : Settings

    Returns
    -------
    network, report, neurons
        ``neurons`` by the layer's name.

    Raises
    ------
    ConversionError
        A layer that has no counterpart.
    """
    builder = _Builder(source, pixel, settings)
    for layer in source.layers:
        try:
            builder.add(layer)
        except ConversionError as error:
            raise ConversionError(f"{layer.name}: {error}") from None
    builder.remark()
    return builder.net, builder.report, builder.neurons


def default_phase(levels: int) -> float:
    """Duration of a phase, in steps: a power of two, so short that ``levels`` phases end within a step at every resolution.

    At R ticks a step a phase has ``p = floor(phase R + 1/2)`` ticks, and the last spikes arrive in tick ``1 + levels p``, which is at most
    R if ``phase <= 1 / (2 levels + 2)``: either p is 0, or R >= 1 / (2 phase).
    """
    return 2.0 ** -int(np.ceil(np.log2(2 * levels + 2)))


class _Builder:
    def __init__(self, source: SourceNetwork, pixel: tuple[Array, Array], settings: Settings):
        self.source, self.settings = source, settings
        self.net = Network()
        self.report = ConversionReport(settings=asdict(settings), remarks=list(source.remarks))
        scale, offset, self.unit = image_scale(source, pixel)
        self.offset_error = offset_error(source, pixel)
        self.net.image_input(source.input_shape, scale, offset)
        self.largest_value = int((np.abs(scale) * 255 + np.abs(offset)).max())
        self.shapes = {layer.name: layer.shape for layer in source.layers}
        self.neurons: dict[str, list[StepNeurons]] = {}
        self.level: dict[str, int] = {}
        for layer in source.layers:
            self.level[layer.name] = 1 + max((self.level[t.source] for t in layer.terms if t.source != IMAGE), default=-1)
        self.levels = max(self.level.values())
        self.phase = default_phase(self.levels) if settings.phase is None else settings.phase
        self.rounded: list[str] = []

    def add(self, layer: Layer) -> None:
        """Add the populations of a layer, and what leads to them."""
        from_image = [term.source == IMAGE for term in layer.terms]
        if any(from_image) and (len(layer.terms) > 1 or layer.activation is None):
            raise ConversionError("the image is added to spikes, or goes straight to the output; put an activation behind its first layer")
        if isinstance(layer.terms[0].operator, Extreme):
            self._pool(layer, layer.terms[0].source, layer.terms[0].operator)
            return
        parts = self._parts(layer)
        weights = [shared(term, share, self.unit) for term, _, share in parts]
        quantum, exact = common_quantum(
            [(term, share) for term, _, share in parts], layer.shape[-1], layer.activation is not None, self.unit
        )
        if not exact:
            self.rounded.append(layer.name)
            largest = np.zeros(layer.shape[-1])
            for w in weights:
                np.maximum.at(largest, w.term.places(), w.largest())
            bits = self.settings.weight_bits if layer.activation is not None else max(_READOUT_BITS, self.settings.weight_bits)
            largest = largest if layer.activation is not None else np.full_like(largest, largest.max())
            quantum = np.maximum(largest, 1e-30) / (2.0 ** (bits - 1) - 1)
        integers = [_whole(w, quantum[w.term.places()]) for w in weights]
        bias = np.asarray(layer.bias, np.float64) / quantum
        reach = np.zeros(layer.shape[-1], np.int64)
        for (term, _, _), numbers in zip(parts, integers, strict=True):
            np.add.at(reach, term.places(), reach_of_spikes(term, numbers))
        if layer.activation is None:
            self._read_out(layer, parts, weights, integers, quantum, bias, reach)
            return
        reach = reach * self.largest_value if any(from_image) else reach
        least = [_least(k, strict, quantum, bias, reach) for k, strict in thresholds(layer.activation)]
        if layer.activation.kind == "sign" and len(least) == 2 and np.array_equal(least[0], least[1]):
            least = least[:1]  # no sum can be zero
        self.neurons[layer.name] = [StepNeurons(layer.name if i == 0 else f"{layer.name}+{i}", 1 / len(least)) for i in range(len(least))]
        for neurons, lowest in zip(self.neurons[layer.name], least, strict=True):
            if any(from_image):
                self._drive(layer, neurons.name, weights[0], integers[0], lowest)
                continue
            # What has to arrive is at least one spike or pulse: nothing is due before.
            per_channel = lowest if lowest.ndim == 1 else lowest.reshape(-1, lowest.shape[-1]).max(0)
            v0 = np.minimum(1 - per_channel, 0)
            self.net.spiking(neurons.name, layer.shape, 1, v0=v0, refractory=MAX_PERIOD)
            self._connect(layer, neurons.name, parts, integers)
            self._pulse(layer, neurons.name, 1 - lowest - v0)
        self._note(layer, parts, weights, integers, quantum, least)

    def _read_out(
        self,
        layer: Layer,
        parts: list[tuple[Term, str, float]],
        weights: list[ScaledWeights],
        integers: list[npt.NDArray[np.integer]],
        quantum: Array,
        bias: Array,
        reach: npt.NDArray[np.int64],
    ) -> None:
        """The output: a bias in quanta, with as many binary digits behind the point as tell it from others."""
        bits = _fraction(bias, reach)
        self.net.readout(layer.name, layer.shape)
        integers = [_narrow(numbers.astype(np.int64) << bits) for numbers in integers]
        offset = np.round(bias * 2.0**bits)
        self._connect(layer, layer.name, parts, integers)
        self._pulse(layer, layer.name, offset.astype(np.int64))
        largest = max(int(np.abs(numbers.astype(np.int64)).max(initial=1)) for numbers in integers)
        error = float(np.abs(offset - bias * 2.0**bits).max(initial=0)) / largest
        self._note(layer, parts, weights, integers, quantum / 2.0**bits, None, error)

    def _pool(self, layer: Layer, source: str, operator: Extreme) -> None:
        """Of each window's neurons, whether one of them spikes (maximum), or all do (minimum)."""
        shape = self.shapes[source]
        windows = _windows(shape, layer.shape, operator)
        inside = np.bincount(windows.indices, minlength=windows.targets).reshape(layer.shape)
        least = np.where(operator.largest, 1, inside)
        self.neurons[layer.name] = []
        for i, below in enumerate(self.neurons[source]):
            neurons = StepNeurons(layer.name if i == 0 else f"{layer.name}+{i}", below.share)
            self.neurons[layer.name].append(neurons)
            v0 = 1 - least.reshape(-1, least.shape[-1]).max(0)
            self.net.spiking(neurons.name, layer.shape, 1, v0=v0, refractory=MAX_PERIOD)
            late = self._relayed(below.name, self.level[source], self.level[layer.name] - 1)
            self.net.connect(late, neurons.name, windows, delay=self.phase)
            self._pulse(layer, neurons.name, 1 - least - v0)

    def _parts(self, layer: Layer) -> list[tuple[Term, str, float]]:
        """Each term once for each population that it takes spikes from: the term, the population's name, what a spike is worth."""
        parts: list[tuple[Term, str, float]] = []
        for term in layer.terms:
            if term.source == IMAGE:
                parts.append((term, IMAGE, 1.0))
                continue
            activation = next(other.activation for other in self.source.layers if other.name == term.source)
            assert activation is not None
            highest = activation.high - activation.low
            parts += [(term, neurons.name, neurons.share * highest) for neurons in self.neurons[term.source]]
        return parts

    def _drive(
        self, layer: Layer, name: str, weights: ScaledWeights, integers: npt.NDArray[np.integer], lowest: npt.NDArray[np.int64]
    ) -> None:
        """Neurons that spike in the first tick if their current, the bias among it, is not negative, and never otherwise."""
        if lowest.ndim > 1:
            raise ConversionError("a bias that differs between positions in the first layer")
        table = table_of(weights.term, integers, layer.shape)
        self.net.driven(name, layer.shape, 1, v0=1, refractory=MAX_PERIOD, encoder=table, bias=-lowest)

    def _connect(
        self,
        layer: Layer,
        name: str,
        parts: list[tuple[Term, str, float]],
        integers: list[npt.NDArray[np.integer]],
    ) -> None:
        for (term, source, _), numbers in zip(parts, integers, strict=True):
            table = table_of(term, numbers, layer.shape)
            late = self._relayed(source, self.level[term.source], self.level[layer.name] - 1)
            self.net.connect(late, name, table, delay=self.phase)

    def _pulse(self, layer: Layer, name: str, offset: npt.NDArray[np.int64]) -> None:
        """Bring every neuron's constant together with its spikes."""
        full = np.broadcast_to(offset, layer.shape).ravel()
        targets = np.flatnonzero(full)
        if not len(targets):
            return
        if _PULSE not in self.net.populations:
            self.net.source(_PULSE, self.levels, "start", period=self.phase)
        before = self.level[layer.name] - 1  # its pulse leaves with the spikes of the level before
        indptr = np.repeat([0, len(targets)], [before + 1, self.levels - before])
        self.net.connect(_PULSE, name, Sparse(indptr, targets, full[targets], len(full)), delay=self.phase)

    def _relayed(self, name: str, level: int, until: int) -> str:
        """The population that repeats another one's spikes so many phases later.

        (One longer delay would not do: two phases, each rounded to ticks, are not always two phases rounded together.)
        """
        for number in range(level + 1, until + 1):
            relay = f"{name}:{number}"
            if relay not in self.net.populations:
                shape = self.net.populations[name].shape
                size = int(np.prod(shape))
                self.net.spiking(relay, shape, 1, refractory=MAX_PERIOD)
                same = Sparse(np.arange(size + 1), np.arange(size), np.ones(size, np.int8), size)
                self.net.connect(name if number == level + 1 else f"{name}:{number - 1}", relay, same, delay=self.phase)
        return name if until <= level else f"{name}:{until}"

    def _note(
        self,
        layer: Layer,
        parts: list[tuple[Term, str, float]],
        weights: list[ScaledWeights],
        integers: list[npt.NDArray[np.integer]],
        quantum: Array,
        least: list[npt.NDArray[np.int64]] | None,
        bias_error: float = 0.0,
    ) -> None:
        for (term, _, _), scaled, numbers in zip(parts, weights, integers, strict=True):
            table = table_of(term, numbers, layer.shape)
            changed, flipped = signs_of(scaled, numbers)
            error = scaled.error(numbers, quantum[term.places()])
            binary = source_is_binary(term)
            self.report.layers.append(
                LayerReport(
                    name=layer.name,
                    source=term.name,
                    weights=int(numbers.size),
                    binary=binary,
                    binary_table=binary and table.magnitude is not None,
                    signs_changed=changed,
                    flipped_filters=flipped,
                    range=(1.0, 1.0) if least is not None else (0.0, 0.0),
                    threshold=None if least is None else (min(int(k.min()) for k in least), max(int(k.max()) for k in least)),
                    threshold_error=0.0,
                    weight_error=error / max(float(scaled.largest().max()), 1e-30),
                    bias_error=bias_error,
                )
            )

    def remark(self) -> None:
        """Say which code it is, and what to run."""
        steps = max(-(-(1 + self.levels * ticks(self.phase, resolution)) // resolution) for resolution in (*range(1, 100), 2**20))
        self.net.provenance["steps"] = steps
        rounded = [f"weights of {', '.join(self.rounded)} rounded"] if self.rounded else []
        if self.offset_error > 0:
            rounded.append(f"the image's offset by up to {self.offset_error:.2g} grey levels")
        exact = " and ".join(rounded) or "exactly"
        when = f"after {self.levels} phases of {self.phase:g} steps" + ("; clocked, in one tick" if not ticks(self.phase, 1) else "")
        self.report.remarks.append(
            f"one spike for each threshold of an activation, {exact}; run {steps} step{'s' * (steps > 1)}, at any resolution "
            f"(the answer comes {when})"
        )


def _windows(source: tuple[int, ...], target: tuple[int, ...], operator: Extreme) -> Sparse:
    """Each neuron joined with the windows that it lies in, by channel."""
    (height, width, channels), (rows, cols, _) = source, target
    neurons = np.arange(height * width * channels).reshape(height, width, channels)
    made = np.arange(rows * cols * channels).reshape(rows, cols, channels)
    pairs = []
    for u in range(operator.window[0]):
        for v in range(operator.window[1]):
            y = np.arange(rows) * operator.stride[0] + u * operator.dilation[0] - operator.padding[0]
            x = np.arange(cols) * operator.stride[1] + v * operator.dilation[1] - operator.padding[1]
            down, across = (y >= 0) & (y < height), (x >= 0) & (x < width)
            pairs.append((neurons[np.ix_(y[down], x[across])].ravel(), made[np.ix_(down, across)].ravel()))
    sources, targets = (np.concatenate(side) for side in zip(*pairs, strict=True))
    order = np.lexsort((targets, sources))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(sources, minlength=neurons.size))))
    return Sparse(indptr, targets[order], np.ones(len(order), np.int8), made.size)


def _whole(weights: ScaledWeights, quantum: Array) -> npt.NDArray[np.integer]:
    """Weights in quanta per output of the term, in the narrowest type that holds them."""
    return _narrow(weights.rounded(quantum)).reshape(weights.shape)


def _narrow(numbers: npt.NDArray[Any]) -> npt.NDArray[np.integer]:
    """Whole numbers in the narrowest type that holds them."""
    return numbers.astype(smallest_type(float(np.abs(numbers).max(initial=0))))


def _fraction(bias: Array, reach: npt.NDArray[np.int64]) -> int:
    """Binary digits behind the point that a readout needs: sums of binary weights tie, and the least difference of biases decides then."""
    largest = int(reach.max(initial=0) + np.ceil(np.abs(bias).max(initial=0)))
    most = max(0, _FLOAT32_BITS - largest.bit_length())
    return next((bits for bits in range(most) if np.all(_whole_number(bias * 2.0**bits))), most)


def _whole_number(quanta: Array) -> npt.NDArray[np.bool_]:
    """Whether numbers of quanta are meant to be whole ones."""
    near: npt.NDArray[np.bool_] = np.abs(quanta - np.round(quanta)) <= np.clip(_TIE_SHARE * np.abs(quanta), _TIE, _LARGEST_TIE)
    return near


def _least(threshold: float, strict: bool, quantum: Array, bias: Array, reach: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The least sum, in quanta, with which a neuron is above the threshold: per channel, or in the layer's shape."""
    needed = threshold / quantum - bias
    least = np.where(_whole_number(needed), np.round(needed) + strict, np.ceil(needed))
    # What no sum is below, or none reaches, may be any number: a small one.
    return np.clip(least, -reach, reach + 1).astype(np.int64)

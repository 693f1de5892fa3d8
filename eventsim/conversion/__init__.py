"""Convert trained networks into spiking ones.

Importers make a :class:`~eventsim.conversion.graph.Graph`; :func:`~eventsim.conversion.lowering.lower` makes layers of it;
:func:`~eventsim.conversion.build.build` rounds them to integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eventsim.conversion import stepcode
from eventsim.conversion.build import ConversionReport, Settings, build, check_settings, gain
from eventsim.conversion.from_nir import from_nir
from eventsim.conversion.from_torch import from_torch
from eventsim.conversion.graph import Graph, Input
from eventsim.conversion.judging import check_layers, check_reading, sample
from eventsim.conversion.lowering import Array, Layer, SourceNetwork, lower
from eventsim.errors import ConversionError
from eventsim.model.network import Network

# Images evaluated at a time: bounds memory.
_BATCH = 32
# Of means and standard deviations that a network's input is normalised by.
_LARGEST_SHIFT = 1e6
# Activations kept per layer for a percentile; more are thinned out evenly.
_MAX_SAMPLES = 50_000_000


@dataclass
class Conversion:
    """A converted network and what is known of its making.

    Attributes
    ----------
    network : Network
    report : ConversionReport
        Rounding and binarity, per layer.
    source : SourceNetwork
        The dense source network, which can be evaluated.
    pixel_factor, pixel_shift : float64, () or (channels,)
        ``value = factor * pixel + shift`` makes the source network's input values of pixels 0..255.
    ranges : dict of str to float64
        Activation range of every hidden layer.
    steps : dict of str to list of StepNeurons
        Where activations have one to three thresholds and became one spike each (:mod:`eventsim.conversion.stepcode`): the populations of
        every hidden layer; else empty.
    """

    network: Network
    report: ConversionReport
    source: SourceNetwork
    pixel_factor: Array
    pixel_shift: Array
    ranges: dict[str, Array]
    steps: dict[str, list[stepcode.StepNeurons]]

    def evaluate(self, images: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """Outputs of the dense source network for images, uint8 (n, height, width, channels): float32 (n, outputs)."""
        pixels = np.asarray(images)
        parts = []
        for i in range(0, len(pixels), _BATCH):
            values = pixels[i : i + _BATCH].astype(np.float32) * self.pixel_factor + self.pixel_shift
            parts.append(self.source.evaluate(values, dtype=np.float32).reshape(len(values), -1))
        return np.concatenate(parts)

    def gain(self, layer: Layer) -> Array:
        """The activation of a hidden layer that one spike per step (of all its thresholds, one spike) stands for: float64 (channels,)."""
        return gain(layer, self.ranges)


def convert(  # noqa: PLR0913 - public: every setting by its name
    model: Any,
    calibration: npt.ArrayLike | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    percentile: float = 99.9,
    per_channel: bool = False,
    initial: Literal["half", "zero"] = "half",
    signed: bool | None = None,
    refractory: float | None = None,
    fraction_bits: int | None = None,
    weight_bits: int = 8,
    phase: float | None = None,
    mean: Sequence[float] | float = 0.0,
    std: Sequence[float] | float = 1.0,
    labels: Sequence[str] = (),
    output: int | str | None = None,
    check: bool = True,
) -> Conversion:
    """Convert a trained network into a spiking one.

    Parameters
    ----------
    model : torch.nn.Module, nir.NIRGraph or eventsim.conversion.graph.Graph
        Takes pixels in 0..1, normalised by ``mean`` and ``std``.
    calibration : array_like of uint8, shape (n, height, width, channels), optional
        Images whose activations set the ranges of ReLU layers. Networks whose activations all have bounds of their own
        (quantised ones) need none.
    input_shape : sequence of int, optional
        (channels, height, width) or (features,) of a module's input. Default: that of the calibration images.
    percentile : float
        Of the activations of a layer, zeros included, that becomes one spike per step; 100 is the maximum.
    per_channel : bool
        One range per channel rather than per layer. Binary weights do not stay binary behind such a layer.
    initial : {"half", "zero"}
        Initial membrane potential: half a threshold, or 0 (the paper's).
    signed : bool, optional
        Neurons can take back a spike. Default: in quantised layers, and in ReLU networks in which a layer behind the first has a bias
        (batch norm makes one): it comes before what balances it.
    refractory : float, optional
        Refractory period in steps. Default: 1 in quantised layers and where neurons are signed, else 0.
    fraction_bits : int, optional
        Binary weights become +-2**fraction_bits, so thresholds are rounded to that fraction of one weight. Default: as few
        per layer as keep every threshold within 0.2 %, 8 at most.
    weight_bits : int
        Of weights that are not binary.
    phase : float, optional
        Networks whose activations have one to three thresholds: steps that a spike takes from layer to layer. Default: so few that the
        answer comes within one step, and in the only tick of a clocked one.
    mean, std : float or sequence of float
        The source network's input is ``(pixel / 255 - mean) / std``.
    labels : sequence of str
        Names of the outputs.
    output : int or str, optional
        Of a module that returns several tensors: which one is the answer, by its place or key.
    check : bool
        Run the source network itself on a few calibration images (or random ones), and compare what was read of it, node by node, and
        the layers made of that.

    Returns
    -------
    Conversion

    Raises
    ------
    ConversionError
        An operator that is not supported, a source that computes something else than was read of it, ranges that cannot be determined, or
        settings out of range.
    """
    images = None if calibration is None else np.asarray(calibration)
    if images is not None and (images.ndim != 4 or images.dtype != np.uint8 or not len(images)):
        raise ConversionError(f"calibration images must be uint8 (n, height, width, channels), found {images.dtype} {images.shape}")
    if not 0 < percentile <= 100:
        raise ConversionError(f"the percentile must be above 0 and at most 100, found {percentile}")
    graph = _graph(model, images, input_shape, output)
    shape = _input_shape(graph)
    channels = shape[0]
    middle, deviation = _per_channel("mean", mean, channels), _per_channel("std", std, channels)
    if deviation.min() < 1 / _LARGEST_SHIFT or max(deviation.max(), np.abs(middle).max()) > _LARGEST_SHIFT:
        raise ConversionError(
            f"std must be within {1 / _LARGEST_SHIFT:g}..{_LARGEST_SHIFT:g} and the mean within +-{_LARGEST_SHIFT:g} (pixels are 0..1), "
            f"found {std} and {mean}"
        )
    factor, shift = 1 / (255 * deviation), -middle / deviation
    values = sample(shape, images, factor, shift) if check else None
    if values is not None:
        check_reading(graph, values)
    source = lower(graph, (factor, shift))
    if values is not None:
        check_layers(graph, source, values)
    settings = Settings(initial, signed, refractory, fraction_bits, weight_bits, phase)
    check_settings(settings)
    ranges: dict[str, Array] = {}
    if stepcode.applies(source, settings):
        network, report, neurons = stepcode.build(source, (factor, shift), settings)
    else:
        ranges = activation_ranges(source, images, factor, shift, percentile, per_channel)
        network, report = build(source, ranges, (factor, shift), settings)
        neurons = {}
    report.settings |= {"percentile": percentile, "per channel": per_channel}
    network.labels = [str(label) for label in labels]
    network.check()
    return Conversion(network, report, source, factor, shift, ranges, neurons)


def _graph(model: Any, images: npt.NDArray[np.uint8] | None, input_shape: Sequence[int] | None, output: int | str | None) -> Graph:
    """What is to be converted, as an importer describes it."""
    if isinstance(model, Graph):
        return model
    if type(model).__module__.partition(".")[0] == "nir":
        return from_nir(model)
    if input_shape is None:
        if images is None:
            raise ConversionError("give calibration images or the shape of the input")
        input_shape = (images.shape[3], images.shape[1], images.shape[2])
    return from_torch(model, input_shape, output)


def _input_shape(graph: Graph) -> tuple[int, ...]:
    """Channel first; a vector's numbers count as channels."""
    shapes = [node.shape for node in graph.nodes if isinstance(node.operator, Input)]
    if not shapes:
        raise ConversionError("the network is empty")
    return shapes[0]


def _per_channel(name: str, values: Any, channels: int) -> Array:
    """One number, or one per channel: float64."""
    array = np.asarray(values, np.float64)
    if array.shape not in ((), (1,), (channels,)) or not np.isfinite(array).all():
        raise ConversionError(f"{name} must be a finite number, or {channels} of them, one per channel; found {values}")
    return array


def activation_ranges(
    source: SourceNetwork, images: npt.NDArray[np.uint8] | None, factor: Array, shift: Array, percentile: float, per_channel: bool
) -> dict[str, Array]:
    """The activation that one spike per step stands for, per hidden layer without bounds of its own.

    Raises
    ------
    ConversionError
        Such a layer exists, and there are no images, or it is silent on all of them.
    """
    wanted = {layer.name for layer in source.layers if layer.activation is not None and layer.activation.kind == "relu"}
    if not wanted:
        return {}
    if images is None:
        raise ConversionError(f"{', '.join(sorted(wanted))}: activations without bounds; give images for calibration")
    if images.shape[1:] != source.input_shape:
        raise ConversionError(f"the network takes images of shape {source.input_shape}, the calibration images have {images.shape[1:]}")
    samples: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in wanted}

    def watch(layer: Layer, z: npt.NDArray[np.floating]) -> None:
        if layer.name in wanted and layer.activation is not None:
            a = layer.activation(z)
            size = a[0].size // layer.shape[-1]
            keep = max(1, -(-len(images) * a[0].size // _MAX_SAMPLES))
            samples[layer.name].append(a.reshape(-1, layer.shape[-1])[:: min(keep, size)].astype(np.float32))

    for i in range(0, len(images), _BATCH):
        source.evaluate(images[i : i + _BATCH].astype(np.float32) * factor + shift, watch, np.float32)
    ranges = {}
    for name, parts in samples.items():
        values = np.concatenate(parts)
        whole = float(np.percentile(values, percentile))
        if whole <= 0:
            whole = float(values.max())
        if whole <= 0:
            raise ConversionError(f"{name}: silent on all calibration images; give others, or check the network")
        found = np.percentile(values, percentile, axis=0).astype(np.float64) if per_channel else np.asarray(whole)
        # A channel that is silent on the calibration images fires as the layer does.
        ranges[name] = np.where(found > 0, found, whole)
    return ranges

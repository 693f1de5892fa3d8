"""Convert trained networks into spiking ones.

Importers make a :class:`~eventsim.conversion.graph.Graph`; :func:`~eventsim.conversion.lowering.lower` makes layers of it;
:func:`~eventsim.conversion.build.build` rounds them to integers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eventsim.conversion import stepcode
from eventsim.conversion.balance import balanced
from eventsim.conversion.build import Settings, biases_ask_for_signs, build, check_settings
from eventsim.conversion.decision import by_sign
from eventsim.conversion.from_nir import from_nir
from eventsim.conversion.from_torch import from_torch
from eventsim.conversion.given import (
    check_layout,
    checked_images,
    checked_input,
    checked_labels,
    checked_percentile,
    checked_shape,
    checked_steps,
    normalisation,
)
from eventsim.conversion.graph import Graph
from eventsim.conversion.judging import check_layers, check_reading, sample
from eventsim.conversion.layers import Layer, SourceNetwork
from eventsim.conversion.lowering import IMAGE_RATES, lower
from eventsim.conversion.made import BATCH, Conversion
from eventsim.conversion.quick import Check, quick_check
from eventsim.conversion.read import read_model
from eventsim.conversion.terms import Array
from eventsim.errors import ConversionError, EventsimError
from eventsim.job.preparation import DEFAULT_STEPS, default_steps

__all__ = ["Conversion", "activation_ranges", "convert"]

_log = logging.getLogger("eventsim")
# A bound of a clip that is so many times the percentile of the activations is not their range.
_FAR = 2
# Activations kept per layer for a percentile; more are thinned out evenly.
_MAX_SAMPLES = 50_000_000


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
    steps: int | None = None,
    balance: bool = False,
    check: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Convert a trained network into a spiking one.

    Parameters
    ----------
    model : torch.nn.Module, nir.NIRGraph, eventsim.conversion.graph.Graph, or path-like
        Of a path: an ONNX or NIR file. Takes pixels in 0..1, normalised by ``mean`` and ``std``.
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
        Refractory period in steps, of layers behind the first. Default: 1 in quantised layers and where neurons are signed, else 0.
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
        Of a module that returns several tensors, or an ONNX file with several outputs: which one is the answer, by its place, key or name.
    steps : int, optional
        Length of a run that the network recommends from now on. Default: twice as many as quantised activations have levels
        (one or as many as layers for signs), else none.
    balance : bool
        Correct the biases layer by layer, by the mean error that the rates of each channel have after ``steps`` clocked steps on up to 48
        calibration images: more accurate in few steps, at the price of a run of these images for every layer.
    check : bool
        Run the source network itself on a few calibration images (or random ones), and compare what was read of it, node by node, and
        the layers made of that. End with a short check of the spiking network on calibration images (:attr:`Conversion.check`), and log
        a warning where it is poor.
    progress : callable, optional
        Called with (images done, all images) during that check, and with (layers done, all layers) while biases are balanced.

    Returns
    -------
    Conversion

    Raises
    ------
    ConversionError
        An operator that is not supported, a source that computes something else than was read of it, ranges that cannot be determined,
        settings out of range, or images, labels and normalisation that are probably meant otherwise (a percentile of .999, images in
        0..1, a mean of pixels in 0..255).
    """
    images = checked_images(calibration)
    checked_percentile(percentile)
    graph = _graph(model, input_shape, images, output)
    shape = checked_input(graph, images)
    factor, shift = normalisation(shape[0], mean, std)
    values = sample(shape, images, factor, shift) if check else None
    if values is not None:
        check_reading(graph, values)
    graph = by_sign(graph)
    source = lower(graph, (factor, shift))
    if values is not None:
        check_layers(graph, source, values)
    names = checked_labels(labels, int(np.prod(source.layers[-1].shape)))
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
    network.labels = names
    recommended = _recommended(source) if steps is None and not neurons else steps
    if recommended is not None:
        network.provenance["steps"] = checked_steps(recommended)
    network.check()
    made = Conversion(network, report, source, factor, shift, ranges, neurons)
    if balance:
        _balance(made, images, settings, progress)
    if check and images is not None:
        made.check = _checked(made, images, progress)
    return made


def _graph(model: Any, input_shape: Sequence[int] | None, images: npt.NDArray[np.uint8] | None, output: int | str | None) -> Graph:
    """What is to be converted, as an importer describes it."""
    # What says its input's shape itself is not told it by images; they are compared with it later.
    if isinstance(model, (str, os.PathLike)) and os.fspath(model).endswith(".nir"):
        return read_model(model, None, input_shape, output=output)
    if type(model).__module__.partition(".")[0] == "nir":
        return from_nir(model)
    if images is not None and input_shape is None and not isinstance(model, Graph):
        check_layout(images)
    shape = checked_shape(input_shape, images)
    if isinstance(model, Graph):
        return model
    if isinstance(model, (str, os.PathLike)):
        return read_model(model, None, shape, output=output)
    if shape is None:
        raise ConversionError("the shape of the input is open; give calibration images or the shape (--calibrate, --input-shape)")
    return from_torch(model, shape, output)


def _balance(
    made: Conversion, images: npt.NDArray[np.uint8] | None, settings: Settings, progress: Callable[[int, int], None] | None
) -> None:
    """Correct biases by what the spikes say."""
    if images is None:
        raise ConversionError("biases are balanced on calibration images; give some (--calibrate)")
    if made.steps:
        raise ConversionError("activations that became one spike each are exact: there is nothing to balance")
    pixel = made.pixel_factor, made.pixel_shift
    # Small corrections are no reason to make signed neurons of plain ones, when others have been measured already.
    biased = biases_ask_for_signs(made.source)
    made.balanced, network, report = balanced(made, images, lambda source: build(source, made.ranges, pixel, settings, biased), progress)
    network.labels, network.provenance = made.network.labels, made.network.provenance
    report.settings |= made.report.settings | {"balanced after steps": default_steps(network)}
    network.check()
    made.network, made.report = network, report


def _recommended(source: SourceNetwork) -> int | None:
    """Steps of a run of a network whose activations all have few levels: twice as many as those; None for others."""
    activations = [layer.activation for layer in source.layers if layer.activation is not None and layer.activation.kind != "extreme"]
    if not activations or any(activation.kind != "steps" for activation in activations):
        return None
    return min(2 * round(max(activation.high - activation.low for activation in activations)), DEFAULT_STEPS)


def _checked(made: Conversion, images: npt.NDArray[np.uint8], progress: Callable[[int, int], None] | None) -> Check | None:
    """The short check that a conversion ends with; kept in the network's provenance, with a warning where it is poor."""
    try:
        found = quick_check(made, images, progress)
    except EventsimError as error:
        made.report.remarks.append(f"not checked, since the network does not run: {error}")
        return None
    if found is None:
        made.report.remarks.append("not checked: so large a network takes more than a few seconds")
        return None
    made.network.provenance["check"] = found.to_dict()
    if found.advice:
        _log.warning("the conversion is poor: %s", found.warning)
    return found


def activation_ranges(
    source: SourceNetwork, images: npt.NDArray[np.uint8] | None, factor: Array, shift: Array, percentile: float, per_channel: bool
) -> dict[str, Array]:
    """The activation that one spike per step stands for, per hidden layer without bounds of its own, or whose bounds are never come near.

    Raises
    ------
    ConversionError
        Such a layer exists, and there are no images, or it is silent on all of them.
    """
    kinds = {layer.name: layer.activation for layer in source.layers if layer.activation is not None}
    wanted = {name for name, activation in kinds.items() if activation.kind in ("relu", "clip") and name != IMAGE_RATES}
    unbounded = sorted(name for name in wanted if kinds[name].kind == "relu")
    if not wanted or (images is None and not unbounded):
        return {}
    if images is None:
        raise ConversionError(f"{', '.join(unbounded)}: activations without bounds; give images for calibration (--calibrate)")
    samples: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in wanted}

    def watch(layer: Layer, z: npt.NDArray[np.floating]) -> None:
        if layer.name in wanted and layer.activation is not None:
            a = layer.activation(z)
            size = a[0].size // layer.shape[-1]
            keep = max(1, -(-len(images) * a[0].size // _MAX_SAMPLES))
            samples[layer.name].append(a.reshape(-1, layer.shape[-1])[:: min(keep, size)].astype(np.float32))

    for i in range(0, len(images), BATCH):
        source.evaluate(images[i : i + BATCH].astype(np.float32) * factor + shift, watch, np.float32)
    ranges = {}
    for name, parts in samples.items():
        values = np.concatenate(parts)
        whole, bound = float(np.percentile(values, percentile)), kinds[name].high - kinds[name].low
        if np.isfinite(bound) and not 0 < whole < bound / _FAR:
            continue
        if whole <= 0:
            whole = float(values.max())
        if whole <= 0:
            raise ConversionError(f"{name}: silent on all calibration images; give others, or check the network")
        found = np.percentile(values, percentile, axis=0).astype(np.float64) if per_channel else np.asarray(whole)
        # A channel that is silent on the calibration images fires as the layer does.
        ranges[name] = np.minimum(np.where(found > 0, found, whole), bound)
    for layer in source.layers:
        # Maxima of what a layer says are told in its spikes.
        if layer.activation is not None and layer.activation.kind == "extreme" and layer.terms[0].source in ranges:
            ranges[layer.name] = ranges[layer.terms[0].source]
    return ranges

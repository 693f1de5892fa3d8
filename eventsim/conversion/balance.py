"""Biases corrected by what the spikes say: layer by layer, so that on average they are what the source computes.

Within few steps a layer's rates are wrong in the mean: they are rounded, cut off at one spike a step, and spikes that came too soon are
taken back late. The mean error of each channel, on calibration images, is a bias that was not there before (as in Li et al., "A free
lunch from ANN", ICML 2021, where it is found by a dense calculation; here the network itself runs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eventsim.conversion.build import ConversionReport
from eventsim.conversion.layers import IMAGE, Array, Layer, SourceNetwork
from eventsim.conversion.made import BATCH, Conversion
from eventsim.conversion.rates import channel_rates, evenly
from eventsim.job.preparation import default_steps
from eventsim.model.network import Network


def balanced(
    made: Conversion,
    images: npt.NDArray[np.uint8],
    build: Callable[[SourceNetwork], tuple[Network, ConversionReport]],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SourceNetwork, Network, ConversionReport]:
    """The source network with corrected biases, the network made of it, and the report on that.

    Parameters
    ----------
    made : Conversion
        Of activations that became rates.
    images : uint8, shape (n, height, width, channels)
        A few are chosen, evenly.
    build : callable
        Makes a network and the report on it of a source with other biases.
    progress : callable, optional
        Called with (layers done, all layers).

    Returns
    -------
    (SourceNetwork, Network, ConversionReport)
    """
    chosen = evenly(images)
    layers = list(made.source.layers)
    wanted = [i for i, layer in enumerate(layers) if _has_bias(layer)]
    expected = _means(made, chosen, {layers[i].name for i in wanted})
    steps, source, network, report = default_steps(made.network), made.source, made.network, made.report
    for done, i in enumerate(wanted):
        layer = layers[i]
        rates = channel_rates(network, layer.name, chosen, steps, resolution=1) * made.gain(layer)
        layers[i] = replace(layer, bias=layer.bias + expected[layer.name] - rates)
        source = replace(made.source, layers=list(layers))
        network, report = build(source)
        if progress is not None:
            progress(done + 1, len(wanted))
    return source, network, report


def _has_bias(layer: Layer) -> bool:
    """Whether a layer's bias is brought by a clock: that of the first layer is part of a current, and a maximum has none."""
    activation = layer.activation
    return activation is not None and activation.kind != "extreme" and all(term.source != IMAGE for term in layer.terms)


def _means(made: Conversion, images: npt.NDArray[np.uint8], names: set[str]) -> dict[str, Array]:
    """Mean activation of each channel of these layers, float64 (channels,)."""
    sums = {name: np.zeros(()) for name in names}

    def watch(layer: Layer, z: npt.NDArray[np.floating]) -> None:
        if layer.name in sums and layer.activation is not None:
            activations = layer.activation(z)
            sums[layer.name] = sums[layer.name] + activations.reshape(-1, layer.shape[-1]).mean(0, dtype=np.float64) * (
                len(z) / len(images)
            )

    for i in range(0, len(images), BATCH):
        made.source.evaluate(images[i : i + BATCH].astype(np.float32) * made.pixel_factor + made.pixel_shift, watch, np.float32)
    return sums

"""How faithful a conversion is: layer by layer, what the source network computes against what the spikes say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.conversion.given import checked_steps
from eventsim.conversion.lowering import Layer
from eventsim.conversion.made import Conversion
from eventsim.errors import ConversionError
from eventsim.job.job import MODES
from eventsim.job.preparation import default_steps
from eventsim.record.result import Result
from eventsim.simulate import Simulator


@dataclass
class LayerFaithfulness:
    """One hidden layer, over all neurons and images.

    Attributes
    ----------
    name : str
    correlation : float
        Of source activations and net spike rates (nan where one of them does not vary).
    error : float
        Root mean square difference of rate and activation, in units of one spike per step.
    bias : float
        Mean of that difference: above 0, the layer fires too much.
    saturated : float
        Share of activations that are above one spike per step (ReLU layers: cut off by the percentile).
    silent : float
        Share of neurons that never fired in any run.
    rate : float
        Mean spikes (of either sign) per neuron and step.
    """

    name: str
    correlation: float
    error: float
    bias: float
    saturated: float
    silent: float
    rate: float


@dataclass
class Faithfulness:
    """A conversion's faithfulness on a sample of images.

    Attributes
    ----------
    steps, images : int
    source_accuracy : float or None
        Of the dense source network; None without labels.
    accuracy : dict of str to float
        Of the spiking network, ``clocked`` and ``asynchronous``.
    agreement : dict of str to float
        Share of images on which the spiking network answers as the source does.
    over_time : dict of str to dict of int to float
        That share by mode after 1, 2, 4, ... steps, and at the end.
    layers : dict of str to list of LayerFaithfulness
        By mode, in the network's order: the first layer whose error jumps is where accuracy is lost.
    """

    steps: int
    images: int
    source_accuracy: float | None
    accuracy: dict[str, float]
    agreement: dict[str, float]
    over_time: dict[str, dict[int, float]]
    layers: dict[str, list[LayerFaithfulness]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.images} images, {self.steps} steps"]
        if self.source_accuracy is not None:
            scores = ", ".join(f"{mode} {share:.2%}" for mode, share in self.accuracy.items())
            lines.append(f"accuracy: source {self.source_accuracy:.2%}, {scores}")
        lines.append("same answer as the source: " + ", ".join(f"{mode} {share:.2%}" for mode, share in self.agreement.items()))
        for mode, layers in self.layers.items():
            lines.append(f"{mode:14} {'correlation':>11} {'error':>8} {'bias':>8} {'saturated':>9} {'silent':>7} {'rate':>7}")
            lines += [
                f"  {x.name:12} {x.correlation:>11.4f} {x.error:>8.4f} {x.bias:>+8.4f} {x.saturated:>9.2%} {x.silent:>7.2%} {x.rate:>7.4f}"
                for x in layers
            ]
        return "\n".join(lines)


class _Sums:
    """Running sums of one layer's activations and rates: bounded memory for any number of images."""

    def __init__(self, neurons: int):
        self.fired = np.zeros(neurons, bool)
        self.sums = np.zeros(5)  # a, r, aa, rr, ar
        self.count = 0
        self.saturated = 0
        self.spikes = 0

    def add(self, activation: npt.NDArray[np.floating], rate: npt.NDArray[np.floating], spikes: int) -> None:
        a = np.minimum(activation, 1.0)
        self.sums += [a.sum(), rate.sum(), (a * a).sum(), (rate * rate).sum(), (a * rate).sum()]
        self.count += a.size
        self.saturated += int(np.count_nonzero(activation > 1.0 + 1e-6))
        self.spikes += spikes

    def result(self, name: str, steps: int) -> LayerFaithfulness:
        a, r, aa, rr, ar = self.sums / self.count
        spread = np.sqrt(max(aa - a * a, 0.0) * max(rr - r * r, 0.0))
        return LayerFaithfulness(
            name=name,
            correlation=float((ar - a * r) / spread) if spread > 1e-12 else float("nan"),
            error=float(np.sqrt(max(aa + rr - 2 * ar, 0.0))),
            bias=float(r - a),
            saturated=self.saturated / self.count,
            silent=float(1 - self.fired.mean()),
            rate=self.spikes / self.count / steps,
        )


def _rate(made: Conversion, result: Result, layer: Layer) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], int]:
    """What the spikes of a layer say, in units of :meth:`Conversion.gain`, which neurons have fired, and how many spikes there are."""
    rate, fired, emitted = np.zeros(size := int(np.prod(layer.shape))), np.zeros(size, bool), 0
    # A spike each, once; or so many in a step.
    shares = {neurons.name: neurons.share for neurons in made.steps.get(layer.name, [])} or {layer.name: 1 / result.info.steps}
    for name, share in shares.items():
        spikes = result.spikes(name)
        rate += np.bincount(spikes.neurons, weights=spikes.signs, minlength=size) * share
        fired[spikes.neurons] = True
        emitted += len(spikes.neurons)
    return rate, fired, emitted


def faithfulness(
    made: Conversion,
    images: npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    *,
    steps: int | None = None,
    modes: Sequence[str] = tuple(MODES),
    progress: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Compare a converted network with its source.

    Parameters
    ----------
    made : Conversion
    images : array_like of uint8, shape (n, height, width, channels)
    labels : array_like of int, shape (n,), optional
    steps : int, optional
        Length of a run. Default: what the converted network recommends, else 100.
    modes : sequence of str
        Of "clocked" and "asynchronous".
    progress : callable, optional
        Called with (images done, all images).

    Raises
    ------
    ConversionError
        No images, labels that do not match them, or a length that no run has.
    """
    pixels = np.asarray(images)
    if pixels.ndim != 4 or not len(pixels):
        raise ConversionError(f"expected images (n, height, width, channels), found {pixels.shape}")
    truth = None if labels is None else np.asarray(labels)
    if truth is not None and truth.shape != (len(pixels),):
        raise ConversionError(f"{len(pixels)} images but labels of shape {truth.shape}")
    steps = default_steps(made.network) if steps is None else checked_steps(steps)
    simulator = Simulator(made.network)
    hidden = [layer for layer in made.source.layers if layer.activation is not None]
    sums = {mode: {layer.name: _Sums(int(np.prod(layer.shape))) for layer in hidden} for mode in modes}
    # No decision is no answer that the source could have given.
    answers = {mode: np.full((len(pixels), steps), -1, np.int64) for mode in modes}
    source_answers = np.zeros(len(pixels), np.int64)
    for i, image in enumerate(pixels):
        activations: dict[str, npt.NDArray[np.floating]] = {}

        def watch(layer: Any, z: npt.NDArray[np.floating], into: dict[str, npt.NDArray[np.floating]] = activations) -> None:
            if layer.activation is not None:
                into[layer.name] = layer.activation(z)[0] / made.gain(layer)

        values = image[None].astype(np.float32) * made.pixel_factor + made.pixel_shift
        source_answers[i] = int(made.source.evaluate(values, watch, np.float32).argmax())
        for mode in modes:
            result = simulator.run(image, steps=steps, resolution=MODES[mode])
            answers[mode][i] = result.decision_over_time()
            for layer in hidden:
                rate, fired, emitted = _rate(made, result, layer)
                entry = sums[mode][layer.name]
                entry.fired |= fired
                entry.add(activations[layer.name].ravel(), rate, emitted)
        if progress is not None:
            progress(i + 1, len(pixels))
    lengths = sorted({2**i for i in range(steps.bit_length())} | {steps})
    alike = {mode: (found == source_answers[:, None]).mean(0) for mode, found in answers.items()}
    return Faithfulness(
        steps=steps,
        images=len(pixels),
        source_accuracy=None if truth is None else float((source_answers == truth).mean()),
        accuracy={} if truth is None else {mode: float((found[:, -1] == truth).mean()) for mode, found in answers.items()},
        agreement={mode: float(share[-1]) for mode, share in alike.items()},
        over_time={mode: {length: float(share[length - 1]) for length in lengths} for mode, share in alike.items()},
        layers={mode: [entry.result(name, steps) for name, entry in by_layer.items()] for mode, by_layer in sums.items()},
    )

"""A converted network, and what is known of its making."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.conversion import stepcode
from eventsim.conversion.build import ConversionReport, gain
from eventsim.conversion.lowering import Array, Layer, SourceNetwork
from eventsim.model.network import Network

# Images evaluated at a time: bounds memory.
BATCH = 32


@dataclass
class Check:
    """How a converted network answers a few calibration images, clocked, beside its source.

    Attributes
    ----------
    images, steps : int
    agreement : float
        Share of the images that both answer alike.
    over_time : dict of int to float
        The same after so many steps.
    errors : dict of str to float
        Per hidden layer: root mean square difference of spike rate and activation, in spikes a step.
    advice : list of str
        What to try where few answers agree; else empty.
    """

    images: int
    steps: int
    agreement: float
    over_time: dict[int, float]
    errors: dict[str, float]
    advice: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "images": self.images,
            "steps": self.steps,
            "agreement": self.agreement,
            "agreement over time": {str(steps): share for steps, share in self.over_time.items()},
            "rate errors": self.errors,
            "advice": self.advice,
        }

    @property
    def warning(self) -> str:
        """What to say where few answers agree."""
        alike = (
            f"only {self.agreement:.0%} of {self.images} calibration images are answered as by the source after {self.steps} clocked steps"
        )
        return (
            f"{alike}; {self.advice[0]}; try {', or '.join(self.advice[1:])}" if len(self.advice) > 1 else "; ".join([alike, *self.advice])
        )

    def __str__(self) -> str:
        alike = f"check: {self.agreement:.0%} of {self.images} calibration images are answered as by the source, clocked, T = {self.steps}"
        earlier = ", ".join(f"{share:.0%} at {steps}" for steps, share in self.over_time.items() if steps != self.steps)
        errors = ", ".join(f"{name} {error:.3f}" for name, error in self.errors.items())
        return f"{alike}{f' ({earlier})' if earlier else ''}\nrate errors, in spikes a step: {errors}"


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
        Activation range of every hidden layer that has no bounds of its own, or was given others.
    steps : dict of str to list of StepNeurons
        Where activations have one to three thresholds and became one spike each (:mod:`eventsim.conversion.stepcode`): the populations of
        every hidden layer; else empty.
    check : Check or None
        How it answered a few calibration images; None without images, or if that was not asked for or not possible.
    balanced : SourceNetwork or None
        Where biases were balanced: the source network with those, which is what the spiking one was made of.
    """

    network: Network
    report: ConversionReport
    source: SourceNetwork
    pixel_factor: Array
    pixel_shift: Array
    ranges: dict[str, Array]
    steps: dict[str, list[stepcode.StepNeurons]]
    check: Check | None = None
    balanced: SourceNetwork | None = None

    def evaluate(self, images: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """Outputs of the dense source network for images, uint8 (n, height, width, channels): float32 (n, outputs)."""
        pixels = np.asarray(images)
        parts = []
        for i in range(0, len(pixels), BATCH):
            values = pixels[i : i + BATCH].astype(np.float32) * self.pixel_factor + self.pixel_shift
            parts.append(self.source.evaluate(values, dtype=np.float32).reshape(len(values), -1))
        return np.concatenate(parts)

    def gain(self, layer: Layer) -> Array:
        """The activation of a hidden layer that one spike per step (of all its thresholds, one spike) stands for: float64 (channels,)."""
        return gain(layer, self.ranges)

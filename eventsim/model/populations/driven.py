"""Neurons driven by a constant current: the first layer of a converted network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eventsim.errors import NetworkError
from eventsim.model.limits import POTENTIAL_MIN
from eventsim.model.periods import checked_period
from eventsim.model.populations.checks import PerChannel, checked_per_channel, checked_shape
from eventsim.model.populations.population import STORED, InputKind, Population, Surroundings, span
from eventsim.model.populations.spiking import Spiking
from eventsim.model.tables import Table
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup


@dataclass(frozen=True, eq=False, repr=False)
class Driven(Population):
    """Neurons driven by a constant current: the first layer of a converted network.

    ``V(t) = v0 + floor(I * t / R) - threshold * (spikes so far)`` at tick t, R ticks a step; a neuron with
    ``V >= threshold`` fires as soon as its refractory period allows.

    Parameters
    ----------
    shape : tuple of int
        (neurons,) or (height, width, channels).
    threshold : int or array, per channel, at least 1
    v0 : int or array, per channel
        Initial membrane potential.
    refractory : float
        Least distance of two spikes of a neuron, in steps; 0 means one tick.
    encoder : Table, optional
        Makes the currents from the network's input, exactly; without it a run must be given currents.
    bias : int or array, per channel
        Constant current per step added to what the encoder makes.
    """

    shape: Shape
    threshold: IntArray
    v0: IntArray
    refractory: float
    encoder: Table | None
    bias: IntArray
    kind = "driven"
    takes_spikes = False
    sends_spikes = True
    fires = True
    reads_out = False
    signed = False
    reset = None
    emits = ""
    rate = None
    period = None

    @classmethod
    def checked(
        cls,
        name: str,
        shape: int | Sequence[int],
        threshold: PerChannel,
        *,
        v0: PerChannel = 0,
        refractory: float = 0,
        encoder: Table | None = None,
        bias: PerChannel = 0,
        image: Shape | None = None,
    ) -> Driven:
        """From what :meth:`eventsim.Network.driven` takes, in a network that takes an image of this shape.

        Raises
        ------
        NetworkError
            A parameter is out of range, or the encoder does not fit.
        """
        dims = checked_shape(shape, name)
        made = cls(
            dims,
            checked_per_channel(threshold, dims, name, "thresholds", 1),
            checked_per_channel(v0, dims, name, "v0", POTENTIAL_MIN),
            checked_period(refractory, name, "refractory"),
            encoder,
            checked_per_channel(bias, dims, name, "bias", POTENTIAL_MIN),
        )
        try:
            made.check_image(image)
        except NetworkError as error:
            raise NetworkError(f"{name}: {error}") from None
        return made

    def check_image(self, image: Shape | None) -> None:
        """Whether an encoder fits the image, and the neurons."""
        if self.encoder is None:
            return
        if image is None:
            raise NetworkError("has an encoder, but the network declares no input; call image_input first")
        if not self.encoder.weighted:
            raise NetworkError(f"a {self.encoder.kind} table has no weights and cannot make currents")
        self.encoder.check(image, self.shape)

    @property
    def input_kind(self) -> InputKind:
        """Currents per step: an integer a neuron."""
        return "currents"

    @property
    def needs_input(self) -> bool:
        """Unless an encoder makes the currents from the image."""
        return self.encoder is None

    def taking_spikes(self) -> Population:
        """Spiking neurons, if an encoder makes the currents."""
        return self if self.encoder is None else Spiking(self.shape, self.threshold, self.v0, "subtract", False, self.refractory)

    def facts(self) -> dict[str, Any]:
        """What ``info`` says of it."""
        return {
            "threshold_min": int(self.threshold.min()),
            "threshold_max": int(self.threshold.max()),
            "refractory": self.refractory,
            "v0_min": int(self.v0.min()),
            "v0_max": int(self.v0.max()),
        }

    def details(self) -> list[str]:
        """The same in words."""
        return [f"threshold {span(self.threshold)}", *([f"refractory {self.refractory:g} steps"] if self.refractory else [])]

    def write(self, group: NewGroup) -> None:
        """Write it into a group of a network file; see :meth:`Population.write`."""
        group.attributes(refractory=float(self.refractory))
        group.per_channel("threshold", self.threshold)
        group.per_channel("v0", self.v0)
        group.per_channel("bias", self.bias)

    @classmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> Driven:
        """Read it from a file that may come from anywhere; see :meth:`Population.read`."""
        channels = around.shape[-1]
        group.holds((*STORED, "refractory"), ("threshold", "v0", "bias"), ("encoder",))
        return cls.checked(
            around.name,
            around.shape,
            group.per_channel("threshold", channels),
            v0=group.per_channel("v0", channels),
            refractory=group.number("refractory"),
            encoder=around.encoder,
            bias=group.per_channel("bias", channels),
            image=around.image,
        )

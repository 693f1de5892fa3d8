"""Integrate-and-fire neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from eventsim.errors import NetworkError
from eventsim.model.limits import POTENTIAL_MIN
from eventsim.model.periods import checked_period
from eventsim.model.populations.checks import PerChannel, checked_per_channel, checked_shape
from eventsim.model.populations.population import STORED, Population, Reset, Surroundings, one_of, span
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup

RESETS: tuple[Reset, ...] = ("subtract", "zero")


@dataclass(frozen=True, eq=False, repr=False)
class Spiking(Population):
    """Integrate-and-fire neurons.

    Within a tick, all arriving spikes are added: ``V += sign * weight``. A neuron is due if ``V >= threshold`` (or, if
    signed, if ``V < 0`` and it has fired more positive than negative spikes). A due neuron whose refractory period is over
    emits one spike: +1 and ``V -= threshold`` (reset ``"zero"``: ``V = 0``), or -1 and ``V += threshold``.

    Parameters
    ----------
    shape, threshold, v0, refractory
        As for :class:`Driven`.
    reset : {"subtract", "zero"}
    signed : bool
        Can take back a spike that came too early; needs reset by subtraction.
    onset : float
        In steps: before this time the neurons integrate, but do not fire.
    """

    shape: Shape
    threshold: IntArray
    v0: IntArray
    reset: Reset
    signed: bool
    refractory: float
    onset: float = 0.0
    kind = "spiking"
    takes_spikes = True
    sends_spikes = True
    fires = True
    reads_out = False
    encoder = None
    bias = None
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
        reset: Reset = "subtract",
        signed: bool = False,
        refractory: float = 0,
        onset: float = 0,
    ) -> Spiking:
        """From what :meth:`eventsim.Network.spiking` takes.

        Raises
        ------
        NetworkError
            A parameter is out of range.
        """
        dims = checked_shape(shape, name)
        if reset not in RESETS:
            raise NetworkError(f"{name}: reset must be {one_of(RESETS)}, found {reset!r}")
        if signed and reset != "subtract":
            raise NetworkError(f"{name}: signed neurons need reset 'subtract'")
        return cls(
            dims,
            checked_per_channel(threshold, dims, name, "thresholds", 1),
            checked_per_channel(v0, dims, name, "v0", POTENTIAL_MIN),
            reset,
            bool(signed),
            checked_period(refractory, name, "refractory"),
            checked_period(onset, name, "onset"),
        )

    def with_onset(self, onset: float) -> Spiking:
        """The same neurons with another onset; see :meth:`Population.with_onset`."""
        return replace(self, onset=onset)

    def with_refractory(self, refractory: float) -> Spiking:
        """The same neurons with another refractory period; see :meth:`Population.with_refractory`."""
        return replace(self, refractory=float(refractory))

    def facts(self) -> dict[str, Any]:
        """What ``info`` says of it."""
        return {
            "threshold_min": int(self.threshold.min()),
            "threshold_max": int(self.threshold.max()),
            "refractory": self.refractory,
            "v0_min": int(self.v0.min()),
            "v0_max": int(self.v0.max()),
            "reset": self.reset,
            "signed": self.signed,
            "onset": self.onset,
        }

    def details(self) -> list[str]:
        """The same in words."""
        signed, refractory = self.signed, self.refractory
        return [
            f"threshold {span(self.threshold)}",
            f"reset {self.reset}",
            *(["signed"] if signed else []),
            *([f"refractory {refractory:g} steps"] if refractory else []),
            *([f"onset {self.onset:g} steps"] if self.onset else []),
        ]

    def write(self, group: NewGroup) -> None:
        """Write it into a group of a network file; see :meth:`Population.write`."""
        group.attributes(refractory=float(self.refractory))
        group.per_channel("threshold", self.threshold)
        group.per_channel("v0", self.v0)
        group.attributes(reset=self.reset, signed=int(self.signed))
        if self.onset:
            # (Files of networks without are what they have been.)
            group.attributes(onset=float(self.onset))

    @classmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> Spiking:
        """Read it from a file that may come from anywhere; see :meth:`Population.read`."""
        channels = around.shape[-1]
        onset = ("onset",) if group.has_attribute("onset") else ()
        group.holds((*STORED, "refractory", "reset", "signed", *onset), ("threshold", "v0"))
        return cls.checked(
            around.name,
            around.shape,
            group.per_channel("threshold", channels),
            v0=group.per_channel("v0", channels),
            reset=cast(Reset, group.text("reset", RESETS)),
            signed=bool(group.integer("signed", 0, 1)),
            refractory=group.number("refractory"),
            onset=group.number("onset") if onset else 0.0,
        )

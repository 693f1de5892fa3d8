"""Neurons that accumulate and decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eventsim.model.limits import POTENTIAL_MIN
from eventsim.model.populations.checks import PerChannel, checked_per_channel, checked_shape
from eventsim.model.populations.population import STORED, Population, Surroundings
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup


@dataclass(frozen=True, eq=False, repr=False)
class Readout(Population):
    """Neurons that accumulate and never fire. The decision at a tick is the argmax; the lowest index wins a tie.

    Parameters
    ----------
    shape : tuple of int
    v0 : int or array, per channel
        Initial membrane potential.
    """

    shape: Shape
    v0: IntArray
    kind = "readout"
    takes_spikes = True
    sends_spikes = False
    fires = False
    reads_out = True
    signed = False
    threshold = None
    refractory = None
    reset = None
    encoder = None
    bias = None
    emits = ""
    rate = None
    period = None

    @classmethod
    def checked(cls, name: str, shape: int | Sequence[int], *, v0: PerChannel = 0) -> Readout:
        """From what :meth:`eventsim.Network.readout` takes; raises NetworkError if a parameter is out of range."""
        dims = checked_shape(shape, name)
        return cls(dims, checked_per_channel(v0, dims, name, "v0", POTENTIAL_MIN))

    def facts(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def details(self) -> list[str]:
        """Nothing."""
        return []

    def write(self, group: NewGroup) -> None:
        """Write it into a group of a network file; see :meth:`Population.write`."""
        group.per_channel("v0", self.v0)

    @classmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> Readout:
        """Read it from a file that may come from anywhere; see :meth:`Population.read`."""
        group.holds(STORED, ("v0",))
        return cls.checked(around.name, around.shape, v0=group.per_channel("v0", around.shape[-1]))

"""Neurons whose net count is always the maximum of their inputs': max pooling, exact at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError
from eventsim.model.populations.checks import checked_per_channel, checked_shape
from eventsim.model.populations.population import STORED, Population, Surroundings
from eventsim.model.tables import Table
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup


@dataclass(frozen=True, eq=False, repr=False)
class Maximum(Population):
    """Neurons whose net count of spikes is the maximum (or minimum) of the net counts of the neurons in their windows.

    Within a tick, all arriving spikes are counted; then each neuron whose inputs' maximum has risen emits a spike of sign +1, and each
    whose inputs' maximum has fallen one of sign -1. It takes one projection, whose table is :class:`eventsim.Windows`, from neurons that
    spike at most once a tick: so no count, and no maximum, changes by more than one a tick, and one spike is always enough.

    Parameters
    ----------
    shape : tuple of int
    largest : int64 array (channels,)
        1 where the maximum is taken, 0 where the minimum is: behind a negative scale one is the other.
    signed : bool
        Sends spikes of sign -1; needed where spikes of sign -1 arrive, and of no use otherwise.
    """

    shape: Shape
    largest: IntArray
    signed: bool
    kind = "maximum"
    takes_spikes = True
    sends_spikes = True
    fires = True
    reads_out = False
    threshold = None
    v0 = None
    refractory = None
    reset = None
    encoder = None
    bias = None
    emits = ""
    rate = None
    period = None

    @classmethod
    def checked(cls, name: str, shape: int | Sequence[int], *, largest: npt.ArrayLike = True, signed: bool = False) -> Maximum:
        """From what :meth:`eventsim.Network.maximum` takes; raises NetworkError if a parameter is out of range."""
        dims = checked_shape(shape, name)
        array = np.asarray(largest)
        values = array.astype(np.int64) if array.dtype == bool else array
        return cls(dims, checked_per_channel(values, dims, name, "largest", 0, 1), bool(signed))

    def check_incoming(self, incoming: Sequence[tuple[Population, Table]]) -> None:
        """Raise NetworkError unless one projection brings counts that change by at most one a tick, and signs that it can follow."""
        if len(incoming) != 1:
            raise NetworkError(
                f"a maximum population takes one projection, found {len(incoming)}: each of its inputs may change by one a tick at most; "
                "give each source a maximum population of its own"
            )
        ((source, table),) = incoming
        if table.weighted:
            raise NetworkError(f"a maximum population compares counts, and a {table.kind} table has weights; give the windows (Windows)")
        if source.emits == "events":
            raise NetworkError(
                "events may have a neuron spike twice in a tick, which a maximum population cannot follow; "
                "let them pass a spiking population first"
            )
        if source.signed and not self.signed:
            raise NetworkError("spikes of sign -1 may arrive, but the maximum population is not signed; make it signed")

    @property
    def senses(self) -> IntArray:
        """1 for each channel of which the maximum is taken, -1 for each of which the minimum is: int64 (channels,)."""
        return 2 * self.largest - 1

    def facts(self) -> dict[str, Any]:
        """What ``info`` says of it."""
        return {"maxima": int(self.largest.sum()), "minima": int((1 - self.largest).sum()), "signed": self.signed}

    def details(self) -> list[str]:
        """The same in words."""
        minima = int((1 - self.largest).sum())
        return [*([f"minimum in {minima} of {len(self.largest)} channels"] if minima else []), *(["signed"] if self.signed else [])]

    def write(self, group: NewGroup) -> None:
        """Write it into a group of a network file; see :meth:`Population.write`."""
        group.per_channel("largest", self.largest)
        group.attributes(signed=int(self.signed))

    @classmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> Maximum:
        """Read it from a file that may come from anywhere; see :meth:`Population.read`."""
        group.holds((*STORED, "signed"), ("largest",))
        largest = group.per_channel("largest", around.shape[-1])
        return cls.checked(around.name, around.shape, largest=largest, signed=bool(group.integer("signed", 0, 1)))

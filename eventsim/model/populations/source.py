"""Neurons that emit given spikes: events, Poisson trains and the bias clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError
from eventsim.model.populations.checks import checked_rates, checked_shape
from eventsim.model.populations.population import STORED, InputKind, Population, Surroundings
from eventsim.model.values import Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup

Emits = Literal["events", "poisson", "clock"]
EMITS: tuple[Emits, ...] = ("events", "poisson", "clock")
_INPUT: dict[Emits, InputKind | None] = {"events": "events", "poisson": "rates", "clock": None}


@dataclass(frozen=True, eq=False, repr=False)
class Source(Population):
    """Neurons that emit given spikes, always of sign +1.

    Parameters
    ----------
    shape : tuple of int
    emits : {"events", "poisson", "clock"}
        ``events``: what the run is given. ``poisson``: at most one spike a neuron and step, with probability ``rate``, on
        a uniformly drawn tick of the step. ``clock``: every neuron at the end of every step (ticks R, 2R, 3R, ...).
    rate : array of float or None
        Probabilities, one per neuron in the population's shape, for ``poisson``; a run can be given others.
    """

    shape: Shape
    emits: Emits
    rate: npt.NDArray[np.float64] | None
    kind = "source"
    takes_spikes = False
    sends_spikes = True
    fires = False
    reads_out = False
    signed = False
    threshold = None
    v0 = None
    refractory = None
    reset = None
    encoder = None
    bias = None

    @classmethod
    def checked(cls, name: str, shape: int | Sequence[int], emits: Emits = "events", *, rate: npt.ArrayLike | None = None) -> Source:
        """From what :meth:`eventsim.Network.source` takes; raises NetworkError if a parameter is out of range."""
        dims = checked_shape(shape, name)
        if emits not in EMITS:
            raise NetworkError(f"{name}: a source emits 'events', 'poisson' or 'clock', found {emits!r}")
        if rate is not None and emits != "poisson":
            raise NetworkError(f"{name}: only a poisson source has rates")
        return cls(dims, emits, None if rate is None else checked_rates(rate, dims, name))

    @property
    def input_kind(self) -> InputKind | None:
        """Events (times in steps, neurons), or rates; a clock takes nothing."""
        return _INPUT[self.emits]

    @property
    def needs_input(self) -> bool:
        """Unless it is a clock or has rates of its own."""
        return self.input_kind is not None and self.rate is None

    def facts(self) -> dict[str, Any]:
        """What ``info`` says of it."""
        return {"emits": self.emits}

    def details(self) -> list[str]:
        """The same in words."""
        return [self.emits]

    def write(self, group: NewGroup) -> None:
        """Write it into a group of a network file; see :meth:`Population.write`."""
        group.attributes(emits=self.emits)
        if self.rate is not None:
            group.dataset("rate", np.asarray(self.rate, "<f8"), once=True)

    @classmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> Source:
        """Read it from a file that may come from anywhere; see :meth:`Population.read`."""
        group.holds((*STORED, "emits"), (), ("rate",))
        emits = cast(Emits, group.text("emits", EMITS))
        rate = group.array("rate", ("float64",), [(1,), around.shape]) if group.has("rate") else None
        return cls.checked(around.name, around.shape, emits, rate=rate[0] if rate is not None and rate.shape == (1,) else rate)

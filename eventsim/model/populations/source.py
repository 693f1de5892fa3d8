"""Neurons that emit given spikes: events, Poisson trains, and the clocks that bring biases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError
from eventsim.model.periods import checked_period
from eventsim.model.populations.checks import checked_rates, checked_shape
from eventsim.model.populations.population import STORED, Emits, InputKind, Population, Surroundings, one_of
from eventsim.model.values import UNLESS_DEFAULT, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup

EMITS: tuple[Emits, ...] = get_args(Emits)
_INPUT: dict[Emits, InputKind | None] = {"events": "events", "poisson": "rates", "clock": None, "start": None}


@dataclass(frozen=True, eq=False, repr=False)
class Source(Population):
    """Neurons that emit given spikes, always of sign +1.

    Parameters
    ----------
    shape : tuple of int
    emits : {"events", "poisson", "clock", "start"}
        ``events``: what the run is given. ``poisson``: at most one spike a neuron and step, with probability ``rate``, on
        a uniformly drawn tick of the step. ``clock``: every neuron at the end of every step (ticks R, 2R, 3R, ...).
        ``start``: every neuron once, number k in tick ``1 + k p``, p being ``period`` in ticks.
    rate : array of float or None
        Probabilities, one per neuron in the population's shape, for ``poisson``; a run can be given others.
    period : float
        In steps, for ``start``; becomes ``floor(period * R + 1/2)`` ticks.
    """

    shape: Shape
    emits: Emits
    rate: npt.NDArray[np.float64] | None
    period: float = field(default=0.0, metadata=UNLESS_DEFAULT)
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
    def checked(
        cls, name: str, shape: int | Sequence[int], emits: Emits = "events", *, rate: npt.ArrayLike | None = None, period: float = 0
    ) -> Source:
        """From what :meth:`eventsim.Network.source` takes; raises NetworkError if a parameter is out of range."""
        dims = checked_shape(shape, name)
        if emits not in EMITS:
            raise NetworkError(f"{name}: a source emits {one_of(EMITS)}, found {emits!r}")
        if rate is not None and emits != "poisson":
            raise NetworkError(f"{name}: only a poisson source has rates")
        if period and emits != "start":
            raise NetworkError(f"{name}: only a source that emits at the start has a period")
        return cls(dims, emits, None if rate is None else checked_rates(rate, dims, name), checked_period(period, name, "period"))

    @property
    def input_kind(self) -> InputKind | None:
        """Events (times in steps, neurons), or rates; clocks take nothing."""
        return _INPUT[self.emits]

    @property
    def needs_input(self) -> bool:
        """Unless it is a clock of either kind or has rates of its own."""
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
        if self.emits == "start":
            group.attributes(period=self.period)
        if self.rate is not None:
            group.dataset("rate", np.asarray(self.rate, "<f8"), once=True)

    @classmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> Source:
        """Read it from a file that may come from anywhere; see :meth:`Population.read`."""
        emits = cast(Emits, group.text("emits", EMITS))
        group.holds((*STORED, "emits", *(("period",) if emits == "start" else ())), (), ("rate",))
        rate = group.array("rate", ("float64",), [(1,), around.shape]) if group.has("rate") else None
        one = rate[0] if rate is not None and rate.shape == (1,) else rate
        return cls.checked(around.name, around.shape, emits, rate=one, period=group.number("period") if emits == "start" else 0)

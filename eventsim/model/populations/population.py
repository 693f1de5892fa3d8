"""What every population answers; a kind of population is a file beside this one and a line in :mod:`eventsim.model.registry`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError
from eventsim.model.tables import Table
from eventsim.model.values import ByValue, IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup

InputKind = Literal["currents", "rates", "events", "recording"]
# What a spike does to a potential that is kept from tick to tick.
Reset = Literal["subtract", "zero", "value"]
# How given spikes come about.
Emits = Literal["events", "poisson", "clock", "start"]
# Attributes that every population has in a network file.
STORED = ("name", "kind", "shape")
# Sources of these kinds bring biases.
CLOCKS = "clock", "start"


class Surroundings(NamedTuple):
    """What a population is read from a file with, besides its own group.

    Attributes
    ----------
    name : str
    shape : tuple of int
    encoder : Table or None
        Fits the network's input.
    image : (height, width, channels) or None
        The network's input.
    """

    name: str
    shape: Shape
    encoder: Table | None
    image: Shape | None


class Population(ByValue, ABC):
    """Neurons of one kind, in a shape. Subclasses are frozen dataclasses; what they have not is None, False or empty there.

    Attributes
    ----------
    kind : str
        Its name in network files and in descriptions of runs.
    shape : tuple of int
        (neurons,) or (height, width, channels).
    takes_spikes : bool
        May be the target of projections.
    sends_spikes : bool
        May be the source of projections; its spikes can be recorded.
    fires : bool
        Sends spikes of its own making rather than given ones: they count against a run's ``max_spikes``.
    reads_out : bool
        Its potentials are kept at the end of every step, and it may be the network's output.
    decays : int
        Of each neuron and step: 1 of its potential, 2 of that and its synaptic current.
    has_current : bool
        Spikes change a synaptic current rather than the potential.
    signed : bool
        May send spikes of sign -1.
    threshold : int64 array (channels,) or None
    v0 : int64 array (channels,) or None
        Initial membrane potential; None of neurons without potentials.
    refractory : float or None
        Least distance of two spikes of a neuron, in steps.
    onset : float
        In steps: before this time the neurons integrate, but do not fire.
    reset : {"subtract", "zero", "value"} or None
        What a spike does to a potential that is kept from tick to tick.
    encoder : Table or None
        Makes currents from the network's input.
    bias : int64 array (channels,) or None
        Constant current per step added to what the encoder makes; an array for all that take currents.
    emits : {"", "events", "poisson", "clock", "start"}
        How the spikes of a population that sends, but does not fire, are given.
    rate : float64 array, in the shape of the population, or None
        Probabilities of a spike in a step, of Poisson trains.
    period : float or None
        Steps from the spike of one neuron to that of the next, of those that emit at the start.
    """

    kind: ClassVar[str]
    takes_spikes: ClassVar[bool]
    sends_spikes: ClassVar[bool]
    fires: ClassVar[bool]
    reads_out: ClassVar[bool]
    decays: ClassVar[int] = 0
    has_current: ClassVar[bool] = False
    shape: Shape
    signed: bool
    threshold: IntArray | None
    v0: IntArray | None
    refractory: float | None
    onset: float = 0.0
    reset: Reset | None
    encoder: Table | None
    bias: IntArray | None
    emits: Emits | Literal[""]
    rate: npt.NDArray[np.float64] | None
    period: float | None

    @property
    def size(self) -> int:
        """Number of neurons."""
        return math.prod(self.shape)

    @property
    def is_clock(self) -> bool:
        """Whether it is a bias clock, whose spikes and operations are counted apart."""
        return self.emits in CLOCKS

    @property
    def input_kind(self) -> InputKind | None:
        """What a run can be given for it; None if it takes no input."""
        return None

    @property
    def needs_input(self) -> bool:
        """Whether a run must be given that, the network's image apart."""
        return False

    def per_neuron(self, values: IntArray) -> IntArray:
        """Values per channel for each neuron: int64 (neurons,)."""
        each = values.astype(np.int64)
        return each if each.size == self.size else np.tile(each, self.size // each.size)

    def initial_potentials(self) -> IntArray:
        """Membrane potentials before a run: int64 (neurons,); (0,) of neurons without any."""
        return np.zeros(0, np.int64) if self.v0 is None else self.per_neuron(self.v0)

    @property
    def reset_amount(self) -> IntArray | None:
        """What a spike takes from the potential (reset "subtract"), or else sets it to: int64 (channels,); None without a reset."""
        if self.reset is None or self.threshold is None:
            return None
        return self.threshold if self.reset == "subtract" else np.zeros_like(self.threshold)

    def leaks(self) -> tuple[IntArray, IntArray] | None:
        """Decay in 4096ths and constant leak of each neuron, int64 (neurons,); None if it does not leak."""
        return None

    def current_decays(self) -> IntArray | None:
        """Decay of each neuron's synaptic current in 4096ths, int64 (neurons,); None of neurons without any."""
        return None

    def decayed(self, potentials: IntArray) -> IntArray:
        """Potentials, int64 (neurons,), after the end of a step: what a leak leaves of them."""
        return potentials

    def decayed_current(self, currents: IntArray) -> IntArray:
        """Synaptic currents, int64 (neurons,), after the end of a step."""
        return currents

    def with_initial(self, v0: IntArray) -> Self:
        """The same neurons with other initial potentials: int64 (channels,)."""
        return replace(self, v0=v0)  # type: ignore[type-var]

    def with_onset(self, onset: float) -> Population:
        """The same neurons with another onset, in steps; themselves if they have none."""
        return self

    def with_refractory(self, refractory: float) -> Population:
        """The same neurons with another refractory period, in steps; themselves if they have none."""
        return self

    def taking_spikes(self) -> Population:
        """What takes its place where the image comes as spikes: itself, unless an encoder makes its currents."""
        return self

    def check_image(self, image: Shape | None) -> None:
        """Raise NetworkError if it does not fit the image that the network takes, which has this shape."""

    def check_incoming(self, incoming: Sequence[tuple[Population, Table]]) -> None:
        """Raise NetworkError if these projections (source, table), all that end at it, cannot."""
        for _, table in incoming:
            if not table.weighted:
                raise NetworkError(f"a {table.kind} table has no weights and ends at maximum populations only, this is a {self.kind} one")

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What ``info`` says of it besides kind and shape: JSON values."""

    @abstractmethod
    def details(self) -> list[str]:
        """The same in words, for a description of the network in lines."""

    @abstractmethod
    def write(self, group: NewGroup) -> None:
        """Write everything but name, kind, shape and encoder into a group of a network file."""

    @classmethod
    @abstractmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> Self:
        """Read what :meth:`write` wrote, from a group of a file that may come from anywhere.

        Raises
        ------
        NetworkFileError
            The group holds anything else, or not everything.
        NetworkError
            What it holds makes no sense.
        """


def one_of(words: Sequence[str]) -> str:
    """Words to choose from: ``'a', 'b' or 'c'``."""
    quoted = [repr(word) for word in words]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]])


def span(values: IntArray) -> str:
    """Values in words: the one that they share, or their range."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}..{high}"

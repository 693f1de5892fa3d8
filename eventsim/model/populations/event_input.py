"""Pixels of an event camera: they emit what a recording holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_STEP_US
from eventsim.model.populations.checks import checked_shape
from eventsim.model.populations.population import STORED, InputKind, Population, Surroundings, one_of
from eventsim.model.values import Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup

# What becomes of an event's polarity: whether the pixel has become brighter (ON) or darker (OFF).
Polarity = Literal["split", "merge", "sign"]
POLARITIES: tuple[Polarity, ...] = get_args(Polarity)
# Channels that a pixel has.
CHANNELS: dict[Polarity, int] = {"split": 2, "merge": 1, "sign": 1}
DEFAULT_STEP_US = 1000


@dataclass(frozen=True, eq=False, repr=False)
class EventInput(Population):
    """Pixels of an event camera; every event of a recording is a spike.

    Parameters
    ----------
    shape : (height, width, channels)
        Two channels with ``split``, one otherwise.
    polarity : {"split", "merge", "sign"}
        ``split``: OFF events are spikes of channel 0, ON events of channel 1. ``merge``: they are not told apart. ``sign``: OFF events are
        spikes of sign -1.
    step_us : int
        Microseconds of a step.
    """

    shape: Shape
    polarity: Polarity
    step_us: int
    kind = "event_input"
    takes_spikes = False
    sends_spikes = True
    fires = False
    reads_out = False
    emits = "events"
    rate = None
    period = None
    threshold = None
    v0 = None
    refractory = None
    reset = None
    encoder = None
    bias = None

    @classmethod
    def checked(cls, name: str, shape: int | Sequence[int], *, polarity: Polarity = "split", step_us: int = DEFAULT_STEP_US) -> EventInput:
        """From what :meth:`eventsim.Network.event_input` takes; raises NetworkError if a parameter is out of range."""
        dims = checked_shape(shape, name)
        if polarity not in POLARITIES:
            raise NetworkError(f"{name}: the polarity of events is {one_of(POLARITIES)}, found {polarity!r}")
        if len(dims) != 3 or dims[2] != CHANNELS[polarity]:
            raise NetworkError(
                f"{name}: an event input of polarity {polarity!r} has the shape (height, width, {CHANNELS[polarity]}), found {dims}"
            )
        if isinstance(step_us, bool) or not isinstance(step_us, (int, np.integer)) or not 1 <= step_us <= MAX_STEP_US:
            raise NetworkError(f"{name}: a step is a whole number of microseconds, 1 to {MAX_STEP_US:,}, found {step_us!r}")
        return cls(dims, polarity, int(step_us))

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether OFF events are spikes of sign -1."""
        return self.polarity == "sign"

    @property
    def input_kind(self) -> InputKind | None:
        """A recording: a structured array of x, y, t, p."""
        return "recording"

    @property
    def needs_input(self) -> bool:
        """Always."""
        return True

    def facts(self) -> dict[str, Any]:
        """What ``info`` says of it."""
        return {"emits": self.emits, "polarity": self.polarity, "step_us": self.step_us}

    def details(self) -> list[str]:
        """The same in words."""
        return [f"polarity {self.polarity}", f"{self.step_us:,} us a step"]

    def write(self, group: NewGroup) -> None:
        """Write it into a group of a network file; see :meth:`Population.write`."""
        group.attributes(polarity=self.polarity, step_us=self.step_us)

    @classmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> EventInput:
        """Read it from a file that may come from anywhere; see :meth:`Population.read`."""
        group.holds((*STORED, "polarity", "step_us"), ())
        polarity = cast(Polarity, group.text("polarity", POLARITIES))
        return cls.checked(around.name, around.shape, polarity=polarity, step_us=group.integer("step_us", 1, MAX_STEP_US))

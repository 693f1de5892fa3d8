"""How potentials and synaptic currents leak: by 4096ths of what they are, or by a constant; exact integers.

What neurons and readouts that leak have in common is in :class:`Leaking`, what those with a synaptic current have in :class:`WithCurrent`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import POTENTIAL_MAX
from eventsim.model.populations.checks import PerChannel, checked_per_channel
from eventsim.model.populations.population import Population, Surroundings, span
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup

# A decay of so many 4096ths leaves nothing.
DECAY_BITS = 12
DECAY_ONE = 1 << DECAY_BITS


def decayed(values: IntArray, decay: IntArray, leak: IntArray | int = 0) -> IntArray:
    """Values at the end of a step: ``|x| - (|x| * decay >> 12) - leak``, 0 at least, with the sign of x.

    Parameters
    ----------
    values : int64 array (neurons,)
    decay : int64 array (neurons,)
        In 4096ths.
    leak : int64 array (neurons,) or int
    """
    magnitude = np.abs(values)
    magnitude = np.maximum(magnitude - (magnitude * decay >> DECAY_BITS) - leak, 0)
    return np.where(values < 0, -magnitude, magnitude)


def checked_leak(decay: PerChannel, leak: PerChannel, shape: Shape, name: str) -> tuple[IntArray, IntArray]:
    """Decay and leak per channel, of which one is 0.

    Raises
    ------
    NetworkError
        Out of range, or both.
    """
    decays, leaks = checked_decay(decay, shape, name), checked_per_channel(leak, shape, name, "leak", 0, POTENTIAL_MAX)
    if np.any(decays) and np.any(leaks):
        raise NetworkError(f"{name}: leaks by a share (decay) or by a constant (leak), found both; leave one at 0")
    return decays, leaks


def checked_decay(decay: PerChannel, shape: Shape, name: str, what: str = "decay") -> IntArray:
    """A decay per channel, in 4096ths.

    Raises
    ------
    NetworkError
        Out of range.
    """
    return checked_per_channel(decay, shape, name, what, 0, DECAY_ONE)


class Leaking(Population):
    """A population whose potentials leak."""

    decay: IntArray
    leak: IntArray
    decays = 1

    def leaks(self) -> tuple[IntArray, IntArray]:
        """Decay and constant leak of each neuron."""
        return self.per_neuron(self.decay), self.per_neuron(self.leak)

    def decayed(self, potentials: IntArray) -> IntArray:
        """Potentials, int64 (neurons,), after the end of a step."""
        return decayed(potentials, *self.leaks())

    def facts(self) -> dict[str, Any]:
        """What ``info`` says of its leak."""
        decay, leak = self.decay, self.leak
        return {"decay_min": int(decay.min()), "decay_max": int(decay.max()), "leak_min": int(leak.min()), "leak_max": int(leak.max())}

    def details(self) -> list[str]:
        """The same in words."""
        return [f"leak {span(self.leak)}" if np.any(self.leak) else f"decay {span(self.decay)}/{DECAY_ONE}"]

    def write(self, group: NewGroup) -> None:
        """Write potentials' beginning and leak into a group of a network file; see :meth:`Population.write`."""
        for name in ("v0", "decay", "leak"):
            group.per_channel(name, getattr(self, name))

    @classmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> Self:
        """Read it from a file that may come from anywhere; see :meth:`Population.read`."""
        return cls._read(group, around)

    @classmethod
    @abstractmethod
    def _read(cls, group: StoredGroup, around: Surroundings, further: Sequence[str] = ()) -> Self:
        """With further numbers per channel of these names."""


class WithCurrent(Leaking):
    """One with a synaptic current, to be named before the kind that has none."""

    current_decay: IntArray
    decays = 2
    has_current = True

    def current_decays(self) -> IntArray:
        """Decay of each neuron's synaptic current."""
        return self.per_neuron(self.current_decay)

    def decayed_current(self, currents: IntArray) -> IntArray:
        """Synaptic currents, int64 (neurons,), after the end of a step."""
        return decayed(currents, self.current_decays())

    def facts(self) -> dict[str, Any]:
        """What ``info`` says of it."""
        decay = self.current_decay
        return super().facts() | {"current_decay_min": int(decay.min()), "current_decay_max": int(decay.max())}

    def details(self) -> list[str]:
        """The same in words."""
        return [*super().details(), f"current decay {span(self.current_decay)}/{DECAY_ONE}"]

    def write(self, group: NewGroup) -> None:
        """Write it into a group of a network file; see :meth:`Population.write`."""
        super().write(group)
        group.per_channel("current_decay", self.current_decay)

    @classmethod
    def read(cls, group: StoredGroup, around: Surroundings) -> Self:
        """Read it from a file that may come from anywhere; see :meth:`Population.read`."""
        return cls._read(group, around, ("current_decay",))

"""Readouts that leak, also with a synaptic current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from eventsim.model.limits import POTENTIAL_MIN
from eventsim.model.populations.checks import PerChannel, checked_per_channel, checked_shape
from eventsim.model.populations.leak import Leaking, WithCurrent, checked_decay, checked_leak
from eventsim.model.populations.population import STORED, Surroundings
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup


@dataclass(frozen=True, eq=False, repr=False)
class LeakyReadout(Leaking):
    """Leaky neurons that never fire; they decide as :class:`Readout` do.

    Parameters
    ----------
    shape : tuple of int
    v0 : int64 array (channels,)
        Initial membrane potential.
    decay, leak : int64 array (channels,)
        As for :class:`Leaky`.
    """

    shape: Shape
    v0: IntArray
    decay: IntArray
    leak: IntArray
    kind = "leaky_readout"
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
    def checked(
        cls,
        name: str,
        shape: int | Sequence[int],
        *,
        decay: PerChannel = 0,
        leak: PerChannel = 0,
        v0: PerChannel = 0,
        **further: Any,
    ) -> Self:
        """From what :meth:`eventsim.Network.leaky_readout` takes; raises NetworkError if a parameter is out of range."""
        dims = checked_shape(shape, name)
        initial = checked_per_channel(v0, dims, name, "v0", POTENTIAL_MIN)
        return cls(dims, initial, *checked_leak(decay, leak, dims, name), **further)

    @classmethod
    def _read(cls, group: StoredGroup, around: Surroundings, further: Sequence[str] = ()) -> Self:
        """With further numbers per channel of these names."""
        names = "v0", "decay", "leak", *further
        group.holds(STORED, names)
        return cls.checked(around.name, around.shape, **{name: group.per_channel(name, around.shape[-1]) for name in names})


@dataclass(frozen=True, eq=False, repr=False)
class CurrentLeakyReadout(WithCurrent, LeakyReadout):
    """Leaky readouts with a synaptic current, as :class:`CurrentLeaky` have it.

    Parameters
    ----------
    current_decay : int64 array (channels,)
        As for :class:`CurrentLeaky`.
    Others
        As for :class:`LeakyReadout`.
    """

    current_decay: IntArray
    kind = "current_leaky_readout"

    @classmethod
    def checked(cls, name: str, shape: int | Sequence[int], *, current_decay: PerChannel = 0, **further: Any) -> Self:
        """From what :meth:`eventsim.Network.leaky_readout` takes; raises NetworkError if a parameter is out of range."""
        checked = checked_decay(current_decay, checked_shape(shape, name), name, "current_decay")
        return super().checked(name, shape, current_decay=checked, **further)

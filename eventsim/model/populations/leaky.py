"""Leaky integrate-and-fire neurons, also with a synaptic current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, cast, get_args

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN
from eventsim.model.periods import checked_period
from eventsim.model.populations.checks import PerChannel, checked_per_channel, checked_shape
from eventsim.model.populations.leak import Leaking, WithCurrent, checked_decay, checked_leak
from eventsim.model.populations.population import STORED, Reset, Surroundings, one_of, span
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup

RESETS: tuple[Reset, ...] = get_args(Reset)


@dataclass(frozen=True, eq=False, repr=False)
class Leaky(Leaking):
    """Leaky integrate-and-fire neurons.

    Within a tick they integrate and fire as :class:`Spiking` do. At the end of each step, after the tick ``s * R``, every potential
    decays: ``|V| -= |V| * decay >> 12``, or ``|V| -= leak`` but not below 0; its sign stays.

    Parameters
    ----------
    shape, threshold, v0, refractory
        As for :class:`Driven`.
    decay : int64 array (channels,)
        0..4096, the share of the potential that a step takes, in 4096ths; 4096 leaves nothing.
    leak : int64 array (channels,)
        What a step takes from the magnitude of the potential; with a decay it is 0.
    reset : {"subtract", "zero", "value"}
        A spike takes ``amount`` from the potential, sets it to 0, or sets it to ``amount``.
    amount : int64 array (channels,)
        At least 1 with ``"subtract"``, below the threshold with ``"value"``, 0 with ``"zero"``.
    """

    shape: Shape
    threshold: IntArray
    v0: IntArray
    decay: IntArray
    leak: IntArray
    reset: Reset
    amount: IntArray
    refractory: float
    kind = "leaky"
    takes_spikes = True
    sends_spikes = True
    fires = True
    reads_out = False
    signed = False
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
        decay: PerChannel = 0,
        leak: PerChannel = 0,
        v0: PerChannel = 0,
        reset: Reset = "subtract",
        amount: PerChannel | None = None,
        refractory: float = 0,
        **further: Any,
    ) -> Self:
        """From what :meth:`eventsim.Network.leaky` takes.

        Raises
        ------
        NetworkError
            A parameter is out of range.
        """
        dims = checked_shape(shape, name)
        if reset not in RESETS:
            raise NetworkError(f"{name}: reset must be {one_of(RESETS)}, found {reset!r}")
        thresholds = checked_per_channel(threshold, dims, name, "thresholds", 1)
        return cls(
            dims,
            thresholds,
            checked_per_channel(v0, dims, name, "v0", POTENTIAL_MIN),
            *checked_leak(decay, leak, dims, name),
            reset,
            checked_amount(reset, amount, thresholds, dims, name),
            checked_period(refractory, name, "refractory"),
            **further,
        )

    @property
    def reset_amount(self) -> IntArray:
        """What a spike takes from the potential (reset ``"subtract"``), or sets it to."""
        return self.amount

    def with_refractory(self, refractory: float) -> Self:
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
            **super().facts(),
            "reset": self.reset,
            "amount_min": int(self.amount.min()),
            "amount_max": int(self.amount.max()),
        }

    def details(self) -> list[str]:
        """The same in words."""
        refractory, usual = self.refractory, self.threshold if self.reset == "subtract" else np.zeros(1, np.int64)
        by = "" if np.all(self.amount == usual) else f" {span(self.amount)}"
        return [
            f"threshold {span(self.threshold)}",
            *super().details(),
            f"reset {self.reset}{by}",
            *([f"refractory {refractory:g} steps"] if refractory else []),
        ]

    def write(self, group: NewGroup) -> None:
        """Write it into a group of a network file; see :meth:`Population.write`."""
        super().write(group)
        group.attributes(refractory=float(self.refractory), reset=self.reset)
        group.per_channel("threshold", self.threshold)
        group.per_channel("amount", self.amount)

    @classmethod
    def _read(cls, group: StoredGroup, around: Surroundings, further: Sequence[str] = ()) -> Self:
        """With further numbers per channel of these names."""
        channels = around.shape[-1]
        names = "v0", "decay", "leak", "amount", *further
        group.holds((*STORED, "refractory", "reset"), ("threshold", *names))
        values = {name: group.per_channel(name, channels) for name in names}
        reset = cast(Reset, group.text("reset", RESETS))
        threshold, refractory = group.per_channel("threshold", channels), group.number("refractory")
        return cls.checked(around.name, around.shape, threshold, reset=reset, refractory=refractory, **values)


@dataclass(frozen=True, eq=False, repr=False)
class CurrentLeaky(WithCurrent, Leaky):
    """Leaky integrate-and-fire neurons with a synaptic current I, a second state with a decay of its own.

    A spike that arrives changes the current, ``I += sign * weight``, and so does not make a neuron fire at once. In the last tick of a
    step, ``s * R``, after what arrives then has been delivered, ``V += I``, and neurons that are due fire. After that tick I decays by
    ``current_decay``, as V does by ``decay``. Clocked (R = 1) that is the usual loop; asynchronous, spikes of a step join in a current that
    flows at its end.

    Parameters
    ----------
    current_decay : int64 array (channels,)
        0..4096; with 4096 a current lasts for one step.
    Others
        As for :class:`Leaky`.
    """

    current_decay: IntArray
    kind = "current_leaky"

    @classmethod
    def checked(
        cls, name: str, shape: int | Sequence[int], threshold: PerChannel, *, current_decay: PerChannel = 0, **further: Any
    ) -> Self:
        """From what :meth:`eventsim.Network.leaky` takes, and the decay of the current; raises as :meth:`Leaky.checked`."""
        checked = checked_decay(current_decay, checked_shape(shape, name), name, "current_decay")
        return super().checked(name, shape, threshold, current_decay=checked, **further)


def checked_amount(reset: Reset, amount: PerChannel | None, threshold: IntArray, shape: Shape, name: str) -> IntArray:
    """What a spike takes from the potential, or sets it to, per channel: int64 (channels,); None is what is usual.

    Raises
    ------
    NetworkError
        Out of range, or it makes no sense with the reset and the thresholds.
    """
    if amount is None:
        if reset == "value":
            raise NetworkError(f"{name}: reset 'value' needs an amount, the potential after a spike")
        return threshold if reset == "subtract" else np.broadcast_to(np.int64(0), threshold.shape)
    values = checked_per_channel(amount, shape, name, "amount", 1 if reset == "subtract" else POTENTIAL_MIN)
    if reset == "zero" and np.any(values):
        raise NetworkError(f"{name}: reset 'zero' takes no amount; reset 'value' does")
    if reset == "value" and np.any(values >= threshold):
        raise NetworkError(f"{name}: the potential after a spike must be below the threshold, or the neuron would fire without end")
    if reset == "value" and np.any(threshold - values > POTENTIAL_MAX):
        raise NetworkError(f"{name}: the threshold must be at most {POTENTIAL_MAX} above the potential after a spike")
    return values

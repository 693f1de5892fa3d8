"""What the simulators that write NIR mean by it: how long a step is, and what a neuron does in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eventsim.conversion.graph import Array
from eventsim.errors import ConversionError

Reset = Literal["subtract", "value", "none"]


def euler(tau: Array, dt: float) -> Array:
    """The share that a step takes of what decays: dt / tau."""
    return dt / tau


def exponential(tau: Array, dt: float) -> Array:
    """The same, of an exponential decay."""
    return -np.expm1(-dt / tau)


def euler_twice(tau: Array, dt: float) -> Array:
    """The same where a file has dt * tau in the place of tau."""
    return dt * dt / tau


@dataclass(frozen=True)
class Writer:
    """How a simulator runs what it writes.

    Attributes
    ----------
    dt : float or None
        Length of a step in the unit of the file's time.
    share : callable
        Of tau and dt: what a step takes of a potential or a current.
    whole : bool
        The resistance of an IF neuron, and ``w_in``, are for a step, whatever its length: not to be multiplied by dt, or dt / tau.
    strict : bool
        Neurons fire above their threshold; else at or above it.
    reset : {"subtract", "value"}
        By the threshold, or to ``v_reset``: files do not say which.
    late : bool
        Neurons are reset in the step after the spike. What a subtraction takes does not itself decay, then; what arrives in that step is
        lost with a reset to zero, of neurons with a current or with weights that lead back.
    unit : bool
        An input of 1 adds 1: IF neurons have an r of 1, and where r is tau / dt, tau may be infinite, negative or shorter than a step,
        since a decay that was learnt may have left 0 to 1, to which the simulator takes it back.
    """

    dt: float | None
    share: Callable[[Array, float], Array] = euler
    whole: bool = False
    strict: bool = False
    reset: Reset = "value"
    late: bool = False
    unit: bool = False


WRITERS = {
    "nir": Writer(None, strict=True),
    "snntorch": Writer(1e-4, strict=True, reset="subtract", late=True, unit=True),
    "spikingjelly": Writer(1e-4),
    "sinabs": Writer(1.0, exponential, reset="subtract"),
    "norse": Writer(1e-3, euler_twice, whole=True, strict=True),
}


def writer_named(name: str) -> Writer:
    """One of those above; raises ConversionError if there is none of this name."""
    if name not in WRITERS:
        raise ConversionError(f"no writer {name!r} of NIR files is known; there are: {', '.join(WRITERS)}")
    return WRITERS[name]

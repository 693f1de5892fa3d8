"""How potentials and synaptic currents leak: by 4096ths of what they are, or by a constant; exact integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.errors import NetworkError
from eventsim.model.limits import POTENTIAL_MAX
from eventsim.model.populations.checks import PerChannel, checked_per_channel
from eventsim.model.populations.population import span
from eventsim.model.values import IntArray, Shape

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


def leak_facts(decay: IntArray, leak: IntArray) -> dict[str, Any]:
    """What ``info`` says of a leak."""
    return {"decay_min": int(decay.min()), "decay_max": int(decay.max()), "leak_min": int(leak.min()), "leak_max": int(leak.max())}


def leak_details(decay: IntArray, leak: IntArray) -> list[str]:
    """The same in words."""
    if np.any(leak):
        return [f"leak {span(leak)}"]
    return [f"decay {span(decay)}/{DECAY_ONE}"]

"""The thresholds of exit rules for which a trade-off is known, and what stopping at each would have given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventsim.model.tables import IntArray


def _thresholds() -> IntArray:
    """Every whole number up to 32, then 32 an octave up to 2**31."""
    octaves = np.floor(2 ** (5 + np.arange(1, 26 * 32 + 1) / 32)).astype(np.int64)
    return np.unique(np.concatenate((np.arange(1, 33), octaves)))


# The thresholds of exit rules for which a trade-off is known exactly.
EXIT_THRESHOLDS = _thresholds()


class Exits(NamedTuple):
    """What stopping early would have given, one row per moment at which a higher threshold was first reached.

    Attributes
    ----------
    level : int64
        How many of :data:`EXIT_THRESHOLDS` were reached; ascending.
    tick : int64
    decision : int64
    spikes, synaptic_events : int64
        Of all populations and projections but bias clocks, up to and including that tick.
    """

    level: IntArray
    tick: IntArray
    decision: IntArray
    spikes: IntArray
    synaptic_events: IntArray

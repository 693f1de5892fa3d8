"""What makes a run begin again: too many spikes for the memory, or more than allowed, or a potential beyond int32."""

from __future__ import annotations

from dataclasses import dataclass

# Spikes of a population in a window for which there is memory; with more, it is run in parts.
CROWD = 2**21


class Crowded(Exception):
    """A population makes more spikes in a window than there is memory meant for."""


class Overflow(Exception):
    """A potential has left int32 within a window, maybe behind the end of the run."""


@dataclass
class Limit(Exception):
    """There are more spikes than allowed: by this tick, which comes before the window's last one; 0 if it is not known."""

    tick: int


def check_crowd(spikes: int, most: int) -> None:
    """Raise :class:`Crowded` if there are more spikes than ``most``."""
    if spikes > most:
        raise Crowded

"""Room for a thread to work in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.engines.layered.limits import check_crowd
from eventsim.kernels import order
from eventsim.model.tables import IntArray

if TYPE_CHECKING:
    from eventsim.engines.layered.ways.way import Way

# Room for the spikes that a population makes in a stretch, at first (see eventsim.engines.layered.ways.site_kernels and driven_kernels).
KEYS = 2**12


@dataclass
class Workspace:
    """Room for a thread to work in: what several ways take, and what each way takes for itself."""

    rooms: dict[type[Way], Any]
    order: order.Room
    keys: IntArray
    most: int  # spikes of a population in a window, about

    def more_keys(self, n: int) -> None:
        """Twice as much room for keys, of which there are n."""
        check_crowd(n, self.most)
        bigger = np.empty(2 * len(self.keys), np.int64)
        bigger[:n] = self.keys[:n]
        self.keys = bigger

    def more_order(self) -> None:
        """Room to order as many spikes as there is room for keys."""
        self.order = order.room_for(len(self.keys))


def workspace(ways: Sequence[Way], repeats: int, most: int) -> Workspace:
    """Room for these ways to run populations.

    Parameters
    ----------
    ways : sequence of Way
    repeats : int
        Spikes of a source in a tick, at most.
    most : int
        Spikes of a population in a window for which there is memory, about.
    """
    rooms = {kind: kind.room([way for way in ways if type(way) is kind], repeats) for kind in {type(way): None for way in ways}}
    return Workspace(rooms, order.room_for(KEYS), np.empty(KEYS, np.int64), most)

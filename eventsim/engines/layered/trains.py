"""Spikes as lists (trains): room for them, and what reaches a population through several projections, some of them delayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.engines.layered.calls import Calls
from eventsim.engines.layered.rasters import Raster
from eventsim.engines.layered.ways.parts import merge
from eventsim.engines.layered.ways.records import Train
from eventsim.model.tables import IntArray

if TYPE_CHECKING:
    from eventsim.model.network import Projection

# The spikes of a population in a window.
Spikes = Train | Raster
NO_SIGNS, NO_PROJECTIONS = np.zeros(0, np.int8), np.zeros(0, np.int16)
_CALL = Calls()


def empty(room: int, signed: bool) -> Train:
    """Room for so many spikes, which are not yet written."""
    return Train(np.empty(room, np.int64), np.empty(room, np.int32), np.empty(room if signed else 0, np.int8), NO_PROJECTIONS)


def grown(train: Train, signed: bool, room: int) -> Train:
    """The same spikes in room for so many."""
    bigger = empty(room, signed)
    for old, new in zip(train[:3], bigger[:3], strict=True):
        new[: len(old)] = old
    return bigger


def as_train(spikes: Spikes) -> Train:
    """The spikes as a list."""
    return spikes.train() if isinstance(spikes, Raster) else spikes


def signs_of(train: Train) -> IntArray:
    """The sign of each spike."""
    signs: IntArray = train.sign if len(train.sign) else np.ones(len(train.tick), np.int8)
    return signs


def copied(train: Train) -> Train:
    """The same spikes in arrays of their own."""
    return Train(*(a.copy() for a in train))


def _merged(a: Train, b: Train, number: int) -> Train:
    """What two trains bring by tick; ``number``: the projection of the second one."""
    n = len(a.tick) + len(b.tick)
    signs = np.empty(n, np.int8) if len(a.sign) or len(b.sign) else NO_SIGNS
    both = Train(np.empty(n, np.int64), np.empty(n, np.int32), signs, np.empty(n, np.int16))
    _CALL(merge, "", a, b, number, both)
    return both


class Delayed:
    """Spikes that are still on their way through delayed projections."""

    def __init__(self, delay: Mapping[str, int]):
        self._delay = delay
        self._late: dict[str, Train] = {}

    def arrivals(self, incoming: list[Projection], spikes: Mapping[str, Spikes], until: int) -> Train:
        """What reaches a population up to the end of a tick, by tick of arrival; what arrives later is kept.

        Parameters
        ----------
        incoming : list of Projection
            Those that reach the population; ``projection`` of the result counts them.
        spikes : mapping of str to Spikes
            Those of the window, by population.
        until : int
        """
        if len(incoming) == 1 and not self._delay[incoming[0].name]:
            return as_train(spikes[incoming[0].source])
        merged = None
        for number, projection in enumerate(incoming):
            train = as_train(spikes[projection.source])
            if self._delay[projection.name]:
                train = self._due(projection.name, train, until)
            merged = train if merged is None else _merged(merged, train, number)
        return empty(0, False) if merged is None else merged

    def _due(self, name: str, train: Train, until: int) -> Train:
        """What arrives through a projection up to the end of a tick."""
        train = train._replace(tick=train.tick + self._delay[name])
        before = self._late.get(name)
        if before is not None:
            train = Train(*(np.concatenate(pair) for pair in zip(before, train, strict=True)))
        n = int(np.searchsorted(train.tick, until, side="right"))
        self._late[name] = Train(*(a[n:].copy() for a in train))
        return Train(*(a[:n] for a in train))

    def snapshot(self) -> Any:
        """Everything that :meth:`restore` needs."""
        return dict(self._late)

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self._late = snapshot

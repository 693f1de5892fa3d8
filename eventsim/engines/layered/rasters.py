"""Spikes as masks (rasters), for windows in which most locations have spikes at most ticks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from eventsim.engines.layered.ways.raster_kernels.counting import count
from eventsim.engines.layered.ways.raster_kernels.lists import from_train, to_train
from eventsim.engines.layered.ways.raster_kernels.records import BEHIND, Masks
from eventsim.engines.layered.ways.records import Train
from eventsim.model.tables import IntArray, Shape, spatial

# Ticks that a location is run for at a time, at most: the currents at work have to fit the second-level cache. (A vector counts as many.)
CHUNK = 32
# The masks of a raster that nobody reads, and those to be replaced by larger ones.
NO_MASKS = np.zeros(0, np.uint32)


@dataclass
class Raster:
    """The spikes of a population in a window."""

    masks: Masks
    _train: Train | None = field(default=None, repr=False)

    def train(self) -> Train:
        """The same spikes as a list."""
        if self._train is None:
            positive, negative = self.masks.positive, self.masks.negative
            # Not fewer than there are: behind the last tick of the last chunk may be what an earlier window left.
            n = count(positive, len(positive) - BEHIND) + (0 if negative is None else count(negative, len(negative) - BEHIND))
            tick, neuron = np.empty(n, np.int64), np.empty(n + 32, np.int32)
            sign = np.empty(0 if negative is None else n, np.int8)
            n = to_train(self.masks, negative, tick, neuron, sign)
            self._train = Train(tick[:n], neuron[:n], sign[:n], np.zeros(0, np.int16))
        return self._train


@cache
def chunks(ticks: int) -> tuple[int, int]:
    """Into how many chunks a window is divided, and the ticks of each but the last."""
    number = -(-ticks // CHUNK)
    return number, -(-ticks // number)


def blocks(channels: int) -> int:
    """Masks of a location and tick."""
    return -(-channels // 32)


@cache
def room(ticks: int, locations: int, channels: int) -> int:
    """Places for the masks of a window."""
    number, length = chunks(ticks)
    return number * length * locations * blocks(channels) + BEHIND


def masks_in(since: int, ticks: int, shape: Shape, positive: IntArray, negative: IntArray | None) -> Masks:
    """The spikes of a population of this shape in a window, in arrays that have :func:`room` for them."""
    height, width, channels = spatial(shape)
    return Masks(since, ticks, chunks(ticks)[1], height * width, channels, positive, negative)


def of_train(train: Train, since: int, ticks: int, shape: Shape, signed: bool) -> Raster:
    """A list of spikes as a raster; no neuron may spike twice in a tick. ``signed``: whether there may be spikes of sign -1."""
    height, width, channels = spatial(shape)
    size = room(ticks, height * width, channels)
    negative = np.zeros(size, np.uint32) if signed else None
    masks = masks_in(since, ticks, shape, np.zeros(size, np.uint32), negative)
    from_train(train, masks, negative)
    return Raster(masks, train)

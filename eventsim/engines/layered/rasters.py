"""Spikes as masks (rasters), for windows in which most locations have spikes at most ticks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from eventsim.engines.layered.ways import raster_kernels as k
from eventsim.engines.layered.ways.records import Train
from eventsim.model.tables import IntArray, Shape, spatial

# Ticks that a location is run for at a time, at most: the currents at work have to fit the second-level cache. (A vector counts as many.)
CHUNK = 32
# The masks of a raster that nobody reads, and those of signs where there are none.
NO_MASKS = np.zeros(0, np.uint32)


@dataclass
class Raster:
    """The spikes of a population in the ticks since+1..since+ticks. ``negative`` (spikes of sign -1) may be empty."""

    since: int
    ticks: int
    length: int  # ticks of a chunk; the last one may have fewer
    locations: int
    channels: int
    masks: IntArray
    negative: IntArray
    listed: Train | None = field(default=None, repr=False)

    def train(self) -> Train:
        """The same spikes as a list."""
        if self.listed is None:
            # Not fewer than there are: behind the last tick of the last chunk may be what an earlier window left.
            n = k.count(self.masks, len(self.masks) - k.BEHIND) + k.count(self.negative, max(0, len(self.negative) - k.BEHIND))
            tick, neuron = np.empty(n, np.int64), np.empty(n + 32, np.int32)
            sign = np.empty(n if len(self.negative) else 0, np.int8)
            n = k.to_train(
                self.masks, self.negative, self.since, self.ticks, self.length, self.locations, self.channels, tick, neuron, sign
            )  # fmt: skip
            self.listed = Train(tick[:n], neuron[:n], sign[:n], np.zeros(0, np.int16))
        return self.listed


def chunks(ticks: int) -> tuple[int, int]:
    """Into how many chunks a window is divided, and the ticks of each but the last."""
    number = -(-ticks // CHUNK)
    return number, -(-ticks // number)


def blocks(channels: int) -> int:
    """Masks of a location and tick."""
    return -(-channels // 32)


def room(ticks: int, locations: int, channels: int) -> int:
    """Places for the masks of a window."""
    number, length = chunks(ticks)
    return number * length * locations * blocks(channels) + k.BEHIND


def of_train(train: Train, since: int, ticks: int, shape: Shape) -> Raster:
    """A list of spikes as a raster; no neuron may spike twice in a tick."""
    height, width, channels = spatial(shape)
    size = room(ticks, height * width, channels)
    masks, negative = np.zeros(size, np.uint32), np.zeros(size if len(train.sign) else 0, np.uint32)
    length = chunks(ticks)[1]
    k.from_train(train.tick, train.neuron, train.sign, since, length, height * width, channels, masks, negative)
    return Raster(since, ticks, length, height * width, channels, masks, negative, train)

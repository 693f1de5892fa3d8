"""What does not change from run to run of a driven population."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from eventsim.engines.layered.rasters import blocks
from eventsim.kernels.stencils import aligned
from eventsim.model.populations import Driven
from eventsim.model.tables import IntArray


class DrivenLayout:
    """What does not change from run to run of a driven population.

    Lanes are many times the neurons in maps of few channels; only clocked runs, in which no potential leaves 32 bits, ask for them.
    """

    def __init__(self, population: Driven):
        self.threshold, self.v0 = (np.array(a, np.int64) for a in (population.threshold, population.v0))
        self.inverse = 1.0 / self.threshold
        self.shape, self.size = population.shape, int(np.prod(population.shape))
        # What a potential may be apart from what the current brings.
        self.span = int(np.abs(self.v0).max()) + int(self.threshold.max())
        self.locations, self.channels = self.size // len(self.threshold), len(self.threshold)
        # Location by location, padded with channels that never fire.
        self.padded = 32 * blocks(self.channels)
        # So many lanes further on the channels are the same again: whole locations, and a multiple of 64 lanes.
        self.back = math.lcm(self.padded, 64)

    @cached_property
    def v(self) -> IntArray:
        """Initial potentials, int32, of all lanes."""
        return self.lanes(self.v0, -1)

    @cached_property
    def theta(self) -> IntArray:
        """Thresholds, int32, of all lanes."""
        return self.lanes(self.threshold, 1)

    def lanes(self, values: IntArray, other: int) -> IntArray:
        """Values per channel, or per neuron, for all lanes."""
        out = np.full((self.locations, self.padded), other, np.int32)
        out[:, : self.channels] = values.reshape(-1, self.channels)
        return aligned(out, np.int32)

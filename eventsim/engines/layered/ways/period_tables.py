"""Tables for running a population a refractory period at a time: those for running it site by site, and more spikes in a stretch."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.tables import Layout
from eventsim.engines.layered.ways import site_tables
from eventsim.engines.layered.ways.period_kernels.records import GUARD, PROGRESS, Periods, Sizes
from eventsim.engines.layered.ways.records import Layer

# Entries that the spikes of a stretch may make: half a second-level cache of a megabyte.
ENTRIES = 2**16


def by_period(layout: Layout) -> tuple[Layer, Periods] | str:
    """A population's layer and what it needs to be run a period at a time, its arrays not yet filled; or why it cannot be."""
    made = layout.made(site_tables.by_site)
    if isinstance(made, str):
        return made
    layer, of = made
    # (Entries of site tables: one and a half times those of a stretch, as a rule, and two for each site.)
    each = max(1.0, (of.sizes.expected - 2 * len(of.loads)) / 1.5 / of.sizes.stretch)
    stretch = max(int(ENTRIES / each), of.sizes.stretch)
    expected, largest = int(1.5 * each * stretch) + 2 * len(of.loads), layer.projections["largest"]
    margin = int((np.where(layer.projections["wide"] == 0, GUARD, 1) * largest).sum())
    sizes = Sizes(of.sizes.lanes, of.sizes.shift, of.sizes.block, stretch, of.sizes.negated, expected, margin, False, -1)
    free, plain = np.empty(layer.constants.size + 1, np.uint16), np.empty(len(of.loads) - 1, np.int64)
    return layer, Periods(sizes, np.zeros((), PROGRESS), free, of.begins, plain, of.loads, of.found, of.reach, of.rows)

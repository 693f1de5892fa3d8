"""Tables for running a population site by site: where the spikes of each source location go."""

from __future__ import annotations

import numpy as np

from eventsim.engines.layered.tables import Layout, power_of_two
from eventsim.engines.layered.ways.records import Layer
from eventsim.engines.layered.ways.site_kernels.records import COSTS, PROGRESS, Sites, Sizes
from eventsim.kernels.simd import NEGATIVE
from eventsim.kernels.stencils import aligned, lanes_of
from eventsim.model.tables import IntArray

# Entries that the spikes of a stretch should make (see eventsim.engines.layered.ways.site_kernels), for the second-level cache.
ENTRIES = 2**15
# Places of the table of sites that a projection may have: half a gigabyte while it is made.
MOST = 2**26
_TOO_LARGE = "its tables are too large for entries of 32 bits"


def by_site(layout: Layout) -> tuple[Layer, Sites] | str:
    """A population's layer and what it needs to be run site by site, its arrays not yet filled; or why it cannot be."""
    layer = layout.layer
    of, negated = layer.projections, layer.w8.size
    if not len(of) or np.any(of["sparse"]) or np.any(of["wide"] > 1):
        return "it needs convolutions or dense tables, of weights of at most 16 bits"
    if layout.signs:
        if np.any(layer.w8 == -128):
            return "a weight of -128 cannot be negated in 8 bits"
        layer = layer._replace(w8=aligned(np.concatenate((layer.w8, -layer.w8)), np.int8))
    if max(layer.w8.size, 0 if layer.w16 is None else layer.w16.size) >= NEGATIVE:
        return _TOO_LARGE
    size, padded = layer.constants.size, layer.constants.padded
    # What reaches some lanes of a location only makes sites of those. (All runs of lanes begin and end with a site.)
    bounds = layer.records["first_lane"], layer.records["run"]
    lanes = size if all(p.table.all_to_all for p in layout.incoming) else int(np.gcd.reduce(np.concatenate(([padded], *bounds))))
    block = next(n for n in (128, 64, 32) if padded % n == 0 and lanes % n == 0)
    number, blocks = size // lanes, size // block
    found = _reach(layer, lanes)
    if found is None:
        return _TOO_LARGE
    reach, rows = found
    locations, each = len(layer.records), float(lanes_of(layer.records).mean()) / lanes
    # A stretch looks at all locations: it should have spikes enough for that.
    stretch = max(int(ENTRIES / max(1.0, each)), locations, number, 256)
    expected = int(1.5 * each * stretch) + 2 * number
    return layer, Sites(
        Sizes(lanes, power_of_two(lanes), block, stretch, negated, expected, layout.v.size.bit_length()),
        np.zeros((), PROGRESS),
        np.empty(blocks, np.int64),
        np.empty(number + 2, np.int64),
        np.empty(number + 1, np.int64),
        np.empty(locations, np.int64),
        reach,
        rows,
    )


def _reach(layer: Layer, lanes: int) -> tuple[IntArray, IntArray] | None:
    """For each source location of each projection: its sites and their weights (``reach`` and ``rows`` of :class:`Sites`)."""
    begin, none = layer.projections["records"], layer.constants.size // lanes
    parts, rows, place = [], np.zeros((len(begin), 2), np.int64), 0
    for of, records, row in zip(layer.projections, np.split(layer.records, begin[1:]), rows, strict=True):
        run, columns = records["run"][:, None] // lanes, records["columns"][:, None]
        number = records["rows"][:, None] * columns * run
        # All locations of a projection have the same number, so that no branch depends on it; the site behind the last one is none.
        which = np.arange(int(number.max(initial=0)))
        if len(records) * (COSTS + 2 * len(which)) > MOST:
            return None
        i, j = which // np.maximum(1, columns * run), which % np.maximum(1, run)
        column = which // np.maximum(1, run) % np.maximum(1, columns)
        part = np.zeros((len(records), COSTS + 2 * len(which)), np.int64)
        part[:, :COSTS] = np.stack([records[cost] for cost in ("synapses", "additions", "toolbox")], axis=1)
        rows_forward, columns_forward = i * (of["row_step"] // lanes), column * (of["column_step"] // lanes)
        part[:, COSTS::2] = records["first_lane"][:, None] // lanes + rows_forward + columns_forward + j
        part[:, COSTS + 1 :: 2] = of["weights"] + records["tap"][:, None] - i * of["tap_step"] + column * of["column_tap"] + j * lanes
        missing = which >= number
        part[:, COSTS::2][missing], part[:, COSTS + 1 :: 2][missing] = none, 0
        if part.max(initial=0) >= 2**31:
            return None
        row[:] = place, part.shape[1]
        place += part.size
        parts.append(part.astype(np.int32).ravel())
    return np.concatenate(parts), rows

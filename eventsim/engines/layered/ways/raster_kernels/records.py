"""Named records of the kernels that run populations from rasters."""

from __future__ import annotations

from typing import Any, NamedTuple

# Places behind the masks of a raster: zeros, and what vectors may read beyond the end.
BEHIND = 64


class Masks(NamedTuple):
    """The spikes of a population in the ticks since+1..since+ticks, a bit each.

    A mask holds those of a block of 32 channels of a location in a tick, the lowest channel in its lowest bit. Masks lie by (chunk of
    ``length`` ticks, location, block, tick); behind them are BEHIND zeros.
    """

    since: int
    ticks: int
    length: int  # ticks of a chunk; the last one may have fewer
    locations: int
    channels: int
    positive: Any  # uint32
    negative: Any  # uint32, the spikes of sign -1; None if the population fires none


class Geometry(NamedTuple):
    """A projection, seen as a convolution of stride 1 whose sources are groups of stride_y x stride_x locations, and its target.

    For a dense table all source neurons are one group, and LANES of the target's lanes count as a location.
    """

    height: int  # source locations
    width: int
    blocks: int  # masks of a source location and tick
    stride_y: int
    stride_x: int
    top: int  # padding
    left: int
    rows: int  # target locations that a group reaches
    columns: int
    groups_y: int
    groups_x: int
    out_height: int  # target locations
    out_width: int
    first: int  # place of the first target location in a row of currents, which begins with those beyond the left border
    across: int  # places of such a row
    padded: int  # lanes of a target location
    lanes: int  # target lanes that are added up at a time: 64 or 32
    taps: int  # target locations that are added up at a time: 1, 4 or 9
    passes: int  # so many times, for all that a group reaches
    unit: int  # the magnitude of the weights
    limit: int  # spikes whose weights surely have a sum of 8 bits
    keep: int  # 0 if a spike resets to zero, -1 if it subtracts the threshold


class Tables(NamedTuple):
    """A projection for :func:`eventsim.engines.layered.ways.raster_kernels.integrate.integrate`, and what else its target gets."""

    geometry: Geometry
    weights: Any  # int8: (block of target lanes, pass, neuron of a group, tap, lane); in units of ``geometry.unit``
    constant: Any  # int32 (lanes of the target,), added at every tick; or ``geometry.lanes`` zeros; of a readout maybe none
    threshold: Any  # int32, of the lanes of a location, or of all
    rise: int  # the most that a potential can change in a tick


class Costs(NamedTuple):
    """What the spikes that reach a population cost, and where that is counted: by the projections' numbers in the network."""

    locations: int  # of the source
    blocks: int  # masks of each
    record: int  # of its first location, in Layer.records
    number: int  # of the projection
    all_effective: bool  # whether no weight is 0
    clocks: Any  # int64 (clocks,): the numbers of the projections from bias clocks
    of_clock: Any  # int64 (clocks, 5): what a spike of each costs


class Scratch(NamedTuple):
    """Room to work in; holds nothing between calls."""

    currents: Any  # int16
    words: Any  # int64: places of the masks of a group
    targets: Any  # int64 (taps,): places of the target locations of a group
    counts: Any  # int32 (CHUNK,)
    listed: Any  # int32: the channels of a location that spike, and SLACK more

"""Named records of the kernels that run populations a refractory period at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

from eventsim.kernels.records import record

# Moments that a stretch has, at most: twice that and a bit for the sign fit 16 bits, and so do those that stand for what follows.
MOMENTS = 2**15 - 2
# The moment of the end of each list; of neurons that are not free in the stretch, or did not fire.
END, NEVER = 2**15 - 1, 2**16 - 1
# A moment times that stands in both halves of 32 bits.
TWICE = 2**16 + 1
# Entries of 8-bit weights after which potentials of 16 bits are looked at: whether as many more surely fit.
GUARD = 64
# Where a population has got to.
#
# reached: all ticks up to this one are done   last: the last tick of the stretch    moments: of the stretch
# site, part: the site and the block of it to go on with; site is -1 between stretches
# needed: entries, or spikes, of a stretch for which there was no room
PROGRESS = record("reached last moments site part needed")


class Sizes(NamedTuple):
    """Numbers of a population."""

    lanes: int  # of a site
    shift: int  # which power of two that is, or -1
    block: int  # lanes that are run at a time: 128, 64 or 32
    stretch: int  # the most spikes of a stretch, but for those of a single tick
    negated: int  # where the weights for spikes of sign -1 begin
    expected: int  # entries that a stretch makes as a rule
    margin: int  # the most that GUARD entries of 8-bit weights and one of 16 bits can change a potential
    plain: bool  # whether all spikes but those of a clock that comes apart have weights of 8 bits
    clock: int  # number of the projection from a bias clock that comes apart, or -1


class Arrivals(NamedTuple):
    """The spikes that reach a population: those of a :class:`eventsim.engines.layered.ways.records.Train`, and of a bias clock apart.

    Every layer of a network with biases would have its spikes copied to put a few of the clock among them.
    """

    tick: Any  # int64
    neuron: Any  # int32
    sign: Any  # int8
    projection: Any  # int16: empty (all 0) where a clock is apart
    clock: Any  # int64: ticks of the clock, one neuron; empty if it is not apart


class Periods(NamedTuple):
    """What a population has for this, beside :class:`eventsim.engines.layered.ways.records.State`."""

    sizes: Sizes
    progress: Any  # PROGRESS, without dimensions
    free: Any  # uint16 (lanes + 1,): the moment since which a neuron is free: 0, or NEVER; the last one stands for none
    begins: Any  # int64 (sites + 2,): where the list of each site begins; the last one stands for none
    plain: Any  # int64 (sites,): where the first entry is that may be of 16-bit weights
    loads: Any  # int64 (sites + 1,): while counting, the most that its potentials can change; then where its next entry goes
    found: Any  # int64 (source locations,): spikes of each, of all projections
    reach: Any  # int32, a row for each source location: synapses, additions, toolbox; then each site and its weights
    rows: Any  # int64 (projections, 2): where its rows begin, places of a row


class Reaching(NamedTuple):
    """Where the spikes of a projection go, and which weights they bring: int64."""

    rows: int  # where its rows of ``reach`` begin
    width: int  # places of a row
    channels: int  # neurons of a source location
    shift: int  # which power of two that is, or -1
    channel_step: int  # from the weights of a neuron to those of the next one
    flag: int  # of its entries
    negated: int  # what is added to entries of sign -1


class Limits(NamedTuple):
    """How potentials are added up in 16 bits."""

    most: int  # the largest |d| with which GUARD entries can be added
    clip: int  # who is farther away begins there; negative if 16 bits are too few for the thresholds
    near: int  # and may not come as near as this to the threshold; 2**15 if nobody may be farther away


class Room(NamedTuple):
    """Room to work in, which has to stay as it is from a call to the one that goes on after it."""

    entries: Any  # int64
    halves: Any  # int32: their halves, the lower one first, in the same memory
    moments: Any  # uint16: of each spike of a stretch; one more than there are spikes
    ticks: Any  # int64 (MOMENTS + 2,): of each moment
    places: Any  # int64 (MOMENTS + 2,): how many spikes a moment has; then where the next one goes
    first: Any  # uint16 (lanes,): twice the moment at which each neuron fired, and 1 more if negatively; NEVER if it did not
    keys: Any  # int64 (lanes,): the spikes of a stretch, as ``first`` says it << 32 | lane

"""Named records of the kernels that run populations site by site."""

from __future__ import annotations

from typing import Any, NamedTuple

from eventsim.kernels.records import record

# Ticks of a stretch, at most: they must fit the entries, and keys.
SPAN = 2**31 - 2
# Where a stretch has got to, for calls that go on after GROW or ROOM.
#
# reached: all ticks up to this one are done            last: the last tick of the stretch
# site, part, place: the site, block of it and entry of its list to go on with; site is -1 between stretches, place -1 at a list's begin
# keys: spikes of the stretch so far                    needed: entries of a stretch for which there was no room
# pending: the earliest of the ticks ``again``          spikes: length of the last stretch; the next one may be twice as long
PROGRESS = record("reached last site part place keys needed pending spikes")
# Columns of a row of ``reach`` before its sites: what a spike costs, as in :data:`eventsim.job.job.OPERATIONS`.
COSTS = 3


class Sizes(NamedTuple):
    """Numbers of a population."""

    lanes: int  # of a site
    shift: int  # which power of two that is, or -1
    block: int  # lanes that are run at a time: 128, 64 or 32
    stretch: int  # the most spikes of a stretch
    negated: int  # where the weights for spikes of sign -1 begin
    expected: int  # entries that a stretch makes as a rule
    bits: int  # of a key that say which neuron it is


class Sites(NamedTuple):
    """What a population has for this, beside :class:`eventsim.engines.layered.ways.records.State`."""

    sizes: Sizes
    progress: Any  # PROGRESS, without dimensions
    again: Any  # int64 (blocks,): the tick at which a neuron fires once more that is still due, FOREVER if there is none
    begins: Any  # int64 (sites + 2,): where the list of each site begins; the last one stands for none
    loads: Any  # int64 (sites + 1,): while counting, the most that its potentials can change; then where its next entry goes
    found: Any  # int64 (source locations,): spikes of each, of all projections
    reach: Any  # int32, a row for each source location: synapses, additions, toolbox; then each site and its weights
    rows: Any  # int64 (projections, 2): where its rows begin, places of a row


class Room(NamedTuple):
    """Room to work in, which has to stay as it is from a call to the one that goes on after it."""

    entries: Any  # int64
    told: Any  # int64 (2,)
    masks: Any  # int64 (2,): 0, -1

"""What the ways to run a population share: named records, and what compiled code tells its caller.

The neurons of a population lie location by location, the channels of each location padded to a multiple of LANES, so that vectors
never straddle. A padding lane holds -1, gets weight 0 and so is never due. Places in this layout are called lanes, to tell them from
neuron numbers. The state of a lane is the distance ``d = V - threshold`` in the narrowest type that is surely wide enough: before a
tick is delivered, ``bound`` (no |d| is above it) rises by the most that the tick can add.

What a population lacks is None rather than an empty array where that keeps code from being compiled that it does not need: numba drops
what stands behind ``if low is None`` in a function that gets ``low`` as an argument.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

from eventsim.kernels.records import record

# A tick beyond all runs.
FOREVER = 2**62


class Status(IntEnum):
    """Why compiled code has returned. After all but the first and the last it is called again, once there is what it needs."""

    DONE = 0
    GROW = 1  # spikes need more room
    ROOM = 2  # lists of what arrives need more room: ``needed`` of a way's progress
    WIDEN = 3  # potentials need a wider type
    BEGUN = 4  # within a way: a stretch of time has begun
    OVERFLOW = 5  # a potential has left int32


class Role(IntEnum):
    """What a population does."""

    NEURONS = 0  # fire
    READOUT = 1  # does not
    OUTPUT = 2  # a readout that decides


class Exit(IntEnum):
    """Kind of an exit rule (:class:`eventsim.model.exits.ExitRule`), by its name."""

    NONE = 0
    POTENTIAL = 1
    MARGIN = 2


# A projection that reaches a population.
#
# sparse: 1 for a table in rows of synapses, 0 for a stencil     wide: which of the arrays of weights is its own (w8, w16, w32)
# weights: place of its first weight                             largest: |weight|
# records: its first record, or of a sparse table its first row  locations: how many records  source_channels: neurons of a record
# source_shift: source_channels as a power of two, or -1
# row_step, tap_step, column_step, column_tap, channel_step: row, tap, column, column_tap and channel of eventsim.kernels.stencils.Steps
# nonzero: place of its effective fan-out, -1 if that is all     gather_from: spikes in a tick from which on they are gathered
# number: among the network's projections                        most: spikes of a tick that may reach one neuron, at most
PROJECTION = record(
    "sparse wide weights largest source_channels records row_step tap_step column_step column_tap channel_step nonzero gather_from "
    "source_shift number locations most"
)
# What gathering takes of a projection (see eventsim.engines.layered.ways.tick_kernels.gather).
#
# weights: place of its first bits      unit: the magnitude of its weights     height, width, channels: of the source
# out_height, out_width: of the target  rows, columns: of the kernel           stride_y, stride_x, top, left: strides and paddings
# lanes: of a target location           pool_y, pool_x: pooling behind it      block: lanes that are summed at a time
GATHER = record("weights unit height width channels out_height out_width rows columns stride_y stride_x top left lanes pool_y pool_x block")
# Where a population has got to.
#
# at: place in the incoming spikes    step: of the last tick         bound: no |d| is above it
# head, waiting: the ring             fired: spikes of this window   limit: the largest |d| that its type may hold
# park: what parking takes off d      lowest: of the type of d       checked: whether potentials may leave int32 (64 bits)
# decision: the output's answer       decided_at: since which tick, 0 before there is one
# exited: the tick of the exit, or 0  first_tick: of the first spike, or 0
PROGRESS = record("at step bound head waiting fired limit park lowest checked decision decided_at exited first_tick")


class Constants(NamedTuple):
    """Numbers of a population that do not change during a run."""

    size: int  # lanes
    channels: int
    padded: int  # lanes of a location
    padded_shift: int  # which power of two that is, or -1
    refractory: int  # ticks
    zero_reset: bool
    role: int  # a Role
    resolution: int  # ticks of a step
    end: int  # the last tick of the run
    highest: int  # threshold
    exit_kind: int  # an Exit
    exit_limit: int


class Layer(NamedTuple):
    """What does not change during a run: one population and the projections that reach it."""

    constants: Constants
    projections: Any  # PROJECTION (projections,)
    records: Any  # STENCIL (source locations,): see eventsim.kernels.stencils.padded_stencil
    w8: Any  # weights: int8
    w16: Any  # int16; None if there are none
    w32: Any  # int32; None if there are none
    effective: Any  # int32, by source neuron: synapses of weights other than 0
    row_start: Any  # int64: rows of sparse tables begin there in ``lanes``; None if there are none
    lanes: Any  # int32: their targets; None if there are none
    gathers: Any  # GATHER (projections,); None at resolutions at which nothing is gathered
    bits: Any  # uint64 or None: (block of lanes, kernel row, kernel column, source channel, lane), 1 for a weight > 0; then ZEROS times 0
    threshold: Any  # int64, per channel


class State(NamedTuple):
    """What changes during a run."""

    progress: Any  # PROGRESS, without dimensions
    d: Any  # int16, int32 or int64 (lanes,): distance to threshold; of a readout, whose thresholds are 0, the potential
    low: Any  # as d: a signed neuron is due below this; None for unsigned ones
    net: Any  # int32 (lanes,): positive minus negative spikes of a signed neuron; None for unsigned ones
    ring_tick: Any  # int64 (lanes,): the ring, by tick; None for a readout
    ring_lane: Any  # int32 (lanes,); None for a readout
    theta: Any  # as d: thresholds of the lanes of a location; None for a readout


class Scratch(NamedTuple):
    """Room to work in; holds nothing between calls."""

    candidates: Any  # int32: lanes that may be due
    begins: Any  # int64: where the spikes of each source location begin; it and what follows is None where nothing is gathered
    split: Any  # int32: spikes of one sign
    places: Any  # int64: of the weights of each spike
    offsets: Any  # int64: of rows that are summed together


class Train(NamedTuple):
    """Spikes in time order. ``sign`` may be empty (all +1), and so may ``projection`` (all 0)."""

    tick: Any  # int64
    neuron: Any  # int32
    sign: Any  # int8
    projection: Any  # int16


class Tally(NamedTuple):
    """Counts per step. Operations are those of the whole network: a projection finds its own by its number."""

    spikes: Any  # int64 (steps,); None for a readout
    negative: Any  # int64 (steps,): those of sign -1 among them; None for a readout
    operations: Any  # int64 (projections, steps, 5): deliveries, synaptic events, additions, toolbox, effective
    readout: Any  # int64 (steps, neurons); None for neurons


T = TypeVar("T", bound=NamedTuple)


def only(record: T, *names: str) -> T:
    """A named record of which but these fields are None: less is compiled, and handed over at every call."""
    return record._replace(**{name: None for name in record._fields if name not in names})

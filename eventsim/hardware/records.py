"""What compiled code of a closed run works on: a plan that stays, and a state that changes. Times are picoseconds, all integers int64."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from eventsim.kernels.records import record


class Role(IntEnum):
    """What neurons do."""

    GIVEN = 0  # their spikes are known before the run
    DRIVEN = 1
    SPIKING = 2
    READOUT = 3


class Kind(IntEnum):
    """What happens."""

    READY = 0  # a message wants to leave its core
    ARRIVES = 1  # a message comes to its next link, or to its core
    LINK = 2  # a link has let its message go
    SERVED = 3  # a core has served
    NOTHING = 4  # a spike that reaches nothing arrives
    BIAS = 5  # the bias of a population
    GIVEN = 6  # a spike that is known before the run
    LOOK = 7  # a neuron may be due
    UPDATED = 8  # a core has updated a neuron
    DECIDE = 9  # something has arrived at the output
    STOP = 10  # there are too many spikes
    READS = 11  # a crossbar begins to read


class Phase(IntEnum):
    """In which order what concerns a population happens within a picosecond."""

    WEIGHTS = 0
    LOOKS = 1
    UPDATES = 2


class Status(IntEnum):
    """Why compiled code returns."""

    DONE = 0
    PAUSE = 1  # so that Ctrl-C works and progress shows
    GROW = 2  # an array is nearly full
    OVERFLOW = 3


# A chip: see :mod:`eventsim.hardware.architecture`.
#
# hold, buffer, queue: of links and cores; 0 is no room that ends       drop: whether what finds no room is lost
# rounds: of a crossbar's converter                                     scripted: 1 if all spikes are given and no weight is added
CHIP = record(
    "mesh per_tile cores tiles east_west north_south within update spike message_out message_in synapse together reading hold buffer queue "
    "drop scripted"
)
# A population.
#
# first, end: its neurons among all                out, end_out: its projections in Plan.out
# readout: column of its first neuron in Tally.readout
# costly: whether a spike takes an update
POPULATION = record("role first end out end_out refractory signed zero_reset readout costly")
# A projection: target (its rank), first (its first neuron), delay (picoseconds); divisor, offset: of the lines of its messages.
PROJECTION = record("target first delay divisor offset")
# A message, or a neuron that waits for its update.
#
# message: its place in the messages of Plan, -1 if it reaches nothing; projection, neuron (of its population)
# sign: of its spike; in a script when that is made
# lead: 1 if it stands for its spike in counts    number: of its core, and there    next: in the queue where it is
# arrived: at its core's queue                    column, row: of the tile where it is
ITEM = record("message projection neuron sign lead number next arrived column row")
# A server: links, then cores as they serve messages, as messages leave them, and as they update neurons ("reads": messages that they
# made). Queues are lists of items by their numbers, -1 is none.
#
# head, tail, length: of what waits; of cores with those that are served      served: the last one that is being served
# room: messages that have, or are promised, a place                          busy: 1 while it holds or serves, 2 before it reads
# free: from when on it is free                                               waiters, last_waiter: servers that wait for room here
# next_waiter: the one behind it where it waits, waits: whether it does       work: how long it has been busy
# messages, synapses, reads, dropped: how many
SERVER = record("head tail length served room busy free waiters last_waiter next_waiter waits work messages synapses reads dropped")
# Where a run has got to.
PROGRESS = record(
    "time heap free logged waits fired sent made updates end decision decision_tick deciding exited stopped stopping step where "
    "across down within served"
)


class Plan(NamedTuple):
    """What does not change during a run."""

    chip: Any  # CHIP ()
    resolution: int  # picoseconds of a step
    output: int  # rank, -1 if there is none
    exit_kind: int  # 0 none, 1 potential, 2 margin
    exit_threshold: int
    decided: int  # of a script: when its decision was made, -1 if there is none
    max_spikes: int
    margin: int  # places that an event may need in the heap, and items
    populations: Any  # POPULATION (populations,), by rank
    projections: Any  # PROJECTION (projections,), in the network's order
    out: Any  # projections by source
    begin: Any  # of the messages of each line
    core: Any  # of each message, as below
    synapses: Any
    low: Any  # first target neuron, in its population
    high: Any  # and the end
    columns: Any  # of each core: crossbar columns in use
    rank: Any  # int32 (neurons,): of its population
    owner: Any  # int64 (neurons,): core; -1 of bias clocks
    threshold: Any
    current: Any
    v0: Any
    given_time: Any  # of all given spikes, ascending
    given_neuron: Any
    operations: Any  # (5, lines of neurons): see Tally.operations, by projection and source neuron
    first_operation: Any  # (projections,): column of a projection's neuron 0


class State(NamedTuple):
    """What changes during a run."""

    progress: Any  # PROGRESS ()
    heap_time: Any
    heap_order: Any
    heap_item: Any  # kind << 48 | what it is about
    items: Any  # ITEM
    free: Any  # numbers of items that are not in use
    servers: Any  # SERVER (4 * tiles + 3 * cores,)
    v: Any  # (neurons,)
    net: Any
    last: Any  # time of the last spike
    look: Any  # time for which a look is queued
    pending: Any  # whether it waits for its update
    first_tick: Any  # (populations,)
    log_time: Any
    log_neuron: Any
    log_sign: Any
    waits: Any
    links: Any  # (tiles, 4): messages


class Tally(NamedTuple):
    """What is counted by step."""

    spikes: Any  # (steps, populations), by rank
    negative: Any
    operations: Any  # (5, steps, projections)
    readout: Any  # (steps, columns)

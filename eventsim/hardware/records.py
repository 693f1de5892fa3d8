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
    MAXIMUM = 4


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
    LATE = 4  # a message leaves later than keys can say


# A chip: see :mod:`eventsim.hardware.architecture`.
#
# hold, buffer, queue: of links and cores; 0 is no room that ends       drop: whether what finds no room is lost
# reading: of a crossbar, with its conversions                          scripted: 1 if all spikes are given and no weight is added
# levels: of its converters, 0 if sums are exact                        lost, jitter, seed: see :mod:`eventsim.hardware.kernels.chance`
# open: 1 if nothing keeps a message from leaving, or ends a run before its time, so that when it leaves need not be waited for
# stepwise: 1 behind barriers; then also
# step: the least that a step takes      barrier: what the barrier takes      access: to look at a neuron
# direct: 1 if messages wait at cores only, and sums are exact, so that steps need no queue (kernels/together.py)
# stages: the most that a population lags behind      slots: steps whose input is kept, the present one included
# bits, latest: of keys (times.py)
CHIP = record(
    "mesh per_tile cores tiles east_west north_south within update spike message_out message_in synapse together reading hold buffer queue "
    "drop scripted levels lost jitter seed open stepwise direct step barrier access stages slots bits latest"
)
# A population.
#
# first, end: its neurons among all                out, end_out: its projections in Plan.out
# readout: column of its first neuron in Tally.readout
# costly: whether a spike takes an update
# serial: number of its first neuron where populations are counted in the network's order
# stage: how many steps of the chip it lags behind       always: whether all neurons are updated in every step
# counts, end_counts: of a maximum, what its blocks have counted, in State.counts
POPULATION = record("role first end out end_out refractory signed zero_reset readout costly serial stage always counts end_counts")
# Neurons of a population on a core: first, end (among all neurons), core.
BLOCK = record("first end core")
# Neurons of a crossbar whose sums are converted together: first, end (among all neurons); offset: place of the first one's in Plan.offset;
# full: the largest sum that a converter tells apart.
PART = record("first end offset full")
# A projection: target (its rank), first (its first neuron), delay (ticks); divisor, offset: of the lines of its messages; place: in the
# order of what happens within a picosecond, the rank of its target, or 0 where that order is of no matter.
PROJECTION = record("target first delay divisor offset place")
# A message, or a neuron that waits for its update.
#
# message: its place in the messages of Plan, -1 if it reaches nothing; projection, neuron (of its population)
# sign: of its spike; in a script when that is made
# lead: 1 if it stands for its spike in counts    number: of its core, and there    next: in the queue where it is
# arrived: at its core's queue                    column, row: of the tile where it is
# use: behind barriers, the step of the chip in which it is used; 0 for none
ITEM = record("message projection neuron sign lead number next arrived column row use")
# A server: links, then cores as they serve messages, as messages leave them, and as they update neurons ("reads": messages that they
# made). Queues are lists of items by their numbers, -1 is none.
#
# head, tail, length: of what waits; of cores with those that are served      served: the last one that is being served
# room: messages that have, or are promised, a place                          busy: 1 while it holds or serves, 2 before it reads
# free: from when on it is free                                               waiters, last_waiter: servers that wait for room here
# next_waiter: the one behind it where it waits, waits: whether it does       work: how long it has been busy
# messages, synapses, reads, dropped: how many
SERVER = record("head tail length served room busy free waiters last_waiter next_waiter waits work messages synapses reads dropped")
# Where a run has got to; begun: whether it has begun. Behind barriers: chip: the step of the chip, over: the last one that has ended,
# base: when it began, accesses: of
# neurons, total: spikes of the steps that are over for all populations, given: the next given spike, made: spikes of the step. Without a
# queue also messages: those of the step, sending: 1 if they are still to be sent, synapses: that messages brought.
PROGRESS = record(
    "time heap free logged waits fired sent made updates end decision decision_tick deciding exited stopped stopping step where "
    "begun across down within served chip over base accesses total given messages sending synapses"
)
# Behind barriers a spike of a step: when its core's round has come to it (ready), the step of the run, and how many steps it is late.
FIRED = record("neuron sign ready step late")


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
    part: Any  # number of the part of a crossbar that its weights lie in
    columns: Any  # of each core: crossbar columns in use
    blocks: Any  # BLOCK, by population in the network's order
    parts: Any  # PART
    offset: Any  # of converters, by part and neuron
    rank: Any  # int32 (neurons,): of its population
    owner: Any  # int64 (neurons,): core; -1 of bias clocks
    threshold: Any
    current: Any
    v0: Any
    maximum: Any  # (neurons,): place in Tables.maxima of the windows of its block; what is not of a maximum has any
    given_time: Any  # of all given spikes, ascending
    given_neuron: Any
    given_sign: Any  # int8
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
    upper: Any  # a neuron is to be looked at when its potential reaches this, or falls
    lower: Any  # below this
    pending: Any  # whether it waits for its update
    made: Any  # spikes so far
    counts: Any  # int32: net counts of the inputs of maxima, by block, times the sense
    sums: Any  # (slots * neurons,): of the rows of a read before they are converted; 0 between reads
    touched: Any  # parts of the read, each with its slot: slot * parts + part
    read: Any  # (slots * parts,): 1 while it is among them
    later: Any  # (slots * neurons,): behind barriers, what is to be added in a step
    marks: Any  # int8 (slots * neurons,): neurons that get input in a step; of those of the present one
    later_counts: Any  # int32 (slots * counts,): the same of maxima
    later_output: Any  # (slots,): whether something arrives at the output
    round: Any  # (cores,): how long the round of each takes, so far
    extra: Any  # (cores,): and what it sends
    steps: Any  # how long each step of the chip took
    first_tick: Any  # (populations,)
    log_time: Any
    log_neuron: Any
    log_sign: Any
    waits: Any
    links: Any  # (tiles, 4): messages
    fired: Any  # FIRED
    arriving: Any  # (cores,): messages of a step
    flow: Any  # (cores,): 0 but while a core sends: messages from it to each
    reached: Any  # (cores,): those that it has sent any
    travel: Any  # (cores,): how long a message goes to each of these
    nothing: Any  # uint8 (cores,): 0
    room: Any  # Room (kernels/waiting.py)
    found: Any  # Found


class Tally(NamedTuple):
    """What is counted by step."""

    spikes: Any  # (steps, populations), by rank
    negative: Any
    operations: Any  # (5, steps, projections)
    readout: Any  # (steps, columns)

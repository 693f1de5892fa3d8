"""What compiled code of the queue engine works on: named records.

Neurons of all populations are numbered one after another in topological order. An *entity* is something that may be due at a tick: a neuron
to be looked at, or a *stream*, the arriving spikes of a projection with a delay or from a source. Entities are numbered so that those of
one population are together, its streams first, and populations are in topological order. The last entity of a population with synaptic
currents is their flow, at the ends of steps.

Behind the potentials of all neurons stand the synaptic currents of those that have some, as potentials of a threshold of 0 do: what
spikes change, and what leaks, is the same for both.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from eventsim.kernels.records import record


class Status(IntEnum):
    """Why compiled code has returned."""

    GO_ON = 0  # it has not
    DONE = 1  # the run is over
    FLUSH = 2  # the log is full
    GROW = 3  # the ring of the projection ``where`` is full
    WIDEN = 4  # 32 bits might not do for the population ``where``
    OVERFLOW = 5  # a potential of the population ``where`` has left int32
    PAUSE = 6  # it has worked for a while, maybe in the midst of a tick


class Role(IntEnum):
    """What a population does."""

    SPIKING = 0
    DRIVEN = 1
    READOUT = 2
    SOURCE = 3
    MAXIMUM = 4


class Exit(IntEnum):
    """Kind of an exit rule (:class:`eventsim.model.exits.ExitRule`)."""

    NONE = 0
    POTENTIAL = 1
    MARGIN = 2


class Store(IntEnum):
    """Where spikes lie that are to be delivered."""

    LOG = 0  # in the log: they were fired in this tick
    RING = 1  # in the ring of a projection with a delay
    EVENTS = 2  # among the events of sources


# A population.
#
# role: a Role                              first, end: its neurons are numbered first..end-1
# first_stream, first_entity, end_entity: its streams are the entities first_stream..first_entity-1, its neurons those from there on
# receives: place in State.d of what spikes to its first neuron change
# currents: the same if that is a synaptic current, -1 if it is the potential
# stream: place of its first stream in Plan.streams            maximum: its place in Tables.maxima, if it is one
# incoming, end_incoming: places in Plan.incoming; outgoing, end_outgoing: in Plan.outgoing
# refractory: ticks                         signed, zero_reset: 0 or 1      readout: column in Tally.readout
# leak: place of its first neuron's in Plan.leaks, -1 if it does not leak; behind its potentials' are its currents'
# after_reset: neither |d| nor |V| is above it, nor above what they were, after a spike of a leaky neuron; 0 of others
POPULATION = record(
    "role first end first_stream first_entity end_entity stream incoming end_incoming outgoing end_outgoing refractory signed zero_reset "
    "readout maximum receives currents leak after_reset"
)
# A projection.
#
# source, target: populations    delay: ticks    stream: its entity, -1 if it has none
# first_event, end_event: of a source, the places of its events
PROJECTION = record("source target delay stream first_event end_event")
# A population during a run.
#
# bound: neither |d| nor |V| is above it              flagged: whether spikes without delay are waiting
# first_fired, end_fired: in the log, the spikes      fired_tick: of the last tick at which it fired
# first_tick: of its first spike, or 0                decayed: steps whose decay its potentials have undergone
# current_bound: no synaptic current is above it      flow: tick at which they are in the heap to flow
ACTIVITY = record("bound flagged first_fired end_fired fired_tick first_tick decayed current_bound flow")
# The spikes on their way through a projection with a delay: the places start..start+size-1 of the arrays ``ring_...`` of State; or of
# one from a source: the next event.
#
# start, size: its places    head: of the first spike, counted from start    used: spikes
RING = record("start size head used event")
# Spikes to be delivered to the population that is being visited: first..end-1 of a Store.
PENDING = record("projection store first end")
# Where a run has got to.
#
# tick, step: of the last visit               end: the last tick of the run
# heap: keys in it                            logged: spikes in the log       flushed: spikes that have left the log
# visiting: the population that is being visited, -1 between two ticks
# flags: populations that are flagged         pending: rows of State.pending
# part, place, added: how far the delivery of what is pending has got: rows, spikes of the next row, additions
# changed: whether something has arrived at the output in this tick
# decision, decision_tick: -1 and 0 before there is one                       exited, stopped: 0 or 1
# lowest: what no distance is below           work: since compiled code was called (see WORK)
# where: what a Status is about
PROGRESS = record(
    "tick step end heap logged flushed visiting flags pending part place added changed decision decision_tick exited stopped lowest work "
    "where"
)


class Leaks(NamedTuple):
    """How the potentials, and then the currents, of populations that leak do so, one population after another."""

    decay: Any  # int64: in 4096ths
    constant: Any  # int64
    amount: Any  # int64: what a spike takes from the potential, or sets it to (zero_reset); 0 of readouts and currents


class Plan(NamedTuple):
    """What does not change during a run."""

    resolution: int  # ticks of a step
    bits: int  # of a key that say which entity it is
    output: int  # population, or -1
    exit_kind: int  # an Exit
    exit_threshold: int
    max_spikes: int
    populations: Any  # POPULATION (populations,), in topological order
    projections: Any  # PROJECTION (projections,)
    incoming: Any  # int64: projections without delay from neurons, by target
    outgoing: Any  # int64: projections from neurons, by source
    streams: Any  # int64: projection of each stream, in the order of entities
    threshold: Any  # int32 (neurons and currents,); 0 of readouts, sources and currents
    current: Any  # int64 (neurons,): per step; 0 unless driven
    v0: Any  # int64 (neurons and currents,)
    leaks: Any  # Leaks; None if nothing leaks: less is compiled
    event_tick: Any  # int64: all events, source by source
    event_neuron: Any  # int32, in its population
    event_sign: Any  # int8


class State(NamedTuple):
    """What changes during a run."""

    progress: Any  # PROGRESS ()
    populations: Any  # ACTIVITY (populations,)
    rings: Any  # RING (projections,)
    pending: Any  # PENDING
    heap: Any  # int64: keys, ``tick << bits | entity``
    d: Any  # int32 or int64 (neurons and currents,): V - threshold, and currents
    low: Any  # as d (neurons,): signed neurons are due below it; (0,) if there are none
    net: Any  # int32 (neurons,): positive minus negative spikes; of a maximum times its sense
    counts: Any  # int32: of what maxima compare, times the sense (see eventsim.kernels.windows)
    last: Any  # int64 (neurons,): tick of the last spike
    look: Any  # int64 (neurons,): tick at which it is in the heap to be looked at
    log_tick: Any  # int64: spikes that have not been recorded yet
    log_neuron: Any  # int32
    log_sign: Any  # int8
    ring_tick: Any  # int64: spikes on their way, by the tick of their arrival
    ring_neuron: Any  # int32, in its population
    ring_sign: Any  # int8
    candidates: Any  # int32: room for neurons that may be due


class Tally(NamedTuple):
    """Counts per step."""

    spikes: Any  # int64 (steps, populations)
    negative: Any  # int64 (steps, populations)
    operations: Any  # int64 (5, steps, projections), in the order of eventsim.job.job.OPERATIONS
    readout: Any  # int64 (steps, neurons of all readouts)

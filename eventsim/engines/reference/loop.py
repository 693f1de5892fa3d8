"""The reference engine: what a run means. Plain Python, one priority queue; every other engine must equal it.

What is still to happen waits in the queue: a spike arrives at a population, or one of its neurons is to be looked at, since it may fire
though nothing arrives. Entries are ordered by tick, then by the population's place in the topological order of the zero-delay projections:
so within a tick a population is visited once, after all that can reach it in that tick. The result does not depend on the order of
entries that share both. What neurons do when they are visited is in :mod:`eventsim.engines.reference.neurons`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sortedcontainers import SortedList

from eventsim.engines.protocol import overflow, unknown_kind
from eventsim.engines.reference.kinds import KINDS
from eventsim.engines.reference.neurons import RESETS
from eventsim.engines.reference.synapses import Synapses
from eventsim.engines.reference.tally import Tally
from eventsim.job.job import Counts, Job, Recorder
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN
from eventsim.model.network import Network


class Entry(NamedTuple):
    """Something that is to happen to a population at a tick."""

    tick: int
    rank: int  # of the population, in topological order
    neuron: int  # that has spiked, or that is to be looked at
    sign: int = 0  # of the spike that arrives; 0: none does, a neuron is to be looked at
    projection: str = ""  # through which it arrives


class Loop:
    """One run.

    Attributes
    ----------
    neurons : dict of str to Neurons
        By population.
    end : int
        The last tick; the run may stop before.
    """

    def __init__(self, job: Job, synapses: Synapses, recorder: Recorder):
        network = job.network
        self.job, self.synapses, self.recorder = job, synapses, recorder
        self.neurons = {name: KINDS[p.kind](name, p, job) for name, p in network.populations.items()}
        self.tally = Tally(job, {name: self.neurons[name].v for name, p in network.populations.items() if p.reads_out})
        self.rank = {name: rank for rank, name in enumerate(job.order)}
        self.queue: SortedList[Entry] = SortedList()
        self.end, self.exited, self.stopped = job.end, False, False
        self.decision: int | None = None
        self.decision_tick: int | None = None
        self.decides = False
        if network.output is not None and len(set(self.neurons[network.output].v)) > 1:
            self._decide_for(int(np.argmax(self.neurons[network.output].v)), 1)
            self.decides = True
        for name, neurons in self.neurons.items():
            for tick, neuron, sign in neurons.given():
                self._send(name, neuron, sign, tick)
            for neuron in range(neurons.size):
                self._look_again(name, neuron, 0)

    def run(self) -> Counts:
        """Tick by tick, to the end."""
        while self.queue and self.queue[0].tick <= self.end:
            tick = self.queue[0].tick
            self.end_steps(tick)
            read_out = False
            while self.queue and self.queue[0].tick == tick:
                name = self.job.order[self.queue[0].rank]
                changed = self.visit(name, tick)
                read_out |= changed and name == self.job.network.output
            # There is no decision before the first spike arrives at the output, whether or not it has a synapse there.
            if read_out and self.decides:
                self.decide(tick)
            if self.tally.spikes > self.job.max_spikes:
                self.end, self.stopped = tick, True
        self.end_steps(self.end + 1)
        return Counts(
            self.end,
            self.exited,
            **self.tally.counts(self.end),
            decision=self.decision,
            decision_tick=self.decision_tick,
            stopped="max_spikes" if self.stopped else None,
            engine="reference",
        )

    def end_steps(self, tick: int) -> None:
        """Steps that ended before this tick are over: potentials are noted, and then leak."""
        while self.tally.ends_step(tick):
            for neurons in self.neurons.values():
                neurons.end_step()

    def visit(self, name: str, tick: int) -> bool:
        """Deliver what arrives at a population at a tick, then have its neurons fire; returns whether potentials may have changed."""
        neurons, rank = self.neurons[name], self.rank[name]
        touched, arrived = set(), False
        while self.queue and self.queue[0][:2] == (tick, rank):
            entry = self.queue.pop(0)
            if not entry.sign:
                touched.add(entry.neuron)
                continue
            reach = self.synapses.reach(entry.projection, entry.neuron)
            neurons.deliver(entry.neuron, entry.sign, reach.synapses)
            self.tally.deliver(entry.projection, reach.operations)
            touched |= reach.targets
            arrived = True
        self.decides |= arrived and name == self.job.network.output
        for neuron in touched:
            neurons.flow(neuron, tick)
        # Sums within a tick may pass through any values; only their totals count.
        if not all(POTENTIAL_MIN <= value <= POTENTIAL_MAX for neuron in touched for value in neurons.state(neuron)):
            raise overflow(self.job, name, tick)
        fired = []
        for neuron in sorted(touched):
            sign = neurons.fire(neuron, tick)
            if sign:
                fired.append((neuron, sign))
                self._send(name, neuron, sign, tick)
            self._look_again(name, neuron, tick)
        if fired:
            self._record(name, tick, fired)
        return arrived or bool(touched)

    def decide(self, tick: int) -> None:
        """At the end of a tick in which potentials of the output may have changed: the decision is the first of the largest ones."""
        output = self.job.network.output
        assert output is not None
        potentials = np.array(self.neurons[output].v, np.int64)
        if int(potentials.argmax()) != self.decision:
            self._decide_for(int(potentials.argmax()), tick)
        if self.job.exit_rule is not None and self.job.exit_rule.holds(potentials):
            self.end, self.exited = tick, True

    def _decide_for(self, neuron: int, tick: int) -> None:
        self.decision, self.decision_tick = neuron, tick

    def _send(self, name: str, neuron: int, sign: int, tick: int) -> None:
        """A spike goes out through all projections that leave its population."""
        for projection in self.synapses.outgoing[name]:
            arrival = tick + self.job.delay[projection.name]
            self.queue.add(Entry(arrival, self.rank[projection.target], neuron, sign, projection.name))

    def _look_again(self, name: str, neuron: int, tick: int) -> None:
        """Queue the next tick at which a neuron fires though nothing arrives, if there is one."""
        later = self.neurons[name].next_look(neuron, tick)
        if later is not None:
            self.queue.add(Entry(later, self.rank[name], neuron))

    def _record(self, name: str, tick: int, fired: list[tuple[int, int]]) -> None:
        neurons, signs = np.array(fired, np.int64).T
        self.tally.fire(name, tick, signs.tolist())
        if self.recorder.wants(name):
            self.recorder.record(name, np.full(len(fired), tick), neurons, signs)


def run(job: Job, compiled: Synapses, recorder: Recorder, progress: Callable[[int], None] | None = None, threads: int = 1) -> Counts:
    """Run a job, as the protocol of engines asks; it tells of no progress, and takes one thread.

    Raises
    ------
    PotentialOverflow
        A membrane potential would leave the range of int32.
    """
    return Loop(job, compiled, recorder).run()


def why_not(network: Network) -> str | None:
    """Why the engine cannot run a network, or None if it can."""
    return unknown_kind("reference", network, KINDS, RESETS, "eventsim/engines/reference/neurons.py says what each does")


def too_much(job: Job) -> str | None:
    """None: it runs every job, however long that takes."""
    return None


def compile_network(network: Network) -> Synapses:
    """What the engine needs to know of a network."""
    return Synapses(network)


def warm_up(job: Job, compiled: Synapses) -> None:
    """There is nothing to compile."""

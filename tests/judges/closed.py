"""A closed run in plain Python, picosecond by picosecond, from docs/hardware.md.

Of chips without barriers whose links hold nothing and whose sums are exact; of networks without maxima. At every picosecond all neurons
are looked at, whether anything has come or not.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from itertools import count

import numpy as np

from eventsim.hardware.architecture import CrossbarCore
from judges.chip import Chip

WEIGHTS, LOOKS, UPDATES = range(3)
LAST = (2**60,)


class ClosedRun:
    """Run a job on a placed network: ``spikes`` (by population: tick, neuron, sign), ``waits``, ``v``, ``decision`` are what it gives."""

    def __init__(self, placement, job):
        self.chip, self.job, self.net, self.arch = Chip(placement), job, placement.network, placement.architecture
        self.core, self.end = self.arch.core, job.end
        self.rank = {name: q for q, name in enumerate(job.order)}
        self.todo, self.serial, self.sent = [], count(), defaultdict(count)
        self.waiting, self.serving = defaultdict(list), {}  # by core: (arrival, message), and those that it serves
        self.asking, self.free = defaultdict(list), defaultdict(int)  # by core: neurons (and given spikes), and from when on it is free
        self.spikes, self.waits, self.decision = defaultdict(list), [], (None, None)
        neurons = [(name, n) for name, p in self.net.populations.items() for n in range(p.size)]
        self.v = {name: p.initial_potentials().tolist() for name, p in self.net.populations.items()}
        self.made, self.last, self.pending = dict.fromkeys(neurons, 0), dict.fromkeys(neurons, -(10**9)), set()
        self._follow_output(start=True)
        for name, (ticks, numbers) in job.events.items():
            for tick, n in zip(ticks.tolist(), numbers.tolist(), strict=True):
                self._at(tick, name, UPDATES, (), self._given, name, n)
        for time in range(1, self.end + 1):
            for name in job.order:
                self._at(time, name, LOOKS, (), self._look, name)
            while self.todo and self.todo[0][0] <= time:
                _, _, _, _, _, act, given = heapq.heappop(self.todo)
                act(time, *given)

    def _at(self, time, population, phase, number, act, *given):
        """Things of a picosecond come by population, phase and number."""
        heapq.heappush(self.todo, (time, self.rank[population], phase, number, next(self.serial), act, given))

    def _follow_output(self, time=1, start=False):
        v = self.v.get(self.net.output, [])
        if v and not (start and min(v) == max(v)) and v.index(max(v)) != self.decision[0]:
            self.decision = v.index(max(v)), time

    def _sign(self, name, n, time):
        """Of the spike that is due."""
        p, made = self.net.populations[name], self.made[name, n]
        if p.reads_out or not p.fires:
            return 0
        threshold = int(p.per_neuron(p.threshold)[n])
        if name in self.job.currents:
            v = self.v[name][n] + int(self.job.currents[name][n]) * time // self.job.resolution - threshold * made
            return int(v >= threshold)
        v = self.v[name][n]
        return 1 if v >= threshold else -1 if p.signed and v < 0 and made > 0 else 0

    def _look(self, time, name):
        for n in range(self.net.populations[name].size):
            allowed = time >= max(self.last[name, n] + self.job.refractory.get(name, 1), self.job.onset.get(name, 1))
            if (name, n) not in self.pending and allowed and self._sign(name, n, time):
                self.pending.add((name, n))
                self._ask(time, name, n, False)

    def _given(self, time, name, n):
        if name in self.chip.owner:
            self._ask(time, name, n, True)
            return
        for p in self.net.projections:
            if p.source == name:
                self._at(time + self.job.delay[p.name], p.target, WEIGHTS, (), self._add, p, n, 1, None)

    def _ask(self, time, name, n, given):
        core = self.chip.owner[name][n].cores[0]
        self.asking[core].append((name, n, given))
        if len(self.asking[core]) == 1:
            self._update(time, core)

    def _update(self, time, core):
        name, _, given = self.asking[core][0]
        self._at(max(time, self.free[core]) + (0 if given else self.core.update.time), name, UPDATES, (), self._updated, core)

    def _updated(self, time, core):
        name, n, given = self.asking[core].pop(0)
        sign = 1 if given else self._sign(name, n, time)
        self.pending.discard((name, n))
        self.free[core] = time
        if sign:
            if not given:
                p = self.net.populations[name]
                if name not in self.job.currents:
                    self.v[name][n] = 0 if p.reset == "zero" else self.v[name][n] - sign * int(p.per_neuron(p.threshold)[n])
                self.made[name, n] += sign
                self.last[name, n] = time
                self.spikes[name].append((time, n, sign))
                self.free[core] += self.core.spike.time
            self._send(core, name, n, sign)
        if self.asking[core]:
            self._update(time, core)

    def _send(self, core, name, n, sign):
        for p in self.net.projections:
            if p.source != name:
                continue
            blocks = sorted(self.chip.targets[p.name, n].items(), key=lambda item: item[0].first)
            if not blocks and p.target == self.net.output:
                # It reaches nothing, and has come.
                self._at(self.free[core] + self.job.delay[p.name], self.job.order[-1], UPDATES, LAST, self._decide)
            for block, targets in blocks:
                self.free[core] += self.core.message_out.time
                leaves = self.free[core] + self.job.delay[p.name]
                target = block.cores[0]
                if isinstance(self.core, CrossbarCore):
                    target = block.cores[self.chip.rows[p.target, block.first][p.name, n] // self.core.rows]
                if leaves > self.end:
                    continue
                links, (across, down) = self.arch.links, self.chip.hops(core, target)
                way = across * links.east_west.time + down * links.north_south.time
                if core // self.arch.chip.cores_per_tile == target // self.arch.chip.cores_per_tile:
                    way = links.within_tile.time
                message = (core, next(self.sent[core])), target, p, n, sign, targets
                self._at(leaves + way, p.target, WEIGHTS, message[0], self._arrive, message)

    def _arrive(self, time, message):
        core = message[1]
        self.waiting[core].append((time, message))
        if core in self.serving:
            return
        if self.core.served_together:
            self.serving[core] = []
            self._at(time, message[2].target, WEIGHTS, LAST, self._serve, core)
        else:
            self._serve(time, core)

    def _serve(self, time, core):
        these = self.waiting[core] if self.core.served_together else self.waiting[core][:1]
        self.waiting[core] = self.waiting[core][len(these) :]
        self.waits += [time - arrival for arrival, _ in these]
        self.serving[core] = [message for _, message in these]
        number, _, p, _, _, targets = self.serving[core][0]
        if self.core.served_together:
            number, taken = LAST, self.core.read + self.core.columns_per_converter * self.core.conversion
        else:
            taken = self.core.message_in.time + len(targets) * self.core.synapse.time
        self._at(time + taken, p.target, WEIGHTS, number, self._served, core)

    def _served(self, time, core):
        for _, _, p, n, sign, targets in self.serving.pop(core):
            self._add(time, p, n, sign, targets)
        if self.waiting[core]:
            self._serve(time, core)

    def _add(self, time, p, n, sign, targets):
        shapes = (self.net.populations[name].shape for name in (p.source, p.target))
        for other, weight in p.table.synapses_from(n, *shapes):
            if targets is None or other in targets:
                self.v[p.target][other] += sign * int(weight)
        self._at(time, p.target, LOOKS, (), self._look, p.target)
        if p.target == self.net.output:
            self._at(time, self.job.order[-1], UPDATES, LAST, self._decide)

    def _decide(self, time):
        self._follow_output(time)


def sorted_spikes(run, name):
    """Ticks, neurons and signs of a population, by tick and neuron."""
    return np.array(sorted(run.spikes[name]), np.int64).reshape(-1, 3).T

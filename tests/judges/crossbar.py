"""A run whose crossbars convert sums, as a plain loop over ticks, from the definitions of docs/hardware.md."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from math import floor

import numpy as np

from judges.chip import Chip


def converted(total, levels, full):
    """The nearest of the levels from -full to full, the upper one of two; as a whole number, halves up."""
    steps = [Fraction(2 * full * k, levels - 1) - full for k in range(levels)]
    nearest = min(steps, key=lambda level: (abs(level - total), -level))
    return floor(nearest + Fraction(1, 2))


def offset(core, number, column, unit):
    """Of the converter of a column: twelve uniform numbers, added, have a standard deviation of one."""
    converters = -(-core.columns // core.columns_per_converter)
    drawn = np.random.default_rng([core.offset_seed, number]).integers(0, 2**32, (converters, 12), np.uint32)
    around_zero = Fraction(sum(drawn[column // core.columns_per_converter].tolist()), 2**32) - 6
    return floor(around_zero * Fraction(core.offset, 1000) * unit + Fraction(1, 2))


class Crossbars:
    """A placed network on crossbars; ``run`` gives (tick, neuron, sign) of every spike by population, and potentials at the end."""

    def __init__(self, placement):
        self.net, self.core, self.chip, self.blocks = placement.network, placement.architecture.core, Chip(placement), placement.blocks
        self.columns = {}  # (population, first neuron of a block, core): its first column
        used = defaultdict(int)
        for name, blocks in self.blocks.items():
            for block in blocks:
                for each in block.cores:
                    self.columns[name, block.first, each] = used[each]
                    used[each] += (block.end - block.first) * self.core.cells_per_weight

    def unit(self, name):
        """The largest weight to a population, both ends of a synapse once."""
        largest = 0
        for p in self.net.projections:
            source, target = self.net.populations[p.source], self.net.populations[p.target]
            if p.target == name and not source.is_clock:
                largest = max([largest, *(abs(w) for n in range(source.size) for w in self.weights(p, n, source, target).values())])
        return max(1, largest)

    @staticmethod
    def weights(p, neuron, source, target):
        found = defaultdict(int)
        for other, weight in p.table.synapses_from(neuron, source.shape, target.shape):
            found[other] += weight
        return found

    def read(self, name, rows, v):
        """Rows (projection, neuron, sign) that are on in a tick: what each crossbar adds to the potentials of its columns."""
        unit = self.unit(name)
        full = (self.core.full_scale or self.core.rows) * unit
        for block in self.blocks[name]:
            of_block = self.chip.rows[name, block.first]
            for array, each in enumerate(block.cores):
                on = [r for r in rows if (r[0].name, r[1]) in of_block and of_block[r[0].name, r[1]] // self.core.rows == array]
                if not on:
                    continue
                for n in range(block.first, block.end):
                    total = 0
                    for p, neuron, sign in on:
                        total += sign * self.weights(p, neuron, self.net.populations[p.source], self.net.populations[name])[n]
                    column = self.columns[name, block.first, each] + (n - block.first) * self.core.cells_per_weight
                    v[n] += converted(total + offset(self.core, each, column, unit), self.core.levels, full)

    def run(self, job):  # noqa: C901 - the rules of a tick, one after another
        v, net, last, fired = {}, {}, {}, {name: [] for name in self.net.populations}
        for name, p in self.net.populations.items():
            v[name] = np.zeros(p.size, object) if p.v0 is None else p.initial_potentials().astype(object)
            net[name], last[name] = [0] * p.size, [-(10**9)] * p.size
        for name, (ticks, neurons) in job.events.items():
            fired[name] = [(t, n, 1) for t, n in zip(ticks.tolist(), neurons.tolist(), strict=True)]
        for tick in range(1, job.end + 1):
            for name in job.order:
                p = self.net.populations[name]
                if p.emits:
                    continue
                rows = []
                for projection in self.net.projections:
                    if projection.target != name:
                        continue
                    source = self.net.populations[projection.source]
                    for t, n, sign in fired[projection.source]:
                        if t + job.delay[projection.name] != tick:
                            continue
                        if source.is_clock:
                            for other, weight in projection.table.synapses_from(n, source.shape, p.shape):
                                v[name][other] += weight
                        else:
                            rows.append((projection, n, sign))
                self.read(name, rows, v[name])
                for n in range(p.size):
                    if p.reads_out or tick - last[name][n] < job.refractory[name] or tick < job.onset.get(name, 1):
                        continue
                    theta = int(p.per_neuron(p.threshold)[n])
                    potential = v[name][n]
                    if name in job.currents:
                        potential += int(job.currents[name][n]) * tick // job.resolution - theta * net[name][n]
                    sign = 1 if potential >= theta else -1 if p.signed and potential < 0 and net[name][n] > 0 else 0
                    if sign:
                        if p.kind == "spiking":
                            v[name][n] = 0 if p.reset == "zero" else v[name][n] - sign * theta
                        net[name][n] += sign
                        last[name][n] = tick
                        fired[name].append((tick, n, sign))
        return fired, v

"""A chip in plain Python, from the definitions of docs/hardware.md: what a replay takes, neuron by neuron and message by message."""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction
from math import ceil, floor

from eventsim.hardware.architecture import CrossbarCore


def _ticks(delay, resolution):
    return floor(Fraction(repr(float(delay))) * resolution + Fraction(1, 2))


class Chip:
    """A placed network; ``replay`` gives (duration, decision, counts, sorted waits, step times)."""

    def __init__(self, placement):
        self.net, self.arch, self.blocks = placement.network, placement.architecture, placement.blocks
        self.owner = {name: {n: block for block in blocks for n in range(block.first, block.end)} for name, blocks in self.blocks.items()}
        self.rows = defaultdict(dict)  # (population, first neuron of a block): row of each input
        self.targets = {}  # (projection, neuron): the neurons that it reaches, by block
        for p in self.net.projections:
            if self.net.populations[p.source].is_clock:
                continue
            source, target = self.net.populations[p.source], self.net.populations[p.target]
            for n in range(source.size):
                by_block = defaultdict(set)
                for other, _ in p.table.synapses_from(n, source.shape, target.shape):
                    if p.target in self.owner:
                        by_block[self.owner[p.target][other]].add(other)
                self.targets[p.name, n] = by_block
                for block in by_block:
                    rows = self.rows[p.target, block.first]
                    rows[p.name, n] = len(rows)

    def messages(self, population, neuron):
        """(core, synapses, population) of every message of a spike, in the order in which they leave."""
        found = []
        for p in self.net.projections:
            if p.source != population:
                continue
            of_projection = []
            for block, targets in sorted(self.targets[p.name, neuron].items(), key=lambda item: item[0].first):
                core = block.cores[0]
                if isinstance(self.arch.core, CrossbarCore):
                    core = block.cores[self.rows[p.target, block.first][p.name, neuron] // self.arch.core.rows]
                of_projection.append((core, len(targets), p.target))
            found += of_projection
        return found

    def hops(self, source, target):
        (x, y), (u, v) = self.arch.place_of(source), self.arch.place_of(target)
        return abs(x - u), abs(y - v)

    def serve(self, arriving, counts, waits):
        """Messages (arrival, number, core, synapses): when each is served, and how long each core was busy."""
        core, finished, busy = self.arch.core, {}, Counter()
        by_core = defaultdict(list)
        for arrival, number, target, synapses in sorted(arriving):
            by_core[target].append((arrival, number, synapses))
        for target, queue in by_core.items():
            free = 0
            while queue:
                start = max(free, queue[0][0])
                together = [m for m in queue if m[0] <= start] if core.served_together else queue[:1]
                queue = queue[len(together) :]
                if core.served_together:
                    columns = sum(b.end - b.first for bs in self.blocks.values() for b in bs if target in b.cores) * core.cells_per_weight
                    taken = core.read + core.columns_per_converter * core.conversion
                    counts["row"] += len(together)
                    counts["cell"] += len(together) * columns
                    counts["conversion"] += columns
                    counts["read"] += 1
                else:
                    taken = core.message_in.time + together[0][2] * core.synapse.time
                    counts["message in"] += 1
                    counts["synapse"] += together[0][2]
                free = start + taken
                busy[target] += taken
                for arrival, number, _ in together:
                    finished[number] = free
                    waits.append(start - arrival)
        return finished, busy

    def transfer(self, sent, counts):
        """Messages (time sent, source, target, synapses), in the order of their numbers, as they arrive."""
        links, arriving = self.arch.links, []
        for number, (time, source, target, synapses) in enumerate(sent):
            counts["message"] += 1
            counts["message out"] += 1
            across, down = self.hops(source, target)
            if source // self.arch.chip.cores_per_tile == target // self.arch.chip.cores_per_tile:
                counts["within a tile"] += 1
                time += links.within_tile.time
            counts["east-west hop"] += across
            counts["north-south hop"] += down
            arriving.append((time + across * links.east_west.time + down * links.north_south.time, number, target, synapses))
        return arriving

    def replay(self, result):
        barrier = self.arch.chip.synchronisation == "barrier"
        counts, waits = Counter(), []
        spikes = []
        for order, (name, population) in enumerate(self.net.populations.items()):
            if name in self.owner and population.sends_spikes:
                found = result.spikes(name)
                spikes += [(t, order, name, n) for t, n in zip(found.ticks.tolist(), found.neurons.tolist(), strict=True)]
        counts["spike"] = sum(not self.net.populations[name].emits for _, _, name, _ in spikes)
        return (self._stepwise if barrier else self._free)(result, spikes, counts, waits)

    def _free(self, result, spikes, counts, waits):
        core, chip, resolution = self.arch.core, self.arch.chip, result.info.resolution
        sent, made = [], []
        for each in range(chip.cores):
            free = 0
            mine = [s for s in spikes if self.owner[s[2]][s[3]].cores[0] == each]
            for tick, _, name, neuron in sorted(mine, key=lambda s: (s[0] * chip.step // resolution, s[1], s[0], s[3])):
                free = max(free, tick * chip.step // resolution)
                if not self.net.populations[name].emits:
                    counts["neuron update"] += 1
                    free += core.update.time + core.spike.time
                for target, synapses, population in self.messages(name, neuron):
                    free += core.message_out.time
                    sent.append((free, each, target, synapses))
                    made.append((tick * chip.step // resolution, population))
        finished, _ = self.serve(self.transfer(sent, counts), counts, waits)
        end = result.counts.end_tick * chip.step // resolution
        decision = result.counts.decision_tick
        if decision is not None:
            decision = decision * chip.step // resolution
            parts = [finished[i] for i, (time, population) in enumerate(made) if population == self.net.output and time <= decision]
            decision = max([decision, *parts])
        return max([end, *finished.values()]), decision, counts, sorted(waits), None

    def stages(self, resolution):
        stage = dict.fromkeys(self.net.populations, 0)
        for _ in stage:
            for p in self.net.projections:
                if not self.net.populations[p.source].is_clock:
                    whole = _ticks(p.delay, resolution) // resolution
                    stage[p.target] = max(stage[p.target], stage[p.source] + 1 - whole)
        return stage

    def _stepwise(self, result, spikes, counts, waits):  # noqa: C901 - the rules of a step, one after another
        core, chip, resolution = self.arch.core, self.arch.chip, result.info.resolution
        stage, steps = self.stages(resolution), ceil(result.counts.end_tick / resolution)
        total = steps + max(stage.values())
        updated = defaultdict(set)  # by step of the chip: (population, neuron)
        biased = defaultdict(set)
        for p in self.net.projections:
            if (source := self.net.populations[p.source]).is_clock:
                shapes = source.shape, self.net.populations[p.target].shape
                biased[p.target] |= {n for clock in range(source.size) for n, weight in p.table.synapses_from(clock, *shapes) if weight}
                if core.update_when == "input":
                    biased[p.target] = set(range(self.net.populations[p.target].size))
        for name, population in self.net.populations.items():
            constantly = range(population.size) if population.input_kind == "currents" else biased[name]
            for step in range(steps):
                updated[step + stage[name]] |= {(name, n) for n in constantly}
            if core.update_when == "potential" and population.v0 is not None:
                # (Those that are recorded are of before the leak.)
                left = [population.decayed(row).tolist() for row in result.potentials(name)]
                potentials = [population.initial_potentials().tolist(), *left]
                for step, row in enumerate(potentials[:steps]):
                    updated[step + stage[name]] |= {(name, n) for n, v in enumerate(row) if v}
        fires = defaultdict(list)
        for tick, _, name, neuron in spikes:
            step = (tick - 1) // resolution
            fires[step + stage[name], name, neuron].append(tick)
            if not self.net.populations[name].emits:
                updated[step + stage[name]].add((name, neuron))
            for p in self.net.projections:
                arrival = (tick + _ticks(p.delay, resolution) - 1) // resolution
                if p.source == name and arrival < steps:
                    reached = [n for targets in self.targets[p.name, neuron].values() for n in targets]
                    updated[arrival + stage[p.target]] |= {(p.target, n) for n in reached}
        times = []
        for step in range(total):
            sent, longest = [], 0
            for each in range(chip.cores):
                time, extra, mine = 0, 0, []
                for name, population in self.net.populations.items():
                    for block in self.blocks.get(name, []):
                        if block.cores[0] != each:
                            continue
                        for neuron in range(block.first, block.end):
                            if not population.emits:
                                counts["neuron access"] += 1
                                time += core.access.time
                                if (name, neuron) in updated[step]:
                                    counts["neuron update"] += 1
                                    time += core.update.time
                            mine += [(time, name, neuron)] * len(fires[step, name, neuron])
                for ready, name, neuron in mine:
                    extra += 0 if self.net.populations[name].emits else core.spike.time
                    for target, synapses, _ in self.messages(name, neuron):
                        extra += core.message_out.time
                        sent.append((ready + extra, each, target, synapses))
                longest = max(longest, time + extra)
            finished, _ = self.serve(self.transfer(sent, counts), counts, waits)
            times.append(max([longest, chip.step, *finished.values()]))
        tiles = {c // chip.cores_per_tile for blocks in self.blocks.values() for b in blocks for c in b.cores}
        known = [n for n in chip.barrier if n <= len(tiles)] or sorted(chip.barrier)[:1]
        times = [time + (chip.barrier[max(known)] if known else 0) for time in times]
        decision = result.counts.decision_tick
        if decision is not None:
            decision = sum(times[: (decision - 1) // resolution + stage[self.net.output] + 1])
        return sum(times), decision, counts, sorted(waits), times

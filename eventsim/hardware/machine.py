"""A closed run: what a chip takes changes when spikes happen. Compiled; docs/hardware.md says what it means.

Without barriers a step is as many ticks as it has picoseconds: a tick is a picosecond. Behind barriers a step is one tick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np

from eventsim.engines.protocol import overflow
from eventsim.engines.queue.tables import Tables, compile_tables
from eventsim.errors import HardwareError
from eventsim.hardware.architecture import CrossbarCore
from eventsim.hardware.converters import converters_of
from eventsim.hardware.energy import UNITS
from eventsim.hardware.faults import Faults
from eventsim.hardware.kernels.entries import KIND_BITS
from eventsim.hardware.kernels.loop import advance
from eventsim.hardware.kernels.together import advance_together
from eventsim.hardware.kernels.waiting import TOTALS, Found, room_for
from eventsim.hardware.pipeline import stages
from eventsim.hardware.placement import Messages, Placement
from eventsim.hardware.records import (
    BLOCK,
    CHIP,
    FIRED,
    ITEM,
    POPULATION,
    PROGRESS,
    PROJECTION,
    SERVER,
    Kind,
    Plan,
    Role,
    State,
    Status,
    Tally,
)
from eventsim.hardware.report import Report
from eventsim.hardware.times import check_length, key_of, scaled, too_late
from eventsim.job.job import OPERATIONS, Counts, Job, Recorder, check_room
from eventsim.model.limits import POTENTIAL_MAX, POTENTIAL_MIN
from eventsim.model.network import Network
from eventsim.model.periods import ticks
from eventsim.model.tables import IntArray
from eventsim.record.result import Run

_ROLES = {
    "spiking": Role.SPIKING,
    "driven": Role.DRIVEN,
    "readout": Role.READOUT,
    "source": Role.GIVEN,
    "event_input": Role.GIVEN,
    "maximum": Role.MAXIMUM,
}
_EXITS = {"potential": 1, "margin": 2}
# Ranks and cores have their places in the order of a queue's entries.
_MAX_RANKS, _MAX_CORES = 2**16, 2**18
_FIRST_ROOM = 2**14
# Potentials of neurons that are kept for steps to come.
_MAX_KEPT = 2**27


def why_not(network: Network, placement: Placement) -> str | None:
    """Why a network cannot run on a chip with what the chip takes, or None if it can."""
    architecture = placement.architecture
    for name, population in network.populations.items():
        if population.kind not in _ROLES or population.reset not in (None, "subtract", "zero"):
            what = f" with reset {population.reset!r}" if population.kind in _ROLES else ""
            return (
                f"{name}: {population.kind} populations{what} run on no closed or imperfect hardware; "
                "replays on chips whose links hold nothing take them"
            )
    if len(network.populations) >= _MAX_RANKS or architecture.chip.cores > _MAX_CORES:
        return f"{architecture.name} has more than {_MAX_CORES:,} cores"
    return None


class Machine:
    """A placed network, for many runs, and for replays where messages hold each other up on links.

    Parameters
    ----------
    placement : Placement
    messages : Messages
        Of it.
    columns : int64 array (cores,)
        Columns in use of each crossbar.
    faults : Faults, optional
        Spikes that are lost or late; what else they say is of networks (:func:`eventsim.hardware.faults.with_faults`).
    seed : int
        Of these.

    Raises
    ------
    HardwareError
        The chip, or the network, is none for closed runs.
    """

    def __init__(self, placement: Placement, messages: Messages, columns: IntArray, faults: Faults | None = None, seed: int = 0):
        refusal = why_not(placement.network, placement)
        if refusal is not None:
            raise HardwareError(refusal)
        self.placement, self._messages, self._columns = placement, messages, columns
        self._faults, self._seed = faults or Faults(), seed
        self._stepwise = placement.architecture.chip.synchronisation == "barrier"
        self._tables, self._maximum = _by_block(compile_tables(placement.network), placement)
        self._converters = converters_of(placement, messages, self._tables)
        self._operations, self._first_operation = _operations(placement.network)

    @property
    def resolution(self) -> int:
        """Ticks of a step: picoseconds, 1 behind barriers."""
        return 1 if self._stepwise else self.placement.architecture.chip.step

    def run(self, job: Job, recorder: Recorder, progress: Callable[[int], None] | None = None) -> tuple[Counts, Report]:
        """Run a job whose resolution is :attr:`resolution`.

        Raises
        ------
        HardwareError
            Behind barriers, a cycle that has less delay than projections.
        PotentialOverflow
            A membrane potential would leave the range of int32.
        RunError
            More steps than the counts have room for.
        """
        check_room(job)
        check_length(job.steps, self.placement.architecture.chip.step)
        plan = self._plan(job)
        state, tally = _start(job, plan, self._tables), _tally(job)
        go_on = advance_together if plan.chip["direct"] else advance
        while True:
            status = go_on(plan, self._tables, state, tally)
            if status == Status.OVERFLOW:
                raise overflow(job, job.order[int(state.progress["where"])], int(state.progress["time"]))
            if status == Status.LATE:
                raise too_late(self.placement, int(plan.chip["latest"]))
            if status == Status.GROW:
                state = _grown(plan, state)
                continue
            if not self._stepwise or status == Status.DONE:
                _record(job, plan, state, recorder)
            if progress is not None:
                progress(min(int(state.progress["chip" if self._stepwise else "time"]), job.end))
            if status == Status.DONE:
                return _counts(job, plan, state, tally), self._report(job, plan, state, "closed")

    def _plan(self, job: Job, decided: int | None = None) -> Plan:
        """``decided`` is given for a script: all spikes are given, and nothing is computed."""
        network, m = job.network, self._messages
        rank = {name: q for q, name in enumerate(job.order)}
        populations = _populations(job)
        if decided is not None:
            populations["role"] = Role.GIVEN
        chip = self._chip(job, decided is not None)
        if self._stepwise:
            self._add_stages(job, populations, chip)
        projections = np.zeros(len(network.projections), PROJECTION)
        out: list[int] = []
        for row, name in zip(populations, job.order, strict=True):
            row["out"] = len(out)
            out += [i for i, p in enumerate(network.projections) if p.source == name]
            row["end_out"] = len(out)
        for row, p in zip(projections, network.projections, strict=True):
            # In a script all that is sent in a picosecond is known before any of it arrives.
            row["place"] = len(rank) if decided is not None else 0 if self._stepwise else rank[p.target]
            row["target"], row["first"], row["delay"] = rank[p.target], populations["first"][rank[p.target]], job.delay[p.name]
            number = m.projection.get(p.name, -1)
            row["divisor"], row["offset"] = (1, 0) if number < 0 else (m.divisor[number], m.offset[number])
        parts = self._converters.parts.copy()
        for key in ("first", "end"):
            parts[key] += np.array([populations["first"][rank[name]] for name in self._converters.population], np.int64)
        rule = job.exit_rule
        return Plan(
            chip=chip,
            resolution=job.resolution,
            output=-1 if network.output is None else rank[network.output],
            exit_kind=0 if rule is None else _EXITS[rule.kind],
            exit_threshold=0 if rule is None else int(rule.threshold),
            decided=-1 if decided is None else decided,
            max_spikes=job.max_spikes,
            margin=self._margin(populations, job, bool(chip["direct"])),
            populations=populations,
            projections=projections,
            out=np.array(out, np.int64),
            begin=m.begin,
            core=m.core,
            synapses=m.synapses,
            low=m.first,
            high=m.end,
            part=self._converters.part,
            columns=self._columns,
            blocks=self._blocks(populations, rank),
            parts=parts,
            offset=self._converters.offset,
            rank=np.repeat(np.arange(len(populations)), populations["end"] - populations["first"]),
            **self._per_neuron(job, populations),
            **_given(job, populations, rank),
            operations=self._operations,
            first_operation=self._first_operation,
        )

    def _chip(self, job: Job, scripted: bool) -> IntArray:
        out = _chip(self.placement, scripted)
        out["bits"], out["latest"] = key_of(self.placement, self._messages)
        out["open"] = not (self.placement.architecture.contended or out["drop"] or job.exit_rule is not None)
        if not scripted:
            out["lost"] = floor(Fraction(self._faults.lost) * 2**32 + Fraction(1, 2))
            out["jitter"], out["seed"] = ticks(self._faults.jitter, job.resolution), self._seed
            if out["jitter"] >= 2**31:
                raise HardwareError(f"a jitter of {self._faults.jitter:g} steps is {out['jitter']:,} ticks, the limit is {2**31 - 1:,}")
        return out

    def _per_neuron(self, job: Job, populations: IntArray) -> dict[str, IntArray]:
        network = job.network
        neurons = int(populations["end"][-1])
        owner, threshold, current, v0, maximum = (np.zeros(neurons, np.int64) for _ in range(5))
        for row, name in zip(populations, job.order, strict=True):
            these, population = slice(row["first"], row["end"]), network.populations[name]
            owner[these] = -1
            for block in self.placement.blocks.get(name, []):
                owner[row["first"] + block.first : row["first"] + block.end] = block.cores[0]
            if population.reads_out:
                threshold[these] = POTENTIAL_MAX + 1
            if population.threshold is not None:
                threshold[these] = population.per_neuron(population.threshold)
            if population.v0 is not None:
                v0[these] = population.initial_potentials()
            if name in job.currents:
                current[these] = job.currents[name]
            if name in self._maximum:
                maximum[these] = self._maximum[name]
        return {"owner": owner, "threshold": threshold, "current": current, "v0": v0, "maximum": maximum}

    def _add_stages(self, job: Job, populations: IntArray, chip: IntArray) -> None:
        """Behind barriers: how far populations lag behind, and for how many steps what has come must be kept."""
        network, rank = job.network, {name: q for q, name in enumerate(job.order)}
        stage = stages(network, job.delay, 1)
        counts = {name: 0 for name in self._maximum}
        for name, q in rank.items():
            clocks = any(network.populations[p.source].is_clock for p in network.projections if p.target == name)
            populations["stage"][q], populations["always"][q] = stage[name], clocks or name in job.currents
            if name in counts:
                windows = self._tables.maxima.windows[np.unique(self._maximum[name])]
                sizes = windows["height"] * windows["width"] * windows["channels"]
                populations["counts"][q], populations["end_counts"][q] = windows["counts"][0], windows["counts"][-1] + sizes[-1]
        furthest = [job.delay[p.name] + stage[p.target] - stage[p.source] for p in network.projections]
        chip["stages"], chip["slots"] = max(stage.values()), max(furthest, default=0) + int(chip["jitter"]) + 1
        if int(chip["slots"]) * int(populations["end"][-1]) > _MAX_KEPT:
            raise HardwareError(f"delays of {int(chip['slots']) - 1:,} steps are too long for this network behind barriers")

    def _blocks(self, populations: IntArray, rank: dict[str, int]) -> IntArray:
        rows = [
            (populations["first"][rank[name]] + block.first, populations["first"][rank[name]] + block.end, block.cores[0])
            for name, blocks in self.placement.blocks.items()
            for block in blocks
        ]
        # By core: so their spikes come in the order in which messages of one picosecond are served.
        return np.array(sorted(rows, key=lambda row: row[2]), BLOCK)

    def _margin(self, populations: IntArray, job: Job, direct: bool) -> int:
        """Places that an entry may need at most: looks at all of a population, the messages of a spike, all who wait for room.

        Where there is no queue: spikes of a step.
        """
        lines = np.diff(self._messages.begin)
        most = int(lines.max(initial=0)) + 1
        out = int((populations["end_out"] - populations["out"]).max())
        chip = self.placement.architecture.chip
        if self._stepwise:
            # A step of the chip sends all of its messages at once.
            given = [int(np.bincount(ticks - 1).max(initial=0)) for ticks, _ in job.events.values() if len(ticks)]
            return (int(populations["end"][-1]) + sum(given)) * (1 if direct else most * max(1, out)) + 64
        return int((populations["end"] - populations["first"]).max()) + most * out + 2 * (4 * chip.tiles + chip.cores) + 64

    def replay(self, run: Run) -> Report:
        """What a run that is over takes where links hold messages, or room ends.

        Raises
        ------
        RunError
            More steps than the counts have room for.
        """
        job, decided = self._script(run)
        plan = self._plan(job, decided)
        state, tally = _start(job, plan, self._tables), _tally(job)
        # Not when the potentials say: when the run had decided, and its messages are served.
        state.progress["decision_tick"] = -1
        while advance(plan, self._tables, state, tally) != Status.DONE:
            state = _grown(plan, state)
        s, end = state.progress, int(_picoseconds(run, self.placement, np.array([run.counts.end_tick]))[0])
        s["fired"] = sum(len(given) for name, (given, _) in job.events.items() if job.network.populations[name].fires)
        s["end"] = max(end, int(s["served"]))
        s["decision"], s["decision_tick"] = min(decided, 0), max(decided, int(s["decision_tick"]))
        report = self._report(job, plan, state, "replay")
        # (What is served after the run is in no step of it.)
        return replace(report, steps=np.full(-(-run.counts.end_tick // run.info.resolution), job.resolution, np.int64))

    def _script(self, run: Run) -> tuple[Job, int]:
        """A job whose spikes are all given, at the picoseconds at which a run has them; and when that decided, -1 if it did not."""
        network, resolution = self.placement.network, self.placement.architecture.chip.step
        events = {}
        for name in self.placement.blocks:
            if network.populations[name].sends_spikes:
                spikes = run.spikes(name)
                events[name] = _picoseconds(run, self.placement, spikes.ticks.astype(np.int64)), spikes.neurons.astype(np.int64)
        delay = dict.fromkeys((p.name for p in network.projections), 0)
        steps, order = len(run.counts.spikes), list(network.populations)
        job = Job(network, steps, resolution, order, delay, {}, {}, {}, {}, events, {}, None, run.info.settings.get("max_spikes", 0), {})
        tick = run.counts.decision_tick
        return job, -1 if tick is None else int(_picoseconds(run, self.placement, np.array([tick]))[0])

    def _after_the_end(self, plan: Plan, state: State) -> IntArray:
        """How much of the work that cores have begun lies after the end: int64 (cores, 2), serving and sending."""
        chip, end = self.placement.architecture.chip, int(state.progress["end"])
        first = 4 * chip.tiles
        senders = state.servers[first + 2 * chip.cores :]
        after = np.zeros((chip.cores, 2), np.int64)
        after[:, 1] = np.maximum(senders["free"] - end, 0)
        waiting = int(state.progress["heap"])
        for time, entry in zip(state.heap_time[:waiting].tolist(), state.heap_item[:waiting].tolist(), strict=True):
            kind, server = entry >> KIND_BITS, (entry & ((1 << KIND_BITS) - 1)) - first
            if kind == Kind.SERVED:
                after[server, 0] += max(0, time - end)
            elif kind == Kind.UPDATED:
                neuron = state.items[senders[server - 2 * chip.cores]["head"]]["neuron"]
                taken = int(plan.chip["update"]) if plan.populations[plan.rank[neuron]]["costly"] else 0
                after[server - 2 * chip.cores, 1] += min(taken, max(0, time - end))
        return after

    def _report(self, job: Job, plan: Plan, state: State, mode: str) -> Report:
        s, chip = state.progress, self.placement.architecture.chip
        links, servers = state.servers[: 4 * chip.tiles], state.servers[4 * chip.tiles :].reshape(3, chip.cores)
        serving, sending = servers[0], servers[2]
        waits = state.waits[: int(s["waits"])]
        if plan.chip["direct"]:
            waits = state.found.waits[: int(state.found.totals["messages"])]
            serving["messages"], serving["reads"], serving["work"] = state.found.served, state.found.reads, state.found.busy[:, 0]
        counts = dict.fromkeys((*UNITS, "message", "read", "dropped"), 0)
        counts["neuron access"], counts["neuron update"], counts["spike"] = int(s["accesses"]), int(s["updates"]), int(s["fired"])
        counts["message"] = counts["message out"] = int(s["sent"])
        counts["east-west hop"], counts["north-south hop"], counts["within a tile"] = (int(s[key]) for key in ("across", "down", "within"))
        counts["dropped"] = int(links["dropped"].sum() + serving["dropped"].sum())
        core, served = self.placement.architecture.core, int(serving["messages"].sum())
        if isinstance(core, CrossbarCore):
            counts["row"], counts["read"] = served, int(serving["reads"].sum())
            counts["cell"] = int(serving["messages"] @ self._columns)
            counts["conversion"] = int(serving["reads"] @ self._columns)
        else:
            counts["message in"], counts["synapse"] = served, int(serving["synapses"].sum() + s["synapses"])
        used = self.placement.cores
        busy = np.stack([serving["work"], sending["work"]], 1)
        if mode == "closed" and not self._stepwise:
            # (A replay goes on until all is over.)
            busy -= self._after_the_end(plan, state)
        decided, end = int(s["decision_tick"]), int(s["end"])
        if self._stepwise:
            steps = state.steps[: int(s["chip"])].copy()
            end, lag = int(steps.sum()), 0 if plan.output < 0 else int(plan.populations["stage"][plan.output])
            decided = int(steps[: decided + lag].sum()) if decided > 0 else 0
        else:
            steps = np.full(-(-end // job.resolution), chip.step, np.int64)
        return Report(
            self.placement.architecture,
            mode,
            self.placement.utilisation(),
            end,
            decided if s["decision"] >= 0 else None,
            counts,
            used,
            busy[used],
            serving["messages"][used],
            state.links,
            waits.copy(),
            steps,
        )


def _chip(placement: Placement, scripted: bool) -> IntArray:
    architecture = placement.architecture
    chip, links, core = architecture.chip, architecture.links, architecture.core
    out = np.zeros((), CHIP)
    out["mesh"], out["per_tile"], out["cores"], out["tiles"] = chip.columns, chip.cores_per_tile, chip.cores, chip.tiles
    out["east_west"], out["north_south"], out["within"] = links.east_west.time, links.north_south.time, links.within_tile.time
    out["hold"], out["buffer"], out["queue"], out["drop"] = links.hold, links.buffer, core.queue, links.when_full == "drop"
    for name in ("update", "spike", "message_out"):
        out[name] = getattr(core, name).time
    out["together"], out["scripted"], out["access"] = core.served_together, scripted, core.access.time
    out["stepwise"], out["step"], out["slots"] = chip.synchronisation == "barrier", chip.step, 1
    out["direct"] = architecture.settled
    out["barrier"] = chip.barrier_time(len(placement.tiles))
    if isinstance(core, CrossbarCore):
        out["reading"], out["levels"] = core.reading, core.levels
    else:
        out["message_in"], out["synapse"] = core.message_in.time, core.synapse.time  # type: ignore[attr-defined]
    return out


def _picoseconds(run: Run, placement: Placement, tick: Any) -> Any:
    """When a tick of a run is, or each of an array of them."""
    return scaled(tick, placement.architecture.chip.step, run.info.resolution)


def _populations(job: Job) -> IntArray:
    network = job.network
    out = np.zeros(len(job.order), POPULATION)
    sizes = np.array([network.populations[name].size for name in job.order])
    out["end"] = np.cumsum(sizes)
    out["first"] = out["end"] - sizes
    columns = 0
    for row, name in zip(out, job.order, strict=True):
        population = network.populations[name]
        row["role"], row["refractory"] = _ROLES[population.kind], job.refractory.get(name, 1)
        row["signed"], row["zero_reset"], row["costly"] = population.signed, population.reset == "zero", population.fires
        row["readout"] = columns
        columns += population.size if population.reads_out else 0
    serial = 0
    for name, population in network.populations.items():
        out["serial"][job.order.index(name)] = serial
        serial += population.size
    return out


def _by_block(tables: Tables, placement: Placement) -> tuple[Tables, dict[str, IntArray]]:
    """Windows of maxima once for each block, since every core counts for itself what has come; by population, those of each neuron."""
    windows: list[Any] = []
    by_neuron: dict[str, IntArray] = {}
    counts = 0
    for row, projection in zip(tables.projections, placement.network.projections, strict=True):
        if row["maximum"] < 0:
            continue
        blocks = placement.blocks[projection.target]
        by_neuron[projection.target] = len(windows) + np.repeat(np.arange(len(blocks)), [b.end - b.first for b in blocks])
        for _ in blocks:
            windows.append(tables.maxima.windows[row["maximum"]].copy())
            windows[-1]["counts"] = counts
            counts += placement.network.populations[projection.source].size
    return tables._replace(maxima=tables.maxima._replace(windows=np.array(windows, tables.maxima.windows.dtype))), by_neuron


def _given(job: Job, populations: IntArray, rank: dict[str, int]) -> dict[str, IntArray]:
    """All given spikes, by time, then by population, then in the order in which they are given: several ticks may be one picosecond."""
    times, neurons, ranks = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    signs = [np.zeros(0, np.int8)]
    for name, (given, numbers) in job.events.items():
        times.append(given.astype(np.int64))
        neurons.append(numbers + populations["first"][rank[name]])
        ranks.append(np.full(len(given), rank[name]))
        signs.append(job.signs.get(name, np.ones(len(given), np.int8)))
    time, neuron, of, sign = (np.concatenate(parts) for parts in (times, neurons, ranks, signs))
    order = np.lexsort((of, time))
    return {"given_time": time[order], "given_neuron": neuron[order], "given_sign": sign[order]}


def _operations(network: Network) -> tuple[IntArray, IntArray]:
    """What a spike of each neuron counts as, by projection (:data:`eventsim.job.job.OPERATIONS`), and where each projection begins."""
    parts, firsts, total = [np.zeros((5, 0), np.int64)], [], 0
    for p in network.projections:
        source, target, table = network.populations[p.source].shape, network.populations[p.target].shape, p.table
        ways = (table.fan_out, table.additions, table.toolbox_fan_out, table.effective_fan_out)
        exact = [way(source, target).astype(np.int64) for way in ways]
        parts.append(np.stack([np.ones_like(exact[0]), *exact]))
        firsts.append(total)
        total += len(exact[0])
    return np.concatenate(parts, 1), np.array(firsts, np.int64)


def _start(job: Job, plan: Plan, tables: Tables) -> State:
    neurons, servers = len(plan.rank), int(4 * plan.chip["tiles"] + 3 * plan.chip["cores"])
    direct, cores = bool(plan.chip["direct"]), int(plan.chip["cores"])
    items = 0 if direct else _FIRST_ROOM + 2 * plan.margin
    slots, stepwise = int(plan.chip["slots"]), bool(plan.chip["stepwise"])
    counts = sum(int(w["height"] * w["width"] * w["channels"]) for w in tables.maxima.windows)
    kept = slots if stepwise else 0
    state = State(
        progress=np.zeros((), PROGRESS),
        **{name: np.zeros(neurons + items, np.int64) for name in ("heap_time", "heap_order", "heap_item")},
        items=np.zeros(items, ITEM),
        free=np.arange(items)[::-1].copy(),
        servers=np.zeros(servers, SERVER),
        v=plan.v0.copy(),
        net=np.zeros(neurons, np.int64),
        last=np.repeat([job.last_spike(name) for name in job.order], plan.populations["end"] - plan.populations["first"]),
        look=np.full(neurons, -1),
        upper=plan.threshold.copy(),
        lower=np.full(neurons, POTENTIAL_MIN),
        pending=np.zeros(neurons, np.int64),
        made=np.zeros(neurons, np.int64),
        counts=np.zeros(counts, np.int32),
        sums=np.zeros(slots * neurons if len(plan.parts) else 0, np.int64),
        touched=np.zeros(slots * len(plan.parts), np.int64),
        read=np.zeros(slots * len(plan.parts), np.int64),
        later=np.zeros(kept * neurons, np.int64),
        marks=np.zeros(kept * neurons, np.int8),
        later_counts=np.zeros(kept * counts, np.int32),
        later_output=np.zeros(kept, np.int64),
        round=np.zeros(int(plan.chip["cores"]), np.int64),
        extra=np.zeros(int(plan.chip["cores"]), np.int64),
        steps=np.zeros(job.steps + int(plan.chip["stages"]) if stepwise else 0, np.int64),
        first_tick=np.zeros(len(plan.populations), np.int64),
        **{name: np.zeros(_FIRST_ROOM + 2 * plan.margin, np.int64) for name in ("log_time", "log_neuron", "log_sign")},
        waits=np.zeros(2 * items, np.int64),
        links=np.zeros((int(plan.chip["tiles"]), 4), np.int64),
        fired=np.zeros(plan.margin if stepwise else 0, FIRED),
        **{name: np.zeros(cores, np.int64) for name in ("arriving", "flow", "reached", "travel")},
        nothing=np.zeros(cores, np.uint8),
        room=room_for(cores, _FIRST_ROOM if direct else 0),
        found=Found(
            totals=np.zeros((), TOTALS),
            waits=np.empty(4 * _FIRST_ROOM if direct else 0, np.int64),
            busy=np.zeros((cores, 2), np.int64),
            **{name: np.zeros(cores, np.int64) for name in ("served", "reads")},
            **{name: np.zeros(0, np.int64) for name in ("sent", "steps")},
        ),
    )
    state.servers["waiters"] = -1
    state.progress["free"], state.progress["end"], state.progress["where"] = items, job.end, -1
    state.progress["decision"], state.progress["deciding"] = -1, -1
    if plan.output >= 0:
        of = plan.populations[plan.output]
        initial = plan.v0[of["first"] : of["end"]]
        if initial.min() < initial.max():
            state.progress["decision"], state.progress["decision_tick"] = int(initial.argmax()), 1
    return state


def _grown(plan: Plan, state: State) -> State:
    """The same with more room where there is little."""
    s, more = state.progress, dict[str, Any]()

    def double(*names: str) -> None:
        for name in names:
            old = getattr(state, name)
            more[name] = np.concatenate([old, np.zeros_like(old)])

    if len(state.heap_time) - s["heap"] < plan.margin:
        double("heap_time", "heap_order", "heap_item")
    if len(state.log_time) - s["logged"] < plan.margin:
        double("log_time", "log_neuron", "log_sign")
    if plan.chip["direct"]:
        n, found = int(s["messages"]), state.found
        if len(state.room.runs) <= n:
            more["room"] = room_for(int(plan.chip["cores"]), 2 * n)
        while len(found.waits) - found.totals["messages"] < n:
            found = found._replace(waits=np.concatenate([found.waits, np.zeros_like(found.waits)]))
        return state._replace(**more, found=found)
    if s["free"] < plan.margin:
        n, free = len(state.items), int(s["free"])
        double("items")
        more["free"] = np.concatenate([state.free[:free], np.arange(n, 2 * n), np.zeros(n - free, np.int64)])
        s["free"] = free + n
    items = more.get("items", state.items)
    while len(more.get("waits", state.waits)) - s["waits"] - (len(items) - s["free"]) < plan.margin:
        old = more.get("waits", state.waits)
        more["waits"] = np.concatenate([old, np.zeros_like(old)])
    return state._replace(**more)


def _tally(job: Job) -> Tally:
    populations, projections = len(job.order), len(job.network.projections)
    columns = sum(p.size for p in job.network.populations.values() if p.reads_out)
    return Tally(
        np.zeros((job.steps, populations), np.int64),
        np.zeros((job.steps, populations), np.int64),
        np.zeros((len(OPERATIONS), job.steps, projections), np.int64),
        np.zeros((job.steps, columns), np.int64),
    )


def _record(job: Job, plan: Plan, state: State, recorder: Recorder) -> None:
    """Give the recorder what has fired but in the last picosecond, which may not be over; and what is behind the end of the run."""
    s = state.progress
    n, size = int(s["logged"]), 0
    if plan.chip["stepwise"]:
        # Populations that go before may have gone on.
        these = np.flatnonzero(state.log_time[:n] <= s["end"])
        for name in ("log_time", "log_neuron", "log_sign"):
            getattr(state, name)[: len(these)] = getattr(state, name)[these]
        n = len(these)
    over = s["heap"] == 0 or state.heap_time[0] > s["time"]
    if n:
        size = n if over else int(np.searchsorted(state.log_time[:n], s["time"], "left"))
    time, neuron, sign = (getattr(state, name)[:size].copy() for name in ("log_time", "log_neuron", "log_sign"))
    for name, of in zip(job.order, plan.populations, strict=True):
        if not recorder.wants(name) or of["role"] not in (Role.DRIVEN, Role.SPIKING, Role.MAXIMUM):
            continue
        these = np.flatnonzero((neuron >= of["first"]) & (neuron < of["end"]))
        if len(these):
            # Cores update side by side, so that neurons of a picosecond may come in any order.
            these = these[np.lexsort((neuron[these], time[these]))]
            recorder.record(name, time[these], neuron[these] - of["first"], sign[these])
    for name in ("log_time", "log_neuron", "log_sign"):
        log = getattr(state, name)
        log[: n - size] = log[size:n].copy()
    s["logged"] = n - size


def _counts(job: Job, plan: Plan, state: State, tally: Tally) -> Counts:
    progress, network = state.progress, job.network
    end = int(progress["end"])
    steps = -(-end // job.resolution)
    columns = [job.order.index(name) for name in network.populations]
    readout = {}
    for name, of in zip(network.populations, plan.populations[columns], strict=True):
        if network.populations[name].reads_out:
            rows = tally.readout[:steps, of["readout"] : of["readout"] + network.populations[name].size].copy()
            if not plan.chip["stepwise"]:
                rows[int(progress["step"]) :] = state.v[of["first"] : of["end"]]
            readout[name] = rows
    first_tick = state.first_tick[columns]
    if plan.chip["stepwise"]:
        first_tick[first_tick > end] = 0
        _decide_again(job, plan, progress, tally)
    decided = progress["decision"] >= 0
    return Counts(
        end,
        bool(progress["exited"]),
        tally.spikes[:steps][:, columns],
        tally.negative[:steps][:, columns],
        first_tick,
        **{name: tally.operations[i, :steps].copy() for i, name in enumerate(OPERATIONS)},
        readout=readout,
        decision=int(progress["decision"]) if decided else None,
        decision_tick=int(progress["decision_tick"]) if decided else None,
        stopped="max_spikes" if progress["stopped"] else None,
        engine="hardware",
    )


def _decide_again(job: Job, plan: Plan, progress: IntArray, tally: Tally) -> None:
    """Behind barriers the output may have gone on when a run stops for its spikes: what it had decided before."""
    if not progress["stopped"] or job.network.output is None:
        return
    of = plan.populations[plan.output]
    initial = plan.v0[of["first"] : of["end"]]
    decision, tick = (int(initial.argmax()), 1) if initial.min() < initial.max() else (-1, 0)
    incoming = [i for i, p in enumerate(job.network.projections) if p.target == job.network.output]
    for step in range(int(progress["end"])):
        if tally.operations[0, step, incoming].any():
            best = int(tally.readout[step, of["readout"] : of["readout"] + of["end"] - of["first"]].argmax())
            decision, tick = (decision, tick) if best == decision else (best, step + 1)
    progress["decision"], progress["decision_tick"] = decision, tick

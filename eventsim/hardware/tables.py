"""What a replay needs of a placed network, computed once: which messages a spike makes, how far they go, and what they reach.

Compiled code divides numbers of neurons by multiplying: ``n // d == n * factor >> shift`` for all n that a network may have.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.hardware.architecture import CrossbarCore, EventCore
from eventsim.hardware.placement import Messages, Placement
from eventsim.kernels.records import record
from eventsim.model.limits import MAX_NEURONS
from eventsim.model.tables import IntArray

# What everything takes, in picoseconds: see :mod:`eventsim.hardware.architecture`.
#
# barrier, together: 0 or 1    reading: of a crossbar, with its conversions    per_tile, mesh: cores of a tile, tiles in a row
COSTS = record("barrier access update spike message_out message_in synapse together reading mesh per_tile east_west north_south within")
# A population.
#
# given: 1 if its spikes are given    always: 1 if all of its neurons are updated in every step    first: its first neuron among all
# block, end_block: of its blocks     into, end_into: of what reaches it (INTO)
# units, unit, factor, shift: behind barriers its neurons get input by units of so many neighbours (see above)
# mark: where its units are in Tables.marked
POPULATION = record("given always first block end_block into end_into units unit factor shift mark")
# A block of neighbouring neurons: first, end (in its population), core (its place in Tables.cores), and its SENDs.
BLOCK = record("population first end core send end_send")
# Where a projection's messages from a block are: those of neuron n are the lines Tables.begin[line] of line = base + n // divisor.
SEND = record("base factor shift")
# A message: core (its place in Tables.cores), synapses, travel (picoseconds), pair (of source and target core, in Tables.pairs).
ENTRY = record("core synapses travel pair")
# A projection that brings messages: source population, site n // divisor of its neuron n; where its sites are in Tables.site_begin.
INTO = record("source factor shift site")
# Two cores that messages go between.
PAIR = record("source target")


class Tables(NamedTuple):
    """A placed network for compiled code. All whole numbers int64.

    Attributes
    ----------
    costs : COSTS ()
    populations : POPULATION (populations,)
        Those that are placed, in the network's order.
    blocks : BLOCK (blocks,)
        By population, neurons ascending.
    block_of : int32 (neurons,)
        Of all neurons.
    cores : int64 (used,)
        Cores in use, ascending.
    on_core, by_core : int64 (used + 1,), int64 (blocks,)
        The blocks of a core are ``by_core[on_core[core] : on_core[core + 1]]``, by population.
    sends : SEND (sends,)
    begin : int64 (lines + 1,)
    entries : ENTRY (messages,)
        Of line i: ``begin[i]..begin[i + 1] - 1``.
    pairs : PAIR (pairs,)
    into : INTO (projections,)
    site_begin : int64
        The runs of a site are ``site_begin[site]..site_begin[site + 1] - 1``.
    run_first, run_end : int64 (runs,)
        Units of the target that a run reaches.
    biased : bool (marks,)
        Which neurons have a bias, of populations of which not all have one: in the order of ``Arrivals.marked``.
    """

    costs: Any
    populations: Any
    blocks: Any
    block_of: Any
    cores: Any
    on_core: Any
    by_core: Any
    sends: Any
    begin: Any
    entries: Any
    pairs: Any
    into: Any
    site_begin: Any
    run_first: Any
    run_end: Any
    biased: Any


def divider(divisor: int) -> tuple[int, int]:
    """(factor, shift): ``n // divisor == n * factor >> shift`` for ``0 <= n <= MAX_NEURONS``.

    Rounding the factor up adds less than ``n / 2**bits`` of a ``divisor``'s part to the quotient (Granlund and Montgomery 1994).
    """
    bits = MAX_NEURONS.bit_length()
    shift = bits + (divisor - 1).bit_length()
    return -(-(1 << shift) // divisor), shift


def tables_of(placement: Placement, messages: Messages) -> Tables:
    """Compute the tables of a placed network."""
    network, names = placement.network, list(placement.blocks)
    barrier = placement.architecture.chip.synchronisation == "barrier"
    cores = np.array(placement.cores, np.int64)
    blocks = np.zeros(sum(len(each) for each in placement.blocks.values()), BLOCK)
    populations = np.zeros(len(names), POPULATION)
    flat = [(i, block) for i, name in enumerate(names) for block in placement.blocks[name]]
    for row, (i, block) in zip(blocks, flat, strict=True):
        row["population"], row["first"], row["end"] = i, block.first, block.end
        row["core"] = np.searchsorted(cores, block.cores[0])
    for i, (row, name) in enumerate(zip(populations, names, strict=True)):
        population = network.populations[name]
        row["given"], row["first"] = bool(population.emits), sum(network.populations[each].size for each in names[:i])
        row["block"], row["end_block"] = np.searchsorted(blocks["population"], (i, i + 1))
        row["always"] = population.input_kind == "currents" or bool(biased(placement, name).all())
    by_core = np.lexsort((blocks["population"], blocks["core"]))
    sends, begin, entries, pairs = _sends(placement, messages, blocks, cores, names)
    return Tables(
        costs=_costs(placement),
        populations=populations,
        blocks=blocks,
        block_of=np.repeat(np.arange(len(blocks), dtype=np.int32), blocks["end"] - blocks["first"]),
        cores=cores,
        on_core=np.searchsorted(blocks["core"][by_core], np.arange(len(cores) + 1)),
        by_core=by_core,
        sends=sends,
        begin=begin,
        entries=entries,
        pairs=pairs,
        **(_reached(placement, populations, names) if barrier else _nothing_reached()),
    )


def _costs(placement: Placement) -> IntArray:
    architecture = placement.architecture
    chip, links, core = architecture.chip, architecture.links, architecture.core
    costs = np.zeros((), COSTS)
    costs["barrier"], costs["together"] = chip.synchronisation == "barrier", core.served_together
    costs["mesh"], costs["per_tile"] = chip.columns, chip.cores_per_tile
    costs["east_west"], costs["north_south"], costs["within"] = links.east_west.time, links.north_south.time, links.within_tile.time
    for name in ("access", "update", "spike", "message_out"):
        costs[name] = getattr(core, name).time
    if isinstance(core, EventCore):
        costs["message_in"], costs["synapse"] = core.message_in.time, core.synapse.time
    elif isinstance(core, CrossbarCore):
        costs["reading"] = core.reading
    return costs


def _sends(
    placement: Placement, messages: Messages, blocks: IntArray, cores: IntArray, names: list[str]
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """The messages of every block, by projection and then by site: sends, begin, entries, pairs. Sets the blocks' sends."""
    sends: list[tuple[int, int, int]] = []
    parts, lengths, line = [(np.zeros(0, np.int64),) * 3], [np.zeros(1, np.int64)], 0
    of_source: dict[int, list[int]] = {
        i: [messages.projection[p.name] for p in placement.network.projections if p.source == name and p.name in placement.reach]
        for i, name in enumerate(names)
    }
    for row in blocks:
        row["send"] = len(sends)
        for number in of_source[int(row["population"])]:
            divisor = int(messages.divisor[number])
            low, high = int(row["first"]) // divisor, (int(row["end"]) - 1) // divisor + 1
            sends.append((line - low, *divider(divisor)))
            begin = messages.begin[messages.offset[number] + low : messages.offset[number] + high + 1]
            these = slice(int(begin[0]), int(begin[-1]))
            lengths.append(np.diff(begin))
            source = np.full(these.stop - these.start, cores[row["core"]])
            parts.append((source, messages.core[these], messages.synapses[these]))
            line += high - low
        row["end_send"] = len(sends)
    source, target, synapses = (np.concatenate(column) for column in zip(*parts, strict=True))
    entries = np.zeros(len(source), ENTRY)
    entries["core"], entries["synapses"] = np.searchsorted(cores, target), synapses
    entries["travel"] = _travel(placement, source, target)
    both, entries["pair"] = np.unique(source * placement.architecture.chip.cores + target, return_inverse=True)
    pairs = np.zeros(len(both), PAIR)
    pairs["source"], pairs["target"] = np.divmod(both, placement.architecture.chip.cores)
    return np.array(sends, SEND), np.cumsum(np.concatenate(lengths)), entries, pairs


def _travel(placement: Placement, source: IntArray, target: IntArray) -> IntArray:
    """Picoseconds from core to core on free links."""
    chip, links = placement.architecture.chip, placement.architecture.links
    (row, column), (last_row, last_column) = (np.divmod(core // chip.cores_per_tile, chip.columns) for core in (source, target))
    across, down = np.abs(last_column - column), np.abs(last_row - row)
    time: IntArray = across * links.east_west.time + down * links.north_south.time
    return np.where(across + down == 0, links.within_tile.time, time)


def _nothing_reached() -> dict[str, IntArray]:
    nothing = np.zeros(0, np.int64)
    return {"into": np.zeros(0, INTO), "site_begin": nothing, "run_first": nothing, "run_end": nothing, "biased": np.zeros(0, bool)}


def _reached(placement: Placement, populations: IntArray, names: list[str]) -> dict[str, IntArray]:
    """What spikes reach of populations whose neurons are updated when they do. Sets the populations' units, and what reaches them."""
    single = placement.architecture.core.update_when == "potential"
    into: list[tuple[int, int, int, int]] = []
    begins, firsts, ends = ([np.zeros(0, np.int64)] for _ in range(3))
    biases = [np.zeros(0, bool)]
    sites = runs = marks = 0
    for row, name in zip(populations, names, strict=True):
        row["into"] = row["end_into"] = len(into)
        if row["given"] or row["always"]:
            continue
        incoming = placement.incoming(name)
        size = placement.network.populations[name].size
        unit = int(np.gcd.reduce(np.concatenate([[size], *(np.concatenate([r.start, r.stop]) for _, r in incoming)])))
        with_bias = biased(placement, name)
        unit = 1 if single or with_bias.any() else unit
        biases.append(np.append(np.resize(with_bias, size // unit), False))
        row["unit"], row["units"], row["mark"] = unit, size // unit, marks
        row["factor"], row["shift"] = divider(unit)
        marks += size // unit + 1
        for projection, reach in incoming:
            into.append((names.index(projection.source), *divider(reach.divisor), sites))
            begins.append(runs + np.searchsorted(reach.site, np.arange(reach.sites + 1)))
            firsts.append(reach.start // unit)
            ends.append(reach.stop // unit)
            sites, runs = sites + reach.sites + 1, runs + len(reach.start)
        row["end_into"] = len(into)
    site_begin, run_first, run_end = (np.concatenate(parts) for parts in (begins, firsts, ends))
    reached = {"into": np.array(into, INTO), "site_begin": site_begin, "run_first": run_first, "run_end": run_end}
    return reached | {"biased": np.concatenate(biases)}


def biased(placement: Placement, name: str) -> IntArray:
    """Which neurons of a population are updated in every step for their biases: bool (neurons,).

    Where potentials tell who is updated, a bias of 0 is none.
    """
    network, by_potential = placement.network, placement.architecture.core.update_when == "potential"
    found = np.zeros(network.populations[name].size, bool)
    for p in network.projections:
        if p.target == name and network.populations[p.source].is_clock:
            if not by_potential:
                return np.ones_like(found)
            shapes = network.populations[p.source].shape, network.populations[name].shape
            for clock in range(network.populations[p.source].size):
                reached = list(p.table.synapses_from(clock, *shapes))
                found[[neuron for neuron, weight in reached if weight]] = True
    return found

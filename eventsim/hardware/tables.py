"""What a replay needs of a placed network, computed once: which messages a spike makes, how far they go, and what they reach.

Compiled code divides numbers of neurons by multiplying: ``n // d == n * factor >> shift`` for all n that a network may have.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.hardware.architecture import CrossbarCore, EventCore
from eventsim.hardware.placement import Messages, Placement
from eventsim.hardware.reach import Reach
from eventsim.hardware.times import key_of
from eventsim.kernels.records import record
from eventsim.model.limits import MAX_NEURONS
from eventsim.model.tables import IntArray

# What everything takes, in picoseconds: see :mod:`eventsim.hardware.architecture`.
#
# barrier, together: 0 or 1    reading: of a crossbar, with its conversions    per_tile, mesh: cores of a tile, tiles in a row
# bits, latest: of keys (times.py)
COSTS = record(
    "barrier access update spike message_out message_in synapse together reading mesh per_tile east_west north_south within bits latest"
)
# A population.
#
# given: 1 if its spikes are given    always: 1 if all of its neurons are updated in every step    first: its first neuron among all
# block, end_block: of its blocks     into, end_into: of what reaches it (INTO)
# period, period_factor, period_shift: behind barriers neuron n gets input whenever n % period does, as channel after channel do
# units, unit, factor, shift: those of a period by units of so many neighbours, as all channels of a place do (see above)
# mark: the word of Arrivals.marked that its units begin with, a bit each
POPULATION = record("given always first block end_block into end_into period period_factor period_shift units unit factor shift mark")
# A block of neighbouring neurons: first, end (in its population), core (its place in Tables.cores), and its SENDs.
BLOCK = record("population first end core send end_send")
# Where a projection's messages from a block are: those of neuron n are the list Tables.lists[base + n // divisor].
# decides: 1 if they go to the output.
SEND = record("base factor shift decides")
# What is counted of a message: synapses, pair (of cores, in Tables.pairs).
ENTRY = record("synapses pair")
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
    lists : int32
        See SEND: neurons that send the same messages have one list of them.
    begin : int64 (lists + 1,)
    core, key : int32, int64 (messages,)
        Of list i: ``begin[i]..begin[i + 1] - 1``. Where a message goes (place in ``cores``), and its Room.key if it left at 0.
    entries : ENTRY (messages,)
        The same messages.
    pairs : PAIR (pairs,)
    into : INTO (projections,)
    site_begin : int64
        What a site reaches is ``site_begin[site]..site_begin[site + 1] - 1`` of:
    word, mask : int32, uint64
        Units of the target, as bits of a word of ``Arrivals.marked``.
    biased : uint64 (words,)
        Which neurons have a bias, of populations of which not all have one: as in ``Arrivals.marked``.
    """

    costs: Any
    populations: Any
    blocks: Any
    block_of: Any
    cores: Any
    on_core: Any
    by_core: Any
    sends: Any
    lists: Any
    begin: Any
    core: Any
    key: Any
    entries: Any
    pairs: Any
    into: Any
    site_begin: Any
    word: Any
    mask: Any
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
    costs = _costs(placement, messages)
    sends, messages_sent = _sends(placement, messages, blocks, cores, names, int(costs["bits"]))
    return Tables(
        costs=costs,
        populations=populations,
        blocks=blocks,
        block_of=np.repeat(np.arange(len(blocks), dtype=np.int32), blocks["end"] - blocks["first"]),
        cores=cores,
        on_core=np.searchsorted(blocks["core"][by_core], np.arange(len(cores) + 1)),
        by_core=by_core,
        sends=sends,
        **messages_sent,
        **(_reached(placement, populations, names) if barrier else _nothing_reached()),
    )


def _costs(placement: Placement, messages: Messages) -> IntArray:
    architecture = placement.architecture
    chip, links, core = architecture.chip, architecture.links, architecture.core
    costs = np.zeros((), COSTS)
    costs["barrier"], costs["together"] = chip.synchronisation == "barrier", core.served_together
    costs["mesh"], costs["per_tile"] = chip.columns, chip.cores_per_tile
    costs["east_west"], costs["north_south"], costs["within"] = links.east_west.time, links.north_south.time, links.within_tile.time
    for name in ("access", "update", "spike", "message_out"):
        costs[name] = getattr(core, name).time
    if isinstance(core, CrossbarCore):
        costs["reading"] = core.reading
    elif isinstance(core, EventCore):
        costs["message_in"], costs["synapse"] = core.message_in.time, core.synapse.time
    costs["bits"], costs["latest"] = key_of(placement, messages)
    return costs


def _sends(
    placement: Placement, messages: Messages, blocks: IntArray, cores: IntArray, names: list[str], bits: int
) -> tuple[IntArray, dict[str, IntArray]]:
    """The messages of every block, by projection and then by site: sends, and the tables of messages. Sets the blocks' sends."""
    sends: list[tuple[int, int, int, int]] = []
    network = placement.network
    to_output = {messages.projection[p.name] for p in network.projections if p.target == network.output and p.name in placement.reach}
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
            sends.append((line - low, *divider(divisor), int(number in to_output)))
            begin = messages.begin[messages.offset[number] + low : messages.offset[number] + high + 1]
            these = slice(int(begin[0]), int(begin[-1]))
            lengths.append(np.diff(begin))
            source = np.full(these.stop - these.start, cores[row["core"]])
            parts.append((source, messages.core[these], messages.synapses[these]))
            line += high - low
        row["end_send"] = len(sends)
    source, target, synapses = (np.concatenate(column) for column in zip(*parts, strict=True))
    begin = np.cumsum(np.concatenate(lengths))
    both = source * placement.architecture.chip.cores + target
    lists, first = _alike(begin, both, synapses)
    kept = np.diff(begin)[first]
    chosen = np.arange(kept.sum()) + np.repeat(begin[first] - np.cumsum(kept) + kept, kept)
    source, target, synapses, both = source[chosen], target[chosen], synapses[chosen], both[chosen]
    entries = np.zeros(len(source), ENTRY)
    both, entries["pair"] = np.unique(both, return_inverse=True)
    entries["synapses"] = synapses
    pairs = np.zeros(len(both), PAIR)
    pairs["source"], pairs["target"] = np.divmod(both, placement.architecture.chip.cores)
    return np.array(sends, SEND), {
        "lists": lists,
        "begin": np.append(0, np.cumsum(kept)),
        "core": np.searchsorted(cores, target).astype(np.int32),
        "key": (_travel(placement, source, target) << bits) + synapses * 2,
        "entries": entries,
        "pairs": pairs,
    }


def _alike(begin: IntArray, *columns: IntArray) -> tuple[IntArray, IntArray]:
    """Which lists of numbers are equal.

    Parameters
    ----------
    begin : int64 (lists + 1,)
        List i is ``begin[i]..begin[i + 1] - 1`` of
    *columns : int64
        None negative.

    Returns
    -------
    kinds : int32 (lists,)
        The same number for equal lists.
    first : int64 (kinds,)
        A list of each kind.
    """
    lengths = np.diff(begin)
    node = np.zeros(len(lengths), np.int64)
    # From the beginnings of lists to their ends, as in a trie: the node of a list is that of what goes before, and its next number.
    nodes, reaching = 1, np.argsort(-lengths, kind="stable")
    for place in range(int(lengths.max(initial=0))):
        reaching = reaching[: np.searchsorted(-lengths[reaching], -place)]
        for column in columns:
            number = column[begin[reaching] + place]
            _, following = np.unique(node[reaching] * (int(number.max()) + 1) + number, return_inverse=True)
            node[reaching] = nodes + following
            nodes += int(following.max()) + 1
    _, first, kinds = np.unique(node, return_index=True, return_inverse=True)
    return kinds.astype(np.int32), first


def _travel(placement: Placement, source: IntArray, target: IntArray) -> IntArray:
    """Picoseconds from core to core on free links."""
    chip, links = placement.architecture.chip, placement.architecture.links
    (row, column), (last_row, last_column) = (np.divmod(core // chip.cores_per_tile, chip.columns) for core in (source, target))
    across, down = np.abs(last_column - column), np.abs(last_row - row)
    time: IntArray = across * links.east_west.time + down * links.north_south.time
    return np.where(across + down == 0, links.within_tile.time, time)


def _nothing_reached() -> dict[str, IntArray]:
    nothing = np.zeros(0, np.int64)
    no_words = nothing.astype(np.uint64)
    return {"into": np.zeros(0, INTO), "site_begin": nothing, "word": nothing, "mask": no_words, "biased": no_words}


def _reached(placement: Placement, populations: IntArray, names: list[str]) -> dict[str, IntArray]:
    """What spikes reach of populations whose neurons are updated when they do. Sets the populations' units, and what reaches them."""
    single = placement.architecture.core.update_when == "potential"
    into: list[tuple[int, int, int, int]] = []
    begins, words = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
    masks, biases = ([np.zeros(0, np.uint64)] for _ in range(2))
    sites = reached = marks = 0
    for row, name in zip(populations, names, strict=True):
        row["into"] = row["end_into"] = len(into)
        if row["given"] or row["always"]:
            continue
        incoming = placement.incoming(name)
        size = placement.network.populations[name].size
        unit = int(np.gcd.reduce(np.concatenate([[size], *(np.concatenate([r.start, r.stop]) for _, r in incoming)])))
        with_bias = biased(placement, name)
        if single or with_bias.any():
            unit, period = 1, size
        else:
            period = unit * _period(size // unit, [_in_units(r, unit) for _, r in incoming])
        biases.append(packed(with_bias[: period // unit]))
        row["unit"], row["units"], row["period"], row["mark"] = unit, period // unit, period, marks
        row["factor"], row["shift"] = divider(unit)
        row["period_factor"], row["period_shift"] = divider(period)
        for projection, reach in incoming:
            into.append((names.index(projection.source), *divider(reach.divisor), sites))
            first = _in_units(reach.within(0, period), unit)
            site, word, mask = _in_words(first.site, first.start, first.stop)
            begins.append(reached + np.searchsorted(site, np.arange(reach.sites + 1)))
            words.append((marks + word).astype(np.int32))
            masks.append(mask)
            sites, reached = sites + reach.sites + 1, reached + len(site)
        row["end_into"] = len(into)
        marks += len(biases[-1])
    site_begin, word, mask, bias = (np.concatenate(parts) for parts in (begins, words, masks, biases))
    return {"into": np.array(into, INTO), "site_begin": site_begin, "word": word, "mask": mask, "biased": bias}


def _in_units(reach: Reach, unit: int) -> Reach:
    """The same by units of target neurons, of which it reaches all or none."""
    return reach._replace(start=reach.start // unit, stop=reach.stop // unit)


def _period(units: int, reaches: list[Reach]) -> int:
    """The least period: unit ``u`` of a target gets input from the sites from which ``u % period`` does."""
    # A number for each set of sites, a sum of random ones; it tells which periods to look at.
    change, generator = np.zeros(units + 1, np.uint64), np.random.default_rng(0)
    for reach in reaches:
        number = generator.integers(2**64, size=reach.sites, dtype=np.uint64)[reach.site]
        np.add.at(change, reach.start, number)
        np.subtract.at(change, reach.stop, number)
    sources = np.cumsum(change[:-1])
    for period in (p for p in range(1, units) if units % p == 0):
        if (sources.reshape(-1, period) == sources[:period]).all() and all(_repeats(reach, period, units // period) for reach in reaches):
            return period
    return units


def _repeats(reach: Reach, period: int, times: int) -> bool:
    """Whether every site reaches ``times`` times the same, ``period`` further each time."""
    # Runs, which lie by site and start, divided where a period ends.
    periods = (reach.stop - 1) // period - reach.start // period + 1
    run = np.repeat(np.arange(len(periods)), periods)
    number = np.arange(len(run)) - np.repeat(np.cumsum(periods) - periods, periods) + reach.start[run] // period
    start, stop = (np.clip(each[run] - number * period, 0, period) for each in (reach.start, reach.stop))
    begin = np.searchsorted(reach.site[run], np.arange(reach.sites + 1))
    each, rest = np.divmod(np.diff(begin), times)
    if rest.any():
        return False
    each, begin = each[reach.site[run]], begin[reach.site[run]]
    place = np.arange(len(run)) - begin
    same = begin + place % each
    return bool((number == place // each).all() and (start == start[same]).all() and (stop == stop[same]).all())


def packed(flags: IntArray) -> IntArray:
    """Flags as bits of words, the lowest first, with room for one more: bool (..., n) -> uint64 (..., n // 64 + 1)."""
    length = flags.shape[-1] // 64 + 1
    packed = np.zeros((*flags.shape[:-1], length * 8), np.uint8)
    bits = np.packbits(flags, axis=-1, bitorder="little")
    packed[..., : bits.shape[-1]] = bits
    return packed.view("<u8")


def _in_words(site: IntArray, first: IntArray, end: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Runs of units ``first..end-1`` of sites, ascending by both, as bits: site, number of a word, and mask, each word of a site once."""
    first_word, last_word = first >> 6, (end - 1) >> 6
    words = last_word - first_word + 1
    run = np.repeat(np.arange(len(site)), words)
    word = np.arange(len(run)) - np.repeat(np.cumsum(words) - words - first_word, words)
    low = np.where(word == first_word[run], first[run] & 63, 0).astype(np.uint64)
    high = np.where(word == last_word[run], (end[run] - 1) & 63, 63).astype(np.uint64)
    every = np.uint64(2**64 - 1)
    mask, site = (every << low) & (every >> (np.uint64(63) - high)), site[run]
    starts = np.flatnonzero((np.diff(site, prepend=-1) != 0) | (np.diff(word, prepend=-1) != 0))
    return site[starts], word[starts], np.bitwise_or.reduceat(mask, starts) if len(starts) else mask


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

"""Which neurons lie on which cores: automatic, population by population, within what a core has room for, or as the file says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from eventsim.errors import HardwareError
from eventsim.hardware.architecture import Architecture, CrossbarCore, EventCore
from eventsim.hardware.reach import Reach, reach_of
from eventsim.model.network import Network, Projection


class Needs(NamedTuple):
    """What neurons take of a core.

    Attributes
    ----------
    inputs : int
        Source neurons that reach them, a projection each: axons of an event core, rows of a crossbar.
    synapses : int
    """

    inputs: int
    synapses: int


@dataclass(frozen=True)
class Block:
    """Neighbouring neurons of a population that lie together.

    Attributes
    ----------
    population : str
    first, end : int
        Neurons ``first..end-1``.
    cores : tuple of int
        The core that they lie on; of crossbars that have not enough rows, also those with the further rows.
    needs : Needs
    """

    population: str
    first: int
    end: int
    cores: tuple[int, ...]
    needs: Needs


@dataclass
class Placement:
    """A network on a chip.

    Attributes
    ----------
    architecture : Architecture
    network : Network
    blocks : dict of str to list of Block
        By population, neurons ascending. Bias clocks are the target neurons' own, and have none.
    reach : dict of str to Reach
        By projection, those of bias clocks left out.
    """

    architecture: Architecture
    network: Network
    blocks: dict[str, list[Block]] = field(default_factory=dict)
    reach: dict[str, Reach] = field(default_factory=dict)

    @property
    def cores(self) -> list[int]:
        """Cores in use, ascending."""
        return sorted({core for blocks in self.blocks.values() for block in blocks for core in block.cores})

    @property
    def tiles(self) -> list[int]:
        """Tiles in use, ascending."""
        return sorted({core // self.architecture.chip.cores_per_tile for core in self.cores})

    def incoming(self, population: str) -> list[tuple[Projection, Reach]]:
        """The projections to a population that bring messages."""
        return [(p, self.reach[p.name]) for p in self.network.projections if p.target == population and p.name in self.reach]

    def utilisation(self) -> dict[str, Any]:
        """How full the cores in use are, population by population: JSON values."""
        core = self.architecture.core
        rows = []
        for name, blocks in self.blocks.items():
            used = sum(len(block.cores) for block in blocks)
            row: dict[str, Any] = {"population": name, "cores": used, "first_core": blocks[0].cores[0]}
            row["neurons"] = sum(block.end - block.first for block in blocks)
            row["neurons_share"] = row["neurons"] / (used * core.neurons)
            row["inputs"] = max(block.needs.inputs for block in blocks)
            row["synapses"] = sum(block.needs.synapses for block in blocks)
            room = _room(core)
            row["synapses_share"] = row["synapses"] / (used * room) if room else None
            rows.append(row)
        chip = self.architecture.chip
        return {"cores": len(self.cores), "of_cores": chip.cores, "tiles": len(self.tiles), "of_tiles": chip.tiles, "populations": rows}


def _room(core: Any) -> int:
    """Synapses that a core has room for, 0 for any number."""
    return core.rows * core.neurons if core.served_together else core.synapses


def place(network: Network, architecture: Architecture) -> Placement:
    """Put a network on a chip.

    Populations are placed in the network's order, each on cores of its own: as many neighbouring neurons on a core as it has room for.
    Those that the file places go to its cores, in its order, likewise; cores may be shared there.

    Raises
    ------
    HardwareError
        The network does not fit; the message says what it would need.
    """
    placement = Placement(architecture, network)
    mapped = [name for name, population in network.populations.items() if not population.is_clock]
    if not mapped:
        raise HardwareError("the network has bias clocks alone, and nothing that lies on a chip")
    for name in architecture.placed:
        if name not in mapped:
            raise HardwareError(f"{architecture.source}: [[placement]] of {name!r}: the network has no such population to place")
    for projection in network.projections:
        if projection.source in mapped:
            placement.reach[projection.name] = reach_of(network, projection)
    taken = {core for cores in architecture.placed.values() for core in cores}
    free = iter([core for core in range(architecture.chip.cores) if core not in taken])
    needed = {}
    for name in mapped:
        parts = list(_split(placement, name))
        needed[name] = sum(_arrays(architecture, needs) for _, _, needs in parts)
        given = architecture.placed.get(name)
        if given is not None and needed[name] > len(given):
            raise HardwareError(f"{architecture.source}: [[placement]] of {name!r}: needs {needed[name]} cores, has {len(given)}")
        if given is not None and name in architecture.shares and needed[name] != len(given):
            raise HardwareError(
                f"{architecture.source}: [[placement]] of {name!r}: its neurons take {needed[name]} cores, and it names {len(given)}"
            )
        cores = free if given is None else iter(given)
        blocks = []
        for first, end, needs in parts:
            own = tuple(core for _, core in zip(range(_arrays(architecture, needs)), cores, strict=False))
            if len(own) == _arrays(architecture, needs):
                blocks.append(Block(name, first, end, own, needs))
        placement.blocks[name] = blocks
    _check_room(architecture, needed, len(taken))
    _check_shared(placement)
    return placement


def _arrays(architecture: Architecture, needs: Needs) -> int:
    """Cores that a block takes: more than one if a crossbar has not enough rows."""
    core = architecture.core
    return max(1, -(-needs.inputs // core.rows)) if isinstance(core, CrossbarCore) else 1


def _needs(incoming: list[tuple[Projection, Reach]], first: int, end: int) -> Needs:
    """What neurons first..end-1 take."""
    parts = [reach.within(first, end) for _, reach in incoming]
    return Needs(sum(len(part.inputs()) * part.divisor for part in parts), sum(part.synapses() for part in parts))


def _split(placement: Placement, name: str) -> Iterator[tuple[int, int, Needs]]:
    """The neurons of a population in runs that fit a core each; where the file says how many, so many or an error."""
    core, incoming = placement.architecture.core, placement.incoming(name)
    size, first = placement.network.populations[name].size, 0

    def fits(needs: Needs) -> bool:
        if not isinstance(core, EventCore):
            return True
        return (not core.axons or needs.inputs <= core.axons) and (not core.synapses or needs.synapses <= core.synapses)

    shares = placement.architecture.shares.get(name)
    where = f"{placement.architecture.source}: [[placement]] of {name!r}"
    if shares is not None:
        if sum(shares) != size:
            raise HardwareError(f"{where}: has {size:,} neurons, and {sum(shares):,} are placed")
        for n in shares:
            needs = _needs(incoming, first, first + n)
            if n > core.neurons or not fits(needs):
                room = " and ".join([f"{core.neurons:,} neurons", *filter(None, [_words(core)])])
                raise HardwareError(
                    f"{where}: {n:,} neurons with {needs.inputs:,} inputs through {needs.synapses:,} synapses are to lie on a core, "
                    f"which has room for {room}"
                )
            yield first, first + n, needs
            first += n
    while first < size:
        end = min(first + core.neurons, size)
        needs = _needs(incoming, first, end)
        if not fits(needs):
            low, high = first, end  # a run to low fits, one to high does not
            while high - low > 1:
                middle = (low + high) // 2
                needs = _needs(incoming, first, middle)
                low, high = (middle, high) if fits(needs) else (low, middle)
            if low == first:
                needs = _needs(incoming, first, first + 1)
                raise HardwareError(
                    f"{name}: neuron {first} has {needs.inputs:,} inputs through {needs.synapses:,} synapses, and a core of "
                    f"{placement.architecture.name} has room for {_words(core)}; it needs a core with at least as many"
                )
            end = low
            needs = _needs(incoming, first, end)
        yield first, end, needs
        first = end


def _words(core: Any) -> str:
    if not isinstance(core, EventCore):
        return ""
    rooms = [f"{room:,} {what}" for room, what in ((core.axons, "axons"), (core.synapses, "synapses")) if room]
    return " and ".join(rooms)


def _check_room(architecture: Architecture, needed: dict[str, int], taken: int) -> None:
    chip = architecture.chip
    automatic = sum(n for name, n in needed.items() if name not in architecture.placed)
    if automatic + taken > chip.cores:
        largest = sorted(needed, key=lambda name: -needed[name])[:3]
        raise HardwareError(
            f"the network needs {automatic + taken:,} cores ({', '.join(f'{name} {needed[name]:,}' for name in largest)}"
            f"{', ...' if len(needed) > 3 else ''}), and {architecture.name} has {chip.cores:,} "
            f"({chip.columns} x {chip.rows} tiles of {chip.cores_per_tile}); give it more tiles, cores with more room, "
            "or let populations share cores ([[placement]])"
        )


def _check_shared(placement: Placement) -> None:
    """Populations that the file puts on one core must fit it together."""
    core, neurons, inputs, synapses = placement.architecture.core, {}, {}, {}  # type: ignore[var-annotated]
    for blocks in placement.blocks.values():
        for block in blocks:
            for part, each in enumerate(block.cores):
                neurons[each] = neurons.get(each, 0) + block.end - block.first
                # Every crossbar but the last of a block is full.
                rows = min(core.rows, block.needs.inputs - part * core.rows) if isinstance(core, CrossbarCore) else block.needs.inputs
                inputs[each] = inputs.get(each, 0) + rows
                synapses[each] = synapses.get(each, 0) + block.needs.synapses
    rooms = [(neurons, core.neurons, "neurons")]
    if isinstance(core, EventCore):
        rooms += [(inputs, core.axons, "axons"), (synapses, core.synapses, "synapses")]
    elif isinstance(core, CrossbarCore):
        rooms.append((inputs, core.rows, "rows"))
    for used, room, what in rooms:
        full = [each for each in sorted(used) if room and used[each] > room]
        if full:
            raise HardwareError(
                f"{placement.architecture.source}: [[placement]]: core {full[0]} would need {used[full[0]]:,} {what}, and has {room:,}"
            )


class Messages(NamedTuple):
    """Which cores a spike is sent to, for all projections that bring messages: int64 arrays.

    Attributes
    ----------
    projection : dict of str to int
        Number of each projection.
    divisor, offset : array (projections,)
        The messages of neuron ``n`` of the source are those of line ``offset + n // divisor``.
    begin : array (lines + 1,)
        A line's messages are ``begin[line]..begin[line + 1] - 1``, by core.
    core : array (messages,)
    synapses : array (messages,)
        Weights that the message adds there.
    first, end : array (messages,)
        Target neurons that it may add to; those of a block.
    """

    projection: dict[str, int]
    divisor: np.ndarray
    offset: np.ndarray
    begin: np.ndarray
    core: np.ndarray
    synapses: np.ndarray
    first: np.ndarray
    end: np.ndarray


def messages_of(placement: Placement) -> Messages:
    """The messages of every neuron's spike."""
    numbers = {name: i for i, name in enumerate(placement.reach)}
    divisor, offset = np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.int64)
    begins, parts, lines, total = [np.zeros(1, np.int64)], [], 0, 0
    by_row = {name: _row_offsets(placement, name) for name in placement.blocks}
    for projection in placement.network.projections:
        if projection.name not in numbers:
            continue
        reach, blocks = placement.reach[projection.name], placement.blocks[projection.target]
        spread = any(len(block.cores) > 1 for block in blocks)
        i = numbers[projection.name]
        divisor[i], offset[i] = 1 if spread else reach.divisor, lines
        size = reach.sites * (reach.divisor if spread else 1)
        line, block, synapses = _lines(reach, blocks, spread)
        core = np.array([b.cores[0] for b in blocks], np.int64)[block]
        if spread:
            core = _spread(placement, blocks, by_row[projection.target][projection.name], reach, line, block)
        parts.append((core, synapses, *(np.array([getattr(b, key) for b in blocks], np.int64)[block] for key in ("first", "end"))))
        counts = np.bincount(line, minlength=size)
        begins.append(total + np.cumsum(counts))
        lines, total = lines + size, total + len(line)
    columns = [np.concatenate([np.zeros(0, np.int64), *arrays]) for arrays in zip(*parts, strict=True)] if parts else [np.zeros(0, int)] * 4
    return Messages(numbers, divisor, offset, np.concatenate(begins), *columns)


def _lines(reach: Reach, blocks: list[Block], spread: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By line and block: (line, block, synapses), lines ascending."""
    ends = np.array([block.end for block in blocks])
    low, high = np.searchsorted(ends, reach.start, "right"), np.searchsorted(ends, reach.stop, "left")
    number = high - low + 1
    run = np.repeat(np.arange(len(number)), number)
    block = np.repeat(low, number) + np.arange(len(run)) - np.repeat(np.cumsum(number) - number, number)
    firsts = np.array([b.first for b in blocks])
    synapses = np.minimum(reach.stop[run], ends[block]) - np.maximum(reach.start[run], firsts[block])
    keys, place = np.unique(reach.site[run] * len(blocks) + block, return_inverse=True)
    sums = np.bincount(place, weights=synapses, minlength=len(keys)).astype(np.int64)
    site, block = keys // len(blocks), keys % len(blocks)
    if not spread:
        return site, block, sums
    # A line a neuron instead of one a site: neurons of a site one after the other, each with all of the site's blocks.
    channel = np.tile(np.arange(reach.divisor), len(site))
    order = np.lexsort((np.repeat(block, reach.divisor), np.repeat(site, reach.divisor) * reach.divisor + channel))
    line = (np.repeat(site, reach.divisor) * reach.divisor + channel)[order]
    return line, np.repeat(block, reach.divisor)[order], np.repeat(sums, reach.divisor)[order]


def _row_offsets(placement: Placement, population: str) -> dict[str, list[tuple[np.ndarray, int]]]:
    """By projection, of each block: the sites that have rows, and the first of these rows."""
    rows: dict[str, list[tuple[np.ndarray, int]]] = {}
    used = [0] * len(placement.blocks[population])
    for projection, reach in placement.incoming(population):
        rows[projection.name] = []
        for i, block in enumerate(placement.blocks[population]):
            sites = reach.within(block.first, block.end).inputs()
            rows[projection.name].append((sites, used[i]))
            used[i] += len(sites) * reach.divisor
    return rows


def _spread(
    placement: Placement, blocks: list[Block], rows: list[tuple[np.ndarray, int]], reach: Reach, line: np.ndarray, block: np.ndarray
) -> np.ndarray:
    """The core of each line's message to each block: that which has the row of the line's neuron."""
    per_core = placement.architecture.core.rows  # type: ignore[attr-defined]
    core = np.zeros(len(line), np.int64)
    for i, each in enumerate(blocks):
        these = np.flatnonzero(block == i)
        sites, first_row = rows[i]
        site, channel = np.divmod(line[these], reach.divisor)
        row = first_row + np.searchsorted(sites, site) * reach.divisor + channel
        core[these] = np.array(each.cores)[row // per_core]
    return core


def columns_of(placement: Placement) -> np.ndarray:
    """Columns in use of every crossbar: int64 (cores,); 0 of event cores."""
    core, columns = placement.architecture.core, np.zeros(placement.architecture.chip.cores, np.int64)
    if isinstance(core, CrossbarCore):
        for blocks in placement.blocks.values():
            for block in blocks:
                columns[list(block.cores)] += (block.end - block.first) * core.cells_per_weight
    return columns

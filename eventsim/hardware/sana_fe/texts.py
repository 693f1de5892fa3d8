"""The two files of SANA-FE as texts: its YAML, of which only lists, mappings, names and numbers are needed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eventsim.errors import HardwareError
from eventsim.hardware.architecture import Cost, EventCore
from eventsim.hardware.placement import Placement
from eventsim.hardware.sana_fe.neurons import GIVEN, INTEGRATE, INTEGRATE_FROM, Group
from eventsim.model.network import Projection

# SANA-FE reads synapses one by one, and takes some hundred bytes for each.
MAX_SYNAPSES = 2**24
# What its links have room for in its detailed schedule: more than any core sends in a step.
_ROOM = 2**20
_MODELS = {INTEGRATE: "truenorth", INTEGRATE_FROM: "leaky_integrate_fire", GIVEN: "input"}


def architecture_text(placement: Placement, groups: dict[str, Group]) -> str:
    """``architecture.yaml``: the chip, with the units that the groups need."""
    architecture = placement.architecture
    chip, links, core = architecture.chip, architecture.links, architecture.core
    assert isinstance(core, EventCore)
    table = ", ".join(f"{tiles}: {_seconds(time)}" for tiles, time in sorted(chip.barrier.items())) or f"1: {_seconds(0)}"
    hops = {"north": links.north_south, "south": links.north_south, "east": links.east_west, "west": links.east_west}
    somas = [_soma(unit, core.access, core.update, core.spike) for unit in (INTEGRATE, INTEGRATE_FROM)]
    given = _most_given(placement, groups)
    if given:
        somas.append(_soma(f"{GIVEN}[0..{given - 1}]", Cost(), Cost(), Cost()))
    units = {
        "axon_in": [_unit("axon_in", _costs(message_in=core.message_in))],
        "synapse": [_unit("synapse", {"model": "current_based"} | _costs(process_spike=core.synapse))],
        "dendrite": [_unit("dendrite", {"model": "accumulator"} | _costs(update=Cost()))],
        "soma": somas,
        "axon_out": [_unit("axon_out", _costs(message_out=core.message_out))],
    }
    lines = [
        "architecture:",
        f"  name: {_plain(architecture.name)}",
        f"  attributes: {{topology: mesh, width: {chip.columns}, height: {chip.rows}, link_buffer_size: {_ROOM}, "
        f"sync_model: table, latency_sync: {{{table}}}}}",
        "  tile:",
        f"    - name: tile[0..{chip.tiles - 1}]",
        f"      attributes: {_mapping(_costs(**{f'{way}_hop': cost for way, cost in hops.items()}))}",
        "      core:",
        f"        - name: core[0..{chip.cores_per_tile - 1}]",
        f"          attributes: {{buffer_position: soma, buffer_inside_unit: false, max_neurons_supported: {core.neurons}}}",
    ]
    for section, rows in units.items():
        lines += [f"          {section}:", *(f"            - {row}" for row in rows)]
    return "\n".join(lines) + "\n"


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name) or "_"


def _seconds(picoseconds: int) -> str:
    return f"{picoseconds}.0e-12"


def _costs(**costs: Cost) -> dict[str, str]:
    energies = {f"energy_{name}": f"{cost.energy}.0e-18" for name, cost in costs.items()}
    return energies | {f"latency_{name}": _seconds(cost.time) for name, cost in costs.items()}


def _mapping(attributes: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in attributes.items()) + "}"


def _unit(name: str, attributes: dict[str, str]) -> str:
    return f"{{name: {name}, attributes: {_mapping(attributes)}}}"


def _soma(name: str, access: Cost, update: Cost, spike: Cost) -> str:
    model = _MODELS[name.partition("[")[0]]
    return _unit(f'"{name}"', {"model": model} | _costs(access_neuron=access, update_neuron=update, spike_out=spike))


def _most_given(placement: Placement, groups: dict[str, Group]) -> int:
    """The most neurons with given spikes on one core: each needs a unit of its own."""
    used: dict[int, int] = {}
    for name, group in groups.items():
        for block in placement.blocks[name] if group.unit == GIVEN else ():
            used[block.cores[0]] = used.get(block.cores[0], 0) + block.end - block.first
    return max(used.values(), default=0)


def network_text(placement: Placement, groups: dict[str, Group], steps: int) -> Iterator[str]:
    """``network.yaml``, line by line: the network, its input for a run of so many steps of the chip, and where its neurons lie.

    Raises
    ------
    HardwareError
        More synapses than SANA-FE could be given.
    """
    network = placement.network
    joined = [p for p in network.projections if p.source in groups]
    shapes = {p.name: (network.populations[p.source].shape, network.populations[p.target].shape) for p in joined}
    synapses = sum(int(p.table.additions(*shapes[p.name]).sum()) for p in joined)
    if synapses > MAX_SYNAPSES:
        raise HardwareError(
            f"the network has {synapses:,} synapses; SANA-FE reads them one by one, and {MAX_SYNAPSES:,} are written at most"
        )
    yield f"# A run of {steps} steps.\nnetwork:\n  name: eventsim\n  groups:\n"
    for name, group in groups.items():
        late = f"  # begins in step {group.stage + 1}" if group.stage else ""
        logged = "log_potential: true" if network.populations[name].reads_out else "log_spikes: true"
        unit = "" if group.unit == GIVEN else f"soma_hw_name: {group.unit}, reset_mode: {group.reset}, "
        yield f"    - name: {group.name}{late}\n      attributes: {{{unit}{logged}}}\n      neurons:\n"
        yield from (f"        - {line}\n" for line in _neurons(group))
    yield "  edges:\n" if joined else "  edges: []\n"
    for p in joined:
        yield f"    - {groups[p.source].name} -> {groups[p.target].name}: "
        yield from _edges(p, groups[p.target].one, *shapes[p.name])
    yield "mappings:\n"
    yield from (f"  - {line}\n" for line in _mappings(placement, groups))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**31 else f"{value:.17e}" if abs(value) >= 1e16 else repr(float(value))


def _neurons(group: Group) -> Iterator[str]:
    """Neurons with their parameters, neighbours that are alike together."""
    if group.unit == GIVEN:
        for n, train in enumerate(group.spikes):
            yield f"{n}..{n}: {{spikes: [{', '.join(map(str, train)) or 0}]}}"
        return
    parameters = np.stack([group.threshold, group.bias, group.potential], 1)
    begins = np.flatnonzero(np.any(np.diff(parameters, axis=0, prepend=np.nan), axis=1))
    for first, end in zip(begins.tolist(), [*begins.tolist()[1:], len(parameters)], strict=True):
        threshold, bias, potential = map(_number, parameters[first].tolist())
        begun = f", potential: {potential}" if group.unit == INTEGRATE_FROM else ""
        forced = ", force_update: true" if group.forced else ""
        yield f"{first}..{end - 1}: {{threshold: {threshold}, bias: {bias}{begun}{forced}}}"


def _edges(projection: Projection, one: float, source: tuple[int, ...], target: tuple[int, ...]) -> Iterator[str]:
    """The synapses of a projection, those that share both ends summed."""
    sizes = int(np.prod(source)), int(np.prod(target))
    ends: list[str] = []
    weights: list[str] = []
    for neuron in range(sizes[0]):
        sums: dict[int, int] = {}
        for n, weight in projection.table.synapses_from(neuron, source, target):
            sums[n] = sums.get(n, 0) + weight
        ends += [f"[{neuron}, {n}]" for n in sorted(sums)]
        weights += [_number(sums[n] * one) for n in sorted(sums)]
    if len(weights) == sizes[0] * sizes[1]:
        yield "{type: dense, "
    else:
        yield f"{{type: sparse, source_target_pairs: [{', '.join(ends)}], "
    yield f"weight: [{', '.join(weights)}]}}\n"


def _mappings(placement: Placement, groups: dict[str, Group]) -> Iterator[str]:
    """Where neurons lie: by population, as cores go round them."""
    given: dict[int, int] = {}
    for name, group in groups.items():
        for block in placement.blocks[name]:
            core = block.cores[0]
            if group.unit != GIVEN:
                yield f"{group.name}.{block.first}..{block.end - 1}: {{core: {_address(placement, core)}}}"
                continue
            for neuron in range(block.first, block.end):
                unit = given.get(core, 0)
                given[core] = unit + 1
                yield f'{group.name}.{neuron}: {{core: {_address(placement, core)}, soma: "{GIVEN}[{unit}]"}}'


def _address(placement: Placement, core: int) -> str:
    """A core for SANA-FE, whose tiles are numbered column by column."""
    chip = placement.architecture.chip
    column, row = placement.architecture.place_of(core)
    return f"{column * chip.rows + row}.{core % chip.cores_per_tile}"

"""Converters of crossbars: which sums are converted together, of which range, and with which offsets (docs/hardware.md)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eventsim.engines.queue.tables import Tables
from eventsim.hardware.architecture import CrossbarCore
from eventsim.hardware.placement import Messages, Placement
from eventsim.hardware.records import PART
from eventsim.model.network import Network
from eventsim.model.tables import IntArray

# Sums of so many uniform numbers have a variance of one, and nearly a normal distribution.
_UNIFORM = 12


class Converters(NamedTuple):
    """What compiled code is told of them.

    Attributes
    ----------
    part : int64 array (messages,)
        The part of a crossbar in which the weights of each message lie.
    population : list of str
        Of each part, its population; ``parts`` counts neurons from its first one.
    parts : PART array
    offset : int64 array
        By part and neuron.
    """

    part: IntArray
    population: list[str]
    parts: IntArray
    offset: IntArray


def converters_of(placement: Placement, messages: Messages, tables: Tables) -> Converters:
    """The converters of a placed network; there are none on a chip that adds exactly.

    Parameters
    ----------
    placement : Placement
    messages : Messages
        Of it.
    tables : Tables
        Of the network.
    """
    core = placement.architecture.core
    if not isinstance(core, CrossbarCore) or not core.converts:
        return Converters(np.zeros(0, np.int64), [], np.zeros(0, PART), np.zeros(0, np.int64))
    largest = largest_weights(placement.network, tables)
    number: dict[tuple[str, int, int], int] = {}
    names: list[str] = []
    rows, offsets = [], [np.zeros(0, np.int64)]
    columns: dict[int, int] = {}
    total = 0
    for name, blocks in placement.blocks.items():
        full = (core.full_scale or core.rows) * max(1, largest.get(name, 0))
        for block in blocks:
            for each in block.cores:
                number[name, block.first, each] = len(names)
                names.append(name)
                rows.append((block.first, block.end, total, full))
                first = columns.get(each, 0)
                columns[each] = first + (block.end - block.first) * core.cells_per_weight
                column = first + np.arange(block.end - block.first) * core.cells_per_weight
                offsets.append(_offsets(core, each, largest.get(name, 0))[column // core.columns_per_converter])
                total += block.end - block.first
    part = np.zeros(len(messages.core), np.int64)
    for projection in placement.network.projections:
        i = messages.projection.get(projection.name)
        if i is None:
            continue
        end = messages.offset[i + 1] if i + 1 < len(messages.offset) else len(messages.begin) - 1
        for m in range(messages.begin[messages.offset[i]], messages.begin[end]):
            part[m] = number[projection.target, int(messages.first[m]), int(messages.core[m])]
    return Converters(part, names, np.array(rows, PART), np.concatenate(offsets))


def largest_weights(network: Network, tables: Tables) -> dict[str, int]:
    """By population, the largest magnitude of a weight between two neurons, weights of pooling fused; those of biases lie elsewhere."""
    largest: dict[str, int] = {}
    for of, projection in zip(tables.projections, network.projections, strict=True):
        if not projection.table.weighted or network.populations[projection.source].is_clock:
            continue
        source, target = (network.populations[name] for name in (projection.source, projection.target))
        weights = tables.weights32 if of["wide"] else tables.weights8
        if of["sparse"]:
            begin = tables.row_start[of["row"] : of["row"] + source.size + 1]
            pairs = np.repeat(np.arange(source.size), np.diff(begin)) * target.size + tables.targets[begin[0] : begin[-1]]
            # Synapses that share both ends are one.
            _, place = np.unique(pairs, return_inverse=True)
            found = np.bincount(place, weights[begin[0] + of["shift"] : begin[-1] + of["shift"]])
        else:
            found = _stencil(of, weights, tables, source.size)
        largest[projection.target] = max(largest.get(projection.target, 0), int(np.abs(found).max(initial=0)))
    return largest


def _stencil(of: Any, weights: Any, tables: Tables, source: int) -> Any:
    """The weights of a stencil of so many source neurons that lie between two neurons: at borders there may be no neuron."""
    y = tables.reach[of["y"] : of["y"] + source // (of["width"] * of["channels"])]
    x = tables.reach[of["x"] : of["x"] + of["width"]]
    down = of["tap_step"] // of["row_weights"]
    rows = {tap - i * down for tap, count in zip(y["tap"], y["count"], strict=True) for i in range(count)}
    within = {tap + i for tap, number in set(zip(x["tap"], x["count"] * x["length"], strict=True)) for i in range(number)}
    size = of["channels"] * of["kernel_rows"] * of["row_weights"]
    shape = (of["channels"], of["kernel_rows"], of["row_weights"])
    kernel = weights[of["weights"] : of["weights"] + size].reshape(shape).astype(np.int64)
    return kernel[:, sorted(rows)][:, :, sorted(within)]


def _offsets(core: CrossbarCore, number: int, unit: int) -> Any:
    """Offsets of the converters of a crossbar: int64, of sums of weights of which the largest is ``unit``."""
    converters = -(-core.columns // core.columns_per_converter)
    drawn = np.random.default_rng([core.offset_seed, number]).integers(0, 2**32, (converters, _UNIFORM), np.uint32)
    around_zero = drawn.astype(np.int64).sum(1) - _UNIFORM // 2 * 2**32
    # Whole numbers throughout: the same on every machine.
    return np.array([(int(x) * core.offset * unit + 500 * 2**32) // (1000 * 2**32) for x in around_zero], np.int64)

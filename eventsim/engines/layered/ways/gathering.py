"""Tables for ticks with many spikes: the weights of a projection as bits, to be summed at each target location (gathered)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventsim.engines.layered.tables import Layout, joined
from eventsim.engines.layered.ways import records as k
from eventsim.engines.layered.ways.tick_kernels.gather import ZEROS
from eventsim.kernels.simd import LANES
from eventsim.kernels.stencils import lanes_of
from eventsim.model.tables import Conv2d, IntArray, Shape, spatial


class Gathered(NamedTuple):
    """A population with the tables that gathering takes, and the room that it needs."""

    layer: k.Layer
    locations: int  # of a source, at most
    source: int  # spikes of a source in a tick, at most


def gathered(layout: Layout) -> Gathered:
    """Add the tables for ticks with many spikes: see :func:`eventsim.engines.layered.ways.tick_kernels.gather.gather`."""
    shape = layout.shape
    columns, gathers = layout.layer.projections.copy(), np.zeros(len(layout.incoming), k.GATHER)
    bits: list[IntArray] = []
    locations = source_size = 1
    for i, (row, projection) in enumerate(zip(columns, layout.incoming, strict=True)):
        source, table = layout.network.populations[projection.source].shape, projection.table
        conv = table.as_conv(source)
        made = None if conv is None else _gather(conv, table.all_to_all, source, shape, layout.layer.constants.padded)
        if made is None:
            continue  # their spikes go to their targets one by one
        g, values = made
        g["weights"] = sum(before.size for before in bits)
        gathers[i] = g
        bits.append(values)
        row["gather_from"] = worth_gathering(layout.layer, row, g)
        locations, source_size = max(locations, int(g["height"] * g["width"])), max(source_size, int(np.prod(source)))
    bits.append(np.zeros(ZEROS, np.uint64))
    layer = layout.layer._replace(projections=columns, gathers=gathers, bits=joined(bits, np.uint64))
    return Gathered(layer, locations, source_size)


def _gather(conv: Conv2d, all_to_all: bool, source: Shape, target: Shape, padded: int) -> tuple[IntArray, IntArray] | None:
    """Constants and packed weights of a table, if it has weights of one magnitude and whole words of channels."""
    out_height, out_width, outputs = spatial(target)
    # A lane that stands for no neuron must not move.
    lanes = conv.weights.shape[3]
    if conv.magnitude is None or padded != outputs or lanes % 64 or conv.pool_before != (1, 1):
        return None
    g = np.zeros((), k.GATHER)
    block = next(b for b in (512, 256, 128, 64) if lanes % b == 0)
    g["unit"], g["lanes"], g["block"] = conv.magnitude, lanes, block
    signs = conv.weights > 0
    if all_to_all:
        # All that a target location sees is one run of channels.
        signs = signs.reshape(1, 1, -1, lanes)
        g["height"], g["width"], g["channels"], g["out_height"], g["out_width"] = 1, 1, signs.shape[2], 1, 1
        g["stride_y"] = g["stride_x"] = g["pool_y"] = g["pool_x"] = 1
    else:
        g["height"], g["width"], g["channels"] = spatial(source)
        g["out_height"], g["out_width"] = out_height, out_width
        (g["stride_y"], g["stride_x"]), (g["top"], g["left"]) = conv.stride, conv.padding[:2]
        g["pool_y"], g["pool_x"] = conv.pool_after
    g["rows"], g["columns"] = signs.shape[:2]
    signs = signs.reshape(*signs.shape[:3], lanes // block, block).transpose(3, 0, 1, 2, 4).ravel()
    return g, np.packbits(signs, bitorder="little").view("<u8").astype(np.uint64)


def worth_gathering(layer: k.Layer, row: IntArray, g: IntArray) -> int:
    """From how many spikes in a tick on it is faster to gather than to scatter them; results do not depend on it.

    The constants are rough measurements, in nanoseconds.
    """
    blocks, words = int(g["lanes"] // g["block"]), int(g["block"]) // 64
    visits = int(g["out_height"] * g["out_width"]) * blocks
    segments = int(g["rows"] * g["pool_y"] * g["pool_x"])
    reached = float(g["rows"] * g["columns"] / (g["stride_y"] * g["stride_x"]))
    locations = int(g["height"] * g["width"]) if row["row_step"] else 1
    records = layer.records[row["records"] :][:locations]
    scattered = 7 + 0.52 * float(lanes_of(records).mean()) / LANES
    saved = scattered - (1.0 if words > 4 else 0.65) * reached * blocks
    return max(4, int(visits * (10 + 10 * segments + 9 * words) / saved)) if saved > 0 else int(k.FOREVER)

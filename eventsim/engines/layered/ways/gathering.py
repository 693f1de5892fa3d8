"""Tables for ticks with many spikes: the weights of a projection as bits, to be summed at each target location (gathered)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventsim.engines.layered.tables import Layout, joined
from eventsim.engines.layered.ways import tick_kernels as k
from eventsim.kernels.simd import LANES
from eventsim.kernels.stencils import ROWS, RUN
from eventsim.model.tables import Conv2d, Dense, IntArray, Shape, spatial


class Gathered(NamedTuple):
    """A population with the tables that gathering takes, and the room that it needs."""

    layer: k.Layer
    locations: int  # of a source, at most
    source: int  # spikes of a source in a tick, at most


def gathered(layout: Layout) -> Gathered:
    """Add the tables for ticks with many spikes: see :func:`eventsim.engines.layered.ways.tick_kernels.gather`."""
    shape = layout.shape
    columns, gathers = layout.layer.projections.copy(), layout.layer.gathers.copy()
    bits: list[IntArray] = []
    locations = source_size = 1
    for row, g, projection in zip(columns, gathers, layout.incoming, strict=True):
        source, table = layout.network.populations[projection.source].shape, projection.table
        made = None if not isinstance(table, (Conv2d, Dense)) else _gather(table, source, shape, int(layout.layer.scalars[k.PADDED]))
        if made is None:
            continue  # their spikes go to their targets one by one
        g[:], values = made
        g[k.G_WEIGHTS] = sum(before.size for before in bits)
        bits.append(values)
        row[k.GATHER_FROM] = worth_gathering(layout.layer, row, g)
        locations, source_size = max(locations, int(g[k.G_HEIGHT] * g[k.G_WIDTH])), max(source_size, int(np.prod(source)))
    bits.append(np.zeros(k.ZEROS, np.uint64))
    layer = layout.layer._replace(projections=columns, gathers=gathers, bits=joined(bits, np.uint64))
    return Gathered(layer, locations, source_size)


def _gather(table: Conv2d | Dense, source: Shape, target: Shape, padded: int) -> tuple[IntArray, IntArray] | None:
    """Constants and packed weights of a table, if it has weights of one magnitude and whole words of channels."""
    out_height, out_width, outputs = spatial(target)
    lanes = padded if isinstance(table, Conv2d) else out_height * out_width * padded
    # A lane that stands for no neuron must not move.
    if table.magnitude is None or padded != outputs or lanes % 64 or table.pool_before != (1, 1):
        return None
    g = np.zeros(k.GATHER, np.int64)
    block = next(b for b in (512, 256, 128, 64) if lanes % b == 0)
    g[[k.G_UNIT, k.G_LANES, k.G_BLOCK]] = table.magnitude, lanes, block
    if isinstance(table, Dense):
        signs = table.weights.reshape(1, 1, -1, lanes) > 0
        g[[k.G_HEIGHT, k.G_WIDTH, k.G_CHANNELS, k.G_OUT_HEIGHT, k.G_OUT_WIDTH]] = 1, 1, len(table.weights), 1, 1
        g[[k.G_STRIDE_Y, k.G_STRIDE_X, k.G_POOL_Y, k.G_POOL_X]] = 1
    else:
        signs = table.weights > 0
        g[[k.G_HEIGHT, k.G_WIDTH, k.G_CHANNELS]] = spatial(source)
        g[[k.G_OUT_HEIGHT, k.G_OUT_WIDTH]] = out_height, out_width
        g[[k.G_STRIDE_Y, k.G_STRIDE_X, k.G_TOP, k.G_LEFT]] = *table.stride, table.padding[0], table.padding[1]
        g[[k.G_POOL_Y, k.G_POOL_X]] = table.pool_after
    g[[k.G_ROWS, k.G_COLUMNS]] = signs.shape[:2]
    signs = signs.reshape(*signs.shape[:3], lanes // block, block).transpose(3, 0, 1, 2, 4).ravel()
    return g, np.packbits(signs, bitorder="little").view("<u8").astype(np.uint64)


def worth_gathering(layer: k.Layer, row: IntArray, g: IntArray) -> int:
    """From how many spikes in a tick on it is faster to gather than to scatter them; results do not depend on it.

    The constants are rough measurements, in nanoseconds.
    """
    blocks, words = int(g[k.G_LANES] // g[k.G_BLOCK]), int(g[k.G_BLOCK]) // 64
    visits = int(g[k.G_OUT_HEIGHT] * g[k.G_OUT_WIDTH]) * blocks
    segments = int(g[k.G_ROWS] * g[k.G_POOL_Y] * g[k.G_POOL_X])
    reached = float(g[k.G_ROWS] * g[k.G_COLUMNS] / (g[k.G_STRIDE_Y] * g[k.G_STRIDE_X]))
    locations = int(g[k.G_HEIGHT] * g[k.G_WIDTH]) if row[k.ROW_STEP] else 1
    records = layer.records[row[k.RECORDS] :][:locations]
    scattered = 7 + 0.52 * float((records[:, ROWS] * records[:, RUN]).mean()) / LANES
    saved = scattered - (1.0 if words > 4 else 0.65) * reached * blocks
    return max(4, int(visits * (10 + 10 * segments + 9 * words) / saved)) if saved > 0 else int(k.FOREVER)

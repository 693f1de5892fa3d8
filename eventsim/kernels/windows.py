"""Windows of maximum populations, for compiled code: what a spike may change, and what a window then emits.

Counts are kept *times the sense* of their channel, 1 where the maximum is taken and -1 where the minimum is: of both it is the
maximum then. ``counts`` are the net counts of the source's neurons, as far as their spikes have arrived, ``net`` those of the windows' own
spikes, both times the sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from eventsim.kernels.compiled import part
from eventsim.kernels.records import record
from eventsim.kernels.simd import LANES
from eventsim.model.network import Network, Projection
from eventsim.model.populations import Maximum
from eventsim.model.tables import IntArray, Shape, Windows, spatial

# The windows of one maximum population.
#
# height, width, channels: of the source      out_width: windows along a row        size: windows, all channels
# counts: place of the source's first neuron in counts        sense: of its first channel in senses
# rows, columns: places of the first source row and column in spans: which windows they lie in
# window_rows, window_columns: places of the first row and column of windows in spans: which cells they have
WINDOWS = record("height width channels out_width size counts sense rows columns window_rows window_columns")
# Windows or cells first..end-1 along an axis; none if end is not above first.
SPAN = record("first end")


class Maxima(NamedTuple):
    """The windows of some maximum populations."""

    windows: Any  # WINDOWS (populations,)
    spans: Any  # SPAN
    senses: Any  # int32, per channel; LANES more


def windows_of(projection: Projection, network: Network) -> tuple[Windows, Shape, IntArray]:
    """What :func:`maxima_of` takes of a projection that leads to a maximum population."""
    # Networks are checked: windows lead to such populations alone, and nothing else does.
    table, target = cast(Windows, projection.table), cast(Maximum, network.populations[projection.target])
    return table, network.populations[projection.source].shape, target.senses


def maxima_of(parts: Sequence[tuple[Windows, Shape, IntArray]]) -> Maxima:
    """The windows of maximum populations: of each its table, the shape of its source, and its senses (int64 (channels,))."""
    windows = np.zeros(len(parts), WINDOWS)
    spans: list[IntArray] = []
    senses: list[IntArray] = [np.zeros(0, np.int32)]
    counts = 0
    for row, (table, shape, sense) in zip(windows, parts, strict=True):
        row["height"], row["width"], row["channels"] = height, width, channels = spatial(shape)
        row["counts"], row["sense"] = counts, sum(map(len, senses))
        counts += height * width * channels
        senses.append(sense.astype(np.int32))
        along = table.spans(shape)
        row["out_width"], row["size"] = len(along[1].first_cell), len(along[0].first_cell) * len(along[1].first_cell) * channels
        for span, of_cells, of_windows in zip(along, ("rows", "columns"), ("window_rows", "window_columns"), strict=True):
            for name, first, end in (
                (of_cells, span.first_window, span.end_window),
                (of_windows, span.first_cell, span.end_cell),
            ):
                row[name] = sum(map(len, spans))
                both = np.empty(len(first), SPAN)
                both["first"], both["end"] = first, end
                spans.append(both)
    return Maxima(windows, np.concatenate([np.zeros(0, SPAN), *spans]), np.concatenate([*senses, np.ones(LANES, np.int32)]))


@part
def count_spike(maxima, i, counts, neuron, sign):
    """Count a spike of a source neuron of population i; returns how many windows the neuron lies in."""
    of = maxima.windows[i]
    location = neuron // of["channels"]
    row = location // of["width"]
    counts[of["counts"] + neuron] += sign * maxima.senses[of["sense"] + neuron - location * of["channels"]]
    rows, columns = maxima.spans[of["rows"] + row], maxima.spans[of["columns"] + location - row * of["width"]]
    return max(0, rows["end"] - rows["first"]) * max(0, columns["end"] - columns["first"])


@part
def changed_by(maxima, i, counts, net, neuron, sign, first, candidates, n):
    """Append the windows of population i that a spike may have changed, once all spikes of its tick are counted.

    A rise changes nothing unless it goes above the window's maximum, a fall nothing unless it began there.

    Parameters
    ----------
    maxima : Maxima
    i : int64
    counts : int32 array
    net : int32 array
        Of the windows, from place ``first`` on.
    neuron, sign : int64
        The spike's.
    first : int64
        Also what candidates are numbered from.
    candidates : int32 array
    n : int64
        Candidates so far.

    Returns
    -------
    int64
        Candidates now; those of one spike ascend.
    """
    of = maxima.windows[i]
    location = neuron // of["channels"]
    row, channel = location // of["width"], neuron - location * of["channels"]
    rows, columns = maxima.spans[of["rows"] + row], maxima.spans[of["columns"] + location - row * of["width"]]
    count, rises = counts[of["counts"] + neuron], sign * maxima.senses[of["sense"] + channel] > 0
    for y in range(rows["first"], rows["end"]):
        window = first + (y * of["out_width"] + columns["first"]) * of["channels"] + channel
        for _ in range(columns["first"], columns["end"]):
            if (rises and count > net[window]) or (not rises and count == net[window] - 1):
                candidates[n] = window
                n += 1
            window += of["channels"]
    return n


@part
def step_of(maxima, i, counts, window, own):
    """The maximum of a window of population i less its own net count: -1, 0 or 1 (int64), times the sense; ``window`` counts from 0."""
    of = maxima.windows[i]
    location = window // of["channels"]
    row, channel = location // of["out_width"], window - location * of["channels"]
    rows = maxima.spans[of["window_rows"] + row]
    columns = maxima.spans[of["window_columns"] + location - row * of["out_width"]]
    held = False
    for y in range(rows["first"], rows["end"]):
        at = of["counts"] + (y * of["width"] + columns["first"]) * of["channels"] + channel
        for _ in range(columns["first"], columns["end"]):
            if counts[at] > own:
                return np.int64(1)
            held |= counts[at] == own
            at += of["channels"]
    return np.int64(0) if held else np.int64(-1)


@part
def sense_of(maxima, i, window):
    """The sense of a window of population i."""
    of = maxima.windows[i]
    return np.int64(maxima.senses[of["sense"] + window % of["channels"]])

"""Static figures of what runs take on a chip. Needs Matplotlib (``eventsim[plot]``).

Every function returns a :class:`matplotlib.figure.Figure`; ``figure.savefig("x.svg")`` or ``"x.png"`` keeps it.
"""

from __future__ import annotations

import numpy as np

from eventsim.errors import RunError
from eventsim.hardware.report import Report

try:
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
except ImportError:
    raise RunError("figures need Matplotlib; install eventsim[plot]") from None

# Of the widest link, in points.
_WIDEST = 6.0


def mesh(report: Report) -> Figure:
    """The mesh as a heat map: how busy each tile's cores are, and the links between tiles, wider where more messages go (both ways).

    A tile is as busy as its busiest core: the share of the run in which it served. Tiles that are not in use are left white.
    """
    chip = report.architecture.chip
    tiles = np.full(chip.tiles, np.nan)
    share = report.busy[:, 0] / max(report.duration, 1)
    for core, busy in zip(report.cores, share.tolist(), strict=True):
        tile = core // chip.cores_per_tile
        tiles[tile] = np.fmax(tiles[tile], busy)
    width = 8.0
    figure = Figure(figsize=(width, width * (chip.rows + 1) / (chip.columns + 2)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(tiles.reshape(chip.rows, chip.columns), cmap="viridis", vmin=0)
    figure.colorbar(image, ax=axes, label="busiest core, share of the run", shrink=0.8)
    lines, messages = [], []
    for tile, (east, west, south, north) in enumerate(report.links.tolist()):
        row, column = divmod(tile, chip.columns)
        ways = ((east, 1, 0), (west, -1, 0), (south, 0, 1), (north, 0, -1))
        for n, across, down in ways:
            if n:
                lines.append([(column, row), (column + across, row + down)])
                messages.append(n)
    if messages:
        widths = _WIDEST * np.array(messages) / max(messages)
        axes.add_collection(LineCollection(lines, linewidths=widths, colors="#D55E00", alpha=0.6))
    axes.set_xlabel("tile, west to east")
    axes.set_ylabel("tile, north to south")
    axes.set_title(
        f"{report.architecture.name}: {report.counts['message']:,} messages in {report.duration / 1e6:,.4g} us".replace("$", r"\$")
    )
    return figure


def timeline(report: Report) -> Figure:
    """How long each step took; of a chip without barriers all take the same."""
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.stairs(report.steps / 1e6, np.arange(len(report.steps) + 1), fill=True, color="#0072B2")
    axes.set_xlabel("step of the chip")
    axes.set_ylabel("duration (us)")
    axes.set_ylim(bottom=0)
    return figure

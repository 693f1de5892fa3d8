"""Where spikes lead, in runs of neighbouring target neurons: what placement counts with, and what messages follow from.

Neurons of a source that reach the same neurons are a *site*: all channels of a location for a convolution, else a neuron by itself (of a
convolution in groups, too). What
a spike adds with weights of pooling fused is one synapse of hardware, whether its weight is zero or not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eventsim.model.network import Network, Projection
from eventsim.model.tables import IntArray, Shape, Stencil, spatial


class Reach(NamedTuple):
    """The synapses of a projection: int64 arrays, a run of target neurons each, by site and then by neuron.

    Attributes
    ----------
    divisor : int
        Neurons of a site: neuron ``n`` of the source is of site ``n // divisor``.
    sites : int
    site, start, stop : int64 array (runs,)
        Each neuron of the site reaches neurons ``start..stop-1`` of the target.
    """

    divisor: int
    sites: int
    site: IntArray
    start: IntArray
    stop: IntArray

    def within(self, first: int, end: int) -> Reach:
        """Of the target neurons ``first..end-1`` only."""
        start, stop = np.maximum(self.start, first), np.minimum(self.stop, end)
        kept = stop > start
        return self._replace(site=self.site[kept], start=start[kept], stop=stop[kept])

    def inputs(self) -> IntArray:
        """Sites that reach anything, ascending."""
        # They lie by site.
        return self.site[np.flatnonzero(np.diff(self.site, prepend=-1))]

    def synapses(self) -> int:
        """Pairs of a source and a target neuron."""
        return int((self.stop - self.start).sum()) * self.divisor


def reach_of(network: Network, projection: Projection) -> Reach:
    """The synapses of a projection."""
    source, target = (network.populations[name].shape for name in (projection.source, projection.target))
    rows = projection.table.to_rows(source, target)
    if rows is not None:
        site = np.repeat(np.arange(len(rows.indptr) - 1), np.diff(rows.indptr))
        # Synapses that share both ends are one.
        return _from_pairs(np.unique(np.stack([site, rows.targets.astype(np.int64)], 1), axis=0), len(rows.indptr) - 1)
    stencil = projection.table.to_stencil(source, target)
    if stencil is None:
        size = network.populations[projection.source].size
        found = {(n, m) for n in range(size) for m, _ in projection.table.synapses_from(n, source, target)}
        return _from_pairs(np.array(sorted(found), np.int64).reshape(-1, 2), size)
    return _from_stencil(stencil, source)


def _from_stencil(stencil: Stencil, source: Shape) -> Reach:
    """Of a stencil, neighbouring target columns as one run."""
    (height, width, channels), rows, columns, outputs = spatial(source), stencil.rows, stencil.columns, stencil.weights.shape[3]
    _, out_width, out = stencil.target
    # One site a location, or, of channels that reach different ones, one a channel.
    begins = np.zeros(1, np.int64) if stencil.begins is None else stencil.begins
    divisor = channels // len(begins)
    together = columns.step == 1 and outputs == out
    location, begin = np.divmod(np.arange(height * width * len(begins)), len(begins))
    y, x = np.divmod(location, width)
    runs = columns.count[x].astype(np.int64) * (begins[begin] >= 0)
    across = np.minimum(runs, 1) if together else runs
    lines = rows.count[y] * across
    site = np.repeat(np.arange(len(location)), lines)
    row, column = np.divmod(np.arange(len(site)) - np.repeat(np.cumsum(lines) - lines, lines), np.maximum(1, across[site]))
    y, x, begin = y[site], x[site], begin[site]
    start = (rows.first[y] + row * rows.step) * out_width + columns.first[x] + column * columns.step
    start = start * out + begins[begin]
    return Reach(divisor, len(location), site, start, start + (runs[site] * out if together else outputs))


def _from_pairs(pairs: IntArray, size: int) -> Reach:
    """Of a source of so many neurons: (source neuron, target neuron), ascending."""
    return Reach(1, size, pairs[:, 0].copy(), pairs[:, 1].copy(), pairs[:, 1] + 1)

"""What a spike reaches, straight from the tables."""

from __future__ import annotations

from typing import NamedTuple

from eventsim.model.network import Network, Projection


class Reach(NamedTuple):
    """What a spike of one neuron reaches through a projection.

    Attributes
    ----------
    synapses : list of (int, int)
        Target neuron and weight.
    targets : set of int
    operations : tuple of int
        What its delivery counts as, in the order of :data:`eventsim.job.job.OPERATIONS`.
    """

    synapses: list[tuple[int, int]]
    targets: set[int]
    operations: tuple[int, ...]


class Synapses:
    """The synapses of a network; those of a neuron are looked up when it first spikes."""

    def __init__(self, network: Network):
        self._shape = {name: p.shape for name, p in network.populations.items()}
        self._projections = {p.name: p for p in network.projections}
        self._toolbox = {p.name: p.table.toolbox_fan_out(self._shape[p.source], self._shape[p.target]) for p in network.projections}
        self._known: dict[tuple[str, int], Reach] = {}
        self.outgoing: dict[str, list[Projection]] = {name: [] for name in network.populations}
        for projection in network.projections:
            self.outgoing[projection.source].append(projection)

    def reach(self, projection: str, neuron: int) -> Reach:
        """What a spike of a neuron of the projection's source reaches."""
        if (projection, neuron) not in self._known:
            p = self._projections[projection]
            synapses = list(p.table.synapses_from(neuron, self._shape[p.source], self._shape[p.target]))
            targets = {target for target, _ in synapses}
            effective = sum(weight != 0 for _, weight in synapses)
            # Pooling fused, synapses that share both ends are one addition. Without weights, nothing is added.
            added = (len(targets), effective) if p.table.weighted else (0, 0)
            operations = 1, len(synapses), added[0], int(self._toolbox[projection][neuron]), added[1]
            self._known[projection, neuron] = Reach(synapses, targets, operations)
        return self._known[projection, neuron]

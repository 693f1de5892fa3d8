"""Orders in which populations can be visited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from eventsim.errors import NetworkError
from eventsim.model.network import Network, Projection
from eventsim.model.periods import ticks


def zero_delay_order(network: Network, resolution: int) -> list[str]:
    """Populations in topological order of the projections whose delay is zero ticks at this resolution.

    Raises
    ------
    NetworkError
        The zero-delay projections have a cycle.
    """
    try:
        return _topological(network, [p for p in network.projections if ticks(p.delay, resolution) == 0])
    except CycleError as error:
        raise NetworkError(
            f"projections without delay form a cycle: {' -> '.join(error.args[1])}; "
            f"give one of them a delay of at least {0.500005 / resolution:.6g} steps (half a tick at resolution {resolution})"
        ) from None


def feed_forward_order(network: Network) -> list[str] | None:
    """Populations in topological order of all projections, None if they have a cycle."""
    try:
        return _topological(network, network.projections)
    except CycleError:
        return None


def leading_to(network: Network, name: str) -> Network:
    """The part of a network that decides what a population does: the population and all that projections, one after the other, lead to it
    from. In a run of it alone they spike as in one of the whole."""
    needed, asked = {name}, [name]
    while asked:
        target = asked.pop()
        before = {p.source for p in network.projections if p.target == target} - needed
        needed |= before
        asked += before
    return replace(
        network,
        populations={key: population for key, population in network.populations.items() if key in needed},
        projections=[p for p in network.projections if p.target in needed],
        output=None,
        labels=[],
    )


def _topological(network: Network, projections: Iterable[Projection]) -> list[str]:
    sorter = TopologicalSorter({name: [] for name in network.populations})
    for projection in projections:
        sorter.add(projection.target, projection.source)
    return list(sorter.static_order())

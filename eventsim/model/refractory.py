"""Refractory periods of a network's neurons: how fast a wrong spike is taken back in an asynchronous run."""

from __future__ import annotations

from dataclasses import replace

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_PERIOD
from eventsim.model.network import Network
from eventsim.model.periods import checked_period


def with_refractory(network: Network, refractory: float) -> Network:
    """The network with this refractory period in all neurons that spikes reach; driven neurons keep theirs.

    Clocked, periods from half a step to below one and a half are one tick: nothing changes between them. Asynchronous, a signed neuron that
    may fire more than once a step takes back sooner what it fired before its inputs had settled, which deep networks gain from; with none
    at all it answers every passing surplus with a spike and its opposite. (Driven neurons get a constant current: they have nothing to take
    back, and their period bounds their rate.)

    Parameters
    ----------
    network : Network
    refractory : float
        In steps.

    Raises
    ------
    NetworkError
        The period is no number of steps; or neurons spike once, whose period is longer than any run.
    """
    checked_period(refractory, "refractory", "the period")
    populations = {name: p.with_refractory(refractory) if p.takes_spikes else p for name, p in network.populations.items()}
    for name, population in network.populations.items():
        if population.refractory == MAX_PERIOD:
            raise NetworkError(f"{name}: neurons that spike once (one spike for each threshold) cannot have another refractory period")
    return replace(network, populations=populations)

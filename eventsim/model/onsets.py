"""Onsets that rise from layer to layer, so that a layer does not answer before those ahead of it have seen something."""

from __future__ import annotations

from dataclasses import replace

from eventsim.errors import NetworkError
from eventsim.model.network import Network
from eventsim.model.order import feed_forward_order
from eventsim.model.periods import checked_period


def with_onsets(network: Network, interval: float) -> Network:
    """The network with an onset of ``n * interval`` steps for the spiking neurons of layer n (leaky ones have none).

    Of an asynchronous network, a layer that fires on the first spikes that it gets fires on what most of them did not have a part in yet,
    and has to take it back. One that waits has seen more.

    Parameters
    ----------
    network : Network
        Without cycles. Driven neurons are layer 0; those that spikes reach are one layer above the highest that project to them.
    interval : float
        In steps.

    Raises
    ------
    NetworkError
        The network has a cycle; the interval is no number of steps, or the last layers' onsets are none.
    """
    checked_period(interval, "onset", "the interval")
    order = feed_forward_order(network)
    if order is None:
        raise NetworkError("onsets by layer need a network without cycles")
    layer = dict.fromkeys(order, 0)
    populations = dict(network.populations)
    for name in order:
        population = populations[name]
        layer[name] = max((layer[p.source] for p in network.projections if p.target == name), default=0)
        if population.fires and population.takes_spikes:
            layer[name] += 1
            populations[name] = population.with_onset(checked_period(layer[name] * interval, name, "onset"))
    return replace(network, populations=populations)

"""Biases of a network corrected for other runs than it was made for, by the rates that it has itself in a clocked run.

What :mod:`eventsim.conversion.balance` does beside a source network, for network files, of which there is none: asynchronous neurons
fire on surpluses that clocked ones do not see and take them back late, so within few steps the rates of deep layers are wrong in the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eventsim.conversion.given import checked_images, checked_steps
from eventsim.conversion.rates import MOST_IMAGES, channel_rates, evenly
from eventsim.errors import ConversionError
from eventsim.job.job import DEFAULT_RESOLUTION
from eventsim.job.preparation import default_steps
from eventsim.model.network import Network
from eventsim.model.order import feed_forward_order
from eventsim.model.populations.population import Population
from eventsim.model.tables import Dense
from eventsim.model.values import IntArray


@dataclass(frozen=True)
class Rebalanced:
    """A network with other biases, and why.

    Attributes
    ----------
    network : Network
    errors : dict of str to float
        Per population, in the order in which they were balanced: root mean square over the channels of what their mean rates were off
        by, in spikes a step, when all before them were balanced.
    steps, resolution, against : int
        Of the runs that it is for, and steps of the clocked runs whose rates it is to have.
    """

    network: Network
    errors: dict[str, float]
    steps: int
    resolution: int
    against: int

    def __str__(self) -> str:
        mode = "clocked" if self.resolution == 1 else f"{self.resolution:,} ticks a step"
        lines = [f"balanced for T = {self.steps}, {mode}, against T = {self.against}, clocked; mean rates were off by, in spikes a step:"]
        return "\n".join(lines + [f"{name:12} {error:.4f}" for name, error in self.errors.items()])


def rebalance(
    network: Network,
    images: npt.ArrayLike,
    *,
    steps: int | None = None,
    resolution: int = DEFAULT_RESOLUTION,
    against: int | None = None,
    most: int = MOST_IMAGES,
    progress: Callable[[int, int], None] | None = None,
) -> Rebalanced:
    """Correct the biases of a network, so that in runs of this kind its channels' mean rates are those of another, clocked one.

    Layer by layer, and channel by channel: each with those before it corrected. Images need no labels.

    Parameters
    ----------
    network : Network
        Stays as it is.
    images : array_like of uint8, shape (n, height, width, channels)
        At most ``most`` are run, spread evenly.
    steps : int, optional
        Of the runs that the network is to be good at, and recommends from then on. Default: what it recommends, else 100.
    resolution : int
        Of them.
    against : int, optional
        Steps of the clocked runs that it is compared with. Default: what it recommends, else 100.
    most : int
        More images say more exactly what a channel's mean rate is, and take as much longer.
    progress : callable, optional
        Called with (populations done, all populations).

    Raises
    ------
    ConversionError
        A network without image input or with cycles, without neurons that count (reset by subtraction, no leak, behind the first layer), or
        the same runs on both sides; no images.
    RunError, InputError, NetworkError
        Settings or images that the network cannot be run with; a bias that leaves int32.
    """
    given = checked_images(images)
    order = feed_forward_order(network)
    if given is None or network.input is None:
        raise ConversionError("biases are balanced on images, and this network takes none")
    if order is None:
        raise ConversionError("biases are balanced layer by layer, and this network has a cycle")
    steps = default_steps(network) if steps is None else checked_steps(steps)
    against = default_steps(network) if against is None else checked_steps(against)
    if (steps, resolution) == (against, 1):
        raise ConversionError(f"T = {steps}, clocked, is what it would be compared with; give other runs (resolution, steps, against)")
    names = [name for name in order if _counts(network.populations[name], steps)]
    if not names:
        raise ConversionError("no integrate-and-fire neurons with reset by subtraction behind the first layer: there is nothing to balance")
    if most < 1:
        raise ConversionError(f"biases are balanced on at least one image, found most={most}")
    chosen = evenly(given, most)
    made, errors = network, {}
    for done, name in enumerate(names):
        threshold = network.populations[name].threshold
        assert threshold is not None
        error = channel_rates(network, name, chosen, against, 1) - channel_rates(made, name, chosen, steps, resolution)
        errors[name] = float(np.sqrt(np.square(error).mean()))
        made = _biased(made, name, np.rint(error * threshold).astype(np.int64))
        if progress is not None:
            progress(done + 1, len(names))
    about = {"steps": steps, "balanced": {"steps": steps, "resolution": resolution, "against": against}}
    made = replace(made, provenance=made.provenance | about)
    made.check()
    return Rebalanced(made, errors, steps, resolution, against)


def _counts(population: Population, steps: int) -> bool:
    """Whether a neuron's spikes count what it has been given: more than once in a run, and nothing is forgotten."""
    takes = population.takes_spikes and population.reset == "subtract" and not population.decays
    return takes and population.refractory is not None and population.refractory < steps


def _biased(network: Network, name: str, extra: IntArray) -> Network:
    """The network with more bias, int64 (channels,), in a population."""
    shape = network.populations[name].shape
    row = np.broadcast_to(extra, shape).reshape(1, -1)
    for i, projection in enumerate(network.projections):
        clock = network.populations[projection.source]
        if projection.target == name and clock.emits == "clock" and clock.size == 1 and not projection.delay:
            weights = projection.table.matrix(clock.shape, shape).astype(np.int64) + row
            others = list(network.projections)
            others[i] = replace(projection, table=Dense(weights))
            return replace(network, projections=others)
    made = replace(network, populations=dict(network.populations), projections=list(network.projections))
    # (The usual name may be that of a clock whose spikes come later.)
    added, number = f"{name}.bias", 2
    while added in made.populations:
        added, number = f"{name}.bias+{number}", number + 1
    made.source(added, 1, "clock")
    made.connect(added, name, Dense(np.ascontiguousarray(row)))
    return made

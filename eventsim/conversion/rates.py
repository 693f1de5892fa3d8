"""Mean rates of a population's channels, by runs of as much of a network as decides them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventsim.model.network import Network
from eventsim.model.order import leading_to
from eventsim.simulate import Simulator

# Images, at most, whose mean stands for all, where nothing else is asked for.
MOST_IMAGES = 48


def evenly(images: npt.NDArray[np.uint8], most: int = MOST_IMAGES) -> npt.NDArray[np.uint8]:
    """At most so many of the images, spread evenly."""
    return images[np.unique(np.linspace(0, len(images) - 1, most).astype(int))]


def channel_rates(network: Network, name: str, images: npt.NDArray[np.uint8], steps: int, resolution: int) -> npt.NDArray[np.float64]:
    """Net spikes a step of each channel of a population, the mean over its locations and the images.

    Parameters
    ----------
    network : Network
    name : str
        Of a population that sends spikes.
    images : uint8, shape (n, height, width, channels)
    steps, resolution : int
        Of each run.

    Returns
    -------
    float64 array, shape (channels,)
    """
    simulator = Simulator(leading_to(network, name))
    counts = np.zeros(network.populations[name].shape)
    for image in images:
        counts += simulator.run(image, steps=steps, resolution=resolution, record=[name]).spike_counts(name)
    return counts.reshape(-1, counts.shape[-1]).mean(0) / (len(images) * steps)

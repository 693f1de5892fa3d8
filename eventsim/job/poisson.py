"""Poisson input: the same network with its constant currents replaced by seeded random spikes of the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError
from eventsim.job.inputs import integer_image
from eventsim.model.network import Network

PIXELS = "pixels"


def poisson_network(network: Network) -> Network:
    """A network that takes Poisson spikes of its pixels instead of constant currents.

    Every pixel value becomes a Poisson source whose rate is ``pixel / 255``; the encoders become projections from it, their
    weights times ``255 * scale``, so that the expected input per step is the constant current. What does not depend on the
    pixel (offsets, biases) comes from a bias clock. Driven neurons become spiking ones.

    Raises
    ------
    InputError
        The network takes no image, or the scaled weights exceed 32 bits.
    """
    if network.input is None or not any(p.encoder is not None for p in network.populations.values()):
        raise InputError("Poisson encoding needs a network that takes an image")
    if PIXELS in network.populations:
        raise InputError(f"Poisson encoding needs the population name {PIXELS!r}, and the network uses it")
    spec = network.input
    out = Network(output=network.output, labels=list(network.labels), provenance=dict(network.provenance))
    out.source(PIXELS, spec.shape, "poisson")
    for name, population in network.populations.items():
        if population.encoder is not None:
            out.add(name, population.taking_spikes())
        else:
            out.populations[name] = population
    for name, population in network.populations.items():
        if population.encoder is not None:
            out.connect(PIXELS, name, population.encoder.scaled(spec.scale * 255), name=f"{PIXELS}->{name}")
            zero = integer_image(network, np.zeros(spec.shape, np.uint8))
            assert population.bias is not None
            constant = population.encoder.apply(zero, population.shape) + population.per_neuron(population.bias)
            if np.any(constant):
                out.bias(name, constant)
    out.projections.extend(network.projections)
    return out


def poisson_rates(pixels: npt.NDArray[Any], network: Network) -> Mapping[str, npt.NDArray[np.float64]]:
    """Input of a :func:`poisson_network` for an image of the original network.

    Raises
    ------
    InputError
        The image does not fit the network.
    """
    integer_image(network, pixels)
    shape = network.input.shape  # type: ignore[union-attr]
    return {PIXELS: np.asarray(pixels, np.float64).reshape(shape) / 255}

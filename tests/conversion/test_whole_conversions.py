"""Whole conversions of random networks: spikes tend to rates that matrices of the integers make, and these are the activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from judges import operator_graphs
from judges.dense_loop import unroll

import eventsim as es
from eventsim.model.order import zero_delay_order

STEPS = 128


def drawn(seed):
    """A graph of ReLU layers with branches, pools, groups, paddings; the images it is calibrated with."""
    try:
        graph = operator_graphs.draw(np.random.default_rng(seed), operator_graphs.relu)
    except es.ConversionError:  # a kernel that is larger than what is left of the image
        assume(False)
    return graph, np.random.default_rng(seed).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)


def converted(graph, images, **settings):
    """A conversion that cuts nothing off; of networks that say something on these images only."""
    try:
        return es.convert(graph, images, percentile=100, check=False, **settings)
    except es.ConversionError as error:
        assume(not any(why in str(error) for why in ("silent on all calibration images", "does not depend on the image", "a bias that is")))
        raise


@dataclass
class Limit:
    """Of one population: the rates that its spikes tend to, in spikes a step, and how far others may be from them."""

    rates: np.ndarray
    rounding: np.ndarray
    late: np.ndarray


def limits(network: es.Network, currents: dict[str, np.ndarray]) -> dict[str, Limit]:
    """By matrices: what comes in over the threshold, between 0 and 1.

    ``rounding`` is what rounding to integers makes of a rate at most: half of one for every weight, bias and threshold. ``late`` are the
    spikes that are missing at any time at most: two of the neuron's own, and what those that are missing before it are worth to it.
    """
    found: dict[str, Limit] = {}
    for name in zero_delay_order(network, 1):
        population = network.populations[name]
        if population.is_clock:
            found[name] = Limit(np.ones(population.size), np.zeros(population.size), np.zeros(population.size))
        if not population.fires:
            continue
        threshold = np.broadcast_to(population.threshold, population.shape).ravel().astype(np.float64)
        comes, halves, late = np.zeros(population.size), np.full(population.size, 1.0), np.full(population.size, 2.0)
        if name in currents:
            comes = comes + currents[name].ravel()
            halves = halves + 255 * unroll(population.encoder, (5, 6, 3), population.shape).synapses.sum(0) * 0.5
        for p in network.projections:
            if p.target == name:
                source, table = found[p.source], unroll(p.table, network.populations[p.source].shape, population.shape)
                weights = np.abs(table.weights)
                comes = comes + source.rates @ table.weights
                late = late + source.late @ weights / threshold
                halves = halves + 0.5 * (source.rates @ table.synapses) + source.rounding @ (weights + 0.5 * table.synapses)
        # (Weights that are binary are so to five digits, and those of a channel whose threshold is capped may be worth this much.)
        worth = np.where(threshold == 2**24, 1 / 512, 1e-4)
        found[name] = Limit(np.clip(comes / threshold, 0, 1), halves / threshold + worth, late)
    return found


def activations(made, image):
    """Of the source, in spikes a step."""
    seen = {}

    def watch(layer, z):
        if layer.activation is not None:
            seen[layer.name] = (layer.activation(z)[0] / made.gain(layer)).ravel()

    made.source.evaluate(image[None] * made.pixel_factor + made.pixel_shift, watch)
    return seen


@pytest.mark.parametrize("bits", [{}, {"weight_bits": 16, "fraction_bits": 12}])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
@example(seed=586)
@example(seed=102219)
def test_rates_are_the_activations_but_for_rounding(bits, seed):
    graph, images = drawn(seed)
    made = converted(graph, images, **bits)
    found = limits(made.network, es.Simulator(made.network).prepare(images[0], steps=1).currents)
    for name, expected in activations(made, images[0]).items():
        assert (np.abs(found[name].rates - expected) <= found[name].rounding).all(), name


@pytest.mark.parametrize("resolution", [1, 50])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_spikes_tend_to_these_rates(resolution, seed):
    """After T steps a neuron is a few spikes away from T times its rate, however large T is."""
    graph, images = drawn(seed)
    made = converted(graph, images)
    simulator = es.Simulator(made.network)
    found = limits(made.network, simulator.prepare(images[0], steps=1).currents)
    try:
        result = simulator.run(images[0], steps=STEPS, resolution=resolution)
    except es.PotentialOverflow:  # a layer that hardly says anything on these images: what comes in is millions of thresholds
        assume(False)
    for name, population in made.network.populations.items():
        if population.fires:
            missing = np.abs(result.spike_counts(name).ravel() - STEPS * found[name].rates)
            assert (missing <= found[name].late).all(), name
            # Errors of many neurons cancel: what is missing adds up like steps of a drunkard.
            assert np.sqrt(np.mean(missing**2)) <= np.sqrt(np.mean(found[name].late)), name

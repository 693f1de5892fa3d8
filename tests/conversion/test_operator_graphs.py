"""Random graphs of all operators: their layers compute what the graph does, and the spikes of sign networks are its activations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from judges import operator_graphs
from judges.activations import activations

import eventsim as es
from eventsim.conversion.lowering import lower

PIXEL = np.ones(3) / 255, np.zeros(3)


def drawn(seed, activation, **options):
    """A graph; of a seed that draws nothing whole, that of a later one."""
    while True:
        try:
            return operator_graphs.draw(np.random.default_rng(seed), activation, **options)
        except es.ConversionError:  # a kernel that is larger than what is left of the image
            seed += 10**6


@pytest.mark.parametrize("activation", [operator_graphs.relu, operator_graphs.levels, operator_graphs.sign])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6 - 1))
def test_layers_compute_what_the_graph_computes(activation, seed):
    graph = drawn(seed, activation)
    images = np.random.default_rng(seed).random((3, 3, 5, 6))
    expected = graph.evaluate(images)[graph.output]
    try:
        layers = lower(graph, PIXEL)
    except es.ConversionError as error:
        message = str(error)
        assume("does not depend on the image" not in message)  # everything was cut off
        raise
    found = layers.evaluate(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-9)


def assert_same_counts(one, other):
    for name in ("spikes", "deliveries", "synaptic_events", "additions", "toolbox", "effective"):
        np.testing.assert_array_equal(getattr(one.counts, name), getattr(other.counts, name), name)


@pytest.mark.parametrize("seed", range(8))
def test_spikes_of_sign_networks_are_the_activations(seed):
    """In every engine, clocked and not: tables of all kinds, their counts and the sums that padding makes different."""
    graph = drawn(seed, operator_graphs.sign, exact=True)
    made = es.convert(graph)
    image = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    expected = activations(made, image)
    for resolution in (1, 7, 2**20):
        results = [es.run(made.network, image, resolution=resolution, engine=engine) for engine in ("reference", "queue", "layered")]
        for result in results:
            for name, neurons in made.steps.items():
                counts = np.sum([result.spike_counts(n.name) * n.share for n in neurons], axis=0)
                np.testing.assert_array_equal(counts.ravel(), expected[name], f"{name}, R = {resolution}")
            np.testing.assert_array_equal(result.readout, results[0].readout)
            assert_same_counts(result, results[0])


@pytest.mark.parametrize("seed", range(8))
def test_engines_agree_on_converted_networks_and_rates_follow(seed):
    images = np.random.default_rng(seed).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)
    made = es.convert(drawn(seed, operator_graphs.levels), images)
    results = [es.run(made.network, images[0], steps=5, resolution=1, engine=engine) for engine in ("reference", "queue", "layered")]
    for result in results[1:]:
        for name, population in made.network.populations.items():
            if population.fires:
                np.testing.assert_array_equal(result.spike_counts(name), results[0].spike_counts(name))
        assert_same_counts(result, results[0])

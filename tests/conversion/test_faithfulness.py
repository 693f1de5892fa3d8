"""The faithfulness report against direct comparisons of rates and activations, and against a conversion that was spoilt."""

from __future__ import annotations

import numpy as np
import pytest
from judges.graphs import random_graph

import eventsim as es
from eventsim.conversion.faithfulness import faithfulness


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def test_against_a_direct_comparison(images):
    made = es.convert(random_graph(2), images)
    steps = 40
    report = faithfulness(made, images[:3], [0, 1, 2], steps=steps)
    for column, layer in enumerate(made.source.layers[:-1]):
        activations, rates, fired, emitted = [], [], set(), 0
        for image in images[:3]:
            seen = {}
            made.source.evaluate(image[None] * made.pixel_factor + made.pixel_shift, lambda x, z, seen=seen: seen.setdefault(x.name, z))
            activations.append(layer.activation(seen[layer.name][0]) / made.ranges[layer.name])
            result = es.run(made.network, image, steps=steps, resolution=1)
            rates.append(result.spike_counts(layer.name) / steps)
            fired.update(result.spikes(layer.name).neurons.tolist())
            emitted += result.spikes_per_population()[layer.name]
        a, r = np.ravel(activations), np.ravel(rates)
        found = report.layers["clocked"][column]
        assert found.name == layer.name
        assert found.saturated == pytest.approx(np.mean(a > 1 + 1e-6), abs=2e-3)
        a = np.minimum(a, 1)
        assert found.correlation == pytest.approx(np.corrcoef(a, r)[0, 1], abs=1e-4)
        assert found.error == pytest.approx(np.sqrt(np.mean((a - r) ** 2)), abs=1e-4)
        assert found.bias == pytest.approx(np.mean(r - a), abs=1e-5)
        assert found.silent == pytest.approx(1 - len(fired) / np.prod(layer.shape))
        assert found.rate == pytest.approx(emitted / r.size / steps)
    assert report.source_accuracy is not None
    assert "accuracy: source" in str(report)


def test_shows_the_layer_that_was_spoilt(images):
    made = es.convert(random_graph(2), images)
    good = faithfulness(made, images, steps=60)
    population = made.network.populations["conv3"]
    population.threshold.setflags(write=True)
    population.threshold[:] *= 4
    spoilt = faithfulness(made, images, steps=60)
    names = [layer.name for layer in good.layers["clocked"]]
    jump = [b.error - a.error for a, b in zip(good.layers["clocked"], spoilt.layers["clocked"], strict=True)]
    assert jump[: names.index("conv3")] == [0.0] * names.index("conv3")
    assert jump[names.index("conv3")] > 0.02


def test_labels_and_steps_must_make_sense(images):
    made = es.convert(random_graph(2), images)
    with pytest.raises(es.ConversionError, match="labels of shape"):
        faithfulness(made, images, [1, 2])
    with pytest.raises(es.ConversionError, match="steps must be a whole number"):
        faithfulness(made, images, steps=0)
    assert faithfulness(made, images[:1], steps=np.int64(2)) == faithfulness(made, images[:1], steps=2)

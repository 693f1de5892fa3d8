"""The shipped network against an independent dense loop, spike for spike, and its accuracy on MNIST where that is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eventsim as es
from eventsim import datasets

ROOT = Path(__file__).resolve().parents[1]
LENET = ROOT / "networks" / "lenet-mnist.h5"
DATA = Path(os.environ.get("EVENTSIM_DATA", ROOT.parent / "shared" / "data"))
needs_mnist = pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="MNIST is not at hand (EVENTSIM_DATA)")


@pytest.fixture(scope="module")
def network():
    return es.load(LENET)


def digit(number: int) -> np.ndarray:
    return np.asarray(Image.open(ROOT / "datasets" / "samples" / f"digit-{number}.png"))[..., None]


def dense_layer(x: np.ndarray, table: es.Table) -> np.ndarray:
    """A layer by windows and one tensor product; pooling by a mean times the window's size."""
    if isinstance(table, es.Dense):
        return x.ravel() @ table.weights.astype(x.dtype)
    top, left, bottom, right = table.padding
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0)))
    kh, kw = table.weights.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(0, 1))
    out = np.einsum("yxckl,klco->yxo", windows, table.weights.astype(x.dtype), optimize=True)
    p = table.pool_after[0]
    h, w, c = out.shape
    return out.reshape(h // p, p, w // p, p, c).sum((1, 3))


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize("number", [1, 8])
def test_clocked_run_equals_a_dense_loop(network, number, dtype):
    steps = 12
    result = es.run(network, digit(number), steps=steps, resolution=1)
    names = list(network.populations)
    tables = [network.populations[names[0]].encoder] + [p.table for p in network.projections]
    v = [np.broadcast_to(p.v0, p.shape).astype(dtype) for p in network.populations.values()]
    current = dense_layer(digit(number).astype(dtype), tables[0])
    spikes = {name: np.zeros((steps, v[i].size), np.int64) for i, name in enumerate(names[:-1])}
    readout = np.zeros((steps, 10), np.int64)
    for t in range(steps):
        x = current
        for i, name in enumerate(names):
            x = dense_layer(x, tables[i]).reshape(v[i].shape) if i else x
            v[i] = v[i] + x
            if name in spikes:
                threshold = network.populations[name].threshold
                x = (v[i] >= threshold).astype(dtype)
                v[i] = v[i] - x * threshold
                spikes[name][t] = x.ravel()
        readout[t] = v[-1]
    assert np.array_equal(result.readout, readout)
    for name, expected in spikes.items():
        ticks, neurons, signs = result.spikes(name)
        found = np.zeros_like(expected)
        np.add.at(found, (ticks - 1, neurons), signs)
        assert np.array_equal(found, expected), name
        assert expected.sum() > 0


def test_shipped_file_is_what_it_says(network):
    assert LENET.stat().st_size <= 400_000
    hidden = [p.table for p in network.projections[:-1]]
    assert len(hidden) == 4
    assert all(table.magnitude is not None for table in hidden)
    assert network.projections[-1].table.magnitude is None
    accuracy = network.provenance
    assert accuracy["ANN test accuracy"] - accuracy["clocked"]["accuracy"] <= 0.003
    assert accuracy["ANN test accuracy"] - accuracy["asynchronous"]["accuracy"] <= 0.003


def accuracy(network, count, **settings):
    images, labels = datasets.load("mnist", "test", DATA)
    simulator = es.Simulator(network)
    runs = (simulator.run(image, record="none", **settings).decision for image in images[:count])
    return np.mean([decision == label for decision, label in zip(runs, labels[:count], strict=True)])


@needs_mnist
@pytest.mark.parametrize("resolution", [1, es.DEFAULT_RESOLUTION])
def test_accuracy_on_some_of_mnist(network, resolution):
    # 99.5 % of all 10,000; five standard deviations of 300 images are 2 points.
    assert accuracy(network, 300, steps=32, resolution=resolution) >= 0.975


@needs_mnist
@pytest.mark.slow
@pytest.mark.parametrize("resolution", [1, es.DEFAULT_RESOLUTION])
def test_accuracy_on_all_of_mnist(network, resolution):
    found = accuracy(network, 10_000, steps=32, resolution=resolution)
    mode = "clocked" if resolution == 1 else "asynchronous"
    assert round(found, 4) == network.provenance[mode]["accuracy"]
    assert found >= 0.99

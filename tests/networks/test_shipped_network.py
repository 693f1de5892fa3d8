"""The shipped network against an independent dense loop, spike for spike, and its accuracy on MNIST where that is at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from judges import dense_loop
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.data import datasets

NETWORKS = ROOT / "networks"
LENET = NETWORKS / "lenet-mnist.h5"
DATA = Path(os.environ.get("EVENTSIM_DATA", ROOT.parent / "shared" / "data"))
needs_mnist = pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="MNIST is not at hand (EVENTSIM_DATA)")


@pytest.fixture(scope="module")
def network():
    return es.load(LENET)


def digit(number: int) -> np.ndarray:
    return np.asarray(Image.open(ROOT / "datasets" / "samples" / f"digit-{number}.png"))[..., None]


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize("number", [1, 8])
def test_clocked_run_equals_a_dense_loop(number, dtype):
    network, steps = es.load(NETWORKS / "mlp-mnist.h5"), 8
    result = es.run(network, digit(number), steps=steps, resolution=1)
    seen = dense_loop.run(network, steps=steps, image=digit(number), dtype=dtype)
    assert np.array_equal(result.readout, seen.readout[network.output])
    for name, population in network.populations.items():
        if population.kind == "spiking":
            ticks, neurons, signs = result.spikes(name)
            found = np.zeros_like(seen.spikes[name])
            np.add.at(found, (ticks - 1, neurons), signs)
            assert np.array_equal(found, seen.spikes[name]), name
            assert found.any()
            assert found.min() == (-1 if population.signed else 0)


@pytest.mark.parametrize("path", sorted(NETWORKS.glob("*.h5")), ids=lambda path: path.stem)
@pytest.mark.parametrize("resolution", [1, es.DEFAULT_RESOLUTION])
def test_engines_agree_on_shipped_networks(path, resolution):
    """Spikes, readouts and counts of two engines that share no code in their loops."""
    network = es.load(path)
    image = np.random.default_rng(1).integers(0, 256, network.input.shape, dtype=np.uint8)
    runs = [es.run(network, image, steps=4, resolution=resolution, engine=engine) for engine in ("queue", "layered")]
    a, b = runs
    for name, value in vars(a.counts).items():
        if name == "engine":
            continue
        if name == "readout":
            value, other = a.readout, b.readout
        else:
            other = getattr(b.counts, name)
        assert np.array_equal(value, other), name
    for name, population in network.populations.items():
        if population.kind != "readout":
            for x, y in zip(a.spikes(name), b.spikes(name), strict=True):
                assert np.array_equal(x, y), name


def test_shipped_file_is_what_it_says(network):
    assert LENET.stat().st_size <= 400_000
    tables = [p.table for p in network.projections if network.populations[p.source].kind != "source"]
    assert len(tables) == 5
    assert all(table.magnitude is not None for table in tables[:-1])
    assert tables[-1].magnitude is None


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
@pytest.mark.parametrize("mode", ["clocked", "asynchronous"])
def test_accuracy_on_all_of_mnist(network, mode):
    found = accuracy(network, 10_000, steps=8, resolution=1 if mode == "clocked" else es.DEFAULT_RESOLUTION)
    zoo = json.loads((NETWORKS / "zoo.json").read_text())["lenet-mnist"]
    assert round(found, 4) == zoo[mode]["steps"]["8"]["accuracy"]
    assert found >= network.provenance["ANN test accuracy"] - 0.001

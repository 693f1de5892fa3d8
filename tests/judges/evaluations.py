"""Small evaluations: a network, data, and whether two evaluations are the same."""

from __future__ import annotations

import contextlib

import numpy as np

import eventsim as es
from eventsim.data.image_sets import ArrayDataset
from eventsim.files.hdf5_reading import SealedFile
from eventsim.files.seal import SEAL


def small_network(seed=0, classes=4):
    rng = np.random.default_rng(seed)
    net = es.Network()
    net.image_input((6, 6, 1))
    net.driven("a", (6, 6, 3), 300, v0=150, encoder=es.Conv2d(rng.integers(-3, 4, (3, 3, 1, 3)), padding=1))
    net.spiking("b", (3, 3, 5), 3, v0=1, signed=True, refractory=1)
    net.readout("out", classes)
    net.connect("a", "b", es.Conv2d(rng.choice([-1, 1], (3, 3, 3, 5)), padding=1, pool_after=2))
    net.connect("b", "out", rng.integers(-9, 10, (45, classes)))
    net.bias("b", rng.integers(-2, 3, 5))
    net.provenance = {"steps": 6}
    return net


def small_data(n=37, classes=4, seed=1):
    rng = np.random.default_rng(seed)
    names = [f"class {i}" for i in range(classes)]
    return ArrayDataset("made", "test", names, rng.integers(0, 256, (n, 6, 6, 1), dtype=np.uint8), rng.integers(0, classes, n))


def contents(evaluation):
    """All columns of an evaluation, by their names."""
    with contextlib.closing(SealedFile(evaluation.path, es.RunError, "evaluation")) as file:
        return {name: evaluation.array(name) for name in file.datasets if name.partition("/")[0] not in ("info", SEAL)}


def same(a, b):
    x, y = contents(a), contents(b)
    assert x.keys() == y.keys()
    assert a.info == b.info
    for name in x:
        assert np.array_equal(x[name], y[name]), name


def two_pixels(v0=0):
    """Two pixels for two classes; a black image fires nothing, and so reaches no readout."""
    net = es.Network(labels=["left", "right"])
    net.image_input((1, 2, 1))
    net.driven("in", (1, 2, 1), 255, encoder=es.Conv2d([[[[1]]]]))
    net.readout("out", 2, v0=v0)
    net.connect("in", "out", np.eye(2, dtype=int))
    return net


def two_pixel_images():
    """Decided for the left in step 1, for the right in steps 1 and 3, and never; all are labelled "left"."""
    pixels = np.array([[255, 0], [0, 255], [0, 90], [0, 0]], np.uint8).reshape(4, 1, 2, 1)
    return ArrayDataset("made", "test", ["left", "right"], pixels, np.zeros(4, int))

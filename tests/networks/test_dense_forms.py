"""The dense forms that benchmarks compare with (benchmarks/dense.py), against the engines."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from repository import ROOT

import eventsim as es

torch = pytest.importorskip("torch")
sys.path[:0] = [str(ROOT / "networks"), str(ROOT / "benchmarks")]

import architectures  # noqa: E402
from dense import Chain  # noqa: E402


@pytest.mark.parametrize("side", [2, 4])
def test_clocked_runs_equal_dense_forms(side):
    """Pooled 2x2 maps are maps of one location, to which a matrix leads."""
    torch.manual_seed(0)
    model = architectures.vgg((8, 8, "P"), (16,), 3, image=(2, side, side), levels=4)
    images = np.random.default_rng(0).integers(0, 256, (10, side, side, 2), dtype=np.uint8)
    for _ in range(40):  # until running statistics are those of the data
        model(torch.rand(20, 2, side, side))
    network = es.convert(model.eval(), images).network
    run = es.run(network, images[0], steps=16, resolution=1, record="none")
    firing = [i for i, p in enumerate(network.populations.values()) if p.fires]
    counts = run.counts.spikes.sum(0)[firing].tolist()
    assert min(counts) > 0
    for precision in ("float64", "float32", "int8"):
        chain = Chain(network, precision)
        for found in (chain.loop(images[:1], 16), chain.folded(images[:1], 16)):
            assert found.counts == counts
            np.testing.assert_array_equal(np.ravel(found.readout), run.counts.readout[network.output][-1])

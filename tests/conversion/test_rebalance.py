"""Biases of a network corrected by its own rates in a clocked run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import small_network
from judges.graphs import deep_graph
from PIL import Image

import eventsim as es
from eventsim.cli.main import main
from eventsim.conversion.rebalance import rebalance

IMAGES = np.random.default_rng(2).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LAYERS = "conv2", "conv3", "conv4"


def network():
    """Convolutions with batch norm and ReLU, and ten classes: signed neurons with biases but for ``conv3``, which has none."""
    net = es.convert(deep_graph(4, 8, 10), IMAGES, steps=8, check=False).network
    net.projections = [p for p in net.projections if p.source != "conv3.bias"]
    del net.populations["conv3.bias"]
    net.provenance = {"steps": 8, "made": "here"}
    return net


def rates(net, steps, resolution):
    """Net spikes a step of each channel of the layers, by runs of the whole network."""
    simulator, counts = es.Simulator(net), dict.fromkeys(LAYERS, 0)
    for image in IMAGES:
        result = simulator.run(image, steps=steps, resolution=resolution)
        counts = {name: counts[name] + result.spike_counts(name) for name in LAYERS}
    return {name: total.reshape(-1, 8).mean(0) / (len(IMAGES) * steps) for name, total in counts.items()}


def bias(net, name):
    return [p.table.weights for p in net.projections if p.target == name and net.populations[p.source].is_clock]


def test_rates_become_those_of_the_clocked_run():
    net, calls = network(), []
    made = rebalance(net, IMAGES, steps=6, progress=lambda *at: calls.append(at))
    assert net == network()
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert list(made.errors) == list(LAYERS)
    assert made.network.provenance == {"steps": 6, "made": "here", "balanced": {"steps": 6, "resolution": 2**20, "against": 8}}
    # The first one's correction, from its rates and thresholds.
    wanted, found = rates(net, 8, 1), rates(net, 6, 2**20)
    off = wanted["conv2"] - found["conv2"]
    assert made.errors["conv2"] == pytest.approx(np.sqrt(np.mean(off**2)))
    (before,), (after,) = (bias(each, "conv2") for each in (net, made.network))
    extra = np.rint(off * net.populations["conv2"].threshold)
    assert np.count_nonzero(extra) > 4
    np.testing.assert_array_equal((after.astype(int) - before).reshape(-1, 8), np.tile(extra, (before.size // 8, 1)))
    # A layer that had no bias has one now.
    assert not bias(net, "conv3")
    assert len(bias(made.network, "conv3")) == len(bias(made.network, "conv4")) == 1
    better = rates(made.network, 6, 2**20)
    before, after = (sum(np.abs(each[name] - wanted[name]).mean() for name in LAYERS) for each in (found, better))
    assert after < before * 0.7
    # The other way round: in short clocked runs the rates of long ones.
    assert rebalance(net, IMAGES[:2], steps=2, resolution=1, against=30).network != net


def test_a_bias_that_comes_late_is_joined_by_one_that_does_not():
    net = network()
    for i, projection in enumerate(net.projections):
        if projection.target == "conv2" and net.populations[projection.source].is_clock:
            net.projections[i] = replace(projection, delay=0.5)
    made = rebalance(net, IMAGES[:3], steps=3).network
    late, more = bias(made, "conv2")
    assert np.array_equal(late, bias(net, "conv2")[0])
    assert np.any(more)
    assert "conv2.bias+2" in made.populations


def test_on_as_many_images_as_are_asked_for():
    net = network()
    some = rebalance(net, IMAGES, steps=3, most=3)
    assert some.network == rebalance(net, IMAGES[[0, 5, 11]], steps=3).network
    assert some.network != rebalance(net, IMAGES, steps=3).network
    with pytest.raises(es.ConversionError, match="at least one image, found most=0"):
        rebalance(net, IMAGES, most=0)


def test_what_cannot_be_balanced():
    net = network()
    with pytest.raises(es.ConversionError, match="what it would be compared with"):
        rebalance(net, IMAGES, resolution=1)
    with pytest.raises(es.ConversionError, match="steps must be"):
        rebalance(net, IMAGES, against=0)
    with pytest.raises(es.InputError):
        rebalance(net, IMAGES[:, :5])
    size = net.populations["conv3"].size
    net.connect("conv3", "conv3", np.eye(size, dtype=int), delay=1)
    with pytest.raises(es.ConversionError, match="has a cycle"):
        rebalance(net, IMAGES)
    given = es.Network()
    given.source("in", 4)
    given.readout("out", 2)
    with pytest.raises(es.ConversionError, match="this network takes none"):
        rebalance(given, IMAGES)
    # One spike at most, which counts nothing; a leak, which forgets.
    for add in (
        lambda net: net.spiking("b", (8, 8, 3), 5, refractory=100),
        lambda net: net.leaky("b", (8, 8, 3), 5, decay=4000),
        lambda net: net.spiking("b", (8, 8, 3), 5, reset="zero"),
    ):
        once = es.Network()
        once.image_input((8, 8, 3))
        once.driven("a", (8, 8, 3), 255, encoder=es.Conv2d(np.ones((1, 1, 3, 3), int)))
        add(once)
        once.connect("a", "b", es.Conv2d(np.ones((3, 3, 3, 3), int), padding=1))
        with pytest.raises(es.ConversionError, match="nothing to balance"):
            rebalance(once, IMAGES)


def test_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    es.save(small_network(), "net.h5")
    (tmp_path / "images" / "train").mkdir(parents=True)
    images = IMAGES[:5, :6, :6, :1]
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / "images" / "train" / f"{i}.png")

    def call(*arguments):
        return CliRunner().invoke(main, ["balance", *arguments])

    command = "net.h5", "--calibrate", "images", "--steps", "4", "--against", "20"
    done = call(*command, "--resolution", "64", "-o", "new.h5")
    assert done.exit_code == 0, done.output
    made = rebalance(small_network(), images, steps=4, resolution=64, against=20)
    assert es.load("new.h5") == made.network
    assert done.stdout.splitlines()[:2] == str(made).splitlines()
    fewer = rebalance(small_network(), images, steps=4, resolution=64, against=20, most=2)
    assert call(*command, "--resolution", "64", "--images", "2", "-o", "fewer.h5").exit_code == 0
    assert es.load("fewer.h5") == fewer.network != made.network
    told = json.loads(call(*command, "--clocked", "--json").stdout)
    assert (told["resolution"], told["network"], list(told["errors"])) == (1, "balanced.h5", ["b"])
    refused = call(*command, "-o", "net.h5")
    assert refused.exit_code
    assert "is an input of this command" in refused.stderr
    for arguments in (("net.h5",), (*command, "--clocked", "--resolution", "2"), ("net.h5", "--calibrate", "nowhere")):
        refused = call(*arguments)
        assert refused.exit_code
        assert "Traceback" not in refused.output

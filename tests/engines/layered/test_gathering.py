"""Layers whose spikes are summed bit-sliced, target by target, or several together, against the queue engine."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es
from eventsim.engines.layered import engine as layered
from eventsim.engines.layered import windows
from eventsim.engines.layered.ways import gathering
from eventsim.engines.layered.ways.records import FOREVER
from eventsim.engines.layered.ways.tick_kernels.gather import MOST_ROWS
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare


def network(rng: np.random.Generator, channels: int, large: int, signed: bool, refractory: float) -> tuple[es.Network, np.ndarray]:
    """A few layers of so many channels, most of whose neurons fire often."""
    height, width, inputs = (int(n) for n in (rng.integers(3, 6), rng.integers(3, 6), rng.integers(1, 4)))

    def weights(*shape: int) -> np.ndarray:
        signs = rng.choice([-1, 1], shape)
        return (signs * rng.integers(1, 100, shape)).astype(np.int8) if large > 1 else int(rng.integers(1, 4)) * signs

    net = es.Network()
    net.image_input((height, width, inputs))
    first = int(rng.choice([3, 16, 40]))
    net.driven("in", (height, width, first), threshold=300, encoder=es.Conv2d(rng.integers(-3, 9, (3, 3, inputs, first)), padding=1))
    # Pooling adds up weights, which have to stay below 128 to be added together.
    stride, padding, pool = int(rng.integers(1, 3)), int(rng.integers(0, 2)), 1 if large > 1 else int(rng.integers(1, 3))
    while min(height, width) + 2 * padding < 3 + stride * (pool - 1):
        pool, padding = 1, 1
    conv = es.Conv2d(weights(3, 3, first, channels), stride=stride, padding=padding, pool_after=pool)
    shape = tuple(((n + 2 * padding - 3) // stride + 1) // pool for n in (height, width))
    net.spiking("conv", (*shape, channels), threshold=int(rng.integers(3, 9)) * large, signed=signed, refractory=refractory)
    net.connect("in", "conv", conv)
    # The target of a dense table may be an image, and get spikes from two populations, late and in time.
    net.spiking("dense", (2, 1, channels), threshold=int(rng.integers(5, 20)) * large, signed=signed)
    net.connect("conv", "dense", es.Dense(weights(int(np.prod(shape)) * channels, 2 * channels)))
    if rng.random() < 0.5:
        net.connect("in", "dense", es.Dense(weights(height * width * first, 2 * channels)), delay=float(rng.choice([0, 0.4, 1])))
    net.readout("out", 10)
    net.connect("dense", "out", es.Dense(weights(2 * channels, 10)))
    return net, rng.integers(0, 256, (height, width, inputs), dtype=np.uint8)


@pytest.mark.parametrize("way", ["gathered", "scattered", "large weights"])
@pytest.mark.parametrize("channels", [32, 64, 128, 256, 512, 640])
def test_busy_networks_equal_the_queue_engine(monkeypatch, channels, way):
    rng = np.random.default_rng(channels)
    monkeypatch.setattr(gathering, "worth_gathering", lambda *_: 1 if way == "gathered" else FOREVER)
    rounds = 0
    for signed, refractory in ((False, 0.0), (True, 0.0), (False, 2.0)):
        net, image = network(rng, channels, 100 if way == "large weights" else 1, signed, refractory)
        layouts = layered.Layouts(net)
        for resolution in (1, 3):
            job = prepare(net, image, steps=9, resolution=resolution)
            expected = es.run(net, image, steps=9, resolution=resolution, engine="queue")
            found = layered.run(job, layouts, NoRecorder())
            for name in ("spikes", "negative_spikes", "first_tick", "deliveries", "synaptic_events", "additions", "toolbox", "effective"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected.counts, name), err_msg=name)
            np.testing.assert_array_equal(found.readout["out"], expected.counts.readout["out"])
            rounds += int(resolution == 1 and expected.counts.deliveries.max() > MOST_ROWS)
        assert found.spikes[:, 1:3].sum() > 50
        gathers = layouts.compiled["conv"].made(gathering.gathered).layer.projections[0]["gather_from"] == 1
        assert gathers == (way == "gathered" and channels % 64 == 0)
    assert rounds or channels < 128, "no tick had more spikes than are summed at a time"


def test_padded_channels_are_not_sliced():
    """A lane that stands for no neuron must not move, and bits are either +1 or -1."""
    net = es.Network()
    net.driven("in", 64, threshold=1)
    net.spiking("hidden", 65, threshold=3)
    net.connect("in", "hidden", es.Dense(np.ones((64, 65), np.int8)))
    gathered = layered.Layouts(net).compiled["hidden"].made(gathering.gathered)
    assert gathered.layer.projections[0]["gather_from"] == FOREVER


def test_many_spikes_of_a_location_when_all_neurons_wait_to_fire_again():
    """There is room for each lane that a location reaches once (checked without the compiler, see test_kernels)."""
    net = es.Network()
    net.driven("in", (4, 4, 32), 10)
    net.spiking("a", (4, 4, 32), 2, v0=1000)
    net.connect("in", "a", es.Conv2d((3 - 2 * np.eye(32, dtype=int)).reshape(1, 1, 32, 32)))
    currents = np.zeros((4, 4, 32), int)
    currents[1, 2] = 10
    found, expected = (es.run(net, {"in": currents}, steps=3, resolution=1, engine=engine) for engine in ("layered", "queue"))
    assert found.spikes_per_population() == expected.spikes_per_population() == {"in": 96, "a": 1536}
    np.testing.assert_array_equal(found.spikes("a").neurons, expected.spikes("a").neurons)


def test_runs_follow_each_other_in_the_same_arrays(monkeypatch):
    """What a run leaves must not reach the next one, whatever differs between them."""
    monkeypatch.setattr(windows, "SHARED_SPIKES", 5)  # so that threads share runs as short as these
    rng = np.random.default_rng(3)
    net, image = network(rng, 64, 1, True, 0.5)
    simulator, other = es.Simulator(net), rng.integers(0, 256, image.shape, dtype=np.uint8)
    settings = [
        {"steps": 9, "resolution": 1},
        {"steps": 9, "resolution": 7},
        {"steps": 4, "resolution": 7},
        {"steps": 9, "exit_potential": 2},
    ]
    for setting in settings * 2:
        for pixels in (image, other, np.zeros_like(image), image):
            for threads in (1, 2):
                found = simulator.run(pixels, threads=threads, **setting)
                expected = es.run(net, pixels, engine="queue", **setting)
                told = [run.summary() | {"engine": "", "wall_seconds": 0} for run in (found, expected)]
                assert told[0] == told[1]
                for name in ("in", "conv", "dense"):
                    for mine, queued in zip(found.spikes(name), expected.spikes(name), strict=True):
                        np.testing.assert_array_equal(mine, queued)

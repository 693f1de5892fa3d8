"""Plain neurons site by site, at high resolution: whole networks against the queue engine, with room for much and for little."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import compare

import eventsim as es
from eventsim.engines.layered import engine as layered
from eventsim.engines.layered import workspace
from eventsim.engines.layered.ways import site_tables
from eventsim.engines.layered.ways.records import Status
from eventsim.engines.layered.ways.site_kernels import stretches


@pytest.fixture
def statuses(monkeypatch):
    """What the kernel returned, in order."""
    advance, found = stretches.advance, []

    def noting(*args):
        found.append(advance(*args))
        return found[-1]

    monkeypatch.setattr(stretches, "advance", noting)
    return found


def network(rng: np.random.Generator, case: int) -> tuple[es.Network, np.ndarray]:
    """Convolutions and dense tables of all kinds, biases, signed neurons and delays before plain ones."""
    inputs, outputs = (int(rng.choice([3, 20, 32, 64, 70, 128])) for _ in range(2))
    net = es.Network()
    net.image_input((6, 7, 2))
    net.driven(
        "in", (6, 7, inputs), rng.integers(200, 2000, inputs), v0=100, encoder=es.Conv2d(rng.integers(-3, 9, (3, 3, 2, inputs)), padding=1)
    )
    stride, pool = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    conv = es.Conv2d(rng.integers(-9, 10, (3, 3, inputs, outputs)), stride=stride, padding=int(rng.integers(1, 3)), pool_after=pool)
    shape = conv.output_shape((6, 7, inputs))
    net.spiking("conv", shape, rng.integers(5, 30, shape[2]), v0=rng.integers(0, 60, shape[2]), signed=bool(case % 2))
    net.connect("in", "conv", conv, delay=float(rng.choice([0, 0.3])))
    if rng.random() < 0.6:
        net.bias("conv", rng.integers(-200, 200, shape))
    # The target of a dense table may be an image.
    net.spiking("dense", (2, 1, 64), 40)
    net.connect("conv", "dense", es.Dense(rng.choice([-1, 1], (int(np.prod(shape)), 128)) * int(rng.integers(1, 9))))
    if rng.random() < 0.6:
        net.connect("in", "dense", es.Dense(rng.integers(-128, 128, (42 * inputs, 128))), delay=0.25)
    net.spiking("last", 100, 15)
    net.connect("dense", "last", rng.integers(-5, 6, (128, 100)))
    if rng.random() < 0.6:
        net.bias("last", rng.integers(-3, 4, 100))
    net.readout("out", 10)
    net.connect("last", "out", es.Dense(rng.integers(-9, 10, (100, 10))))
    return net, rng.integers(0, 256, (6, 7, 2), dtype=np.uint8)


@pytest.mark.parametrize("case", range(24))
def test_networks_equal_the_queue_engine(statuses, monkeypatch, case):
    rng = np.random.default_rng(case)
    net, image = network(rng, case)
    if case % 3 == 0:
        monkeypatch.setattr(site_tables, "ENTRIES", 8)
    if case % 3 == 1:
        monkeypatch.setattr(workspace, "KEYS", 128 + 5)
    resolution = [1024, 2**20, 2**27][case % 3]
    found = compare(net, image, steps=int(rng.integers(1, 7)), resolution=resolution)
    assert found.spikes_per_population()["in"] > 10
    assert len(statuses) >= 2
    if case % 3 == 1:
        assert Status.GROW in statuses


def test_little_room_for_entries(statuses, monkeypatch):
    """Ticks in which every neuron fires: a stretch cannot be shorter than a tick."""
    compiled = site_tables.by_site

    def with_little_room(layout):
        found = compiled(layout)
        if not isinstance(found, str):
            layer, sites = found
            found = layer, sites._replace(sizes=sites.sizes._replace(expected=8))
        return found

    monkeypatch.setattr(site_tables, "by_site", with_little_room)
    rng = np.random.default_rng(1)
    net = es.Network()
    net.driven("in", (4, 4, 16), 64)
    net.spiking("a", (4, 4, 40), 9)
    net.connect("in", "a", es.Conv2d(rng.choice([-1, 1], (3, 3, 16, 40)), padding=1))
    found = compare(net, {"in": np.full(256, 32)}, steps=6, resolution=1024)
    assert Status.ROOM in statuses
    assert found.spikes_per_population()["a"] > 0


def test_potentials_that_need_more_bits(statuses):
    """From 16 to 32 bits, and from 32 to 64: which this does not do, with neurons that are due again at that moment."""
    lanes = np.arange(40)
    net = es.Network()
    net.driven("in", 32, 10)
    net.spiking("a", 40, 900, v0=890)
    net.connect("in", "a", np.where(lanes < 20, -2000, 2000) * np.ones((32, 1), int))
    net.spiking("b", 40, 900, v0=np.where(lanes < 5, -(2**31) + 2**14, 0))
    net.connect("in", "b", np.where(lanes < 20, 0, 30000) * np.ones((32, 1), int))
    compare(net, {"in": np.arange(32)}, steps=9, resolution=1024)
    assert statuses.count(Status.WIDEN) == 2


@pytest.mark.parametrize("v0", [0, -(2**31) + 300])
def test_overflow_is_an_error_in_the_same_tick(v0):
    """Whether 64 bits are needed from the start or become so."""
    net = es.Network()
    net.driven("in", 3, 10)
    net.spiking("a", 2, 1000, v0=v0)
    net.connect("in", "a", np.full((3, 2), -(2**15) if v0 == 0 else -7))
    net.bias("a", [-(2**15), -(2**15)] if v0 == 0 else [0, 1])
    messages = []
    for engine in ("layered", "queue"):
        with pytest.raises(es.PotentialOverflow) as error:
            es.run(net, {"in": [5000, 4000, 10]}, steps=2000 if v0 == 0 else 60, resolution=1024, engine=engine)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_a_bias_takes_no_more_room_than_its_synapses():
    """It reaches all locations, a neuron of the source nine."""
    net = es.Network()
    net.driven("in", (40, 40, 3), 9)
    net.spiking("a", (40, 40, 4), 3)
    net.connect("in", "a", es.Conv2d(np.ones((3, 3, 3, 4), np.int8), padding=1))
    net.bias("a", 1)
    _, of = site_tables.by_site(layered.Layouts(net).compiled["a"])
    assert of.reach.size == 1600 * (3 + 2 * 9) + 3 + 2 * 1600


def test_neurons_fire_again_through_stretches_and_gaps():
    """Neurons that start far above their threshold fire at every tick; between spikes there are more ticks than a stretch may have."""
    net = es.Network()
    net.source("in", 3)
    net.spiking("a", 3, 5, v0=np.array([4, 60, 7]))
    net.connect("in", "a", np.diag([1, 3, 9]))
    compare(net, {"in": ([0.5, 0.5, 0.7, 2.9], [0, 1, 2, 0])}, steps=3, resolution=1024, engine="reference")
    compare(net, {"in": ([0.5, 0.5, 0.7, 900.9], [0, 1, 2, 0])}, steps=1000, resolution=2**40)


def test_negative_spikes_are_subtracted_also_where_weights_have_no_opposite():
    rng = np.random.default_rng(5)
    for lowest in (-127, -128):
        net = es.Network()
        net.driven("in", 40, 100)
        net.spiking("signed", 40, 9, signed=True)
        net.connect("in", "signed", rng.integers(-9, 10, (40, 40)))
        net.spiking("plain", 40, 300)
        net.connect("signed", "plain", rng.integers(lowest, 128, (40, 40)) - (lowest + 128) * np.eye(40, dtype=int))
        net.bias("plain", rng.integers(-1000, 1000, 40))
        found = compare(net, {"in": rng.integers(0, 300, 40)}, steps=9)
        assert found.counts.negative_spikes.sum() > 5
        assert found.spikes_per_population()["plain"] > 5


@pytest.mark.parametrize("rule", [{"exit_potential": 40}, {"exit_margin": 15}])
def test_a_step_is_run_again_up_to_an_exit(rule):
    rng = np.random.default_rng(6)
    exits = 0
    for case in range(8):
        net, image = network(rng, case)
        found = compare(net, image, steps=6, **rule)
        exits += found.counts.exited
    assert exits > 2


def test_tables_that_would_be_too_large_are_not_made(statuses, monkeypatch):
    """A wide kernel over many locations has a place for each pair of them: such populations run tick by tick, with the same result."""
    net, image = network(np.random.default_rng(5), 0)
    monkeypatch.setattr(site_tables, "MOST", 4)
    compare(net, image, steps=2, resolution=2**20)
    assert not statuses

"""Neurons with a refractory period, a period at a time: whole networks against the queue engine, with room for much and for little."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import compare

import eventsim as es
from eventsim.engines.layered.populations import layer
from eventsim.engines.layered.ways import period_tables, periods
from eventsim.engines.layered.ways.period_kernels import advance as kernels
from eventsim.engines.layered.ways.records import Status

pytestmark = pytest.mark.kernels


@pytest.fixture
def statuses(monkeypatch):
    """What the kernel returned, in order."""
    advance, found = kernels.advance, []

    def noting(*args):
        found.append(advance(*args))
        return found[-1]

    monkeypatch.setattr(kernels, "advance", noting)
    return found


def network(rng: np.random.Generator, period: float) -> tuple[es.Network, np.ndarray]:
    """Convolutions and dense tables before neurons with a period: signed or not, thresholds of all sizes, biases, delays, coincidences."""
    inputs, outputs = (int(rng.choice([3, 20, 32, 64, 70, 128])) for _ in range(2))
    net = es.Network()
    net.image_input((6, 7, 2))
    # Of some the thresholds are all the same: their spikes coincide.
    encoder = rng.integers(-3, 9, (3, 3, 2, inputs)) if rng.random() < 0.6 else np.full((3, 3, 2, inputs), 2)
    thresholds = 500 if rng.random() < 0.5 else rng.integers(200, 2000, inputs)
    net.driven("in", (6, 7, inputs), thresholds, v0=100, encoder=es.Conv2d(encoder, padding=1))
    stride, pool = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    unit = int(rng.choice([1, 1, 20]))
    weights = unit * (rng.choice([-1, 1], (3, 3, inputs, outputs)) if rng.random() < 0.5 else rng.integers(-5, 6, (3, 3, inputs, outputs)))
    conv = es.Conv2d(weights, stride=stride, padding=int(rng.integers(1, 3)), pool_after=pool)
    shape = conv.output_shape((6, 7, inputs))
    most = unit * int(rng.choice([6, 40, 700]))
    threshold, v0 = rng.integers(unit, most + 1, shape[2]), rng.integers(0, most // 2, shape[2])
    net.spiking("conv", shape, threshold, v0=v0, signed=bool(rng.random() < 0.7), refractory=period)
    net.connect("in", "conv", conv, delay=float(rng.choice([0, 0.3])))
    if rng.random() < 0.7:
        net.bias("conv", rng.integers(-most, 2 * most, shape))
    # The target of a dense table may be an image.
    net.spiking("dense", (2, 1, 64), 40, signed=bool(rng.random() < 0.7), refractory=float(rng.choice([period, 1, 2.5])))
    wide = rng.random() < 0.3
    net.connect("conv", "dense", es.Dense(rng.choice([-1, 1], (int(np.prod(shape)), 128)) * (300 if wide else int(rng.integers(1, 9)))))
    if rng.random() < 0.5:
        net.connect("in", "dense", es.Dense(rng.integers(-127, 128, (42 * inputs, 128))), delay=0.25)
    net.readout("out", 10)
    net.connect("dense", "out", es.Dense(rng.integers(-9, 10, (128, 10))))
    return net, rng.integers(0, 256, (6, 7, 2), dtype=np.uint8)


@pytest.mark.parametrize("case", range(24))
def test_networks_equal_the_queue_engine(statuses, monkeypatch, case):
    rng = np.random.default_rng(case)
    resolution = [1024, 2**20, 2**27][case % 3]
    # From two ticks to several steps.
    period = float(rng.choice([2 / 1024 if resolution == 1024 else 0.1, 0.03, 0.3, 1, 1, 1, 1.7, 3]))
    net, image = network(rng, period)
    monkeypatch.setattr(periods, "SPARSE", 2)
    if case % 3 == 0:
        monkeypatch.setattr(period_tables, "ENTRIES", 8)
    if case % 4 == 1:
        # Trains come in parts.
        monkeypatch.setattr(layer, "WORK", 1)
    found = compare(net, image, steps=int(rng.integers(1, 7)), resolution=resolution, threads=1 + case % 2)
    assert found.spikes_per_population()["in"] > 10
    assert len(statuses) >= 2


@pytest.mark.parametrize("parts", [1, 5, 200])
def test_a_clock_stays_apart_in_long_trains(monkeypatch, parts):
    """However many parts a train comes in: its spikes need not be copied, and their entries go the fast way."""
    advance, arrivals = kernels.advance, []
    monkeypatch.setattr(kernels, "advance", lambda *args: arrivals.append(args[5]) or advance(*args))
    rng = np.random.default_rng(2)
    net = chain(rng.integers(-9, 10, (40, 70)), 30, 1.0, signed=True)
    net.bias("a", rng.integers(-40, 60, 70))
    # A spike reaches 96 lanes.
    monkeypatch.setattr(layer, "WORK", 96 * 200 // parts)
    found = compare(net, {"in": (1 + np.arange(200) / 64, rng.integers(0, 40, 200))}, steps=5)
    assert found.spikes_per_population()["a"] > 70
    lengths = {len(train.tick) for train in arrivals}
    assert lengths == set(range(200 // parts, 201, 200 // parts))
    assert all(len(train.clock) == 5 and not len(train.projection) for train in arrivals)


def test_random_networks_spike():
    """Of the networks above: spikes of both signs, and neurons that fire when their period is over."""
    spikes = negative = 0
    for case in range(24):
        rng = np.random.default_rng(case)
        rng.choice([0] * 8)
        net, image = network(rng, 1.0)
        counts = es.run(net, image, steps=3, engine="queue", record="none").counts
        spikes, negative = spikes + counts.spikes[:, 1].sum(), negative + counts.negative_spikes[:, 1].sum()
    assert spikes > 2000
    assert negative > 100


def chain(weights, threshold, refractory, **options) -> es.Network:
    """Given spikes, neurons, and a readout."""
    weights = np.array(weights)
    net = es.Network()
    net.source("in", weights.shape[0])
    net.spiking("a", weights.shape[1], threshold, refractory=refractory, **options)
    net.connect("in", "a", weights)
    net.readout("out", 2)
    net.connect("a", "out", np.ones((weights.shape[1], 2), int))
    return net


def test_by_hand():
    """Due while it may not fire, and no longer when it may; due at the moment at which it may; taken back; due at the first tick."""
    net = chain([[10, 0, 0], [-10, 0, 0], [0, -30, 5]], [10, 20, 10], 1.0, signed=True, v0=[0, 25, 0])
    times = [(0.125, 0), (0.25, 0), (0.5, 1), (0.75, 0), (1.5, 2), (2.5, 1), (2.5, 2), (2.75, 1)]
    found = compare(net, {"in": tuple(zip(*times, strict=True))}, steps=5, resolution=1024, engine="reference")
    assert [list(column) for column in zip(*found.spikes("a"), strict=True)] == [
        [1, 1, 1],
        [128, 0, 1],
        [1152, 0, 1],
        [1536, 1, -1],
        [2560, 0, -1],
        [2560, 2, 1],
        [3584, 0, -1],
    ]


def test_more_moments_than_a_stretch_may_have():
    """40,000 ticks with spikes in a period."""
    rng = np.random.default_rng(1)
    times = np.sort(rng.choice(2**20, 40_000, replace=False) + 1) / 2**20
    net = chain(rng.integers(-9, 10, (40, 70)), 30, 1.0, signed=True)
    found = compare(net, {"in": (times, rng.integers(0, 40, 40_000))}, steps=2)
    assert found.spikes_per_population()["a"] > 70


def test_little_room(statuses, monkeypatch):
    """All neurons fire in one tick: a stretch cannot be shorter, and there is no room for its entries and spikes."""
    made = period_tables.by_period

    def with_little_room(layout):
        layer, of = made(layout)
        return layer, of._replace(sizes=of.sizes._replace(expected=8, stretch=2))

    monkeypatch.setattr(period_tables, "by_period", with_little_room)
    rng = np.random.default_rng(1)
    net = es.Network()
    net.driven("in", (4, 4, 16), 64)
    net.spiking("a", (20, 20, 40), 9, refractory=0.5)
    net.connect("in", "a", es.Dense(rng.choice([-1, 1], (256, 16000))))
    found = compare(net, {"in": np.full(256, 32)}, steps=6, resolution=4096)
    assert Status.ROOM in statuses
    assert Status.GROW in statuses
    assert found.spikes_per_population()["a"] > 0


@pytest.mark.parametrize("signed", [False, True])
def test_potentials_that_need_more_bits(statuses, signed):
    """From 16 to 32 bits within a stretch, and from 32 to 64: which this does not do, with neurons that wait at that moment."""
    lanes = np.arange(100)
    net = es.Network()
    net.driven("in", 32, 10)
    net.spiking("a", 100, 900, v0=890, refractory=1.0, signed=signed)
    net.connect("in", "a", np.where(lanes < 50, -100, 100) * np.ones((32, 1), int))
    net.spiking("b", 40, 900, v0=np.where(lanes[:40] < 5, -(2**31) + 2**14, 0), refractory=0.4, signed=signed)
    net.connect("in", "b", np.where(lanes[:40] < 20, -7, 30000) * np.ones((32, 1), int))
    net.readout("out", 2)
    net.connect("b", "out", np.ones((40, 2), int))
    found = compare(net, {"in": np.arange(32)}, steps=40, resolution=4096)
    assert statuses.count(Status.WIDEN) == 2
    assert found.spikes_per_population()["b"] > 500


def test_thresholds_beyond_16_bits():
    """And biases far larger than thresholds, whose neurons fire at the end of every period."""
    rng = np.random.default_rng(3)
    net = es.Network()
    net.driven("in", 20, 10)
    net.spiking("a", 100, rng.integers(20_000, 80_000, 100), refractory=0.7, signed=True)
    net.connect("in", "a", rng.integers(-30_000, 30_001, (20, 100)))
    net.spiking("b", 64, rng.integers(1, 300, 64), refractory=1.0, signed=True)
    net.connect("a", "b", rng.choice([-100, 100], (100, 64)))
    net.bias("b", rng.integers(-30_000, 30_000, 64))
    net.readout("out", 2)
    net.connect("b", "out", np.ones((64, 2), int))
    found = compare(net, {"in": rng.integers(0, 40, 20)}, steps=12)
    assert found.counts.negative_spikes.sum() > 20
    assert found.spikes_per_population()["b"] > 64


@pytest.mark.parametrize("rule", [{"exit_potential": 30}, {"exit_margin": 10}])
def test_a_step_is_run_again_up_to_an_exit(rule):
    exits = 0
    for case in range(8):
        net, image = network(np.random.default_rng(case), [1.0, 0.3][case % 2])
        found = compare(net, image, steps=6, **rule)
        exits += found.counts.exited
    assert exits > 2


def test_potentials_are_looked_at_within_a_stretch(statuses):
    """They begin far within 16 bits, and leave them before the period ends."""
    rng = np.random.default_rng(0)
    net = chain(np.where(np.arange(100) < 50, -100, 100) * np.ones((4, 1), int), 900, 1.0, signed=True)
    found = compare(net, {"in": (np.sort(rng.random(2000)) * 0.9 + 0.05, rng.integers(0, 4, 2000))}, steps=12)
    assert statuses[0] == Status.WIDEN
    assert found.spikes_per_population()["a"] > 100


def test_another_way_takes_over_between_spikes_of_a_clock(statuses):
    """Potentials need 64 bits in the second step of four: the clock's spikes come apart before it, and among the others behind it."""
    net = chain([[100, 100]], 2**30 - 500, 1.0, signed=True, v0=[2**30 - 650, 2**30 - 2390])
    net.bias("a", [5, -3])
    times = [(0.1, 0), (0.2, 0), *[(1.5, 0)] * 20, (2.3, 0), (3.5, 0)]
    found = compare(net, {"in": tuple(zip(*times, strict=True))}, steps=4, resolution=1024, engine="reference")
    assert Status.WIDEN in statuses
    assert found.counts.deliveries[:, 2].tolist() == [1, 1, 1, 1]
    assert found.spikes_per_population()["a"] == 2


def test_spikes_of_a_clock_among_the_others(monkeypatch):
    """As long trains come in parts: weights of 16 bits (biases) among those of 8."""
    monkeypatch.setattr(layer, "WORK", 1)
    rng = np.random.default_rng(5)
    net = es.Network()
    net.image_input((6, 6, 1))
    net.driven("in", (6, 6, 8), 300, encoder=es.Conv2d(rng.integers(1, 9, (3, 3, 1, 8)), padding=1))
    net.spiking("conv", (6, 6, 32), 2000, signed=True, refractory=1)
    net.connect("in", "conv", es.Conv2d(100 * rng.choice([-1, 1], (3, 3, 8, 32)), padding=1))
    net.bias("conv", rng.integers(-900, 1200, (6, 6, 32)))
    net.readout("out", 10)
    net.connect("conv", "out", es.Dense(rng.integers(-9, 10, (1152, 10))))
    found = compare(net, rng.integers(100, 256, (6, 6, 1), dtype=np.uint8), steps=5, resolution=2**20)
    assert found.spikes_per_population()["conv"] > 100


@pytest.mark.parametrize("resolution", [1024, es.DEFAULT_RESOLUTION])
@pytest.mark.parametrize("onset", [0, 1])
@pytest.mark.parametrize("signed", [False, True])
def test_periods_where_potentials_begin_in_64_bits(resolution, onset, signed):
    """The way for them does not take those; the next one has to hold back who waits for the first tick, or for the onset."""
    net = es.Network()
    net.source("in", 1)
    net.spiking("hid", 2, threshold=[2**30, 5], v0=[-(2**30), 20], refractory=1, onset=onset, signed=signed)
    net.readout("out", 1)
    net.connect("in", "hid", np.array([[1, 1]]))
    net.connect("hid", "out", np.ones((2, 1), int))
    runs = [es.run(net, {"in": ([0.5, 1.7], [0, 0])}, steps=4, resolution=resolution, engine=engine) for engine in ("reference", "layered")]
    (ticks, neurons, _), expected = runs[1].spikes("hid"), runs[0].spikes("hid")
    assert ticks.tolist() == expected.ticks.tolist()
    assert neurons.tolist() == expected.neurons.tolist()
    assert len(ticks) >= 3
    np.testing.assert_array_equal(runs[1].counts.spikes, runs[0].counts.spikes)
    np.testing.assert_array_equal(runs[1].readout, runs[0].readout)

"""Clocked layers that run from rasters: whole networks against the queue engine."""

from __future__ import annotations

import numpy as np
import pytest

import eventsim as es
from eventsim.engines.layered import engine as layered
from eventsim.engines.layered import rasters
from eventsim.engines.layered import windows as lengths
from eventsim.engines.layered.ways import raster_tables
from eventsim.engines.layered.ways.raster import Rasters
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare

KERNELS = ((1, 1), (2, 2), (3, 3), (3, 3), (5, 5), (1, 4))


def network(rng: np.random.Generator, case: int) -> tuple[es.Network, np.ndarray]:
    """Convolutions of all kinds, most of whose neurons fire often."""
    kernel = KERNELS[case % len(KERNELS)]
    stride = (int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    padding = tuple(int(rng.integers(0, n)) for n in kernel)
    pool = tuple(int(n) for n in rng.choice([1, 1, 2, 3], 2))
    size = [int(rng.integers(4, 9)) + s * (p - 1) + n for s, p, n in zip(stride, pool, kernel, strict=True)]
    inputs, outputs = (int(rng.choice(n)) for n in ([3, 16, 32, 40, 64, 70], [3, 20, 32, 64, 96, 128]))
    unit = int(rng.choice([1, 1, 3]))
    options = [{}, {"signed": True}, {"reset": "zero"}][case % 3]
    net = es.Network()
    net.image_input((*size, 2))
    encoder = es.Conv2d(rng.integers(-3, 9, (3, 3, 2, inputs)), padding=1)
    net.driven("in", (*size, inputs), rng.integers(200, 2000, inputs), v0=100, encoder=encoder)
    name, shape = "in", (*size, inputs)
    table = es.Conv2d(unit * rng.choice([-1, 1], (*kernel, inputs, outputs)), stride=stride, padding=padding, pool_after=pool)
    second = es.Conv2d(rng.choice([-1, 1], (3, 3, outputs, 32)), padding=1)
    for n, conv in enumerate((table, second)):
        shape = conv.output_shape(shape)
        theta = rng.integers(2, 9, shape[2]) * (unit if n == 0 else 1)
        net.spiking(f"conv{n}", shape, theta, v0=theta // 2, **options)
        net.connect(name, f"conv{n}", conv)
        if rng.random() < 0.6:
            biased = shape if rng.random() < 0.5 else shape[2:]
            net.bias(f"conv{n}", rng.integers(-2, 3, biased))
        name = f"conv{n}"
    # The target of a dense table may be an image, too.
    target = [(64,), (2, 3, 20), (40,), (3, 1, 64)][case % 4]
    net.spiking("dense", target, rng.integers(5, 30, target[-1]), **options)
    net.connect(name, "dense", es.Dense(2 * rng.choice([-1, 1], (int(np.prod(shape)), int(np.prod(target))))))
    net.bias("dense", rng.integers(-5, 6, target))
    net.readout("out", 10, v0=rng.integers(-9, 10, 10))
    net.connect("dense", "out", es.Dense(rng.integers(-9, 10, (int(np.prod(target)), 10))))
    if rng.random() < 0.5:
        net.bias("out", rng.integers(-9, 10, 10))
    net.readout("image", (1, 2, 40))
    net.connect(name, "image", es.Dense(rng.integers(-9, 10, (int(np.prod(shape)), 80))))
    net.output = "out"
    return net, rng.integers(0, 256, (*size, 2), dtype=np.uint8)


def compare(net: es.Network, image: np.ndarray, steps: int, engine: str = "queue", **rule: int) -> es.Result:
    """Layered against another engine: counts and every spike. Returns the former."""
    found, expected = (es.run(net, image, steps=steps, resolution=1, engine=e, **rule) for e in ("layered", engine))
    for name in ("spikes", "negative_spikes", "first_tick", "deliveries", "synaptic_events", "additions", "toolbox", "effective"):
        np.testing.assert_array_equal(getattr(found.counts, name), getattr(expected.counts, name), err_msg=name)
    assert (found.decision, found.counts.decision_tick) == (expected.decision, expected.counts.decision_tick)
    for name, population in net.populations.items():
        if population.kind == "readout":
            np.testing.assert_array_equal(found.counts.readout[name], expected.counts.readout[name])
        else:
            for mine, other in zip(found.spikes(name), expected.spikes(name), strict=True):
                np.testing.assert_array_equal(mine, other, err_msg=name)
    return found


@pytest.fixture
def windows(monkeypatch):
    """How many windows of spiking populations were run from rasters."""
    run, n = Rasters.run, [0]

    def counting(self, *args):
        n[0] += self.population.spiking
        return run(self, *args)

    monkeypatch.setattr(Rasters, "run", counting)
    return n


@pytest.mark.parametrize("case", range(24))
def test_networks_equal_the_queue_engine(windows, monkeypatch, case):
    rng = np.random.default_rng(case)
    net, image = network(rng, case)
    if case % 2:
        monkeypatch.setattr(lengths, "RASTERS", 1)  # windows of CHUNK ticks
    steps = int(rng.choice([1, 20, 33, 70]))
    found = compare(net, image, steps)
    assert windows[0] == 3 * (-(-steps // rasters.CHUNK) if case % 2 else 1)
    assert steps == 1 or min(found.spikes_per_population()[name] for name in ("conv1", "dense")) > 50


def test_exits_in_the_middle_of_a_window(windows):
    exits = set()
    for case in range(12):
        rng = np.random.default_rng(case)
        net, image = network(rng, case)
        rule = {"exit_margin": 40} if case % 2 else {"exit_potential": 60}
        found = compare(net, image, 30, **rule)
        if found.counts.exited:
            exits.add(found.counts.end_tick % lengths.WITH_EXIT)
    assert windows[0] > 0
    assert len(exits) > 3


def test_a_network_equals_the_reference(windows):
    rng = np.random.default_rng(1)
    net = es.Network()
    net.driven("in", (4, 4, 3), 100)
    net.spiking("a", (2, 2, 5), 3, signed=True)
    net.connect("in", "a", es.Conv2d(rng.choice([-1, 1], (3, 3, 3, 5)), padding=1, pool_after=2))
    net.bias("a", rng.integers(-1, 2, 5))
    net.readout("out", 4)
    net.connect("a", "out", rng.integers(-3, 4, (20, 4)))
    compare(net, {"in": rng.integers(0, 90, (4, 4, 3))}, 40, "reference")
    assert windows[0] == 1


def test_spikes_that_are_listed_come_back(windows, monkeypatch):
    """A layer between two that are summed may have to be run tick by tick: here for its refractory period."""
    rng = np.random.default_rng(2)
    net, image = network(rng, 2)
    shape = net.populations["conv1"].shape
    net.spiking("late", shape, 4, refractory=2, signed=True)
    net.connect("conv1", "late", es.Conv2d(rng.choice([-1, 1], (3, 3, 32, 32)), padding=1))
    net.spiking("last", shape, 4)
    net.connect("late", "last", es.Conv2d(rng.choice([-1, 1], (3, 3, 32, 32)), padding=1))
    found = compare(net, image, 50)
    assert windows[0] == 4
    assert found.counts.negative_spikes.sum() > 0
    assert found.spikes_per_population()["last"] > 100


@pytest.mark.parametrize("signed", [False, True])
def test_potentials_near_the_limit_are_run_tick_by_tick(windows, monkeypatch, signed):
    """A window that might leave 32 bits, as far as is known before it, and those after it; neurons are due again on the way."""
    rng = np.random.default_rng(3)
    weights = rng.choice([-1, 1], (3, 3, 32, 32))

    def build(v0: np.ndarray) -> es.Network:
        net = es.Network()
        net.driven("in", (3, 3, 32), 100)
        net.spiking("a", (3, 3, 32), 3, v0=v0, signed=signed)
        net.connect("in", "a", es.Conv2d(weights, padding=1))
        net.readout("out", 3)
        net.connect("a", "out", np.ones((288, 3), np.int8))
        return net

    monkeypatch.setattr(lengths, "RASTERS", 1)
    currents = {"in": rng.integers(0, 60, (3, 3, 32))}
    answers, sums = [], Rasters.stays_within

    def noting(self, ticks):
        answer = sums(self, ticks)
        if self.population.spiking:
            answers.append(answer)
        return answer

    monkeypatch.setattr(Rasters, "stays_within", noting)
    compare(build(rng.choice([0, 2**31 - 3000], 32)), currents, 100)
    assert answers
    assert not all(answers)
    # And back and forth: every second window.
    monkeypatch.setattr(Rasters, "stays_within", lambda self, ticks: answers.append(0) or len(answers) // 2 % 2 == 0)
    windows[0] = 0
    compare(build(rng.integers(0, 100, 32)), currents, 150)
    assert 2 <= windows[0] <= 3


def test_a_shorter_window_in_the_same_room(monkeypatch):
    """What the window before left behind its last tick is no spike."""
    monkeypatch.setattr(lengths, "length", lambda *_: 66)
    monkeypatch.setattr(lengths, "ends", lambda *_: [0, 66, 131])
    assert rasters.room(66, 4, 32) == rasters.room(65, 4, 32)
    net = es.Network()
    net.driven("in", (2, 2, 32), 10)
    net.spiking("a", (2, 2, 32), 1)
    net.connect("in", "a", es.Conv2d(np.ones((1, 1, 32, 32), np.int8)))
    net.spiking("late", 5, 300, refractory=2)
    net.connect("a", "late", np.ones((128, 5), np.int8))
    for threads in (1, 2):
        found = es.run(net, {"in": np.full(128, 10)}, steps=131, resolution=1, threads=threads)
        assert len(found.spikes("in").ticks) == found.spikes_per_population()["in"] == 131 * 128
        assert (
            found.spikes_per_population()
            == es.run(net, {"in": np.full(128, 10)}, steps=131, resolution=1, engine="queue").spikes_per_population()
        )


def test_a_readout_behind_a_pool_overflows_in_the_same_tick():
    net = es.Network()
    net.driven("in", (4, 4, 3), 10)
    net.readout("out", 2, v0=2**31 - 15000)
    net.connect("in", "out", es.Dense(np.full((3, 2), 127, np.int8), pool_before=4))
    messages = []
    for engine in ("layered", "queue"):
        with pytest.raises(es.PotentialOverflow) as error:
            es.run(net, {"in": np.full(48, 10)}, steps=5, resolution=1, engine=engine)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_overflow_is_an_error_in_the_same_tick():
    net = es.Network()
    net.driven("in", (1, 1, 32), 1)
    net.spiking("a", (1, 1, 1), 2**31 - 1, v0=2**31 - 400)
    net.connect("in", "a", es.Conv2d(np.ones((1, 1, 32, 1), np.int8)))
    net.bias("a", -(10**8))
    messages = []
    for engine in ("layered", "queue", "reference"):
        with pytest.raises(es.PotentialOverflow) as error:
            es.run(net, {"in": np.ones((1, 1, 32), int)}, steps=200, resolution=1, engine=engine)
        messages.append(str(error.value))
    assert len(set(messages)) == 1


def test_what_cannot_be_summed():
    """Weights of several magnitudes, delays, events that repeat a neuron, two projections: tick by tick, not wrongly."""
    rng = np.random.default_rng(4)

    def summed(table, **options):
        net = es.Network()
        net.driven("in", (4, 4, 8), 9)
        net.spiking("a", table.output_shape((4, 4, 8)), 3)
        net.connect("in", "a", table, **options)
        return net, lambda: not isinstance(raster_tables.from_raster(layered.Layouts(net).compiled["a"]), str)

    signs = rng.choice([-1, 1], (3, 3, 8, 8))
    assert summed(es.Conv2d(signs))[1]()
    assert not summed(es.Conv2d(signs * rng.choice([1, 2], signs.shape)))[1]()
    assert not summed(es.Conv2d(signs), delay=1)[1]()
    assert not summed(es.Conv2d(1000 * signs))[1](), "sums would not fit 16 bits"
    assert not summed(es.Conv2d(rng.choice([-1, 1], (1, 1, 8, 8)), pool_before=2))[1]()
    net, is_summed = summed(es.Conv2d(signs))
    net.connect("in", "a", es.Conv2d(signs))
    assert not is_summed()
    net = es.Network()
    net.source("events", (4, 4, 8))
    net.spiking("a", (2, 2, 8), 3)
    net.connect("events", "a", es.Conv2d(signs))
    assert isinstance(raster_tables.from_raster(layered.Layouts(net).compiled["a"]), str)
    job = prepare(net, {"events": ([0.5, 0.7, 0.7], [3, 3, 3])}, steps=2, resolution=1)
    assert layered.run(job, layered.Layouts(net), NoRecorder()).deliveries.sum() == 3


def test_dense_tables_from_maps_of_one_channel():
    """Large ones would be mostly empty: 32 rows for each location."""
    rng = np.random.default_rng(1)
    for side, from_rasters in ((12, True), (120, False)):
        net = es.Network()
        net.driven("in", (side, side, 1), 3)
        net.spiking("hid", 180, 4)
        net.readout("out", 2)
        net.connect("in", "hid", rng.choice([-1, 1], (side * side, 180)))
        net.connect("hid", "out", rng.integers(-3, 4, (180, 2)))
        made = raster_tables.from_raster(layered.Layouts(net).compiled["hid"])
        assert isinstance(made, str) != from_rasters
        given = {"in": rng.integers(0, 2, side * side)}
        runs = [es.run(net, given, steps=5, resolution=1, engine=engine) for engine in ("queue", "layered")]
        assert runs[0].counts.spikes.sum(0)[1] > 0
        np.testing.assert_array_equal(runs[1].counts.spikes, runs[0].counts.spikes)
        np.testing.assert_array_equal(runs[1].readout, runs[0].readout)


@pytest.mark.parametrize("stride", [(5, 1), (6, 7), (1000, 1000), (2**20, 2)])
def test_strides_beyond_all_that_is_there(stride):
    """They take no more memory than one that just is."""
    rng = np.random.default_rng(0)
    for padding in ((0, 0, 0, 0), (1, 1, 2, 0), (0, 1, 2, 1)):
        net = es.Network()
        net.driven("in", (4, 4, 2), 3)
        table = es.Conv2d(rng.choice([-1, 1], (3, 2, 2, 5)), stride=stride, padding=padding)
        shape = table.output_shape((4, 4, 2))
        net.spiking("hid", shape, 2)
        net.readout("out", 3)
        net.connect("in", "hid", table)
        net.connect("hid", "out", rng.integers(-3, 4, (int(np.prod(shape)), 3)))
        given = {"in": rng.integers(0, 3, 32)}
        runs = [es.run(net, given, steps=6, resolution=1, engine=engine) for engine in ("reference", "layered")]
        assert runs[0].counts.spikes.sum() > 0
        for name in ("spikes", "synaptic_events", "additions"):
            np.testing.assert_array_equal(getattr(runs[1].counts, name), getattr(runs[0].counts, name))
        np.testing.assert_array_equal(runs[1].readout, runs[0].readout)

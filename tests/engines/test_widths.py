"""At the borders of what types hold: tables of 8, 16 and 32 bits, potentials, sums from rasters, currents."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import ENGINES, Spikes, assert_same, both_overflow, run_both
from judges.small_networks import chain

import eventsim as es
from eventsim.engines.layered import engine as layered
from eventsim.engines.layered.tables import compile_layout
from eventsim.engines.layered.ways import raster_tables
from eventsim.engines.layered.ways.records import FOREVER
from eventsim.engines.layered.ways.sites import Sites
from eventsim.errors import InputError, RunError
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.model.tables import Conv2d, Dense, Sparse

BORDERS = [s * (2**bits + more) for bits in (7, 15) for more in (-1, 0, 1) for s in (1, -1)] + [2**31 - 1, -(2**31) + 1]


# ------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("resolution", [1, 4, 2**20])
@pytest.mark.parametrize("kind", ["dense", "sparse", "conv2d"])
def test_weights_of_every_width_arrive(kind, resolution):
    """Each border in a table of its own, whose other weights are small; by spikes of both signs, from neurons and sources."""
    for weight in BORDERS:
        small = int(abs(weight) < 2**30)
        weights = np.array([[small, weight], [weight, -small]])
        table = {
            "dense": lambda w: Dense(w),
            "sparse": lambda w: Sparse([0, 2, 4], [0, 1, 0, 1], w.ravel(), 2),
            "conv2d": lambda w: Conv2d(w.reshape(1, 1, 2, 2)),
        }[kind](weights)
        net = Network()
        net.source("src", (1, 1, 2))
        net.spiking("n", (1, 1, 2), 1, signed=True)
        net.connect("src", "n", Conv2d([[[[1, 0], [0, -1]]]]))
        net.spiking("before", (1, 1, 1), 1)
        net.connect("before", "n", Conv2d([[[[0, 1]]]]))
        net.connect("src", "before", Conv2d([[[[1], [0]]]]))
        net.readout("direct", (1, 1, 2))
        net.readout("out", (1, 1, 2))
        net.connect("src", "direct", table)
        net.connect("n", "out", table)
        # Neuron 1 spikes at the first quarter and takes it back at the third.
        counts, spikes = run_both(prepare(net, {"src": ([0.25, 2.75], [0, 1])}, steps=4, resolution=resolution))
        assert [(neuron, sign) for _, neuron, sign in spikes.of("n")] == [(0, 1), (1, 1), (1, -1)]
        assert counts.readout["direct"][-1].tolist() == weights.sum(0).tolist()
        assert counts.readout["out"][-1].tolist() == weights[0].tolist()


@pytest.mark.parametrize("weight", [-128, -127, 127])
def test_weights_taken_back_site_by_site(weight):
    """A spike of sign -1 carries the weight negated, which for -128 is no int8: then what came and went is as if it had not been."""
    net = Network()
    net.source("src", 3)
    net.spiking("n", 1, 1, signed=True)
    net.spiking("after", 1, 1000)
    net.readout("out", 1)
    net.connect("src", "n", [[1], [-1], [0]])
    net.connect("n", "after", [[weight]])
    net.connect("src", "after", [[0], [0], [125]])
    net.connect("after", "out", [[1]])
    _, spikes = run_both(prepare(net, {"src": ([0.25, 2.75, *[3.5] * 8], [0, 1, *[2] * 8])}, steps=4, resolution=2**20))
    assert [sign for _, _, sign in spikes.of("n")] == [1, -1]
    assert [tick for tick, _, _ in spikes.of("after")] == [3.5 * 2**20]


# ------------------------------------------------------------------------------------- potentials


def driven_through(table, shape):
    """A network of a table from 4 x 4 x 8 neurons, all of which fire at the end of each step."""
    net = Network()
    net.driven("src", (4, 4, 8), 100)
    net.spiking("n", shape, 100, signed=True)
    net.connect("src", "n", table)
    return net


def test_ticks_in_which_all_sources_of_a_neuron_spike():
    """What a tick may add follows from how many spikes may reach a neuron: 72 here, so that the fourth tick leaves 16 bits."""
    net = driven_through(Conv2d(np.full((3, 3, 8, 2), -120), padding=1), (4, 4, 2))
    counts, _ = run_both(prepare(net, {"src": np.full((4, 4, 8), 100)}, steps=5, resolution=2**20))
    assert counts.deliveries.sum() == 5 * 128


@pytest.mark.parametrize(
    ("table", "shape", "most"),
    [
        (Conv2d(np.ones((3, 3, 8, 2), int), padding=1), (4, 4, 2), 72),
        (Conv2d(np.ones((2, 2, 8, 2), int), stride=2), (2, 2, 2), 32),
        (Conv2d(np.ones((3, 3, 8, 2), int), padding=1, pool_after=(2, 2)), (2, 2, 2), 72),
        (Conv2d(np.ones((1, 1, 8, 2), int), pool_before=(2, 2)), (2, 2, 2), 32),
        (Dense(np.ones((128, 3), int)), (3,), 128),
        (Sparse(np.minimum(np.arange(129), 100), np.arange(100) % 2, np.ones(100, int), 2), (2,), 50),
    ],
)
def test_spikes_of_a_tick_that_may_reach_a_neuron(table, shape, most):
    assert compile_layout(driven_through(table, shape), "n").layer.projections["most"].tolist() == [most]


def test_given_spikes_may_repeat_a_neuron_in_a_tick():
    net = Network()
    net.source("src", 2)
    net.spiking("n", 1, 100)
    net.connect("src", "n", [[1], [1]])
    assert compile_layout(net, "n").layer.projections["most"].tolist() == [FOREVER]


@pytest.mark.parametrize("resolution", [1, 8, 2**20])
@pytest.mark.parametrize("threshold", [2**15 - 1, 2**15, 40_000, 2**30, 2**31 - 1])
def test_thresholds_larger_than_all_else(threshold, resolution):
    """A neuron a hair below a threshold that 16 bits do not hold falls by as much when it spikes."""
    for v0 in (threshold - 1, threshold - 2):
        net = Network()
        net.driven("in", 1, 1)
        net.spiking("n", 1, threshold, v0=v0)
        net.readout("out", 1)
        net.connect("in", "n", [[1]])
        net.connect("n", "out", [[1]])
        counts, spikes = run_both(prepare(net, {"in": [1]}, steps=4, resolution=resolution))
        assert [tick for tick, _, _ in spikes.of("n")] == [(threshold - v0) * resolution]
        assert counts.readout["out"][-1].tolist() == [1]


@pytest.mark.parametrize("bits", [15, 30, 31])
@pytest.mark.parametrize("neuron", [{}, {"signed": True}, {"refractory": 0.25}, {"signed": True, "refractory": 0.25}, {"reset": "zero"}])
@pytest.mark.parametrize("resolution", [1, 8, 2**10])
def test_potentials_about_a_power_of_two(neuron, bits, resolution):
    """Delivered at once, on top of what was there, and taken away; R = 2**10 is run site by site where it can be."""
    for delta in (-3, -2, -1, 0, 1):
        most = 2**bits + delta
        for threshold in (1, 3, 2 ** (bits - 1), most - 1):
            if most >= 2**31 or threshold < 1:
                continue
            half = most // 2
            net = chain(threshold, [most, half, most - half, -half, -most], **neuron)
            times = np.array([1, 3, 5, 5, 6]) / 8
            for order in ([0, 3, 4, 4, 3], [3, 1, 1, 2, 4], [4, 0, 0, 3, 1]):
                job = prepare(net, {"src": (times, order)}, steps=1, resolution=resolution, max_spikes=40)
                try:
                    run_both(job)
                except es.PotentialOverflow as error:
                    tick = int(str(error).split("(tick ")[1].split(")")[0])
                    both_overflow(net, {"src": (times, order)}, steps=1, resolution=resolution, tick=tick, name="n")


def test_a_threshold_on_top_of_a_distance():
    """What is kept is V - threshold: 2**31 - 3 of that fits 32 bits, V does not."""
    net = chain(2**29, [2**30, 2**31 - 2**29 - 2], v0=2**29 - 1)
    both_overflow(net, {"src": ([0.125, 0.25], [0, 1])}, tick=2, name="n")
    both_overflow(net, {"src": ([0.125, 0.25], [0, 1])}, tick=2, name="n", resolution=8, steps=3)


# ------------------------------------------------------------------------------------- sums from rasters


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", ["dense", "conv2d", "pooled"])
@pytest.mark.parametrize("neurons", [126, 127, 128, 129, 200, 300])
def test_all_spike_at_once(neurons, kind, sign):
    """Sums in 8 bits have to be carried on before they are full: all weights of one sign, all neurons spike in each step."""
    net = Network()
    side = 1 if kind == "dense" else 4
    net.driven("in", (side, side, neurons), 1)
    if kind == "dense":
        shape, table, most = (4,), Dense(np.full((neurons, 4), sign)), neurons
    else:
        pool = 2 if kind == "pooled" else 1
        shape = (side // pool, side // pool, 4)
        table, most = Conv2d(np.full((1, 1, neurons, 4), sign), pool_after=pool), pool * pool * neurons
    net.spiking("n", shape, most, v0=0, signed=True)
    net.spiking("other", shape, most + 1, v0=most if sign < 0 else 1)
    net.readout("out", 4)
    for name in ("n", "other"):
        net.connect("in", name, table)
        net.connect(name, "out", Dense(np.ones((int(np.prod(shape)), 4), int)), name=f"{name}-out")
    counts, _ = run_both(prepare(net, {"in": np.ones(side * side * neurons, int)}, steps=3, resolution=1))
    assert counts.spikes[:, 1].tolist() == ([np.prod(shape)] * 3 if sign > 0 else [0] * 3)
    assert counts.spikes[0, 2] == (np.prod(shape) if sign > 0 else 0)


@pytest.mark.parametrize("neurons", [2**15 - 1, 2**15, 2**15 + 1, 50_000])
def test_sums_of_sixteen_bits(neurons):
    """More neurons than 16 bits count may all reach one target: such a table is no raster's."""
    table = Dense(np.ones((neurons, 1), np.int8))
    theta = np.full(32, neurons, np.int64)
    found = raster_tables.in_units(table.as_conv((neurons,)), True, (neurons,), (1,), 32, None, theta, False)
    assert (found is None) == (neurons >= 2**15)
    net = Network()
    net.driven("in", neurons, 1)
    net.spiking("n", 1, neurons)
    net.readout("out", 1)
    net.connect("in", "n", table)
    net.connect("n", "out", [[1]])
    for engine in ("queue", "layered"):
        result = es.run(net, {"in": np.ones(neurons, int)}, steps=3, resolution=1, engine=engine, record="none")
        assert result.readout[:, 0].tolist() == [1, 2, 3]


# ------------------------------------------------------------------------------------- driven neurons


@pytest.mark.parametrize(
    ("threshold", "v0", "current", "steps"),
    [
        (2**31 - 1, 2**31 - 2, 2**29, 3),  # rises beyond 32 bits on the way
        (2**31 - 1, -(2**31), 1, 2),
        (2**31 - 1, -(2**30) - 5, 3, 3),
        (2**31 - 1, -(2**31), 2**31 - 1, 5),
        (1, 2**31 - 1, 1, 4),
        (1, 2**31 - 1, -5, 4),
        (2**30, 2**30, 2**30 - 1, 4),
    ],
)
@pytest.mark.parametrize("resolution", [1, 8])
def test_driven_neurons_at_the_edge_of_32_bits(threshold, v0, current, steps, resolution):
    net = Network()
    net.driven("in", 3, threshold, v0=v0)
    net.readout("out", 3)
    net.connect("in", "out", np.eye(3, dtype=int))
    counts, spikes = run_both(prepare(net, {"in": [current, 0, -current]}, steps=steps, resolution=resolution))
    # By definition, from one tick to the next.
    expected, fired = [], [0, 0, 0]
    for tick in range(1, steps * resolution + 1):
        for neuron, drive in enumerate((current, 0, -current)):
            if v0 + drive * tick // resolution - threshold * fired[neuron] >= threshold:
                fired[neuron] += 1
                expected.append((tick, neuron, 1))
    assert spikes.of("in") == expected
    assert counts.readout["out"][-1].tolist() == fired


def test_currents_that_are_refused():
    net = Network()
    net.image_input((1, 1, 1))
    net.driven("in", (1, 1, 1), 1, encoder=Conv2d([[[[2**23]]]]))
    net.driven("given", 1, 1)
    net.readout("out", 1)
    net.connect("in", "out", [[1]])
    net.output = "out"

    def currents(pixel, given):
        return prepare(net, {"given": [given], "in": [2**23 * pixel]}, steps=1, resolution=1).currents

    assert currents(255, 2**31 - 1)["given"].tolist() == [2**31 - 1]
    assert currents(255, -(2**31) + 1)["given"].tolist() == [-(2**31) + 1]
    for wrong in (2**31, -(2**31), 2**32 - 1, 2**33):
        with pytest.raises(InputError, match="currents must fit 32 bits"):
            currents(255, wrong)
    # Those of an image: 255 times a weight.
    for weight, fits in ((2**23, True), (8421504, True), (8421505, False), (2**24, False), (-8421505, False)):
        net = Network()
        net.image_input((1, 1, 1))
        net.driven("in", (1, 1, 1), 1, encoder=Conv2d([[[[weight]]]]))
        white = np.full((1, 1, 1), 255, np.uint8)
        if fits:
            assert prepare(net, white, steps=1, resolution=1).currents["in"].tolist() == [255 * weight]
        else:
            with pytest.raises(InputError, match=f"up to {255 * abs(weight)}, beyond 32 bits"):
                prepare(net, white, steps=1, resolution=1)


@pytest.mark.parametrize("sign", [1, -1])
def test_runs_that_64_bits_might_not_do_for_are_refused(sign):
    """(largest current x steps + 2**32) x resolution stays below 2**62."""
    net = Network()
    net.driven("in", 2, 1)
    for current, steps, resolution, fits in (
        (2**30 - 1, 4, 2**29, True),
        (2**30, 4, 2**29, False),
        (0, 1, 2**30 - 1, True),
        (0, 1, 2**30, False),
        (2**31 - 1, 2**19, 4094, True),
        (2**31 - 1, 2**19, 4096, False),
    ):
        given = {"in": [sign * current, 0]}
        if fits:
            prepare(net, given, steps=steps, resolution=resolution)
        else:
            with pytest.raises(RunError, match="exceed 64 bits"):
                prepare(net, given, steps=steps, resolution=resolution)


# ------------------------------------------------------------------------------------- what a run keeps from the last one


@pytest.mark.parametrize("resolution", [1, 8, 2**20])
def test_a_simulator_takes_the_exit_rule_of_each_run(resolution):
    net = chain(1, [3, 1])
    events = {"src": ([0.5, 1.5, 2.5], [0, 1, 1])}
    simulator = es.Simulator(net)
    ends = [
        simulator.run(events, steps=8, resolution=resolution, engine="layered", **rule).counts.end_tick / resolution
        for rule in ({}, {"exit_potential": 2}, {}, {"exit_margin": 4}, {"exit_potential": 2}, {})
    ]
    fresh = [
        es.run(net, events, steps=8, resolution=resolution, engine="reference", **rule).counts.end_tick / resolution
        for rule in ({}, {"exit_potential": 2}, {}, {"exit_margin": 4}, {"exit_potential": 2}, {})
    ]
    assert ends == fresh
    assert fresh[0] == 8 > fresh[3] > fresh[1]


def test_a_window_is_run_again_from_where_it_began():
    """Site by site: exits in several windows, with spikes before it and after it in all populations."""
    rng = np.random.default_rng(4)
    net = Network()
    net.driven("in", 30, 7)
    net.spiking("a", (2, 2, 16), 4)
    net.spiking("b", 40, 5)
    net.readout("out", 3)
    net.connect("in", "a", rng.choice([-1, 1, 1], (30, 64)))
    net.connect("a", "b", rng.choice([-1, 1, 1], (64, 40)))
    net.connect("b", "out", rng.integers(-3, 6, (40, 3)))
    currents = {"in": rng.integers(0, 20, 30)}
    stopped = set()
    last = int(es.run(net, currents, steps=6, resolution=2**12, engine="reference").readout[-1].max())
    for share in (0.01, 0.1, 0.4, 0.6, 0.9):
        job = prepare(net, currents, steps=6, resolution=2**12, exit_rule=ExitRule("potential", int(share * last)))
        layouts = layered.Layouts(net)
        counts = ENGINES["reference"](job, expected := Spikes())
        found = layered.run(job, layouts, spikes := Spikes())
        assert all(Sites.why_not(layouts.compiled[name], job, name) is None for name in ("a", "b"))
        assert_same(counts, found)
        assert spikes.all() == expected.all()
        assert counts.exited
        stopped.add(counts.end_tick // 2**12)
    assert len(stopped) > 2

"""Leaky neurons in the layered engine: convolutions, delays, exits, threads, and numbers near the ends of 32 bits."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import ENGINES, Spikes, assert_same

import eventsim as es
from eventsim.engines.registry import Engines
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.limits import POTENTIAL_MAX
from eventsim.model.populations.leak import decayed

STEPS = 40


def leaks(rng, channels, unit):
    """A leak of either kind, maybe with a current, by channel."""
    found = {"decay": rng.choice([0, 1, 410, 1024, 2048, 3000, 4095, 4096], channels)}
    if rng.random() < 0.3:
        found = {"leak": rng.integers(0, 2 * unit, channels)}
    return found | ({"current_decay": rng.choice([0, 410, 2048, 4096], channels)} if rng.random() < 0.5 else {})


def add_leaky(rng, net, name, shape, unit):
    """Leaky neurons that are reset in any way, some with a refractory period."""
    channels, reset = np.array(shape).ravel()[-1], str(rng.choice(["subtract", "zero", "value"]))
    net.leaky(
        name,
        shape,
        rng.integers(1, 6, channels) * unit,
        v0=int(rng.integers(-2, 6)) * unit,
        reset=reset,
        amount=-unit if reset == "value" else None,
        refractory=float(rng.choice([0, 0, 2.5])),
        **leaks(rng, channels, unit),
    )


def drawn(rng):
    """A network of a convolution and dense layers, its input, and maybe an exit rule."""
    net, unit = es.Network(), int(rng.choice([1, 100, 40_000]))
    net.source("src", (5, 5, 2))
    add_leaky(rng, net, "conv", (3, 3, 4), unit)
    add_leaky(rng, net, "dense", 40, unit)
    net.leaky_readout("out", 3, v0=rng.integers(-1, 2, 3) * unit if rng.random() < 0.5 else 0, **leaks(rng, 3, unit))
    kernel = rng.choice([-1, 1], (3, 3, 2, 4)) if rng.random() < 0.5 else rng.integers(-2, 3, (3, 3, 2, 4))
    net.connect("src", "conv", es.Conv2d(kernel * unit), delay=float(rng.choice([0, 1])))
    net.connect("conv", "dense", rng.integers(-2, 3, (36, 40)) * unit)
    net.connect("dense", "out", rng.integers(-3, 4, (40, 3)) * unit)
    if rng.random() < 0.5:
        net.connect("src", "dense", rng.integers(-2, 3, (50, 40)) * unit)
    events = int(rng.integers(0, 120))
    given = {"src": (np.sort(rng.uniform(0, STEPS - 10, events)), rng.integers(0, 50, events))}
    return net, given, None if rng.random() < 0.6 else ExitRule("margin", int(rng.integers(3, 60)) * unit)


def cases(salt, number, resolutions=(1,)):
    """Jobs of random networks, at one resolution after the other."""
    for i in range(number):
        net, given, rule = drawn(np.random.default_rng([salt, i]))
        try:
            yield prepare(net, given, steps=STEPS, resolution=resolutions[i % len(resolutions)], exit_rule=rule)
        except es.RunError:  # a rule that holds before the first spike
            continue


@pytest.mark.parametrize(("salt", "resolutions"), [(1, (1,)), (4, (2**20, 2, 1000, 7))])
def test_as_the_reference(salt, resolutions):
    fired = exited = 0
    for job in cases(salt, 40, resolutions):
        found = {}
        for name in ("reference", "layered"):
            spikes = Spikes()
            found[name] = ENGINES[name](job, spikes), spikes.all()
        assert_same(found["reference"][0], found["layered"][0])
        assert found["reference"][1] == found["layered"][1]
        assert found["layered"][0].engine == "layered"
        fired += sum(map(len, found["layered"][1].values()))
        exited += found["layered"][0].exited
    assert fired > 1000
    assert exited > 3


def test_runs_one_after_another_and_on_threads_are_those_of_one():
    for job in [*cases(2, 10), *cases(5, 8, (2**20, 3))]:
        engines, (alone, again, shared) = Engines(job.network), (Spikes(), Spikes(), Spikes())
        counts = engines.run("layered", job, alone)
        assert_same(counts, engines.run("layered", job, again))
        assert_same(counts, engines.run("layered", job, shared, threads=2))
        assert alone.all() == again.all() == shared.all()


@pytest.mark.kernels
@pytest.mark.parametrize("kind", ["decay", "leak", "current_decay"])
def test_large_and_small_values_leak_as_they_are_defined_to(kind):
    rng, size = np.random.default_rng(3), 300
    largest = POTENTIAL_MAX - 1 if kind != "current_decay" else POTENTIAL_MAX // 8
    values = rng.integers(-largest, largest, size, endpoint=True) >> rng.integers(0, 30, size)
    values[:2] = largest, -largest
    amounts = rng.integers(0, 4096, size, endpoint=True) if kind != "leak" else rng.integers(0, largest, size) >> rng.integers(0, 30, size)
    amounts[2:40] = values[2:40] = 4096 if kind != "leak" else 7
    net = es.Network()
    net.source("src", 1)
    net.leaky_readout("out", size, v0=0 if kind == "current_decay" else values, **{kind: amounts})
    net.connect("src", "out", values[None] if kind == "current_decay" else np.zeros((1, size), int))
    run = es.run(net, {"src": ([1.0], [0])}, steps=4, resolution=1, engine="layered")
    assert run.counts.engine == "layered"
    state, expected = values.astype(np.int64), [values]
    for _ in range(3):
        state = decayed(state, amounts, 0) if kind != "leak" else decayed(state, np.zeros_like(amounts), amounts)
        expected.append(state)
    # What flows in adds up, in readouts that do not leak themselves.
    np.testing.assert_array_equal(run.readout, np.cumsum(expected, axis=0) if kind == "current_decay" else expected)

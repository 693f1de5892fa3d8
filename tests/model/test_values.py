"""Networks are equal by value; objects show what they are in a line; help tells the options."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
from judges.evaluations import small_data, small_network
from judges.random_networks import random_case

import eventsim as es


def everything():
    """A network with every kind of population and table."""
    net = es.Network(labels=["a", "b"], provenance={"note": "x", "steps": 4})
    net.image_input((4, 4, 1), scale=2, offset=3)
    net.driven("d", (4, 4, 2), [5, 6], v0=1, refractory=1, encoder=es.Conv2d(np.ones((3, 3, 1, 2), int), padding=1), bias=[1, 2])
    net.spiking("h", (2, 2, 2), 3, signed=True, refractory=0.5)
    net.source("p", 4, "poisson", rate=[0.1, 0.2, 0.3, 0.4])
    net.source("e", 4)
    net.readout("out", 2, v0=[1, 2])
    net.connect("d", "h", es.Conv2d(np.ones((3, 3, 2, 2), int), padding=1, pool_after=2))
    net.connect("p", "h", es.Sparse([0, 1, 1, 2, 3], [3, 0, 7], [1, -1, 5], 8), delay=2)
    net.connect("e", "h", np.ones((4, 8), int))
    net.connect("h", "out", np.arange(16).reshape(8, 2))
    net.bias("h", [1, 2])
    return net


def test_what_is_loaded_twice_is_equal(tmp_path):
    net = everything()
    es.save(net, tmp_path / "net.h5")
    one, two = es.load(tmp_path / "net.h5"), es.load(tmp_path / "net.h5")
    assert one == two == net == everything() == copy.deepcopy(net)
    assert not one != two  # noqa: SIM202
    for name in net.populations:
        assert one.populations[name] == net.populations[name]
    for a, b in zip(one.projections, net.projections, strict=True):
        assert a == b
        assert a.table == b.table
    for seed in range(10):
        case = random_case(np.random.default_rng(seed), 1000)
        assert case.network == random_case(np.random.default_rng(seed), 1000).network


def with_population(name, **changes):
    def change(net):
        population = net.populations[name]
        values = {f: getattr(population, f) for f in type(population).__dataclass_fields__} | changes
        net.populations[name] = type(population)(**values)

    return change


def with_table(index, **changes):
    def change(net):
        p = net.projections[index]
        values = {f: getattr(p.table, f) for f in type(p.table).__dataclass_fields__} | changes
        net.projections[index] = type(p)(p.name, p.source, p.target, type(p.table)(**values), p.delay)

    return change


def reorder(net):
    net.populations = dict(reversed(net.populations.items()))


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.labels.reverse(),
        lambda net: net.provenance.update(steps=5),
        lambda net: setattr(net, "output", None),
        lambda net: setattr(net, "input", None),
        lambda net: net.image_input((4, 4, 1), scale=2, offset=4),
        lambda net: net.image_input((4, 4, 1), scale=3, offset=3),
        lambda net: net.readout("more", 1),
        lambda net: net.projections.reverse(),
        lambda net: net.projections.pop(),
        reorder,
        with_population("d", threshold=np.array([5, 7])),
        with_population("d", refractory=2.0),
        with_population("d", encoder=None),
        with_population("d", encoder=es.Conv2d(np.ones((3, 3, 1, 2), int) * 2, padding=1)),
        with_population("h", signed=False),
        with_population("h", onset=0.5),
        with_population("h", v0=np.array([0, 1])),
        with_population("p", rate=np.array([0.1, 0.2, 0.3, 0.5])),
        with_population("e", emits="clock"),
        with_population("e", emits="start"),
        with_population("e", emits="start", period=0.5),
        with_population("out", v0=np.array([1, 3])),
        with_table(0, pool_after=1),
        with_table(0, padding=0),
        with_table(0, weights=-np.ones((3, 3, 2, 2), int)),
        with_table(1, indices=np.array([3, 0, 6])),
        with_table(1, targets=9),
        with_table(2, weights=np.ones((8, 4), int)),
        with_table(3, weights=np.arange(16).reshape(8, 2) + 1),
    ],
)
def test_every_difference_counts(change):
    net = everything()
    change(net)
    assert net != everything()
    assert not net == everything()  # noqa: SIM201


def test_other_things_are_not_equal_and_none_is_hashable():
    net = everything()
    assert net != "net"
    assert net.populations["h"] != net.populations["d"]
    alike = es.Network()
    alike.driven("d", 2, 5, v0=1)
    alike.readout("r", 2, v0=1)
    # A readout has nothing that driven neurons have not.
    assert alike.populations["r"] != alike.populations["d"]
    assert es.Dense([[1, 1]]) != es.Sparse([0, 2], [0, 1], [1, 1], 2)
    # By value, not by the width in which weights happen to be given.
    assert es.Dense(np.ones((2, 2), np.int8)) == es.Dense(np.ones((2, 2), np.int64))
    for thing in (net, net.populations["h"], net.projections[0], net.projections[0].table, net.input):
        with pytest.raises(TypeError, match="unhashable"):
            hash(thing)


def test_a_line_says_what_a_thing_is(tmp_path):
    net = everything()
    assert repr(net) == "<Network: 6 populations of 51 neurons, 5 projections, input 4x4x1, output 'out'>"
    assert repr(es.Network()) == "<Network: 0 populations of 0 neurons, 0 projections>"
    assert repr(es.Simulator(net)) == f"Simulator({net!r})"
    table = net.projections[0].table
    assert repr(table) == ("Conv2d(weights=<int8 3x3x2x2>, stride=(1, 1), padding=(1, 1, 1, 1), pool_before=(1, 1), pool_after=(2, 2))")
    assert repr(table) in repr(net.projections[0])
    assert repr(net.populations["out"]) == "Readout(shape=(2,), v0=[1, 2])"
    assert len(str(net).splitlines()) == 12
    big = es.Network()
    big.driven("d", 10_000, 5)
    big.readout("out", 10_000)
    big.connect("d", "out", es.Sparse(np.arange(10_001), np.arange(10_000), np.arange(10_000), 10_000))
    assert all(len(repr(x)) < 300 for x in (big, big.populations["d"], big.projections[0]))

    net, data = small_network(), small_data(5)
    result = es.run(net, data[0], steps=4, trace=tmp_path / "run.h5")
    answer = f"answer '{result.label}' decided at {result.decision_latency:.3f}"
    assert repr(result).startswith(f"<Result: {answer}; 4 of 4 steps, 1,048,576 ticks")
    assert f"{result.total_spikes:,} spikes, {result.total_synaptic_events:,} synaptic events" in repr(result)
    with es.Trace(tmp_path / "run.h5") as trace:
        assert repr(trace) == repr(result).replace("<Result", f"<Trace '{tmp_path / 'run.h5'}'")
    assert "run.h5' (closed): answer" in repr(trace)
    e = es.evaluate(net, data, tmp_path / "e.h5", workers=1)
    assert repr(e) == f"<Evaluation '{tmp_path / 'e.h5'}': 5 images of made (test), 6 steps, 1,048,576 ticks a step>"
    e.close()
    assert "(closed): 5 images" in repr(e)
    with pytest.raises(es.RunError, match="closed"):
        e.exit_kinds  # noqa: B018
    for use in (e.trade_off, e.totals, e.summary):
        with pytest.raises(es.RunError, match="closed"):
            use()
    nothing = es.Network()
    nothing.driven("d", 1, 5)
    assert "answer" not in repr(es.run(nothing, {"d": [1]}, steps=1))


def test_help_of_run_tells_its_options():
    method = inspect.signature(es.Simulator.run).parameters
    function = inspect.signature(es.run).parameters
    assert list(function) == ["network", *list(method)[1:]]
    assert all(function[name].default == method[name].default for name in list(method)[1:])
    text = inspect.getdoc(es.run)
    for name in ("network", "inputs", *list(method)[2:]):
        assert name in text
    assert "network : Network\n" in text
    assert es.run.__name__ == es.run.__qualname__ == "run"
    net = small_network()
    assert es.run(network=net, inputs=small_data()[0], steps=2, resolution=1).info.steps == 2
    with pytest.raises(TypeError):
        es.run(net, small_data()[0], 5)

"""Many inputs in one call: each as if it had been run alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from judges.drawn_networks import cases
from judges.engines import assert_same

import eventsim as es
from eventsim.model.order import feed_forward_order


def assert_same_result(expected: es.Result, found: es.Result) -> None:
    """Everything but how long it took."""
    assert_same(expected.counts, found.counts)
    assert expected.counts.engine == found.counts.engine
    assert expected.recorded == found.recorded
    for name in expected.recorded:
        for a, b in zip(expected.spikes(name), found.spikes(name), strict=True):
            assert np.array_equal(a, b), name
    assert expected.potentials_recorded == found.potentials_recorded
    for name in expected.potentials_recorded:
        assert np.array_equal(expected.potentials(name), found.potentials(name)), name
    assert expected.summary() | {"wall_seconds": 0} == found.summary() | {"wall_seconds": 0}
    assert (expected.image is None) == (found.image is None)
    assert expected.image is None or np.array_equal(expected.image, found.image)


def image_network(seed: int = 1, **neuron) -> es.Network:
    """Pixels, a signed layer with biases and one without, and a readout."""
    rng = np.random.default_rng(seed)
    net = es.Network()
    net.image_input((6, 6, 1), scale=2, offset=60)
    net.driven("pixels", (6, 6, 2), 900, v0=450, encoder=es.Conv2d(rng.integers(-3, 4, (3, 3, 1, 2)), padding=1))
    net.spiking("signed", (3, 3, 4), 3, v0=1, signed=True, **neuron)
    net.spiking("plain", 8, 2, v0=1)
    net.readout("out", 3)
    net.connect("pixels", "signed", es.Conv2d(rng.choice([-1, 1], (3, 3, 2, 4)), padding=1, pool_after=2))
    net.connect("signed", "plain", rng.choice([-1, 1], (36, 8)))
    net.connect("plain", "out", rng.integers(-5, 9, (8, 3)))
    net.bias("signed", rng.integers(-1, 2, 4))
    return net


def pictures(number: int, seed: int = 1) -> np.ndarray:
    images = np.random.default_rng(seed).integers(0, 256, (number, 6, 6, 1), dtype=np.uint8)
    # One without any spikes at all.
    images[number // 2] = 0
    return images


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(cases(), st.sampled_from([1, 2, 1000]), st.sampled_from([None, 1, 4]), st.integers(1, 4), st.booleans(), st.integers(0, 9))
def test_each_of_many_is_as_alone(case, resolution, margin, number, record, max_spikes):
    net, first = case
    rng = np.random.default_rng(number)
    inputs = [first] + [first | {"in": rng.integers(-5, 20, first["in"].shape)} for _ in range(number - 1)]
    common = {"steps": 4, "resolution": resolution, "exit_margin": margin, "record": "all" if record else "none"}
    common |= {"potentials": "all" if record else "none", "max_spikes": max_spikes if max_spikes < 5 else 10**6}
    for engine in ("auto", "reference", "queue", "layered"):
        if engine == "layered" and feed_forward_order(net) is None:
            continue
        simulator = es.Simulator(net)
        try:
            expected = [es.run(net, given, engine=engine, **common) for given in inputs]
        except es.NetworkError:  # a cycle of delays that are no ticks at this resolution
            assume(False)
        runs = simulator.run_many(iter(inputs), engine=engine, **common)
        assert len(runs) == number
        for one, found in zip(expected, runs, strict=True):
            assert_same_result(one, found)
        # In another order, on the same simulator, nothing is left of the runs before.
        for one, found in zip(expected[::-1], simulator.run_many(inputs[::-1], engine=engine, **common), strict=True):
            assert_same_result(one, found)


@pytest.mark.parametrize("resolution", [1, 4, 2**20])
@pytest.mark.parametrize("rule", [{}, {"exit_margin": 30}, {"exit_potential": 35}])
@pytest.mark.parametrize("refractory", [0, 0.5])
def test_images_and_their_columns(resolution, rule, refractory):
    net, images = image_network(refractory=refractory), pictures(11)
    simulator = es.Simulator(net)
    common = {"steps": 7, "resolution": resolution, **rule}
    alone = [es.run(net, image, record="none", **common) for image in images]
    runs = simulator.run_many(images, **common)
    for one, found in zip(alone, runs, strict=True):
        assert_same_result(one, found)
    if rule:
        # Some runs end before others, so that columns have rows behind the end.
        assert 0 < runs.exited.sum() < len(runs)
    assert len({one.decision for one in alone}) > 1
    assert runs.decision.tolist() == [-1 if one.decision is None else one.decision for one in alone]
    assert [None if np.isnan(x) else x for x in runs.decision_latency.tolist()] == [one.decision_latency for one in alone]
    assert runs.duration.tolist() == [one.duration for one in alone]
    assert runs.exited.tolist() == [one.counts.exited for one in alone]
    assert not runs.stopped.any()
    assert runs.total_spikes.tolist() == [one.total_spikes for one in alone]
    assert runs.total_synaptic_events.tolist() == [one.total_synaptic_events for one in alone]
    assert runs.total_additions.tolist() == [one.total_additions for one in alone]
    for name, column in runs.spikes_per_population().items():
        assert column.tolist() == [one.spikes_per_population()[name] for one in alone]
    for name in ("spikes", "negative_spikes", "deliveries", "synaptic_events", "additions", "toolbox", "effective"):
        for one, row in zip(alone, runs.counted(name), strict=True):
            expected = getattr(one.counts, name)
            assert row.shape == (7, expected.shape[1])
            assert np.array_equal(row[: len(expected)], expected)
            assert not row[len(expected) :].any()
    for one, potentials, decisions in zip(alone, runs.readout, runs.decision_over_time(), strict=True):
        steps = len(one.readout)
        assert np.array_equal(potentials[:steps], one.readout)
        assert np.all(potentials[steps:] == one.readout[-1])
        assert decisions[:steps].tolist() == one.decision_over_time().tolist()
        assert set(decisions[steps:].tolist()) <= {decisions[steps - 1]}
    assert [r.decision for r in runs[2:5]] == [r.decision for r in alone[2:5]]
    assert runs[-1] is list(runs)[-1]
    with pytest.raises(es.RunError, match="'wins' is not counted by step; there are: spikes, negative_spikes, deliveries"):
        runs.counted("wins")


def test_what_each_is_given_is_not_kept(tmp_path):
    net, images = image_network(), pictures(5)
    seen = {}
    runs = es.Simulator(net).run_many(
        images, steps=5, record=["plain"], potentials=["signed"], traces={12: tmp_path / "12.h5"}, first=10, each=seen.__setitem__
    )
    assert list(seen) == [10, 11, 12, 13, 14]
    for number, image in enumerate(images, 10):
        trace = tmp_path / "alone.h5" if number == 12 else None
        alone = es.run(net, image, steps=5, record=["plain"], potentials=["signed"], trace=trace)
        found = seen[number]
        assert_same(alone.counts, found.counts)
        for name in ("ticks", "neurons", "signs"):
            assert np.array_equal(getattr(alone.spikes("plain"), name), getattr(found.spikes("plain"), name))
        assert np.array_equal(alone.potentials("signed"), found.potentials("signed"))
        assert_same(alone.counts, runs[number - 10].counts)
    assert runs[0].recorded == []
    assert runs[0].potentials_recorded == ["out"]
    with pytest.raises(es.RunError, match="were not recorded"):
        runs[0].spikes("plain")
    with es.Trace(tmp_path / "12.h5") as trace:
        assert np.array_equal(trace.spikes("plain").ticks, seen[12].spikes("plain").ticks)
    # The spikes of a trace are on the disk.
    assert runs[2].recorded == ["plain"]


@pytest.mark.parametrize(("inputs", "found"), [(5, "5"), (None, "None"), ({"pixels": 3}, "a mapping")])
def test_one_input_is_no_series_of_them(inputs, found):
    with pytest.raises(es.RunError, match=f"found {found}; give a list of inputs"):
        es.Simulator(image_network()).run_many(inputs, steps=3)


def test_progress_and_how_to_stop():
    net, images, told = image_network(), pictures(4), []
    es.Simulator(net).run_many(images, steps=3, progress=told.append)
    assert sorted(set(told)) == [0, 1, 2, 3, 4]
    assert told == sorted(told)

    class Enough(Exception):
        pass

    done = []

    def stop(number: int) -> None:
        if number == 2:
            raise Enough

    with pytest.raises(Enough):
        es.Simulator(net).run_many(images, steps=3, progress=stop, each=lambda number, result: done.append(number))
    assert done == [0, 1]


def test_inputs_are_taken_one_at_a_time():
    net, taken, done = image_network(), [], []

    def images():
        for number, image in enumerate(pictures(4)):
            assert len(done) == number
            taken.append(number)
            yield image

    es.Simulator(net).run_many(images(), steps=3, each=lambda number, result: done.append(number))
    assert taken == [0, 1, 2, 3]


def test_errors_say_which_input():
    net, images = image_network(), pictures(3)
    simulator = es.Simulator(net)
    wrong = [images[0], images[1].astype(float), images[2]]
    with pytest.raises(es.InputError, match=r"input 1: the network takes pixels as whole numbers"):
        simulator.run_many(wrong, steps=3)
    with pytest.raises(es.InputError, match=r"input 8: "):
        simulator.run_many(wrong, steps=3, first=7)
    with pytest.raises(es.InputError, match=r"input 0: the network takes an image of shape \(6, 6, 1\)"):
        simulator.run_many(images[0], steps=3)
    with pytest.raises(es.RunError, match=r"traces of inputs \[3\], but there are only 0\.\.2"):
        simulator.run_many(images, steps=3, traces={3: "x.h5"})
    with pytest.raises(es.RunError, match="unknown engine 'fast'"):
        simulator.run_many([], engine="fast")


def test_none_at_all():
    runs = es.Simulator(image_network()).run_many([], steps=3)
    assert len(runs) == 0
    assert repr(runs) == "<Runs: none>"
    assert runs.decision.shape == runs.total_spikes.shape == (0,)
    assert runs.counted("spikes").shape == (0, 0, 5)


def test_networks_that_take_no_image():
    net = es.Network()
    net.source("noise", 4, "poisson", rate=np.full(4, 0.5))
    net.spiking("n", 2, 1)
    net.connect("noise", "n", np.ones((4, 2), int))
    runs = es.Simulator(net).run_many([None, {"noise": np.ones(4)}, None], steps=9, seed=3)
    assert runs.decision.tolist() == [-1, -1, -1]
    assert np.isnan(runs.decision_latency).all()
    # All take the same seed, as they would alone.
    assert runs.total_spikes[0] == runs.total_spikes[2] == es.run(net, steps=9, seed=3).total_spikes
    assert runs.spikes_per_population()["noise"][1] == 36
    with pytest.raises(es.RunError, match="no output"):
        runs.readout  # noqa: B018


def test_runs_that_are_stopped():
    net, images = image_network(), pictures(6)
    runs = es.Simulator(net).run_many(images, steps=6, max_spikes=600)
    assert 0 < runs.stopped.sum() < 6
    assert runs.stopped.tolist() == [es.run(net, image, steps=6, max_spikes=600).stopped is not None for image in images]
    assert (runs.duration[runs.stopped] < 6).all()
    assert "6; " in repr(runs)

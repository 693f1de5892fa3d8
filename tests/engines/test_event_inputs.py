"""Random recordings: all engines, and an independent loop, agree on networks with event inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from judges import dense_loop
from judges.engines import run_both

import eventsim as es
from eventsim.job.preparation import prepare

EVENT = np.dtype([("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "i1")])


@st.composite
def filmed(draw):
    """A network of an event input, neurons behind a convolution or a matrix, maybe again, and a readout; and a recording."""
    height, width, polarity = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.sampled_from(["split", "merge", "sign"]))
    channels, step_us = (2 if polarity == "split" else 1), draw(st.sampled_from([1, 3, 10, 1000]))
    weights = st.integers(-3, 3)
    net = es.Network()
    net.event_input("camera", (height, width, channels), polarity=polarity, step_us=step_us)
    signed = draw(st.booleans())
    reset = "subtract" if signed else draw(st.sampled_from(["subtract", "zero"]))
    period = draw(st.sampled_from([0, 0, 0.5, 2]))
    net.spiking("first", (height, width, 2), draw(st.integers(1, 4)), v0=draw(weights), signed=signed, reset=reset, refractory=period)
    net.spiking("second", 3, draw(st.integers(1, 4)), signed=draw(st.booleans()))
    net.readout("out", 2)
    net.connect("camera", "first", es.Conv2d(draw(hnp.arrays(np.int8, (3, 3, channels, 2), elements=weights)), padding=1))
    net.connect("first", "second", draw(hnp.arrays(np.int8, (height * width * 2, 3), elements=weights)))
    net.connect("second", "out", draw(hnp.arrays(np.int8, (3, 2), elements=weights)))
    for target in draw(st.lists(st.sampled_from(["second", "out"]), max_size=2)):
        matrix = draw(hnp.arrays(np.int8, (height * width * channels, net.populations[target].size), elements=weights))
        net.connect("camera", target, matrix, delay=draw(st.sampled_from([0, 1, 2])))
    events = np.zeros(draw(st.integers(0, 30)), EVENT)
    for i in range(len(events)):
        row = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1), st.integers(0, 5 * step_us), st.integers(-1, 1))
        events[i] = draw(row)
    return net, events


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(filmed(), st.sampled_from([1, 2, 7, 2**20]))
def test_engines_agree(case, resolution):
    net, events = case
    run_both(prepare(net, {"camera": events}, steps=4, resolution=resolution))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(filmed())
def test_clocked_runs_equal_the_dense_loop(case):
    net, events = case
    counts, spikes = run_both(prepare(net, {"camera": events}, steps=4, resolution=1))
    seen = dense_loop.run(net, steps=4, events={"camera": events})
    assert np.array_equal(counts.readout["out"], seen.readout["out"])
    for name in ("first", "second"):
        fired = np.zeros_like(seen.spikes[name])
        for tick, neuron, sign in spikes.of(name):
            fired[tick - 1, neuron] += sign
        assert np.array_equal(fired, seen.spikes[name])
    for kind in ("deliveries", "synaptic_events", "additions", "effective"):
        for column, projection in enumerate(net.projections):
            assert np.array_equal(getattr(counts, kind)[:, column], getattr(seen, kind)[projection.name]), (kind, projection.name)
    assert counts.decision == (None if seen.decision[-1] < 0 else seen.decision[-1])


@pytest.mark.parametrize("polarity", ["split", "sign"])
def test_potentials_follow_from_the_signs(polarity):
    rng = np.random.default_rng(3)
    net = es.Network()
    net.event_input("camera", (3, 3, 2 if polarity == "split" else 1), polarity=polarity, step_us=10)
    net.spiking("n", 4, 3, signed=True)
    net.connect("camera", "n", rng.integers(-3, 4, (net.populations["camera"].size, 4)))
    events = np.zeros(60, EVENT)
    for field, most in {"x": 3, "y": 3, "t": 41, "p": 2}.items():
        events[field] = rng.integers(0, most, 60)
    found = [es.run(net, {"camera": events}, steps=4, resolution=10, potentials="all", engine=e) for e in ("reference", "queue", "layered")]
    matrix = net.projections[0].table.matrix(net.populations["camera"].shape, (4,))
    for result in found:
        camera, fired = result.spikes("camera"), result.spikes("n")
        for step in range(1, 5):
            v = np.zeros(4, int)
            for tick, neuron, sign in zip(camera.ticks, camera.neurons, camera.signs, strict=True):
                v += sign * matrix[neuron] if tick <= 10 * step else 0
            for tick, neuron, sign in zip(fired.ticks, fired.neurons, fired.signs, strict=True):
                v[neuron] -= 3 * int(sign) if tick <= 10 * step else 0
            assert result.potentials("n")[step - 1].tolist() == v.tolist()

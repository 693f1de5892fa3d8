"""When things happen: delays, events, Poisson sources, the bias clock, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from judges.small_networks import one_neuron

from eventsim.errors import InputError, NetworkError
from eventsim.job.preparation import prepare
from eventsim.model.network import Network
from eventsim.model.periods import ticks
from eventsim.model.populations import Source
from eventsim.model.tables import Dense


@pytest.mark.parametrize(
    ("delay", "resolution", "ticks"),
    # floor(d R + 1/2): 0.7 -> 0, 1.0 -> 1, 0.5 + 0.5 -> 1, 1.5 + 0.5 -> 2, 1.4 + 0.5 -> 1, 5.25 + 0.5 -> 5, 12.5 + 0.5 -> 13
    [(0.1, 2, 0), (0.25, 2, 1), (0.5, 1, 1), (1.5, 1, 2), (1.4, 1, 1), (0.75, 7, 5), (1.25, 10, 13), (0, 7, 0)],
)
@pytest.mark.parametrize("from_neuron", [False, True])
def test_delay_in_ticks(engine, delay, resolution, ticks, from_neuron):
    net = Network()
    net.source("src", 1)
    net.spiking("a", 1, 1)
    net.spiking("b", 1, 1)
    net.connect("src", "a", Dense([[1]]))
    net.connect("a" if from_neuron else "src", "b", Dense([[1]]), delay=delay)
    _, spikes = engine(net, {"src": ([1], [0])}, steps=4, resolution=resolution)
    assert spikes.of("a") == [(resolution, 0, 1)]
    assert spikes.of("b") == [(resolution + ticks, 0, 1)]


@pytest.mark.parametrize(
    ("period", "resolution", "expected"),
    [
        (0.5, 1, 1),
        (0.49999999999999994, 1, 0),  # 0.49999999999999994 + 0.5 is 1 in float64
        (np.nextafter(0.5, 1), 1, 1),
        (4503599627370497.0, 1, 4503599627370497),
        (2**49 + 0.5, 2, 2**50 + 1),
        (0.1, 2**50, 112589990684262),
        (0.35, 10, 4),  # float64 has 0.34999999999999997, and means 0.35
        (1e300, 2**50, 10**300 * 2**50),
        (0, 7, 0),
    ],
)
def test_periods_are_rounded_exactly(period, resolution, expected):
    assert ticks(period, resolution) == expected


def test_zero_delay_cycle_is_an_error():
    net = Network()
    net.spiking("a", 2, 1)
    net.spiking("b", 2, 1)
    net.connect("a", "b", Dense(np.eye(2, dtype=int)))
    net.connect("b", "a", Dense(np.eye(2, dtype=int)), delay=0.4)
    with pytest.raises(NetworkError, match="cycle"):
        prepare(net, None, steps=1, resolution=1)  # floor(0.4 + 0.5) = 0
    assert prepare(net, None, steps=1, resolution=2).delay["b->a"] == 1  # floor(0.8 + 0.5)
    loop = Network()
    loop.spiking("a", 1, 1)
    loop.connect("a", "a", Dense([[1]]))
    with pytest.raises(NetworkError, match="cycle"):
        prepare(loop, None, steps=1)


def test_spike_circles_with_delay(engine):
    # A spike once round a ring of two neurons takes 1 + 2 = 3 steps; 2 ticks a step.
    net = one_neuron([1], threshold=1)
    net.spiking("m", 1, 1)
    net.connect("n", "m", Dense([[1]]), delay=1)
    net.connect("m", "n", Dense([[1]]), delay=2)
    _, spikes = engine(net, {"src": ([0.5], [0])}, steps=6, resolution=2)
    assert spikes.of("n") == [(1, 0, 1), (7, 0, 1)]
    assert spikes.of("m") == [(3, 0, 1), (9, 0, 1)]


def test_what_arrives_after_the_end_is_not_processed(engine):
    net = Network()
    net.source("src", 1)
    net.spiking("n", 1, 1)
    net.readout("now", 1)
    net.readout("late", 1)
    net.connect("src", "n", Dense([[1]]))
    net.connect("src", "late", Dense([[10]]), delay=1)
    net.connect("n", "now", Dense([[1]]))
    net.connect("n", "late", Dense([[1]]), delay=1)
    # Events at ticks 4 and 5 of 8, 4 ticks a step: the first arrives at the last tick, 8, the second would at 9.
    counts, _ = engine(net, {"src": ([1, 1.25, 2.25, 99], [0, 0, 0, 0])}, steps=2, resolution=4)
    assert counts.end_tick == 8
    assert not counts.exited
    assert counts.deliveries.tolist() == [[1, 0, 1, 0], [1, 1, 1, 1]]
    assert counts.readout["now"].tolist() == [[1], [2]]
    assert counts.readout["late"].tolist() == [[0], [11]]


def test_event_times_become_ticks():
    # max(1, ceil(t R)) with R = 4: 0 -> 1, 0.1 -> 1, 0.25 -> 1, 0.26 -> 2, 1 -> 4, 2 -> 8; beyond the end is dropped.
    net = Network()
    net.source("src", 3)
    job = prepare(net, {"src": ([2, 0, 0.1, 0.25, 0.26, 1, 2.01, 1], [0, 1, 0, 2, 0, 2, 1, 1])}, steps=2, resolution=4)
    at, neurons = job.events["src"]
    assert list(zip(at.tolist(), neurons.tolist(), strict=True)) == [(1, 0), (1, 1), (1, 2), (2, 0), (4, 1), (4, 2), (8, 0)]


@pytest.mark.parametrize("resolution", [3, 10, 100, 1000])
def test_event_times_on_a_tick_stay_there(resolution):
    # k / R is rarely exact in float64, and 0.07 * 100 comes out above 7: tick k all the same; a thousandth of a tick later is k + 1.
    net = Network()
    net.source("src", 1)
    k = np.arange(1, 5 * resolution)
    for later, expected in ((0, k), (1e-3, k + 1)):
        job = prepare(net, {"src": ((k + later) / resolution, np.zeros(len(k), int))}, steps=5, resolution=resolution)
        assert job.events["src"][0].tolist() == expected.tolist()


def test_poisson_is_seeded_and_bernoulli_per_step():
    net = Network()
    rates = np.linspace(0, 1, 500).reshape(10, 10, 5)
    net.source("src", (10, 10, 5), "poisson", rate=rates)
    net.source("twin", (10, 10, 5), "poisson", rate=rates)
    steps = 400

    def train(resolution, seed, name="src"):
        at, neurons = prepare(net, None, steps=steps, resolution=resolution, seed=seed).events[name]
        counts = np.zeros((steps, 500), int)
        np.add.at(counts, ((at - 1) // resolution, neurons), 1)
        return at, neurons, counts

    for resolution in (1, 16):
        at, neurons, counts = train(resolution, 5)
        again = train(resolution, 5)
        assert np.array_equal(at, again[0])
        assert np.array_equal(neurons, again[1])
        assert not np.array_equal(counts, train(resolution, 6)[2])
        assert np.all(np.lexsort((neurons, at)) == np.arange(len(at)))
        assert counts.max() == 1  # at most one a step
        assert counts[:, 0].sum() == 0  # rate 0 never, rate 1 always
        assert counts[:, -1].sum() == steps
        # The sum over all draws is normal; six standard deviations.
        variance = steps * (rates * (1 - rates)).sum()
        assert abs(counts.sum() - steps * rates.sum()) < 6 * variance**0.5
        # Each neuron by itself: chi square with 498 degrees of freedom, mean 498, sd 32.
        flat = rates.ravel()[1:-1]
        chi = ((counts[:, 1:-1].sum(0) - steps * flat) ** 2 / (steps * flat * (1 - flat))).sum()
        assert 498 - 6 * 32 < chi < 498 + 6 * 32
        # Steps are independent: a spike now says nothing of the next step.
        c = counts - rates.ravel()
        together = (c[1:] * c[:-1]).sum()
        assert abs(together) < 6 * ((steps - 1) * ((rates * (1 - rates)) ** 2).sum()) ** 0.5
    # Ticks are uniform in the step: 16 equally likely ones.
    place = np.bincount((at - 1) % 16, minlength=16)
    expected = len(at) / 16
    assert ((place - expected) ** 2 / expected).sum() < 15 + 6 * 30**0.5  # chi square with 15 degrees of freedom
    # Two sources of one run do not share their draws.
    assert not np.array_equal(train(1, 5)[2], train(1, 5, "twin")[2])


def test_poisson_rates_of_the_run(engine):
    net = Network()
    net.source("src", 4, "poisson")
    net.readout("out", 4)
    net.connect("src", "out", Dense(np.eye(4, dtype=int)))
    counts, _ = engine(net, {"src": [0, 1, 0, 1]}, steps=3, resolution=10)
    assert counts.readout["out"].tolist() == [[0, 1, 0, 1], [0, 2, 0, 2], [0, 3, 0, 3]]
    with pytest.raises(InputError, match="rates"):
        engine(net, steps=3, resolution=10)


def test_bias_clock_ticks_at_the_end_of_every_step(engine):
    net = Network()
    net.spiking("n", (1, 2, 2), 6)
    net.readout("out", 2)
    net.connect("n", "out", Dense([[1, 0], [0, 0], [0, 0], [0, 1]]))
    net.bias("n", [3, -1])
    net.bias("out", 5)
    # Channel 0 reaches 6 at tick 2 R = 10 and 4 R = 20; channel 1 falls. Neurons (0, 0) and (1, 0) are numbers 0 and 2.
    counts, spikes = engine(net, steps=4, resolution=5)
    assert spikes.of("n") == [(10, 0, 1), (10, 2, 1), (20, 0, 1), (20, 2, 1)]
    assert counts.readout["out"].tolist() == [[5, 5], [11, 10], [16, 15], [22, 20]]
    bias = [p.name for p in net.projections].index("n.bias->n")
    assert counts.deliveries[:, bias].tolist() == [1, 1, 1, 1]
    assert counts.synaptic_events[:, bias].tolist() == [4, 4, 4, 4]


def test_a_start_is_one_spike_a_neuron_one_period_after_the_other(engine):
    net = Network()
    net.source("start", 4, "start", period=0.75)
    net.readout("out", 4)
    net.connect("start", "out", Dense(np.eye(4, dtype=int)))
    # At 5 ticks a step, 0.75 steps are 4 ticks: ticks 1, 5, 9, and 13, which is beyond the end.
    counts, _ = engine(net, steps=2, resolution=5)
    assert counts.readout["out"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
    assert counts.deliveries[:, 0].tolist() == [2, 1]
    net.populations["start"] = Source.checked("start", 4, "start")
    counts, _ = engine(net, steps=2, resolution=5)
    assert counts.readout["out"].tolist() == [[1, 1, 1, 1]] * 2


def test_fractional_delay_of_the_bias_clock(engine):
    # The clock's tick 2 R would arrive after the end.
    net = Network()
    net.source("clock", 1, "clock")
    net.readout("out", 1)
    net.connect("clock", "out", Dense([[1]]), delay=0.5)
    counts, _ = engine(net, steps=2, resolution=4)
    assert counts.readout["out"].tolist() == [[0], [1]]


def test_periods_far_beyond_the_run(engine):
    # The longest refractory period and delay at the highest resolution: one spike each, nothing arrives.
    net = one_neuron([1], threshold=1, refractory=1e6)
    net.readout("late", 1)
    net.connect("n", "late", Dense([[1]]), delay=1e6)
    counts, spikes = engine(net, {"src": ([0.25, 0.5], [0, 0])}, steps=1, resolution=2**48)
    assert spikes.of("n") == [(2**46, 0, 1)]
    assert counts.readout["late"].tolist() == [[0]]

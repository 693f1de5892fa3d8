"""Driven neurons at high resolution: the kernels against a search through the ticks that could be spikes, and the engines."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numba import njit

import eventsim as es
from eventsim.engines.layered import trains
from eventsim.engines.layered.layouts import Layouts
from eventsim.engines.layered.ways import driven as driven_way
from eventsim.engines.layered.ways import driven_kernels as d
from eventsim.engines.layered.ways.records import Status
from eventsim.job.preparation import prepare
from eventsim.kernels import order as order_kernels
from eventsim.kernels import simd_spikes as simd


@njit
def emit(*args):
    return simd.emit(*args)


@pytest.mark.kernels
@pytest.mark.parametrize("of_tick", [np.int32, np.int64])
def test_emitting_spikes(of_tick):
    rng = np.random.default_rng(1)
    for case in range(50):
        size, since, until, bits, n = 3 * simd.GROUP, 1000, 1040, 6, 4
        following = (since + 1 + rng.integers(0, 20 * (1 + case % 4), size)).astype(of_tick)
        following[rng.random(size) < 0.1] = d.never(following)
        whole = rng.integers(1, 60, size).astype(of_tick)
        rate = rng.integers(1, 2**31, size)
        early, rest = (np.floor(rng.random(size) * rate).astype(np.int32) for _ in range(2))
        gain, i = (rate - rest).astype(np.int32), simd.GROUP
        expected, late = [], []
        for neuron in range(i, i + simd.GROUP):
            if following[neuron] <= until:
                expected.append(int(following[neuron] - since) << bits | neuron)
                late.append(early[neuron] < rest[neuron])
        after, over, keys = following.copy(), early.copy(), np.zeros(40, np.int64)
        end, more = emit(after, over, whole, rest, gain, i, since, until, bits, keys, n)
        assert keys[n:end].tolist() == expected
        assert keys[:n].tolist() == [0] * n
        fired = np.flatnonzero(after != following)
        assert fired.tolist() == [key & 63 for key in expected]
        assert (after[fired] - following[fired] - whole[fired]).tolist() == [int(x) for x in late]
        assert ((over[fired].astype(np.int64) - early[fired] + rest[fired]) % rate[fired] == 0).all()
        assert ((over >= 0) & (over < rate)).all()
        assert more == int((after[i : i + simd.GROUP] <= until).any())


@pytest.mark.kernels
def test_expected_spikes():
    rng = np.random.default_rng(8)
    threshold, current = rng.integers(50, 200, 5), rng.integers(-100, 1000, (12, 5)).astype(np.int32)
    rates = np.clip(current / threshold, 0, 3)
    for every in (1, 5):
        found = d.expect(1 / threshold, current.ravel(), 3.0, every)
        assert found == pytest.approx(every * rates[::every].sum(), rel=1e-12)


def searched(threshold, v0, current, refractory, resolution, end) -> list[tuple[int, int]]:
    """Spikes (tick, neuron) by definition, in order."""
    spikes = []
    for neuron, rate in enumerate(current.tolist()):
        channel = neuron % len(threshold)
        theta, start, count, after = int(threshold[channel]), int(v0[channel]), 0, 1
        while True:
            need = (theta * (count + 1) - start) * resolution
            tick = after if rate * after >= need else -(-need // rate) if rate > 0 else None
            if tick is None or tick > end:
                break
            spikes.append((tick, neuron))
            count, after = count + 1, tick + refractory
    return sorted(spikes)


def begun(threshold, v0, current, refractory, resolution, end):
    """Neurons before a run that ends with a tick."""
    periodic = d.periodic_for(len(current), end)
    assert periodic.following.dtype == (np.int32 if end < d.SHORT else np.int64)
    number = d.start(threshold * resolution, (threshold - v0) * resolution, current, refractory, periodic)
    held = d.held_for(number)
    if number:
        d.hold(d.Neurons(threshold, v0, current), resolution, periodic, held)
    return periodic, held


def driven(threshold, v0, current, refractory, resolution, ends, *, stretch=2**40, room=4):
    """Spikes (tick, neuron) of the kernels, windows ending with ``ends``; counts by step; and how many neurons are held."""
    periodic, held = begun(threshold, v0, current, refractory, resolution, ends[-1])
    found, counts = [], np.zeros(-(-ends[-1] // resolution), np.int64)
    neurons, settings = d.Neurons(threshold, v0, current), d.Settings(refractory, resolution, len(current).bit_length(), stretch)
    progress = np.zeros((), d.PROGRESS)
    keys, ordering, out = np.empty(room, np.int64), order_kernels.room_for(room), trains.empty(room, False)
    since = 0
    for until in ends:
        progress[()] = since, 0, 0, -1
        while True:
            status = d.advance(neurons, periodic, held, settings, progress, keys, ordering, out, counts, until)
            if status != Status.GROW:
                break
            if progress["place"] < len(held.neuron):
                keys = np.append(keys, np.empty_like(keys))
            elif not ordering.fits(progress["keys"]):
                ordering = order_kernels.room_for(len(keys))
            else:
                out = trains.grown(out, False, len(out.tick) + 50)
        assert status == Status.DONE
        n = int(progress["fired"])
        found += list(zip(out.tick[:n].tolist(), out.neuron[:n].tolist(), strict=True))
        since = until
    return found, counts, len(held.neuron)


@pytest.mark.parametrize("resolution", [1, 3, 2**20, 2**29])
@pytest.mark.parametrize("refractory", [1, 4])
def test_driven_neurons_in_closed_form(resolution, refractory):
    rng = np.random.default_rng(9)
    size, end = 60, 6 * resolution
    threshold, v0 = rng.integers(1, 50, 4), rng.integers(-30, 30, 4)
    v0[0] = threshold[0] + 7  # spikes at once, and is late for some time
    v0[1] = threshold[1]
    current = rng.integers(-10, 60, size).astype(np.int32)
    # Locations with the currents of the one before, as in the background of a digit.
    current[16:32], current[52:] = np.tile(current[12:16], 4), np.tile(current[48:52], 2)
    expected = searched(threshold, v0, current, refractory, resolution, end)
    for ends, stretch in (([end], 2**40), ([end // 2, end // 2 + 1, end], max(1, resolution // 3))):
        found, counts, held = driven(threshold, v0, current, refractory, resolution, ends, stretch=stretch)
        assert found == expected
        assert counts.tolist() == np.bincount([(tick - 1) // resolution for tick, _ in expected], minlength=6).tolist()
        assert held == np.count_nonzero(np.resize(threshold <= v0, size))


@pytest.mark.parametrize("resolution", [1, 1000, 2**20])
@pytest.mark.parametrize("end", [100, 2**40])
def test_periods_are_exact(resolution, end):
    """Every quotient of small numbers, where a product with an inverse is often just too small: nobody has to be held."""
    threshold, rates = np.arange(1, 201), np.arange(1, 201, dtype=np.int32)
    period, current = threshold * resolution, np.repeat(rates, len(threshold))
    periodic, held = begun(threshold, np.zeros_like(threshold), current, 1, resolution, end)
    assert len(held.neuron) == 0
    whole, rest = (a.ravel() for a in np.divmod(period, rates[:, None].astype(np.int64)))
    np.testing.assert_array_equal(periodic.following, whole + (rest > 0))
    np.testing.assert_array_equal(periodic.early, np.where(rest > 0, current - rest, 0))
    saturated = whole < 1
    np.testing.assert_array_equal(periodic.whole, np.where(saturated, 1, whole))
    np.testing.assert_array_equal(periodic.rest, np.where(saturated, 0, rest))
    np.testing.assert_array_equal(periodic.gain, current - np.where(saturated, 0, rest))


def test_extreme_currents_and_thresholds():
    """What floating point estimates badly is still exact."""
    rng = np.random.default_rng(10)
    for resolution in (2**20, 2**29):
        threshold = np.array([2**31 - 1, 2**31 - 2**20 + 1, 1, 2**30 + 12345])
        current = np.array([1, 2, 3, 2**31 - 1, 2**31 - 2, 2**30, 7, -5] * 4, np.int32)
        rng.shuffle(current)
        v0, end = np.array([0, 5, 0, -(2**31)]), 8 * resolution
        current[2::4] = rng.integers(1, 9, 8)  # else they spike at every tick
        expected = searched(threshold, v0, current, 1, resolution, end)
        assert driven(threshold, v0, current, 1, resolution, [end])[0] == expected


def test_a_saturated_neuron_spikes_as_often_as_it_may():
    threshold, v0, current = np.array([10]), np.array([0]), np.array([25, 10, 9], np.int32)
    expected = searched(threshold, v0, current, 100, 100, 1000)
    found, _, held = driven(threshold, v0, current, 100, 100, [1000])
    assert (found, held) == (expected, 0)
    assert [tick for tick, neuron in found if neuron == 0] == list(range(40, 1001, 100))


@pytest.mark.parametrize("resolution", [2, 1000, 2**20])
def test_stretches_do_not_matter(resolution, monkeypatch):
    """Whole runs, with stretches of few spikes, against the queue engine: neurons of every kind, recorded."""
    rng = np.random.default_rng(11)
    net = es.Network()
    net.driven("in", (3, 3, 5), [10, 20, 30, 40, 50], v0=[0, 30, 30, -20, 49], refractory=0.25)
    net.readout("out", 4)
    net.connect("in", "out", es.Dense(rng.integers(-3, 4, (45, 4))))
    current = rng.integers(-5, 60, (3, 3, 5))
    expected = es.run(net, {"in": current}, steps=12, resolution=resolution, engine="queue")
    for stretch in (1, 20, 2**14):
        monkeypatch.setattr(driven_way, "STRETCH", stretch)
        found = es.run(net, {"in": current}, steps=12, resolution=resolution, engine="layered")
        for mine, other in zip(found.spikes("in"), expected.spikes("in"), strict=True):
            np.testing.assert_array_equal(mine, other)
        np.testing.assert_array_equal(found.counts.spikes, expected.counts.spikes)
        np.testing.assert_array_equal(found.counts.readout["out"], expected.counts.readout["out"])
        assert found.counts.first_tick.tolist() == expected.counts.first_tick.tolist()


@pytest.mark.parametrize("end", [10_000, 2**30 - 2, 2**30 - 1, 2**30, 2**31 + 5])
def test_slow_neurons(end):
    """First spikes and periods about as long as the run, or longer than 32 bits."""
    steps, limit, resolution = end >> 10, 2**20, 2**10
    threshold = np.array([steps - 1, steps, steps + 1, steps // 2, limit - 1, limit, limit + 1, 2**31 - 1, 2**31 - 2])
    current = np.ones(len(threshold), np.int32)
    # In a second case their first spikes are early, and two are held.
    for v0 in (np.zeros_like(threshold), threshold - [3, 2, 1, 0, 0, 1, 2, 3, threshold[-1]]):
        expected = searched(threshold, v0, current, 1, resolution, end)
        assert len(expected) >= 4
        found, _, held = driven(threshold, v0, current, 1, resolution, [end - 1, end], stretch=2**29)
        assert found == expected
        assert held == np.count_nonzero(threshold <= v0)


def test_asynchronous_maps_of_one_channel_have_no_room_for_thirty_two():
    """Bytes a neuron; clocked runs need more."""
    net = es.Network()
    net.driven("map", (300, 300, 1), 3)
    net.readout("out", 2)
    tracemalloc.start()
    try:
        for resolution, least, most in ((1024, 0, 100), (1, 256, 1000)):
            job = prepare(net, {"map": np.ones(90000, int)}, steps=1, resolution=resolution)
            before = tracemalloc.get_traced_memory()[0]
            compiled = Layouts(net)
            compiled.begin(job)
            assert least < (tracemalloc.get_traced_memory()[0] - before) / 90000 < most
    finally:
        tracemalloc.stop()

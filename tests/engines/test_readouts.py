"""Readouts at high resolution: decisions and counts spike by spike, against the queue engine."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import compare
from numba import njit

import eventsim as es
from eventsim.engines.layered.ways.records import PROJECTION, Train
from eventsim.kernels import simd
from eventsim.kernels.stencils import STENCIL


@njit
def lead(lanes, d, channels, w, of, records, train, at, end, last, best):  # noqa: PLR0913 - those of a kernel
    if lanes == 16:
        return simd.lead_16(d, channels, w, of[1], records, train, at, end, last, best)
    return simd.lead_32(d, channels, w, of[1], records, train, at, end, last, best)


@pytest.mark.kernels
@pytest.mark.parametrize("distance", [np.int16, np.int32, np.int64])
@pytest.mark.parametrize("lanes", [16, 32])
@pytest.mark.parametrize("locations", [1, 8, 10])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_rows_are_added_as_long_as_one_leads(lanes, distance, locations, signed, several):
    rng, seen, in_location = np.random.default_rng(3), set(), 40 // locations
    of, records = np.zeros(2, PROJECTION), np.zeros(3 + locations, STENCIL)
    shift = {5: -1, 40: -1, 4: 2}[in_location]
    for field, value in {"weights": 3, "records": 3, "source_channels": in_location, "channel_step": 32, "locations": locations}.items():
        of[field][1] = value
    of["source_shift"][1] = shift
    for _ in range(100):
        channels = int(rng.integers(1, lanes + 1))
        w = np.append(rng.integers(-5, 6, 2 + 41 * 33, dtype=np.int8), np.int8(-128))
        w[3 + int(rng.integers(40)) * 32] = -128
        places = rng.permutation(locations) * in_location * 32
        records["tap"][3:] = places
        ticks = np.sort(rng.integers(1, 12, 20)).astype(np.int64)
        neurons = rng.integers(0, 40, 20).astype(np.int32)
        signs = rng.choice([-1, 1], 20 * signed).astype(np.int8)
        projections = (np.arange(20) > rng.integers(5, 30)).astype(np.int16)[: 20 * several]
        d = rng.integers(-20, 20, 32).astype(distance)
        best = int(rng.integers(channels))
        d[best] = 25
        expected = d.astype(np.int64)
        at, end, last = int(rng.integers(5)), int(rng.integers(6, 21)), int(rng.integers(1, 14))
        n = 0
        while True:
            row = 3 + int(places[neurons[at + n] // in_location]) + int(neurons[at + n]) % in_location * 32
            expected[:lanes] += w[row : row + lanes].astype(int) * (int(signs[at + n]) if signed else 1)
            n += 1
            others = np.delete(expected[:channels], best)
            if len(others) and others.max() >= expected[best]:
                seen.add("overtaken")
                break
            if at + n == end or ticks[at + n] > last:
                seen.add("end" if at + n == end else "last")
                break
            if several and projections[at + n] != projections[at]:
                seen.add("another")
                break
        train = Train(ticks, neurons, signs, projections)
        assert lead(lanes, d, channels, w, of, records, train, at, end, last, best) == n
        np.testing.assert_array_equal(d, expected)
    assert seen == {"overtaken", "end", "last", *(["another"] if several else [])}


@pytest.mark.kernels
@pytest.mark.parametrize("distance", [np.int16, np.int32, np.int64])
def test_who_is_as_large(distance):
    rng, reaching = np.random.default_rng(4), njit(lambda d, first, least: simd.reaching(d, first, least))
    for _ in range(50):
        d = rng.integers(-9, 9, 40).astype(distance)
        first, least = int(rng.integers(9)), d[int(rng.integers(40))]
        expected = sum(1 << lane for lane in range(32) if d[first + lane] >= least)
        assert reaching(d, first, least) == expected


@pytest.mark.parametrize("channels", [1, 2, 10, 16, 17, 32, 33, 100])
@pytest.mark.parametrize("case", ["plain", "zeros", "signed", "locations", "clock", "two sources", "wide"])
def test_decisions(channels, case):
    """Ties, shared ticks and steps without spikes included; also of several locations, signs, sources and a bias clock beside them."""
    rng = np.random.default_rng(channels)
    shape = (2, 3, 20) if case == "locations" else (120,)
    hidden = (2, 1, 25) if case == "clock" else (50,)
    for resolution in (1024, 2**20):
        net = es.Network()
        net.driven("in", shape, 1000, v0=0)
        net.spiking("hidden", hidden, 2, signed=case in ("signed", "clock"))
        net.connect("in", "hidden", es.Dense(rng.choice([-1, 1], (120, 50))))
        net.readout("out", channels, v0=rng.integers(0, 2, channels))
        most = 300 if case == "wide" else 2
        values = np.arange(-most, most + 1) if case in ("zeros", "wide") else [-1, 1]
        source, neurons = ("in", 120) if case == "locations" else ("hidden", 50)
        net.connect(source, "out", es.Dense(rng.choice(values, (neurons, channels))))
        if case == "clock":
            net.source("bias", 1, emits="clock")
            net.connect("bias", "out", es.Dense(rng.integers(-3, 4, (1, channels))))
        if case == "two sources":
            net.connect("in", "out", es.Dense(rng.choice(values, (120, channels))))
        # Equal currents spike at the same tick; the last ones seldom.
        currents = rng.choice([300, 777, 1000], 120)
        currents[60:] = rng.integers(-50, 60, 60)
        found = compare(net, {"in": currents}, steps=9, resolution=resolution)
        assert channels < 10 or found.counts.decision_tick > 1
        assert found.counts.deliveries.sum() > 200


@pytest.mark.parametrize("resolution", [1, 7, 1000])
@pytest.mark.parametrize("shape", [(31,), (32,), (33,), (64,), (100,), (1, 2, 40)])
def test_the_last_change_of_the_decision_among_many(shape, resolution):
    """Potentials that hardly differ, and many ties: who leads changes again and again. The judge sums up the recorded spikes.

    In the end one neuron overtakes all others, also the first and the last of those that are looked at together.
    """
    size, steps = int(np.prod(shape)), 5
    for winner in [neuron for neuron in (0, 17, 31, 32, 63, 64, size - 1) if neuron < size]:
        rng = np.random.default_rng((size, winner))
        weights, v0 = rng.choice([-1, 0, 1, 1], (40, size)), np.zeros(shape[-1], int)
        weights[:, winner], v0[winner % len(v0)] = 1, -25
        net = es.Network()
        net.driven("in", 40, threshold=rng.integers(3, 9, 40), v0=rng.integers(0, 3, 40))
        net.readout("out", shape, v0=v0)
        net.connect("in", "out", es.Dense(weights))
        result = es.run(net, {"in": rng.integers(1, 6, 40)}, steps=steps, resolution=resolution, engine="layered")
        ticks, neurons, _ = result.spikes("in")
        when, at = np.unique(ticks, return_inverse=True)
        change = np.zeros((len(when), size), np.int64)
        np.add.at(change, at, weights[neurons])
        leaders = (np.resize(v0, size) + np.cumsum(change, axis=0)).argmax(axis=1)
        last = np.flatnonzero(np.diff(leaders, prepend=-1))[-1]
        assert leaders[last] == winner
        assert last > 0
        assert (result.decision, result.counts.decision_tick) == (winner, when[last])


@pytest.mark.parametrize("channels", [10, 64])
@pytest.mark.parametrize("signed", [False, True])
def test_an_image_pooled_at_once(channels, signed):
    """Its locations have their weights in common; of neurons behind a pool and of a readout, clocked and not."""
    rng = np.random.default_rng(channels)
    net = es.Network()
    net.driven("in", (4, 6, 40), threshold=rng.integers(3, 9, 40), v0=rng.integers(0, 3, 40))
    net.spiking("pooled", (1, 1, channels), threshold=9, signed=signed)
    net.connect("in", "pooled", es.Conv2d(rng.choice([-1, 1], (1, 1, 40, channels)), pool_after=(4, 6)))
    net.readout("out", 3)
    net.connect("pooled", "out", es.Dense(rng.integers(-9, 10, (channels, 3))))
    net.readout("seen", (1, 1, channels))
    net.connect("in", "seen", es.Conv2d(rng.integers(-9, 10, (1, 1, 40, channels)), pool_after=(4, 6)))
    net.output = "out"
    drive = {"in": rng.integers(1, 4, 4 * 6 * 40)}
    for resolution in (1, 1000):
        found, expected = (es.run(net, drive, steps=4, resolution=resolution, engine=engine) for engine in ("layered", "queue"))
        for name in ("spikes", "negative_spikes", "deliveries", "synaptic_events", "additions", "toolbox", "effective"):
            np.testing.assert_array_equal(getattr(found.counts, name), getattr(expected.counts, name), err_msg=name)
        for name in ("out", "seen"):
            np.testing.assert_array_equal(found.counts.readout[name], expected.counts.readout[name])
        for mine, other in zip(found.spikes("pooled"), expected.spikes("pooled"), strict=True):
            np.testing.assert_array_equal(mine, other)
        assert (found.decision, found.counts.decision_tick) == (expected.decision, expected.counts.decision_tick)
        assert len(found.spikes("pooled")[0]) > 10

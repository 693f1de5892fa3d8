"""Readouts at high resolution: decisions and counts spike by spike, against the queue engine."""

from __future__ import annotations

import numpy as np
import pytest
from judges.engines import compare
from numba import njit

import eventsim as es
from eventsim.kernels import simd


@njit
def lead(lanes, d, channels, w, j, step, neurons, ticks, at, end, last, best):  # noqa: PLR0913 - those of a kernel
    if lanes == 16:
        return simd.lead_16(d, channels, w, j, step, neurons, ticks, at, end, last, best)
    return simd.lead_32(d, channels, w, j, step, neurons, ticks, at, end, last, best)


@pytest.mark.kernels
@pytest.mark.parametrize("distance", [np.int16, np.int32, np.int64])
@pytest.mark.parametrize("lanes", [16, 32])
def test_rows_are_added_as_long_as_one_leads(lanes, distance):
    rng, seen = np.random.default_rng(3), set()
    for _ in range(300):
        channels = int(rng.integers(1, lanes + 1))
        w = rng.integers(-5, 6, 3 + 40 * 33, dtype=np.int8)
        ticks = np.sort(rng.integers(1, 12, 20)).astype(np.int64)
        neurons = rng.integers(0, 40, 20).astype(np.int32)
        d = rng.integers(-20, 20, 32).astype(distance)
        best = int(rng.integers(channels))
        d[best] = 25
        expected = d.astype(np.int64)
        at, end, last = int(rng.integers(5)), int(rng.integers(6, 21)), int(rng.integers(1, 14))
        n = 0
        while True:
            row = 3 + int(neurons[at + n]) * 32
            expected[:lanes] += w[row : row + lanes]
            n += 1
            others = np.delete(expected[:channels], best)
            if len(others) and others.max() >= expected[best]:
                seen.add("overtaken")
                break
            if at + n == end or ticks[at + n] > last:
                seen.add("end" if at + n == end else "last")
                break
        args = (channels, w, 3, 32, neurons, ticks, at, end, last, best)
        assert lead(lanes, d, *args) == n
        np.testing.assert_array_equal(d, expected)
    assert seen == {"overtaken", "end", "last"}


@pytest.mark.kernels
@pytest.mark.parametrize("distance", [np.int16, np.int32, np.int64])
def test_who_is_as_large(distance):
    rng, reaching = np.random.default_rng(4), njit(lambda d, least: simd.reaching(d, least))
    for _ in range(50):
        d = rng.integers(-9, 9, 40).astype(distance)
        least = d[int(rng.integers(40))]
        expected = sum(1 << lane for lane in range(32) if d[lane] >= least)
        assert reaching(d, least) == expected


@pytest.mark.parametrize("channels", [1, 2, 10, 16, 17, 32, 33, 100])
@pytest.mark.parametrize("case", ["plain", "zeros", "signed", "locations", "two sources", "wide"])
def test_decisions(channels, case):
    """Ties, shared ticks and steps without spikes included; with several locations, signs or sources other code does it."""
    rng = np.random.default_rng(channels)
    shape = (2, 3, 20) if case == "locations" else (120,)
    for resolution in (1024, 2**20):
        net = es.Network()
        net.driven("in", shape, 1000, v0=0)
        net.spiking("hidden", 50, 2, signed=case == "signed")
        net.connect("in", "hidden", es.Dense(rng.choice([-1, 1], (120, 50))))
        net.readout("out", channels, v0=rng.integers(0, 2, channels))
        most = 300 if case == "wide" else 2
        values = np.arange(-most, most + 1) if case in ("zeros", "wide") else [-1, 1]
        source, neurons = ("in", 120) if case == "locations" else ("hidden", 50)
        net.connect(source, "out", es.Dense(rng.choice(values, (neurons, channels))))
        if case == "two sources":
            net.connect("in", "out", es.Dense(rng.choice(values, (120, channels))))
        # Equal currents spike at the same tick; the last ones seldom.
        currents = rng.choice([300, 777, 1000], 120)
        currents[60:] = rng.integers(-50, 60, 60)
        found = compare(net, {"in": currents}, steps=9, resolution=resolution)
        assert channels < 10 or found.counts.decision_tick > 1
        assert found.counts.deliveries.sum() > 200

"""The compiled code that runs neurons a refractory period at a time, against plain loops over neurons, entries and spikes."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from eventsim.engines.layered.ways.period_kernels import advance, blocks, moments
from eventsim.engines.layered.ways.period_kernels.records import END, GUARD, NEVER, Room
from eventsim.engines.layered.ways.records import PROGRESS, Constants, State, Tally, Train
from eventsim.kernels.simd import NEGATIVE, WIDE

pytestmark = pytest.mark.kernels

LANE, J, CHANNEL, THETA = 64, 7, 3, 40


@njit
def run(lanes, d, low, free, w8, w16, entries, at, most, first):
    if lanes == 128:
        return blocks.run_128(d, low, free, LANE, w8, w16, J, entries, at, most, first)
    if lanes == 64:
        return blocks.run_64(d, low, free, LANE, w8, w16, J, entries, at, most, first)
    return blocks.run_32(d, low, free, LANE, w8, w16, J, entries, at, most, first)


@njit
def finish(lanes, d, low, net, free, theta, first, keys, places, n):
    if lanes == 128:
        return blocks.finish_128(d, low, net, free, LANE, theta, CHANNEL, first, keys, places, n)
    if lanes == 64:
        return blocks.finish_64(d, low, net, free, LANE, theta, CHANNEL, first, keys, places, n)
    return blocks.finish_32(d, low, net, free, LANE, theta, CHANNEL, first, keys, places, n)


def entries_of(rng: np.random.Generator, number: int, wide: bool) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """A list of entries from place 2 on, and what it says: (twice the moment, place of the weights, 0 for 8 bits or a sign)."""
    moments = 2 * np.sort(rng.integers(1, 30, number))
    said = [(int(m), int(rng.integers(0, 130)), int(rng.choice([0, 0, 1, -1])) if wide else 0) for m in moments]
    listed = [m << 32 | (WIDE if sign else 0) | (NEGATIVE if sign < 0 else 0) | place for m, place, sign in said]
    return np.array([0, 0, *listed, END << 32 | WIDE, *[0] * blocks.AHEAD], np.int64), said


def plain(said, v: int, low: int | None, since: int, changes) -> tuple[int, int | None, bool]:
    """A neuron's potential at the end, twice the moment at which it fired (None if it did not), and whether negatively."""
    found, negative, before = None, False, 0
    for moment, change in [*((said[e][0], changes[e]) for e in range(len(said))), (END, 0)]:
        due_below = low is not None and v < low
        if found is None and moment != before and since < moment and (v >= 0 or due_below):
            found, negative = max(since, before), due_below
        v, before = v + change, moment
    return v, found, negative


@pytest.mark.parametrize("lanes", [32, 64, 128])
@pytest.mark.parametrize("distance", [np.int16, np.int32])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_a_block_through_a_stretch(lanes, distance, signed, wide):
    """Who fires when, neuron by neuron; then the reset of those, and their spikes."""
    rng = np.random.default_rng(lanes + 2 * signed + wide)
    floor, seen = int(np.iinfo(distance).min), set()
    for case in range(12):
        entries, said = entries_of(rng, [0, 1, 30, GUARD + 40][case % 4], wide)
        w8, w16 = rng.integers(-30, 31, 300).astype(np.int8), rng.integers(-200, 201, 300).astype(np.int16) if wide else None
        d = rng.integers(-120, 4, 256).astype(distance)
        theta = np.full(160, THETA, distance)
        theta[CHANNEL : CHANNEL + lanes] += rng.integers(0, 9, lanes).astype(distance)
        net = rng.integers(0, 3, 256).astype(np.int32) if signed else None
        low = None
        if signed:
            low = np.full(256, floor, distance)
            here = slice(LANE, LANE + lanes)
            low[here] = np.where(net[here] > 0, -theta[CHANNEL : CHANNEL + lanes], floor)
        # Free since the begin or some moment, or not in this stretch.
        free = rng.choice([0, 0, 0, 2, 10, 30, 58, NEVER], 257).astype(np.uint16)
        first, keys, places = np.zeros(256, np.uint16), np.zeros(200, np.int64), np.zeros(40, np.int64)
        expected_d, expected_net, expected_free, spikes = d.astype(int), None if net is None else net.copy(), free.copy(), []
        for k in range(LANE, LANE + lanes):
            weight = [int((w16 if sign else w8)[J + place + k - LANE]) * (sign or 1) for _, place, sign in said]
            v, found, negative = plain(said, int(d[k]), int(low[k]) if signed and net[k] > 0 else None, int(free[k]), weight)
            if found is not None:
                spikes.append((found + negative) << 32 | k)
                v += int(theta[CHANNEL + k - LANE]) * (1 if negative else -1)
                if signed:
                    expected_net[k] += -1 if negative else 1
                seen.add("-" if negative else "+")
            expected_d[k], expected_free[k] = v, NEVER if found is not None or free[k] == NEVER else 0
        assert run(lanes, d, low, free, w8, w16, entries, 2, 2**15 - 2 - THETA - 9 - 64 * 30 - 200, first)
        n = finish(lanes, d, low, net, free, theta, first, keys, places, 5)
        assert keys[5:n].tolist() == spikes
        assert places.tolist() == np.bincount(keys[5:n] >> 33, minlength=40).tolist()
        np.testing.assert_array_equal(d, expected_d)
        np.testing.assert_array_equal(free, expected_free)
        if signed:
            np.testing.assert_array_equal(net, expected_net)
            np.testing.assert_array_equal(low[here], np.where(net[here] > 0, -theta[CHANNEL : CHANNEL + lanes], floor))
    assert seen == ({"+", "-"} if signed else {"+"})


@pytest.mark.parametrize("lanes", [32, 64, 128])
@pytest.mark.parametrize("distance", [np.int16, np.int32])
@pytest.mark.parametrize("place", [0, 31, -1])
def test_potentials_of_16_bits_that_come_near_their_end(lanes, distance, place):
    """It is one neuron's, and seen before the first entry; 32 bits are bounded otherwise."""
    entries, _ = entries_of(np.random.default_rng(1), 3, False)
    for value, fits in ((-1000, True), (1000, True), (-1001, False), (1001, False)):
        d = np.full(256, -5, distance)
        d[LANE + place % lanes] = value
        d[LANE + lanes] = -30000
        arguments = (None, np.zeros(257, np.uint16), np.zeros(300, np.int8), None, entries, 2, 1000, np.zeros(256, np.uint16))
        assert run(lanes, d, *arguments) == (fits or distance is np.int32)


@njit
def write_spikes(constants, state, room, n, moments, out, tally):
    advance.write_spikes(constants, state, room, n, moments, out, tally)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("channels", [32, 20])
def test_spikes_in_the_order_of_time(signed, channels):
    """They come by neuron, and enter the ring, maybe beyond its end, for the end of their period."""
    rng = np.random.default_rng(channels)
    for waiting, head in ((0, 0), (20, 100), (60, 150)):
        size, n, moments, before = 160, 70, 9, 4
        lanes = np.sort(rng.permutation([lane for lane in range(size) if lane % 32 < channels])[:n])
        moment, negative = rng.integers(1, moments + 1, n), rng.integers(0, 2, n) * signed
        ticks = np.cumsum(rng.integers(1, 5, moments + 2))
        keys, places = (2 * moment + negative) << 32 | lanes, np.bincount(moment, minlength=moments + 2)
        room = Room(None, None, ticks, places, None, keys)
        progress = np.zeros((), PROGRESS)
        progress["head"], progress["waiting"], progress["fired"], progress["step"] = head, waiting, before, 1
        ring_tick, ring_lane = np.full(size, -1), np.full(size, -1, np.int32)
        low = np.zeros(size, np.int16) if signed else None
        state = State(progress, np.zeros(size, np.int16), low, None, ring_tick, ring_lane, None)
        constants = Constants(size, channels, 32, 5, 1000, False, 0, 100, 200, 9, 0, 0)
        out = Train(np.full(100, -1), np.full(100, -1, np.int32), np.zeros(100, np.int8), np.zeros(0, np.int16))
        tally = Tally(np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros((1, 2, 5), np.int64), None)
        write_spikes(constants, state, room, n, moments, out, tally)
        order = np.lexsort((lanes, moment))
        assert out.tick[before : before + n].tolist() == ticks[moment[order]].tolist()
        assert out.neuron[before : before + n].tolist() == [lane // 32 * channels + lane % 32 for lane in lanes[order]]
        if signed:
            assert out.sign[before : before + n].tolist() == (1 - 2 * negative[order]).tolist()
        ring = (head + waiting + np.arange(n)) % size
        assert ring_tick[ring].tolist() == (ticks[moment[order]] + 1000).tolist()
        assert ring_lane[ring].tolist() == lanes[order].tolist()
        assert (ring_lane == -1).sum() == size - n
        assert [progress[name] for name in ("waiting", "fired", "first_tick")] == [waiting + n, before + n, ticks[moment[order[0]]]]
        assert (tally.spikes.tolist(), tally.negative.tolist()) == ([0, n], [0, negative.sum()])


@njit
def number_moments(state, free, room, train, at, stop, leaving, last, rings):
    return moments.number_moments(state, free, room, train, at, stop, leaving, last, rings)


@pytest.mark.parametrize("ticks", [3, 40, 5000])
@pytest.mark.parametrize("rings", [False, True])
def test_moments_in_the_order_of_time(ticks, rings):
    """Arrivals, those who leave the ring and the clock, many of them at one tick or hardly any."""
    rng = np.random.default_rng(ticks + rings)
    for arrivals, leaving, head in ((0, 0, 7), (30, 0, 0), (0, 30, 50), (25, 25, 20), (60, 20, 45), (1, 44, 40), (44, 1, 59)):
        size, at, behind = 60, 3, 2
        arrives, leaves = np.sort(rng.integers(1, ticks + 1, arrivals)), np.sort(rng.integers(1, ticks + 1, leaving))
        lanes, places = rng.permutation(size).astype(np.int32), (head + np.arange(leaving + behind)) % size
        ring_tick, ring_lane = np.zeros(size, np.int64), np.zeros(size, np.int32)
        ring_tick[places], ring_lane[places] = [*leaves, *[ticks + 1] * behind], lanes[: leaving + behind]
        progress = np.zeros((), PROGRESS)
        progress["head"], progress["waiting"] = head, leaving + behind
        train = Train(np.array([0] * at + arrives.tolist() + [ticks + 5]), None, None, None)
        room = Room(None, np.zeros(100, np.uint16), np.zeros(200, np.int64), None, None, None)
        free, state = np.full(size + 1, NEVER, np.uint16), State(progress, None, None, None, ring_tick, ring_lane, None)
        found = number_moments(state, free, room, train, at, at + arrivals, leaving, ticks, ticks if rings else ticks + 9)
        of_time = np.unique([*arrives, *leaves, *[ticks] * rings])
        assert room.ticks[: found + 1].tolist() == [0, *of_time.tolist()]
        assert room.moments[:arrivals].tolist() == (2 * np.searchsorted(of_time, arrives) + 2).tolist()
        expected = np.full(size + 1, NEVER)
        expected[lanes[:leaving]] = 2 * np.searchsorted(of_time, leaves) + 2
        assert free.tolist() == expected.tolist()
        assert (progress["head"], progress["waiting"]) == ((head + leaving) % size, behind)

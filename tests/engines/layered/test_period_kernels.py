"""The compiled code that runs neurons a refractory period at a time, against plain loops over neurons, entries and spikes."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from eventsim.engines.layered.ways.period_kernels import advance, blocks, moments
from eventsim.engines.layered.ways.period_kernels.records import END, GUARD, NEVER, TWICE, Limits, Periods, Room
from eventsim.engines.layered.ways.records import PROGRESS, Constants, Layer, State, Tally, Train
from eventsim.kernels.simd import NEGATIVE, WIDE

pytestmark = pytest.mark.kernels

LANE, J, CHANNEL, THETA = 64, 7, 3, 40


@njit
def run(lanes, layer, state, periods, room, limits):
    if lanes == 128:
        return blocks.run_128(layer, state, periods, room, limits, 0, LANE, J)
    if lanes == 64:
        return blocks.run_64(layer, state, periods, room, limits, 0, LANE, J)
    return blocks.run_32(layer, state, periods, room, limits, 0, LANE, J)


@njit
def run_wide(lanes, layer, state, periods, room):
    for k in range(0, lanes, 32):
        blocks.run_wide(layer, state.d, state.low, periods, room, 0, LANE + k, J + k)
    return True


@njit
def finish(lanes, d, low, net, free, theta, first, keys, places, n):
    if lanes == 128:
        return blocks.finish_128(d, low, net, free, LANE, theta, CHANNEL, first, keys, places, n)
    if lanes == 64:
        return blocks.finish_64(d, low, net, free, LANE, theta, CHANNEL, first, keys, places, n)
    return blocks.finish_32(d, low, net, free, LANE, theta, CHANNEL, first, keys, places, n)


def entries_of(rng: np.random.Generator, number: int, wide: bool) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """A list of entries from place 2 on, and what it says: (the moment, place of the weights, 0 for 8 bits or a sign)."""
    moments = np.sort(rng.integers(1, 30, number))
    said = [(int(m), int(rng.integers(0, 130)), int(rng.choice([0, 0, 1, -1])) if wide else 0) for m in moments]
    listed = [m * TWICE << 32 | (WIDE if sign else 0) | (NEGATIVE if sign < 0 else 0) | place for m, place, sign in said]
    return np.array([0, 0, *listed, END * TWICE << 32 | WIDE, *[0] * blocks.AHEAD], np.int64), said


def records_of(d, low, w8, w16, entries, plain, free, first) -> tuple[Layer, State, Periods, Room]:
    """Of a site whose list begins at place 2, and has 8-bit weights before place ``plain``."""
    return (
        Layer(*[None] * 3, w8, w16, *[None] * 7),
        State(None, d, low, None, None, None, None),
        Periods(None, None, free, np.array([2]), np.array([plain]), None, None, None, None),
        Room(entries, entries.view(np.int32), None, None, None, first, None),
    )


def plain(said, v: int, low: int | None, since: int, changes) -> tuple[int, int | None, bool]:
    """A neuron's potential at the end, the moment at which it fired (None if it did not), and whether negatively."""
    found, negative, before = None, False, 0
    for moment, change in [*((said[e][0], changes[e]) for e in range(len(said))), (END, 0)]:
        due_below = low is not None and v < low
        if found is None and moment != before and since < moment and (v >= 0 or due_below):
            found, negative = max(since, before), due_below
        v, before = v + change, moment
    return v, found, negative


@pytest.mark.parametrize("lanes", [32, 64, 128])
@pytest.mark.parametrize(("distance", "in_all_bits"), [(np.int16, False), (np.int32, False), (np.int32, True)])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_a_block_through_a_stretch(lanes, distance, in_all_bits, signed, wide):
    """Who fires when, neuron by neuron, some of them far away where there are bits for it; then the reset of those, and their spikes."""
    rng = np.random.default_rng(lanes + 2 * signed + wide)
    floor, seen = int(np.iinfo(distance).min), set()
    for case in range(12):
        entries, said = entries_of(rng, [0, 1, 30, GUARD + 40][case % 4], wide)
        w8, w16 = rng.integers(-30, 31, 300).astype(np.int8), rng.integers(-200, 201, 300).astype(np.int16) if wide else None
        d = rng.integers(-120, 4, 256).astype(distance)
        if distance is np.int32:
            d = np.where(rng.random(256) < 0.2, rng.choice([-(10**6), -40_000, 30_000], 256), d).astype(distance)
        theta = np.full(160, THETA, distance)
        theta[CHANNEL : CHANNEL + lanes] += rng.integers(0, 9, lanes).astype(distance)
        net = rng.integers(0, 3, 256).astype(np.int32) if signed else None
        low = None
        if signed:
            low = np.full(256, floor, distance)
            here = slice(LANE, LANE + lanes)
            low[here] = np.where(net[here] > 0, -theta[CHANNEL : CHANNEL + lanes], floor)
        # Free since the begin or some moment, or not in this stretch.
        free = rng.choice([0, 0, 0, 1, 5, 15, 29, NEVER], 257).astype(np.uint16)
        first, keys, places = np.zeros(256, np.uint16), np.zeros(200, np.int64), np.zeros(40, np.int64)
        expected_d, expected_net, expected_free, spikes = d.astype(int), None if net is None else net.copy(), free.copy(), []
        for k in range(LANE, LANE + lanes):
            weight = [int((w16 if sign else w8)[J + place + k - LANE]) * (sign or 1) for _, place, sign in said]
            v, found, negative = plain(said, int(d[k]), int(low[k]) if signed and net[k] > 0 else None, int(free[k]), weight)
            if found is not None:
                spikes.append((2 * found + negative) << 32 | k)
                v += int(theta[CHANNEL + k - LANE]) * (1 if negative else -1)
                if signed:
                    expected_net[k] += -1 if negative else 1
                seen.add("-" if negative else "+")
            expected_d[k], expected_free[k] = v, NEVER if found is not None or free[k] == NEVER else 0
        eight = next((e for e, (_, _, sign) in enumerate(said) if sign), len(said)) if case < 8 else 0
        records, margin = records_of(d, low, w8, w16, entries, 2 + eight, free, first), GUARD * 30 + 200
        most, near = 2**15 - 2 - THETA - 9 - margin, THETA + 9 + margin
        if in_all_bits:
            assert run_wide(lanes, *records)
        else:
            assert run(lanes, *records, Limits(most, (most + near) // 2 if distance is np.int32 else most, near))
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
def test_potentials_that_come_near_the_end_of_their_bits(lanes, distance, place):
    """It is one neuron's, and seen before an entry that is looked at; with ``near`` at 2**15 nobody may be farther away than ``clip``."""
    entries, _ = entries_of(np.random.default_rng(1), 3, False)
    for value, fits in ((-1000, True), (1000, True), (-1001, False), (1001, False)):
        for clip in (1000, 2000):
            d = np.full(256, -5, distance)
            d[LANE + place % lanes] = value
            d[LANE + lanes] = -30000
            before, first = d.copy(), np.full(256, 7, np.uint16)
            records = records_of(d, None, np.zeros(300, np.int8), None, entries, 2, np.zeros(257, np.uint16), first)
            assert run(lanes, *records, Limits(1000, clip, 2**15)) == fits
            if not fits:
                assert d.tolist() == before.tolist()
                assert set(first) == {7}


@pytest.mark.parametrize("lanes", [32, 64, 128])
@pytest.mark.parametrize("number", [GUARD // 2, GUARD + 20, 3 * GUARD])
def test_those_who_are_far_away_and_come_near(lanes, number):
    """They begin at ``clip`` and may go some way in either direction, farther away or towards the threshold: but not as far as ``near``."""
    w8 = np.zeros(300, np.int8)
    place = J + lanes - 1
    entries = np.array([0, 0, *[TWICE << 32] * number, END * TWICE << 32 | WIDE, *[0] * blocks.AHEAD], np.int64)
    for value, weight in ((-40_000, 100), (-40_000, -100), (40_000, 100), (40_000, -100), (40_000, 1), (-20_000, 1)):
        d, first = np.full(256, -5, np.int32), np.zeros(256, np.uint16)
        d[LANE + lanes - 1], w8[place] = value, weight
        records = records_of(d, None, w8, None, entries, 2 + number, np.zeros(257, np.uint16), first)
        # Looked at after 63 entries, they are nearer by 6,300 then.
        near = number > GUARD and abs(weight) == 100 and value * weight < 0
        assert run(lanes, *records, Limits(32_000, 11_000, 7_000)) == (not near)
        assert d[LANE + lanes - 1] == value + (0 if near else number * weight)
        if not near:
            assert first[LANE + lanes - 1] | 1 == (NEVER if value < 0 else 1)


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
        room = Room(None, None, None, ticks, places, None, keys)
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
        room = Room(None, None, np.zeros(100, np.uint16), np.zeros(200, np.int64), None, None, None)
        free, state = np.full(size + 1, NEVER, np.uint16), State(progress, None, None, None, ring_tick, ring_lane, None)
        found = number_moments(state, free, room, train, at, at + arrivals, leaving, ticks, ticks if rings else ticks + 9)
        of_time = np.unique([*arrives, *leaves, *[ticks] * rings])
        assert room.ticks[: found + 1].tolist() == [0, *of_time.tolist()]
        assert room.moments[:arrivals].tolist() == (np.searchsorted(of_time, arrives) + 1).tolist()
        expected = np.full(size + 1, NEVER)
        expected[lanes[:leaving]] = np.searchsorted(of_time, leaves) + 1
        assert free.tolist() == expected.tolist()
        assert (progress["head"], progress["waiting"]) == ((head + leaving) % size, behind)

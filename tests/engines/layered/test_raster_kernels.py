"""What runs layers from rasters: vector operations against NumPy and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

import eventsim as es
from eventsim.engines.layered import rasters
from eventsim.engines.layered.ways import driven_clocked_kernels, driven_tables
from eventsim.engines.layered.ways.raster_kernels.counting import count_steps
from eventsim.engines.layered.ways.records import Train
from eventsim.kernels import simd_raster as vectors

TICKS = 7


def random_masks(rng: np.random.Generator, neurons: int, density: float, also: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (ticks, neurons) and their masks (blocks of 32 neurons, ticks), with as many zeros behind them as ticks, and more."""
    spikes = rng.random((TICKS, neurons)) < density
    masks = np.packbits(spikes, axis=1, bitorder="little").view("<u4").T.ravel().astype(np.uint32)
    return spikes, np.append(masks, np.zeros(TICKS + also, np.uint32))


def summer(taps: int, lanes: int):
    """The vector operations of this size in compiled code."""
    add, subtract = (getattr(vectors, f"{name}_{taps}_{lanes}") for name in ("add", "subtract"))

    @njit
    def run(negative, *args):
        if negative:
            subtract(*args)
        else:
            add(*args)

    return run


@pytest.mark.kernels
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("lanes", [32, 64])
@pytest.mark.parametrize("taps", [1, 4, 9])
def test_summing_the_spikes_of_a_group(taps, lanes, negative):
    run = summer(taps, lanes)
    rng = np.random.default_rng(taps + lanes)
    pairs = 2
    for density, largest in ((0.0, 1), (0.1, 1), (0.9, 1), (0.5, 127), (1.0, 4)):
        spikes, masks = random_masks(rng, 96, density)
        # The last half pair has no neurons.
        words = np.array([0, TICKS, 2 * TICKS, 3 * TICKS])
        weights = rng.integers(-largest, largest + 1, (128, taps, lanes)).astype(np.int8)
        current = rng.integers(-500, 500, (taps + 2) * TICKS * lanes).astype(np.int16)
        places = rng.permutation(taps + 2)[:taps] * TICKS * lanes
        expected = current.astype(int)
        for t in range(TICKS):
            for neuron in np.flatnonzero(spikes[t]):
                for tap, place in enumerate(places):
                    expected[place + t * lanes : place + (t + 1) * lanes] += (-1 if negative else 1) * weights[neuron, tap].astype(int)
        q, padded = 5, np.append(np.zeros(5, np.int8), weights)
        run(negative, current, places, masks, words, pairs, TICKS, padded, q, 127 // largest)
        np.testing.assert_array_equal(current, expected)


@njit
def charge(lanes, *args):
    if lanes == 32:
        vectors.charge_32(*args)
    else:
        vectors.charge_64(*args)


@pytest.mark.kernels
@pytest.mark.parametrize("lanes", [32, 64])
def test_driven_neurons(lanes):
    """Against V = v0 + I*t - threshold * spikes."""
    rng = np.random.default_rng(6)
    for i in (0, 40):
        v, current = (rng.integers(-50, 50, 128).astype(np.int32) for _ in range(2))
        threshold = rng.integers(1, 40, 128).astype(np.int32)
        masks = rng.integers(0, 2**32, 40, dtype=np.uint32)
        potential, expected = v.astype(int), masks.copy()
        charge(lanes, v, current, threshold, i, masks, 2, 9, TICKS)
        here = slice(i, i + lanes)
        for t in range(TICKS):
            potential[here] += current[here]
            fires = potential >= threshold
            potential[here] -= (fires * threshold)[here]
            for block in range(lanes // 32):
                expected[2 + 9 * block + t] = sum(1 << n for n in range(32) if fires[i + 32 * block + n])
        np.testing.assert_array_equal(v, potential)
        np.testing.assert_array_equal(masks, expected)


@njit
def fire(lanes, *args):
    if lanes == 32:
        vectors.fire_32(*args)
    else:
        vectors.fire_64(*args)


@njit
def fire_signed(lanes, *args):
    if lanes == 32:
        vectors.fire_signed_32(*args)
    else:
        vectors.fire_signed_64(*args)


@pytest.mark.kernels
@pytest.mark.parametrize("kind", ["subtract", "zero", "signed"])
@pytest.mark.parametrize("lanes", [32, 64])
def test_firing_neurons(lanes, kind):
    """Neuron by neuron, as design and docs/semantics.md say."""
    rng = np.random.default_rng(7)
    taken_back = 0
    for _ in range(10):
        i, j, unit = 32, 10, int(rng.integers(1, 4))
        theta = rng.integers(1, 40, 160).astype(np.int32)
        d, net = rng.integers(-90, 40, 160).astype(np.int32), rng.integers(0, 3, 160).astype(np.int32)
        current = rng.integers(-30, 30, (TICKS + 1) * 64).astype(np.int16)
        constant = rng.integers(-9, 9, 160).astype(np.int32)
        masks, negative = (rng.integers(0, 2**32, 40, dtype=np.uint32) for _ in range(2))
        v = (d[i : i + lanes] + theta[3 : 3 + lanes]).tolist()
        spikes, back, left = masks.copy(), negative.copy(), current.copy()
        counted = net[i : i + lanes].tolist()
        for t in range(TICKS):
            found, lost = [], []
            for n in range(lanes):
                v[n] += unit * int(current[j + t * lanes + n]) + int(constant[64 + n])
                if v[n] >= theta[3 + n]:
                    v[n] = 0 if kind == "zero" else v[n] - int(theta[3 + n])
                    counted[n] += 1
                    found.append(n)
                elif kind == "signed" and v[n] < 0 and counted[n] > 0:
                    v[n] += int(theta[3 + n])
                    counted[n] -= 1
                    lost.append(n)
            taken_back += len(lost)
            for block in range(lanes // 32):
                spikes[2 + 9 * block + t] = sum(1 << (n - 32 * block) for n in found if n // 32 == block)
                back[2 + 9 * block + t] = sum(1 << (n - 32 * block) for n in lost if n // 32 == block)
            left[j + t * lanes : j + (t + 1) * lanes] = 0
        keep = 0 if kind == "zero" else -1
        before = d.copy()
        places = vectors.Firing(i, j, 64, 3, 2, lanes)
        args = (lanes, places, d, current, constant, theta, masks, unit, keep, 9, TICKS)
        if kind == "signed":
            fire_signed(*args, net, negative)
            assert net[i : i + lanes].tolist() == counted
            np.testing.assert_array_equal(negative, back)
        else:
            fire(*args)
        assert (d[i : i + lanes] + theta[3 : 3 + lanes]).tolist() == v
        before[i : i + lanes] = d[i : i + lanes]
        np.testing.assert_array_equal(d, before)
        np.testing.assert_array_equal(current, left)
        np.testing.assert_array_equal(masks, spikes)
    assert (taken_back > 20) == (kind == "signed")


@njit
def add_counts(counts, masks, m):
    vectors.add_counts(counts, masks, m)


@pytest.mark.kernels
def test_counting_masks():
    rng = np.random.default_rng(8)
    masks, counts = rng.integers(0, 2**32, 50, dtype=np.uint32), rng.integers(0, 9, 32).astype(np.int32)
    expected = counts + [int(m).bit_count() for m in masks[5:37]]
    add_counts(counts, masks, 5)
    np.testing.assert_array_equal(counts, expected)


@njit
def add_listed(negative, d, i, w, base, step, places, count):
    if negative:
        vectors.subtract_listed(d, i, w, base, step, places, count)
    else:
        vectors.add_listed(d, i, w, base, step, places, count)


@pytest.mark.kernels
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("distance", [np.int32, np.int64])
def test_adding_listed_rows(distance, negative):
    rng = np.random.default_rng(10)
    for count in (0, 1, 7, 20):
        d, w = rng.integers(-1000, 1000, 80).astype(distance), rng.integers(-128, 128, 600).astype(np.int8)
        places, base, step, i = rng.integers(0, 25, 20).astype(np.int32), 3, 22, 40
        expected = d.copy()
        for place in places[:count]:
            expected[i : i + 32] += (-1 if negative else 1) * w[base + place * step : base + place * step + 32].astype(distance)
        add_listed(negative, d, i, w, base, step, places, count)
        np.testing.assert_array_equal(d, expected)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("ticks", [1, 31, 32, 33, 70])
@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 2, 33), (64,), (40,)])
def test_lists_and_rasters_are_the_same_spikes(shape, ticks, signed):
    rng = np.random.default_rng(9)
    size, since = int(np.prod(shape)), 1000
    at, neurons = np.nonzero(rng.random((ticks, size)) < 0.2)
    signs = rng.choice([-1, 1], len(at)).astype(np.int8) if signed else np.zeros(0, np.int8)
    train = Train(since + 1 + at.astype(np.int64), neurons.astype(np.int32), signs, np.zeros(0, np.int16))
    found = rasters.of_train(train, since, ticks, shape, signed)
    assert found.train() is train
    for wanted, got in zip(train, rasters.Raster(found.masks).train(), strict=True):
        np.testing.assert_array_equal(got, wanted)
    masks, counts = found.masks._replace(since=3), np.empty(rasters.CHUNK, np.int32)
    for of_sign, chosen in ((masks.positive, signs > 0 if signed else np.ones(len(at), bool)), (masks.negative, signs < 0)):
        if of_sign is not None:
            spikes = np.full(ticks + 3, 5)
            first = count_steps(masks, of_sign, counts, spikes)
            assert spikes.tolist() == [5, 5, 5, *(5 + np.bincount(at[chosen], minlength=ticks)).tolist()]
            assert first == min(at[chosen], default=ticks)
    assert (masks.negative is not None) == signed


@pytest.mark.parametrize("channels", [20, 32, 40, 64, 96])
def test_driven_neurons_with_the_currents_of_others(channels):
    """As in the background of a digit; the thresholds and first potentials of channels differ. Two windows of several chunks."""
    rng = np.random.default_rng(channels)
    net = es.Network()
    net.driven("in", (6, 7, channels), rng.integers(50, 200, channels), v0=rng.integers(-50, 50, channels))
    population = driven_tables.DrivenLayout(net.populations["in"])
    kinds = rng.integers(-20, 100, (3, channels))
    kinds[1] = kinds[0]
    kinds[1, -1] += 1  # the last one alone differs
    kinds[2] = 30
    current = kinds[rng.choice(3, 42, p=[0.7, 0.1, 0.2])]
    lanes, v, ticks = population.lanes(current, 0), population.v.copy(), 70
    number, length = rasters.chunks(ticks)
    fired, counts, each = np.zeros((2 * ticks, 42, channels), bool), np.zeros(2 * ticks, np.int64), len(v) // 32
    for since in (0, ticks):
        masks = np.ones(rasters.room(ticks, 42, channels), np.uint32)
        target = rasters.masks_in(since, ticks, (6, 7, channels), masks, None)
        room = np.zeros(rasters.CHUNK, np.int32)
        driven_clocked_kernels.drive(v, lanes, population.theta, population.back, target, room, counts)
        bits = np.unpackbits(masks[: number * length * each].view(np.uint8), bitorder="little").reshape(number, 42, each // 42, length, 32)
        fired[since : since + ticks] = bits.transpose(0, 3, 1, 2, 4).reshape(number * length, 42, -1)[:ticks, :, :channels]
    threshold, v0 = population.threshold, population.v0
    expected = np.zeros_like(fired)
    potential = np.broadcast_to(v0, current.shape).copy()
    for t in range(2 * ticks):
        potential += current
        expected[t] = potential >= threshold
        potential -= expected[t] * threshold
    np.testing.assert_array_equal(fired, expected)
    np.testing.assert_array_equal(counts, expected.sum((1, 2)))
    np.testing.assert_array_equal(v.reshape(42, -1)[:, :channels], potential)

"""The engines against one another, against a dense loop, and against small examples worked out by hand."""

from __future__ import annotations

import time
from dataclasses import fields

import numpy as np
import pytest
from judges import dense_loop
from judges.random_networks import random_case
from numba.core import event

from eventsim.engines.queue import engine as queue
from eventsim.engines.registry import Engines
from eventsim.errors import InputError, NetworkError, PotentialOverflow, RunError
from eventsim.job.job import MAX_TICKS, Counts
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network, feed_forward_order, ticks
from eventsim.model.tables import Conv2d, Dense, Sparse
from eventsim.simulate import Simulator

# A random network may excite itself without bound; one that does is drawn again.
MOST_SPIKES = 20_000
INT32_MAX = 2**31 - 1


class TooBusy(Exception):
    """A random network fires too much to be worth its time."""


class Spikes:
    """A recorder that keeps everything, in the order it came."""

    def __init__(self, most: int = 10**9):
        self.parts: dict[str, list[tuple[np.ndarray, ...]]] = {}
        self.calls = self.number = 0
        self.most = most

    def wants(self, population):
        """Everything is wanted."""
        return True

    def record(self, population, ticks, neurons, signs):
        """Copy: an engine may reuse its arrays."""
        self.parts.setdefault(population, []).append((np.array(ticks), np.array(neurons), np.array(signs)))
        self.calls += 1
        self.number += len(ticks)
        if self.number > self.most:
            raise TooBusy

    def of(self, population):
        """(tick, neuron, sign) of every spike of a population."""
        if population not in self.parts:
            return []
        return list(zip(*(np.concatenate(columns).tolist() for columns in zip(*self.parts[population], strict=True)), strict=True))

    def all(self):
        """The spikes by population."""
        return {name: self.of(name) for name in self.parts}


def run_reference(job, recorder):
    """Run the reference engine."""
    return Engines(job.network).run("reference", job, recorder)


def run_queue(job, recorder):
    """Run the compiled engine."""
    return Engines(job.network).run("queue", job, recorder)


def run_layered(job, recorder):
    """Run the engine for feed-forward networks."""
    return Engines(job.network).run("layered", job, recorder)


ENGINES = {"reference": run_reference, "queue": run_queue, "layered": run_layered}


@pytest.fixture(params=ENGINES)
def engine(request):
    """A function that runs a network and returns counts and spikes."""

    def run(net, inputs=None, *, steps, resolution, exit_rule=None, seed=0):
        spikes = Spikes()
        job = prepare(net, inputs, steps=steps, resolution=resolution, exit_rule=exit_rule, seed=seed)
        if request.param == "layered" and feed_forward_order(net) is None:
            pytest.skip("the network has a cycle")
        return ENGINES[request.param](job, spikes), spikes

    return run


def assert_same(expected: Counts, found: Counts) -> None:
    """Every field of the counts is the same."""
    for field in fields(Counts):
        a, b = getattr(expected, field.name), getattr(found, field.name)
        if field.name == "engine":
            continue
        if field.name == "readout":
            assert a.keys() == b.keys()
            for name in a:
                np.testing.assert_array_equal(b[name], a[name], err_msg=f"readout {name}")
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(b, a, err_msg=field.name)
        else:
            assert a == b, field.name


def run_both(job, most=10**9):
    """Counts and spikes of the reference, after asserting that those of the other engines are the same."""
    expected = Spikes(most)
    counts = run_reference(job, expected)
    for other in (run_queue, run_layered):
        if other is run_layered and feed_forward_order(job.network) is None:
            continue
        found = Spikes()
        assert_same(counts, other(job, found))
        assert found.all() == expected.all()
    return counts, expected


def compare_with_dense(case, job, counts, spikes):
    """The dense loop gives the same spikes, readouts, operations, decision and exit, in both dtypes."""
    net = case.network
    kinds = {name: p.kind for name, p in net.populations.items()}
    poisson = {name: job.events[name] for name, p in net.populations.items() if p.kind == "source" and p.emits == "poisson"}
    given = case.inputs if isinstance(case.inputs, dict) else {}
    image = None if isinstance(case.inputs, dict) else case.inputs
    currents = {name: values for name, values in given.items() if kinds[name] == "driven"}
    for dtype in (np.int64, np.float64):
        seen = dense_loop.run(net, steps=case.steps, currents=currents, image=image, events=given, poisson=poisson, dtype=dtype)
        steps = case.steps
        if net.output is not None and case.exit_rule is not None:
            steps = first_exit(seen.readout[net.output], case.exit_rule) or steps
        assert counts.end_tick == steps
        for column, (name, kind) in enumerate(kinds.items()):
            if kind in ("driven", "spiking"):
                dense = np.zeros((steps, seen.spikes[name].shape[1]), np.int64)
                for tick, neuron, sign in spikes.of(name):
                    dense[tick - 1, neuron] += sign
                np.testing.assert_array_equal(dense, seen.spikes[name][:steps], err_msg=name)
                np.testing.assert_array_equal(counts.spikes[:, column], (dense != 0).sum(1))
                np.testing.assert_array_equal(counts.negative_spikes[:, column], (dense < 0).sum(1))
                active = np.flatnonzero(dense.any(1))
                assert counts.first_tick[column] == (active[0] + 1 if len(active) else 0)
        for name, values in seen.readout.items():
            np.testing.assert_array_equal(counts.readout[name], values[:steps])
        for kind in ("deliveries", "synaptic_events", "additions", "effective"):
            for column, projection in enumerate(net.projections):
                message = f"{kind} of {projection.name}"
                np.testing.assert_array_equal(
                    getattr(counts, kind)[:, column], getattr(seen, kind)[projection.name][:steps], err_msg=message
                )
        decision = seen.decision[:steps]
        changes = np.flatnonzero(np.diff(decision))
        expected = (decision[-1], changes[-1] + 2 if len(changes) else 1) if decision[-1] >= 0 else (None, None)
        assert (counts.decision, counts.decision_tick) == expected


def first_exit(readout, rule):
    """The first step after which the rule holds, or None."""
    for step, row in enumerate(readout, 1):
        ordered = np.sort(row)
        if (ordered[-1] if rule.kind == "potential" else ordered[-1] - ordered[-2]) >= rule.threshold:
            return step
    return None


def calm_cases(salt, resolution, number):
    """Random cases that do not fire without bound, run by both engines: (case, job, counts, spikes)."""
    done = 0
    for i in range(10 * number):
        case = random_case(np.random.default_rng([salt, resolution, i]), resolution)
        job = case.job(resolution)
        try:
            counts, spikes = run_both(job, MOST_SPIKES)
        except TooBusy:
            continue
        except AssertionError as error:
            raise AssertionError(f"network {[salt, resolution, i]}: {error}") from error
        yield i, case, job, counts, spikes
        done += 1
        if done == number:
            return
    pytest.fail("most of the random networks fire without bound")


# ----------------------------------------------------------------------------------------- random networks


@pytest.mark.parametrize("salt", range(12))
def test_clocked_networks_equal_the_dense_loop(salt):
    """600 random networks (12 times 50) at resolution 1: reference, queue and dense loop, spike for spike."""
    fired, taken_back, exited = 0, 0, 0
    for i, case, job, counts, spikes in calm_cases(salt, 1, 50):
        try:
            compare_with_dense(case, job, counts, spikes)
        except AssertionError as error:
            raise AssertionError(f"network {[salt, 1, i]}: {error}") from error
        fired += counts.spikes.sum() > 0
        taken_back += counts.negative_spikes.sum() > 0
        exited += counts.exited
    assert fired > 25  # networks that stay silent would prove nothing
    assert taken_back > 2
    assert exited > 1


@pytest.mark.parametrize("resolution", [2, 7, 1000, 2**20, 2**27])
@pytest.mark.parametrize("salt", range(3))
def test_engines_agree_at_any_resolution(salt, resolution):
    """900 random networks (60 by 3 salts by 5 resolutions): every spike in order, every count."""
    seen = [counts for _, _, _, counts, _ in calm_cases(salt, resolution, 60)]
    assert sum(counts.spikes.sum() > 0 for counts in seen) > 30
    assert sum(counts.negative_spikes.sum() > 0 for counts in seen) > 2
    assert sum(counts.exited for counts in seen) > 1


def test_a_few_networks():
    """Both engines on a few networks at three resolutions: quick enough for engines that are not compiled."""
    for resolution in (1, 7, 2**20):
        fired = sum(counts.spikes.sum() for _, _, _, counts, _ in calm_cases(99, resolution, 5))
        assert fired > 0


def test_random_networks_cover_what_they_should():
    """The generator makes every feature often enough for the tests above to mean something."""
    seen: dict[str, int] = {}
    for i in range(300):
        case = random_case(np.random.default_rng([0, 1, i]))
        net = case.network
        features = {p.kind for p in net.populations.values()}
        spiking = [p for p in net.populations.values() if p.kind == "spiking"]
        features |= {p.emits for p in net.populations.values() if p.kind == "source"}
        features |= {f"reset {p.reset}" for p in spiking}
        features |= {"signed" for p in spiking if p.signed}
        features |= {"refractory" for p in spiking if p.refractory >= 1}
        features |= {"v0 above threshold" for p in spiking if (p.v0 >= p.threshold).any()}
        features |= {"negative v0" for p in spiking if (p.v0 < 0).any()}
        features |= {f"int{8 * p.table.weights.itemsize}" for p in net.projections}
        features |= {"encoder" for p in net.populations.values() if p.kind == "driven" and p.encoder is not None}
        features |= {
            "negative current" for v in (case.inputs.values() if isinstance(case.inputs, dict) else ()) if np.min(v, initial=0) < 0
        }
        if case.exit_rule is not None:
            features.add(f"exit by {case.exit_rule.kind}")
        if sum(p.kind == "readout" for p in net.populations.values()) > 1:
            features.add("two readouts")
        order = {name: i for i, name in enumerate(net.populations)}
        for p in net.projections:
            features.add(p.table.kind)
            features.add("binary" if p.table.magnitude is not None else "not binary")
            if not np.all(p.table.weights):
                features.add("zero weights")
            if p.source.startswith("layer") and order[p.source] >= order[p.target]:
                features.add("recurrent")
            if p.delay:
                features.add("whole delay" if p.delay % 1 == 0 else "fractional delay")
            if p.table.kind == "conv2d":
                features |= {
                    name
                    for name, holds in {
                        "stride": p.table.stride != (1, 1),
                        "stride beyond kernel, pooled": any(
                            s > k and a > 1 for s, k, a in zip(p.table.stride, p.table.weights.shape, p.table.pool_after, strict=False)
                        ),
                        "asymmetric padding": p.table.padding[:2] != p.table.padding[2:],
                        "pool_before": p.table.pool_before != (1, 1),
                        "pool_after": p.table.pool_after != (1, 1),
                    }.items()
                    if holds
                }
            elif p.table.kind == "dense" and p.table.pool_before != (1, 1):
                features.add("dense pool_before")
        if len({(p.source, p.target) for p in net.projections}) < len(net.projections):
            features.add("same source twice")
        for feature in features:
            seen[feature] = seen.get(feature, 0) + 1
    # fmt: off
    expected = [
        "driven", "spiking", "readout", "source", "events", "poisson", "clock", "reset subtract", "reset zero", "signed", "refractory",
        "v0 above threshold", "negative v0", "int8", "int16", "int32", "encoder", "negative current", "exit by potential",
        "exit by margin", "two readouts", "conv2d", "dense", "sparse", "binary", "not binary", "zero weights", "recurrent",
        "whole delay", "fractional delay", "stride", "stride beyond kernel, pooled", "asymmetric padding", "pool_before", "pool_after",
        "dense pool_before", "same source twice",
    ]
    # fmt: on
    assert {name: seen.get(name, 0) for name in expected if seen.get(name, 0) < 8} == {}


# ----------------------------------------------------------------------------------------- one tick, by hand


def one_neuron(weights=(1,), **neuron):
    """An event source with a neuron per weight, driving one neuron ``n``, which drives a readout ``out`` with weight 1."""
    net = Network()
    net.source("src", len(weights))
    net.spiking("n", 1, **neuron)
    net.readout("out", 1)
    net.connect("src", "n", Dense(np.array(weights).reshape(-1, 1)))
    net.connect("n", "out", Dense([[1]]))
    return net


def at_ticks(resolution, *pairs):
    """Events (tick, neuron) as (times in steps, neurons); the resolutions used with it are powers of two or 10."""
    return {"src": ([tick / resolution for tick, _ in pairs], [neuron for _, neuron in pairs])}


def test_tie_fires(engine):
    # Two spikes of weight 3 at ticks 2 and 5: V reaches 6 exactly at tick 5.
    counts, spikes = engine(one_neuron([3], threshold=6), at_ticks(8, (2, 0), (5, 0)), steps=1, resolution=8)
    assert spikes.of("n") == [(5, 0, 1)]
    assert counts.readout["out"].tolist() == [[1]]
    # One less than the threshold does not.
    assert engine(one_neuron([3], threshold=7), at_ticks(8, (2, 0), (5, 0)), steps=1, resolution=8)[1].of("n") == []


def test_one_spike_per_tick_then_again(engine):
    # 7 at tick 3 with threshold 3: spikes at ticks 3 and 4, then 1 is left. v0 = 4 fires at tick 1 and leaves 1.
    _, spikes = engine(one_neuron([7], threshold=3, v0=4), at_ticks(8, (3, 0)), steps=1, resolution=8)
    assert spikes.of("n") == [(1, 0, 1), (3, 0, 1), (4, 0, 1)]  # 1 + 7 = 8 = 2 * 3 + 2


def test_same_tick_deliveries_are_summed_before_firing(engine):
    # +5 and -3 in one tick make 2 < 4: whatever comes first, no spike; repeated events each count.
    net = one_neuron([5, -3], threshold=4)
    counts, spikes = engine(net, at_ticks(8, (2, 0), (2, 1)), steps=1, resolution=8)
    assert spikes.of("n") == []
    assert counts.deliveries.tolist() == [[2, 0]]
    # 2 * 5 - 3 = 7 >= 4 once; 3 is left.
    counts, spikes = engine(net, at_ticks(8, (2, 0), (2, 1), (2, 0)), steps=1, resolution=8)
    assert spikes.of("n") == [(2, 0, 1)]
    assert counts.deliveries.tolist() == [[3, 1]]


def test_refractory_neuron_is_looked_at_at_the_first_allowed_tick(engine):
    # 0.35 steps of 10 ticks are floor(3.5 + 0.5) = 4. Weight 3 at tick 2 against threshold 1: spikes at 2, 6, 10.
    net = one_neuron([3, -2, -1], threshold=1, refractory=0.35)
    assert engine(net, at_ticks(10, (2, 0)), steps=2, resolution=10)[1].of("n") == [(2, 0, 1), (6, 0, 1), (10, 0, 1)]
    # Inhibition in between, or at the very tick of the look, cancels it; V is 0, so nothing follows.
    for tick in (5, 6):
        assert engine(net, at_ticks(10, (2, 0), (tick, 1)), steps=2, resolution=10)[1].of("n") == [(2, 0, 1)]
    # V = 2 after tick 2; -2 at tick 4 and +3 at tick 5 make 3: due again, and fires at 6, not at 5.
    assert engine(net, at_ticks(10, (2, 0), (4, 1), (5, 0)), steps=2, resolution=10)[1].of("n") == [
        (2, 0, 1),
        (6, 0, 1),
        (10, 0, 1),
        (14, 0, 1),
    ]


def test_refractory_allows_a_spike_by_delivery_exactly_then(engine):
    # Weight 1 = threshold, 3 ticks of refractory period (0.375 * 8): events at 2, 5 fire at 2, 5; at 2, 4 fire at 2, 5.
    net = one_neuron([1], threshold=1, refractory=0.375)
    for second in (4, 5):
        assert engine(net, at_ticks(8, (2, 0), (second, 0)), steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (5, 0, 1)]


def test_signed_neuron_takes_back_a_spike(engine):
    net = one_neuron([4, -5], threshold=4, signed=True)
    # 4 at tick 2: +1, V = 0. -5 at tick 4: V = -5 < 0 and net 1: -1, V = -1. Still below 0, but net 0: no further one.
    counts, spikes = engine(net, at_ticks(8, (2, 0), (4, 1)), steps=1, resolution=8)
    assert spikes.of("n") == [(2, 0, 1), (4, 0, -1)]
    assert counts.readout["out"].tolist() == [[0]]
    assert counts.spikes.tolist() == [[0, 2, 0]]
    assert counts.negative_spikes.tolist() == [[0, 1, 0]]
    # Inhibition first: net is 0, so V = -5 stays, and 4 + 4 - 5 = 3 < 4 never fires.
    assert engine(net, at_ticks(8, (2, 1), (4, 0), (5, 0)), steps=1, resolution=8)[1].of("n") == []
    # Two spikes taken back, one a tick: 8 at tick 2 -> +1 at 2 and 3; -10 at tick 5: V = -10 -> -6 -> -2, net 0.
    twice = at_ticks(8, (2, 0), (2, 0), (5, 1), (5, 1))
    assert engine(net, twice, steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (3, 0, 1), (5, 0, -1), (6, 0, -1)]
    # Exactly 0 is not below 0.
    assert engine(one_neuron([4, -4], threshold=4, signed=True, v0=4), at_ticks(8, (2, 0), (4, 1)), steps=1, resolution=8)[1].of("n") == [
        (1, 0, 1),
        (2, 0, 1),
        (4, 0, -1),  # V = -4 -> 0
    ]


def test_signed_spikes_obey_the_refractory_period(engine):
    # 4 ticks (0.5 * 8). +1 at tick 2; V = -5 at tick 3 must wait until tick 6; at tick 5 it has been repaired in the second case.
    net = one_neuron([4, -5], threshold=4, signed=True, refractory=0.5)
    assert engine(net, at_ticks(8, (2, 0), (3, 1)), steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (6, 0, -1)]
    repaired = at_ticks(8, (2, 0), (3, 1), (5, 0), (5, 0))  # V = -5 + 8 = 3: neither due
    assert engine(net, repaired, steps=1, resolution=8)[1].of("n") == [(2, 0, 1)]


def test_negative_spikes_carry_negated_weights(engine):
    # -128 is the int8 whose negation is no int8: the readout must return to 0 exactly.
    net = Network()
    net.source("src", 2)
    net.spiking("n", 1, 4, signed=True)
    net.readout("out", 2)
    net.connect("src", "n", Dense([[4], [-4]]))
    net.connect("n", "out", Dense([[-128, 127]]), delay=1)
    net.bias("out", [1, 0])
    counts, _ = engine(net, {"src": ([1, 2, 3], [0, 1, 1])}, steps=4, resolution=1)
    # The spike +1 at step 1 arrives at step 2; V = -4 at step 2 is taken back at once and arrives at step 3.
    assert counts.readout["out"].tolist() == [[1, 0], [2 - 128, 127], [3, 0], [4, 0]]


def test_zero_reset_forgets_the_excess(engine):
    # 7 with threshold 3: one spike instead of two, and 2 more do not fire.
    net = one_neuron([7, 2], threshold=3, reset="zero")
    assert engine(net, at_ticks(8, (3, 0), (6, 1)), steps=1, resolution=8)[1].of("n") == [(3, 0, 1)]
    subtract = one_neuron([7, 2], threshold=3)  # 7 = 2 * 3 + 1, and 1 + 2 = 3 fires
    assert engine(subtract, at_ticks(8, (3, 0), (6, 1)), steps=1, resolution=8)[1].of("n") == [(3, 0, 1), (4, 0, 1), (6, 0, 1)]


def test_zero_reset_during_the_refractory_period(engine):
    # It integrates on while it may not fire: 3 at tick 2 fires and resets, 2 + 2 at ticks 3 and 4 are due, fire at 6 (0.5 * 8 = 4 later).
    net = one_neuron([3, 2], threshold=3, reset="zero", refractory=0.5)
    assert engine(net, at_ticks(8, (2, 0), (3, 1), (4, 1)), steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (6, 0, 1)]


@pytest.mark.parametrize("resolution", [1, 3, 10, 64])
@pytest.mark.parametrize("refractory", [0, 0.3, 2])
def test_driven_closed_form_equals_stepping_every_tick(engine, resolution, refractory):
    rng = np.random.default_rng(resolution)
    n, steps = 40, 12
    theta, v0, current = rng.integers(1, 30, n), rng.integers(-40, 90, n), rng.integers(-30, 60, n)
    net = Network()
    net.driven("in", n, theta, v0=v0, refractory=refractory)
    _, spikes = engine(net, {"in": current}, steps=steps, resolution=resolution)
    period = max(1, int(refractory * resolution + 0.5))
    expected = []
    count, last = [0] * n, [-(10**6)] * n
    for t in range(1, steps * resolution + 1):
        for i in range(n):
            v = v0[i] + current[i] * t // resolution - theta[i] * count[i]
            if v >= theta[i] and t - last[i] >= period:
                expected.append((t, i, 1))
                count[i], last[i] = count[i] + 1, t
    assert spikes.of("in") == expected
    assert len(expected) > n


def test_driven_spike_times_at_full_resolution(engine):
    # I = 3, theta = 7, R = 2**20: spike n at ceil(7 n R / 3); in 5 steps 15 units make 2 spikes.
    net = Network()
    net.driven("in", 1, 7)
    _, spikes = engine(net, {"in": [3]}, steps=5, resolution=2**20)
    assert spikes.of("in") == [(2446678, 0, 1), (4893355, 0, 1)]  # 7340032 / 3 = 2446677.3, 14680064 / 3 = 4893354.7


# ----------------------------------------------------------------------------------------- time


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


def test_fractional_delay_of_the_bias_clock(engine):
    # The clock's tick 2 R would arrive after the end.
    net = Network()
    net.source("clock", 1, "clock")
    net.readout("out", 1)
    net.connect("clock", "out", Dense([[1]]), delay=0.5)
    counts, _ = engine(net, steps=2, resolution=4)
    assert counts.readout["out"].tolist() == [[0], [1]]


# ----------------------------------------------------------------------------------------- decision and exit


def votes(*weights, v0=0):
    """A source whose neurons vote for the outputs with the given rows of weights."""
    net = Network()
    net.source("src", len(weights))
    net.readout("out", len(weights[0]), v0=v0)
    net.connect("src", "out", Dense(np.array(weights)))
    return net


def test_decision_tie_goes_to_the_lowest_index(engine):
    net = votes([0, 2, 1], [0, 0, 1])
    # Tick 2: (0, 2, 1) -> 1. Tick 4: (0, 2, 2) -> still 1.
    counts, _ = engine(net, at_ticks(8, (2, 0), (4, 1)), steps=1, resolution=8)
    assert (counts.decision, counts.decision_tick) == (1, 2)
    counts, _ = engine(net, at_ticks(8, (2, 0), (4, 1), (6, 1)), steps=1, resolution=8)  # (0, 2, 3)
    assert (counts.decision, counts.decision_tick) == (2, 6)


def test_decision_latency(engine):
    net = votes([1, 0], [0, 1])
    # (0,1) at 2, tie (1,1) at 3 goes back to 0, (1,2) at 5 decides; (1,3) at 7 changes nothing.
    counts, _ = engine(net, at_ticks(8, (2, 1), (3, 0), (5, 1), (7, 1)), steps=1, resolution=8)
    assert (counts.decision, counts.decision_tick) == (1, 5)
    # A decision that v0 made and nothing changed stands from the first tick.
    counts, _ = engine(votes([1, 0], v0=[0, 2]), at_ticks(8, (3, 0)), steps=1, resolution=8)
    assert (counts.decision, counts.decision_tick) == (1, 1)
    # What happens within a tick is no change: +2 and -2 at tick 4 and 5.
    counts, _ = engine(votes([0, 2], [0, -2]), at_ticks(8, (4, 0), (4, 1), (5, 0), (5, 1)), steps=1, resolution=8)
    assert (counts.decision, counts.decision_tick) == (0, 4)


@pytest.mark.parametrize("resolution", [1, 8, 2**20])
@pytest.mark.parametrize("from_neurons", [False, True])
def test_there_is_no_decision_before_something_reaches_the_readout(engine, resolution, from_neurons):
    def run(*, v0, weights, time=3.0, delay=0.0, bias=False, steps=4):
        net = Network()
        net.source("src", 1)
        if from_neurons:
            net.spiking("relay", 1, 1)
            net.connect("src", "relay", Dense([[1]]))
        net.readout("out", len(weights), v0=v0)
        net.connect("relay" if from_neurons else "src", "out", Dense([weights]), delay=delay)
        if bias:
            net.bias("out", 0)
        counts, _ = engine(net, {"src": ([time], [0])}, steps=steps, resolution=resolution)
        return counts.decision, counts.decision_tick

    at = 3 * resolution
    # Class 0 as any other; also by a spike whose weights, or all of whose effects, are nothing.
    assert run(v0=0, weights=[2, 1]) == run(v0=5, weights=[2, 1]) == run(v0=0, weights=[0, 0]) == (0, at)
    assert run(v0=0, weights=[1, 2]) == (1, at)
    assert run(v0=[1, 1], weights=[3, 3]) == (0, at)
    # Initial potentials that differ decide from the first tick on.
    assert run(v0=[0, 1], weights=[0, 0]) == run(v0=[0, 2], weights=[1, 0]) == (1, 1)
    assert run(v0=[1, 0], weights=[0, 2]) == (1, at)
    # A bias is delivered at the end of the first step; a spike counts when it arrives.
    assert run(v0=0, weights=[0, 0], bias=True) == (0, resolution)
    assert run(v0=0, weights=[1, 0], delay=1) == (0, at + resolution)
    # Never: nothing arrives within the run. One output is as many.
    assert run(v0=0, weights=[1, 0], delay=2) == run(v0=0, weights=[1, 2], steps=2) == run(v0=7, weights=[1], steps=2) == (None, None)
    assert run(v0=0, weights=[1]) == (0, at)


@pytest.mark.parametrize("resolution", [1, 8, 2**20])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_spike_of_neurons_without_synapses_begins_the_decision(resolution, threads):
    # Driven, so that clocked populations are run from rasters: neuron 0 fires at the end of step 2 and reaches nothing.
    net = Network()
    net.driven("in", 2, [2, 6])
    net.spiking("hidden", 2, 1)
    net.readout("out", 2)
    net.connect("in", "hidden", Dense(np.eye(2, dtype=int)))
    net.connect("hidden", "out", Sparse([0, 0, 2], [0, 1], [1, 1], 2))
    for engine in ("reference", "queue", "layered"):
        result = Simulator(net).run({"in": [1, 1]}, steps=8, resolution=resolution, engine=engine, threads=threads)
        assert (result.decision, result.counts.decision_tick) == (0, 2 * resolution)
    net.connect("hidden", "out", Dense([[0, 0], [0, 2]]), name="dense")
    for engine in ("reference", "queue", "layered"):
        result = Simulator(net).run({"in": [1, 1]}, steps=8, resolution=resolution, engine=engine, threads=threads)
        assert (result.decision, result.counts.decision_tick) == (1, 6 * resolution)


def test_no_output_no_decision(engine):
    net = Network()
    net.driven("in", 1, 1)
    counts, _ = engine(net, {"in": [1]}, steps=2, resolution=2)
    assert counts.decision is None
    assert counts.decision_tick is None
    assert counts.spikes.tolist() == [[1], [1]]


@pytest.mark.parametrize(("kind", "threshold", "tick"), [("potential", 6, 6), ("potential", 5, 3), ("margin", 3, 7), ("margin", 6, 16)])
def test_early_exit_stops_at_the_same_tick(engine, kind, threshold, tick):
    # After the ticks 2, 3, 6, 7, 9 the readouts are (3,3) (5,4) (7,6) (9,6) (9,9); 8 ticks a step.
    net = Network()
    net.source("src", 4)
    net.spiking("relay", 4, 1)
    net.readout("out", 2)
    net.connect("src", "relay", Dense(np.eye(4, dtype=int)))
    net.connect("relay", "out", Dense([[3, 3], [2, 1], [2, 2], [2, 0]]))
    net.connect("src", "out", Sparse([0, 0, 0, 0, 1], [1], [0], 2), name="zero")
    net.source("more", 1)
    net.connect("more", "out", Dense([[0, 3]]))
    events = {"src": (np.array([2, 3, 6, 7]) / 8, [0, 1, 2, 3]), "more": ([9 / 8], [0])}
    counts, spikes = engine(net, events, steps=2, resolution=8, exit_rule=ExitRule(kind, threshold))
    states = {2: (3, 3), 3: (5, 4), 6: (7, 6), 7: (9, 6), 9: (9, 9)}
    seen = [t for t in states if t <= tick]
    assert counts.end_tick == tick
    assert counts.exited == (tick < 16)
    steps = 1 if tick <= 8 else 2
    assert counts.spikes.shape == (steps, 4)
    assert counts.spikes.sum() == len([t for t in seen if t <= 7])
    assert [s[0] for s in spikes.of("relay")] == [t for t in seen if t <= 7]
    assert counts.readout["out"][-1].tolist() == list(states[seen[-1]])
    # src -> relay: 4 synapses a spike, relay -> out: 2.
    assert counts.synaptic_events.sum(0)[:2].tolist() == [4 * counts.spikes.sum(), 2 * counts.spikes.sum()]


def test_exit_completes_its_tick(engine):
    # Both readouts get spikes at tick 3; the rule holds by the first, the second is counted too.
    net = votes([4, 0], [0, 4])
    net.readout("second", 1)
    net.connect("src", "second", Dense([[1], [1]]))
    counts, _ = engine(net, at_ticks(4, (3, 0), (3, 1), (4, 0)), steps=1, resolution=4, exit_rule=ExitRule("potential", 4))
    assert (counts.end_tick, counts.exited) == (3, True)
    assert counts.readout["out"].tolist() == [[4, 4]]
    assert counts.readout["second"].tolist() == [[2]]


# ----------------------------------------------------------------------------------------- range


def both_overflow(net, inputs=None, *, tick, name, steps=1, resolution=8):
    """The engines raise, with the same message, about this population at this tick."""
    job = prepare(net, inputs, steps=steps, resolution=resolution)
    messages = []
    for run in ENGINES.values():
        with pytest.raises(PotentialOverflow) as caught:
            run(job, Spikes())
        messages.append(str(caught.value))
    assert len(set(messages)) == 1
    assert messages[0].startswith(f"{name}: ")
    assert f"(tick {tick})" in messages[0]
    assert f"in step {-(-tick // resolution)} " in messages[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_readout_beyond_int32_is_an_error(sign):
    edge = INT32_MAX if sign > 0 else -INT32_MAX - 1
    net = votes([sign * 2**30], v0=edge - sign * 2**30)
    both_overflow(net, at_ticks(8, (2, 0), (11, 0)), tick=11, name="out", steps=2)
    counts, _ = run_both(prepare(net, at_ticks(8, (2, 0)), steps=2, resolution=8))  # the edge itself is allowed
    assert counts.readout["out"][-1].tolist() == [edge]


def test_spiking_beyond_int32_is_an_error():
    # The neuron would fire and subtract, but it has to hold the sum first.
    net = one_neuron([2**30], threshold=2**31 - 1, v0=2**30 - 1)
    both_overflow(net, at_ticks(8, (2, 0), (2, 0)), tick=2, name="n")
    # v0 at the edge of int32, a large threshold (so that V - threshold is far from the edge), and a small push.
    net = one_neuron([5], threshold=2**30, v0=INT32_MAX)
    both_overflow(net, at_ticks(8, (1, 0)), tick=1, name="n")
    # A tick later it has fired and has room.
    _, spikes = run_both(prepare(net, at_ticks(8, (2, 0)), steps=1, resolution=8))
    assert spikes.of("n") == [(1, 0, 1), (2, 0, 1)]  # 2**31 - 1 = 2**30 + (2**30 - 1), + 5 - 2**30 = 4 left


def test_refractory_neuron_beyond_int32_is_an_error():
    net = one_neuron([5], threshold=2**30, v0=INT32_MAX, refractory=1)
    # Tick 1: V = 2**30 - 1. 2**30 more need 2**30 / 5 events, so use a second source of large weight.
    net.source("big", 1)
    net.connect("big", "n", Dense([[2**30]]))
    # V = 2**31 - 1 at tick 2, refractory until 9; 5 more at tick 3 leave the range.
    events = at_ticks(8, (3, 0)) | {"big": ([2 / 8], [0])}
    both_overflow(net, events, tick=3, name="n", steps=2)


def test_negative_beyond_int32_is_an_error():
    net = one_neuron([-(2**30)], threshold=2**30, v0=-(2**30))
    counts, _ = run_both(prepare(net, at_ticks(8, (2, 0)), steps=1, resolution=8))  # -2**31 is allowed
    assert counts.spikes.sum() == 0
    both_overflow(net, at_ticks(8, (2, 0), (4, 0)), tick=4, name="n")


def test_first_population_of_the_tick_is_named():
    net = votes([2**30], v0=2**30)
    net.readout("second", 1, v0=2**30)
    net.connect("src", "second", Dense([[2**30]]))
    both_overflow(net, at_ticks(8, (2, 0)), tick=2, name="out")


def test_large_weights_may_cancel_within_a_tick():
    # 8 times +-(2**31 - 1) in one tick, their sum 3: beyond int32 in between, in any order, but not at the end.
    weights = [INT32_MAX, -INT32_MAX] * 4 + [3]
    net = one_neuron(weights, threshold=3, v0=0)
    net.connect("src", "out", Dense(np.array(weights).reshape(-1, 1)))
    events = at_ticks(8, *((2, i) for i in range(9)))
    counts, spikes = run_both(prepare(net, events, steps=1, resolution=8))
    assert spikes.of("n") == [(2, 0, 1)]
    assert counts.readout["out"].tolist() == [[4]]
    # In the next tick as well, and an overflow after that is still seen.
    events = at_ticks(8, *((2, i) for i in range(9)), *((3, i) for i in range(9)), (5, 0), (6, 0))
    both_overflow(net, events, tick=5, name="out")


def test_signed_neuron_far_below_zero_does_not_fire():
    # V close to -2**31 and a threshold: V - threshold does not fit int32, and net is 0, so there is nothing to take back.
    net = one_neuron([-1, 1], threshold=100, v0=-INT32_MAX, signed=True)
    counts, spikes = run_both(prepare(net, at_ticks(8, (2, 0), (4, 1)), steps=1, resolution=8))
    assert spikes.all() == {}
    assert counts.deliveries.tolist() == [[2, 0]]


def test_signed_neuron_takes_back_from_far_below_zero():
    # +1 at tick 1 (V = 0 after it); -(2**31 - 1) at tick 2: one spike back, V = 100 - (2**31 - 1), then nothing more.
    net = one_neuron([-INT32_MAX], threshold=100, v0=100, signed=True)
    _, spikes = run_both(prepare(net, at_ticks(8, (2, 0)), steps=1, resolution=8))
    assert spikes.of("n") == [(1, 0, 1), (2, 0, -1)]


def test_largest_threshold_and_weights(engine):
    # 2**31 - 1 is threshold and weight: a tie; zero reset leaves V - threshold at its least.
    for reset in ("subtract", "zero"):
        net = one_neuron([INT32_MAX], threshold=INT32_MAX, reset=reset)
        assert engine(net, at_ticks(8, (2, 0), (4, 0)), steps=1, resolution=8)[1].of("n") == [(2, 0, 1), (4, 0, 1)]


def test_pooled_weights_beyond_int32_are_refused():
    # Two taps of 2**31 - 1 that pooling adds up would be -2 in 32 bits.
    net = Network()
    net.source("src", (2, 1, 1))
    net.readout("out", (1, 1, 1))
    with pytest.raises(NetworkError, match="pool_after"):
        net.connect("src", "out", Conv2d(np.full((2, 1, 1, 1), INT32_MAX), padding=(1, 0), pool_after=(2, 1)))
    # The largest that is sure to fit, twice 2**30 - 1, arrives whole.
    net.connect("src", "out", Conv2d(np.full((2, 1, 1, 1), 2**30 - 1), padding=(1, 0), pool_after=(2, 1)))
    counts, _ = run_both(prepare(net, at_ticks(8, (2, 0)), steps=1, resolution=8))
    assert counts.readout["out"].tolist() == [[INT32_MAX - 1]]


@pytest.mark.parametrize("salt", range(3))
def test_networks_at_the_edge_of_int32(salt):
    """120 random dense networks with magnitudes about 2**30: the engines agree on overflow, message and spikes alike."""
    overflows = 0
    for i in range(40):
        rng = np.random.default_rng([77, salt, i])
        net = Network()
        net.source("src", 6)
        top = [2**30, 2**30, 2**29, 2**26][i % 4]
        for name in ("a", "b"):
            net.spiking(
                name,
                4,
                rng.integers(1, top, 4),
                v0=rng.integers(-top, top, 4),
                signed=bool(rng.random() < 0.5),
                refractory=float(rng.choice([0, 0.5])),
            )
        net.readout("out", 3)
        net.connect("src", "a", Dense(rng.integers(-top, top, (6, 4))))
        net.connect("a", "b", Dense(rng.integers(-top, top, (4, 4))))
        loop = salt % 2 == 0
        if loop:
            net.connect("b", "a", Dense(rng.integers(-top, top, (4, 4))), delay=0.25)
        net.connect("b", "out", Dense(rng.integers(-top // 2, top // 2, (4, 3))))
        n = int(rng.integers(1, 30))
        job = prepare(net, {"src": (rng.integers(1, 16, n) / 8, rng.integers(0, 6, n))}, steps=2, resolution=8)
        outcome = []
        for run in (run_reference, run_queue, *([] if loop else [run_layered])):
            spikes = Spikes()
            try:
                outcome.append((run(job, spikes), spikes.all()))
            except PotentialOverflow as error:
                outcome.append(str(error))
        where = f"network {[77, salt, i]}"
        overflows += isinstance(outcome[0], str)
        for other in outcome[1:]:
            if isinstance(outcome[0], str) or isinstance(other, str):
                assert outcome[0] == other, where
            else:
                assert_same(outcome[0][0], other[0])
                assert outcome[0][1] == other[1], where
    assert 4 < overflows < 36  # both outcomes are tested


# ----------------------------------------------------------------------------------------- settings


def driven_and_readout():
    """The smallest network with everything that settings can be wrong about."""
    net = Network()
    net.driven("in", 1, 5)
    net.readout("out", 2, v0=[3, 1])
    net.connect("in", "out", Dense([[1, 0]]))
    return net


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": -1}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 10**6 + 1}, "steps"),
        ({"steps": 1, "resolution": 0}, "resolution"),
        ({"steps": 1, "resolution": MAX_TICKS + 1}, "resolution"),
        ({"steps": 2, "resolution": MAX_TICKS}, "ticks"),
        ({"steps": 1, "seed": -1}, "seed"),
        ({"steps": 1, "exit_rule": ExitRule("potential", 3)}, "before the first spike"),
        ({"steps": 1, "exit_rule": ExitRule("margin", 2)}, "before the first spike"),
        ({"steps": 1, "exit_rule": ExitRule("potential", 2.5)}, "whole number"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(RunError, match=message):
        prepare(driven_and_readout(), {"in": [1]}, **settings)


def test_settings_that_need_more_of_the_network():
    with pytest.raises(RunError, match="at least two"):
        prepare(votes([1]), {"src": ([], [])}, steps=1, exit_rule=ExitRule("margin", 1))
    net = Network()
    net.driven("in", 1, 1)
    with pytest.raises(RunError, match="output"):
        prepare(net, {"in": [1]}, steps=1, exit_rule=ExitRule("potential", 1))
    with pytest.raises(RunError, match="exceed 64 bits at resolution 1099511627776; lower it"):
        prepare(driven_and_readout(), {"in": [INT32_MAX]}, steps=2, resolution=2**40)
    prepare(driven_and_readout(), {"in": [1000]}, steps=100, resolution=2**29)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "no input"),
        ({"in": [1.5]}, "integers"),
        ({"in": [1, 2]}, "shape"),
        ({"in": [2**31]}, "32 bits"),
        ({"nobody": [1]}, "no such population"),
        ({"out": [1]}, "takes none"),
        (np.zeros((2, 2, 1), np.uint8), "no image"),
    ],
)
def test_inputs_that_the_network_cannot_take(inputs, message):
    with pytest.raises(InputError, match=message):
        prepare(driven_and_readout(), inputs, steps=1)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (([1, 2], [0]), "as many"),
        (([1], [3]), "neurons must be"),
        (([1], [-1]), "neurons must be"),
        (([-0.5], [0]), "from 0 on"),
        (([np.nan], [0]), "from 0 on"),
        (([1], [0.0]), "whole numbers"),
        (7, "pair"),
    ],
)
def test_events_that_a_source_cannot_emit(events, message):
    with pytest.raises(InputError, match=message):
        prepare(votes([1], [1], [1]), {"src": events}, steps=1)


def test_periods_far_beyond_the_run(engine):
    # The longest refractory period and delay at the highest resolution: one spike each, nothing arrives.
    net = one_neuron([1], threshold=1, refractory=1e6)
    net.readout("late", 1)
    net.connect("n", "late", Dense([[1]]), delay=1e6)
    counts, spikes = engine(net, {"src": ([0.25, 0.5], [0, 0])}, steps=1, resolution=2**48)
    assert spikes.of("n") == [(2**46, 0, 1)]
    assert counts.readout["late"].tolist() == [[0]]


# ----------------------------------------------------------------------------------------- limits of buffers


def test_many_delayed_spikes_in_flight():
    # 3 neurons fire at each of 2000 ticks, and every spike travels for 1500: the ring of 2 * 3 + 1024 spikes has to grow,
    # also after its head has moved. The slower second projection shares the arrays.
    net = Network()
    net.driven("in", 3, 1, v0=10**6)
    net.readout("out", 3)
    net.connect("in", "out", Dense(np.eye(3, dtype=int)), delay=15)
    net.connect("in", "out", Dense(10**4 * np.eye(3, dtype=int)), delay=3.0625)
    counts, spikes = run_both(prepare(net, {"in": [0, 0, 0]}, steps=20, resolution=100))
    assert spikes.number == 6000
    # Arrived at tick 2000: fired at ticks 1..500, and 1..1694 (306.25 ticks round to 306).
    assert counts.readout["out"][-1].tolist() == [500 + 10**4 * 1694] * 3
    assert counts.deliveries.sum(0).tolist() == [1500, 5082]


def test_ring_grows_after_its_head_moved():
    # A neuron fires at ticks 1..500 and at every tick of 2300..5299; each spike travels for 2000 ticks. By tick 2500 the first
    # 500 have left the ring of 2 * 1 + 1024, by tick 3326 it is full and grows with its head at place 500.
    net = Network()
    net.source("src", 2)
    net.spiking("n", 1, 1)
    net.readout("out", 1)
    net.connect("src", "n", Dense([[1], [3000]]))
    net.connect("n", "out", Dense([[1]]), delay=2000 / 128)
    times = np.append(np.arange(1, 501), 2300) / 128
    counts, spikes = run_both(prepare(net, {"src": (times, [0] * 500 + [1])}, steps=60, resolution=128))
    assert spikes.number == 3500
    assert counts.readout["out"][-1].tolist() == [3500]  # the last arrives at 7299, the run ends at 7680
    assert counts.readout["out"][19].tolist() == [500]  # tick 2560
    assert counts.readout["out"][39].tolist() == [1321]  # tick 5120: those of 2300..3120 as well


@pytest.mark.parametrize("room", [1, 10, 64])
def test_spikes_are_handed_over_in_parts(monkeypatch, room):
    monkeypatch.setattr(queue, "_LOG", room)
    for i in range(10):
        run_both(random_case(np.random.default_rng([5, 7, i]), 7).job(7), MOST_SPIKES)
    net = one_neuron([1], threshold=1, v0=500)
    job = prepare(net, {"src": ([], [])}, steps=1, resolution=1000)
    spikes = Spikes()
    run_queue(job, spikes)
    assert spikes.of("n") == [(t, 0, 1) for t in range(1, 501)]
    assert spikes.calls > 500 // (room + 3) - 1  # 3 neurons: at most room + 3 spikes a time


def test_progress_reports_ticks():
    net = one_neuron([1], threshold=1, v0=5)
    told: list[int] = []
    Engines(net).run("queue", prepare(net, {"src": ([], [])}, steps=1, resolution=10), Spikes(), told.append)
    assert told
    assert told == sorted(told)
    assert told[-1] <= 10


def test_source_that_repeats_its_neurons_in_a_tick():
    """More spikes in a tick than the source has neurons, beside spikes that have signs."""
    net = Network(output="out")
    net.source("src", 3)
    net.source("more", 3)
    net.spiking("signed", 4, 2, signed=True)
    net.spiking("n", 40, 3, signed=True)
    net.readout("out", 2)
    rng = np.random.default_rng(12)
    net.connect("more", "signed", rng.integers(-2, 3, (3, 4)))
    net.connect("src", "n", rng.choice([-1, 1], (3, 40)))
    net.connect("signed", "n", rng.choice([-1, 1], (4, 40)))
    net.connect("n", "out", rng.integers(-3, 4, (40, 2)))
    times = np.sort(rng.integers(1, 9, 4000)) / 2
    events = {"src": (times, rng.integers(0, 3, 4000)), "more": (times[::20], rng.integers(0, 3, 200))}
    for resolution in (1, 2):
        counts, _ = run_both(prepare(net, events, steps=4, resolution=resolution))
        assert counts.deliveries[:, 1].sum() == 4000


@pytest.mark.parametrize("engine", ["layered", "queue"])
def test_compiling_is_no_part_of_the_run(engine, monkeypatch):
    """Whatever the first run has to compile."""
    net = Network()
    net.driven("in", 1, 5)
    simulator, run = Simulator(net), Engines.run

    def compiling(*args):
        event.start_event("numba:compile", data={})
        time.sleep(0.2)
        event.end_event("numba:compile", data={})
        return run(*args)

    monkeypatch.setattr(Engines, "run", compiling)
    start = time.perf_counter()
    result = simulator.run({"in": [3]}, steps=2, engine=engine)
    assert 0 < result.summary()["wall_seconds"] <= time.perf_counter() - start - 0.2

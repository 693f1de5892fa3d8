"""The engines against one another and against a dense loop, on random networks."""

from __future__ import annotations

import numpy as np
import pytest
from judges import dense_loop
from judges.engines import Spikes, assert_same, calm_cases, run_layered, run_queue, run_reference
from judges.random_networks import random_case

from eventsim.errors import PotentialOverflow
from eventsim.job.preparation import prepare
from eventsim.model.network import Network
from eventsim.model.tables import Dense


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
            if kind in ("driven", "spiking", "maximum"):
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


def expected_maxima(net, projection, arriving):
    """(tick, neuron, sign) of a maximum population, from the spikes (tick of arrival, neuron, sign) that reach it, tick by tick."""
    source, target = net.populations[projection.source], net.populations[projection.target]
    held = dense_loop.unroll(projection.table, source.shape, target.shape).synapses > 0
    largest = np.tile(target.largest, target.size // target.shape[-1]) == 1
    count, before, out = np.zeros(source.size, np.int64), np.zeros(target.size, np.int64), []
    for tick in sorted({tick for tick, _, _ in arriving}):
        for _, neuron, sign in (spike for spike in arriving if spike[0] == tick):
            count[neuron] += sign
        best = np.array([count[cells].max() if most else count[cells].min() for cells, most in zip(held.T, largest, strict=True)])
        out += [(tick, int(neuron), int(best[neuron] - before[neuron])) for neuron in np.flatnonzero(best != before)]
        before = best
    return out


@pytest.mark.parametrize("resolution", [1, 3, 2**20])
def test_maxima_are_exact_at_every_tick(resolution):
    """Random networks: what maxima emit is what the net counts of their windows, recounted at every tick, say."""
    emitted = fell = 0
    for _, case, job, counts, spikes in calm_cases(55, resolution, 100):
        for projection in case.network.projections:
            source = case.network.populations[projection.source]
            if projection.table.kind != "windows":
                continue
            sent = spikes.of(projection.source)
            if source.kind == "source":
                ticks, neurons = job.events[projection.source]
                sent = [(tick, neuron, 1) for tick, neuron in zip(ticks.tolist(), neurons.tolist(), strict=True)]
            delay = job.delay[projection.name]
            arriving = [(tick + delay, neuron, sign) for tick, neuron, sign in sent if tick + delay <= counts.end_tick]
            found = spikes.of(projection.target)
            assert found == expected_maxima(case.network, projection, arriving)
            emitted += len(found)
            fell += sum(sign < 0 for _, _, sign in found)
    assert emitted > 300
    assert fell > 0


def test_a_few_networks():
    """Both engines on a few networks at three resolutions: quick enough for engines that are not compiled."""
    for resolution in (1, 7, 2**20):
        fired = sum(counts.spikes.sum() for _, _, _, counts, _ in calm_cases(99, resolution, 5))
        assert fired > 0


def maximum_features(net, projection):
    """What is special about a projection to a maximum population; nothing of others."""
    if projection.table.kind != "windows":
        return set()
    table, source = projection.table, net.populations[projection.source]
    holds = {
        "windows overlap": any(s < k for s, k in zip(table.stride, table.kernel, strict=True)),
        "windows with padding": any(table.padding),
        "signed maximum": source.signed,
        "minimum": not np.all(net.populations[projection.target].largest),
        "delayed maximum": projection.delay > 0,
    }
    return {name for name, is_so in holds.items() if is_so}


def test_random_networks_cover_what_they_should():
    """The generator makes every feature often enough for the tests above to mean something."""
    seen: dict[str, int] = {}
    for i in range(500):
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
            features |= maximum_features(net, p)
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
        "driven", "spiking", "readout", "source", "events", "poisson", "clock", "start", "reset subtract", "reset zero", "signed",
        "refractory", "v0 above threshold", "negative v0", "int8", "int16", "int32", "encoder", "negative current", "exit by potential",
        "exit by margin", "two readouts", "conv2d", "dense", "sparse", "binary", "not binary", "zero weights", "recurrent",
        "whole delay", "fractional delay", "stride", "stride beyond kernel, pooled", "asymmetric padding", "pool_before", "pool_after",
        "dense pool_before", "same source twice", "maximum", "windows", "windows overlap", "windows with padding",
        "signed maximum", "minimum", "delayed maximum",
    ]
    # fmt: on
    assert {name: seen.get(name, 0) for name in expected if seen.get(name, 0) < 8} == {}


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

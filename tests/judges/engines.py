"""The engines side by side: what each counted and recorded, and whether it is the same."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

import eventsim as es
from eventsim.engines.registry import Engines
from eventsim.errors import PotentialOverflow
from eventsim.job.job import Counts
from eventsim.job.preparation import prepare
from eventsim.model.order import feed_forward_order
from judges.random_networks import random_case

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
    return _run("reference", job, recorder)


def run_queue(job, recorder):
    """Run the compiled engine."""
    return _run("queue", job, recorder)


def run_layered(job, recorder):
    """Run the engine for feed-forward networks."""
    return _run("layered", job, recorder)


def _run(name, job, recorder):
    engines = Engines(job.network)
    return engines.run(engines.choose(name, job), job, recorder)


ENGINES = {"reference": run_reference, "queue": run_queue, "layered": run_layered}


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


def totals(spikes: Spikes) -> np.ndarray:
    """Ticks of all spikes, in order."""
    return np.sort([tick for name in spikes.parts for tick, _, _ in spikes.of(name)])


COUNTS = ("spikes", "negative_spikes", "first_tick", "deliveries", "synaptic_events", "additions", "toolbox", "effective")


def compare(net: es.Network, inputs, engine: str = "queue", **settings) -> es.Result:
    """Layered against another engine: counts and every spike. Returns the former."""
    found, expected = (es.run(net, inputs, engine=e, **settings) for e in ("layered", engine))
    for name in COUNTS:
        np.testing.assert_array_equal(getattr(found.counts, name), getattr(expected.counts, name), err_msg=name)
    for name, population in net.populations.items():
        if population.kind == "readout":
            np.testing.assert_array_equal(found.counts.readout[name], expected.counts.readout[name])
        elif population.kind != "source":
            for mine, other in zip(found.spikes(name), expected.spikes(name), strict=True):
                np.testing.assert_array_equal(mine, other, err_msg=name)
    assert (found.decision, found.counts.decision_tick) == (expected.decision, expected.counts.decision_tick)
    return found

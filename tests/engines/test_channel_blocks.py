"""Convolutions in groups, dilated or between some channels, of widths that fill vectors or do not: engines, and lists of synapses."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judges.engines import Spikes, assert_same, run_layered, run_queue, run_reference

import eventsim as es
from eventsim.job.job import Counts
from eventsim.job.preparation import prepare

STEPS = 3


def random_blocks(rng: np.random.Generator, source: tuple[int, int, int]) -> es.GroupedConv2d:
    """A convolution of many channels, in groups of any size: of all channels or some, in their order or another one."""
    channels = source[2]
    groups = int(rng.choice([n for n in (1, 2, 3, 8, 32, channels) if channels % n == 0]))
    inputs = channels // groups
    if groups > 1 and rng.random() < 0.3:
        groups -= 1
    outputs = groups * int(rng.choice([1, 2, 5, 24, 48] if groups < 8 else [1, 2, 4]))
    kernel, dilation = rng.integers(1, 4, 2), rng.integers(1, 4, 2)
    reach = (kernel - 1) * dilation + 1
    padding = [int(rng.integers(max(0, reach[i % 2] // 2 - 1), reach[i % 2])) for i in range(4)]
    shift = int(rng.integers(0, 40)) * int(rng.integers(0, 2))
    targets = np.arange(outputs).reshape(groups, -1)[rng.permutation(groups) if rng.random() < 0.5 else slice(None)].ravel()
    sources = np.arange(groups * inputs) + (channels - groups * inputs if rng.random() < 0.5 else 0)
    return es.GroupedConv2d(
        rng.choice([-1, 1, 2] if rng.random() < 0.5 else [-200, 0, 3], (*kernel, inputs, outputs)),
        groups,
        rng.integers(1, 4, 2) if rng.random() < 0.5 else 1,
        padding,
        dilation,
        (1, int(rng.choice([1, 1, 2]))),
        rng.permutation(sources) if rng.random() < 0.2 else sources,
        targets + shift,
        outputs + shift + int(rng.integers(0, 3)),
    )


def listed(network: es.Network) -> es.Network:
    """The same network with a list of its synapses in place of each convolution."""
    made = es.Network()
    for name, population in network.populations.items():
        made.add(name, population)
    for p in network.projections:
        source, target = (network.populations[name].shape for name in (p.source, p.target))
        table = p.table
        if isinstance(table, es.GroupedConv2d):
            rows = [sorted(table.synapses_from(n, source, target)) for n in range(int(np.prod(source)))]
            indptr = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
            pairs = np.array([pair for row in rows for pair in row], np.int64).reshape(-1, 2)
            table = es.Sparse(indptr, pairs[:, 0], pairs[:, 1], int(np.prod(target)))
        made.connect(p.source, p.target, table, delay=p.delay)
    return made


def random_network(rng: np.random.Generator) -> tuple[es.Network, dict[str, np.ndarray]]:
    """Driven neurons, two layers of a kind and a readout."""
    net, shape = es.Network(), (*map(int, rng.integers(1, 7, 2)), int(rng.choice([4, 24, 40, 64])))
    net.driven("driven", shape, 100)
    size = int(np.prod(shape))
    current = np.where(rng.random(size) < 0.1, rng.integers(20, 180, size), 0)
    signed, before = bool(rng.random() < 0.5), "driven"
    refractory = float(rng.choice([0, 0, 1]))
    for name in ("first", "second", "readout"):
        shape = net.populations[before].shape
        while True:
            table = random_blocks(rng, shape)
            try:
                target = table.output_shape(shape)
                break
            except es.EventsimError:
                continue
        if name == "readout":
            net.readout(name, target)
        else:
            net.spiking(name, target, 2, v0=rng.integers(-1, 2, target[-1]), signed=signed, refractory=refractory)
        delay = 0.7 if rng.random() < 0.2 else 0.0
        net.connect(before, name, table, delay=delay)
        if rng.random() < 0.3:
            net.bias(name, rng.integers(-1, 2, target[-1]))
        before = name
    return net, {"driven": current}


@pytest.mark.kernels
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 2**20]))
def test_engines_agree_with_one_another_and_with_lists(seed, resolution):
    """The same spikes, potentials and counts, synapse for synapse."""
    net, inputs = random_network(np.random.default_rng(seed))
    job, spikes = prepare(net, inputs, steps=STEPS, resolution=resolution), Spikes()
    counts = run_reference(job, spikes)
    for run in (run_queue, run_layered):
        found = Spikes()
        assert_same(counts, run(job, found))
        assert found.all() == spikes.all()
    found = Spikes()
    rows = run_reference(prepare(listed(net), inputs, steps=STEPS, resolution=resolution), found)
    assert found.all() == spikes.all()
    assert_same(counts, rows)
    assert {field.name for field in fields(Counts)} >= {"synaptic_events", "additions", "toolbox", "effective"}

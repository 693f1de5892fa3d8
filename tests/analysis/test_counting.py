"""Operation counts, recounted spike by spike and synapse by synapse, and energies recomputed from the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

import eventsim as es
from eventsim.analysis.counting import Costs, add_reports, count_operations

RNG = np.random.default_rng(3)
FIRST = RNG.integers(-2, 3, (3, 3, 1, 2))
SECOND = RNG.integers(-1, 2, (3, 3, 2, 3))
LAST = RNG.integers(-4, 5, (12, 3))
COSTS = Costs("primes", int8_add=2, float32_add=3, float32_mac=5, memory_read=7, routing=11, neuron_update=13)


def network():
    net = es.Network()
    net.image_input((4, 4, 1))
    net.driven("a", (4, 4, 2), 300, v0=100, encoder=es.Conv2d(FIRST, padding=1))
    net.spiking("b", (2, 2, 3), 3)
    net.readout("c", 3)
    net.connect("a", "b", es.Conv2d(SECOND, padding=1, pool_after=2), delay=0.25)
    net.connect("b", "c", LAST)
    net.bias("b", [1, 0, 1])
    return net


IMAGES = np.random.default_rng(4).integers(0, 2, (6, 4, 4, 1)) * 200


def recount(result, net):
    """Counts of each projection from the recorded spikes, one synapse after another."""
    end, resolution = result.counts.end_tick, result.info.resolution
    found = {}
    for p in net.projections:
        source, target = (net.populations[name].shape for name in (p.source, p.target))
        ticks, neurons, _ = result.spikes(p.source)
        delivered = neurons[ticks + math.floor(p.delay * resolution + 0.5) <= end].tolist()
        synapses = [list(p.table.synapses_from(n, source, target)) for n in range(math.prod(source))]
        found[p.name] = {
            "spikes": len(delivered),
            "synaptic_events": sum(len(synapses[n]) for n in delivered),
            "neurobench_acs": sum(sum(w != 0 for _, w in synapses[n]) for n in delivered),
            # Fused pooling adds once to each neuron that it reaches.
            "additions": sum(len({target for target, _ in synapses[n]}) for n in delivered),
            "synapses": sum(map(len, synapses)),
        }
    return found


def runs():
    """Runs to the end and runs that stop within a step."""
    net = network()
    whole = [es.run(net, image, steps=5) for image in IMAGES]
    stopped = [es.run(net, image, steps=5, exit_margin=6) for image in IMAGES]
    assert any(r.counts.exited and r.duration != int(r.duration) for r in stopped)
    assert any(r.total_synaptic_events for r in stopped)
    return net, whole, stopped


def begun(result):
    """Steps of which at least a tick was simulated."""
    return math.ceil(result.counts.end_tick / result.info.resolution)


@pytest.mark.parametrize("which", ["whole", "stopped", "together"])
def test_every_count_is_what_the_definitions_say(which):
    net, whole, stopped = runs()
    chosen = {"whole": whole, "stopped": stopped, "together": whole + stopped}[which]
    report = count_operations(chosen)
    assert (report.runs, report.counts) == (len(chosen), "sum")
    rows = {row.name: row for row in report.rows}
    assert list(rows) == ["input->a", "a->b", "b->c", "b.bias->b"]
    each = [recount(r, net) for r in chosen]
    steps = sum(r.counts.end_tick / r.info.resolution for r in chosen)
    all_begun = sum(map(begun, chosen))
    # Multiply-accumulates of a layer, padding included: output positions x kernel x channels.
    macs = {"a->b": 16 * 9 * 2 * 3, "b->c": 12 * 3}
    toolbox = {"a->b": 9 * 3, "b->c": 3}
    for name, neurons in (("a->b", 32), ("b->c", 12)):
        row = rows[name]
        for key in ("spikes", "synaptic_events", "neurobench_acs", "additions"):
            assert getattr(row, key) == sum(counts[name][key] for counts in each), (name, key)
        assert row.role == "synapses"
        assert row.neurons == neurons
        assert row.neuron_steps == pytest.approx(neurons * steps)
        assert row.rate == pytest.approx(row.spikes / (neurons * steps))
        assert row.toolbox == row.spikes * toolbox[name]
        assert row.neurobench_dense == each[0][name]["synapses"] * all_begun
        assert row.neurobench_macs == 0
        assert row.macs == macs[name] * len(chosen)
        assert row.events_per_mac == row.synaptic_events / row.macs
    bias = rows["b.bias->b"]
    assert bias.role == "bias"
    assert bias.spikes == sum(counts["b.bias->b"]["spikes"] for counts in each)
    assert bias.synaptic_events == bias.additions == 12 * bias.spikes
    # Neither the toolbox nor NeuroBench counts biases, and the source network's are within its multiply-accumulates.
    assert (bias.toolbox, bias.neurobench_acs, bias.neurobench_dense, bias.macs) == (0, 0, 0, 0)
    assert bias.events_per_mac is None
    if which != "stopped":
        assert bias.spikes > 0
    first = rows["input->a"]
    assert first.role == "input"
    assert (first.spikes, first.neurons, first.synaptic_events, first.additions, first.toolbox, first.neurobench_acs) == (0,) * 6
    assert first.macs == 16 * 9 * 2 * len(chosen)
    inside = np.array([[sum(0 <= y + dy < 4 for dy in (-1, 0, 1)) for y in range(4)]])
    assert first.neurobench_dense == int(np.outer(inside, inside).sum()) * 2 * all_begun
    images = IMAGES if which != "together" else np.concatenate([IMAGES, IMAGES])
    effective = [
        sum(
            image[y, x, 0] != 0 and FIRST[ky, kx, 0, o] != 0
            for y in range(4)
            for x in range(4)
            for ky in range(3)
            for kx in range(3)
            for o in range(2)
            if 0 <= y - ky + 1 < 4 and 0 <= x - kx + 1 < 4
        )
        for image in images
    ]
    assert first.neurobench_macs == sum(n * begun(r) for n, r in zip(effective, chosen, strict=True))
    for role, names in (("synapses", ("a->b", "b->c")), ("bias", ("b.bias->b",)), ("input", ("input->a",))):
        total = getattr(report, role)
        for key in ("spikes", "synaptic_events", "additions", "toolbox", "neurobench_acs", "neurobench_macs", "neurobench_dense", "macs"):
            assert getattr(total, key) == sum(getattr(rows[name], key) for name in names), (role, key)
    # Bias clocks are no neurons.
    assert report.neurons == (32 + 12 + 3) * len(chosen)
    assert report.neuron_updates == (32 + 12 + 3) * all_begun
    assert all_begun > steps or which == "whole"


def test_means_are_sums_over_runs():
    _, whole, stopped = runs()
    total = count_operations(whole + stopped[:1])
    mean = total.mean()
    assert (mean.counts, mean.runs) == ("mean", 7)
    assert mean.mean() is mean
    both = [[*r.rows, r.synapses, r.input, r.bias] for r in (mean, total)]
    for a, b in zip(*both, strict=True):
        assert (a.name, a.role, a.neurons) == (b.name, b.role, b.neurons)
        assert a.rate == pytest.approx(b.rate)
        assert a.events_per_mac == pytest.approx(b.events_per_mac)
        for key in ("spikes", "neuron_steps", "synaptic_events", "additions", "toolbox", "neurobench_dense", "macs"):
            assert getattr(a, key) == pytest.approx(getattr(b, key) / 7, rel=1e-12)
    for kind, parts in mean.energy_parts(COSTS).items():
        assert parts == pytest.approx({part: value / 7 for part, value in total.energy_parts(COSTS)[kind].items()}, rel=1e-12)
    # A mean that is whole stays an integer, however large.
    assert count_operations(whole).mean().synapses.macs == 16 * 9 * 2 * 3 + 12 * 3
    assert isinstance(count_operations(whole).mean().synapses.macs, int)


def test_energy_is_counts_times_costs():
    _, whole, stopped = runs()
    report = count_operations(whole + stopped)
    s, b, i = report.synapses, report.bias, report.input
    assert s.synaptic_events != s.additions
    assert b.synaptic_events
    events, read = s.synaptic_events + b.synaptic_events, i.macs + s.synaptic_events + b.synaptic_events
    spent = {"memory": 7 * read, "routing": 11 * s.spikes, "neurons": 13 * report.neuron_updates}
    assert report.energy_parts(COSTS) == {
        "int8": {"arithmetic": 2 * events + 5 * i.macs, **spent},
        "float32": {"arithmetic": 3 * events + 5 * i.macs, **spent},
        "dense": {"arithmetic": 5 * (s.macs + i.macs), "memory": 7 * (s.macs + i.macs), "routing": 0, "neurons": 13 * report.neurons},
    }
    assert report.energy(COSTS) == {kind: sum(parts.values()) for kind, parts in report.energy_parts(COSTS).items()}
    for row in report.rows:
        assert row.energy(COSTS) == {kind: sum(parts.values()) for kind, parts in row.energy_parts(COSTS).items()}
    # The usual table knows arithmetic only.
    usual = {"int8": 0.03 * events + 4.6 * i.macs, "float32": 0.9 * events + 4.6 * i.macs, "dense": 4.6 * (s.macs + i.macs)}
    assert report.energy(Costs()) == pytest.approx(usual, rel=1e-12)
    values = report.to_dict(COSTS)
    assert values["energy_pj"] == report.energy(COSTS)
    assert values["energy_parts_pj"] == report.energy_parts(COSTS)
    assert values["costs"]["routing"] == 11


def test_reports_add_up_whatever_they_hold():
    _, whole, stopped = runs()
    parts = [count_operations(whole[:2]), count_operations(whole[2:]), count_operations(stopped)]
    assert add_reports(parts) == count_operations(whole + stopped)
    for nothing in ([], ()):
        with pytest.raises(es.RunError, match="no runs"):
            count_operations(nothing)

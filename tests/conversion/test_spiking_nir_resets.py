"""Resets of snnTorch's neurons, which NIR files do not tell: the spikes of a loop over steps, in its order."""

from __future__ import annotations

import numpy as np
import pytest
from judges.nir_graphs import clocked, constants, drawn, graph, spikes_of

import eventsim as es

nir = pytest.importorskip("nir")


@pytest.fixture
def rng():
    return np.random.default_rng(4)


# What snnTorch's files do not say of resets.
BY_SUBTRACTION = "neurons reset by subtraction of their thresholds, snnTorch's default; a file does not say so"
LATE = "lif: set to zero in the step after a spike, with what arrives in it"
AT_ONCE = "lif: by subtraction at once (reset_delay=False): what is still above its threshold then fires from twice the threshold on"


def of_snntorch(rng, current, recurrent, keeps):
    """A graph as it writes them, of which a step keeps so much of potentials; currents keep half. Weights, and weights that lead back."""
    weight, back = rng.integers(-3, 7, (6, 5)).astype(float), rng.integers(-3, 4, (6, 6)).astype(float) * recurrent
    leak = constants(6, r=1 / (1 - keeps), v_leak=0.0, v_threshold=6.0, v_reset=0.0)
    lif = nir.LIF(tau=np.full(6, 1e-4) / (1 - keeps), **leak)
    if current:
        lif = nir.CubaLIF(tau_mem=np.full(6, 1e-4) / (1 - keeps), tau_syn=np.full(6, 2e-4), w_in=np.full(6, 2.0), **leak)
    made = graph({"a": nir.Linear(weight), "lif": lif}, [5], [6])
    if recurrent:
        made.nodes["back"] = nir.Linear(back)
        made.edges += [("lif", "back"), ("back", "lif")]
    return made, weight, back


@pytest.mark.parametrize("keeps", [0.5, 1 / 128, 0.0])
@pytest.mark.parametrize(("current", "recurrent"), [(False, True), (True, False), (True, True), (False, False)])
@pytest.mark.parametrize(("reset", "delay"), [("subtract", True), ("subtract", False), ("value", True), ("value", False), ("none", True)])
def test_resets_of_snntorch(rng, current, recurrent, reset, delay, keeps):
    made, weight, back = of_snntorch(rng, current, recurrent, keeps)
    net, remarks = es.spiking_from_nir(made, writer="snntorch", reset=reset, reset_delay=delay)
    x, i, v, fired, expected = drawn(rng, 5, rate=0.4), np.zeros(6), np.zeros(6), np.zeros(6, bool), []
    left = 0
    for step in x:
        # (As it does: what has fired if resets are late, else what has been left above.)
        above = v > 6
        left += np.sum(above)
        i = i * (current / 2) + weight @ step + back @ fired
        v = keeps * v + i
        if reset == "subtract":
            v = v - 6 * above
        elif reset == "value" and delay:
            # What is set to zero before the decay loses nothing that arrives: neurons alone, without currents.
            v = np.where(fired, 0 if current or recurrent else i, v)
        fired = v > 6
        expected.append(fired)
        if reset == "value" and not delay:
            v = np.where(fired, 0, v)
        if reset == "subtract" and not delay:
            v = v - 6 * (fired * 1 - above)
    run = clocked(net, x)
    assert np.array_equal(spikes_of(run, "lif", (6,)), expected)
    assert 30 < np.sum(expected) < 0.9 * np.size(expected)
    late = reset == "value" and delay and (current or recurrent)
    at_once = reset == "subtract" and not delay
    assert left > 20 or not at_once
    assert [r.partition(" (reset=")[0] for r in remarks if r.startswith("neurons")] == [BY_SUBTRACTION] * (reset == "subtract")
    assert [r for r in remarks if r.startswith("lif: set")] == [r for r in remarks if r.startswith(LATE)]
    assert (len([r for r in remarks if r.startswith(LATE)]), len([r for r in remarks if r.startswith(AT_ONCE)])) == (late, at_once)
    assert ("lif.membrane" in net.populations, "lif.twice" in net.populations) == (late or at_once, at_once)


def test_late_resets_come_a_step_later_at_every_resolution(rng):
    made, _, _ = of_snntorch(rng, current=False, recurrent=True, keeps=0.5)
    net, _ = es.spiking_from_nir(made, writer="snntorch", reset="value")
    times, neurons = np.sort(rng.uniform(0, 30, 200)), rng.integers(0, 5, 200)
    run = es.run(net, {"input": (times, neurons)}, steps=30, resolution=64)
    gate, membrane = ({*zip(s.ticks.tolist(), s.neurons.tolist(), strict=True)} for s in map(run.spikes, ("lif", "lif.membrane")))
    resets = {(tick + 64, neuron) for tick, neuron in gate}
    assert len(gate) > 20
    assert not gate & resets
    assert membrane == gate | {(tick, neuron) for tick, neuron in resets if tick <= 30 * 64}


def test_a_subtraction_at_once_without_a_leak_does_not_wear_out(rng):
    # Thresholds are small integers there: what a spike takes of the membranes themselves must come back.
    weight = rng.integers(-3, 6, (4, 5)).astype(float)
    neurons = nir.IF(r=np.ones(4), v_threshold=np.full(4, 7.0), v_reset=np.zeros(4))
    made = graph({"a": nir.Linear(weight), "if": neurons}, [5], [4])
    net, _ = es.spiking_from_nir(made, writer="snntorch", reset_delay=False)
    x, v, expected = np.concatenate([drawn(rng, 5) for _ in range(8)]), np.zeros(4), []
    for step in x:
        above = v > 7
        v = v + weight @ step
        expected.append(v > np.where(above, 14, 7))
        v = v - 7 * expected[-1]
    spikes = clocked(net, x).spikes("if")
    found = np.zeros((len(x), 4), bool)
    found[spikes.ticks - 1, spikes.neurons] = True
    assert np.array_equal(found, expected)
    assert 300 < np.sum(expected) < 0.9 * found.size


def test_only_snntorch_resets_late(rng):
    made, _, _ = of_snntorch(rng, current=True, recurrent=False, keeps=0.5)
    with pytest.raises(es.ConversionError, match="neurons of 'nir' know none"):
        es.spiking_from_nir(made, writer="nir", dt=1e-4, reset_delay=True)

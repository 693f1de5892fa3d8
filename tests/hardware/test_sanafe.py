"""Replays agree with SANA-FE, where that is installed (GPL: no dependency, and nothing of it is here).

Its networks wait a step for every spike, so projections have a delay of a step; its neurons with a potential are updated in every step.
"""

from __future__ import annotations

import numpy as np
import pytest
from judges.architectures import preset

import eventsim as es

sanafe = pytest.importorskip("sanafe")
STEPS = 10


def theirs(layers, weights, cores, model="simple"):
    """Layers of which the first fires in every step and the others never, on cores of its Loihi: (energy in pJ, seconds, messages)."""
    architecture = sanafe.load_loihi()
    network = sanafe.Network()
    groups = []
    for i, size in enumerate(layers):
        attributes = {"threshold": 1.0, "bias": 2.0} if not i else {"threshold": 1e6}
        group = network.create_neuron_group(
            f"layer{i}",
            size,
            model_attributes=attributes | {"leak_decay": 1.0},
            soma_hw_name="loihi_lif",
            default_synapse_hw_name="loihi_dense_synapse",
            default_dendrite_hw_name="loihi_dendrites",
        )
        groups.append(group)
    for i, matrix in enumerate(weights):
        groups[0].connect_neurons_dense(groups[i + 1], {"weight": matrix.ravel().astype(float).tolist()})
    all_cores = [core for tile in architecture.tiles for core in tile.cores]
    for group, core in zip(groups, cores, strict=True):
        # Its tiles are numbered column by column, four to a column.
        (row, column), place = divmod(core // 4, 8), core % 4
        core = (column * 4 + row) * 4 + place
        for neuron in group.neurons:
            neuron.map_to_core(all_cores[core])
    chip = sanafe.SpikingChip(architecture)
    chip.load(network)
    found = chip.sim(STEPS, timing_model=model, perf_trace=True, message_trace=True)
    messages = [m for step in found["message_trace"] for m in step if m.get("mid", 0) >= 0]
    return found["energy"]["total"] * 1e12, found["sim_time"], messages


def ours(layers, weights, cores):
    net = es.Network()
    net.driven("layer0", layers[0], threshold=1)
    for i, matrix in enumerate(weights, 1):
        net.readout(f"layer{i}", layers[i])
        net.connect("layer0", f"layer{i}", matrix, delay=1)
    hardware = preset("loihi-fitted", **{f"layer{i}": [core] for i, core in enumerate(cores)})
    return hardware.run(net, {"layer0": [1] * layers[0]}, steps=STEPS, resolution=1)[1]


@pytest.mark.parametrize("model", ["simple", "detailed"])
def test_sixteen_neurons_to_thirty_two(model):
    layers, weights, cores = [16, 32], [np.ones((16, 32), int)], [0, 127]
    energy, seconds, messages = theirs(layers, weights, cores, model)
    report = ours(layers, weights, cores)
    assert report.total_energy == pytest.approx(energy, rel=1e-9)
    assert len(messages) == report.counts["message"]
    for key, nanoseconds in (("generation_delay", 44.8), ("network_delay", 48.2), ("processing_delay", 137.6)):
        assert messages[0][key] * 1e9 == pytest.approx(nanoseconds)
    # The simple model has cores send and receive side by side as if the first message were there at once.
    assert seconds == pytest.approx(report.duration / 1e12 - (STEPS * 93e-9 if model == "simple" else 0), rel=1e-9)


def test_two_targets():
    rng = np.random.default_rng(3)
    layers, cores = [20, 30, 10], [5, 7, 90]
    weights = [rng.integers(1, 5, (20, 30)), rng.integers(1, 5, (20, 10))]
    energy, _, messages = theirs(layers, weights, cores)
    report = ours(layers, weights, cores)
    assert report.total_energy == pytest.approx(energy, rel=1e-9)
    assert len(messages) == report.counts["message"]

"""The network for DVS gestures that SANA-FE's wheel brings, on its Loihi: the same spikes, messages, synapses, energy and time.

Read from the wheel as the test runs, where that is installed (GPL: no dependency, and nothing of it is here).
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from judges.architectures import architecture
from scipy.sparse import csr_array

import eventsim as es

sanafe = pytest.importorskip("sanafe")
layers = pytest.importorskip("sanafe.layers")
STEPS = 100
# Cores of each layer, which has neighbours on each in equal parts (the last core gets what is left).
CORES = (1, 4, 16, 16, 4, 1)
KERNELS = ("conv1", "conv2", "conv3", "conv4")


def shares(size, cores):
    """Neurons of a layer to each of its cores."""
    return [size // cores] * (cores - 1) + [size - size // cores * (cores - 1)]


def their_chip(data):
    """SANA-FE's chip with the network on it."""
    chip, network = sanafe.load_loihi(), sanafe.Network()
    made = [layers.Input2D(network, 32, 32, threshold=int(data["thresholds"][0]))]
    for i, name in enumerate(KERNELS, 1):
        stride = {"stride_width": 2, "stride_height": 2} if i == 1 else {}
        made.append(layers.Conv2D(network, made[-1], data[name], threshold=int(data["thresholds"][i]), **stride))
    made.append(layers.Dense(network, made[-1], 11, data["dense1"], threshold=int(data["thresholds"][5])))
    for neuron, bias in zip(made[0], data["inputs"], strict=True):
        neuron.set_attributes(model_attributes={"bias": float(bias)})
    cores = iter(chip.cores())
    for layer, n in zip(made, CORES, strict=True):
        first = 0
        for core, share in zip([next(cores) for _ in range(n)], shares(len(layer), n), strict=True):
            for neuron in layer[first : first + share]:
                neuron.map_to_core(core)
            first += share
    simulator = sanafe.SpikingChip(chip)
    simulator.load(network)
    return simulator


def theirs(chip, model):
    """What SANA-FE says."""
    return chip.sim(STEPS, timing_model=model, processing_threads=1, scheduler_threads=0)


def convolution(kernel, side, stride):
    """Its matrix, neurons channel by channel and row by row: kernels are (y, x, input channel, output channel)."""
    height, width, channels, out = kernel.shape
    after = (side - height) // stride + 1
    y, x, v, u, c, f = np.indices((after, after, height, width, channels, out)).reshape(6, -1)
    source = (c * side + y * stride + v) * side + x * stride + u
    target = (f * after + y) * after + x
    matrix = csr_array((kernel[v, u, c, f].astype(int), (source, target)), shape=(channels * side**2, out * after**2))
    return matrix, after


def our_chip(data):
    """The same network and chip of ours: neurons fire above their thresholds, are reset to 0, and spikes wait a step."""
    net, side = es.Network(), 32
    sizes, matrices = [32 * 32], []
    for i, name in enumerate(KERNELS):
        matrix, side = convolution(data[name], side, 2 if i == 0 else 1)
        matrices.append(matrix)
        sizes.append(matrix.shape[1])
    matrices.append(data["dense1"].astype(int))
    sizes.append(11)
    for i, (size, threshold) in enumerate(zip(sizes, data["thresholds"].tolist(), strict=True)):
        net.spiking(f"layer{i}", size, threshold=threshold + 1, reset="zero")
    net.bias("layer0", data["inputs"].astype(int))
    for i, matrix in enumerate(matrices):
        net.connect(f"layer{i}", f"layer{i + 1}", matrix, delay=1)
    text = files("eventsim.hardware.presets").joinpath("loihi-fitted.toml").read_text(encoding="utf-8") + 'update_when = "potential"\n'
    first = 0
    for i, (size, n) in enumerate(zip(sizes, CORES, strict=True)):
        cores = [at_their_place(core) for core in range(first, first + n)]
        text += f'[[placement]]\npopulation = "layer{i}"\ncores = {cores}\nneurons = {shares(size, n)}\n'
        first += n
    return es.Hardware(architecture(text)), net


def at_their_place(core):
    """Its tiles are numbered column by column, four to a column; ours row by row."""
    tile, place = divmod(core, 4)
    column, row = divmod(tile, 4)
    return (row * 8 + column) * 4 + place


def gestures():
    """The network's data."""
    return np.load(files("sanafe.examples").joinpath("dvs_challenge.npz").open("rb"))


def test_the_same_on_both():
    data = gestures()
    hardware, net = our_chip(data)
    result, report = hardware.run(net, steps=STEPS, resolution=1)
    found = {model: theirs(their_chip(data), model) for model in ("simple", "detailed", "cycle")}
    assert (result.total_spikes, report.counts["synapse"], report.counts["message"]) == (29_252, 4_172_959, 198_161)
    for each in found.values():
        counts = {"neurons_fired": "spike", "spikes": "synapse", "packets_sent": "message"}
        assert {key: each[key] for key in counts} == {key: report.counts[unit] for key, unit in counts.items()}
        assert report.total_energy == pytest.approx(each["energy"]["total"] * 1e12, rel=1e-3)
    times = [each["sim_time"] for each in found.values()]
    # As far from the middle one of its schedules as these are from each other.
    assert abs(report.duration / 1e12 - sorted(times)[1]) <= max(times) - min(times)

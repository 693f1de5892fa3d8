"""The networks of the NIR paper here and in the simulators that trained them: how many spikes differ, layer by layer.

    python benchmarks/nir_paper.py PAPER [--recording N-MNIST.bin]

PAPER is the folder ``paper`` of the repository neuromorphs/NIR. Its recurrent networks for Braille run on random spikes, as snnTorch runs
them, and where they reset to zero also with a reset at once, in float64; its convolutional network for N-MNIST on a recording, in
steps of 1 ms, as Sinabs runs it with one spike a step and no lower bound of potentials. Simulators that are not installed are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from endings import ends_in_a_line

import eventsim as es
from eventsim.data.recordings.reading import read_recording

DT = 1e-4
STEPS, SEEDS = 256, 20
Spikes = dict[str, np.ndarray]


def spikes_here(path: Path, x: np.ndarray, writer: str, **resets: Any) -> Spikes:
    """Spikes by population, (steps, neurons), of a clocked run on input spikes (steps, inputs)."""
    net, _ = es.spiking_from_nir(path, writer=writer, **resets)
    source = next(name for name, p in net.populations.items() if p.emits == "events")
    ticks, neurons = np.nonzero(x)
    run = es.run(net, {source: (ticks + 1.0, neurons)}, steps=len(x), resolution=1)
    found = {}
    for name, population in net.populations.items():
        if population.fires and not population.emits:
            spikes = run.spikes(name)
            found[name] = np.zeros((len(x), population.size), bool)
            found[name][spikes.ticks - 1, spikes.neurons] = True
    return found


def _linear(node: Any) -> tuple[np.ndarray, np.ndarray]:
    weight = np.asarray(node.weight, np.float64)
    return weight, np.asarray(getattr(node, "bias", np.zeros(len(weight))), np.float64)


def at_once(nodes: dict[str, Any], x: np.ndarray) -> Spikes:
    """The recurrent network in float64, neurons reset to zero in the step of their spike."""
    (w1, b1), (wr, br), (w2, b2) = (_linear(nodes[name]) for name in ("fc1", "lif1.w_rec", "fc2"))
    layers = [nodes["lif1.lif"], nodes["lif2"]]
    current, v, fired = ([np.zeros(len(w)) for w in (w1, w2)] for _ in range(3))
    found: dict[str, list[np.ndarray]] = {"lif1.lif": [], "lif2": []}
    for step in x:
        for k, name in enumerate(found):
            arriving = w1 @ step + b1 + wr @ fired[0] + br if k == 0 else w2 @ fired[0] + b2
            current[k] = (1 - DT / layers[k].tau_syn.astype(float)) * current[k] + arriving
            v[k] = (1 - DT / layers[k].tau_mem.astype(float)) * v[k] + current[k]
            fired[k] = (v[k] > layers[k].v_threshold).astype(float)
            v[k] = np.where(fired[k] > 0, 0, v[k])
            found[name].append(fired[k] > 0)
    return {name: np.array(rows) for name, rows in found.items()}


def by_snntorch(nodes: dict[str, Any], x: np.ndarray, reset: str) -> Spikes:
    """The recurrent network, by snnTorch's own neurons."""
    import snntorch
    import torch

    def tensor(values: Any) -> Any:
        return torch.tensor(np.asarray(values), dtype=torch.float32)

    def neurons(node: Any, kind: Any, **more: Any) -> Any:
        leaks = {"alpha": tensor(1 - DT / node.tau_syn), "beta": tensor(1 - DT / node.tau_mem)}
        return kind(**leaks, threshold=tensor(node.v_threshold), reset_mechanism=reset, **more)

    (w1, b1), (wr, br), (w2, b2) = ([tensor(a) for a in _linear(nodes[name])] for name in ("fc1", "lif1.w_rec", "fc2"))
    first = neurons(nodes["lif1.lif"], snntorch.RSynaptic, linear_features=len(w1), all_to_all=True)
    first.recurrent.weight.data, first.recurrent.bias.data = wr, br
    second = neurons(nodes["lif2"], snntorch.Synaptic)
    s1 = i1 = v1 = torch.zeros(len(w1))
    i2 = v2 = torch.zeros(len(w2))
    found: dict[str, list[np.ndarray]] = {"lif1.lif": [], "lif2": []}
    with torch.no_grad():
        for step in tensor(x):
            s1, i1, v1 = first(w1 @ step + b1, s1, i1, v1)
            s2, i2, v2 = second(w2 @ s1 + b2, i2, v2)
            found["lif1.lif"].append(s1.numpy() > 0)
            found["lif2"].append(s2.numpy() > 0)
    return {name: np.array(rows) for name, rows in found.items()}


def by_sinabs(graph: Any, x: np.ndarray) -> Spikes:
    """The convolutional network on spikes (steps, channels, rows, columns), by Sinabs' own neurons."""
    import sinabs.activation
    import torch
    from sinabs.nir import from_nir

    found: Spikes = {}
    module = from_nir(graph, batch_size=1)
    for name, layer in module.named_modules():
        if hasattr(layer, "spike_fn"):
            layer.spike_fn, layer.min_v_mem = sinabs.activation.SingleSpike, None
            key = name.split(".")[-1]
            layer.register_forward_hook(lambda layer, given, made, key=key: found.__setitem__(key, made.numpy() > 0))
    with torch.no_grad():
        module(torch.tensor(x, dtype=torch.float32))
    # Neurons of images channel last, as here.
    return {name: (s.transpose(0, 2, 3, 1) if s.ndim == 4 else s).reshape(len(s), -1) for name, s in found.items()}


def compared(what: str, pairs: Iterator[tuple[Spikes, Spikes]]) -> None:
    """Print a row a layer: spikes there and here, and what differs."""
    sums: dict[str, np.ndarray] = {}
    for here, there in pairs:
        for name, spikes in there.items():
            row = np.array([spikes.sum(), here[name].sum(), np.sum(spikes != here[name]), spikes.size])
            sums[name] = sums.get(name, 0) + row
    for name, (there_sum, here_sum, different, size) in sums.items():
        print(f"| {what}, {name} | {there_sum:,} | {here_sum:,} | {100 * different / size:.3f} % |", flush=True)


@ends_in_a_line("interrupted")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", type=Path)
    parser.add_argument("--recording", type=Path, help="of N-MNIST")
    options = parser.parse_args()
    import nir

    print("| network, input, compared with, layer | spikes there | here | neuron-steps that differ |\n|---|--:|--:|--:|")
    inputs = {rate: [np.random.default_rng(seed).random((STEPS, 12)) < rate for seed in range(SEEDS)] for rate in (0.05, 0.2)}
    for name, reset in (("noDelay_noBias_subtract", "subtract"), ("noDelay_bias_zero", "zero")):
        path = options.paper / "03_rnn" / f"braille_{name}.nir"
        path.open("rb").close()  # (nir has words of its own for files that are not there)
        nodes = nir.read(path, type_check=False).nodes
        mine = "subtract" if reset == "subtract" else "value"
        for rate, drawn in inputs.items():
            if reset == "zero":
                here = [spikes_here(path, x, "snntorch", reset=mine, reset_delay=False) for x in drawn]
                compared(f"{name}, {rate}, at once", zip(here, (at_once(nodes, x) for x in drawn), strict=True))
            if find_spec("snntorch"):
                here = [spikes_here(path, x, "snntorch", reset=mine) for x in drawn]
                compared(f"{name}, {rate}, snntorch", zip(here, (by_snntorch(nodes, x, reset) for x in drawn), strict=True))
    if options.recording is not None and find_spec("sinabs"):
        with open(options.recording, "rb") as file:
            events = read_recording(file, options.recording.name).events
        x = np.zeros((int(events["t"].max()) // 1000 + 1, 2, 34, 34), bool)
        x[events["t"] // 1000, events["p"], events["y"], events["x"]] = True
        path = options.paper / "02_cnn" / "cnn_sinabs.nir"
        here = spikes_here(path, x.transpose(0, 2, 3, 1).reshape(len(x), -1), "sinabs")
        compared("cnn_sinabs, recording, sinabs", iter([(here, by_sinabs(nir.read(path, type_check=False), x))]))


if __name__ == "__main__":
    main()

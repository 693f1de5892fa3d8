"""Networks in Brian2's C++ standalone mode.

Spikes reach their targets in the next step there, so layer l is l steps behind: after T steps it has fired what ours has after T - l.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import brian2 as b2
import numpy as np

import eventsim as es
from eventsim.model.tables import spatial


def synapses(table: es.Conv2d | es.Dense, source: tuple[int, ...], target: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(source neuron, target neuron, weight) of every synapse, pooling fused."""
    if isinstance(table, es.Dense):
        i, j = np.indices(table.weights.shape).reshape(2, -1)
        return i, j, table.weights.ravel()
    height, width, channels = spatial(source)
    out_height, out_width, outputs = spatial(target)
    weights = table.fused()
    parts: list[tuple[np.ndarray, ...]] = []
    for ky in range(weights.shape[0]):
        for kx in range(weights.shape[1]):
            y = np.arange(out_height) * table.stride[0] * table.pool_after[0] + ky - table.padding[0]
            x = np.arange(out_width) * table.stride[1] * table.pool_after[1] + kx - table.padding[1]
            inside = np.argwhere(((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width)))
            pre = (y[inside[:, 0]] * width + x[inside[:, 1]]) * channels
            post = (inside[:, 0] * out_width + inside[:, 1]) * outputs
            shape = (len(inside), channels, outputs)
            parts.append(
                (
                    np.broadcast_to(pre[:, None, None] + np.arange(channels)[:, None], shape).ravel(),
                    np.broadcast_to(post[:, None, None] + np.arange(outputs), shape).ravel(),
                    np.broadcast_to(weights[ky, kx], shape).ravel(),
                )
            )
    i, j, w = (np.concatenate(column) for column in zip(*parts, strict=True))
    return i[w != 0], j[w != 0], w[w != 0]


def prepare(network: es.Network, image: np.ndarray, steps: int, folder: Path) -> tuple[Callable[[], float], list[int]]:
    """Compile the network for the image; returns a function that runs it and tells the seconds, and the spikes of each layer."""
    # The device keeps the network that was built before.
    b2.device.reinit()
    b2.set_device("cpp_standalone", directory=str(folder), build_on_run=False)
    b2.defaultclock.dt = 1 * b2.ms
    groups: dict[str, b2.NeuronGroup] = {}
    parts: list[object] = []
    for name, population in network.populations.items():
        size = population.size
        if population.reads_out:
            groups[name] = b2.NeuronGroup(size, "v : 1", name=name)
            continue
        theta = int(population.threshold[0])
        group = b2.NeuronGroup(
            size, "v : 1\ncurrent : 1 (constant)\nn : integer", threshold=f"v >= {theta}", reset=f"v -= {theta}; n += 1", name=name
        )
        if population.encoder is not None:
            group.current = population.encoder.apply(image.astype(np.int64), population.shape)
            group.run_regularly("v += current", when="start")
        groups[name] = group
    for p in network.projections:
        pre, post, weights = synapses(p.table, network.populations[p.source].shape, network.populations[p.target].shape)
        connections = b2.Synapses(groups[p.source], groups[p.target], "w : 1 (constant)", on_pre="v_post += w")
        connections.connect(i=pre, j=post)
        connections.w = weights
        parts.append(connections)
    net = b2.Network(*groups.values(), *parts)
    net.run(steps * b2.ms)
    b2.device.build(directory=str(folder), compile=True, run=True, debug=False)
    counts = [int(np.sum(group.n)) for name, group in groups.items() if network.populations[name].fires]

    def run() -> float:
        subprocess.run(["./main"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return float((folder / "results" / "last_run_info.txt").read_text().split()[0])

    return run, counts

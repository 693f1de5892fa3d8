"""Time the queue engine on a random binary VGG-15 (Lu & Sengupta 2020: 3x32x32 input, 100 classes) against a PyTorch loop.

    pip install -e '.[train]'
    python benchmarks/vgg15.py

Weights are seeded random signs (the first and last layer random int8), thresholds calibrated layer by layer to the wanted
rate of spikes per neuron and step. Before anything is timed, the clocked run must equal the PyTorch loop in the spike count
of every layer. Timings are medians of interleaved runs on one thread, after compilation.
"""

from __future__ import annotations

import os

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import eventsim as es

PLAN = [64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512, "P"]


def layers(rng: np.random.Generator) -> list[tuple[np.ndarray, int]]:
    """Weights (kernel, kernel, in, out) or (in, out), and the pool window behind the layer."""
    out: list[tuple[np.ndarray, int]] = []
    channels = 3
    for i, width in enumerate(PLAN):
        if width == "P":
            continue
        shape = (3, 3, channels, width)
        weights = rng.integers(-127, 128, shape) if not out else rng.choice([-1, 1], shape)
        pool = 2 if i + 1 < len(PLAN) and PLAN[i + 1] == "P" else 1
        out.append((weights.astype(np.int8), pool))
        channels = int(width)
    out.append((rng.choice([-1, 1], (channels, 4096)).astype(np.int8), 1))
    out.append((rng.integers(-127, 128, (4096, 100)).astype(np.int8), 1))
    return out


def smooth_image(rng: np.random.Generator) -> np.ndarray:
    """A random 32x32 RGB image with most of its power in low frequencies, as photographs have."""
    coarse = F.interpolate(torch.from_numpy(rng.uniform(0, 255, (1, 3, 8, 8))), size=(32, 32), mode="bicubic")
    return coarse[0].permute(1, 2, 0).clamp(0, 255).round().numpy().astype(np.uint8)


def torch_weights(weights: np.ndarray) -> torch.Tensor:
    w = torch.from_numpy(weights.astype(np.float32))
    return w.permute(3, 2, 0, 1).contiguous() if w.ndim == 4 else w.T.contiguous()


def synapses(x: torch.Tensor, weights: torch.Tensor, pool: int) -> torch.Tensor:
    if weights.ndim == 4:
        x = F.conv2d(x, weights, padding=1)
        return F.avg_pool2d(x, pool) * (pool * pool) if pool > 1 else x
    return x.flatten(1) @ weights.T


def fire(currents: torch.Tensor, threshold: float) -> torch.Tensor:
    """Clocked integrate-and-fire neurons: spikes (steps, neurons) from currents (steps, neurons)."""
    v = torch.zeros_like(currents[0])
    spikes = torch.empty_like(currents)
    for t, current in enumerate(currents):
        v += current
        spikes[t] = v >= threshold
        v -= threshold * spikes[t]
    return spikes


def calibrate(weights: list[tuple[np.ndarray, int]], image: np.ndarray, rate: float, steps: int) -> list[int]:
    """Integer thresholds that give each layer the rate in a clocked run on the image."""
    thresholds = []
    x = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None].repeat(steps, 1, 1, 1)
    for w, pool in weights[:-1]:
        currents = synapses(x, torch_weights(w), pool)
        low, high = 1, 2**24
        while high - low > max(1, low // 200):
            middle = (low + high) // 2
            low, high = (middle, high) if fire(currents, middle).mean() > rate else (low, middle)
        thresholds.append(high)
        x = fire(currents, high)
    return thresholds


def build(weights: list[tuple[np.ndarray, int]], thresholds: list[int]) -> es.Network:
    net = es.Network()
    net.image_input((32, 32, 3))
    shape: tuple[int, ...] = (32, 32, 3)
    previous = ""
    for i, (w, pool) in enumerate(weights):
        table: es.Table = es.Conv2d(w, padding=1, pool_after=pool) if w.ndim == 4 else es.Dense(w)
        shape = table.output_shape(shape)
        name = f"conv{i + 1}" if w.ndim == 4 else f"fc{i + 1}"
        if i == 0:
            net.driven(name, shape, thresholds[0], encoder=table)
        else:
            if i < len(thresholds):
                net.spiking(name, shape, thresholds[i])
            else:
                net.readout(name, shape)
            net.connect(previous, name, table)
        previous = name
    return net


@torch.no_grad()
def torch_loop(weights: list[tuple[torch.Tensor, int]], thresholds: list[int], image: torch.Tensor, steps: int) -> list[int]:
    """The plain dense simulator: every layer at every step; returns the spikes of each layer."""
    v: list[torch.Tensor | None] = [None] * len(thresholds)
    counts = [torch.zeros(()) for _ in thresholds]
    current = synapses(image, *weights[0])
    for _ in range(steps):
        x = current
        for i, threshold in enumerate(thresholds):
            if i:
                x = synapses(x, *weights[i])
            potential = x.clone() if v[i] is None else v[i] + x
            x = (potential >= threshold).float()
            v[i] = potential - threshold * x
            counts[i] += x.sum()
        synapses(x, *weights[-1])
    return [int(c) for c in counts]


_CHILD = """
import resource, sys
import numpy as np
import eventsim as es
network = es.load(sys.argv[1] + "/net.h5")
es.run(network, np.load(sys.argv[1] + "/image.npy"), steps=int(sys.argv[2]), trace=sys.argv[1] + "/run.h5")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_of_a_run(network: es.Network, image: np.ndarray, steps: int) -> float:
    """Peak memory (MiB) of a process of its own that loads the network and runs it with a full trace."""
    with tempfile.TemporaryDirectory() as folder:
        es.save(network, Path(folder) / "net.h5")
        np.save(Path(folder) / "image.npy", image)
        done = subprocess.run([sys.executable, "-c", _CHILD, folder, str(steps)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=0.06, help="spikes per neuron and step")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    weights = layers(rng)
    image = smooth_image(rng)
    thresholds = calibrate(weights, image, options.rate, options.steps)
    simulator = es.Simulator(build(weights, thresholds))

    def simulate(resolution: int) -> es.Result:
        return simulator.run(image, steps=options.steps, resolution=resolution, engine="queue", record="none")

    asynchronous = simulate(es.DEFAULT_RESOLUTION)  # compiles
    clocked = simulate(1)
    peak = peak_of_a_run(simulator.network, image, options.steps)
    on_torch = [(torch_weights(w), pool) for w, pool in weights]
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    expected = torch_loop(on_torch, thresholds, pixels, options.steps)
    found = [int(n) for n in clocked.spikes_per_population().values()][:-1]
    if expected != found:
        sys.exit(f"the clocked run disagrees with the PyTorch loop:\n  PyTorch  {expected}\n  eventsim {found}")

    seconds: dict[str, list[float]] = {"asynchronous": [], "clocked": [], "PyTorch loop": []}
    for _ in range(options.repeats):
        for name, work in (
            ("asynchronous", lambda: simulate(es.DEFAULT_RESOLUTION)),
            ("clocked", lambda: simulate(1)),
            ("PyTorch loop", lambda: torch_loop(on_torch, thresholds, pixels, options.steps)),
        ):
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    rows = []
    for name, result in (("asynchronous", asynchronous), ("clocked", clocked), ("PyTorch loop", clocked)):
        spikes, events = result.total_spikes, result.total_synaptic_events
        rows.append(
            {
                "run": name,
                "spikes": spikes,
                "synaptic_events": events,
                "seconds": medians[name],
                "spikes_per_second": spikes / medians[name],
                "synaptic_events_per_second": events / medians[name],
                "times_the_loop": medians["PyTorch loop"] / medians[name],
            }
        )
    if options.json:
        print(json.dumps({"runs": rows, "peak_rss_mib": peak, "thresholds": thresholds}, indent=2))
        return
    print(
        f"VGG-15, T = {options.steps}, {options.rate} spikes per neuron and step, one thread, median of {options.repeats} interleaved runs"
    )
    print(f"{'run':14} {'spikes':>10} {'synaptic events':>16} {'seconds':>9} {'M spikes/s':>11} {'G events/s':>11} {'x loop':>7}")
    for r in rows:
        print(
            f"{r['run']:14} {r['spikes']:10,} {r['synaptic_events']:16,} {r['seconds']:9.3f} "
            f"{r['spikes_per_second'] / 1e6:11.2f} {r['synaptic_events_per_second'] / 1e9:11.2f} {r['times_the_loop']:7.2f}"
        )
    print(f"peak memory of a process that loads the network file and runs it asynchronously with a full trace: {peak:.0f} MiB")


if __name__ == "__main__":
    main()

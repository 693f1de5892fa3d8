"""How long runs of leaky networks take: the layered engine against the queue engine, which is to give the same.

    python benchmarks/leaky.py [--asynchronous]

Feed-forward networks as they are trained directly, of random weights: convolutions and dense layers, of 8 bits or binary, with and
without synaptic currents, on random events: clocked, or asynchronous, at random times. Times are of the processor, one core: medians, and
of the ratios of runs in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from endings import at_least_one, ends_in_a_line

import eventsim as es
from eventsim.job.job import DEFAULT_RESOLUTION

STEPS = 100


def network(kind: str, binary: bool, current: bool) -> es.Network:
    """The network of a kind."""
    rng = np.random.default_rng(0)
    net = es.Network()
    leaks: dict[str, Any] = {"decay": 410, "current_decay": 1024} if current else {"decay": 410}

    def weights(*shape: int) -> np.ndarray:
        return rng.choice([-3, 3], shape) if binary else rng.integers(-6, 7, shape)

    if kind == "dense":
        net.source("in", 784)
        net.leaky("hidden", 1000, threshold=60, **leaks)
        net.connect("in", "hidden", weights(784, 1000))
        last = 1000
    else:
        net.source("in", (34, 34, 2))
        net.leaky("conv1", (32, 32, 32), threshold=20, **leaks)
        net.leaky("conv2", (15, 15, 64), threshold=90, **leaks)
        net.leaky("hidden", 256, threshold=200, **leaks)
        net.connect("in", "conv1", es.Conv2d(weights(3, 3, 2, 32)))
        net.connect("conv1", "conv2", es.Conv2d(weights(3, 3, 32, 64), stride=2))
        net.connect("conv2", "hidden", weights(15 * 15 * 64, 256))
        last = 256
    net.leaky_readout("out", 10, **leaks)
    net.connect("hidden", "out", weights(last, 10))
    return net


@ends_in_a_line("interrupted")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=at_least_one, default=5)
    parser.add_argument("--asynchronous", action="store_true")
    options = parser.parse_args()
    print("| network | weights | currents | spikes | queue, ms | layered, ms | times as fast |\n|---|---|---|--:|--:|--:|--:|")
    for kind, binary, current in [(k, b, c) for k in ("dense", "convolutions") for b in (False, True) for c in (False, True)]:
        net = network(kind, binary, current)
        rng = np.random.default_rng(1)
        size = net.populations["in"].size
        ticks, neurons = np.nonzero(rng.random((STEPS, size)) < 0.05)
        # Within its step, at any time; clocked, that is its end.
        at = ticks + rng.random(len(ticks)) if options.asynchronous else ticks + 1.0
        resolution = DEFAULT_RESOLUTION if options.asynchronous else 1
        simulator, engines = es.Simulator(net), ("queue", "layered")
        taken: dict[str, list[float]] = {name: [] for name in engines}
        results = {}
        for _ in range(options.times + 1):
            for name in engines:
                began = time.process_time()
                results[name] = simulator.run({"in": (at, neurons)}, steps=STEPS, resolution=resolution, record="none", engine=name)
                taken[name].append(time.process_time() - began)
        for field in ("spikes", "deliveries", "additions"):
            np.testing.assert_array_equal(getattr(results["layered"].counts, field), getattr(results["queue"].counts, field))
        np.testing.assert_array_equal(results["layered"].readout, results["queue"].readout)
        queue, layered = (1000 * statistics.median(taken[name][1:]) for name in ("queue", "layered"))
        ratio = statistics.median(a / b for a, b in zip(taken["queue"][1:], taken["layered"][1:], strict=True))
        spikes = results["queue"].total_spikes
        words = "binary" if binary else "8 bits", "yes" if current else "no"
        print(f"| {kind} | {words[0]} | {words[1]} | {spikes:,} | {queue:.1f} | {layered:.1f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()

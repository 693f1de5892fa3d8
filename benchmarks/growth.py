"""Plot how the time of a run grows with its spikes, its length and the size of its image, for docs/performance.md.

    pip install -e '.[train]' matplotlib
    python benchmarks/growth.py            # writes docs/growth.svg and prints the numbers; some minutes

The CNN of random_networks.py with random binary weights, one thread, one image at a time; with the dense form in PyTorch.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from dense import Chain
from endings import ends_in_a_line
from machine import one_thread_that_keeps_memory
from random_networks import random_network

import eventsim as es
from eventsim.files.atomic import write_bytes

LABELS = ("eventsim, clocked", "eventsim, asynchronous", "dense form in PyTorch")


def timed(work: Callable[[], object], repeats: int = 5) -> float:
    """Median in milliseconds, after a first run that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def point(size: int, rate: float, steps: int, most_dense: int = 4 * 10**8) -> tuple[int, list[float | None]]:
    """Spikes of a clocked run, and the times by LABELS; the dense form only where its activations fit the memory."""
    network, images = random_network("cnn", rate, min(steps, 30), image=(size, size, 1))
    simulator, chain = es.Simulator(network), Chain(network)
    times: list[float | None] = []
    for resolution in (1, es.DEFAULT_RESOLUTION):
        times.append(timed(lambda r=resolution: simulator.run(images[0], steps=steps, resolution=r, record="none")))
    fits = size * size * 32 * steps <= most_dense
    times.append(timed(lambda: chain.folded(images[:1], steps), 3) if fits else None)
    return simulator.run(images[0], steps=steps, resolution=1, record="none").total_spikes, times


@ends_in_a_line("interrupted")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "growth.svg")
    options = parser.parse_args()
    one_thread_that_keeps_memory()
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    panels = {
        "spikes an image (28x28, T = 100)": [(28, rate, 100) for rate in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)],
        "steps (28x28)": [(28, 0.06, steps) for steps in (10, 30, 100, 300, 1000)],
        "pixels (T = 30)": [(size, 0.06, 30) for size in (28, 56, 112, 224)],
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), sharey=True, layout="constrained")
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        x: list[float] = []
        curves: list[list[float | None]] = []
        for size, rate, steps in points:
            spikes, times = point(size, rate, steps)
            x.append(spikes if "spikes" in title else steps if "steps" in title else size * size)
            curves.append(times)
            shown = ", ".join(f"{label} {'-' if ms is None else f'{ms:.3g} ms'}" for label, ms in zip(LABELS, times, strict=True))
            print(f"{size}x{size}, rate {rate:g}, T = {steps}: {spikes:,} spikes; {shown}", flush=True)
        for label, curve, marker in zip(LABELS, zip(*curves, strict=True), "osx", strict=True):
            known = [(a, b) for a, b in zip(x, curve, strict=True) if b is not None]
            axis.loglog(*zip(*known, strict=True), marker=marker, label=label)
        axis.set_xlabel(title)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("milliseconds")
    axes[0].legend(fontsize="small")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    write_bytes(options.output, drawn.getvalue())


if __name__ == "__main__":
    main()

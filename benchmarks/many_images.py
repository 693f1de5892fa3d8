"""What an image takes alone, among many in one call, and in an evaluation, in processor time of one thread; prints Markdown.

    python benchmarks/many_images.py [networks/mlp-mnist.h5 networks/lenet-mnist.h5] [--dataset mnist] [--images 256] [--rounds 9]

The three take turns; what is told are medians. (An evaluation keeps what every exit threshold would have given as well.)
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from endings import at_least_one, ends_in_a_line
from llvmlite.binding import get_host_cpu_name

import eventsim as es
from eventsim.batch.pictures import Pictures
from eventsim.batch.work import Work, Worker
from eventsim.data.datasets import open_dataset

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = [ROOT / "networks" / f"{name}.h5" for name in ("mlp-mnist", "lenet-mnist")]


def measure(path: Path, dataset: str, steps: int, resolution: int, number: int, rounds: int) -> dict[str, float]:
    """Microseconds of an image, by what is done with it."""
    network = es.load(path)
    assert network.input is not None
    pictures = Pictures(open_dataset(dataset, "test"), network.input.shape, False, False)
    images = [pictures[i] for i in range(number)]
    simulator = es.Simulator(network)
    worker = Worker(Work(path.read_bytes(), simulator.digest(), steps, resolution, 0, None, True, "", ""))

    def alone() -> None:
        for image in images:
            simulator.run(image, steps=steps, resolution=resolution, record="none")

    ways: dict[str, Callable[[], object]] = {
        "alone": alone,
        "among many": lambda: simulator.run_many(images, steps=steps, resolution=resolution),
        "in an evaluation": lambda: worker.run(0, images),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.thread_time()
            way()
            if turn:
                # The first one compiles.
                took[name].append((time.thread_time() - start) / number * 1e6)
    return {name: statistics.median(values) for name, values in took.items()}


@ends_in_a_line("interrupted")
def main() -> None:
    """Measure the networks, clocked and asynchronous."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", type=Path, default=NETWORKS)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--steps", type=at_least_one, default=8)
    parser.add_argument("--images", type=at_least_one, default=256)
    parser.add_argument("--rounds", type=at_least_one, default=9)
    given = parser.parse_args()
    print(f"{get_host_cpu_name()}, T = {given.steps}, microseconds of the processor an image:\n")
    print("| network | ticks a step | alone | among many | in an evaluation |\n|---|--:|--:|--:|--:|")
    for path in given.networks:
        for resolution in (1, es.DEFAULT_RESOLUTION):
            took = measure(path, given.dataset, given.steps, resolution, given.images, given.rounds)
            print(f"| {path.stem} | {resolution:,} | " + " | ".join(f"{took[name]:,.0f}" for name in took) + " |")


if __name__ == "__main__":
    main()

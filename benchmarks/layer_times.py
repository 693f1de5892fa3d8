"""Where the time of a run goes, population by population, for the networks of random_networks.py and network files; prints Markdown.

python benchmarks/layer_times.py cnn vgg15 [--resolution 1048576]
python benchmarks/layer_times.py networks/lenet-mnist.h5 --input datasets/samples/digit-7.png
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

from endings import at_least_one, ends_in_a_line
from machine import one_thread_that_keeps_memory
from random_networks import ARCHITECTURES, random_network

import eventsim as es
from eventsim.batch.inputs import Item, read_input
from eventsim.engines.layered.populations.driven import Driven
from eventsim.engines.layered.populations.layer import Layer
from eventsim.engines.layered.populations.maximum import Maximum
from eventsim.job.encoder import Encoder

# What is clocked, and the row that it counts for (else that of the population).
METHODS = (
    (Encoder, "apply", "image"),
    (Driven, "begin", None),
    (Driven, "run", None),
    (Layer, "run", None),
    (Maximum, "run", None),
)


def clock(kind: type, method: str, row: str | None, seconds: dict[str, float]) -> Callable[..., Any]:
    """Make the class add the time of each call of the method to ``seconds``; returns the method as it was."""
    original = getattr(kind, method)

    def run(self: Any, *args: Any) -> Any:
        start = time.thread_time()
        try:
            return original(self, *args)
        finally:
            name = row or self.name
            seconds[name] = seconds.get(name, 0.0) + time.thread_time() - start

    setattr(kind, method, run)
    return original


def measure(name: str, network: es.Network, image: Any, resolution: int, steps: int, repeats: int) -> list[str]:
    """A table."""
    simulator = es.Simulator(network)
    settings: dict[str, Any] = {"steps": steps, "resolution": resolution, "record": "none"}
    simulator.run(image, **settings)
    seconds: dict[str, float] = {}
    gc.collect()  # what a network before this one leaves behind is no part of it
    originals = [(kind, method, clock(kind, method, row, seconds)) for kind, method, row in METHODS]
    start = time.thread_time()
    for _ in range(repeats):
        result = simulator.run(image, **settings)
    total = (time.thread_time() - start) / repeats
    for kind, method, original in originals:
        setattr(kind, method, original)
    spikes = result.spikes_per_population()
    # Of all projections of a population: the spikes of a bias clock are among them.
    incoming: dict[str, int] = {}
    additions: dict[str, int] = {}
    for p, deliveries, performed in zip(
        result.info.projections, result.counts.deliveries.sum(0).tolist(), result.counts.additions.sum(0).tolist(), strict=True
    ):
        incoming[p.target] = incoming.get(p.target, 0) + deliveries
        additions[p.target] = additions.get(p.target, 0) + performed
    first = sum(seconds[row] for row in seconds if row not in incoming) / repeats / total
    outside = total - sum(seconds.values()) / repeats
    lines = [
        f"{name}, resolution {resolution}: {total * 1e3:.2f} ms a run, {outside * 1e3:.2f} of them outside; "
        f"image and first layer {first:.1%}",
        "",
        "| population | ms | spikes in | spikes out | additions | ns a spike in | 10^9 additions/s |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for population, sum_of in seconds.items():
        of = sum_of / repeats
        into = incoming.get(population, 0)
        performed, out = additions.get(population, 0), spikes.get(population, 0)
        cells = (f"{of / into * 1e9:.1f}", f"{performed / of / 1e9:.1f}") if into else ("", "")
        lines.append(f"| {population} | {of * 1e3:.2f} | {into:,} | {out:,} | {performed / 1e6:.1f} M | {cells[0]} | {cells[1]} |")
    return lines


@ends_in_a_line("interrupted")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="NETWORK", help=f"{', '.join(ARCHITECTURES)} or a network file")
    parser.add_argument("--input", help="image for network files")
    parser.add_argument("--resolution", type=at_least_one, default=1)
    parser.add_argument("--rate", type=float, default=0.06, help="spikes per neuron and step")
    parser.add_argument("--steps", type=at_least_one, default=100)
    parser.add_argument("--repeats", type=at_least_one, default=20)
    options = parser.parse_args()
    one_thread_that_keeps_memory()
    for name in options.networks:
        if name in ARCHITECTURES:
            network, images = random_network(name, options.rate, options.steps)
            image = images[0]
        elif options.input is None:
            parser.error(f"{name}: an image is needed (--input)")
        else:
            network = es.load(name)
            image, _ = read_input(network, Item(options.input))
        print("\n".join(measure(name, network, image, options.resolution, options.steps, options.repeats)), end="\n\n")


if __name__ == "__main__":
    main()

"""What max pooling costs beside the layer before it, in processor time: a converted VGG-small with random binary weights; prints Markdown.

python benchmarks/max_pooling.py [--steps 8]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from endings import at_least_one, ends_in_a_line
from torch import nn

import eventsim as es
from eventsim.engines.layered.populations.layer import Layer
from eventsim.engines.layered.populations.maximum import Maximum

POOLS = {"2x2": nn.MaxPool2d(2), "3x3, stride 2": nn.MaxPool2d(3, 2, 1)}
CHANNELS = (128, 128, 256, 256, 512, 512)


class BinaryConv(nn.Conv2d):
    """Weights of +-1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve with the signs of the weights."""
        return nn.functional.conv2d(x, torch.sign(self.weight), None, self.stride, self.padding)


def network(pool: nn.Module) -> tuple[es.Network, np.ndarray]:
    """VGG-small with a max pool behind every other layer, and a smooth image; batch norm has the statistics of such images."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    inputs = 3
    for i, outputs in enumerate(CHANNELS):
        kind = nn.Conv2d if i == 0 else BinaryConv
        layers += [kind(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), *([pool] if i % 2 else [])]
        inputs = outputs
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * inputs, 10))
    images = nn.functional.interpolate(torch.rand(16, 3, 8, 8), size=(32, 32), mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        model(images)
    pixels = (images.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    return es.convert(model.eval(), pixels, check=False).network, pixels[0]


def measure(net: es.Network, image: np.ndarray, resolution: int, steps: int, repeats: int) -> list[dict[str, float]]:
    """Seconds of processor time of each population, run by run."""
    simulator, seconds, rows = es.Simulator(net), {}, []
    originals = {kind: kind.run for kind in (Layer, Maximum)}

    def clocked(run: Any) -> Any:
        def timed(self: Any, *args: Any) -> Any:
            start = time.thread_time()
            spikes = run(self, *args)
            seconds[self.name] = seconds.get(self.name, 0.0) + time.thread_time() - start
            return spikes

        return timed

    simulator.run(image, steps=steps, resolution=resolution, record="none")
    for kind, run in originals.items():
        kind.run = clocked(run)  # type: ignore[method-assign]
    for _ in range(repeats):
        seconds.clear()
        simulator.run(image, steps=steps, resolution=resolution, record="none")
        rows.append(dict(seconds))
    for kind, run in originals.items():
        kind.run = run  # type: ignore[method-assign]
    return rows


@ends_in_a_line("interrupted")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=at_least_one, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| windows | ticks a step | pool | ms | layer before, ms | ratio |\n|---|--:|---|--:|--:|--:|")
    for windows, pool in POOLS.items():
        net, image = network(pool)
        before = {p.target: p.source for p in net.projections if not p.table.weighted}
        for resolution, repeats in ((1, 20), (2**20, 5)):
            rows = measure(net, image, resolution, options.steps, repeats)
            for name, source in before.items():
                own, other = (1e3 * np.median([row[each] for row in rows]) for each in (name, source))
                ratio = np.median([row[name] / row[source] for row in rows])
                print(f"| {windows} | {resolution:,} | {name} behind {source} | {own:.2f} | {other:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()

"""Convert networks of depthwise-separable, grouped and dilated convolutions, and write their files; prints Markdown.

python benchmarks/convolutions.py FOLDER
python benchmarks/checkouts.py ../before FOLDER/*.h5 --steps 8       # how long they run, with another checkout and this one
python benchmarks/layer_times.py FOLDER/separable.h5 --input FOLDER/image.npy --steps 8     # where the time goes

Weights of hidden layers are +-1, batch norm has the statistics of the calibration images, which are smooth noise of 32x32. The first run
has the network compiled for an image, but no machine code made.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from endings import ends_in_a_line
from torch import nn

import eventsim as es


class BinaryConv(nn.Conv2d):
    """Weights of +-1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve with the signs of the weights."""
        return nn.functional.conv2d(x, torch.sign(self.weight), None, self.stride, self.padding, self.dilation, self.groups)


def behind(layer: nn.Module, outputs: int) -> list[nn.Module]:
    """A layer, batch norm and an activation."""
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


def separable() -> Iterator[nn.Module]:
    """Eight depthwise convolutions, a pointwise one behind each: the shape of a MobileNet for small images."""
    yield from behind(nn.Conv2d(3, 32, 3, padding=1, bias=False), 32)
    inputs = 32
    for outputs, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1)):
        yield from behind(BinaryConv(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), inputs)
        yield from behind(BinaryConv(inputs, outputs, 1, bias=False), outputs)
        inputs = outputs


def spatial(groups: int, dilation: int) -> Iterator[nn.Module]:
    """A VGG-small whose hidden convolutions are in groups, or dilated."""
    yield from behind(nn.Conv2d(3, 128, 3, padding=1, bias=False), 128)
    inputs = 128
    for outputs, stride in ((128, 2), (256, 1), (256, 2), (512, 1), (512, 2)):
        yield from behind(BinaryConv(inputs, outputs, 3, stride, dilation, dilation, groups, bias=False), outputs)
        inputs = outputs


NETWORKS = {"separable": separable, "grouped": lambda: spatial(8, 1), "dilated": lambda: spatial(1, 2)}


@ends_in_a_line("interrupted")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| network | conversion, s | file, MB | first run, s | spikes | synaptic events |\n|---|--:|--:|--:|--:|--:|")
    for name in options.networks:
        torch.manual_seed(0)
        model = nn.Sequential(*NETWORKS[name](), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
        images = nn.functional.interpolate(torch.rand(16, 3, 8, 8), size=(32, 32), mode="bicubic").clamp(0, 1)
        with torch.no_grad():
            model(images)
        pixels = (images.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
        begun = time.process_time()
        net = es.convert(model.eval(), pixels, check=False).network
        converted = time.process_time()
        np.save(options.folder / "image.npy", pixels[0])
        path = options.folder / f"{name}.h5"
        es.save(net, path)
        es.Simulator(net).run(pixels[0], steps=8, resolution=1, record="none")
        begun_again = time.process_time()
        run = es.Simulator(net).run(pixels[0], steps=8, resolution=1, record="none")
        first = time.process_time() - begun_again
        figures = f"{converted - begun:.1f} | {path.stat().st_size / 1e6:.2f} | {first:.2f}"
        print(f"| {name} | {figures} | {run.total_spikes:,} | {run.total_synaptic_events:,} |", flush=True)


if __name__ == "__main__":
    main()

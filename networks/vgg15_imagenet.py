"""VGG-15 at ImageNet size (224x224, 15.45 G MACs): convert it and run it on a photo, with times and peak memory.

    python networks/vgg15_imagenet.py photo.jpg                       # random binary weights
    python networks/vgg15_imagenet.py photo.jpg --weights trained.pt  # a state dict of architectures.vgg15_imagenet

ImageNet cannot be shipped, so its answer is as good as the weights are. Spike rates are calibrated on the photo itself (or on the
images of ``--calibrate``), so that the activity, and with it the cost, is that of a converted network.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from architectures import vgg15_imagenet
from evaluation import MODES
from PIL import Image, ImageOps
from programs import at_least_one, ends_in_a_line

import eventsim as es
from eventsim.conversion.read import read_model
from eventsim.data.images import decode_image

ARCHITECTURE = Path(__file__).resolve().parent / "architectures.py"


def peak() -> str:
    """Peak resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB"


def photo(path: Path) -> np.ndarray:
    """The middle of a photo, uint8 (224, 224, 3)."""
    with path.open("rb") as stream:
        pixels, _ = decode_image(stream, str(path))
    return np.asarray(ImageOps.fit(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB"), (224, 224)))


def convert(options: argparse.Namespace) -> None:
    """From weights to the network's file."""
    torch.manual_seed(options.seed)
    model = vgg15_imagenet() if options.weights is None else read_model(options.weights, f"{ARCHITECTURE}:vgg15_imagenet")
    images = np.stack([photo(path) for path in options.calibrate or [options.photo]])
    start = time.perf_counter()
    made = es.convert(model, images)
    es.save(made.network, options.output)
    print(made.report)
    print(f"converted in {time.perf_counter() - start:.1f} s, {options.output.stat().st_size / 1e6:.1f} MB, {peak()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--weights", type=Path, help="state dict (.pt or .safetensors); default: random weights")
    parser.add_argument("--calibrate", type=Path, nargs="+", help="images for the ranges of the activations (default: the photo)")
    parser.add_argument("--steps", type=at_least_one, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of random weights")
    parser.add_argument("-o", "--output", type=Path, default=Path("vgg15-imagenet.h5"))
    options = parser.parse_args()
    with ends_in_a_line("interrupted"):
        image = photo(options.photo)
        convert(options)
        simulator = es.Simulator(es.load(options.output))
        simulator.compile()
        for mode, resolution in MODES.items():
            simulator.warm_up(simulator.prepare(image, steps=options.steps, resolution=resolution))
            start = time.perf_counter()
            result = simulator.run(image, steps=options.steps, resolution=resolution, record="none")
            print(
                f"{mode}, T = {options.steps}: class {result.decision}, {result.counts.spikes.sum():,} spikes, "
                f"{result.counts.synaptic_events.sum():,} synaptic events, {time.perf_counter() - start:.1f} s, {peak()}",
                flush=True,
            )


if __name__ == "__main__":
    main()

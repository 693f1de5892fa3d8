"""Time runs of network files with this checkout and another one, in turns, and print the ratios in Markdown.

    python benchmarks/checkouts.py ../before networks/*-mnist.h5 networks/vgg-small-*.h5 --steps 8 32
    python benchmarks/checkouts.py ../before mlp cnn vgg15           # the networks of random_networks.py (needs PyTorch), T = 100

Seconds of the processor, one thread: each round has a process of either checkout, which runs the images again and again for some seconds
and tells the median of each. Of the rounds, the median counts; the table has the median image, and the median, the smallest and the
largest of the images' ratios. Images are test images of the data set of a network in networks/ where it is at hand (EVENTSIM_DATA; else
sample digits), ``--images`` of them; and, beside them, a random one of blocks. ``--input`` takes others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from endings import at_least_one, ends_in_a_line
from images import ROOT, blocky_image, real_images

import eventsim as es
from eventsim.batch.inputs import find_inputs, read_input

# Run by each checkout's own eventsim: what any version since the first has.
_CHILD = """
import json, statistics, sys, time
import numpy as np
import eventsim as es
simulator, images, found = es.Simulator(es.load(sys.argv[1])), np.load(sys.argv[2]), {}
for steps in map(int, sys.argv[5:]):
    for resolution in map(int, sys.argv[4].split(",")):
        def run(image):
            start = time.process_time()
            simulator.run(image, steps=steps, resolution=resolution, record="none")
            return time.process_time() - start
        for image in images:
            run(image)
        times, end = [[run(image) for image in images]], time.perf_counter() + float(sys.argv[3])
        while time.perf_counter() < end or len(times) < 3:
            times.append([run(image) for image in images])
        found[f"{steps} {resolution}"] = [statistics.median(of) for of in zip(*times)]
print(json.dumps(found))
"""


def median_times(checkout: Path, network: Path, images: Path, settings: list[str]) -> dict[str, list[float]]:
    """Of each image, by "steps resolution", in a process of its own."""
    command = [sys.executable, "-c", _CHILD, str(network), str(images), *settings]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(checkout)}, cwd=checkout, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise es.EventsimError(f"{checkout}: the runs failed (above)")
    return dict(json.loads(done.stdout))


def network_and_images(name: str, given: str | None, n: int) -> tuple[es.Network, dict[str, np.ndarray], list[int]]:
    """A file's or a random one; images by what they are; and the steps that it is run for."""
    if not Path(name).is_file():
        from random_networks import ARCHITECTURES, random_network

        if name not in ARCHITECTURES:
            raise es.InputError(f"{name}: neither a file nor a random network; those are {', '.join(ARCHITECTURES)}")
        network, images = random_network(name, 0.06, 100)
        return network, {"smooth": images[:n]}, [100]
    network = es.load(name)
    if given is not None:
        return network, {given: np.stack([read_input(network, item)[0] for item in find_inputs(network, given)[:n]])}, [8, 32]
    assert network.input is not None
    kinds = {"blocks": blocky_image(network.input.shape)}
    real = real_images(network, n)
    return network, {real[1]: real[0], **kinds} if real is not None else kinds, [8, 32]


@ends_in_a_line("interrupted")
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, metavar="CHECKOUT")
    parser.add_argument("networks", nargs="+", metavar="NETWORK", help="files, or names of random_networks.py")
    parser.add_argument("--input", help="an image for network files, or a folder or batch of them")
    parser.add_argument("--images", type=at_least_one, default=20, help="of a kind, at most")
    parser.add_argument("--steps", type=at_least_one, nargs="+")
    parser.add_argument("--resolution", type=at_least_one, nargs="+", default=[1, es.DEFAULT_RESOLUTION], help="ticks a step")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round, run and checkout")
    options = parser.parse_args()
    print("| network | images | T | | other, ms | here, ms | x as fast | of the images |\n|---|---|--:|---|--:|--:|--:|--:|")
    for name in options.networks:
        network, kinds, steps = network_and_images(name, options.input, options.images)
        settings = [str(options.seconds), ",".join(map(str, options.resolution)), *map(str, options.steps or steps)]
        for kind, pixels in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                file, images = Path(folder) / "net.h5", Path(folder) / "images.npy"
                np.save(images, pixels)
                if Path(name).is_file():
                    file = Path(name).resolve()
                else:
                    es.save(network, file)
                checkouts = (options.other.resolve(), ROOT)
                rounds = [[median_times(checkout, file, images, settings) for checkout in checkouts] for _ in range(options.rounds)]
            for key in rounds[0][0]:
                length, resolution = map(int, key.split())
                # By round, checkout and image.
                times = np.array([[of[key] for of in pair] for pair in rounds])
                before, here = np.median(np.median(times, 0), 1) * 1e3
                ratios = np.median(times[:, 0] / times[:, 1], 0).tolist()
                mode = {1: "clocked", es.DEFAULT_RESOLUTION: "asynchronous"}.get(resolution, f"R = {resolution:,}")
                figures = f"{before:.3g} | {here:.3g} | {statistics.median(ratios):.2f} | {min(ratios):.2f}..{max(ratios):.2f}"
                print(f"| {Path(name).stem} | {len(pixels)} {kind} | {length} | {mode} | {figures} |", flush=True)


if __name__ == "__main__":
    main()

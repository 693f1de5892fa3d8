"""Time runs of network files with this checkout and another one, in turns, and print the ratios in Markdown.

    python benchmarks/checkouts.py ../before networks/*-mnist.h5 networks/vgg-small-*.h5 --steps 8 32
    python benchmarks/checkouts.py ../before mlp cnn vgg15           # the networks of random_networks.py (needs PyTorch), T = 100

Seconds of the processor, one thread: each round has a process of either checkout, which runs the image again and again for some seconds
and tells the median; the table has the median of the rounds, and of their ratios. Images are smooth random ones, or ``--input``.
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

import eventsim as es
from eventsim.batch.inputs import Item, read_input

ROOT = Path(__file__).resolve().parents[1]
# Run by each checkout's own eventsim: what any version since the first has.
_CHILD = """
import json, statistics, sys, time
import numpy as np
import eventsim as es
simulator, image, found = es.Simulator(es.load(sys.argv[1])), np.load(sys.argv[2]), {}
for steps in map(int, sys.argv[4:]):
    for resolution in (1, 2**20):
        def run():
            start = time.process_time()
            simulator.run(image, steps=steps, resolution=resolution, record="none")
            return time.process_time() - start
        run()
        times, end = [run()], time.perf_counter() + float(sys.argv[3])
        while time.perf_counter() < end:
            times.append(run())
        found[f"{steps} {resolution}"] = statistics.median(times)
print(json.dumps(found))
"""


def median_times(checkout: Path, network: Path, image: Path, seconds: float, steps: list[int]) -> dict[str, float]:
    """By "steps resolution", in a process of its own."""
    command = [sys.executable, "-c", _CHILD, str(network), str(image), str(seconds), *map(str, steps)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(checkout)}, cwd=checkout, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def network_and_image(name: str, given: str | None) -> tuple[es.Network, np.ndarray, list[int]]:
    """A file's or a random one; and the steps that it is run for."""
    if not Path(name).is_file():
        from random_networks import random_network

        network, images = random_network(name, 0.06, 100)
        return network, images[0], [100]
    network = es.load(name)
    if given is not None:
        return network, read_input(network, Item(given))[0], [8, 32]
    assert network.input is not None
    height, width, channels = network.input.shape
    coarse = np.random.default_rng(0).integers(0, 256, (-(-height // 4), -(-width // 4), channels))
    return network, coarse.repeat(4, 0).repeat(4, 1)[:height, :width].astype(np.uint8), [8, 32]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, metavar="CHECKOUT")
    parser.add_argument("networks", nargs="+", metavar="NETWORK", help="files, or names of random_networks.py")
    parser.add_argument("--input", help="an image for network files")
    parser.add_argument("--steps", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round, run and checkout")
    options = parser.parse_args()
    print("| network | T | | other, ms | here, ms | x as fast |\n|---|--:|---|--:|--:|--:|")
    for name in options.networks:
        network, pixels, steps = network_and_image(name, options.input)
        with tempfile.TemporaryDirectory() as folder:
            file, image = Path(folder) / "net.h5", Path(folder) / "image.npy"
            np.save(image, pixels)
            if Path(name).is_file():
                file = Path(name).resolve()
            else:
                es.save(network, file)
            rounds = [
                [
                    median_times(checkout, file, image, options.seconds, options.steps or steps)
                    for checkout in (options.other.resolve(), ROOT)
                ]
                for _ in range(options.rounds)
            ]
        for key in rounds[0][0]:
            length, resolution = key.split()
            before, here = (statistics.median(pair[i][key] for pair in rounds) * 1e3 for i in (0, 1))
            ratio = statistics.median(pair[0][key] / pair[1][key] for pair in rounds)
            mode = "clocked" if resolution == "1" else "asynchronous"
            print(f"| {Path(name).stem} | {length} | {mode} | {before:.3g} | {here:.3g} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()

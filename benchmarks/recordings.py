"""How long recordings take: to read a million events of each format, and an asynchronous run of a network on 300 ms.

    python benchmarks/recordings.py networks/events/saccades-mnist.h5

Times are of the processor, medians; an event of a run is a spike of the camera, or of a neuron.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from endings import at_least_one, ends_in_a_line
from PIL import Image

import eventsim as es
from eventsim.data.recordings.reading import read_recording
from eventsim.data.recordings.saccades import saccades

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from judges.recordings import WRITERS, random_events  # noqa: E402 - the writers of the tests


def median(body: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.process_time()
        body()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


@ends_in_a_line("interrupted")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, nargs="?", help="of an event input of 34 x 34 pixels")
    parser.add_argument("--events", type=at_least_one, default=10**6)
    parser.add_argument("--times", type=at_least_one, default=5)
    options = parser.parse_args()
    events = random_events(np.random.default_rng(0), options.events, 8_000_000)
    print("| format | s for the events | events |\n|---|--:|--:|")
    for form, (suffix, write) in WRITERS.items():
        data = write(events)
        seconds = median(lambda data=data, suffix=suffix: read_recording(io.BytesIO(data), f"x{suffix}"), options.times)
        print(f"| {form} | {seconds:.3f} | {options.events:,} |", flush=True)
    if options.network is None:
        return
    digits = [np.asarray(Image.open(path)) for path in sorted((ROOT / "datasets" / "samples").glob("digit-*.png"))]
    simulator = es.Simulator(es.load(options.network))
    recorded = saccades(np.stack(digits))
    print("\n| digit | events | spikes in all | ms | us an event | us a spike |\n|---|--:|--:|--:|--:|--:|")
    for digit, recording in enumerate(recorded):
        result = simulator.run({"camera": recording}, record="none")
        seconds = median(lambda recording=recording: simulator.run({"camera": recording}, record="none"), options.times)
        number, spikes = len(recording), result.total_spikes
        each = f"{seconds / number * 1e6:.2f} | {seconds / spikes * 1e6:.3f}"
        print(f"| {digit}: {result.label} | {number:,} | {spikes:,} | {seconds * 1e3:.1f} | {each} |", flush=True)


if __name__ == "__main__":
    main()

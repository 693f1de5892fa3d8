"""What several threads, and several processes, gain; and what memory a run takes: for simulators.py."""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import eventsim as es

_CHILD = """
import pathlib, re, resource, sys
import numpy as np
import eventsim as es
network = es.load(sys.argv[1] + "/net.h5")
es.run(network, np.load(sys.argv[1] + "/image.npy"), steps=int(sys.argv[2]), record="none")
status = pathlib.Path("/proc/self/status")
# Where a process begins as a copy of its parent, its resource usage includes the parent's.
found = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else None
print((int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024)
"""


def peak_of_a_run(folder: Path, steps: int) -> float:
    """Peak memory (MiB) of a process of its own that loads the network and runs it asynchronously, without a trace."""
    done = subprocess.run([sys.executable, "-c", _CHILD, str(folder), str(steps)], capture_output=True, text=True, check=True)
    return float(done.stdout)


_worker: Callable[[int], None]


def _start_worker(folder: Path, steps: int, resolution: int) -> None:
    global _worker
    simulator, image = es.Simulator(es.load(folder / "net.h5")), np.load(folder / "image.npy")

    def work(times: int) -> None:
        for _ in range(times):
            simulator.run(image, steps=steps, resolution=resolution, record="none")

    _worker = work
    work(3)


def _work(times: int) -> None:
    _worker(times)


def gain_of_two_threads(run: Callable[[int], object], seconds: float) -> float:
    """Speed of a run on two threads over that on one: median of pairs of runs, each after one that is not timed."""
    gains = []
    for _ in range(max(20, round(2 / seconds))):
        times = []
        for threads in (1, 2):
            run(threads)
            start = time.perf_counter()
            run(threads)
            times.append(time.perf_counter() - start)
        gains.append(times[0] / times[1])
    return statistics.median(gains)


def gain_of_two_processes(folder: Path, steps: int, resolution: int, seconds: float) -> float:
    """Throughput of two processes, each with images of its own, over that of one (median of interleaved rounds)."""
    context, images = multiprocessing.get_context("spawn"), max(2, round(0.5 / seconds))
    gains = []
    with (
        context.Pool(1, _start_worker, (folder, steps, resolution)) as one,
        context.Pool(2, _start_worker, (folder, steps, resolution)) as two,
    ):
        one.map(_work, [1])
        two.map(_work, [1, 1], 1)
        for _ in range(5):
            start = time.perf_counter()
            one.map(_work, [images])
            middle = time.perf_counter()
            two.map(_work, [images, images], 1)
            gains.append(2 * (middle - start) / (time.perf_counter() - middle))
    return statistics.median(gains)

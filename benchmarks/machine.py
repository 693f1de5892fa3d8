"""The machine that benchmarks run on: what it is, what it can do at best, and how they have it to themselves."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_name
from numba import njit

from eventsim.engines.layered.ways.tick_kernels.gather import MOST_ROWS
from eventsim.kernels import simd
from eventsim.kernels.stencils import aligned

# With glibc's usual settings PyTorch returns its large tensors to the system again and again, and dense forms take up to twice as long.
_SETTINGS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_SETTINGS |= {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_TOP_PAD_": str(2**28)}


def one_thread_that_keeps_memory() -> None:
    """Start the program anew, if need be, with settings that only hold from the start. They make no difference to eventsim."""
    if any(os.environ.get(key) != value for key, value in _SETTINGS.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | _SETTINGS)
    torch.set_num_threads(1)


def description() -> str:
    """Its instructions and, as compilers call it, its processor."""
    return f"{platform.machine()} ({get_host_cpu_name()})"


@njit(nogil=True)
def _add_rows(d: np.ndarray, weights: np.ndarray, lanes: int, times: int) -> None:
    rows = len(weights) // lanes
    for n in range(times):
        row = (n * 7 % rows) * lanes
        for lane in range(0, lanes, simd.LANES):
            simd.add(d, lane, weights, row + lane)


@njit(nogil=True)
def _sum_bits(d: np.ndarray, bits: np.ndarray, places: np.ndarray, times: int) -> None:
    for _ in range(times):
        simd.add_bits_512(d, 0, bits, places, len(places) // 8, len(places), 1)


# Clocked, the spikes of wide layers are summed bit-sliced; asynchronous ones are added one by one.
CEILINGS = {"clocked": "bit-sliced sums (1/s)", "asynchronous": "row additions, int8 to int16 (1/s)"}


def ceilings() -> dict[str, float]:
    """What this machine can do at best, one thread: the inner loops alone, in cache."""
    rng = np.random.default_rng(0)
    weights = aligned(rng.choice([-1, 1], 2**15).astype(np.int8), np.int8)
    d = aligned(np.zeros(512, np.int16), np.int16)
    bits, places = rng.integers(0, 2**63, 2**12).astype(np.uint64), 8 * rng.integers(0, 500, MOST_ROWS)
    big = np.ones(2**25)
    other, matrix = np.empty_like(big), torch.ones(1024, 1024)
    _add_rows(d, weights, 512, 1)
    _sum_bits(d, bits, places, 1)

    def best(work: Callable[[], object]) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    return {
        "row additions, int8 to int16 (1/s)": 512 * 10**5 / best(lambda: _add_rows(d, weights, 512, 10**5)),
        "bit-sliced sums (1/s)": 512 * MOST_ROWS * 10**4 / best(lambda: _sum_bits(d, bits, places, 10**4)),
        "memory, copying (bytes/s)": 2 * big.nbytes / best(lambda: np.copyto(other, big)),
        "sgemm (FLOP/s)": 2 * 1024**3 / best(lambda: matrix @ matrix),
    }

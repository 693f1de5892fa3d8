"""How long the vector operations of compiled code take, in nanoseconds a call; prints Markdown.

python benchmarks/vector_operations.py [--against PATH] [--only NAME] [--rounds N]

``--against`` names another checkout of the repository: both run in turn, round by round, and the last column is the median of the
rounds' ratios. For another processor, set NUMBA_CPU_NAME (x86-64-v3: one with AVX2 and no more; generic) and NUMBA_CPU_FEATURES="".
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from eventsim.kernels import simd, simd_pairs, simd_raster, simd_spikes

LANES, TICKS = 32, 32
# Seconds that a measurement takes, about.
AWHILE = 0.01

CASES: dict[str, Callable[[np.random.Generator], tuple[Any, tuple[Any, ...]]]] = {}


def case(name: str) -> Callable[[Any], Any]:
    """Register a function that makes a loop of calls, and its arguments behind the number of them."""

    def register(make: Any) -> Any:
        CASES[name] = make
        return make

    return register


def compiled(function: Any) -> Any:
    """As kernels are, but not kept: what it takes is part of the measurement."""
    return njit(_nrt=False, nogil=True)(function)


def distances(rng: np.random.Generator, dtype: Any) -> Any:
    return rng.integers(-9000, -8000, 1024).astype(dtype)


for dtype in (np.int16, np.int32, np.int64):
    for weight in (np.int8, np.int16):
        name = f"{np.dtype(dtype)} {np.dtype(weight)}"

        def adding(rng: Any, dtype: Any = dtype, weight: Any = weight, add: Any = simd.add, subtract: Any = simd.subtract) -> Any:
            def many(times, d, w):
                due = np.uint32(0)
                for k in range(times):
                    due |= add(d, 32 * k & 255, w, 32 * k & 255)
                    due |= subtract(d, 32 * k & 255, w, 32 * k & 255)
                return due

            return many, (distances(rng, dtype), rng.integers(-1, 2, 512).astype(weight))

        case(f"add, subtract {name}")(adding)

    def several(rng: Any, dtype: Any = dtype, add: Any = simd.add_several_signed) -> Any:
        def many(times, d, w, places, low):
            due = np.uint32(0)
            for k in range(times):
                due |= add(d, 32 * k & 255, w, places, 4, 32 * k & 255, low)
            return due

        return many, (distances(rng, dtype), rng.integers(-1, 2, 512).astype(np.int8), rng.integers(0, 256, 4), distances(rng, dtype))

    case(f"add_several_signed {np.dtype(dtype)}")(several)

    def together(rng: Any, dtype: Any = dtype, two: Any = simd.add_2, four: Any = simd.add_4, three: Any = simd.add_3) -> Any:
        def many(times, d, w):
            for k in range(times):
                two(d, 32 * k & 255, w, 32 * k & 255, 32)
                three(d, 32 * k & 255, w, 32 * k & 255, 32, 64)
                four(d, 32 * k & 255, w, 32 * k & 255, 32, 64, 96)

        return many, (distances(rng, dtype), rng.integers(-1, 2, 512).astype(np.int8))

    case(f"add_2, add_3, add_4 {np.dtype(dtype)}")(together)

    def together_wide(rng: Any, together: Any = together, dtype: Any = dtype) -> Any:
        return together(rng, dtype, simd.add_2_wide, simd.add_4_wide, simd.add_3_wide)

    case(f"add_2_wide, add_3_wide, add_4_wide {np.dtype(dtype)}")(together_wide)

    def looking(rng: Any, dtype: Any = dtype) -> Any:
        def many(times, d, low, threshold):
            due = np.uint32(0)
            for k in range(times):
                due |= simd.test(d, 32 * k & 255)
                due |= simd.test_signed(d, 32 * k & 255, low)
                due |= simd.discharge(d, 32 * k & 255, threshold, 32 * k & 255)
            return due

        return many, (distances(rng, dtype), distances(rng, dtype), rng.integers(1, 100, 1024).astype(dtype))

    case(f"test, test_signed, discharge {np.dtype(dtype)}")(looking)

    def leading(rng: Any, dtype: Any = dtype) -> Any:
        def many(times, d):
            found = np.int64(0)
            for k in range(times):
                d[k & 7] += 1
                best = simd.leader(d, 10)
                found += best + np.int64(simd.reaching(d, d[best]))
            return found

        return many, (np.zeros(32, dtype),)

    case(f"leader, reaching {np.dtype(dtype)}")(leading)

    for block in (64, 128, 256, 512):

        def summing(rng: Any, dtype: Any = dtype, block: int = block) -> Any:
            add_bits = getattr(simd, f"add_bits_{block}")

            def many(times, d, w, offsets):
                for k in range(times):
                    rows = 12 if k & 3 else 40
                    add_bits(d, 64 * k & 255, w, offsets, (rows + 7) >> 3, rows, 1)

            words = rng.integers(0, 2**63, 64 * 8).astype(np.uint64)
            return many, (distances(rng, dtype), words, rng.integers(0, 60, 48) * (block // 64))

        case(f"add_bits_{block} {np.dtype(dtype)}")(summing)

    for lanes in (32, 64, 128):

        def running(rng: Any, dtype: Any = dtype, lanes: int = lanes) -> Any:
            run = getattr(simd, f"run_{lanes}")

            def many(times, d, before, threshold, w, entries, keys, told, masks):
                found = np.int64(0)
                for _ in range(times):
                    for i in range(len(d)):
                        d[i] = before[i]
                    at = np.int64(0)
                    while at < 1000:
                        at = run(d, 0, threshold, 0, w, 0, entries, at, 2000, keys, 0, 10000, 0, 10, told, masks)
                        found += told[0]
                        while told[1]:
                            told[1] = 0
                            for i in range(lanes):
                                if d[i] >= 0:
                                    d[i] -= 100
                return found

            before = rng.integers(-100, 0, lanes).astype(dtype)
            ticks = np.sort(rng.integers(0, 700, 1000))
            entries = np.append(ticks << 32 | rng.integers(0, 900, 1000), 5000 << 32)
            w = rng.integers(-5, 7, 1200).astype(np.int8)
            threshold = np.full(lanes, 100, dtype)
            return many, (before.copy(), before, threshold, w, entries, np.zeros(20000, np.int64), np.zeros(2, np.int64), np.array([0, -1]))

        case(f"run_{lanes} {np.dtype(dtype)} (1000 entries)")(running)

    for lanes in (16, 32):

        def leads(rng: Any, dtype: Any = dtype, lanes: int = lanes) -> Any:
            lead = getattr(simd, f"lead_{lanes}")

            def many(times, d, w, neurons, ticks):
                found = np.int64(0)
                for _ in range(times):
                    for i in range(len(d)):
                        d[i] = 0
                    d[3] = 500
                    found += lead(d, 10, w, 0, 32, neurons, ticks, 0, 64, 1000, 3)
                return found

            w = rng.integers(-1, 2, 32 * 65).astype(np.int8)
            return many, (np.zeros(32, dtype), w, rng.integers(0, 64, 64).astype(np.int32), np.arange(64))

        case(f"lead_{lanes} {np.dtype(dtype)} (64 spikes)")(leads)

    for kind in ("add", "subtract"):

        def listing(rng: Any, dtype: Any = dtype, kind: str = kind) -> Any:
            add = getattr(simd_raster, f"{kind}_listed")

            def many(times, d, w, places):
                for k in range(times):
                    add(d, 0, w, k & 127, 32, places, k & 15)

            return many, (distances(rng, dtype), rng.integers(-1, 2, 4096).astype(np.int8), rng.integers(0, 100, 16).astype(np.int32))

        case(f"{kind}_listed {np.dtype(dtype)} (0 to 15 rows)")(listing)


@case("shifted")
def shifting(rng: Any) -> Any:
    """Places of rows."""

    def many(times, out, values):
        for k in range(times):
            simd.shifted(out, k & 127, values, k & 127, k)

    return many, (np.zeros(200, np.int64), np.arange(200))


for lanes in (32, 64):
    for weight in (np.int8, np.int16):

        def multiplying(rng: Any, lanes: int = lanes, weight: Any = weight) -> Any:
            multiply = getattr(simd_pairs, f"multiply_{lanes}")

            def many(times, values, places, rows, weights, bias, out):
                for k in range(times):
                    multiply(values, k & 127, places, rows, 13, weights, 0, bias, 0, out, 0)

            places, rows = rng.integers(0, 100, 13).astype(np.int32), np.arange(13, dtype=np.int32)
            values = rng.integers(-255, 256, 256).astype(np.int16)
            weights = rng.integers(-100, 100, 13 * 2 * lanes).astype(weight)
            return many, (values, places, rows, weights, np.zeros(lanes, np.int32), np.zeros(lanes, np.int32))

        case(f"multiply_{lanes} {np.dtype(weight)} (13 pairs)")(multiplying)

    for taps in (1, 4, 9):
        for kind in ("add", "subtract"):

            def delivering(rng: Any, lanes: int = lanes, taps: int = taps, kind: str = kind) -> Any:
                add = getattr(simd_raster, f"{kind}_{taps}_{lanes}")

                def many(times, current, places, masks, words, weights):
                    for _ in range(times):
                        add(current, places, masks, words, 2, TICKS, weights, 0, 127)

                spikes = rng.random((TICKS, 128)) < 0.06
                masks = np.append(np.packbits(spikes, axis=1, bitorder="little").view("<u4").T.ravel(), np.zeros(64)).astype(np.uint32)
                weights = rng.integers(-1, 2, 128 * taps * lanes).astype(np.int8)
                places = np.arange(taps) * TICKS * lanes
                return many, (np.zeros((taps + 1) * TICKS * lanes, np.int16), places, masks, np.arange(4) * TICKS, weights)

            case(f"{kind}_{taps}_{lanes} (32 ticks)")(delivering)

    def charging(rng: Any, lanes: int = lanes) -> Any:
        charge = getattr(simd_raster, f"charge_{lanes}")

        def many(times, v, rate, threshold, masks):
            for _ in range(times):
                charge(v, rate, threshold, 0, masks, 0, TICKS, TICKS)

        arrays = (rng.integers(-50, 50, lanes), rng.integers(1, 9, lanes), rng.integers(50, 100, lanes))
        return many, (*(array.astype(np.int32) for array in arrays), np.zeros(4 * TICKS, np.uint32))

    case(f"charge_{lanes} (32 ticks)")(charging)

    def firing(rng: Any, lanes: int = lanes) -> Any:
        fire, places = getattr(simd_raster, f"fire_{lanes}"), simd_raster.Firing(0, 0, 0, 0, 0, lanes)

        def many(times, d, current, constant, threshold, masks):
            for _ in range(times):
                fire(places, d, current, constant, threshold, masks, 1, -1, TICKS, TICKS)

        arrays = (rng.integers(-100, 0, lanes), np.zeros(TICKS * lanes), rng.integers(1, 9, lanes), rng.integers(50, 100, lanes))
        types = (np.int32, np.int16, np.int32, np.int32)
        return many, (*(a.astype(t) for a, t in zip(arrays, types, strict=True)), np.zeros(4 * TICKS, np.uint32))

    case(f"fire_{lanes} (32 ticks)")(firing)

    def firing_signed(rng: Any, lanes: int = lanes, firing: Any = firing) -> Any:
        fire, places = getattr(simd_raster, f"fire_signed_{lanes}"), simd_raster.Firing(0, 0, 0, 0, 0, lanes)

        def many(times, d, current, constant, threshold, masks, net, negative):
            for _ in range(times):
                fire(places, d, current, constant, threshold, masks, 1, -1, TICKS, TICKS, net, negative)

        return many, (*firing(rng)[1], np.zeros(lanes, np.int32), np.zeros(4 * TICKS, np.uint32))

    case(f"fire_signed_{lanes} (32 ticks)")(firing_signed)


@case("add_counts")
def counting(rng: Any) -> Any:
    """Spikes of masks."""

    def many(times, counts, masks):
        for k in range(times):
            simd_raster.add_counts(counts, masks, k & 127)

    return many, (np.zeros(32, np.int32), rng.integers(0, 2**32, 256).astype(np.uint32))


@case("write_sorted")
def sorting(rng: Any) -> Any:
    """A bucket of spikes."""

    def many(times, rests, tick, neuron):
        for k in range(times):
            simd_spikes.write_sorted(rests, k & 127, k & 15, tick, neuron, k & 127, 7, 10)

    return many, (rng.integers(0, 2**32, 256).astype(np.uint32), np.zeros(256, np.int64), np.zeros(256, np.int32))


@case("rank")
def ranking(rng: Any) -> Any:
    """Places of spikes in a bucket."""

    def many(times, rests):
        found = np.int64(0)
        for k in range(times):
            found += simd_spikes.rank(rests, k & 127, k & 31, rests[k & 63])
        return found

    return many, (rng.integers(0, 2**32, 256).astype(np.uint32),)


for dtype in (np.int32, np.int64):

    def emitting(rng: Any, dtype: Any = dtype) -> Any:
        def many(times, following, early, whole, rest, gain, keys):
            found = np.int64(0)
            for k in range(times):
                n, more = simd_spikes.emit(following, early, whole, rest, gain, (k & 3) * 16, k >> 2, (k >> 2) + 5, 8, keys, 0)
                found += n + more
            return found

        arrays = (rng.integers(0, 60, 64), rng.integers(0, 1000, 64), rng.integers(20, 60, 64), rng.integers(0, 1000, 64))
        types = (dtype, np.int32, dtype, np.int32)
        following, early, whole, rest = (a.astype(t) for a, t in zip(arrays, types, strict=True))
        return many, (following, early, whole, rest, (1000 - rest).astype(np.int32), np.zeros(64, np.int64))

    case(f"emit {np.dtype(dtype)}")(emitting)


def state_of(arguments: tuple[Any, ...]) -> list[Any]:
    return [argument.copy() if isinstance(argument, np.ndarray) else argument for argument in arguments]


def serve() -> None:
    """Measure, for each line of the standard input that names a case; answers are lines: seconds and times, or what came out."""
    made: dict[str, Any] = {}
    for line in sys.stdin:
        request, name = line.rstrip("\n").split(" ", 1)
        if request == "compile":
            function, arguments = CASES[name](np.random.default_rng(1))
            function, trial = compiled(function), state_of(arguments)
            start = time.process_time()
            value = function(100, *trial)
            seconds = time.process_time() - start
            # The loop's length has to be the same in both checkouts.
            digest = hash((repr(value), *(a.tobytes() for a in trial)))
            made[name] = function, arguments
            print(seconds, digest, flush=True)
        else:
            times = int(request)
            function, arguments = made[name]
            trial = state_of(arguments)
            start = time.process_time()
            function(times, *trial)
            print(time.process_time() - start, flush=True)


class Worker:
    """A process that measures with the package of a checkout."""

    def __init__(self, checkout: Path):
        environment = os.environ | {"PYTHONPATH": str(checkout), "PYTHONHASHSEED": "0"}
        command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request: str) -> list[str]:
        """Send a line, and return the words of the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(request, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline().split()
        if not answer:
            raise SystemExit(f"no answer to {request!r}")
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--only", default="", help="operations whose name holds this")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    workers = [Worker(Path(__file__).resolve().parents[1])]
    if options.against is not None:
        workers.append(Worker(options.against.resolve()))
    head = "| operations | compile, s | ns |" + (" other: compile, s | ns | ratio |" if options.against else "")
    print(head, "|---|" + "---:|" * (head.count("|") - 2), sep="\n")
    for name in CASES:
        if options.only in name:
            print(row(name, workers, options.rounds), flush=True)
    for worker in workers:
        worker.close()


def row(name: str, workers: list[Worker], rounds: int) -> str:
    """A row of the table."""
    compilations = [worker.ask(f"compile {name}") for worker in workers]
    if len({digest for _, digest in compilations}) != 1:
        raise SystemExit(f"{name}: the results differ")
    times = 1000
    while (seconds := float(workers[0].ask(f"{times} {name}")[0])) < AWHILE:
        times = int(times * min(10, 1.3 * AWHILE / seconds))
    found = [[float(worker.ask(f"{times} {name}")[0]) for worker in workers] for _ in range(rounds)]
    cells = [name]
    for number, (compilation, _) in enumerate(compilations):
        cells += [f"{float(compilation):.2f}", f"{statistics.median(each[number] for each in found) / times * 1e9:.1f}"]
    if len(workers) > 1:
        cells.append(f"{statistics.median(new / old for new, old in found):.2f}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

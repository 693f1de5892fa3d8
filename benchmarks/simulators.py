"""Time eventsim against dense simulators on three binary networks with seeded random weights.

    pip install -e '.[train]'                        # and, to have them compared too: pip install spikingjelly brian2
    python benchmarks/simulators.py --write          # all three networks, some minutes; to docs/performance.md
    python benchmarks/simulators.py mlp --json

Hidden weights are random signs, those of the first and last layer random int8; thresholds are calibrated layer by layer to the
wanted rate of spikes per neuron and step. Before anything is timed, the clocked run must equal a float64 PyTorch loop in the spike
count of every layer, and the dense simulators that are timed (float32, as users run them) must too: with integer weights
and thresholds float32 is exact here. Timings are medians of interleaved rounds of about 0.2 s each, each after a run that is not
timed; the dense form is timed at several batch sizes, and ratios are to its best one, in the same round. Everything runs on one
thread but what says otherwise.

With glibc's usual settings PyTorch returns its large tensors to the system again and again, and the dense form takes up to twice as long;
so this program starts itself anew with settings that keep the memory. They make no difference to eventsim.
"""

from __future__ import annotations

import argparse
import atexit
import datetime
import importlib.util
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from llvmlite.binding import get_host_cpu_name
from numba import njit
from rich.console import Console
from rich.table import Table

import eventsim as es
from eventsim.engines.layered.ways.tick_kernels.gather import MOST_ROWS
from eventsim.kernels import simd
from eventsim.kernels.stencils import aligned

SETTINGS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SETTINGS |= {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_TOP_PAD_": str(2**28)}
MODES = {"clocked": 1, "asynchronous": es.DEFAULT_RESOLUTION}
# A simulator is timed for about so long at a time.
ROUND = 0.2
# VGG-15 has 315 million synapses, which Brian2 lists one by one.
WITH_BRIAN = ("mlp", "cnn")
MARK = "<!-- tables by simulators.py -->"


@dataclass(frozen=True)
class Architecture:
    """Convolutions 3x3 by ``plan`` (a 2x2 sum pool behind those before "P"), then dense layers."""

    image: tuple[int, int, int]
    plan: tuple[int | str, ...]
    dense: tuple[int, ...]
    batches: tuple[int, ...]


ARCHITECTURES = {
    "mlp": Architecture((28, 28, 1), (), (512, 512, 10), (1, 4, 16, 64)),
    "cnn": Architecture((28, 28, 1), (32, 32, "P", 64, 64, "P"), (256, 10), (1, 2, 4, 8)),
    "vgg15": Architecture(
        (32, 32, 3), (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512, "P"), (4096, 100), (1, 2, 4)
    ),
}


@dataclass
class Layer:
    """Weights (rows, columns, inputs, outputs) or (inputs, outputs), the pool behind them, and the same for PyTorch with the pool fused."""

    weights: np.ndarray
    pool: int

    def __post_init__(self) -> None:
        w = self.weights.astype(np.int64)
        if w.ndim == 4 and self.pool > 1:
            # Sum pooling behind a convolution is one convolution with a larger kernel.
            fused = np.zeros((w.shape[0] + 1, w.shape[1] + 1, *w.shape[2:]), np.int64)
            for i in (0, 1):
                for j in (0, 1):
                    fused[i : i + w.shape[0], j : j + w.shape[1]] += w
            w = fused
        self.dense = torch.from_numpy(np.ascontiguousarray(w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T).astype(np.float32))

    def currents(self, x: torch.Tensor) -> torch.Tensor:
        """Of spikes (n, channels, height, width) or (n, features)."""
        if self.dense.ndim == 4:
            return F.conv2d(x, self.dense.to(x.dtype), stride=self.pool, padding=1)
        # Our neurons are numbered channel last.
        flat = x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x
        return flat @ self.dense.to(x.dtype).T


def layers(architecture: Architecture, rng: np.random.Generator) -> list[Layer]:
    """Random weights."""
    height, width, channels = architecture.image
    shapes: list[tuple[tuple[int, ...], int]] = []
    for i, item in enumerate(architecture.plan):
        if item != "P":
            pool = 2 if architecture.plan[i + 1 : i + 2] == ("P",) else 1
            shapes.append(((3, 3, channels, int(item)), pool))
            channels, height, width = int(item), height // pool, width // pool
    features = height * width * channels
    for outputs in architecture.dense:
        shapes.append(((features, outputs), 1))
        features = outputs
    ends = (0, len(shapes) - 1)
    return [
        Layer((rng.integers(-127, 128, shape) if i in ends else rng.choice([-1, 1], shape)).astype(np.int8), pool)
        for i, (shape, pool) in enumerate(shapes)
    ]


def smooth_images(shape: tuple[int, int, int], n: int, rng: np.random.Generator) -> np.ndarray:
    """Random images with most of their power in low frequencies, as photographs have: uint8 (n, height, width, channels)."""
    coarse = torch.from_numpy(rng.uniform(0, 255, (n, shape[2], 8, 8)))
    fine = F.interpolate(coarse, size=shape[:2], mode="bicubic")
    return fine.permute(0, 2, 3, 1).clamp(0, 255).round().numpy().astype(np.uint8)


def to_torch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float()


def fire(currents: torch.Tensor, threshold: float) -> torch.Tensor:
    """Clocked integrate-and-fire neurons: spikes from currents, both (steps, images, ...)."""
    v = torch.zeros_like(currents[0])
    spikes = torch.empty_like(currents)
    for t, current in enumerate(currents):
        v += current
        spike = torch.ge(v, threshold, out=spikes[t])
        v.sub_(spike, alpha=threshold)
    return spikes


@torch.no_grad()
def folded(net: list[Layer], thresholds: list[int], images: torch.Tensor, steps: int) -> list[int]:
    """The best dense form: all steps of a layer at once, as one batch; pooling fused. Returns the spikes of each layer."""
    counts = []
    current = net[0].currents(images)
    x = fire(current.expand(steps, *current.shape), thresholds[0])
    for layer, threshold in zip(net[1:], [*thresholds[1:], 0], strict=True):
        counts.append(int(x.sum()))
        currents = layer.currents(x.flatten(0, 1)).unflatten(0, (steps, -1))
        if threshold:
            x = fire(currents, threshold)
    return counts


@torch.no_grad()
def loop(net: list[Layer], thresholds: list[int], images: torch.Tensor, steps: int) -> list[int]:
    """The plain dense simulator: every layer at every step. Returns the spikes of each layer."""
    v: list[torch.Tensor | None] = [None] * len(thresholds)
    counts = [0] * len(thresholds)
    current = net[0].currents(images)
    for _ in range(steps):
        x = current
        for i, threshold in enumerate(thresholds):
            if i:
                x = net[i].currents(x)
            potential = x.clone() if v[i] is None else v[i] + x
            x = (potential >= threshold).to(images.dtype)
            v[i] = potential - threshold * x
            counts[i] += int(x.sum())
        net[-1].currents(x)
    return counts


def spikingjelly(net: list[Layer], thresholds: list[int]) -> Callable[[torch.Tensor, int], list[int]]:
    """SpikingJelly's multi-step mode with the same weights; reset by subtraction."""
    from spikingjelly.activation_based import functional, neuron

    neurons = [neuron.IFNode(v_threshold=float(t), v_reset=None, step_mode="m") for t in thresholds]

    @torch.no_grad()
    def run(images: torch.Tensor, steps: int) -> list[int]:
        functional.reset_net(torch.nn.ModuleList(neurons))
        counts = []
        current = net[0].currents(images)
        x = neurons[0](current.expand(steps, *current.shape))
        for layer, node in zip(net[1:], [*neurons[1:], None], strict=True):
            counts.append(int(x.sum()))
            currents = layer.currents(x.flatten(0, 1)).unflatten(0, (steps, -1))
            if node is not None:
                x = node(currents)
        return counts

    return run


@torch.no_grad()
def calibrate(net: list[Layer], image: torch.Tensor, rate: float, steps: int) -> list[int]:
    """Integer thresholds that give each layer the rate in a clocked run on the image."""
    thresholds = []
    current = net[0].currents(image)
    currents = current.expand(steps, *current.shape)
    for layer in net[1:]:
        low, high = 1, 2**24
        while high - low > max(1, low // 200):
            middle = (low + high) // 2
            low, high = (middle, high) if fire(currents, middle).mean() > rate else (low, middle)
        thresholds.append(high)
        currents = layer.currents(fire(currents, high).flatten(0, 1)).unflatten(0, (steps, -1))
    return thresholds


def build(architecture: Architecture, net: list[Layer], thresholds: list[int]) -> es.Network:
    """The same network for eventsim."""
    network = es.Network()
    network.image_input(architecture.image)
    shape: tuple[int, ...] = architecture.image
    previous = ""
    for i, layer in enumerate(net):
        w = layer.weights
        table: es.Table = es.Conv2d(w, padding=1, pool_after=layer.pool) if w.ndim == 4 else es.Dense(w)
        shape = table.output_shape(shape)
        name = f"conv{i + 1}" if w.ndim == 4 else f"fc{i + 1}"
        if i == 0:
            network.driven(name, shape, thresholds[0], encoder=table)
        else:
            if i < len(thresholds):
                network.spiking(name, shape, thresholds[i])
            else:
                network.readout(name, shape)
            network.connect(previous, name, table)
        previous = name
    return network


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
_CEILINGS = {"clocked": "bit-sliced sums (1/s)", "asynchronous": "row additions, int8 to int16 (1/s)"}


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


def brian_standalone(network: es.Network, image: np.ndarray, steps: int) -> Callable[[], float]:
    """A function that runs the network in Brian2's C++ standalone mode and tells the seconds, without those of loading and saving."""
    import brian

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    run, found = brian.prepare(network, image, steps, folder)
    ours = es.run(network, image, steps=steps, resolution=1, record="none").counts.spikes
    expected = [int(ours[: steps - layer, layer].sum()) for layer in range(len(found))]
    if found != expected:
        sys.exit(f"Brian2 disagrees:\n  expected {expected}\n  found    {found}")
    return run


def measure(name: str, options: argparse.Namespace) -> dict[str, object]:  # noqa: C901 - a row of the table, cell by cell
    """Check, then time, everything on one network."""
    architecture = ARCHITECTURES[name]
    rng = np.random.default_rng(options.seed)
    net = layers(architecture, rng)
    images = smooth_images(architecture.image, max(architecture.batches), rng)
    dense = to_torch(images)
    if len(net[0].weights.shape) == 2:
        dense = dense.permute(0, 2, 3, 1).flatten(1)
    thresholds = calibrate(net, dense[:1], options.rate, options.steps)
    simulator = es.Simulator(build(architecture, net, thresholds))

    def simulate(resolution: int, engine: es.EngineName, threads: int = 1) -> es.Result:
        return simulator.run(images[0], steps=options.steps, resolution=resolution, engine=engine, record="none", threads=threads)

    expected = loop(net, thresholds, dense[:1].double(), options.steps)
    works: dict[str, tuple[int, Callable[[], object]]] = {}
    costs = {}
    for mode, resolution in MODES.items():
        for engine in ("layered", "queue"):
            result = simulate(resolution, engine)  # compiles
            found = [int(n) for n in result.spikes_per_population().values()][:-1]
            if resolution == 1 and found != expected:
                sys.exit(f"{name}: the clocked run disagrees with the float64 loop:\n  float64  {expected}\n  eventsim {found}")
            costs[mode] = {
                "spikes": result.total_spikes,
                "synaptic_events": result.total_synaptic_events,
                "additions": result.total_additions,
            }
            works[f"eventsim {mode}, {engine}"] = (1, lambda r=resolution, e=engine: simulate(r, e))
        works[f"eventsim {mode}, layered, 2 threads"] = (1, lambda r=resolution: simulate(r, "layered", 2))
    works["PyTorch loop"] = (1, lambda: loop(net, thresholds, dense[:1], options.steps))
    for batch in architecture.batches:
        works[f"PyTorch folded, batch {batch}"] = (batch, lambda b=batch: folded(net, thresholds, dense[:b], options.steps))
    if importlib.util.find_spec("spikingjelly"):
        other = spikingjelly(net, thresholds)
        works["SpikingJelly multi-step"] = (1, lambda: other(dense[:1], options.steps))
    inner = {}
    for what, (batch, work) in works.items():
        work()
        start = time.perf_counter()
        found = work()
        inner[what] = max(1, round(ROUND / (time.perf_counter() - start)))
        if batch == 1 and isinstance(found, list) and found != expected:
            sys.exit(f"{name}: {what} disagrees with the float64 loop:\n  float64 {expected}\n  found   {found}")

    seconds: dict[str, list[float]] = {what: [] for what in works}
    brian = None
    if name in WITH_BRIAN and importlib.util.find_spec("brian2"):
        brian = brian_standalone(simulator.network, images[0], options.steps)
    for _ in range(options.repeats):
        if brian is not None:
            seconds.setdefault("Brian2 standalone (its run alone)", []).append(brian())
        for what, (batch, work) in works.items():
            work()  # what the others left in the caches, and arrays for another resolution, are not this one's concern
            start = time.perf_counter()
            for _ in range(inner[what]):
                work()
            seconds[what].append((time.perf_counter() - start) / batch / inner[what])
    best = min((times for what, times in seconds.items() if "folded" in what), key=statistics.median)
    rows = [
        {
            "simulator": what,
            "milliseconds": statistics.median(times) * 1e3,
            "fastest": min(times) * 1e3,
            "slowest": max(times) * 1e3,
            # Of the same round: the machine may be faster or slower in another one.
            "ratio": statistics.median(dense / time_of for dense, time_of in zip(best, times, strict=True)),
        }
        for what, times in seconds.items()
    ]
    time_of = {mode: next(r["milliseconds"] for r in rows if r["simulator"] == f"eventsim {mode}, layered") / 1e3 for mode in MODES}
    for mode, cost in costs.items():
        cost["additions_per_second"] = cost["additions"] / time_of[mode]
    with tempfile.TemporaryDirectory() as folder:
        es.save(simulator.network, Path(folder) / "net.h5")
        np.save(Path(folder) / "image.npy", images[0])
        return {
            "network": name,
            "steps": options.steps,
            "rate": options.rate,
            "costs": costs,
            "rows": rows,
            "peak_mib": peak_of_a_run(Path(folder), options.steps),
            "two_threads": {
                mode: gain_of_two_threads(lambda threads, r=resolution: simulate(r, "layered", threads), time_of[mode])
                for mode, resolution in MODES.items()
            },
            "two_processes": {
                mode: gain_of_two_processes(Path(folder), options.steps, resolution, time_of[mode]) for mode, resolution in MODES.items()
            },
        }


def show(console: Console, result: dict[str, object]) -> None:
    costs = ", ".join(f"{mode} {c['spikes']:,} spikes, {c['synaptic_events']:,} synaptic events" for mode, c in result["costs"].items())
    table = Table(title=f"{result['network']}, T = {result['steps']}: {costs}", title_justify="left")
    for column in ("simulator", "ms an image", "range", "x best dense"):
        table.add_column(column, justify="left" if column == "simulator" else "right", no_wrap=True)
    for r in result["rows"]:
        table.add_row(r["simulator"], f"{r['milliseconds']:.3g}", f"{r['fastest']:.3g}..{r['slowest']:.3g}", f"{r['ratio']:.2f}")
    console.print(table)
    console.print(
        f"peak memory of a process that loads the network and runs it asynchronously, without a trace: {result['peak_mib']:.0f} MiB"
    )
    for what, key in (("one image, two threads", "two_threads"), ("many images, two processes", "two_processes")):
        console.print(f"{what} against one: " + ", ".join(f"{mode} {gain:.2f}" for mode, gain in result[key].items()))
    speeds = ", ".join(f"{mode} {c['additions_per_second'] / 1e9:.1f}" for mode, c in result["costs"].items())
    console.print(f"additions, 10^9 a second over the whole run: {speeds}\n")


def machine() -> str:
    """Its instructions and, as compilers call it, its processor."""
    return f"{platform.machine()} ({get_host_cpu_name()})"


def markdown(results: list[dict[str, object]], limits: dict[str, float]) -> str:
    """The results for docs/performance.md."""
    lines = [f"{datetime.date.today()}, {machine()} with {os.cpu_count()} cores, PyTorch {torch.__version__}.", ""]
    for result in results:
        costs = "; ".join(f"{mode} {c['spikes']:,} spikes, {c['synaptic_events']:,} synaptic events" for mode, c in result["costs"].items())
        lines += [f"**{result['network']}**, T = {result['steps']}, {result['rate']:g} spikes per neuron and step: {costs}", ""]
        lines += ["| simulator | ms an image | fastest..slowest | x best dense |", "|---|--:|--:|--:|"]
        for r in result["rows"]:
            cells = (f"{r['milliseconds']:.3g}", f"{r['fastest']:.3g}..{r['slowest']:.3g}", f"{r['ratio']:.2f}")
            lines.append(f"| {r['simulator']} | {' | '.join(cells)} |")
        gains = [", ".join(f"{mode} x {gain:.2f}" for mode, gain in result[key].items()) for key in ("two_threads", "two_processes")]
        speeds = ", ".join(f"{mode} {c['additions_per_second'] / 1e9:.1f}" for mode, c in result["costs"].items())
        shares = [c["additions_per_second"] / limits[_CEILINGS[mode]] for mode, c in result["costs"].items()]
        lines += [
            "",
            f"Peak memory {result['peak_mib']:.0f} MiB. Two threads on one image: {gains[0]}; two processes on many: {gains[1]}. "
            f"Additions, 10^9 a second over the whole run: {speeds}; that is {shares[0]:.0%} and {shares[1]:.0%} of the machine's ceiling.",
            "",
        ]
    lines += ["This machine at its best, one thread: " + ", ".join(f"{what} {value / 1e9:.1f}e9" for what, value in limits.items()) + "."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(ARCHITECTURES)} (default: all)")
    parser.add_argument("--rate", type=float, default=0.06, help="spikes per neuron and step")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="write the tables of docs/performance.md, too")
    options = parser.parse_args()
    unknown = set(options.networks) - set(ARCHITECTURES)
    if unknown:
        parser.error(f"no network {', '.join(sorted(unknown))}; there are: {', '.join(ARCHITECTURES)}")
    if any(os.environ.get(key) != value for key, value in SETTINGS.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | SETTINGS)
    torch.set_num_threads(1)
    console = Console(width=110)
    results = []
    for name in options.networks or ARCHITECTURES:
        results.append(measure(name, options))
        if not options.json:
            show(console, results[-1])
    limits = ceilings()
    if options.write:
        document = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
        before, _, after = document.read_text().split(MARK)
        document.write_text(f"{before}{MARK}\n\n{markdown(results, limits)}\n\n{MARK}{after}")
    if options.json:
        print(json.dumps({"machine": machine(), "ceilings": limits, "results": results}, indent=2))
    else:
        console.print(
            "this machine at its best, one thread: " + ", ".join(f"{what} {value / 1e9:.1f} 10^9" for what, value in limits.items())
        )


if __name__ == "__main__":
    main()

"""Time eventsim against dense simulators, on random binary networks and on the networks in networks/.

    pip install -e '.[train]'                        # and, to have them compared too: pip install spikingjelly brian2
    python benchmarks/simulators.py --write          # all of them, to docs/performance.md; half an hour
    python benchmarks/simulators.py mlp lenet-mnist --steps 8 --json

Random networks (mlp, cnn, vgg15: random_networks.py) run for 100 steps, on smooth random images; those in networks/ for 8 and for 32, on
images of their test set where it is at hand (EVENTSIM_DATA), else on sample digits or smooth images. The dense forms (dense.py) take all
steps of a layer at once, at several batch sizes: float32, and int8 by oneDNN, which are exact, and bfloat16, which is not and in no ratio.

Before anything is timed, the clocked run must equal a float64 PyTorch loop in the spikes of every layer and in what the readout has
at the end, and so must the exact dense forms, and runs of many images in a call. Timings are medians of interleaved rounds of about
0.2 s each, each after a run that is not timed; ratios are to the best float32 form, and to the best exact form of all, in the same
round. One thread but what says otherwise.
"""

from __future__ import annotations

import argparse
import atexit
import datetime
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dense import Chain, spikingjelly
from endings import at_least_one, ends_in_a_line
from images import real_images
from machine import CEILINGS, ceilings, description, one_thread_that_keeps_memory
from random_networks import ARCHITECTURES, random_network, smooth_images
from rich.console import Console
from rich.table import Table
from sharing import gain_of_two_processes, gain_of_two_threads, peak_of_a_run

import eventsim as es
from eventsim.files.atomic import write_text

ROOT = Path(__file__).resolve().parents[1]
MODES = {"clocked": 1, "asynchronous": es.DEFAULT_RESOLUTION}
# Of networks/: those that dense.py has a form of.
TRAINED = (
    "mlp-mnist",
    "lenet-mnist",
    "lenet-relu-mnist",
    "vgg-small-fashion",
    "vgg-small-cifar10",
    "vgg-small-cifar100",
    "vgg15-cifar100",
    "vgg15-cifar100-qcfs",
)
BATCHES = (1, 4, 16)
# A simulator is timed for about so long at a time.
ROUND = 0.2
# VGG-15 has 315 million synapses, which Brian2 lists one by one; and it knows no signed neurons.
WITH_BRIAN = ("mlp", "cnn")
MARK = "<!-- tables by simulators.py -->"


@dataclass(frozen=True)
class Case:
    """A network and a length.

    ``images``: uint8 (n, height, width, channels), as many as the largest batch has; ``about``: where they come from, or how often neurons
    spike.
    """

    name: str
    network: es.Network
    images: np.ndarray
    steps: int
    batches: tuple[int, ...]
    about: str


def cases(options: argparse.Namespace) -> list[Case]:
    """Those that are asked for."""
    made = []
    for name in options.networks or [*ARCHITECTURES, *TRAINED]:
        if name in ARCHITECTURES:
            network, images = random_network(name, options.rate, 100, options.seed)
            about = f"{options.rate:g} spikes per neuron and step"
            made += [Case(name, network, images, steps, ARCHITECTURES[name].batches, about) for steps in options.steps or [100]]
        else:
            network = es.load(ROOT / "networks" / f"{name}.h5")
            images, about = images_for(name, network, max(BATCHES))
            made += [Case(name, network, images, steps, BATCHES, about) for steps in options.steps or [8, 32]]
    return made


def images_for(name: str, network: es.Network, n: int) -> tuple[np.ndarray, str]:
    """Images that a network was made for, as far as they are at hand, and what they are."""
    return real_images(network, n) or (smooth_images(network.input.shape, n, np.random.default_rng(0)), "smooth random images")


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


class Disagreement(Exception):
    """A simulator that is timed gives another result."""


def works_on(case: Case, simulator: es.Simulator) -> tuple[dict[str, tuple[int, Callable[[], object]]], dict[str, dict[str, int]]]:
    """What is timed, by name: images of a call, and the call; and what runs cost in operations. All are checked.

    Raises
    ------
    Disagreement
    """
    steps, images, one, most = case.steps, case.images, case.images[:1], max(case.batches)
    expected = Chain(case.network, "float64").loop(one, steps)

    def check(what: str, counts: list[int], readout: Any) -> None:
        if counts != expected.counts or not np.array_equal(np.ravel(readout), np.ravel(expected.readout)):
            raise Disagreement(f"{case.name}: {what} disagrees with the float64 loop:\n  float64 {expected.counts}\n  found   {counts}")

    def check_run(what: str, result: es.Result) -> None:
        found = [int(n) for name, n in result.spikes_per_population().items() if case.network.populations[name].fires]
        check(f"eventsim, {what}", found, result.counts.readout[case.network.output][-1])

    def simulate(resolution: int, engine: es.EngineName, threads: int = 1) -> es.Result:
        return simulator.run(images[0], steps=steps, resolution=resolution, engine=engine, record="none", threads=threads)

    works: dict[str, tuple[int, Callable[[], object]]] = {}
    costs = {}
    for mode, resolution in MODES.items():
        together = {"steps": steps, "resolution": resolution, "engine": "layered"}
        for engine in ("layered", "queue"):
            result = simulate(resolution, engine)  # compiles
            if resolution == 1:
                check_run(engine, result)
            costs[mode] = {
                "spikes": result.total_spikes,
                "synaptic_events": result.total_synaptic_events,
                "additions": result.total_additions,
            }
            works[f"eventsim {mode}, {engine}"] = (1, lambda r=resolution, e=engine: simulate(r, e))
        works[f"eventsim {mode}, layered, 2 threads"] = (1, lambda r=resolution: simulate(r, "layered", 2))
        works[f"eventsim {mode}, layered, {most} images a call"] = (most, lambda kw=together: simulator.run_many(images[:most], **kw))
    check_run("many images", simulator.run_many(images[:most], steps=steps, resolution=1, engine="layered")[0])
    plain = Chain(case.network)
    found = plain.loop(one, steps)
    check("the PyTorch loop", found.counts, found.readout)
    works["PyTorch loop"] = (1, lambda: plain.loop(one, steps))
    for precision in ("float32", "int8", "bfloat16"):
        chain = Chain(case.network, precision)
        found = chain.folded(one, steps)
        if precision != "bfloat16":
            check(f"the dense form in {precision}", found.counts, found.readout)
        inexact = " (inexact)" if precision == "bfloat16" else ""
        for batch in case.batches:
            works[f"PyTorch folded, {precision}{inexact}, batch {batch}"] = (batch, lambda c=chain, b=batch: c.folded(images[:b], steps))
    if case.name in ARCHITECTURES and importlib.util.find_spec("spikingjelly"):
        other = spikingjelly(plain)
        found = other(one, steps)
        check("SpikingJelly", found.counts, found.readout)
        works["SpikingJelly multi-step"] = (1, lambda: other(one, steps))
    return works, costs


def times_of(case: Case, works: dict[str, tuple[int, Callable[[], object]]], repeats: int) -> dict[str, list[float]]:
    """Seconds an image, a number a round."""
    inner = {}
    for what, (_, work) in works.items():
        work()
        start = time.perf_counter()
        work()
        inner[what] = max(1, round(ROUND / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {what: [] for what in works}
    brian = None
    if case.name in WITH_BRIAN and importlib.util.find_spec("brian2"):
        brian = brian_standalone(case.network, case.images[0], case.steps)
    for _ in range(repeats):
        if brian is not None:
            seconds.setdefault("Brian2 standalone (its run alone)", []).append(brian())
        for what, (batch, work) in works.items():
            work()  # what the others left in the caches, and arrays for another resolution, are not this one's concern
            start = time.perf_counter()
            for _ in range(inner[what]):
                work()
            seconds[what].append((time.perf_counter() - start) / batch / inner[what])
    return seconds


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Check, then time, everything on one network."""
    simulator = es.Simulator(case.network)
    works, costs = works_on(case, simulator)
    seconds = times_of(case, works, repeats)

    def best(*precisions: str) -> list[float]:
        forms = [times for what, times in seconds.items() if any(f"folded, {precision}," in what for precision in precisions)]
        return min(forms, key=statistics.median)

    def ratio(times: list[float], dense: list[float]) -> float:
        # Of the same round: the machine may be faster or slower in another one.
        return statistics.median(of_dense / time_of for of_dense, time_of in zip(dense, times, strict=True))

    rows = [
        {
            "simulator": what,
            "milliseconds": statistics.median(times) * 1e3,
            "fastest": min(times) * 1e3,
            "slowest": max(times) * 1e3,
            "float32": ratio(times, best("float32")),
            "exact": ratio(times, best("float32", "int8")),
        }
        for what, times in seconds.items()
    ]
    time_of = {mode: statistics.median(seconds[f"eventsim {mode}, layered"]) for mode in MODES}
    for mode, cost in costs.items():
        cost["additions_per_second"] = cost["additions"] / time_of[mode]

    def shared(threads: int, resolution: int) -> es.Result:
        settings = {"steps": case.steps, "resolution": resolution, "record": "none", "threads": threads}
        return simulator.run(case.images[0], **settings)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        es.save(case.network, folder / "net.h5")
        np.save(folder / "image.npy", case.images[0])
        two_threads = {m: gain_of_two_threads(lambda n, r=r: shared(n, r), time_of[m]) for m, r in MODES.items()}
        two_processes = {m: gain_of_two_processes(folder, case.steps, r, time_of[m]) for m, r in MODES.items()}
        return {
            "network": case.name,
            "steps": case.steps,
            "about": case.about,
            "costs": costs,
            "rows": rows,
            "peak_mib": peak_of_a_run(folder, case.steps),
            "two_threads": two_threads,
            "two_processes": two_processes,
        }


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    spread = f"{row['fastest']:.3g}..{row['slowest']:.3g}"
    return row["simulator"], f"{row['milliseconds']:.3g}", spread, f"{row['float32']:.2f}", f"{row['exact']:.2f}"


COLUMNS = ("simulator", "ms an image", "fastest..slowest", "x best float32", "x best exact")


def costs_of(result: dict[str, Any]) -> str:
    """Spikes and operations."""
    return "; ".join(f"{mode} {c['spikes']:,} spikes, {c['synaptic_events']:,} synaptic events" for mode, c in result["costs"].items())


def show(console: Console, result: dict[str, Any]) -> None:
    """On the terminal."""
    title = f"{result['network']}, T = {result['steps']}, {result['about']}: {costs_of(result)}"
    table = Table(title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "simulator" else "right", no_wrap=True)
    for row in result["rows"]:
        table.add_row(*cells(row))
    console.print(table)
    console.print(
        f"peak memory of a process that loads the network and runs it asynchronously, without a trace: {result['peak_mib']:.0f} MiB"
    )
    for what, key in (("one image, two threads", "two_threads"), ("many images, two processes", "two_processes")):
        console.print(f"{what} against one: " + ", ".join(f"{mode} {gain:.2f}" for mode, gain in result[key].items()))
    speeds = ", ".join(f"{mode} {c['additions_per_second'] / 1e9:.1f}" for mode, c in result["costs"].items())
    console.print(f"additions, 10^9 a second over the whole run: {speeds}\n")


def markdown(results: list[dict[str, Any]], limits: dict[str, float]) -> str:
    """The results for docs/performance.md."""
    lines = [f"{datetime.date.today()}, {description()} with {os.cpu_count()} cores, PyTorch {torch.__version__}.", ""]
    for result in results:
        lines += [f"**{result['network']}**, T = {result['steps']}, {result['about']}: {costs_of(result)}", ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "|---|--:|--:|--:|--:|"]
        lines += [f"| {' | '.join(cells(row))} |" for row in result["rows"]]
        gains = [", ".join(f"{mode} x {gain:.2f}" for mode, gain in result[key].items()) for key in ("two_threads", "two_processes")]
        speeds = ", ".join(f"{mode} {c['additions_per_second'] / 1e9:.1f}" for mode, c in result["costs"].items())
        shares = [c["additions_per_second"] / limits[CEILINGS[mode]] for mode, c in result["costs"].items()]
        lines += [
            "",
            f"Peak memory {result['peak_mib']:.0f} MiB. Two threads on one image: {gains[0]}; two processes on many: {gains[1]}. "
            f"Additions, 10^9 a second over the whole run: {speeds}; that is {shares[0]:.0%} and {shares[1]:.0%} of the machine's ceiling.",
            "",
        ]
    lines += ["This machine at its best, one thread: " + ", ".join(f"{what} {value / 1e9:.1f}e9" for what, value in limits.items()) + "."]
    return "\n".join(lines)


@ends_in_a_line("interrupted")
def main() -> None:
    """Measure and print."""
    known = [*ARCHITECTURES, *TRAINED]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--rate", type=float, default=0.06, help="spikes per neuron and step of random networks")
    parser.add_argument(
        "--steps", type=at_least_one, nargs="+", help="lengths (default: 100 for random networks, 8 and 32 for trained ones)"
    )
    parser.add_argument("--repeats", type=at_least_one, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="write the tables of docs/performance.md, too")
    options = parser.parse_args()
    unknown = set(options.networks) - set(known)
    if unknown:
        parser.error(f"no network {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    one_thread_that_keeps_memory()
    console = Console(width=130)
    results = []
    try:
        for case in cases(options):
            results.append(measure(case, options.repeats))
            if not options.json:
                show(console, results[-1])
    except Disagreement as error:
        sys.exit(str(error))
    limits = ceilings()
    if options.write:
        document = ROOT / "docs" / "performance.md"
        before, _, after = document.read_text().split(MARK)
        write_text(document, f"{before}{MARK}\n\n{markdown(results, limits)}\n\n{MARK}{after}")
    if options.json:
        print(json.dumps({"machine": description(), "ceilings": limits, "results": results}, indent=2))
    else:
        console.print(
            "this machine at its best, one thread: " + ", ".join(f"{what} {value / 1e9:.1f} 10^9" for what, value in limits.items())
        )


if __name__ == "__main__":
    main()

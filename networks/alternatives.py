"""Measure what signed neurons, the refractory period and the initial potential do to accuracy (docs/conversion.md).

    python networks/alternatives.py                              # writes the table of docs/conversion.md
    python networks/alternatives.py --images 200 --print         # a quick look

`lenet-mnist` is run as it is and with one or two of these taken away, `lenet-relu-mnist` and `vgg15-cifar100` (the paper's kind, without
biases) with what networks with biases get, on the first test images. Resumable. For the deeper
`vgg-small-cifar10` a second table shows why the refractory period is needed: spikes at rising resolution with and without it.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from evaluation import MODES, evaluate
from programs import at_least_one, ends_in_a_line
from zoo import HERE

import eventsim as es
from eventsim import datasets
from eventsim.files.atomic import write_text

DEEP = "vgg-small-cifar10"
STEPS = (4, 8, 16, 32)
# Without a refractory period a neuron answers every spike that moves it across a border: finer resolutions do not end.
RESOLUTIONS = (1, 16, 256, 4096)
TABLE = "<!-- table by alternatives.py -->"
VARIANTS = {
    "lenet-mnist": {
        "as converted": {},
        "unsigned": {"signed": False},
        "no refractory period": {"refractory": 0.0},
        "unsigned, no refractory period": {"signed": False, "refractory": 0.0},
        "initial potential 0": {"v0": 0},
    },
    "lenet-relu-mnist": {
        "as converted": {},
        "signed, refractory period 1": {"signed": True, "refractory": 1.0},
        "refractory period 1": {"refractory": 1.0},
        "initial potential 0": {"v0": 0},
    },
    "vgg15-cifar100": {
        "as converted": {},
        "signed, refractory period 1": {"signed": True, "refractory": 1.0},
    },
}


def variant(network: es.Network, changes: dict[str, object]) -> es.Network:
    """The network with its neurons changed."""
    for name, population in network.populations.items():
        if population.fires:
            settings = {f.name for f in fields(population) if f.init}
            values = {key: value for key, value in changes.items() if key in settings}
            if "v0" in values:
                values["v0"] = np.full_like(population.v0, values["v0"])
            network.populations[name] = replace(population, **values)
    return network


def accuracies(options: argparse.Namespace) -> str:
    """Accuracy of each variant of the networks, clocked and asynchronous."""
    lines = ["| network | neurons | mode | " + " | ".join(f"T = {t}" for t in STEPS) + " |", "|---|---|---|" + "--:|" * len(STEPS)]
    for name, variants in VARIANTS.items():
        network = es.load(HERE / f"{name}.h5")
        for what, changes in variants.items():
            path = options.work / f"{name}-{what.replace(', ', '-').replace(' ', '-')}.h5"
            es.save(variant(es.load(HERE / f"{name}.h5"), changes), path)
            for mode, resolution in MODES.items():
                scores = evaluate(
                    path, network.provenance["data set"], STEPS[-1], resolution, options.work, options.workers, options.images, options.data
                )
                cells = " | ".join(f"{scores.at(t)['accuracy']:.2%}" for t in STEPS)
                lines.append(f"| `{name}` | {what} | {mode} | {cells} |")
    return f"On the first {options.images:,} test images:\n\n" + "\n".join(lines)


def growth(data: Path | None, count: int = 10, steps: int = 4) -> str:
    """Spikes of each layer of the deep network at rising resolution, with and without its refractory period."""
    networks = {
        what: variant(es.load(HERE / f"{DEEP}.h5"), VARIANTS["lenet-mnist"][what]) for what in ("as converted", "no refractory period")
    }
    network = networks["as converted"]
    images, _ = datasets.load(network.provenance["data set"], "test", data)
    firing = [name for name, p in network.populations.items() if p.fires]
    lines = ["| neurons | resolution | " + " | ".join(firing) + " |", "|---|--:|" + "--:|" * len(firing)]
    for what, network in networks.items():
        simulator = es.Simulator(network)
        for resolution in (1, RESOLUTIONS[-1]) if what == "as converted" else RESOLUTIONS:
            runs = [simulator.run(image, steps=steps, resolution=resolution, record="none") for image in images[:count]]
            mean = {name: np.mean([run.spikes_per_population()[name] for run in runs]) for name in firing}
            lines.append(f"| {what} | {resolution} | " + " | ".join(f"{mean[name]:,.0f}" for name in firing) + " |")
    return f"Spikes an image in `{DEEP}` (T = {steps}, mean of {count} test images):\n\n" + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=at_least_one, default=1000)
    parser.add_argument("--print", action="store_true", dest="show", help="print the table instead of writing it")
    parser.add_argument("--data", type=Path, help="folder that holds the data sets (default: EVENTSIM_DATA, then the cache of `data get`)")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="partial results go here")
    parser.add_argument("--workers", type=at_least_one, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with ends_in_a_line():
        options.work.mkdir(parents=True, exist_ok=True)
        text = accuracies(options) + "\n\n" + growth(options.data)
        if options.show:
            print(text)
            return
        document = HERE.parent / "docs" / "conversion.md"
        before, _, after = document.read_text().split(TABLE)
        write_text(document, f"{before}{TABLE}\n\n{text}\n\n{TABLE}{after}")


if __name__ == "__main__":
    main()

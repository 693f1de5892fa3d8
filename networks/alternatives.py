"""Measure what signed neurons, the refractory period and the initial potential do to accuracy (docs/conversion.md).

    python networks/alternatives.py                              # writes the table of docs/conversion.md
    python networks/alternatives.py --images 200 --print         # a quick look

`lenet-mnist` is run as it is and with one or two of these taken away, on the first test images. Resumable.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from evaluation import MODES, evaluate
from zoo import HERE, write

import eventsim as es
from eventsim import datasets
from eventsim.network import Driven, Spiking

NETWORKS = ("lenet-mnist",)
STEPS = (4, 8, 16, 32)
TABLE = "<!-- table by alternatives.py -->"
VARIANTS = {
    "as converted": {},
    "unsigned": {"signed": False},
    "no refractory period": {"refractory": 0.0},
    "unsigned, no refractory period": {"signed": False, "refractory": 0.0},
    "initial potential 0": {"v0": 0},
}


def variant(network: es.Network, changes: dict[str, object]) -> es.Network:
    """The network with its neurons changed."""
    for name, population in network.populations.items():
        if isinstance(population, (Driven, Spiking)):
            settings = {f.name for f in fields(population) if f.init}
            values = {key: value for key, value in changes.items() if key in settings}
            if "v0" in values:
                values["v0"] = np.full_like(population.v0, values["v0"])
            network.populations[name] = replace(population, **values)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--print", action="store_true", dest="show", help="print the table instead of writing it")
    parser.add_argument("--data", type=Path, help="folder that holds the data sets (default: EVENTSIM_DATA, then the cache of `data get`)")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="partial results go here")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    lines = ["| network | neurons | mode | " + " | ".join(f"T = {t}" for t in STEPS) + " |", "|---|---|---|" + "--:|" * len(STEPS)]
    try:
        options.work.mkdir(parents=True, exist_ok=True)
        for name in NETWORKS:
            network = es.load(HERE / f"{name}.h5")
            images, labels = datasets.load(network.provenance["data set"], "test", options.data)
            for what, changes in VARIANTS.items():
                path = options.work / f"{name}-{what.replace(', ', '-').replace(' ', '-')}.h5"
                es.save(variant(es.load(HERE / f"{name}.h5"), changes), path)
                for mode, resolution in MODES.items():
                    scores = evaluate(
                        path, images[: options.images], labels[: options.images], STEPS[-1], resolution, options.work, options.workers
                    )
                    cells = " | ".join(f"{scores.at(t)['accuracy']:.2%}" for t in STEPS)
                    lines.append(f"| `{name}` | {what} | {mode} | {cells} |")
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on from there") from None
    except es.EventsimError as error:
        raise SystemExit(f"error: {error}") from None
    text = f"On the first {options.images:,} test images:\n\n" + "\n".join(lines)
    if options.show:
        print(text)
        return
    document = HERE.parent / "docs" / "conversion.md"
    before, _, after = document.read_text().split(TABLE)
    write(document, f"{before}{TABLE}\n\n{text}\n\n{TABLE}{after}")


if __name__ == "__main__":
    main()

"""Measure the shipped networks on whole test sets and write the table of networks/README.md.

    python networks/zoo.py                        # all networks; hours on two cores, interrupt and resume at will
    python networks/zoo.py mlp-mnist lenet-mnist  # some of them
    python networks/zoo.py --table                # only write the table from what is in zoo.json

One run of T = 100 steps per image and mode answers for every shorter length. Results go to networks/zoo.json, with the SHA-256 of the
network's file, so that a network that was made anew is measured anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from evaluation import MODES, STEPS, evaluate
from programs import at_least_one, ends_in_a_line

import eventsim as es
from eventsim.files.atomic import write_text

HERE = Path(__file__).resolve().parent
TABLE = "<!-- table by zoo.py -->"


def sha256(path: Path) -> str:
    """Of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(path: Path) -> es.Network:
    """A network with what the table says of it."""
    network = es.load(path)
    if missing := [key for key in ("data set", "ANN test accuracy", "command") if key not in network.provenance]:
        raise es.EventsimError(f"{path}: its provenance has no {missing[0]!r}; expected a network that networks/make.py made")
    return network


def read_results(store: Path) -> dict[str, Any]:
    """What was measured before."""
    if not store.exists():
        return {}
    try:
        return dict(json.loads(store.read_text()))
    except (ValueError, TypeError) as error:
        raise es.EventsimError(f"{store}: cannot be read ({error}); remove it, and all networks are measured anew") from None


def measure(path: Path, mode: str, steps: int, options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy and counts of a network on its whole test set at every length up to ``steps``."""
    name = read(path).provenance["data set"]
    scores = evaluate(path, name, steps, MODES[mode], options.work, options.workers, data=options.data)
    return {"images": scores.images, "steps": {str(t): scores.at(t) for t in STEPS if t <= steps}}


def short(number: float) -> str:
    """1234567 as 1.23 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = []
    for path in sorted(HERE.glob("*.h5")):
        result = results.get(path.stem)
        if result is None or result["sha256"] != sha256(path):
            print(f"{path.name}: left out of the table, as it is not measured (zoo.json)", file=sys.stderr)
            continue
        about = read(path).provenance
        images = ", ".join(sorted({f"{result[mode]['images']:,}" for mode in MODES if mode in result}))
        lines += [
            f"### `{path.name}`",
            "",
            f"{about['data set']}, {images} test images, ANN {about['ANN test accuracy']:.2%}, {path.stat().st_size / 1000:.0f} kB, "
            f"made by `{about['command']}`",
            "",
            "| mode | | " + " | ".join(f"T = {t}" for t in STEPS) + " |",
            "|---|---|" + "--:|" * len(STEPS),
        ]
        for mode in MODES:
            found = result.get(mode, {"steps": {}})["steps"]
            for what, form in (("accuracy", lambda x: f"{x:.2%}"), ("spikes", short), ("synaptic events", short)):
                cells = [form(found[str(t)][what]) if str(t) in found else "not measured" for t in STEPS]
                lines.append(f"| {mode} | {what} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks to measure (default: all)")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--mode", choices=list(MODES), help="measure only this one")
    parser.add_argument("--steps", type=int, choices=STEPS, default=STEPS[-1], help="measure up to so many steps (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="folder that holds the data sets (default: EVENTSIM_DATA, then the cache of `data get`)")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="partial results go here")
    parser.add_argument("--workers", type=at_least_one, default=os.cpu_count() or 1)
    options = parser.parse_args()
    known = sorted(path.stem for path in HERE.glob("*.h5"))
    for name in options.names:
        if name not in known:
            parser.error(f"no network {name!r}; there are: {', '.join(known)}")
    store = HERE / "zoo.json"
    with ends_in_a_line():
        results = read_results(store)
        for name in [] if options.table else options.names or known:
            path = HERE / f"{name}.h5"
            if results.get(name, {}).get("sha256") != sha256(path):
                results[name] = {"sha256": sha256(path)}
            for mode in [options.mode] if options.mode else MODES:
                if str(options.steps) not in results[name].get(mode, {}).get("steps", {}):
                    results[name][mode] = measure(path, mode, options.steps, options)
                    write_text(store, json.dumps(results, indent=1) + "\n")
        readme = HERE / "README.md"
        before, _, after = readme.read_text().split(TABLE)
        write_text(readme, f"{before}{TABLE}\n\n{table(results)}\n{TABLE}{after}")


if __name__ == "__main__":
    main()

"""The paper's experiments and their asynchronous extension on our networks: writes the tables and figures of docs/results.md.

    python networks/make.py lenet-relu-mnist        # once: its weights are the source of the percentile sweep (of `vgg`: vgg15-cifar100)
    python networks/studies.py                      # or some of: exits sweeps paper vgg

Whole test sets for the trade-off of early exit, ``--images`` of them for the sweeps. What is done is kept in ``--work``.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from architectures import lenet_relu, vgg15_folded
from programs import at_least_one, ends_in_a_line
from training import fill, read_state

import eventsim as es
from eventsim import datasets, plot, study
from eventsim.batch.study import Study
from eventsim.cli.progress import point_progress
from eventsim.files.atomic import write_bytes, write_text

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
MARK = "<!-- networks/studies.py {} -->"
# Network, data set and steps. The steps that the networks were trained for, and runs long enough for asynchronous spikes to settle.
EXITS = [
    ("lenet-mnist", "mnist", 8),
    ("vgg-small-fashion", "fashion-mnist", 8),
    ("vgg-small-fashion", "fashion-mnist", 32),
    ("vgg-small-cifar10", "cifar-10", 8),
    ("vgg-small-cifar10", "cifar-10", 32),
]
LOSS = 0.003


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="of " + ", ".join(PARTS) + " (default: all)")
    parser.add_argument("--data", type=Path, help="folder that holds the data sets (default: EVENTSIM_DATA, then the cache of `data get`)")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="weights that make.py left there, and evaluations")
    parser.add_argument("--images", type=at_least_one, default=2000, help="test images of the sweeps")
    parser.add_argument("--workers", type=at_least_one, default=None)
    options = parser.parse_args()
    if options.data is not None:
        os.environ["EVENTSIM_DATA"] = str(options.data)
    if wrong := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(wrong))}; there are {', '.join(PARTS)}")
    for part in options.parts or PARTS:
        with ends_in_a_line():
            write(part, "\n".join(PARTS[part](options)))


def write(part: str, text: str) -> None:
    """Put ``text`` between the two marks of ``part`` in docs/results.md."""
    page = DOCS / "results.md"
    mark = MARK.format(part)
    before, _, rest = page.read_text(encoding="utf-8").partition(mark)
    _, _, after = rest.partition(mark)
    write_text(page, f"{before}{mark}\n\n{text}\n{mark}{after}")


def exits(options: argparse.Namespace) -> list[str]:
    lines = []
    for name, dataset, steps in EXITS:
        with point_progress() as each:
            found = study.exit_study(
                es.load(HERE / f"{name}.h5"),
                datasets.open_dataset(dataset),
                options.work / f"study-exit-{name}-{steps}",
                [LOSS],
                each=each,
                steps=steps,
                workers=options.workers,
            )
        with ExitStack() as stack:
            whole = {mode: stack.enter_context(es.Evaluation(found.evaluations[mode])) for mode in study.MODES}
            lines += [f"### `{name}`, T = {steps}, {len(whole['clocked']):,} images", ""]
            lines += [compare(whole), found.markdown()]
            lines += figure(plot.trade_off(whole), f"trade-off-{name}-{steps}", f"trade-off of {name}, T = {steps}")
            if steps == 32:
                lines += figure(plot.firing_rates(whole), f"firing-rates-{name}", f"firing rate by layer of {name}")
    return lines


def compare(evaluations: dict[str, es.Evaluation]) -> str:
    rows = []
    for mode, e in evaluations.items():
        normalised = {"#OPS": e.normalised_operations()}
        rows.append({"mode": mode} | study.measures(e) | normalised)
    return Study("", rows, {}).markdown()


def sweeps(options: argparse.Namespace) -> list[str]:
    name = "lenet-mnist"
    net = es.load(HERE / f"{name}.h5")
    kinds: dict[str, tuple[str, list[study.Point], bool]] = {
        "Resolution, from clocked to asynchronous": ("resolution", study.resolution_points(net), True),
        "Delay of every layer": ("delay", study.delay_points(net), False),
        "Initial potential": ("initial potential", study.initial_points(net), False),
    }
    lines = []
    for title, (column, points, log) in kinds.items():
        found = sweep(column, points, "mnist", options, options.work / f"study-{column.replace(' ', '-')}-{name}")
        picture = plot.curves(found.rows, column, ("accuracy", "decision latency", "spikes", "synaptic events"), log=log)
        lines += [f"### {title} (`{name}`, {options.images:,} images)", "", found.markdown()]
        lines += figure(picture, column.replace(" ", "-"), f"{title.lower()} on {name}")
    return lines


def paper(options: argparse.Namespace) -> list[str]:
    return _as_in_the_paper(options, "lenet-relu-mnist", lenet_relu(), "mnist", (90.0, 99.0, 99.7, 99.9, 100.0), (8, 16, 32, 64))


def vgg(options: argparse.Namespace) -> list[str]:
    return _as_in_the_paper(options, "vgg15-cifar100", vgg15_folded(), "cifar-100", (99.0, 99.7, 99.9, 100.0), (16, 32, 64, 100))


def _as_in_the_paper(
    options: argparse.Namespace, name: str, model: torch.nn.Module, dataset: str, percentiles: Sequence[float], lengths: Sequence[int]
) -> list[str]:
    """Percentiles, firing rates, operations and early exit of a network without bias; the last of ``lengths`` is that of all runs."""
    weights = options.work / f"{name}.pt"
    fill(model, read_state(weights), weights)
    model.eval()
    calibration, steps = datasets.load(dataset, "train")[0][:1000], lengths[-1]
    # As in the paper: initial potential 0.
    points = study.percentile_points(model, calibration, percentiles, initial="zero")
    found = sweep("percentile", points, dataset, options, options.work / f"study-percentile-{name}", steps=steps)
    lines = [f"`{name}`: no batch norm, no bias, ReLU; {options.images:,} images, v0 = 0, T = {steps}.", ""]
    lines += ["### Percentile", "", found.markdown()]
    with ExitStack() as stack:
        opened = {title: stack.enter_context(es.Evaluation(path)) for title, path in found.evaluations.items()}
        for mode in study.MODES:
            some = {title: e for title, e in opened.items() if title.startswith(mode)}
            what = f"accuracy over time for several percentiles, {mode}"
            lines += figure(plot.accuracy_over_time(some), f"percentile-accuracy-{name}-{mode}", what)
        both = {title.replace(" percentile 99.9", ""): e for title, e in opened.items() if title.endswith("percentile 99.9")}
        picture = figure(plot.firing_rates(both), f"firing-rates-{name}", "firing rate by layer")
        lines += ["### Firing rate by layer, percentile 99.9", "", *picture]
        rows: list[dict[str, Any]] = [{"mode": mode, "T": t, **rates(e, t)} for mode, e in both.items() for t in lengths]
        lines += ["### Accuracy and normalised #OPS by length of the run, percentile 99.9", "", Study("", rows, {}).markdown()]
    with point_progress() as each:
        made = es.convert(model, calibration, percentile=99.9, initial="zero")
        stops = study.exit_study(
            made.network,
            datasets.open_dataset(dataset),
            options.work / f"study-exit-{name}",
            [LOSS],
            each=each,
            steps=steps,
            images=options.images,
            workers=options.workers,
        )
    with ExitStack() as stack:
        whole = {mode: stack.enter_context(es.Evaluation(stops.evaluations[mode])) for mode in study.MODES}
        lines += ["### Early exit", "", stops.markdown(), *figure(plot.trade_off(whole), f"trade-off-{name}", f"trade-off of {name}")]
    return lines


def rates(e: es.Evaluation, steps: int) -> dict[str, float]:
    """Accuracy and normalised #OPS of the first ``steps`` steps of the runs."""
    spikes = dict(zip([p.name for p in e.info.populations], e.over_time("spikes")[:steps].sum(0), strict=True))
    sizes = {p.name: p.size for p in e.info.populations}
    layers = [p for p in e.info.projections if not p.bias]
    operations = sum(spikes[p.source] / sizes[p.source] * p.macs for p in layers) / sum(p.macs for p in layers)
    return {"accuracy": float(e.accuracy_over_time()[steps - 1]), "normalised #OPS": float(operations)}


def sweep(column: str, points: list[study.Point], dataset: str, options: argparse.Namespace, folder: Path, **settings: Any) -> Study:
    with point_progress() as each:
        return study.run_study(
            column, points, datasets.open_dataset(dataset), folder, each=each, images=options.images, workers=options.workers, **settings
        )


def figure(picture: Any, name: str, text: str) -> list[str]:
    (DOCS / "figures").mkdir(exist_ok=True)
    drawn = io.BytesIO()
    picture.savefig(drawn, format="svg", metadata={"Date": None})
    write_bytes(DOCS / "figures" / f"{name}.svg", drawn.getvalue())
    return [f"![{text}](figures/{name}.svg)", ""]


PARTS = {"exits": exits, "sweeps": sweeps, "paper": paper, "vgg": vgg}

if __name__ == "__main__":
    main()

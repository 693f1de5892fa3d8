"""``python -m eventsim evaluate``: a network on a whole data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from eventsim.analysis.evaluation import Evaluation
from eventsim.batch.evaluate import evaluate as run_all
from eventsim.cli.errors import remark
from eventsim.cli.hardware import print_means
from eventsim.cli.names import FILE_NAME, NAME
from eventsim.cli.opening import dataset_of
from eventsim.cli.options import as_json, evaluated, one_place, options, output, ticks_per_step, whole_numbers, workers
from eventsim.cli.progress import image_progress
from eventsim.files.printable import printable
from eventsim.job.job import DEFAULT_RESOLUTION

_of_simulation = options(
    click.option("--resolution", type=click.IntRange(1), help=f"Ticks per step, R. Default: {DEFAULT_RESOLUTION} (asynchronous)."),
    click.option("--clocked", is_flag=True, help="One tick per step."),
    click.option("--exit-margin", type=int, help="Stop each run once the best readout potential leads by this much."),
    click.option("--exit-potential", type=int, help="Stop each run once a readout potential is at least this."),
)


@click.command()
@click.argument("network", type=FILE_NAME)
@evaluated
@_of_simulation
@click.option("--no-trade-off", is_flag=True, help="Do not keep what every exit threshold would give: less memory for huge networks.")
@workers
@click.option("--scheduler", type=NAME, help="Address of a Dask scheduler, such as tcp://host:8786; its workers run the images.")
@click.option("--hardware", type=NAME, help="Architecture file, or the name of one: also say what an image takes there.")
@click.option("--trace", "traces", help="Write spike traces of these images too: numbers with commas.")
@output("eval.h5")
@as_json
def evaluate(
    network: Path,
    output: Path,
    resolution: int | None,
    clocked: bool,
    no_trade_off: bool,
    traces: str | None,
    hardware: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run NETWORK on the images of a data set: how accurate, how soon, at what cost.

    \b
    What is done is kept: after an interruption, the same command goes on. Examples:
      eventsim evaluate networks/lenet-mnist.h5 --dataset mnist
      eventsim evaluate net.h5 --dataset photos/ --clocked -o clocked.h5
      eventsim evaluate net.h5 --dataset recordings/ --window 0:300ms --downsample 4
    """
    settings |= {"resolution": ticks_per_step(resolution, clocked), "trade_off": not no_trade_off}
    one_place(settings)
    settings["traces"] = whole_numbers(traces or None, f"--trace {traces!r}: expected numbers of images with commas") or ()
    with image_progress("evaluating") as progress:
        found = run_all(network, dataset_of(settings), output, progress=progress, note=remark, hardware=hardware, **settings)
    with found:
        if as_json:
            click.echo(json.dumps(found.summary() | {"evaluation": str(output)}, indent=2))
        else:
            print_evaluation(found)
            if (taken := found.hardware) is not None:
                print_means(taken)


def print_evaluation(e: Evaluation) -> None:
    """The evaluation in a few lines."""
    s = e.summary()
    rows: list[tuple[str, Any]] = [("evaluated", str(e))]
    if s["accuracy"] is not None:
        ann = e.info.settings.get("provenance", {}).get("ANN test accuracy")
        rows.append(("accuracy", f"{s['accuracy']:.2%}" + (f" (ANN {ann:.2%})" if isinstance(ann, float) else "")))
    if s["mean_decision_latency_steps"] is not None:
        rows.append(
            ("decided at", f"{s['mean_decision_latency_steps']:.3f} steps on average, 95 % by {s['p95_decision_latency_steps']:.3f}")
        )
    if s["undecided"]:
        rows.append(("undecided", f"{s['undecided']:,} images: no spike reached the readout"))
    if e.info.exit_rule is not None:
        rows.append(("stopped at", f"{s['mean_duration_steps']:.3f} steps on average"))
    rows.append(("spikes", f"{s['mean_spikes']:,.0f} an image"))
    rows.append(("synaptic events", f"{s['mean_synaptic_events']:,.0f} an image; #OPS {s['normalised_operations']:.3f} of the ANN's"))
    if s["accuracy"] is not None and len(e) > 1:
        rows += [(f"exit {kind}", e.choose_exit(kind)) for kind in e.exit_kinds]
    rows.append(("written", str(e.path)))
    for name, value in rows:
        click.echo(f"{name:16} {printable(value)}")

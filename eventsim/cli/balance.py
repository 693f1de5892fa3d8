"""``python -m eventsim balance``: a network file with biases corrected for short or asynchronous runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from eventsim.cli.calibration import sample_images
from eventsim.cli.names import FILE_NAME, NAME
from eventsim.cli.options import as_json, output, ticks_per_step
from eventsim.cli.progress import image_progress
from eventsim.conversion.rates import MOST_IMAGES
from eventsim.conversion.rebalance import rebalance
from eventsim.files.atomic import check_output
from eventsim.files.printable import echo
from eventsim.job.job import DEFAULT_RESOLUTION
from eventsim.model.netfile import load, save


@click.command()
@click.argument("network", type=FILE_NAME)
@click.option("--calibrate", type=NAME, required=True, help="Data set (its training images) or folder of images that are run.")
@click.option("--steps", type=click.IntRange(1), help="Length of the runs that it is for. Default: what the network recommends, else 100.")
@click.option("--resolution", type=click.IntRange(1), help=f"Ticks per step of them. Default: {DEFAULT_RESOLUTION} (asynchronous).")
@click.option("--clocked", is_flag=True, help="One tick per step.")
@click.option(
    "--against", type=click.IntRange(1), help="Steps of the clocked runs whose rates it is to have. Default: as the network recommends."
)
@click.option("--images", type=click.IntRange(1), default=MOST_IMAGES, show_default=True, help="Run so many; more take as much longer.")
@output("balanced.h5")
@as_json
def balance(
    network: Path,
    calibrate: str,
    steps: int | None,
    resolution: int | None,
    clocked: bool,
    against: int | None,
    images: int,
    output: Path,
    as_json: bool,
) -> None:
    """Correct the biases of NETWORK by its own rates in clocked runs, for runs that are asynchronous or short.

    \b
    Layer by layer, on some images without labels. Examples:
      eventsim balance net.h5 --calibrate cifar-100 --steps 16 -o asynchronous.h5
      eventsim balance net.h5 --calibrate photos/ --clocked --steps 4 --against 64
    """
    ticks = ticks_per_step(resolution, clocked)
    check_output(output, network)
    sample, _, _ = sample_images(calibrate, "train", images)
    assert sample is not None
    with image_progress("balancing", unit="layers") as progress:
        made = rebalance(load(network), sample, steps=steps, resolution=ticks, against=against, most=images, progress=progress)
    save(made.network, output)
    if as_json:
        told = {name: value for name, value in asdict(made).items() if name != "network"}
        click.echo(json.dumps(told | {"network": str(output)}, indent=2))
    else:
        echo(made)
        echo(f"{output}: {output.stat().st_size:,} bytes")

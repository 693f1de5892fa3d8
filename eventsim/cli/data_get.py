"""``python -m eventsim data get``: bring a known data set, or the samples."""

from __future__ import annotations

from pathlib import Path

import click

from eventsim.cli.names import FILE_NAME
from eventsim.cli.progress import download_progress
from eventsim.data.datasets import data_folder
from eventsim.data.download import get as fetch
from eventsim.data.manifest import known_set
from eventsim.data.recording_sets import SIMULATED
from eventsim.data.samples import copy_samples
from eventsim.errors import DatasetError
from eventsim.files.printable import echo


@click.command()
@click.argument("name")
@click.option("--from", "source", type=FILE_NAME, help="Take copies from this folder instead of the network.")
@click.option(
    "--to",
    "target",
    type=FILE_NAME,
    help="Data folder. Default: EVENTSIM_DATA, else a folder in your cache; for samples this folder.",
)
def get(name: str, source: Path | None, target: Path | None) -> None:
    """Get the data set NAME: download it, or copy it from a folder, and verify every file.

    \b
    Files that are there and right are left alone. Examples:
      eventsim data get mnist
      eventsim data get cifar-10 --from ~/Downloads --to data
      eventsim data get samples     (a network and ten digits, for the documentation)
    """
    if name == "samples":
        if source is not None:
            raise click.UsageError("the samples come with eventsim; --from is for data sets")
        for path in copy_samples(target or Path()):
            echo(str(path))
        return
    if name == SIMULATED:
        raise DatasetError(f"{SIMULATED} is made of the digits of mnist when it is asked for; get mnist")
    known = known_set(name)
    with download_progress() as progress:
        fetch(known, data_folder(target), source, echo, progress)
    echo(f"{known.title}: licence {known.licence}; {known.homepage}")

"""``python -m eventsim data``: get known data sets, and say which there are."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eventsim.errors import DatasetError
from eventsim.files.printable import echo

if TYPE_CHECKING:
    from rich.progress import TaskID

    from eventsim.data.download import Progress


@click.group()
def data() -> None:
    """Data sets: get them, or list those that are known and present."""


@data.command()
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Take copies from this folder instead of the network.")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    help="Data folder. Default: EVENTSIM_DATA, else a folder in your cache; for samples this folder.",
)
def get(name: str, source: Path | None, target: Path | None) -> None:
    """Get the data set NAME: download it, or copy it from a folder, and verify every file.

    \b
    Files that are there and right are left alone. Examples:
      eventsim data get mnist
      eventsim data get cifar-10 --from ~/Downloads --to data
      eventsim data get samples          (a network and ten digits that come with eventsim: the documentation's examples run on them)
    """
    if name == "samples":
        if source is not None:
            raise click.UsageError("the samples come with eventsim; --from is for data sets")
        from eventsim.data.samples import copy_samples

        for path in copy_samples(target or Path()):
            echo(str(path))
        return
    from eventsim.data import datasets, download
    from eventsim.data.manifest import known_set

    known = known_set(name)
    with _download_progress() as progress:
        download.get(known, datasets.data_folder(target), source, echo, progress)
    echo(f"{known.title}: licence {known.licence}; {known.homepage}")


@data.command("list")
def list_sets() -> None:
    """List the known data sets: images, size of the download, licence, and where each is present."""
    from eventsim.data import datasets
    from eventsim.data.manifest import known_sets

    rows = [("name", "images", "download", "licence", "present")]
    for known in known_sets().values():
        images = " + ".join(f"{count:,} {split}" for split, count in known.images.items())
        size = f"{known.download_bytes / 1e6:.0f} MB" if known.files else "by hand"
        places: dict[str, list[str]] = {}
        for split in known.images:
            with contextlib.suppress(DatasetError):
                places.setdefault(str(datasets.find(known.name, split)), []).append(split)
        present = "; ".join(
            place if len(splits) == len(known.images) else f"{place} ({', '.join(splits)})" for place, splits in places.items()
        )
        rows.append((known.name, images, size, known.licence, present or "no"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    echo(f"\nLooked for in {datasets.data_folder()} (EVENTSIM_DATA names another folder). `data get NAME` verifies what is present.")


@contextlib.contextmanager
def _download_progress() -> Iterator[Progress | None]:
    """A progress bar over the bytes of each file on a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield show

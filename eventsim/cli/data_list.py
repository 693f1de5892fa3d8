"""``python -m eventsim data list``: the known data sets, and where each is present."""

from __future__ import annotations

import contextlib

import click

from eventsim.data.datasets import data_folder, find
from eventsim.data.manifest import known_sets
from eventsim.data.recording_sets import SIMULATED
from eventsim.errors import DatasetError
from eventsim.files.printable import echo


@click.command("list")
def list_sets() -> None:
    """List the known data sets: images, size of the download, licence, and where each is present."""
    rows = [("name", "images", "download", "licence", "present")]
    for known in known_sets().values():
        images = " + ".join(f"{count:,} {split}" for split, count in known.images.items())
        size = f"{known.download_bytes / 1e6:.0f} MB" if known.files else "by hand"
        places: dict[str, list[str]] = {}
        for split in known.images:
            with contextlib.suppress(DatasetError):
                places.setdefault(str(find(known.name, split)), []).append(split)
        present = "; ".join(
            place if len(splits) == len(known.images) else f"{place} ({', '.join(splits)})" for place, splits in places.items()
        )
        rows.append((known.name, images, size, known.licence, present or "no"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    echo(f"\n{SIMULATED}: simulated recordings of the digits of mnist, made when they are asked for (docs/events.md).")
    echo(f"Looked for in {data_folder()} (EVENTSIM_DATA names another folder). `data get NAME` verifies what is present.")

"""``python -m eventsim data``: get known data sets, and say which there are."""

from __future__ import annotations

import click

from eventsim.cli.lazy import LazyGroup

_COMMANDS = {
    "get": ("eventsim.cli.data_get:get", "Get the data set NAME: download it, or copy it from a folder, and verify every file."),
    "list": (
        "eventsim.cli.data_list:list_sets",
        "List the known data sets: images, size of the download, licence, and where each is present.",
    ),
}


@click.group(cls=LazyGroup, places=_COMMANDS)
def data() -> None:
    """Data sets: get them, or list those that are known and present."""

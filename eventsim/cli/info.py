"""``python -m eventsim info``: what a file holds."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from eventsim.analysis.facts import describe_file
from eventsim.cli.names import FILE_NAME
from eventsim.cli.options import as_json
from eventsim.cli.tables import print_facts


@click.command()
@click.argument("file", type=FILE_NAME)
@as_json
@click.option("--verify", is_flag=True, help="Read all of it and compare it with its check sums.")
def info(file: Path, as_json: bool, verify: bool) -> None:
    """Describe a network file, a trace, an evaluation or an architecture."""
    facts = _architecture(file, verify) if _is_architecture(file) else describe_file(file, verify)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        print_facts(facts)


def _is_architecture(file: Path) -> bool:
    """Whether it is called as an architecture file is, or is no file and has the name of one that is known."""
    if file.suffix == ".toml":
        return True
    return not file.exists() and file.name == str(file) and files("eventsim.hardware.presets").joinpath(f"{file}.toml").is_file()


def _architecture(file: Path, verify: bool) -> dict[str, Any]:
    if verify:
        raise click.UsageError("--verify compares with check sums, and an architecture has none")
    facts: dict[str, Any] = import_module("eventsim.hardware.reading").read_architecture(file).facts()
    return {"file": str(file)} | facts

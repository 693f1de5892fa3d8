"""``python -m eventsim info``: what a file holds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from eventsim.analysis.facts import describe_file
from eventsim.cli.options import as_json
from eventsim.cli.tables import print_facts


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
@click.option("--verify", is_flag=True, help="Read all of it and compare it with its check sums.")
def info(file: Path, as_json: bool, verify: bool) -> None:
    """Describe a network file, a trace or an evaluation."""
    facts = describe_file(file, verify)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        print_facts(facts)

"""``python -m eventsim report``: a run or an evaluation as a page."""

from __future__ import annotations

from pathlib import Path

import click

from eventsim.analysis.report import write_report
from eventsim.cli.names import FILE_NAME, NAME
from eventsim.cli.options import output
from eventsim.files.printable import echo


@click.command()
@click.argument("file", type=FILE_NAME)
@output("report.html")
@click.option("--costs", type=FILE_NAME, help="JSON file with energies per operation in pJ (docs/definitions.md).")
@click.option("--dataset", "-d", type=NAME, help="Images of an evaluation, to show wrong answers. Default: the known set that it names.")
def report(file: Path, output: Path, costs: Path | None, dataset: str | None) -> None:
    """Make one self-contained HTML page of FILE, a trace (run.h5) or an evaluation (eval.h5)."""
    write_report(file, output, costs=costs, dataset=dataset)
    echo(f"{output}: {output.stat().st_size:,} bytes")

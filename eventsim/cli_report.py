"""``python -m eventsim report``: a run or an evaluation as a page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), default="report.html", show_default=True)
def report(file: Path, output: Path) -> None:
    """Make one self-contained HTML page of FILE, a trace (run.h5) or an evaluation (eval.h5)."""
    from eventsim.report import write_report

    write_report(file, output)
    click.echo(f"{output}: {output.stat().st_size:,} bytes")

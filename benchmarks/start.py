"""What a command takes to start, in seconds of the processor: the first run of a machine, a warm run, and what needs no compiler.

    python benchmarks/start.py                         # medians of seven processes each; the first run is made once
    python benchmarks/start.py --beside ../another/checkout --repeats 15      # two checkouts in turn

The first run begins with an empty folder of machine code; a warm one has all that it needs there. Seconds of the processor depend on
what else runs on the machine much less than those that pass.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
RUN = ("run", "networks/lenet-mnist.h5", "--input", "datasets/samples/digit-7.png")
UNTRACED = (*RUN, "--no-trace")
# By name: the command, and the most that it should take.
COMMANDS = {
    "warm run": (UNTRACED, 0.8),
    "warm run with a trace": ((*RUN, "--trace", "{folder}/run.h5"), 0.8),
    "info": (("info", "networks/lenet-mnist.h5"), None),
    "data list": (("data", "list"), None),
    "run --help": (("run", "--help"), None),
    "--help": (("--help",), 0.2),
}
FIRST = 15.0


def seconds(checkout: Path, command: Sequence[str], folder: str) -> tuple[float, float]:
    """Seconds of the processor, and seconds that passed, of a command of a checkout; machine code is kept in a folder."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "NUMBA_CACHE_DIR": folder}
    command = [sys.executable, "-m", "eventsim", *(part.format(folder=folder) for part in command)]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=checkout, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{checkout}: a command failed: {' '.join(command[2:])}: {done.stderr.strip().splitlines()[-1:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - begun


def measured(checkouts: Sequence[Path], repeats: int, first: bool) -> Iterator[tuple[str, list[float], float | None]]:
    """Name, seconds of the processor in each checkout, and the most that they should be; the checkouts take turns."""
    with tempfile.TemporaryDirectory(prefix="eventsim-start-") as folder:
        # A folder of machine code each: that they share none is part of a first run.
        folders = [f"{folder}/{number}" for number in range(len(checkouts))]
        for name in folders:
            os.mkdir(name)
        pairs = list(zip(checkouts, folders, strict=True))
        if first:
            yield "first run", [seconds(checkout, UNTRACED, kept)[0] for checkout, kept in pairs], FIRST
        for name, (command, most) in COMMANDS.items():
            for checkout, kept in pairs:
                seconds(checkout, command, kept)
            rounds = [[seconds(checkout, command, kept)[0] for checkout, kept in pairs] for _ in range(repeats)]
            yield name, [statistics.median(column) for column in zip(*rounds, strict=True)], most


@click.command(help=__doc__.split("\n\n")[0], context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--beside", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another checkout, measured in turn.")
@click.option("--first/--no-first", default=True, help="Measure the first run of a machine, too: it compiles.")
@click.option("--repeats", type=click.IntRange(1), default=7, show_default=True)
def main(beside: Path | None, first: bool, repeats: int) -> None:
    checkouts = [ROOT] if beside is None else [ROOT, beside.resolve()]
    click.echo(f"{'':24}" + "".join(f"{name:>10}" for name in ("here", "beside")[: len(checkouts)]) + f"{'at most':>10}")
    for name, found, most in measured(checkouts, repeats, first):
        click.echo(f"{name:24}" + "".join(f"{value:8.2f} s" for value in found) + ("" if most is None else f"{most:8.1f} s"))


if __name__ == "__main__":
    main()

"""The command line: ``python -m eventsim run|info|convert|balance|data|evaluate|study|report``."""

from __future__ import annotations

import click

from eventsim.cli.errors import OneLineErrors
from eventsim.cli.lazy import LazyGroup

# Where each command is, and the beginning of its help.
_COMMANDS = {
    "balance": (
        "eventsim.cli.balance:balance",
        "Correct the biases of NETWORK by its own rates in clocked runs, for runs that are asynchronous or short.",
    ),
    "convert": (
        "eventsim.cli.convert:convert",
        "Convert MODEL (.onnx, .nir, or a state dict with --architecture) into a spiking network.",
    ),
    "data": ("eventsim.cli.data:data", "Data sets: get them, or list those that are known and present."),
    "evaluate": ("eventsim.cli.evaluate:evaluate", "Run NETWORK on the images of a data set: how accurate, how soon, at what cost."),
    "info": ("eventsim.cli.info:info", "Describe a network file, a trace, an evaluation or an architecture."),
    "report": ("eventsim.cli.report:report", "Make one self-contained HTML page of FILE, a trace (run.h5) or an evaluation (eval.h5)."),
    "run": ("eventsim.cli.run:run", "Run NETWORK on an input: the answer, when it came, and what it cost."),
    "study": ("eventsim.cli.study:study", "Sweep a design choice: accuracy, latency and operations in one table and one plot."),
}


class _Group(OneLineErrors, LazyGroup):
    """All commands."""

    resuming = ("evaluate", "study")


@click.group(cls=_Group, places=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="eventsim", prog_name="eventsim")
def main() -> None:
    """Exact event-driven simulation of binary spiking neural networks."""

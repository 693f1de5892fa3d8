"""Options that several commands have, and how what a user types is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import numpy as np

from eventsim.cli.names import FILE_NAME, NAME
from eventsim.data.recordings.fields import UNITS
from eventsim.data.recordings.fitting import Reading
from eventsim.errors import InputError
from eventsim.files.printable import printable
from eventsim.job.job import DEFAULT_RESOLUTION
from eventsim.model.limits import MAX_STEP_US
from eventsim.model.populations.event_input import POLARITIES

# Of a whole number that is a size.
_MOST_DIGITS = 15

# The options of :data:`reading`.
READING = "window", "downsample", "hot_pixels", "fields", "time_unit"
Command = TypeVar("Command", bound=Callable[..., Any])


def options(*made: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, shown in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(made):
            command = option(command)
        return command

    return decorate


# How recordings are read, and what is done to them.
reading: Callable[[Any], Any] = options(
    click.option("--window", help="Time of a recording that is run, since its first event: START:END, such as 0:300ms."),
    click.option("--downsample", type=click.IntRange(1, 1024), default=1, help="Squares of so many pixels a side of a recording are one."),
    click.option("--hot-pixels", type=click.IntRange(1), help="Leave out pixels with more events a second."),
    click.option("--fields", help="Columns of a recording in an array or HDF5 file: x=NAME,y=NAME,t=NAME,p=NAME."),
    click.option("--time-unit", type=click.Choice(list(UNITS)), help="Of the times there. Default: us, of fractions s."),
)
# What they mean to a network.
event_input: Callable[[Any], Any] = options(
    click.option(
        "--step-us", type=click.IntRange(1, MAX_STEP_US), help="Microseconds of a step of recorded events. Default: the network's."
    ),
    click.option("--polarity", type=click.Choice(POLARITIES), help="What becomes of OFF events. Default: what the network file says."),
)
# What an evaluation, or one of many, runs on.
evaluated: Callable[[Any], Any] = options(
    click.option("--dataset", "-d", type=NAME, required=True, help="Known data set (`data list`), or folder of images or recordings."),
    click.option("--split", default="test", show_default=True),
    click.option("--images", type=click.IntRange(1), help="So many images, spread evenly over the set. Default: all."),
    click.option("--steps", type=click.IntRange(1), help="Length of a run, T. Default: the window, what the network recommends, else 100."),
    click.option("--invert", is_flag=True, help="Take 255 - pixel of the images: MNIST networks expect white on black."),
    click.option("--crop", is_flag=True, help="Cut the images to the network's proportions, in the middle, before they are resized."),
    reading,
    event_input,
)
workers: Callable[[Any], Any] = click.option("--workers", type=click.IntRange(1, 1024), help="Processes, at most. Default: as many as pay.")
# How a trained model's pixels are scaled.
normalisation: Callable[[Any], Any] = options(
    click.option("--mean", help="The model takes (pixel / 255 - mean) / std: numbers with commas."),
    click.option("--std", help="See --mean."),
)
architecture: Callable[[Any], Any] = click.option(
    "--architecture", help="FILE.py:FUNCTION that makes the module of a state dict. The file is run."
)
as_json: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def output(default: str) -> Callable[[Any], Any]:
    """``--output`` of a command that writes a file."""
    return click.option("--output", "-o", type=FILE_NAME, default=default, show_default=True)


def reading_of(given: Mapping[str, Any]) -> Reading:
    """How recordings are read, by the options for that."""
    try:
        return Reading.parsed(*(given[name] for name in READING))
    except InputError as error:
        raise click.UsageError(str(error)) from None


def ticks_per_step(resolution: int | None, clocked: bool) -> int:
    """What ``--resolution`` and ``--clocked`` say together."""
    if clocked and resolution not in (None, 1):
        raise click.UsageError("--clocked means --resolution 1; give one of them")
    return 1 if clocked else DEFAULT_RESOLUTION if resolution is None else resolution


def one_place(given: Mapping[str, Any]) -> None:
    """Refuse two places in which the images are to be run.

    Raises
    ------
    click.UsageError
    """
    if given["workers"] is not None and given["scheduler"] is not None:
        raise click.UsageError("give --workers or --scheduler: a cluster has its own workers")


def numbers(text: str | None, default: float) -> list[float]:
    """Finite numbers with commas."""
    if text is None:
        return [default]
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not np.isfinite(values).all():
        raise click.UsageError(f"{shortened(text)}: expected a finite number, or several with commas")
    return values


def whole_numbers(text: str | None, otherwise: str) -> tuple[int, ...] | None:
    """Whole numbers with commas; ``otherwise`` is the error's message."""
    if text is None:
        return None
    try:
        # (What has more digits than this is no size of anything.)
        if any(len(part.strip()) > _MOST_DIGITS for part in text.split(",")):
            raise ValueError
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(otherwise) from None


def names(text: str) -> str | list[str]:
    """Populations as an option names them: all, none, or names with commas."""
    return text if text in ("all", "none") else [name.strip() for name in text.split(",")]


def shortened(text: str) -> str:
    """What a user typed, for a message."""
    return printable(repr(text if len(text) <= 60 else text[:57] + "..."))

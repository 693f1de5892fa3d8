"""What the programs in this folder have in common: numbers on their command lines, where they write, and how they end."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import eventsim as es
from eventsim.files.atomic import Replacement


def at_least_one(text: str) -> int:
    """A whole number of at least 1, for ``argparse``."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return number


@contextmanager
def ends_in_a_line(interrupted: str = "interrupted; the same command goes on from there") -> Iterator[None]:
    """Bad input, files that cannot be read or written, and Ctrl-C end the program with one line and a non-zero status."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(interrupted) from None
    except es.EventsimError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        raise SystemExit(f"error: {where}{error.strerror or error}") from None


def check_place(file: Path) -> None:
    """Raise OSError if a file could not be written there: before the work that it is for, not after it."""
    Replacement(file).discard()

"""Figures that a command leaves in a folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from eventsim.files.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figures(folder: Path, figures: dict[str, Callable[[], Figure]]) -> Iterator[Path]:
    """Draw figures one after another into a folder that exists, each as ``NAME.svg``; yields the files.

    Raises
    ------
    RunError
        Matplotlib is not installed (by what draws them).
    """
    for name, draw in figures.items():
        picture, file = io.BytesIO(), folder / f"{name}.svg"
        draw().savefig(picture, format="svg")
        write_bytes(file, picture.getvalue())
        yield file

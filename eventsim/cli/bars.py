"""Progress bars on a terminal. Imported when there is one: Rich takes longer to import than most commands to run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
    track,
)

Item = TypeVar("Item")
# Seconds that a run may take before its bar is drawn.
_AFTER = 1.0


def items(outcomes: Iterator[Item], total: int) -> Iterator[Item]:
    """What comes, with a bar over it."""
    yield from track(outcomes, "running", total=total, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def ticks(total: int) -> Iterator[Callable[[int], None]]:
    """A bar over ticks, once a run has taken a while."""
    start = time.monotonic()
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("simulating", total=total)
    try:

        def show(tick: int) -> None:
            if time.monotonic() - start > _AFTER:
                bar.start()
                bar.update(task, completed=tick)

        yield show
    finally:
        bar.stop()


@contextlib.contextmanager
def downloads() -> Iterator[Callable[[str, int, int], None]]:
    """A bar over the bytes of each file."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield show


@contextlib.contextmanager
def images() -> Iterator[Callable[[str, str], Callable[[int, int], None]]]:
    """Makes bars, one below the other; the one of the same unit goes away."""
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True)]
    columns += [TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        shown: dict[str, TaskID] = {}

        def make(what: str, unit: str) -> Callable[[int, int], None]:
            if unit in shown:
                bars.remove_task(shown[unit])
            task = shown[unit] = bars.add_task(what, total=None, rate="")

            def show(done: int, total: int) -> None:
                speed = next(t.speed for t in bars.tasks if t.id == task)
                bars.update(task, completed=done, total=total, rate="" if not speed or not unit else f"{speed:.1f} {unit}/s")

            return show

        yield make

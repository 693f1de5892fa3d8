"""Progress over images: a bar on a terminal, a plain line now and then elsewhere; for the command line and for scripts."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

# Seconds between two lines where there is no terminal.
INTERVAL = 30.0
Progress = Callable[[int, int], None]
Clock = Callable[[], float]


class Lines:
    """Says how far it is, on stderr, at most every :data:`INTERVAL` seconds: what is done within that says nothing.

    Parameters
    ----------
    what : str
    clock : callable
        Seconds.
    """

    def __init__(self, what: str, clock: Clock):
        self._what, self._clock = what, clock
        self._said = self._begin = clock()
        self._before: int | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._before is None:
            # What was done before says nothing about the speed.
            self._before, self._begin = done, self._clock()
        now = self._clock()
        if now - self._said < INTERVAL:
            return
        self._said = now
        line = f"{self._what}: {done:,} of {total:,} images"
        if done > self._before:
            rate = (done - self._before) / (now - self._begin)
            line += f", {rate:.3g} images/s, about {_duration((total - done) / rate)} left"
        print(line, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@contextlib.contextmanager
def image_progress(what: str, clock: Clock = time.monotonic) -> Iterator[Progress]:
    """Progress over images, with rate and estimate: takes (images done, all images)."""
    if not sys.stderr.isatty():
        yield Lines(what, clock)
        return
    with _bars() as bar:
        yield bar(what, "images")


@contextlib.contextmanager
def point_progress(clock: Clock = time.monotonic) -> Iterator[Callable[[str, int, int], Progress]]:
    """Progress over points of a study: called with a point's title, its number (from 1) and the number of points, makes the point's own.

    On a terminal there is a bar for all points as well as one for the images of the current one.
    """
    if not sys.stderr.isatty():
        lines: list[Lines] = []

        def each(title: str, number: int, points: int) -> Progress:
            made = Lines(f"{title} ({number} of {points})", clock)
            if lines:
                # However many short points there are, there is one line in so many seconds.
                made._said = lines.pop()._said
            lines.append(made)
            return made

        yield each
        return
    with _bars() as bar:
        whole: list[Progress] = []

        def each_bar(title: str, number: int, points: int) -> Progress:
            if not whole:
                whole.append(bar("all points", ""))
            current = bar(title, "images")

            def show(done: int, total: int) -> None:
                whole[0](number - 1 if done < total else number, points)
                current(done, total)

            return show

        yield each_bar


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, str], Progress]]:
    """Makes bars, one below the other; the one of the same unit goes away."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TaskID,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True)]
    columns += [TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn()]
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        shown: dict[str, TaskID] = {}

        def make(what: str, unit: str) -> Progress:
            if unit in shown:
                bars.remove_task(shown[unit])
            task = shown[unit] = bars.add_task(what, total=None, rate="")

            def show(done: int, total: int) -> None:
                speed = next(t.speed for t in bars.tasks if t.id == task)
                bars.update(task, completed=done, total=total, rate="" if not speed or not unit else f"{speed:.1f} {unit}/s")

            return show

        yield make

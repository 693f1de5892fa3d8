"""Progress: a bar on a terminal; elsewhere a plain line now and then, over images only. For the command line and for scripts."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, TypeVar

Item = TypeVar("Item")
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
    unit : str
        What is counted.

    Attributes
    ----------
    said : float
        When the last line was, or when this was made.
    """

    def __init__(self, what: str, clock: Clock, unit: str = "images"):
        self._what, self._clock, self._unit = what, clock, unit
        self.said = self._begin = clock()
        self._before: int | None = None
        self._measured = False

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._before is None or (not self._measured and done > self._before):
            # What was done before says nothing about the speed, nor do the first images of now: processes start for them, and compile.
            self._measured, self._before, self._begin = self._before is not None, done, now
        if now - self.said < INTERVAL:
            return
        self.said = now
        line = f"{self._what}: {done:,} of {total:,} {self._unit}"
        if done > self._before:
            rate = (done - self._before) / (now - self._begin)
            line += f", {rate:.3g} {self._unit}/s, about {_duration((total - done) / rate)} left"
        print(line, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@contextlib.contextmanager
def image_progress(what: str, clock: Clock = time.monotonic, unit: str = "images") -> Iterator[Progress]:
    """Progress over images, or what ``unit`` says, with rate and estimate: takes (images done, all images)."""
    if not _on_terminal():
        yield Lines(what, clock, unit)
        return
    with _bars().images() as bar:
        yield bar(what, unit)


@contextlib.contextmanager
def point_progress(clock: Clock = time.monotonic) -> Iterator[Callable[[str, int, int], Progress]]:
    """Progress over points of a study: called with a point's title, its number (from 1) and the number of points, makes the point's own.

    On a terminal there is a bar for all points as well as one for the images of the current one.
    """
    if not _on_terminal():
        lines: list[Lines] = []

        def each(title: str, number: int, points: int) -> Progress:
            made = Lines(f"{title} ({number} of {points})", clock)
            if lines:
                # However many short points there are, there is one line in so many seconds.
                made.said = lines.pop().said
            lines.append(made)
            return made

        yield each
        return
    with _bars().images() as bar:
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


def item_progress(outcomes: Iterator[Item], total: int) -> Iterator[Item]:
    """What comes, with a bar over it on a terminal if there are several."""
    return outcomes if total == 1 or not _on_terminal() else _bars().items(outcomes, total)


def tick_progress(total: int) -> contextlib.AbstractContextManager[Callable[[int], None] | None]:
    """Progress over the ticks of a run: a bar on a terminal, once it has taken a while."""
    return _bars().ticks(total) if _on_terminal() else contextlib.nullcontext()


def download_progress() -> contextlib.AbstractContextManager[Callable[[str, int, int], None] | None]:
    """Progress over the bytes of each file: a bar on a terminal, nothing in a pipe."""
    return _bars().downloads() if _on_terminal() else contextlib.nullcontext()


def _on_terminal() -> bool:
    return sys.stderr.isatty()


def _bars() -> Any:
    """What draws on a terminal."""
    return import_module("eventsim.cli.bars")

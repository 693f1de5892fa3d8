"""Progress bars over images, on a terminal only; for the command line and for scripts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def image_progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar over images on a terminal, with rate and estimate; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True)]
    columns += [TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, rate="")

        def show(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate="" if not speed else f"{speed:.1f} images/s")

        yield show


@contextlib.contextmanager
def point_progress() -> Iterator[Callable[[str], Callable[[int, int], None] | None]]:
    """Makes a progress bar per point; the one before goes away."""
    with contextlib.ExitStack() as stack:

        def each(title: str) -> Callable[[int, int], None] | None:
            stack.pop_all().close()
            return stack.enter_context(image_progress(title))

        yield each

"""One network on one input file after another, here or in processes of their own: what ``eventsim run`` does."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from eventsim.encoding import poisson_network, poisson_rates
from eventsim.errors import InputError
from eventsim.images import read_input
from eventsim.interrupt import DeferredInterrupt
from eventsim.netfile import load
from eventsim.result import Result
from eventsim.simulate import Simulator


@dataclass(frozen=True)
class Settings:
    """What all inputs have in common.

    Attributes
    ----------
    network : Path
    encoding : {"current", "poisson"}
    run : dict
        Keyword arguments of :meth:`Simulator.run`.
    """

    network: Path
    encoding: str
    run: dict[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """Of one input: its result or the error, and remarks on the reading of the input."""

    path: str
    trace: Path | None
    remarks: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    result: Result | None = None


class Runner:
    """A network file, loaded and compiled for many inputs.

    Raises
    ------
    NetworkFileError
        The file is no network.
    InputError
        Poisson encoding of a network that takes no image.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.network = load(settings.network)
        self.simulator = Simulator(poisson_network(self.network) if settings.encoding == "poisson" else self.network)

    def run(self, path: str, trace: Path | None, progress: Callable[[int], None] | None = None) -> Outcome:
        """Run one input; an input that cannot be read or run becomes the outcome's error."""
        outcome, poisson = Outcome(path, trace), self.settings.encoding == "poisson"
        try:
            values, outcome.remarks = read_input(self.network, path)
        except InputError as error:
            outcome.error = str(error)
            return outcome
        try:
            result = self.simulator.run(
                poisson_rates(values, self.network) if poisson else values,  # type: ignore[arg-type]
                trace=trace,
                progress=progress,
                about={"network": str(self.settings.network), "input": path, "encoding": self.settings.encoding},
                **self.settings.run,
            )
        except InputError as error:
            outcome.error = f"{path}: {error}"
        else:
            outcome.result = result
            outcome.summary = result.summary() | {"trace": None if trace is None else str(trace)}
        return outcome


_runner: Runner
_stop: Event


def _start(settings: Settings, stop: Event) -> None:
    global _runner, _stop
    # Ctrl-C is for the parent, which then stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _runner, _stop = Runner(settings), stop
    _runner.simulator.compile(settings.run.get("engine", "auto"))


def _go_on(tick: int = 0) -> None:
    if _stop.is_set():
        raise KeyboardInterrupt


def _run(path: str, trace: Path | None) -> Outcome:
    _go_on()
    outcome = _runner.run(path, trace, _go_on)
    # The summary says it all, and is much less to send.
    outcome.result = None
    return outcome


def run_in_processes(settings: Settings, inputs: list[tuple[str, Path | None]], processes: int) -> Iterator[Outcome]:
    """Outcomes of (input, trace) pairs in their order, so many at a time, each in a process of its own. They carry no result.

    Runs that are under way when the iterator is closed, or when Ctrl-C is pressed, stop where they are (but not the reference engine's).
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(min(processes, len(inputs)), context, initializer=_start, initargs=(settings, stop)) as pool:
        try:
            with DeferredInterrupt() as interrupt:
                futures = [pool.submit(_run, path, trace) for path, trace in inputs]
                for future in futures:
                    interrupt.wait_for_one([future])
                    yield future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)

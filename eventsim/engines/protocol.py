"""What the registry asks of an engine, and what an engine may answer instead of a result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, runtime_checkable

from eventsim.errors import PotentialOverflow
from eventsim.job.job import Counts, Job, Recorder
from eventsim.model.network import Network


class Engine(Protocol):
    """A module that runs networks. All engines give the same result; they differ in what they can run, and in how fast they are."""

    def why_not(self, network: Network) -> str | None:
        """Why the engine cannot run a network, in words for its user, or None if it can."""

    def too_much(self, job: Job) -> str | None:
        """Why the engine cannot run a job of a network that it can run (it is too long, say), or None if it can."""

    def compile_network(self, network: Network) -> Any:
        """What the engine needs to know of a network, once for all its runs."""

    def warm_up(self, job: Job, compiled: Any) -> None:
        """Compile the code that jobs like this one take, or load it from the disk; arguments as for :meth:`run`."""

    def run(self, job: Job, compiled: Any, recorder: Recorder, progress: Callable[[int], None] | None = None, threads: int = 1) -> Counts:
        """Run a job.

        Parameters
        ----------
        job : Job
        compiled
            The job's network, by :meth:`compile_network`.
        recorder : Recorder
            Asked again and again whether it wants spikes: by an exception it may stop the run.
        progress : callable, optional
            Called now and then with the current tick.
        threads : int
            At most; the result does not depend on it.

        Raises
        ------
        PotentialOverflow
            A membrane potential would leave the range of int32.
        LeftToAnother
            The engine cannot finish the run after all.
        RunError
            More steps than the counts have room for.
        """


@runtime_checkable
class Together(Protocol):
    """An engine that can make several runs at once."""

    def run_many(self, jobs: Sequence[Job], compiled: Any) -> list[Counts] | None:
        """The counts of runs whose spikes nobody wants.

        Parameters
        ----------
        jobs : sequence of Job
            They differ in their inputs alone.
        compiled
            As for :meth:`Engine.run`.

        Returns
        -------
        list of Counts or None
            None if they have to be run one by one.
        """


class LeftToAnother(Exception):
    """Another engine has to make the run, from its start; the recorder has the spikes up to the end of tick ``given``."""

    def __init__(self, given: int):
        super().__init__(given)
        self.given = given


def overflow(job: Job, population: str, tick: int) -> PotentialOverflow:
    """The error of a potential that leaves int32 at a tick."""
    return PotentialOverflow(
        f"{population}: a membrane potential leaves the range of 32-bit integers in step {-(-tick // job.resolution)} (tick {tick}); "
        "scale the weights, currents and thresholds down or run fewer steps"
    )


# What compiled engines know of resets.
RESETS = "subtract", "zero"


def unknown_kind(engine: str, network: Network, kinds: Collection[str], resets: Collection[str], advice: str) -> str | None:
    """Why an engine that knows populations of these kinds and with these resets cannot run a network, or None if it can."""
    for name, population in network.populations.items():
        if population.kind not in kinds:
            return f"the {engine} engine does not run {population.kind} populations, and {name} is one; {advice}"
        if population.reset is not None and population.reset not in resets:
            return f"the {engine} engine does not run neurons with reset {population.reset!r}, and {name} has such; {advice}"
    return None


def unknown_table(engine: str, network: Network) -> str | None:
    """Why an engine that compiles tables cannot run a network, or None if it can."""
    for projection in network.projections:
        if projection.table.form is None:
            kind = projection.table.kind
            return f"the {engine} engine does not run {kind} tables, and {projection.name} has one; use engine 'auto'"
    return None

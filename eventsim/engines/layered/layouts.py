"""A network, compiled for the layered engine."""

from __future__ import annotations

from eventsim.engines.layered.pipeline import Plan
from eventsim.engines.layered.populations.registry import KINDS
from eventsim.engines.layered.state import Run
from eventsim.job.job import Job
from eventsim.model.network import Network
from eventsim.model.order import feed_forward_order


class Layouts:
    """A network that this engine can run, compiled for it, and the arrays of its last run."""

    def __init__(self, network: Network):
        order = feed_forward_order(network)
        assert order is not None, "ask why_not first"
        self.network, self.order = network, order
        self.compiled = {name: KINDS[p.kind].compiled(network, name) for name, p in network.populations.items()}
        sources: dict[str, list[str]] = {name: [] for name in order}
        for projection in network.projections:
            sources[projection.target].append(projection.source)
        self.plan = Plan(sources)
        self._idle: list[Run] = []

    def take(self, job: Job) -> Run:
        """The populations of a run that has yet to begin, in the arrays of the last one if they fit."""
        try:
            run = self._idle.pop()
        except IndexError:
            run = None
        if run is None or run.key != Run.key_of(job):
            run = Run(job, self.compiled, self.order)
        return run

    def begin(self, job: Job) -> Run:
        """The populations at the start of a run."""
        run = self.take(job)
        run.begin(job)
        return run

    def end(self, run: Run) -> None:
        """Keep the arrays for the next run."""
        self._idle[:] = [run]

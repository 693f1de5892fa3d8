"""Which engines there are, which of them can run what, and which one does.

Engines are imported when they are first needed: compiled code takes a while to load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Literal, cast

from eventsim.engines.once import Once
from eventsim.engines.protocol import Engine, LeftToAnother, Together
from eventsim.errors import RunError
from eventsim.job.job import Counts, Job, Recorder
from eventsim.model.network import Network

EngineName = Literal["auto", "layered", "queue", "reference"]
# In the order in which "auto" tries them: the fastest first; the last one runs everything.
_MODULES = {
    "layered": "eventsim.engines.layered.engine",
    "queue": "eventsim.engines.queue.engine",
    "reference": "eventsim.engines.reference.loop",
}
ENGINES = ("auto", *_MODULES)


def check_name(engine: str) -> None:
    """Raise RunError unless there is such an engine, or it is "auto"."""
    if engine not in ENGINES:
        raise RunError(f"unknown engine {engine!r}; there are: {', '.join(['auto', *reversed(_MODULES)])}")


@cache
def load(name: str) -> Engine:
    """An engine's module."""
    return cast(Engine, import_module(_MODULES[name]))


class Engines:
    """The engines for one network: each is asked once whether it can run the network, and compiles it once.

    Parameters
    ----------
    network : Network
        Must not be changed afterwards.
    """

    def __init__(self, network: Network):
        self._network = network
        self._refusals: dict[str, str | None] = {}
        self._compiled: dict[str, Any] = {}

    def why_not(self, name: str, job: Job | None = None) -> str | None:
        """Why an engine cannot run the network, or a job of it; None if it can."""
        if name not in self._refusals:
            self._refusals[name] = load(name).why_not(self._network)
        refusal = self._refusals[name]
        return refusal if refusal is not None or job is None else load(name).too_much(job)

    def choose(self, engine: str, job: Job | None = None) -> str:
        """The engine asked for; of "auto" the first one that can run the network, and the job.

        Raises
        ------
        RunError
            There is no such engine, or it cannot; the message says why.
        """
        check_name(engine)
        refusal = None
        for name in _MODULES if engine == "auto" else [engine]:
            refusal = self.why_not(name, job)
            if refusal is None:
                return name
        raise RunError(refusal)

    def compile(self, engine: str = "auto") -> None:
        """Compile the network now rather than in the first run."""
        self.compile_network(self.choose(engine))

    def compile_network(self, name: str) -> Any:
        """The network as an engine takes it. Code is compiled, or loaded from the disk, when a run comes to it."""
        if name not in self._compiled:
            self._compiled[name] = load(name).compile_network(self._network)
        return self._compiled[name]

    def warm_up(self, engine: str, job: Job) -> None:
        """Compile the code that jobs like this one take now, but keep nothing of the network."""
        name = self.choose(engine, job)
        compiled = self._compiled.get(name)
        load(name).warm_up(job, load(name).compile_network(self._network) if compiled is None else compiled)

    def run_many(self, engine: str, jobs: Sequence[Job]) -> list[Counts] | None:
        """The counts of jobs of the network that differ in their inputs alone; None if they have to be run one by one.

        Raises
        ------
        RunError
        """
        name = self.choose(engine, jobs[0])
        module = load(name)
        return module.run_many(jobs, self.compile_network(name)) if isinstance(module, Together) else None

    def run(self, name: str, job: Job, recorder: Recorder, progress: Callable[[int], None] | None = None, threads: int = 1) -> Counts:
        """Run a job of the network by an engine that :meth:`choose` names; see :class:`Engine`. What it leaves, the next one that can runs.

        Raises
        ------
        RunError, PotentialOverflow
        """
        try:
            return load(name).run(job, self.compile_network(name), recorder, progress, threads)
        except LeftToAnother as left:
            once = Once(recorder, progress, left.given)
        names = list(_MODULES)
        after = next(other for other in names[names.index(name) + 1 :] if self.why_not(other, job) is None)
        return self.run(after, job, once, once.reached, threads)

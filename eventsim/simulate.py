"""Run networks: choose the engine, record spikes, and return a :class:`eventsim.record.result.Result`."""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Concatenate, Literal, ParamSpec

import numpy.typing as npt

from eventsim.engines.registry import EngineName, Engines, check_name
from eventsim.errors import RunError
from eventsim.job.job import DEFAULT_MAX_SPIKES, DEFAULT_RESOLUTION, Job
from eventsim.job.preparation import Preparation, default_steps
from eventsim.kernels.compiled import compilation_time
from eventsim.model.digest import network_digest
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.record.potentials import chosen_populations
from eventsim.record.recording import Recording
from eventsim.record.result import Describer, Result, RunInfo, check_settings

P = ParamSpec("P")
MAX_THREADS = 256
_NOT_COMPILING: AbstractContextManager[Callable[[], float]] = nullcontext(float)


class Simulator:
    """Runs one network many times; its tables are compiled once.

    Parameters
    ----------
    network : Network
        Must not be changed afterwards.

    Raises
    ------
    NetworkError
        The network's parts do not fit together.
    """

    def __init__(self, network: Network):
        self.network = network
        self._preparation = Preparation(network)
        self._describer: Describer | None = None
        self._engines = Engines(network)
        self._digest: str | None = None
        self._run_before: set[tuple[str, int]] = set()

    def __repr__(self) -> str:
        return f"Simulator({self.network!r})"

    def run(  # noqa: PLR0913 - public: every setting by its name
        self,
        inputs: Mapping[str, Any] | npt.ArrayLike | None = None,
        *,
        steps: int | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        engine: EngineName = "auto",
        record: Literal["all", "none"] | Iterable[str] = "all",
        potentials: Literal["all", "none"] | Iterable[str] = "none",
        trace: str | os.PathLike[str] | None = None,
        exit_margin: int | None = None,
        exit_potential: int | None = None,
        max_spikes: int = DEFAULT_MAX_SPIKES,
        seed: int = 0,
        threads: int = 1,
        progress: Callable[[int], None] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> Result:
        """Run the network on one input.

        Parameters
        ----------
        inputs : array, mapping or None
            An image (uint8, in the network's input shape), or by population name: currents per step (int array) for a
            driven population, ``(times in steps, neurons)`` for a source of events, rates for a Poisson source, a structured array of
            x, y, t (microseconds from the run's start on) and p for an event input.
        steps : int, optional
            T, the length of the run. Default: what the network recommends (``provenance["steps"]``), else 100.
        resolution : int
            R, ticks per step: 1 is clocked, the default (2**20) asynchronous.
        engine : {"auto", "reference", "queue", "layered"}
            All give the same result. "layered" is the fastest and runs networks without cycles; "auto" takes it where it can,
            otherwise "queue". "reference" is the specification, and slow. A run of "layered" in which a potential leaves int32 is left to
            "queue", which finds where, or that an exit comes before: ``info.settings["engine"]`` says which engine made the result.
        record : {"all", "none"} or iterable of str
            Populations whose spikes are kept: in the result, or in the trace if there is one (the result reads them from there).
        potentials : {"all", "none"} or iterable of str
            Populations whose membrane potentials at the end of every step are kept (:meth:`Result.potentials`), in the trace as well if
            there is one; those of readouts always are. At most 2**27 values in all.
        trace : path-like, optional
            Write spikes and counts to this HDF5 file (docs/trace-format.md), whole or not at all.
        exit_margin, exit_potential : int, optional
            Stop after the first tick at which the largest readout potential exceeds the second by at least this much, or
            is at least this large.
        max_spikes : int
            Stop after the first tick by which neurons have emitted more spikes than this (those of sources are given, and do not count): a
            network that excites itself may never end. The result, and the trace, are whole up to that tick, and say so
            (``counts.stopped``, :attr:`Result.stopped`).
        seed : int
            Of Poisson sources.
        threads : int
            Threads that share the run, with the same result; engine "layered" without an exit rule takes more than one, if there are
            spikes enough to gain by it.
        progress : callable, optional
            Called now and then with the current tick.
        about : mapping, optional
            JSON values kept with the trace, such as the input's name.

        Returns
        -------
        Result

        Raises
        ------
        RunError, InputError, NetworkError
            Settings or inputs that do not make sense.
        PotentialOverflow
            A membrane potential would leave the range of int32.
        TraceError
            The trace cannot be written.
        """
        check_name(engine)
        rule = ExitRule.from_settings(exit_margin, exit_potential)
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
            raise RunError(f"threads must be a whole number in 1..{MAX_THREADS}, found {threads!r}")
        if trace is not None:
            _check_about(about or {})
        recorded, with_potentials = self._recorded(record), chosen_populations(self.network, potentials)
        job = self.prepare(inputs, steps=steps, resolution=resolution, exit_rule=rule, seed=seed, max_spikes=max_spikes)
        chosen = self._engines.choose(engine, job)
        settings = {"engine": chosen, "seed": seed, "max_spikes": job.max_spikes, "recorded": sorted(recorded), **(about or {})}
        if with_potentials:
            settings["potentials"] = with_potentials
        with Recording(job, recorded, with_potentials, trace, threads > 1) as recording, self._compiling(chosen, resolution) as compiling:
            self._engines.compile_network(chosen)
            start = time.perf_counter()
            counts = self._engines.run(chosen, job, recording.recorder, progress, threads)
            # An engine may leave a run to another.
            settings["engine"] = counts.engine
            recording.add_sources(counts)
            settings["wall_seconds"] = time.perf_counter() - start - compiling()
            if trace is not None:
                settings["network_sha256"] = self.digest()
            return recording.result(self.describe(job, settings), counts, inputs)

    def prepare(
        self,
        inputs: Mapping[str, Any] | npt.ArrayLike | None = None,
        *,
        steps: int | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        exit_rule: ExitRule | None = None,
        seed: int = 0,
        max_spikes: int = DEFAULT_MAX_SPIKES,
    ) -> Job:
        """Check everything and compute what a run starts from, without running it; parameters and errors are those of :meth:`run`."""
        if steps is None:
            steps = default_steps(self.network)
        return self._preparation.job(inputs, steps=steps, resolution=resolution, exit_rule=exit_rule, seed=seed, max_spikes=max_spikes)

    def describe(self, job: Job, settings: Mapping[str, Any]) -> RunInfo:
        """The description of a job that goes with its counts; ``settings`` are JSON values kept with it."""
        if self._describer is None:
            self._describer = Describer(self.network)
        return self._describer.describe(job, settings)

    def digest(self) -> str:
        """SHA-256 (hex) of the network, the same for every equal network."""
        if self._digest is None:
            self._digest = network_digest(self.network)
        return self._digest

    def compile(self, engine: EngineName = "auto") -> None:
        """Compile the network's tables now rather than in the first run."""
        self._engines.compile(engine)

    def warm_up(self, job: Job, engine: EngineName = "auto") -> None:
        """Compile the code that runs like this job take (see :meth:`prepare`), or load it from the disk, now rather than in the first run.

        Processes of this machine share it.
        """
        self._engines.warm_up(engine, job)

    def _compiling(self, engine: str, resolution: int) -> AbstractContextManager[Callable[[], float]]:
        """Tells how long the ``with`` block has been compiling code, or loading it: that is not the run's time."""
        if engine == "reference" or (engine, resolution) in self._run_before:
            return _NOT_COMPILING
        return self._first_run(engine, resolution)

    @contextmanager
    def _first_run(self, engine: str, resolution: int) -> Iterator[Callable[[], float]]:
        with compilation_time() as seconds:
            yield seconds
        self._run_before.add((engine, resolution))

    def _recorded(self, record: str | Iterable[str]) -> frozenset[str]:
        if record == "none":
            return frozenset()
        firing = [name for name, p in self.network.populations.items() if p.sends_spikes]
        if record == "all":
            return frozenset(firing)
        names = [record] if isinstance(record, str) else list(record)
        for name in names:
            if name not in firing:
                raise RunError(f"cannot record {name!r}; populations that fire: {', '.join(firing)} (or 'all', 'none')")
        return frozenset(names)


def _once(method: Callable[Concatenate[Simulator, P], Result]) -> Callable[Concatenate[Network, P], Result]:
    """A method of a simulator as a function of a network, with the method's own parameters in its signature and documentation."""

    def run(network: Network, *args: P.args, **kwargs: P.kwargs) -> Result:
        return method(Simulator(network), *args, **kwargs)

    signature = inspect.signature(method)
    first = inspect.Parameter("network", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Network")
    run.__signature__ = signature.replace(parameters=[first, *list(signature.parameters.values())[1:]])  # type: ignore[attr-defined]
    head, line, settings = (inspect.getdoc(method) or "").partition("Parameters\n----------\n")
    run.__doc__ = f"{head.strip()} For many inputs, keep a :class:`Simulator`.\n\n{line}network : Network\n{settings}"
    run.__qualname__ = "run"
    return run


run = _once(Simulator.run)


def _check_about(about: Mapping[str, Any]) -> None:
    """Refuse what a trace could not be read with, before anything is run."""
    try:
        check_settings(json.loads(json.dumps(dict(about))))
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(f"about: not what a trace can keep ({str(error).removeprefix('its description: ')})") from None

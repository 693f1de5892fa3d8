"""Run networks: choose the engine, record spikes, and return a :class:`eventsim.record.result.Result`."""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec

import numpy as np
import numpy.typing as npt

from eventsim.engines.registry import EngineName, Engines, check_name
from eventsim.errors import EventsimError, NetworkError, RunError
from eventsim.job.job import DEFAULT_MAX_SPIKES, DEFAULT_RESOLUTION, Counts, Job, NoRecorder, Recorder
from eventsim.job.preparation import Preparation, default_steps
from eventsim.model.digest import network_digest
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network
from eventsim.record.potentials import chosen_populations
from eventsim.record.recording import Recording, count_sources, image_of
from eventsim.record.result import Describer, Result, RunInfo, check_settings
from eventsim.record.runs import Runs

P = ParamSpec("P")
MAX_THREADS = 256
# Inputs that are run at once, and what of a network they have to share.
_MOST_AT_ONCE, _NEURON_STEPS = 64, 2**22
_NO_RECORDER = NoRecorder()
_NOT_COMPILING: AbstractContextManager[Callable[[], float]] = nullcontext(float)


class _Asked(NamedTuple):
    """What runs have in common beside their jobs."""

    engine: EngineName
    recorded: frozenset[str]
    potentials: list[str]
    seed: int


class Simulator:
    """Runs one network many times; its tables are compiled once.

    Parameters
    ----------
    network : Network
        Must not be changed afterwards.

    Raises
    ------
    NetworkError
        The network's parts do not fit together, or it is no network.
    """

    def __init__(self, network: Network):
        if not isinstance(network, Network):
            raise NetworkError(f"expected a network, found a {type(network).__name__}; eventsim.load(path) reads one from a file")
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
        asked = self._asked(engine, record, potentials, seed)
        rule = ExitRule.from_settings(exit_margin, exit_potential)
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
            raise RunError(f"threads must be a whole number in 1..{MAX_THREADS}, found {threads!r}")
        if trace is not None:
            check_about(about or {})
        job = self.prepare(inputs, steps=steps, resolution=resolution, exit_rule=rule, seed=seed, max_spikes=max_spikes)
        return self._run(job, asked, inputs, trace, progress, threads, about or {})

    def run_many(  # noqa: PLR0913 - public: every setting by its name
        self,
        inputs: Iterable[Mapping[str, Any] | npt.ArrayLike | None],
        *,
        steps: int | None = None,
        resolution: int = DEFAULT_RESOLUTION,
        engine: EngineName = "auto",
        record: Literal["all", "none"] | Iterable[str] = "none",
        potentials: Literal["all", "none"] | Iterable[str] = "none",
        traces: Mapping[int, str | os.PathLike[str]] | None = None,
        exit_margin: int | None = None,
        exit_potential: int | None = None,
        max_spikes: int = DEFAULT_MAX_SPIKES,
        seed: int = 0,
        first: int = 0,
        each: Callable[[int, Result], None] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Runs:
        """Run the network on many inputs, one after the other: each gives the result that :meth:`run` gives, in less time.

        Parameters
        ----------
        inputs : iterable
            Inputs as :meth:`run` takes them: an array of images (uint8, (images, height, width, channels)), or anything else that yields
            one input at a time. What comes later is asked for later: up to 64 inputs are run at once.
        steps, resolution, engine, exit_margin, exit_potential, max_spikes, seed
            As for :meth:`run`, the same for all inputs.
        record : {"all", "none"} or iterable of str
            Populations whose spikes are kept. (For :meth:`run` the default is all of them: those of many runs take much memory.)
        potentials : {"all", "none"} or iterable of str
            Populations whose membrane potentials at the end of every step are kept.
        traces : mapping of int to path-like, optional
            Files to which the inputs of these numbers write their counts, and the spikes and potentials that ``record`` and ``potentials``
            name: without ``record``, none. They are recorded there, and in no memory.
        first : int
            The number of the first input, for those who run a part of many: what ``traces``, ``each`` and errors call it.
        each : callable, optional
            Called with the number and the :class:`Result` of each input. Spikes and potentials are then for it alone, and not kept: any
            number of inputs can be looked at spike by spike.
        progress : callable, optional
            Called with how many inputs are done, after each of them, and now and then within one; an exception that it raises stops the
            runs.

        Returns
        -------
        Runs

        Raises
        ------
        RunError, InputError, NetworkError, PotentialOverflow, TraceError
            As :meth:`run`; the message says which input it is.
        """
        asked = self._asked(engine, record, potentials, seed)
        rule = ExitRule.from_settings(exit_margin, exit_potential)
        steps = default_steps(self.network) if steps is None else steps
        job_of = self._preparation.jobs(steps=steps, resolution=resolution, exit_rule=rule, seed=seed, max_spikes=max_spikes)
        paths = dict(traces or {})
        results: list[Result] = []

        if isinstance(inputs, Mapping) or not isinstance(inputs, Iterable):
            found = "a mapping" if isinstance(inputs, Mapping) else f"{inputs!r}"
            raise RunError(f"run_many takes inputs one after the other, found {found}; give a list of inputs, one for each run")

        def reached(tick: int) -> None:
            if progress is not None:
                progress(len(results))

        for number, result in self._each(enumerate(inputs, first), job_of, asked, paths, reached):
            if each is not None:
                each(number, result)
            results.append(result if each is None else result.without_spikes())
            reached(0)
        if paths:
            raise RunError(f"traces of inputs {sorted(paths)}, but there are only {first}..{first + len(results) - 1}")
        return Runs(self.network, results)

    def _each(
        self,
        inputs: Iterable[tuple[int, Any]],
        job_of: Callable[[Any], Job],
        asked: _Asked,
        traces: dict[int, str | os.PathLike[str]],
        reached: Callable[[int], None],
    ) -> Iterator[tuple[int, Result]]:
        """Number and result of each of the numbered inputs; ``traces`` that are written are taken out."""
        waiting: list[tuple[int, Any, Job]] = []
        # How many to run at once: one at first, which shows whether that is possible.
        most = 0 if asked.recorded or asked.potentials else 1
        for number, given in inputs:
            try:
                waiting.append((number, given, job_of(given)))
            except EventsimError as error:
                yield from self._at_once(waiting, asked) or self._one_by_one(waiting, asked, {}, reached)
                raise _numbered(error, number) from None
            if number not in traces and len(waiting) < most:
                continue
            done = self._at_once(waiting, asked) if most and number not in traces else None
            if done is None:
                yield from self._one_by_one(waiting, asked, traces, reached)
                # What cannot be done with one cannot be done with others. (With many, it may be a single one of them.)
                most = 0 if most == 1 and number not in traces else most
            else:
                yield from done
                most = self._most_at_once(waiting[-1][2])
            waiting = []
        yield from self._at_once(waiting, asked) or self._one_by_one(waiting, asked, {}, reached)

    def _one_by_one(
        self,
        waiting: Iterable[tuple[int, Any, Job]],
        asked: _Asked,
        traces: dict[int, str | os.PathLike[str]],
        reached: Callable[[int], None],
    ) -> Iterator[tuple[int, Result]]:
        for number, given, job in waiting:
            try:
                result = self._run(job, asked, given, traces.pop(number, None), reached, 1, {})
            except EventsimError as error:
                raise _numbered(error, number) from None
            yield number, result

    def _at_once(self, waiting: Sequence[tuple[int, Any, Job]], asked: _Asked) -> list[tuple[int, Result]] | None:
        """The results of these, which record nothing, from one call of an engine; None if none can do that."""
        if not waiting:
            return []
        jobs = [job for _, _, job in waiting]
        with self._compiling("at once", jobs[0].resolution) as compiling:
            start = time.perf_counter()
            try:
                made = self._engines.run_many(asked.engine, jobs)
            except EventsimError:
                # One by one, they say whose error it is.
                return None
            seconds = (time.perf_counter() - start - compiling()) / len(jobs)
        if made is None:
            return None
        results = []
        for (number, given, job), counts in zip(waiting, made, strict=True):
            settings = {"engine": counts.engine, "seed": asked.seed, "max_spikes": job.max_spikes, "recorded": []}
            results.append((number, self._unrecorded(job, settings | {"wall_seconds": seconds}, counts, given)))
        return results

    def _most_at_once(self, job: Job) -> int:
        """How many runs to have at once: as many as stay in the cache, about, and some at most."""
        neurons = sum(population.size for population in self.network.populations.values())
        return max(1, min(_MOST_AT_ONCE, _NEURON_STEPS // (neurons * job.steps)))

    def _asked(self, engine: EngineName, record: str | Iterable[str], potentials: str | Iterable[str], seed: int) -> _Asked:
        """What runs have in common, checked."""
        check_name(engine)
        # (A description is JSON, which knows no integers of NumPy; whether it is a seed at all is checked with the job.)
        plain = int(seed) if isinstance(seed, np.integer) else seed
        return _Asked(engine, self._recorded(record), chosen_populations(self.network, potentials), plain)

    def _run(
        self,
        job: Job,
        asked: _Asked,
        inputs: Any,
        trace: str | os.PathLike[str] | None,
        progress: Callable[[int], None] | None,
        threads: int,
        about: Mapping[str, Any],
    ) -> Result:
        """Run a job, which is that of ``inputs``; other parameters are those of :meth:`run`."""
        chosen = self._engines.choose(asked.engine, job)
        settings = {"engine": chosen, "seed": asked.seed, "max_spikes": job.max_spikes, "recorded": sorted(asked.recorded), **about}
        if asked.potentials:
            settings["potentials"] = asked.potentials
        if not (asked.recorded or asked.potentials or trace is not None or threads > 1):
            # Of small runs, what records them takes a good part.
            return self._unrecorded(job, settings, self._counts(chosen, job, settings, _NO_RECORDER, progress, 1), inputs)
        with Recording(job, asked.recorded, asked.potentials, trace, threads > 1) as recording:
            counts = self._counts(chosen, job, settings, recording.recorder, progress, threads)
            recording.add_sources(counts)
            if trace is not None:
                settings["network_sha256"] = self.digest()
            return recording.result(self.describe(job, settings), counts, inputs)

    def _counts(
        self, engine: str, job: Job, settings: dict[str, Any], recorder: Recorder, progress: Callable[[int], None] | None, threads: int
    ) -> Counts:
        """Run a job by an engine; which one made the counts, and in what time, goes to the ``settings``."""
        with self._compiling(engine, job.resolution) as compiling:
            self._engines.compile_network(engine)
            start = time.perf_counter()
            counts = self._engines.run(engine, job, recorder, progress, threads)
            # An engine may leave a run to another.
            settings["engine"] = counts.engine
            settings["wall_seconds"] = time.perf_counter() - start - compiling()
        return counts

    def _unrecorded(self, job: Job, settings: Mapping[str, Any], counts: Counts, inputs: Any) -> Result:
        """The result of a run of which nothing but the counts is kept."""
        count_sources(job, counts)
        return Result(self.describe(job, settings), counts, {}, image_of(self.network, inputs))

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
        job_of = self._preparation.jobs(steps=steps, resolution=resolution, exit_rule=exit_rule, seed=seed, max_spikes=max_spikes)
        return job_of(inputs)

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
        with import_module("eventsim.kernels.compiled").compilation_time() as seconds:
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


def _numbered(error: EventsimError, number: int) -> EventsimError:
    """The error of an input, with its number."""
    return type(error)(f"input {number}: {error}")


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


def check_about(about: Mapping[str, Any]) -> None:
    """Refuse what a trace could not be read with, before anything is run.

    Raises
    ------
    RunError
        No description, or one whose own words (engine, recorded, ...) are something else.
    """
    try:
        check_settings(json.loads(json.dumps(dict(about))))
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(f"about: not what a trace can keep ({str(error).removeprefix('its description: ')})") from None

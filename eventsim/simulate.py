"""Run networks: choose the engine, record spikes, and return a :class:`eventsim.record.result.Result`."""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec

import numpy as np
import numpy.typing as npt

from eventsim.errors import RunError
from eventsim.job.job import DEFAULT_MAX_SPIKES, DEFAULT_RESOLUTION, Counts, Job, Preparation, Recorder, default_steps
from eventsim.kernels.stencils import Tables, compile_tables
from eventsim.model.exits import ExitRule
from eventsim.model.network import Network, Source, feed_forward_order
from eventsim.record.interrupt import DeferredInterrupt, InterruptibleRecorder
from eventsim.record.potentials import PotentialRecorder, chosen_populations
from eventsim.record.result import Describer, MemoryRecorder, Result, check_settings

if TYPE_CHECKING:
    from eventsim.engines.layered.engine import Layouts

P = ParamSpec("P")
EngineName = Literal["auto", "reference", "queue", "layered"]
MAX_THREADS = 256
ENGINES = ("auto", "reference", "queue", "layered")


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
        self._cyclic: bool | None = None
        self._tables: Tables | None = None
        self._layouts: Layouts | None = None
        self._digest: str | None = None
        self._run_before: set[tuple[EngineName, int]] = set()

    def __repr__(self) -> str:
        return f"Simulator({self.network!r})"

    def run(
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
            driven population, ``(times in steps, neurons)`` for a source of events, rates for a Poisson source.
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
        if engine not in ENGINES:
            raise RunError(f"unknown engine {engine!r}; there are: {', '.join(ENGINES)}")
        rule = ExitRule.from_settings(exit_margin, exit_potential)
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
            raise RunError(f"threads must be a whole number in 1..{MAX_THREADS}, found {threads!r}")
        if trace is not None:
            _check_about(about or {})
        recorded, with_potentials = self._recorded(record), chosen_populations(self.network, potentials)
        if steps is None:
            steps = default_steps(self.network)
        job = self._preparation.job(inputs, steps=steps, resolution=resolution, exit_rule=rule, seed=seed, max_spikes=max_spikes)
        chosen = self._engine(engine)
        settings = {"engine": chosen, "seed": seed, "max_spikes": job.max_spikes, "recorded": sorted(recorded), **(about or {})}
        if with_potentials:
            settings["potentials"] = with_potentials
        with ExitStack() as stack:
            writer = interrupt = reader = None
            recorder: Recorder
            recorder = memory = MemoryRecorder(recorded)
            if trace is not None or threads > 1:
                # Where Ctrl-C might be lost, or leave other threads behind; elsewhere it may strike at once.
                interrupt = stack.enter_context(DeferredInterrupt())
            if trace is not None:
                from eventsim.record.trace import TraceWriter, reopen

                recorder = writer = stack.enter_context(TraceWriter(trace, self.network, job, recorded))
                reader = partial(reopen, Path(trace).absolute(), writer.run_id)
            deriving = stack.enter_context(PotentialRecorder(job, with_potentials, recorder)) if with_potentials else None
            compiling: Callable[[], float] = float  # no time
            if (chosen, resolution) not in self._run_before and chosen != "reference":
                from eventsim.kernels.compiled import compilation_time

                # What is not in the cache yet is compiled as the run comes to it; that is not the run's time.
                compiling = stack.enter_context(compilation_time())
            start = time.perf_counter()
            watched: Recorder = recorder if deriving is None else deriving
            if interrupt is not None:
                watched = InterruptibleRecorder(watched, interrupt)
            counts = self._execute(chosen, job, watched, progress, threads)
            settings["engine"] = counts.engine
            _add_sources(job, counts, recorder)
            settings["wall_seconds"] = time.perf_counter() - start - compiling()
            self._run_before.add((chosen, resolution))
            if writer is not None:
                settings["network_sha256"] = self.digest()
            if self._describer is None:
                self._describer = Describer(self.network)
            kept = {} if deriving is None else deriving.potentials(counts.end_tick, counts.readout)
            result = Result(self._describer.describe(job, settings), counts, memory.collected(), _image(self.network, inputs), reader, kept)
            if writer is not None:
                writer.finish(result)
            return result

    def digest(self) -> str:
        """SHA-256 (hex) of the network, the same for every equal network."""
        if self._digest is None:
            from eventsim.model.digest import network_digest

            self._digest = network_digest(self.network)
        return self._digest

    def compile(self, engine: EngineName = "auto") -> None:
        """Compile the network's tables and the engine's code now rather than in the first run."""
        chosen = self._engine(engine)
        if chosen == "queue":
            if self._tables is None:
                self._tables = compile_tables(self.network)
        elif chosen == "layered":
            from eventsim.engines.layered import engine as layered

            if self._layouts is None:
                self._layouts = layered.Layouts(self.network)
        self.warm_up(engine)

    def warm_up(self, engine: EngineName = "auto") -> None:
        """Compile the engine's code, or load it from the disk, now rather than in the first run. Processes of this machine share it."""
        from eventsim.engines.layered import engine as layered
        from eventsim.engines.queue import engine as queue

        chosen = self._engine(engine)
        if chosen != "reference":
            (queue if chosen == "queue" else layered).warm_up()

    def _engine(self, engine: EngineName) -> EngineName:
        if engine != "auto":
            return engine
        if self._cyclic is None:
            self._cyclic = feed_forward_order(self.network) is None
        return "queue" if self._cyclic else "layered"

    def _execute(self, engine: EngineName, job: Job, recorder: Recorder, progress: Callable[[int], None] | None, threads: int) -> Counts:
        from eventsim.engines.layered import engine as layered
        from eventsim.engines.queue import engine as queue
        from eventsim.engines.reference import loop as reference

        if engine == "reference":
            return reference.run(job, recorder)
        self.compile(engine)
        if engine == "queue":
            assert self._tables is not None
            return queue.run(job, self._tables, recorder, progress)
        assert self._layouts is not None
        return layered.run(job, self._layouts, recorder, progress, threads)

    def _recorded(self, record: str | Iterable[str]) -> frozenset[str]:
        if record == "none":
            return frozenset()
        firing = [name for name, p in self.network.populations.items() if p.kind != "readout"]
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


def _image(network: Network, inputs: Any) -> npt.NDArray[np.uint8] | None:
    """The pixels that a run took, in the network's input shape."""
    if network.input is None or inputs is None or isinstance(inputs, Mapping):
        return None
    return np.array(inputs, np.uint8).reshape(network.input.shape)


def _add_sources(job: Job, counts: Counts, recorder: Recorder) -> None:
    """Count and record the sources' spikes, which engines only deliver."""
    for column, (name, population) in enumerate(job.network.populations.items()):
        if not isinstance(population, Source):
            continue
        at, neurons = job.events[name]
        n = int(np.searchsorted(at, counts.end_tick, side="right"))
        if not n:
            continue
        steps = (at[:n] - 1) // job.resolution
        counts.spikes[:, column] = np.bincount(steps, minlength=len(counts.spikes))
        counts.first_tick[column] = at[0]
        if recorder.wants(name):
            recorder.record(name, at[:n], neurons[:n], np.ones(n, np.int8))

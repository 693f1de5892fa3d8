"""One network on one input file after another, here or in processes of their own: what ``eventsim run`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eventsim.batch.executors import local as processes
from eventsim.batch.inputs import Item, read_by_population, read_input
from eventsim.data.recordings.fitting import Reading
from eventsim.errors import HardwareError, InputError, NetworkError, PotentialOverflow
from eventsim.job.job import MAX_STEPS
from eventsim.job.poisson import poisson_network, poisson_rates
from eventsim.job.preparation import default_steps, recommended_steps
from eventsim.job.recordings import recording_inputs, steps_of, steps_of_window, with_event_input
from eventsim.kernels.interrupt import DeferredInterrupt
from eventsim.model.netfile import load
from eventsim.model.network import Network
from eventsim.model.populations.event_input import Polarity
from eventsim.record.result import Result
from eventsim.simulate import Simulator

if TYPE_CHECKING:
    from eventsim.hardware.hardware import Hardware
    from eventsim.hardware.report import Report

# Settings of a run that a closed one has too.
CLOSED = "steps", "seed", "max_spikes", "exit_margin", "exit_potential", "record"
# An input, or files by population (none for a network that takes no input).
Source = Item | dict[str, str]


@dataclass(frozen=True)
class Settings:
    """What all inputs have in common.

    Attributes
    ----------
    network : Path
    encoding : {"current", "poisson"}
    invert, crop : bool
        Of images in files; see :func:`eventsim.data.images.fit_image`.
    run : dict
        Keyword arguments of :meth:`Simulator.run`, but threads.
    hardware : str or None
        An architecture file, or the name of one: what the runs take on it is computed too.
    closed : bool
        What the runs take on it changes when spikes happen; see :meth:`eventsim.Hardware.run`.
    reading : Reading
        Of recordings.
    step_us : int or None
        Microseconds of a step of recordings. None: what the network file says.
    polarity : {"split", "merge", "sign"} or None
        Likewise.
    sana_fe : Path or None
        A folder: network, input and architecture are written there for SANA-FE.
    """

    network: Path
    encoding: str
    invert: bool = False
    crop: bool = False
    run: dict[str, Any] = field(default_factory=dict)
    hardware: str | None = None
    closed: bool = False
    reading: Reading = field(default_factory=Reading)
    step_us: int | None = None
    polarity: Polarity | None = None
    sana_fe: Path | None = None

    def load(self) -> Network:
        """The network; see :func:`network_of`."""
        return network_of(self.network, self.step_us, self.polarity)

    def recorded(self) -> dict[str, Any]:
        """The settings of recordings that are not the usual ones: JSON values, for a trace."""
        settings = {"step_us": self.step_us, "polarity": self.polarity, **self.reading.facts()}
        return {key: value for key, value in settings.items() if value is not None}

    def on_hardware(self) -> dict[str, Any]:
        """Of a run that the hardware changes: which, and how."""
        return {"hardware": {"file": self.hardware, "closed": self.closed}}


def network_of(network: Network | str | os.PathLike[str], step_us: int | None, polarity: Polarity | None) -> Network:
    """A network, or that of a file, with steps and polarities of recordings as they are asked for.

    Raises
    ------
    NetworkFileError
    InputError
        The network takes no recordings.
    """
    net = network if isinstance(network, Network) else load(network)
    if step_us is None and polarity is None:
        return net
    try:
        return with_event_input(net, step_us, polarity)
    except (InputError, NetworkError) as error:
        raise InputError(str(error) if isinstance(network, Network) else f"{os.fspath(network)}: {error}") from None


@dataclass
class Outcome:
    """Of one input: its result or the error, what it takes on hardware, and remarks on the reading of the input."""

    path: str
    trace: Path | None
    remarks: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    result: Result | None = None
    report: Report | None = None


class Runner:
    """A network file, loaded and compiled for many inputs.

    Raises
    ------
    NetworkFileError
        The file is no network.
    InputError
        Poisson encoding of a network that takes no image.
    HardwareError
        No architecture, or the network does not fit it.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.network = settings.load()
        self.simulator = Simulator(poisson_network(self.network) if settings.encoding == "poisson" else self.network)
        if (settings.invert or settings.crop) and self.network.input is None:
            raise InputError(f"{settings.network}: takes no image; inverting and cropping (--invert, --crop) is for image files")
        self._kept: tuple[Source, tuple[Any, Any, list[str]] | InputError] | None = None
        self.hardware: Hardware | None = None
        if settings.hardware is not None:
            # Runs that need none do without loading it.
            self.hardware = import_module("eventsim.hardware.hardware").Hardware(settings.hardware)
            self.hardware.place(self.simulator.network)
            own = settings.run.get("engine", "auto") != "auto" or settings.run.get("potentials", "none") not in ("none", [], ())
            if self.hardware.changes_spikes and own:
                raise HardwareError(f"{settings.hardware}: its converters make another run of it; leave out --engine and --potentials")

    def expected_steps(self, source: Source) -> int:
        """Length of the run on an input, which is kept for that; the default if it cannot be read."""
        if self.settings.run.get("steps") is None and recording_inputs(self.network):
            try:
                found = self._read(source)
                self._kept = source, found
                return self.steps(found[0])
            except InputError as error:
                # What is wrong with it is kept, too: a pipe is not read twice.
                self._kept = source, error
        return self.steps(None)

    def _read(self, source: Source) -> tuple[Any, Any, list[str]]:
        """What a run is given, how it is called, and remarks on it."""
        if self._kept is not None and self._kept[0] == source:
            if isinstance(self._kept[1], InputError):
                raise self._kept[1]
            return self._kept[1]
        values: Any = None
        about: Any = None
        remarks: list[str] = []
        if isinstance(source, Item):
            values, remarks = read_input(self.network, source, self.settings.invert, self.settings.crop, self.settings.reading)
            about = "-" if source.path == "-" else str(source)
        elif source:
            (values, remarks), about = read_by_population(self.network, source, self.settings.reading), source
        return values, about, remarks

    def steps(self, values: Any) -> int:
        """Length of a run on what was read: as is asked for, the window of time, what the network recommends, or the recording's."""
        steps = self.settings.run.get("steps")
        if steps is not None:
            return int(steps)
        window = steps_of_window(self.network, self.settings.reading.length)
        return window or recommended_steps(self.network) or steps_of(self.network, values) or default_steps(self.network)

    def _left_out(self, values: Any, steps: int) -> list[str]:
        """Remarks on events after the run's end."""
        given = values if isinstance(values, Mapping) else {}
        late = {name: given[name]["t"] > steps * p.step_us for name, p in recording_inputs(self.network).items() if name in given}
        # (As near to the last tick as float64 rounding, they are within it.)
        end = steps + 4 * np.spacing(float(steps))
        late |= {name: events[0] > end for name, events in given.items() if self.network.populations[name].input_kind == "events"}
        counted = [(name, int(np.count_nonzero(which))) for name, which in late.items()]
        return [f"{name}: {number:,} events after the last of {steps:,} steps are left out" for name, number in counted if number]

    def _encoded(self, values: Any) -> Any:
        """What the simulator takes: of an image that drives Poisson sources, their rates."""
        return poisson_rates(values, self.network) if self.settings.encoding == "poisson" else values

    def warm_up(self, source: Source) -> None:
        """Compile the code that runs of inputs like this one take, if it can be read; processes share it."""
        settings = {key: value for key, value in self.settings.run.items() if key in ("steps", "resolution", "seed", "max_spikes")}
        with suppress(InputError):
            values = self._read(source)[0]
            job = self.simulator.prepare(self._encoded(values), **settings | {"steps": self.steps(values)})
            self.simulator.warm_up(job, self.settings.run.get("engine", "auto"))

    def run(self, source: Source, trace: Path | None, progress: Callable[[int], None] | None = None, threads: int = 1) -> Outcome:
        """Run one input; an input that cannot be read or run becomes the outcome's error."""
        name = str(source) if isinstance(source, Item) else " ".join("=".join(pair) for pair in source.items()) or "no input"
        outcome = Outcome(name, trace)
        try:
            values, about, outcome.remarks = self._read(source)
            steps = self.steps(values)
        except InputError as error:
            named = str(error).startswith(name) or not isinstance(source, Item)
            outcome.error = str(error) if named else f"{source}: {error}"
            return outcome
        if steps <= MAX_STEPS:
            outcome.remarks = [*outcome.remarks, *self._left_out(values, steps)]
        # Options that are off are not worth a word.
        kept = {name: True for name in ("invert", "crop") if getattr(self.settings, name)} | self.settings.recorded()
        if self.hardware is not None and (self.settings.closed or self.hardware.changes_spikes):
            kept |= self.settings.on_hardware()
        try:
            noted = {"network": str(self.settings.network), "input": about, "encoding": self.settings.encoding, **kept}
            self._write_sana_fe(values, steps, outcome)
            given: dict[str, Any] = {"trace": trace, "progress": progress, "about": noted}
            if self.hardware is not None and self.hardware.changes_spikes and not self.settings.closed:
                settings = {key: value for key, value in self.settings.run.items() if key in (*CLOSED, "resolution")} | {"steps": steps}
                result, outcome.report = self.hardware.run(self.simulator.network, self._encoded(values), **given, **settings)
            elif self.settings.closed:
                outcome.report, result = self._run_closed(self._encoded(values), outcome, given, steps)
            else:
                result = self.simulator.run(self._encoded(values), threads=threads, **given, **self.settings.run | {"steps": steps})
        except (InputError, PotentialOverflow) as error:
            outcome.error = f"{source}: {error}" if isinstance(source, Item) else str(error)
        else:
            outcome.result = result
            if self.hardware is not None and outcome.report is None:
                outcome.report = self.hardware.replay(self.simulator.network, result)
            outcome.summary |= result.summary() | {"trace": None if trace is None else str(trace)}
            if outcome.report is not None:
                outcome.summary["hardware"] = outcome.report.summary()
        return outcome

    def _write_sana_fe(self, values: Any, steps: int, outcome: Outcome) -> None:
        """Write the files for SANA-FE, if that is asked for: before anything is run, so that what cannot be written is said at once."""
        folder = self.settings.sana_fe
        if folder is None or self.hardware is None:
            return
        seed = self.settings.run.get("seed", 0)
        written = self.hardware.write_sana_fe(self.simulator.network, self._encoded(values), folder, steps=steps, seed=seed)
        outcome.remarks = [*outcome.remarks, *(f"{folder} does not say: {loss}" for loss in written.losses)]
        outcome.summary["sana_fe"] = {"folder": str(folder), "steps": written.steps, "begins": written.begins, "groups": written.names}

    def _run_closed(self, inputs: Any, outcome: Outcome, given: dict[str, Any], steps: int) -> tuple[Report, Result]:
        """A closed run, compared with the ordinary one."""
        assert self.hardware is not None
        network, resolution = self.simulator.network, self.hardware.closed_resolution
        settings = {key: value for key, value in self.settings.run.items() if key in CLOSED} | {"steps": steps}
        result, report = self.hardware.run(network, inputs, closed=True, **given, **settings)
        ordinary = self.simulator.run(inputs, resolution=resolution, **{key: value for key, value in settings.items() if key != "record"})
        outcome.summary["moved"] = import_module("eventsim.hardware.moved").moved(ordinary, result)
        return report, result


_runner: Runner


def _start(settings: Settings) -> None:
    global _runner
    _runner = Runner(settings)


def _run(source: Source, trace: Path | None) -> Outcome:
    outcome = _runner.run(source, trace, processes.check)
    # The summary says it all, and is much less to send.
    outcome.result = outcome.report = None
    return outcome


def run_in_processes(settings: Settings, inputs: Sequence[tuple[Source, Path | None]], count: int) -> Iterator[Outcome]:
    """Outcomes of (input, trace) pairs in their order, so many at a time, each in a process of its own. They carry no result.

    Runs that are under way when the iterator is closed, or when Ctrl-C is pressed, stop where they are (but not the reference engine's).
    """
    advice = "what is written is whole; with fewer --threads, the same command needs less memory"
    with processes.pool(min(count, len(inputs)), advice, _start, settings) as pool, DeferredInterrupt() as interrupt:
        futures = [pool.submit(_run, source, trace) for source, trace in inputs]
        for future in futures:
            interrupt.wait_for_one([future])
            yield future.result()

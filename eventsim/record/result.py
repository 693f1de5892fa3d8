"""What a run leaves: its description, its counts, and its spikes; the analysis that a result and a trace share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eventsim.errors import RunError
from eventsim.job.job import MAX_STEPS, MAX_TICKS, Counts, Job
from eventsim.model.exits import EXIT_KINDS
from eventsim.model.limits import MAX_NEURONS
from eventsim.model.network import Network
from eventsim.model.populations.population import CLOCKS
from eventsim.model.populations.source import EMITS
from eventsim.model.registry import POPULATIONS, TABLES
from eventsim.model.tables import IntArray, Shape
from eventsim.record.potentials import Potentials

if TYPE_CHECKING:
    import neo
    import pandas as pd


@dataclass(frozen=True)
class PopulationInfo:
    """A population as a run saw it. ``emits`` is empty unless it is a source."""

    name: str
    kind: str
    shape: Shape
    signed: bool
    emits: str

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))

    @property
    def sends_spikes(self) -> bool:
        """Whether it sends spikes, rather than being a readout."""
        return POPULATIONS[self.kind].sends_spikes

    @property
    def fires(self) -> bool:
        """Whether it sends spikes of its own making rather than given ones."""
        return POPULATIONS[self.kind].fires

    @property
    def reads_out(self) -> bool:
        """Whether its potentials are kept at the end of every step."""
        return POPULATIONS[self.kind].reads_out

    @property
    def decays(self) -> int:
        """Decays of each neuron in a step: of its potential, and of its synaptic current."""
        return POPULATIONS[self.kind].decays

    @property
    def is_clock(self) -> bool:
        """Whether it is a bias clock, whose spikes and operations are counted apart."""
        return self.emits in CLOCKS


@dataclass(frozen=True)
class ProjectionInfo:
    """A projection as a run saw it.

    Attributes
    ----------
    synapses : int
        Exact borders, before pooling is fused.
    macs : int
        Multiply-accumulates of the layer in the dense source network, padding included.
    binary : bool
        One magnitude of weight.
    bias : bool
        Comes from a bias clock; listed apart in counts.
    """

    name: str
    source: str
    target: str
    table: str
    delay: float
    synapses: int
    macs: int
    binary: bool
    bias: bool

    @property
    def compares(self) -> bool:
        """Whether it has no weights: its spikes are compared (what counts as synaptic events of it), and nothing is added."""
        return self.table in TABLES and not TABLES[self.table].weighted

    @property
    def apart(self) -> bool:
        """Whether totals of synaptic events leave it out: a bias, or comparisons."""
        return self.bias or self.compares


@dataclass(frozen=True)
class EncoderInfo:
    """The convolution or matrix that made a driven population's currents, once per input.

    Attributes
    ----------
    macs : int
        Padding included.
    synapses : int
        Exact borders.
    effective : int
        Synapses with a weight and an input value that are not zero.
    """

    population: str
    macs: int
    synapses: int
    effective: int


@dataclass(frozen=True)
class RunInfo:
    """Settings of a run and the parts of its network.

    Attributes
    ----------
    steps, resolution : int
        T and R as asked for.
    populations, projections, encoders : list
    output : str or None
        The readout that decides.
    labels : list of str
        Of the output's neurons, or empty.
    exit_rule : dict or None
        ``{"kind": ..., "threshold": ...}``.
    settings : dict
        Engine, seed, wall time and what else the caller noted (JSON values).
    """

    steps: int
    resolution: int
    populations: list[PopulationInfo]
    projections: list[ProjectionInfo]
    encoders: list[EncoderInfo]
    output: str | None
    labels: list[str]
    exit_rule: dict[str, Any] | None
    settings: dict[str, Any] = field(default_factory=dict)


def read_info(raw: Mapping[str, Any]) -> RunInfo:
    """A description from its JSON values; raises TypeError, KeyError, AttributeError or ValueError if they are none."""
    info = RunInfo(
        **dict(raw)
        | {
            "populations": [PopulationInfo(**p | {"shape": tuple(p["shape"])}) for p in raw["populations"]],
            "projections": [ProjectionInfo(**p) for p in raw["projections"]],
            "encoders": [EncoderInfo(**e) for e in raw["encoders"]],
        }
    )
    _check_info(info)
    return info


# What settings are where there are any; others are shown as they are, and not calculated with.
_TEXT, _NUMBER = (str, type(None)), (int, float, type(None))
_SETTINGS: dict[str, tuple[type, ...]] = {
    "network": _TEXT, "input": (*_TEXT, dict), "network_sha256": _TEXT, "engine": _TEXT, "eventsim": _TEXT, "dataset": _TEXT,
    "split": _TEXT, "encoding": _TEXT, "selection": _TEXT, "provenance": (dict,), "hardware": (dict,),
    "start_levels": (dict,), "recorded": (list,), "max_spikes": (int,),
    "seed": _NUMBER, "wall_seconds": _NUMBER, "truth": _NUMBER, "images": _NUMBER, "dataset_images": _NUMBER, "image": _NUMBER,
}  # fmt: skip


def _check_info(info: RunInfo) -> None:
    def require(right: bool, what: str) -> None:
        if not right:
            raise ValueError(f"its description: {what}")

    def whole(value: object, low: int, high: int = 2**63 - 1) -> bool:
        return type(value) is int and low <= value <= high

    sizes = whole(info.steps, 1, MAX_STEPS) and whole(info.resolution, 1, MAX_TICKS) and info.steps * info.resolution <= MAX_TICKS
    require(sizes, "steps and resolution")
    names = [p.name for p in info.populations]
    require(all(type(name) is str for name in names), "names of populations")
    require(len(set(names)) == len(names), "two populations of one name")
    for p in info.populations:
        require(type(p.kind) is str and p.kind in POPULATIONS and p.emits in ("", *EMITS), f"kind of {p.name}")
        require(1 <= len(p.shape) <= 3 and all(whole(n, 1, MAX_NEURONS) for n in p.shape) and type(p.signed) is bool, f"shape of {p.name}")
    require(sum(math.prod(p.shape) for p in info.populations) <= MAX_NEURONS, f"more than {MAX_NEURONS:,} neurons")
    for q in info.projections:
        require(type(q.name) is str and type(q.table) is str and {q.source, q.target} <= set(names), "projections")
        require(type(q.delay) in (int, float) and 0 <= q.delay <= 2**31, f"delay of {q.name}")
        require(whole(q.synapses, 0) and whole(q.macs, 0) and type(q.binary) is type(q.bias) is bool, f"sizes of {q.name}")
    for e in info.encoders:
        require(e.population in names and all(whole(n, 0) for n in (e.macs, e.synapses, e.effective)), "encoders")
    outputs = [p.name for p in info.populations if p.reads_out]
    require(info.output is None or info.output in outputs, "output")
    require(type(info.labels) is list and all(type(label) is str for label in info.labels), "labels")
    rule = info.exit_rule
    if rule is not None:
        require(set(rule) == {"kind", "threshold"} and rule["kind"] in EXIT_KINDS, "exit rule")
        require(type(rule["threshold"]) is int, "threshold of the exit rule")
    require(type(info.settings) is dict, "settings")
    check_settings(info.settings)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ValueError if settings (JSON values) are not what those who read them expect under these names."""
    for name, types in _SETTINGS.items():
        value = settings.get(name)
        if name in settings and (not isinstance(value, types) or (type(value) is float and not math.isfinite(value))):
            raise ValueError(f"its description: setting {name!r}")


class Spikes(NamedTuple):
    """Spikes of one population, by tick and then by neuron.

    Attributes
    ----------
    ticks : int64 array
    neurons : int64 array
    signs : int8 array
        +1, or -1 for a spike taken back by a signed neuron.
    """

    ticks: IntArray
    neurons: IntArray
    signs: IntArray


NO_SPIKES = Spikes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int8))


class MemoryRecorder:
    """Keeps the spikes of chosen populations in memory."""

    def __init__(self, populations: Iterable[str]):
        self._parts: dict[str, list[Spikes]] = {name: [] for name in populations}

    def wants(self, population: str) -> bool:
        """Whether the population is one of the chosen."""
        return population in self._parts

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """Keep copies of the arrays."""
        self._parts[population].append(Spikes(np.array(ticks, np.int64), np.array(neurons, np.int64), np.array(signs, np.int8)))

    def collected(self) -> dict[str, Spikes]:
        """All spikes by population."""
        return {name: _joined(parts) for name, parts in self._parts.items()}


def _joined(parts: list[Spikes]) -> Spikes:
    if len(parts) > 1:
        return Spikes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return parts[0] if parts else NO_SPIKES


def decisions(potentials: IntArray, arrivals: IntArray) -> IntArray:
    """The decision at the end of each step: int64 (..., steps), -1 where there is none yet.

    Parameters
    ----------
    potentials : int64 array (..., steps, neurons)
        Of the output.
    arrivals : int64 array (..., steps)
        Spikes that reached it. Until there are any, initial potentials that differ decide: those of the first step's end, however they
        leak later.
    """
    reached = np.cumsum(arrivals, -1) > 0
    differ = (potentials.min(-1) < potentials.max(-1))[..., :1]
    return np.where(reached | differ, potentials.argmax(-1), -1)


class Run:
    """The description and the counts of a run, and what follows from them. Base of :class:`Result` and ``Trace``.

    Attributes
    ----------
    info : RunInfo
    counts : Counts
    """

    def __init__(self, info: RunInfo, counts: Counts):
        self.info = info
        self.counts = counts

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._in_brief()}>"

    def _in_brief(self) -> str:
        parts = []
        if self.label is not None:
            parts.append(f"answer {self.label!r}" + ("" if self.decision_latency is None else f" decided at {self.decision_latency:.3f}"))
        parts.append(f"{self.duration:.4g} of {self.info.steps} steps, {self.info.resolution:,} ticks each")
        parts.append(f"{self.total_spikes:,} spikes, {self.total_synaptic_events:,} synaptic events")
        return "; ".join(parts)

    @property
    def image(self) -> npt.NDArray[np.uint8] | None:
        """The image that the network was given: uint8 (height, width, channels); None for other inputs."""
        raise NotImplementedError

    @property
    def recorded(self) -> list[str]:
        """Populations whose spikes were recorded, in the network's order."""
        raise NotImplementedError

    @property
    def duration(self) -> float:
        """Simulated time in steps: T, or the time of the early exit."""
        return self.counts.end_tick / self.info.resolution

    @property
    def decision(self) -> int | None:
        """Index of the largest readout potential at the end (lowest index of a tie).

        None without a readout, and where no spike reached it whose initial potentials are all the same.
        """
        return self.counts.decision

    @property
    def label(self) -> str | None:
        """Name of the decision: its label, or its index as text."""
        return None if self.decision is None else self.label_of(self.decision)

    def label_of(self, neuron: int) -> str:
        """Name of an output neuron, its number where it has none (as of a data set with fewer classes than the network)."""
        return self.info.labels[neuron] if 0 <= neuron < len(self.info.labels) else str(neuron)

    @property
    def decision_latency(self) -> float | None:
        """First time (steps) from which the decision never changes again, None without a decision.

        There is no decision before the first spike reaches the readout, unless its initial potentials differ. None as well in traces of
        version 1 that call the decision made at tick 1, before anything need have reached the readout.
        """
        return None if self.counts.decision_tick is None else self.counts.decision_tick / self.info.resolution

    def decision_over_time(self) -> IntArray:
        """The decision at the end of each step: int64 (steps,), -1 where there is none yet.

        Raises
        ------
        RunError
            The network has no output readout.
        """
        potentials = self.readout
        if potentials is None:
            raise RunError("the network has no output readout, so it decides nothing")
        arriving = [i for i, p in enumerate(self.info.projections) if p.target == self.info.output]
        return decisions(potentials, self.counts.deliveries[:, arriving].sum(1))

    @property
    def exit_latency(self) -> float | None:
        """Time (steps) of the early exit, None if the run went to its end."""
        return self.duration if self.counts.exited else None

    @property
    def stopped(self) -> str | None:
        """Why the run stopped before its end, early exits apart: "max_spikes" (more spikes than that were made), or None."""
        return self.counts.stopped

    @property
    def readout(self) -> IntArray | None:
        """Output potentials at the end of each step: int64 (steps, neurons); the last row is the end of the run."""
        return None if self.info.output is None else self.counts.readout[self.info.output]

    def top(self, n: int = 5) -> list[tuple[int, str, int]]:
        """The n largest output potentials at the end: (neuron, label, potential), best first."""
        if self.readout is None:
            return []
        final = self.readout[-1]
        best = np.argsort(-final, kind="stable")[:n]
        return [(int(i), self.label_of(int(i)), int(final[i])) for i in best]

    def first_spike_latency(self) -> dict[str, float | None]:
        """Time (steps) of the first spike of each population, None if it never fired."""
        return {
            p.name: tick / self.info.resolution if tick else None
            for p, tick in zip(self.info.populations, self.counts.first_tick.tolist(), strict=True)
        }

    def spikes_per_population(self) -> dict[str, int]:
        """Number of spikes (of either sign) of each population."""
        return {p.name: int(n) for p, n in zip(self.info.populations, self.counts.spikes.sum(0), strict=True)}

    @property
    def total_spikes(self) -> int:
        """Spikes of all populations but the bias clocks."""
        return sum(n for p, n in zip(self.info.populations, self.counts.spikes.sum(0).tolist(), strict=True) if not p.is_clock)

    def _of_synapses(self, counts: IntArray) -> int:
        return sum(n for p, n in zip(self.info.projections, counts.sum(0).tolist(), strict=True) if not p.apart)

    @property
    def total_synaptic_events(self) -> int:
        """Synaptic events of all projections but the bias clocks' and those that are compared."""
        return self._of_synapses(self.counts.synaptic_events)

    @property
    def total_additions(self) -> int:
        """Additions performed in all projections but the bias clocks'."""
        return self._of_synapses(self.counts.additions)

    def population(self, name: str) -> PopulationInfo:
        """A population's description.

        Raises
        ------
        RunError
            There is none of this name.
        """
        for p in self.info.populations:
            if p.name == name:
                return p
        raise RunError(f"no population {name!r}; there are: {', '.join(p.name for p in self.info.populations)}")

    def positions(self, population: str, neurons: IntArray) -> IntArray:
        """(y, x, channel) of neurons: int64 (neurons, 3). Neurons without a place have y = x = 0.

        Raises
        ------
        RunError
            No such population or neuron.
        """
        shape = self.population(population).shape
        dims = (1, 1, *shape) if len(shape) == 1 else shape
        neurons = np.asarray(neurons, np.int64)
        if neurons.size and (neurons.min() < 0 or neurons.max() >= np.prod(dims)):
            raise RunError(f"{population}: neurons must be 0..{np.prod(dims) - 1}")
        return np.stack(np.unravel_index(neurons, dims), axis=-1).astype(np.int64)

    def spikes(self, population: str, start: float = 0, stop: float | None = None) -> Spikes:
        """Spikes of a population with ``start < time <= stop`` (steps, float64); the time of a spike is ``tick / R``.

        Raises
        ------
        RunError
            No such population, or its spikes were not recorded; no such window.
        TraceError
            The trace that holds the spikes cannot be read, or has been replaced by another run's.
        """
        raise NotImplementedError

    def spike_blocks(self, population: str, start: float = 0, stop: float | None = None) -> Iterator[Spikes]:
        """The spikes of :meth:`spikes`, in their order, a part at a time: for more than fit in memory."""
        yield self.spikes(population, start, stop)

    def spike_counts(self, population: str, start: float = 0, stop: float | None = None) -> IntArray:
        """Net spikes (positive minus negative) of each neuron in a time window (steps): int64, in the population's shape."""
        shape = self.population(population).shape
        counts = np.zeros(int(np.prod(shape)), np.int64)
        for spikes in self.spike_blocks(population, start, stop):
            np.add.at(counts, spikes.neurons, spikes.signs)
        return counts.reshape(shape)

    def to_pandas(self, population: str, start: float = 0, stop: float | None = None) -> pd.DataFrame:
        """Spikes as a table with columns time (steps), tick, neuron, y, x, channel, sign; needs pandas.

        Raises
        ------
        RunError, TraceError
            pandas is not installed, or as :meth:`spikes`.
        """
        try:
            import pandas as pd
        except ImportError:
            raise RunError("to_pandas needs pandas; install eventsim[analysis]") from None
        spikes = self.spikes(population, start, stop)
        y, x, channel = self.positions(population, spikes.neurons).T
        return pd.DataFrame(
            {
                "time": spikes.ticks / self.info.resolution,
                "tick": spikes.ticks,
                "neuron": spikes.neurons,
                "y": y,
                "x": x,
                "channel": channel,
                "sign": spikes.signs,
            }
        )

    def to_neo(self, population: str, start: float = 0, stop: float | None = None) -> neo.Segment:
        """Spikes as a Neo segment with one spike train per neuron that fired, 1 step as 1 ms; needs Neo.

        Times are those of the run: a spike at the end of step s lies at s ms. Tools that bin spikes take intervals that are
        open at their end, so ``t_stop`` is one step after the end of the window: no spike is lost. Bins of a step that begin at
        ``0.5 / R`` ms (half a tick) hold what the run counts for each step.

        Signs are in each train's ``array_annotations["sign"]``, the neuron in its annotation ``"neuron"``.

        Raises
        ------
        RunError, TraceError
            Neo is not installed, or as :meth:`spikes`.
        """
        try:
            import neo
            import quantities as pq
        except ImportError:
            raise RunError("to_neo needs Neo; install eventsim[analysis]") from None
        spikes = self.spikes(population, start, stop)
        end = max(start, self.duration if stop is None else min(stop, self.duration)) + 1
        segment = neo.Segment(name=population)
        order = np.argsort(spikes.neurons, kind="stable")
        neurons, first = np.unique(spikes.neurons[order], return_index=True)
        for neuron, begin, stop_ in zip(neurons.tolist(), first.tolist(), [*first[1:].tolist(), len(order)], strict=False):
            part = order[begin:stop_]
            train = neo.SpikeTrain(
                spikes.ticks[part] / self.info.resolution * pq.ms,
                t_start=start * pq.ms,
                t_stop=end * pq.ms,
                name=f"{population}[{neuron}]",
                array_annotations={"sign": spikes.signs[part]},
                neuron=neuron,
            )
            segment.spiketrains.append(train)
        return segment

    @property
    def potentials_recorded(self) -> list[str]:
        """Populations whose membrane potentials were kept, in the network's order: readouts, and those that the run was asked for."""
        raise NotImplementedError

    def _potentials(self, population: str) -> Potentials:
        """What was kept of a population that is no readout."""
        raise NotImplementedError

    def potentials(self, population: str) -> IntArray:
        """Membrane potentials at the end of each step: int64 (steps, neurons); the last row is the end of the run.

        ``reshape(-1, *run.population(name).shape)`` gives them their places.

        Raises
        ------
        RunError
            No such population, or its potentials were not kept.
        TraceError
            The trace is closed or damaged.
        """
        self._check_potentials(population)
        readout = self.counts.readout.get(population)
        return self._potentials(population).values if readout is None else readout

    def threshold(self, population: str) -> IntArray | None:
        """Threshold of each neuron of a population whose potentials were kept: int64 (neurons,); None of a readout.

        Raises
        ------
        RunError, TraceError
            As :meth:`potentials`.
        """
        self._check_potentials(population)
        threshold = None if population in self.counts.readout else self._potentials(population).threshold
        return None if threshold is None else np.resize(threshold, self.population(population).size)

    def _check_potentials(self, population: str) -> None:
        self.population(population)
        if population not in self.potentials_recorded:
            raise RunError(
                f"the potentials of {population!r} were not recorded; recorded: {', '.join(self.potentials_recorded) or 'none'}; "
                f"run with potentials=[{population!r}] (--potentials {population})"
            )

    def step_ends(self) -> npt.NDArray[np.float64]:
        """Times (steps) to which the rows of potentials belong: 1, 2, ... and the end of the run."""
        steps = -(-self.counts.end_tick // self.info.resolution)
        return np.minimum(np.arange(1, steps + 1), self.duration)

    def potentials_to_pandas(self, population: str) -> pd.DataFrame:
        """Membrane potentials as a table with columns time (steps), neuron, y, x, channel, potential; needs pandas.

        Raises
        ------
        RunError, TraceError
            pandas is not installed, or as :meth:`potentials`.
        """
        try:
            import pandas as pd
        except ImportError:
            raise RunError("potentials_to_pandas needs pandas; install eventsim[analysis]") from None
        potentials = self.potentials(population)
        steps, size = potentials.shape
        neurons = np.tile(np.arange(size), steps)
        y, x, channel = self.positions(population, neurons).T
        return pd.DataFrame(
            {
                "time": np.repeat(self.step_ends(), size),
                "neuron": neurons,
                "y": y,
                "x": x,
                "channel": channel,
                "potential": potentials.ravel(),
            }
        )

    def summary(self) -> dict[str, Any]:
        """The run in a few JSON values, as ``run --json`` prints."""
        return {
            "decision": self.decision,
            "label": self.label,
            "top": [{"neuron": i, "label": label, "potential": v} for i, label, v in self.top()],
            "decision_latency_steps": self.decision_latency,
            "exited": self.counts.exited,
            "stopped": self.stopped,
            "duration_steps": self.duration,
            "steps": self.info.steps,
            "resolution": self.info.resolution,
            "spikes": self.total_spikes,
            "synaptic_events": self.total_synaptic_events,
            "additions": self.total_additions,
            "spikes_per_population": self.spikes_per_population(),
            "first_spike_latency_steps": self.first_spike_latency(),
            **self.info.settings,
        }

    def window(self, start: float, stop: float | None) -> tuple[int, int]:
        """Ticks (first, last) of the window ``start < time <= stop`` in steps; stop None is the end of the run.

        Raises
        ------
        RunError
            Not numbers.
        """
        last = self.counts.end_tick if stop is None else self._tick_at(stop)
        return self._tick_at(start) + 1, last

    def _tick_at(self, time: float) -> int:
        """The last tick whose time, ``tick / R`` in float64, is not after the given one (ticks before and after the run included)."""
        if isinstance(time, bool) or not isinstance(time, (int, float, np.integer, np.floating)) or math.isnan(time):
            raise RunError(f"a window of time is given in steps, found {time!r}")
        inside = min(max(float(time), -1.0), self.info.steps + 1.0)
        tick = math.floor(inside * self.info.resolution)
        # The product may be rounded across a tick: .29 * 100 is less than 29, though 29 / 100 is .29.
        while (tick + 1) / self.info.resolution <= inside:
            tick += 1
        while tick / self.info.resolution > inside:
            tick -= 1
        return tick

    def check_recorded(self, population: str, recorded: Iterable[str]) -> None:
        """Raise RunError unless the population exists and was recorded."""
        self.population(population)
        if population not in recorded:
            raise RunError(f"the spikes of {population!r} were not recorded; recorded: {', '.join(recorded) or 'none'}")


class Result(Run):
    """What a run leaves. See :class:`Run` for the analysis.

    Spikes are in memory, or, if the run wrote a trace, read from it when they are asked for.

    Parameters
    ----------
    info : RunInfo
    counts : Counts
    spikes : mapping of str to Spikes
        By recorded population; without spikes if they are in the trace.
    image : uint8 (height, width, channels), optional
    trace : callable, optional
        Opens the trace that the run wrote, or raises TraceError.
    potentials : mapping of str to Potentials, optional
        By population, where they were asked for.
    """

    def __init__(
        self,
        info: RunInfo,
        counts: Counts,
        spikes: Mapping[str, Spikes],
        image: npt.NDArray[np.uint8] | None = None,
        trace: Callable[[], AbstractContextManager[Run]] | None = None,
        potentials: Mapping[str, Potentials] | None = None,
    ):
        super().__init__(info, counts)
        self._spikes = dict(spikes)
        self._image = image
        self._trace = trace
        self._kept = dict(potentials or {})

    @property
    def image(self) -> npt.NDArray[np.uint8] | None:
        """The image that the network was given; see :attr:`Run.image`."""
        return self._image

    @property
    def recorded(self) -> list[str]:
        """Populations whose spikes were recorded; see :attr:`Run.recorded`."""
        return [p.name for p in self.info.populations if p.name in self._spikes]

    @property
    def potentials_recorded(self) -> list[str]:
        """Populations whose membrane potentials were kept; see :attr:`Run.potentials_recorded`."""
        return [p.name for p in self.info.populations if p.name in self._kept or p.name in self.counts.readout]

    def without_spikes(self) -> Result:
        """The same without the spikes and potentials that are in memory."""
        return self if self._trace is not None or not (self._spikes or self._kept) else Result(self.info, self.counts, {}, self._image)

    def _potentials(self, population: str) -> Potentials:
        return self._kept[population]

    def spikes(self, population: str, start: float = 0, stop: float | None = None) -> Spikes:
        """Spikes of a population with ``start < time <= stop`` (steps); see :meth:`Run.spikes`."""
        if self._trace is not None:
            self.check_recorded(population, self.recorded)
            with self._trace() as trace:
                return trace.spikes(population, start, stop)
        if start == 0 and stop is None and population in self._spikes:
            return self._spikes[population]
        return next(self.spike_blocks(population, start, stop))

    def spike_blocks(self, population: str, start: float = 0, stop: float | None = None) -> Iterator[Spikes]:
        """The same, a part at a time; see :meth:`Run.spike_blocks`."""
        self.check_recorded(population, self.recorded)
        if self._trace is not None:
            with self._trace() as trace:
                yield from trace.spike_blocks(population, start, stop)
            return
        spikes = self._spikes[population]
        first, last = self.window(start, stop)
        here = slice(np.searchsorted(spikes.ticks, first, "left"), np.searchsorted(spikes.ticks, last, "right"))
        yield Spikes(spikes.ticks[here], spikes.neurons[here], spikes.signs[here])


class Describer:
    """Makes the descriptions of a network's runs; what they have in common is computed once.

    Parameters
    ----------
    network : Network
        Must not be changed afterwards.
    """

    def __init__(self, network: Network):
        self._network = network
        self._populations = []
        for name, p in network.populations.items():
            self._populations.append(PopulationInfo(name, p.kind, p.shape, p.signed, p.emits))
        self._projections = []
        for q in network.projections:
            source, target = network.populations[q.source], network.populations[q.target]
            self._projections.append(
                ProjectionInfo(
                    q.name,
                    q.source,
                    q.target,
                    q.table.kind,
                    q.delay,
                    int(q.table.fan_out(source.shape, target.shape).sum()),
                    q.table.macs(source.shape, target.shape),
                    q.table.magnitude is not None,
                    source.is_clock,
                )
            )
        self._encoders = []
        for name, p in network.populations.items():
            if p.encoder is not None and network.input is not None:
                shape = network.input.shape
                self._encoders.append(EncoderInfo(name, p.encoder.macs(shape, p.shape), int(p.encoder.fan_out(shape, p.shape).sum()), 0))

    def describe(self, job: Job, settings: Mapping[str, Any]) -> RunInfo:
        """The description of a job that goes with its counts."""
        rule = job.exit_rule
        return RunInfo(
            job.steps,
            job.resolution,
            list(self._populations),
            list(self._projections),
            [
                EncoderInfo(e.population, e.macs, e.synapses, job.encoded[e.population])
                for e in self._encoders
                if e.population in job.encoded
            ],
            self._network.output,
            list(self._network.labels),
            None if rule is None else rule.facts,
            dict(settings),
        )

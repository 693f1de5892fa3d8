"""Turn a network, an input and run settings into a :class:`Job`: all that an engine needs, in integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError, NetworkError, RunError
from eventsim.model.exits import ExitRule
from eventsim.model.network import POTENTIAL_MAX, Driven, Network, Readout, Source, check_rates, ticks, zero_delay_order
from eventsim.model.tables import IntArray

if TYPE_CHECKING:
    from eventsim.job.encoder import Encoder

DEFAULT_RESOLUTION = 2**20
# Of a network that recommends none.
DEFAULT_STEPS = 100
MAX_STEPS = 10**6
# Ticks up to here are exact as float64 milliseconds in a trace, whatever the resolution.
MAX_TICKS = 2**50
# Spikes of neurons after which a run stops, unless it says otherwise: a network that excites itself would go on for ever.
DEFAULT_MAX_SPIKES = 2**28
_MAX_TALLY = 2**26
_MAX_SOURCE_SPIKES = 2**28


# What is counted per projection and step, in the order in which compiled code keeps it.
OPERATIONS = ("deliveries", "synaptic_events", "additions", "toolbox", "effective")


@dataclass(frozen=True, eq=False)
class Job:
    """One run, ready for an engine.

    Attributes
    ----------
    network : Network
    steps, resolution : int
        T and R; ticks run 1..T*R.
    order : list of str
        Populations in topological order of the zero-delay projections.
    delay, refractory : dict of str to int
        Ticks, by projection and by driven or spiking population; a refractory period is at least 1.
    currents : dict of str to int32 array
        Current per step of each neuron, by driven population.
    largest : dict of str to int
        The largest magnitude of a current, by driven population.
    events : dict of str to (int64 array, int32 array)
        Ticks (ascending, at most T*R) and neurons (ascending within a tick) of the spikes, by source population.
    encoded : dict of str to int
        Synapses of each encoder used whose weight and input value are not zero, by driven population.
    exit_rule : ExitRule or None
    max_spikes : int
        The run stops after the first tick by which driven and spiking neurons have emitted more spikes, of either sign, than this. Those
        of sources are given and do not count.
    """

    network: Network
    steps: int
    resolution: int
    order: list[str]
    delay: dict[str, int]
    refractory: dict[str, int]
    currents: dict[str, IntArray]
    largest: dict[str, int]
    events: dict[str, tuple[IntArray, IntArray]]
    encoded: dict[str, int]
    exit_rule: ExitRule | None
    max_spikes: int

    @property
    def end(self) -> int:
        """The last tick, T*R."""
        return self.steps * self.resolution


class Recorder(Protocol):
    """Takes the spikes of a run as they come."""

    def wants(self, population: str) -> bool:
        """Whether this population's spikes are to be given."""

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """Take spikes of one population, later than those given before; by tick, then by neuron."""


class NoRecorder:
    """Takes no spikes."""

    def wants(self, population: str) -> bool:
        return False

    def record(self, population: str, ticks: IntArray, neurons: IntArray, signs: IntArray) -> None:
        """Nothing."""


@dataclass(eq=False)
class Counts:
    """What an engine returns. Steps that began are rows; populations and projections are columns, in the network's order.

    Attributes
    ----------
    end_tick : int
        Last tick simulated: T*R, or the tick at which the run stopped before; that tick is complete.
    exited : bool
        Whether the exit rule ended the run.
    spikes, negative_spikes : int64 (steps, populations)
        All spikes, and those of sign -1 among them. An engine leaves the columns of sources (and their ``first_tick``) at 0;
        :mod:`eventsim.simulate` fills them in, since sources only repeat the job's events.
    first_tick : int64 (populations,)
        Tick of the first spike, 0 if there was none.
    deliveries : int64 (steps, projections)
        Spikes delivered through each projection.
    synaptic_events, additions, toolbox, effective : int64 (steps, projections)
        Operations by definition (docs/definitions.md).
    readout : dict of str to int64 (steps, neurons)
        Potentials of each readout at the end of each step (of the run, for the last row).
    decision : int or None
        Argmax of the output at the end; None without an output, and where no spike arrived at it and its initial potentials are all the
        same.
    decision_tick : int or None
        First tick from which the decision never changes again: of the first arrival or later, 1 if the initial potentials decided.
    stopped : "max_spikes" or None
        Whether there were more spikes than :attr:`Job.max_spikes` (at a tick at which the exit rule may have ended the run, too).
    engine : str
        The engine that made the counts: one may leave a run to another.
    """

    end_tick: int
    exited: bool
    spikes: IntArray
    negative_spikes: IntArray
    first_tick: IntArray
    deliveries: IntArray
    synaptic_events: IntArray
    additions: IntArray
    toolbox: IntArray
    effective: IntArray
    readout: dict[str, IntArray]
    decision: int | None
    decision_tick: int | None
    stopped: Literal["max_spikes"] | None
    engine: str


class Preparation:
    """A network about to be run many times: what its runs have in common is computed once.

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
        network.check()
        self.network = network
        self._timings: dict[tuple[int, int], tuple[list[str], dict[str, int], dict[str, int]]] = {}
        self._encoders: dict[str, Encoder] = {}

    def job(
        self,
        inputs: Mapping[str, Any] | npt.ArrayLike | None,
        *,
        steps: int,
        resolution: int = DEFAULT_RESOLUTION,
        exit_rule: ExitRule | None = None,
        seed: int = 0,
        max_spikes: int = DEFAULT_MAX_SPIKES,
    ) -> Job:
        """Check everything else and compute what a run starts from; see :func:`prepare`."""
        network = self.network
        steps = _whole(steps, "steps", MAX_STEPS)
        resolution = _whole(resolution, "resolution", MAX_TICKS)
        if steps * resolution > MAX_TICKS:
            raise RunError(f"{steps} steps of {resolution} ticks are more than {MAX_TICKS} ticks; lower the steps or the resolution")
        _whole(seed, "seed", 2**63 - 1, least=0)
        max_spikes = _whole(max_spikes, "max_spikes", 2**62, least=0)
        if exit_rule is not None:
            exit_rule.check(network)
        end = steps * resolution
        given: dict[str, Any] = {}
        image = None
        if isinstance(inputs, Mapping):
            given = dict(inputs)
        elif inputs is not None:
            image = integer_image(network, np.asarray(inputs))
        for name in given:
            if name not in network.populations:
                raise InputError(f"input for {name!r}, but there is no such population; there are: {', '.join(network.populations)}")
            if not isinstance(network.populations[name], (Driven, Source)):
                raise InputError(f"input for {name!r}, but it is a {network.populations[name].kind} population and takes none")
        currents, largest, events, encoded = {}, {}, {}, {}
        for position, (name, population) in enumerate(network.populations.items()):
            if isinstance(population, Driven):
                if name in given:
                    currents[name], largest[name] = _given_currents(name, population, given[name])
                else:
                    currents[name], largest[name], encoded[name] = self._encode(name, population, image)
                # Twice the range of a potential, and what the current brings: more than V + threshold * spikes ever is.
                if (largest[name] * steps + 2**32) * resolution >= 2**62:
                    raise RunError(f"{name}: {steps} steps of these currents exceed 64 bits at resolution {resolution}; lower it")
            elif isinstance(population, Source):
                events[name] = _source_events(name, population, given.get(name), steps, resolution, [seed, position])
        return Job(network, steps, resolution, *self._timing(resolution, end), currents, largest, events, encoded, exit_rule, max_spikes)

    def _timing(self, resolution: int, end: int) -> tuple[list[str], dict[str, int], dict[str, int]]:
        """Order of the populations, delays and refractory periods."""
        if (resolution, end) not in self._timings:
            network = self.network
            # What lies beyond the end of the run needs no exact place, but must fit 64 bits.
            delay = {p.name: min(ticks(p.delay, resolution), end + 1) for p in network.projections}
            refractory = {
                name: min(max(1, ticks(p.refractory, resolution)), end + 1)
                for name, p in network.populations.items()
                if not isinstance(p, (Readout, Source))
            }
            self._timings[resolution, end] = zero_delay_order(network, resolution), delay, refractory
        return self._timings[resolution, end]

    def _encode(self, name: str, population: Driven, image: IntArray | None) -> tuple[IntArray, int, int]:
        """Currents that the image makes, their largest magnitude, and the synapses that had a part in it."""
        if population.encoder is None or image is None:
            need = "currents" if population.encoder is None else "an image or currents"
            raise InputError(f"{name}: no input; this driven population needs {need}")
        if name not in self._encoders:
            from eventsim.job.encoder import Encoder

            self._encoders[name] = Encoder(population.encoder, population.bias, image.shape, population.shape)
        currents, largest, effective = self._encoders[name].apply(image)
        if largest > POTENTIAL_MAX:
            raise InputError(f"{name}: the image makes currents up to {largest}, beyond 32 bits")
        return currents.astype(np.int32, copy=False), largest, effective


def prepare(
    network: Network,
    inputs: Mapping[str, Any] | npt.ArrayLike | None,
    *,
    steps: int,
    resolution: int = DEFAULT_RESOLUTION,
    exit_rule: ExitRule | None = None,
    seed: int = 0,
    max_spikes: int = DEFAULT_MAX_SPIKES,
) -> Job:
    """Check everything and compute what the run starts from. For many runs of a network, keep a :class:`Preparation`.

    Parameters
    ----------
    network : Network
    inputs : mapping, array or None
        An image (uint8, in the network's input shape), or by population name: currents per step (integers) for a driven
        population, ``(times in steps, neurons)`` for a source of events, rates for a Poisson source.
    steps, resolution : int
        T and R.
    exit_rule : ExitRule, optional
    seed : int
        Of the Poisson sources.
    max_spikes : int
        See :class:`Job`.

    Raises
    ------
    RunError, InputError, NetworkError
    """
    return Preparation(network).job(inputs, steps=steps, resolution=resolution, exit_rule=exit_rule, seed=seed, max_spikes=max_spikes)


def default_steps(network: Network) -> int:
    """Length of a run for which no steps are given: what the network recommends (``provenance["steps"]``), else 100."""
    recommended = network.provenance.get("steps")
    if isinstance(recommended, int) and not isinstance(recommended, bool) and 1 <= recommended <= MAX_STEPS:
        return recommended
    return DEFAULT_STEPS


def _magnitude(values: IntArray) -> int:
    return max(-int(values.min(initial=0)), int(values.max(initial=0)))


def integer_image(network: Network, pixels: npt.NDArray[Any]) -> IntArray:
    """The network's input from an image: ``scale * pixel - offset``, int64, in the input's shape.

    Raises
    ------
    InputError
        The network takes no image, or the image has another shape or type than (height, width, channels) of uint8.
    """
    spec = network.input
    if spec is None:
        raise InputError("this network takes no image; give its populations' input by name")
    if pixels.shape == spec.shape[:2] and spec.shape[2] == 1:
        pixels = pixels[..., None]
    if pixels.shape != spec.shape:
        raise InputError(f"the network takes an image of shape {spec.shape} (height, width, channels), found {pixels.shape}")
    if pixels.dtype.kind not in "iu":
        raise InputError(
            f"the network takes pixels as whole numbers 0..255, found {pixels.dtype}; multiply by 255 and round if they are 0..1"
        )
    if pixels.dtype != np.uint8 and pixels.size and (pixels.min() < 0 or pixels.max() > 255):
        raise InputError(f"the network takes pixels 0..255, found {pixels.min()}..{pixels.max()}")
    scale, offset = spec.of_rows
    return (pixels.reshape(-1, len(scale)).astype(np.int64) * scale - offset).reshape(spec.shape)


def _whole(value: Any, what: str, most: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise RunError(f"{what} must be a whole number in {least}..{most}, found {value!r}")
    return int(value)


def _given_currents(name: str, population: Driven, given: Any) -> tuple[IntArray, int]:
    size = int(np.prod(population.shape))
    array = np.asarray(given)
    if array.dtype.kind not in "iu" or array.shape not in (population.shape, (size,)):
        raise InputError(f"{name}: currents must be integers of shape {population.shape}, found {array.dtype} {array.shape}")
    largest = _magnitude(array)
    if largest > POTENTIAL_MAX:
        raise InputError(f"{name}: currents must fit 32 bits")
    return np.ascontiguousarray(array.ravel(), np.int32), largest


def _source_events(name: str, population: Source, given: Any, steps: int, resolution: int, seed: list[int]) -> tuple[IntArray, IntArray]:
    size = int(np.prod(population.shape))
    if population.emits == "clock":
        if given is not None:
            raise InputError(f"{name}: a clock takes no input")
        expected = steps * size
    elif population.emits == "poisson":
        rates = population.rate if given is None else _rates(given, population, name)
        if rates is None:
            raise InputError(f"{name}: no input; this Poisson source needs rates")
        expected = int(steps * rates.sum())
        flat = rates.ravel()
    else:
        if given is None:
            raise InputError(f"{name}: no input; this source needs events: (times in steps, neurons)")
        return _given_events(name, given, size, steps, resolution)
    if expected > _MAX_SOURCE_SPIKES:
        raise RunError(f"{name}: would emit about {expected} spikes, the limit is {_MAX_SOURCE_SPIKES}")
    if population.emits == "clock":
        at = np.repeat(np.arange(1, steps + 1, dtype=np.int64) * resolution, size)
        return at, np.tile(np.arange(size, dtype=np.int32), steps)
    generator = np.random.default_rng(seed)
    at_ticks, neurons = [], []
    for step in range(steps):
        firing = np.flatnonzero(generator.random(size) < flat)
        at_ticks.append(step * resolution + generator.integers(1, resolution, size=len(firing), endpoint=True, dtype=np.int64))
        neurons.append(firing)
    return _sorted_events(np.concatenate(at_ticks), np.concatenate(neurons))


def _rates(given: Any, population: Source, name: str) -> npt.NDArray[np.float64]:
    try:
        return check_rates(given, population.shape, name)
    except NetworkError as error:
        raise InputError(str(error)) from None


def _given_events(name: str, given: Any, size: int, steps: int, resolution: int) -> tuple[IntArray, IntArray]:
    try:
        times, neurons = map(np.asarray, given)
        if times.dtype.kind not in "biuf":
            raise TypeError
        times = times.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: events must be a pair (times in steps, neurons)") from None
    if times.ndim != 1 or times.shape != neurons.shape:
        raise InputError(f"{name}: events need as many times as neurons, found {times.shape} and {neurons.shape}")
    if len(times) > _MAX_SOURCE_SPIKES:
        raise InputError(f"{name}: {len(times)} events, the limit is {_MAX_SOURCE_SPIKES}")
    if len(times) and neurons.dtype.kind not in "iu":
        raise InputError(f"{name}: neurons must be whole numbers, found {neurons.dtype}")
    if not np.all(np.isfinite(times)) or np.any(times < 0):
        raise InputError(f"{name}: event times must be steps from 0 on")
    if len(neurons) and (neurons.min() < 0 or neurons.max() >= size):
        raise InputError(f"{name}: neurons must be 0..{size - 1}, found {neurons.min()}..{neurons.max()}")
    inside = times <= steps
    at = np.maximum(1, _ceil(times[inside] * resolution)).astype(np.int64)
    return _sorted_events(at, neurons[inside])


def _ceil(products: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Round up, but not from a hair above a whole number: 0.07 * 100 is 7.000000000000001 in float64, and means tick 7."""
    nearest = np.rint(products)
    return np.where(np.abs(products - nearest) <= 2 * np.spacing(products), nearest, np.ceil(products))


def _sorted_events(at: IntArray, neurons: IntArray) -> tuple[IntArray, IntArray]:
    order = np.lexsort((neurons, at))
    return np.ascontiguousarray(at[order]), np.ascontiguousarray(neurons[order], dtype=np.int32)


def check_room(job: Job) -> None:
    """Refuse a run whose counts per step would take gigabytes.

    Raises
    ------
    RunError
        Too many steps for a network of so many populations, projections and readout neurons.
    """
    network = job.network
    readouts = sum(math.prod(p.shape) for p in network.populations.values() if isinstance(p, Readout))
    if job.steps * max(len(network.populations), len(network.projections), readouts) > _MAX_TALLY:
        raise RunError(f"{job.steps} steps are too many for the counts per step of this network; run fewer")

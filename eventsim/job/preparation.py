"""Turn a network, an input and run settings into a :class:`Job`: everything is checked here, and nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError, RunError
from eventsim.job.inputs import given_currents, given_inputs
from eventsim.job.job import DEFAULT_MAX_SPIKES, DEFAULT_RESOLUTION, MAX_STEPS, MAX_TICKS, Job
from eventsim.job.sources import Events, source_events
from eventsim.model.exits import ExitRule
from eventsim.model.limits import POTENTIAL_MAX
from eventsim.model.network import Network
from eventsim.model.order import zero_delay_order
from eventsim.model.periods import ticks
from eventsim.model.populations import Population
from eventsim.model.tables import IntArray

if TYPE_CHECKING:
    from eventsim.job.encoder import Encoder

# Of a network that recommends none.
DEFAULT_STEPS = 100
# Order of the populations; delays, refractory periods and onsets in ticks, as a job has them.
Timing = tuple[list[str], dict[str, int], dict[str, int], dict[str, int]]


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
        numbered = enumerate(network.populations.items())
        # With their numbers, from which, and from the seed of a run, their spikes follow.
        self._sources = [(number, name, population) for number, (name, population) in numbered if population.emits]
        self._driven = {name: population for name, population in network.populations.items() if population.input_kind == "currents"}
        self._timings: dict[tuple[int, int], Timing] = {}
        self._encoders: dict[str, Encoder] = {}
        self._same_events: dict[str, tuple[tuple[int, int], Events]] = {}

    def jobs(
        self,
        *,
        steps: int,
        resolution: int = DEFAULT_RESOLUTION,
        exit_rule: ExitRule | None = None,
        seed: int = 0,
        max_spikes: int = DEFAULT_MAX_SPIKES,
    ) -> Callable[[Mapping[str, Any] | npt.ArrayLike | None], Job]:
        """Check the settings, which are those of :func:`prepare`; what is returned makes the job of an input, which is checked, too."""
        steps = _whole(steps, "steps", MAX_STEPS)
        resolution = _whole(resolution, "resolution", MAX_TICKS)
        if steps * resolution > MAX_TICKS:
            raise RunError(f"{steps} steps of {resolution} ticks are more than {MAX_TICKS} ticks; lower the steps or the resolution")
        _whole(seed, "seed", 2**63 - 1, least=0)
        max_spikes = _whole(max_spikes, "max_spikes", 2**62, least=0)
        if exit_rule is not None:
            exit_rule.check(self.network)
        timing = self._timing(resolution, steps * resolution)

        def job(inputs: Mapping[str, Any] | npt.ArrayLike | None) -> Job:
            currents, largest, encoded, events, signs = self._given(inputs, steps, resolution, seed)
            return Job(self.network, steps, resolution, *timing, currents, largest, events, encoded, exit_rule, max_spikes, signs)

        return job

    def _given(
        self, inputs: Mapping[str, Any] | npt.ArrayLike | None, steps: int, resolution: int, seed: int
    ) -> tuple[dict[str, IntArray], dict[str, int], dict[str, int], dict[str, tuple[IntArray, IntArray]], dict[str, IntArray]]:
        """What an input makes, by population: currents, their largest magnitude, synapses of encoders; events of sources, their signs."""
        image, given = given_inputs(self.network, inputs)
        currents, largest, encoded, events, signs = {}, {}, {}, {}, {}
        for name, population in self._driven.items():
            if name in given:
                currents[name], largest[name] = given_currents(name, population, given[name])
            else:
                currents[name], largest[name], encoded[name] = self._encode(name, population, image)
            # Twice the range of a potential, and what the current brings: more than V + threshold * spikes ever is.
            if (largest[name] * steps + 2**32) * resolution >= 2**62:
                raise RunError(
                    f"{name}: {steps} steps of these currents exceed 64 bits at resolution {resolution}; lower it (closed runs: step_us)"
                )
        for number, name, population in self._sources:
            spikes = self._events(name, population, given.get(name), steps, resolution, [seed, number])
            events[name] = spikes.ticks, spikes.neurons
            if population.signed:
                signs[name] = spikes.signs
        return currents, largest, encoded, events, signs

    def _events(self, name: str, population: Population, given: Any, steps: int, resolution: int, seed: list[int]) -> Events:
        """The spikes of a source; those of one that takes nothing are the same in all runs of a length."""
        if population.input_kind is not None or given is not None:
            return source_events(name, population, given, steps, resolution, seed)
        if name not in self._same_events or self._same_events[name][0] != (steps, resolution):
            self._same_events[name] = (steps, resolution), source_events(name, population, None, steps, resolution, seed)
        return self._same_events[name][1]

    def _timing(self, resolution: int, end: int) -> Timing:
        """Order of the populations, delays, refractory periods and onsets."""
        if (resolution, end) not in self._timings:
            network = self.network
            # What lies beyond the end of the run needs no exact place, but must fit 64 bits.
            delay = {p.name: min(ticks(p.delay, resolution), end + 1) for p in network.projections}
            refractory = {
                name: min(max(1, ticks(p.refractory, resolution)), end + 1)
                for name, p in network.populations.items()
                if p.refractory is not None
            }
            onset = {name: min(ticks(p.onset, resolution), end + 1) for name, p in network.populations.items()}
            onset = {name: tick for name, tick in onset.items() if tick > 1}
            self._timings[resolution, end] = zero_delay_order(network, resolution), delay, refractory, onset
        return self._timings[resolution, end]

    def _encode(self, name: str, population: Population, image: IntArray | None) -> tuple[IntArray, int, int]:
        """Currents that the image makes, their largest magnitude, and the synapses that had a part in it."""
        if population.encoder is None or image is None:
            need = "currents" if population.encoder is None else "an image or currents"
            raise InputError(f"{name}: no input; this driven population needs {need}")
        if name not in self._encoders:
            assert population.bias is not None
            # With the first image, as engines are: compiled code takes a while to load.
            made = import_module("eventsim.job.encoder").Encoder
            self._encoders[name] = made(population.encoder, population.bias, image.shape, population.shape)
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
        population, ``(times in steps, neurons)`` for a source of events, rates for a Poisson source, a structured array of x, y, t, p for
        an event input.
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
    preparation = Preparation(network)
    return preparation.jobs(steps=steps, resolution=resolution, exit_rule=exit_rule, seed=seed, max_spikes=max_spikes)(inputs)


def default_steps(network: Network) -> int:
    """Length of a run for which no steps are given: what the network recommends (``provenance["steps"]``), else 100."""
    return recommended_steps(network) or DEFAULT_STEPS


def recommended_steps(network: Network) -> int | None:
    """Length of a run that the network recommends, if it does."""
    recommended = network.provenance.get("steps")
    if isinstance(recommended, int) and not isinstance(recommended, bool) and 1 <= recommended <= MAX_STEPS:
        return recommended
    return None


def _whole(value: Any, what: str, most: int, least: int = 1) -> int:
    if type(value) is int and least <= value <= most:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise RunError(f"{what} must be a whole number in {least}..{most}, found {value!r}")
    return int(value)

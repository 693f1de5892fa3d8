"""Spikes of sources: events that a run is given, clocks, Poisson trains from a seed. Nothing of them is drawn while a run runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError, NetworkError, RunError
from eventsim.job.recordings import recorded_spikes
from eventsim.model.periods import ticks
from eventsim.model.populations import EventInput, Population
from eventsim.model.populations.checks import checked_rates
from eventsim.model.tables import IntArray

# Spikes of a source in a run.
_MOST = 2**28

_NO_SIGNS = np.zeros(0, np.int8)


class Events(NamedTuple):
    """Spikes of a source: ticks, ascending (int64); neurons, ascending within a tick (int32); signs (int8) of a signed one."""

    ticks: IntArray
    neurons: IntArray
    signs: IntArray = _NO_SIGNS


class _Asked(NamedTuple):
    """A source in a run."""

    name: str
    source: Population
    given: Any  # what the run is given for it, None if nothing
    steps: int
    resolution: int
    seed: list[int]  # of Poisson trains


def source_events(name: str, population: Population, given: Any, steps: int, resolution: int, seed: list[int]) -> Events:
    """All spikes of a source in a run.

    Parameters
    ----------
    name : str
    population : Population
        Emits something.
    given
        What the run is given for it: events, or rates; None if nothing.
    steps, resolution : int
    seed : list of int
        Of a Poisson source.

    Raises
    ------
    InputError
        What is given makes no sense, or is missing.
    RunError
        More spikes than a run can take.
    """
    return _TRAINS[population.input_kind or population.emits](_Asked(name, population, given, steps, resolution, seed))


def _clock(asked: _Asked) -> Events:
    """A spike of each neuron at the end of every step."""
    if asked.given is not None:
        raise InputError(f"{asked.name}: a clock takes no input")
    size, steps = asked.source.size, asked.steps
    _check_number(asked.name, steps * size)
    at = np.repeat(np.arange(1, steps + 1, dtype=np.int64) * asked.resolution, size)
    return Events(at, np.broadcast_to(np.arange(size, dtype=np.int32), (steps, size)).flatten())


def _start(asked: _Asked) -> Events:
    """A spike of each neuron, one period after the other, as far as the run goes."""
    if asked.given is not None:
        raise InputError(f"{asked.name}: a source that emits at the start takes no input")
    size, period = asked.source.size, ticks(asked.source.period or 0, asked.resolution)
    number = size if not period else min(size, (asked.steps * asked.resolution - 1) // period + 1)
    neurons = np.arange(number, dtype=np.int32)
    return Events(1 + period * neurons.astype(np.int64), neurons)


def _poisson(asked: _Asked) -> Events:
    """One draw a neuron and step; the spike is on a uniformly drawn tick of the step."""
    rates = asked.source.rate if asked.given is None else _rates(asked)
    if rates is None:
        raise InputError(f"{asked.name}: no input; this Poisson source needs rates")
    _check_number(asked.name, int(asked.steps * rates.sum()))
    flat, generator, resolution = rates.ravel(), np.random.default_rng(asked.seed), asked.resolution
    at, neurons = [], []
    for step in range(asked.steps):
        firing = np.flatnonzero(generator.random(len(flat)) < flat)
        at.append(step * resolution + generator.integers(1, resolution, size=len(firing), endpoint=True, dtype=np.int64))
        neurons.append(firing)
    return _sorted(np.concatenate(at), np.concatenate(neurons))


def _rates(asked: _Asked) -> npt.NDArray[np.float64]:
    try:
        return checked_rates(asked.given, asked.source.shape, asked.name)
    except NetworkError as error:
        raise InputError(str(error)) from None


def _check_number(name: str, expected: int) -> None:
    if expected > _MOST:
        raise RunError(f"{name}: would emit about {expected} spikes, the limit is {_MOST}")


def _events(asked: _Asked) -> Events:
    """What the run is given; events after its end are left out."""
    name, size = asked.name, asked.source.size
    if asked.given is None:
        raise InputError(f"{name}: no input; this source needs events: (times in steps, neurons)")
    try:
        times, neurons = map(np.asarray, asked.given)
        if times.dtype.kind not in "biuf":
            raise TypeError
        times = times.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: events must be a pair (times in steps, neurons)") from None
    if times.ndim != 1 or times.shape != neurons.shape:
        raise InputError(f"{name}: events need as many times as neurons, found {times.shape} and {neurons.shape}")
    if len(times) > _MOST:
        raise InputError(f"{name}: {len(times)} events, the limit is {_MOST}")
    if len(times) and neurons.dtype.kind not in "iu":
        raise InputError(f"{name}: neurons must be whole numbers, found {neurons.dtype}")
    if not np.all(np.isfinite(times)) or np.any(times < 0):
        raise InputError(f"{name}: event times must be steps from 0 on")
    if len(neurons) and (neurons.min() < 0 or neurons.max() >= size):
        raise InputError(f"{name}: neurons must be 0..{size - 1}, found {neurons.min()}..{neurons.max()}")
    # (Those that are far behind the end would leave 64 bits.)
    at = np.maximum(1, _ceil(np.minimum(times, asked.steps + 1) * asked.resolution)).astype(np.int64)
    inside = at <= asked.steps * asked.resolution
    return _sorted(at[inside], neurons[inside])


def _ceil(products: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Round up, but not from a hair above a whole number: 0.07 * 100 is 7.000000000000001 in float64, and means tick 7."""
    nearest = np.rint(products)
    return np.where(np.abs(products - nearest) <= 2 * np.spacing(products), nearest, np.ceil(products))


def _sorted(at: IntArray, neurons: IntArray) -> Events:
    order = np.lexsort((neurons, at))
    return Events(np.ascontiguousarray(at[order]), np.ascontiguousarray(neurons[order], dtype=np.int32))


def _recording(asked: _Asked) -> Events:
    """What happens at the pixels of an event input; events after the run's end are left out."""
    if asked.given is None:
        raise InputError(f"{asked.name}: no input; this event input needs a recording: a structured array of x, y, t, p")
    if np.ndim(asked.given) == 1 and len(asked.given) > _MOST:
        raise InputError(f"{asked.name}: {len(asked.given)} events, the limit is {_MOST}")
    return Events(*recorded_spikes(asked.name, cast(EventInput, asked.source), asked.given, asked.steps, asked.resolution))


# What a population takes, or how it makes its spikes of nothing.
_TRAINS: dict[str, Callable[[_Asked], Events]] = {
    "events": _events,
    "rates": _poisson,
    "recording": _recording,
    "clock": _clock,
    "start": _start,
}

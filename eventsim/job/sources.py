"""Spikes of sources: events that a run is given, clocks, Poisson trains from a seed. Nothing of them is drawn while a run runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import InputError, NetworkError, RunError
from eventsim.model.periods import ticks
from eventsim.model.populations import Population
from eventsim.model.populations.checks import checked_rates
from eventsim.model.tables import IntArray

# Spikes of a source in a run.
_MOST = 2**28

# Ticks, ascending (int64), and neurons, ascending within a tick (int32).
Events = tuple[IntArray, IntArray]


def source_events(name: str, population: Population, given: Any, steps: int, resolution: int, seed: list[int]) -> Events:
    """All spikes of a source in a run.

    Parameters
    ----------
    name : str
    population : Population
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
    if population.emits == "clock":
        if given is not None:
            raise InputError(f"{name}: a clock takes no input")
        return _clock(name, population.size, steps, resolution)
    if population.emits == "start":
        if given is not None:
            raise InputError(f"{name}: a source that emits at the start takes no input")
        return _start(population.size, ticks(population.period or 0, resolution), steps * resolution)
    if population.emits == "poisson":
        rates = population.rate if given is None else _rates(name, population, given)
        if rates is None:
            raise InputError(f"{name}: no input; this Poisson source needs rates")
        return _poisson(name, rates, steps, resolution, seed)
    if given is None:
        raise InputError(f"{name}: no input; this source needs events: (times in steps, neurons)")
    return _given(name, given, population.size, steps, resolution)


def _clock(name: str, size: int, steps: int, resolution: int) -> Events:
    _check_number(name, steps * size)
    at = np.repeat(np.arange(1, steps + 1, dtype=np.int64) * resolution, size)
    return at, np.tile(np.arange(size, dtype=np.int32), steps)


def _start(size: int, period: int, end: int) -> Events:
    """A spike of each neuron, so many ticks one after the other, as far as the run goes."""
    number = size if not period else min(size, (end - 1) // period + 1)
    neurons = np.arange(number, dtype=np.int32)
    return 1 + period * neurons.astype(np.int64), neurons


def _poisson(name: str, rates: npt.NDArray[np.float64], steps: int, resolution: int, seed: list[int]) -> Events:
    """One draw a neuron and step; the spike is on a uniformly drawn tick of the step."""
    _check_number(name, int(steps * rates.sum()))
    flat, generator = rates.ravel(), np.random.default_rng(seed)
    ticks, neurons = [], []
    for step in range(steps):
        firing = np.flatnonzero(generator.random(len(flat)) < flat)
        ticks.append(step * resolution + generator.integers(1, resolution, size=len(firing), endpoint=True, dtype=np.int64))
        neurons.append(firing)
    return _sorted(np.concatenate(ticks), np.concatenate(neurons))


def _check_number(name: str, expected: int) -> None:
    if expected > _MOST:
        raise RunError(f"{name}: would emit about {expected} spikes, the limit is {_MOST}")


def _rates(name: str, population: Population, given: Any) -> npt.NDArray[np.float64]:
    try:
        return checked_rates(given, population.shape, name)
    except NetworkError as error:
        raise InputError(str(error)) from None


def _given(name: str, given: Any, size: int, steps: int, resolution: int) -> Events:
    try:
        times, neurons = map(np.asarray, given)
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
    inside = times <= steps
    ticks = np.maximum(1, _ceil(times[inside] * resolution)).astype(np.int64)
    return _sorted(ticks, neurons[inside])


def _ceil(products: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Round up, but not from a hair above a whole number: 0.07 * 100 is 7.000000000000001 in float64, and means tick 7."""
    nearest = np.rint(products)
    return np.where(np.abs(products - nearest) <= 2 * np.spacing(products), nearest, np.ceil(products))


def _sorted(ticks: IntArray, neurons: IntArray) -> Events:
    order = np.lexsort((neurons, ticks))
    return np.ascontiguousarray(ticks[order]), np.ascontiguousarray(neurons[order], dtype=np.int32)

"""Recorded events of an event camera as the spikes of an event input: exact ticks, and a stated order (docs/semantics.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from eventsim.errors import InputError
from eventsim.job.job import MAX_STEPS
from eventsim.model.network import Network
from eventsim.model.populations import EventInput
from eventsim.model.populations.event_input import CHANNELS, POLARITIES, Polarity
from eventsim.model.tables import IntArray

_FIELDS = ("x", "y", "t", "p")


def recorded_spikes(name: str, population: EventInput, given: Any, steps: int, resolution: int) -> tuple[IntArray, IntArray, IntArray]:
    """The spikes of an event input.

    An event at ``t`` microseconds is a spike at tick ``max(1, ceil(t * R / step_us))``, exactly; those after tick ``T * R`` are left out.

    Parameters
    ----------
    name : str
    population : EventInput
    given : structured array (events,)
        Integers x, y, t (microseconds from the start of the run on) and p: 1 of ON events, 0 or -1 of OFF ones. In any order.
    steps, resolution : int

    Returns
    -------
    ticks : int64 array
        Ascending.
    neurons : int32 array
        Ascending within a tick.
    signs : int8 array
        Of a neuron in a tick +1 before -1; empty if the population is not signed.

    Raises
    ------
    InputError
        No such array, or events before the start, outside the pixels, or of another polarity.
    """
    x, y, t, on = _columns(name, given)
    height, width, channels = population.shape
    for axis, values, size in (("x", x, width), ("y", y, height)):
        if len(values) and (int(values.min()) < 0 or int(values.max()) >= size):
            raise InputError(
                f"{name}: events at {axis} = {values.min()}..{values.max()}, and the network has {width} x {height} pixels; "
                "give a recording of that size"
            )
    if len(t) and int(t.min()) < 0:
        raise InputError(f"{name}: an event at {t.min()} us, before the run's start; times are microseconds from 0 on")
    inside = t <= steps * population.step_us
    if not inside.all():
        x, y, t, on = x[inside], y[inside], t[inside], on[inside]
    ticks = _ticks(t.astype(np.int64), population.step_us, resolution)
    neurons = (y.astype(np.int64) * width + x) * channels
    if population.polarity == "split":
        neurons += on
    return _ordered(ticks, neurons, ~on if population.signed else None)


def _columns(name: str, given: Any) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """x, y, t, and whether it is an ON event."""
    array = np.asarray(given)
    if array.ndim != 1 or array.dtype.names is None or not set(_FIELDS) <= set(array.dtype.names):
        raise InputError(f"{name}: a recording is a structured array of x, y, t, p, found {array.dtype} {array.shape}")
    columns = [np.ascontiguousarray(array[field]) for field in _FIELDS]
    for field, values in zip(_FIELDS, columns, strict=True):
        if values.dtype.kind not in ("iub" if field == "p" else "iu") or values.ndim != 1:
            raise InputError(f"{name}: {field} of a recording must be whole numbers, found {values.dtype}")
    x, y, t, p = columns
    if p.dtype.kind != "b" and len(p) and not (int(p.max()) <= 1 and int(p.min()) >= -1):
        raise InputError(f"{name}: the polarity of an event is 1, or 0 or -1, found {p.min()}..{p.max()}")
    return x, y, t, p > 0


def _ticks(t: IntArray, step_us: int, resolution: int) -> IntArray:
    """``max(1, ceil(t * R / step_us))``, by step and rest, so that 64 bits do."""
    # (NumPy's divmod takes four times as long as its division by one number.)
    step = t // step_us
    rest = t - step * step_us
    if step_us * resolution >= 2**62:
        rest = rest.astype(object)
    within = -(-rest * resolution // step_us)
    ticks: IntArray = np.maximum(1, step * resolution + within.astype(np.int64))
    return ticks


def _ordered(ticks: IntArray, neurons: IntArray, negative: IntArray | None) -> tuple[IntArray, IntArray, IntArray]:
    """By tick, then by neuron, then +1 before -1."""
    keys = neurons if negative is None else 2 * neurons + negative
    later, earlier = ticks[1:], ticks[:-1]
    if np.any((later < earlier) | ((later == earlier) & (keys[1:] < keys[:-1]))):
        order = np.lexsort((keys, ticks))
        ticks, neurons = ticks[order], neurons[order]
        negative = None if negative is None else negative[order]
    signs = np.zeros(0, np.int8) if negative is None else np.where(negative, -1, 1).astype(np.int8)
    return ticks, neurons.astype(np.int32), signs


def recording_inputs(network: Network) -> dict[str, EventInput]:
    """Populations that take recordings, by name."""
    return {name: cast(EventInput, p) for name, p in network.populations.items() if p.input_kind == "recording"}


def steps_of(network: Network, inputs: Any) -> int | None:
    """Steps that the recordings among a run's inputs take; None if there are none; raises InputError if they are too many."""
    given = inputs if isinstance(inputs, Mapping) else {}
    lengths = []
    for name, population in recording_inputs(network).items():
        if name in given:
            last = int(given[name]["t"].max(initial=0))
            lengths.append(max(1, -(-last // population.step_us)))
    return _allowed(max(lengths, default=None), "recording")


def steps_of_window(network: Network, length: int | None) -> int | None:
    """Steps that so many microseconds take; None if no length is given, or the network takes no recordings; raises InputError as above."""
    if length is None:
        return None
    return _allowed(max((-(-length // population.step_us) for population in recording_inputs(network).values()), default=None), "window")


def _allowed(steps: int | None, what: str) -> int | None:
    if steps is not None and steps > MAX_STEPS:
        raise InputError(
            f"the {what} lasts {steps:,} steps of the network, and a run at most {MAX_STEPS:,}; give a (shorter) window (--window), "
            "longer steps (--step-us), or --steps"
        )
    return steps


def with_event_input(network: Network, step_us: int | None, polarity: Polarity | None) -> Network:
    """The network with another duration of a step, or another meaning of polarity.

    A source of events in the shape (height, width, 1 or 2) becomes an event input if the network has none.

    Raises
    ------
    InputError
        There are several event inputs, or nothing that may become one.
    NetworkError
        The shape does not have the channels that the polarity needs.
    """
    inputs = recording_inputs(network)
    names = list(inputs)
    if not names:
        names = [name for name, p in network.populations.items() if p.input_kind == "events" and _channels(p.shape) in (1, 2)]
    if len(names) != 1:
        several = f"this network has several: {', '.join(names)}" if names else "this network has none"
        raise InputError(f"microseconds of a step and polarity are for a network with one event input; {several}")
    shape = network.populations[names[0]].shape
    usual: Polarity = POLARITIES[0] if shape[2] == CHANNELS[POLARITIES[0]] else POLARITIES[1]
    settings: dict[str, Any] = {"polarity": usual}
    if inputs:
        settings = {"polarity": inputs[names[0]].polarity, "step_us": inputs[names[0]].step_us}
    settings |= {key: value for key, value in (("polarity", polarity), ("step_us", step_us)) if value is not None}
    changed = EventInput.checked(names[0], shape, **settings)
    out = dataclasses.replace(network, populations=network.populations | {names[0]: changed})
    out.check()
    return out


def _channels(shape: Sequence[int]) -> int:
    return shape[2] if len(shape) == 3 else 0

"""Values of a graph while it is lowered: sums of terms, perhaps under an activation that is not yet a population."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eventsim.conversion import operators as g
from eventsim.conversion.compose import Join, chosen_channels, mapped, scaled_by_place
from eventsim.conversion.terms import Array, Grid, Map, Numbers, Term, gather


@dataclass(frozen=True)
class Form:
    """An activation under construction: ``y = factor * core(z) + shift`` with ``core = clip([floor] z, low, high)``.

    ``origin`` is the number of the node that made the core: uses that scale it differently share one population. ``even`` is the floor of
    :class:`~eventsim.conversion.layers.Activation`; ``truncated`` says that it is one towards zero.
    """

    origin: int
    low: float = -np.inf
    high: float = np.inf
    floor: bool = False
    sign: bool = False
    zero: float = 1.0
    rate: bool = False
    even: bool = False
    truncated: bool = False
    factor: Array | float = 1.0
    shift: Array | float = 0.0


@dataclass(frozen=True, eq=False)
class Pool:
    """A maximum over windows that is not yet a population; what is monotone may be done before it as well as after.

    ``grid`` is that of the values before it, ``signs`` (per channel) is -1 where what has been done since it falls.
    """

    operator: g.MaxPool
    grid: Grid
    signs: Array


@dataclass(frozen=True, eq=False)
class Signal:
    """A value of the graph: a sum of terms and a bias, perhaps under an activation that is not yet a population.

    With ``pool``, terms, bias and activation are those of the values before pooling, the grid is the one after it.

    Attributes
    ----------
    grid : (height, width, channels)
        Of the neurons that stand for it.
    flat : bool
        The graph's value is no image.
    terms : tuple of Term
    bias : float64, () or (channels,) or the whole grid
    form : Form or None
    pool : Pool or None
    layout : int array of the value's shape, or None
        The neuron that stands for each number. None: an image's as they are, channel last; a vector's in its order, at one location.
    """

    grid: Grid
    flat: bool
    terms: tuple[Term, ...]
    bias: Array
    form: Form | None = None
    pool: Pool | None = None
    layout: Numbers | None = None

    @property
    def pending(self) -> bool:
        """Something is to be done to it that makes a population."""
        return self.form is not None or self.pool is not None

    def places(self) -> Numbers:
        """The neuron that stands for each number of the graph's value."""
        return standard(self.grid, self.flat) if self.layout is None else self.layout


def standard(grid: Grid, flat: bool) -> Numbers:
    """The neurons of an image (channels, height, width), or of a vector at one location."""
    numbers: Numbers = np.arange(grid[0] * grid[1] * grid[2])
    return numbers if flat else numbers.reshape(grid).transpose(2, 0, 1)


def grid_of(shape: g.Shape) -> Grid:
    """The grid of a value of the graph as it stands there: of an image channel last, of anything else at one location."""
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 else (1, 1, int(np.prod(shape)))


def along(constant: Array, signal: Signal, shape: g.Shape) -> Array:
    """A constant of a scale on a value of a shape: a number, one per channel of the signal's grid, or one per neuron."""
    if constant.ndim == 0:
        return constant
    if signal.layout is None and constant.shape == (signal.grid[2],):
        return constant
    full = np.broadcast_to(constant if constant.ndim == len(shape) else constant.reshape(-1, *[1] * (len(shape) - 1)), shape)
    neurons = np.empty(full.size)
    neurons[signal.places().ravel()] = full.ravel()
    return narrowed(neurons.reshape(signal.grid))


def narrowed(neurons: Array) -> Array:
    """A constant per neuron as one per channel, if it is the same everywhere."""
    per_channel = neurons.reshape(-1, neurons.shape[-1])
    return per_channel[0] if np.all(per_channel == per_channel[0]) else neurons


def scaled(signal: Signal, factor: Array, shift: Array) -> Signal:
    """A signal times a factor, plus a shift, each a number, one per channel, or (of a signal without an activation) one per neuron."""
    if signal.pool is not None:
        signal = replace(signal, pool=replace(signal.pool, signs=signal.pool.signs * np.where(factor < 0, -1.0, 1.0)))
    if signal.form is not None:
        form = replace(signal.form, factor=signal.form.factor * factor, shift=signal.form.shift * factor + shift)
        return replace(signal, form=form)
    if factor.ndim == 3:
        terms = tuple(scaled_by_place(term, factor, signal.grid) for term in signal.terms)
    else:
        of_channels = np.broadcast_to(factor, (signal.grid[2],))
        terms = tuple(replace(term, scale=term.scale * of_channels[term.places()]) for term in signal.terms)
    return replace(signal, terms=terms, bias=signal.bias * factor + shift)


def evaluated(bias: Array, operator: g.Operator, before: Grid, flat: bool) -> Array:
    """What an operator makes of a constant, itself included: a number, one per channel or one per neuron."""
    values = np.broadcast_to(bias, before).astype(np.float64)
    made = operator.evaluate(values.reshape(1, -1) if flat else values.transpose(2, 0, 1)[None])[0]
    return narrowed(made.reshape(1, 1, -1) if made.ndim == 1 else made.transpose(1, 2, 0))


def gathered(signal: Signal, places: Numbers, shape: g.Shape, value: float = 0.0) -> Signal:
    """A signal (of terms) whose numbers stand at ``places`` of another one, or are ``value`` (-1), in a layer of the value's shape.

    Where whole channels are chosen, of the same locations, terms stay what they are; else they become maps.
    """
    grid, flat = grid_of(shape), len(shape) != 3
    order: Numbers = np.empty(places.size, np.int64)
    order[standard(grid, flat).ravel()] = places.ravel()
    join = Join(signal.grid, grid, "")
    channels = _channels(order.reshape(grid), signal.grid)
    terms = []
    moves = None
    for term in signal.terms:
        made = None if channels is None else chosen_channels(term, channels, join)
        if made is None:
            moves = gather(order, int(np.prod(signal.grid))) if moves is None else moves
            made = mapped(term, moves, join)
        if len(made.scale) and not (isinstance(made.operator, Map) and not made.operator.entries.nnz):
            terms.append(made)
    values = np.append(np.broadcast_to(signal.bias, signal.grid).ravel(), value)
    bias = narrowed(values[order].reshape(grid)) if np.any(values) else np.zeros(())
    return Signal(grid, flat, tuple(terms), bias, layout=standard(grid, True).reshape(shape) if len(shape) not in (1, 3) else None)


def _channels(order: Numbers, before: Grid) -> Numbers | None:
    """Which channel each one is, at every location its own, each at most once, -1 for none; None if it is not so."""
    if order.shape[:2] != before[:2]:
        return None
    chosen: Numbers = order[0, 0]
    kept = chosen[chosen >= 0]
    if np.any(kept >= before[2]) or len(np.unique(kept)) != len(kept):
        return None
    locations = np.arange(before[0] * before[1]).reshape(*before[:2], 1)
    same = np.where(chosen >= 0, locations * before[2] + chosen, -1)
    return chosen if np.array_equal(order, same) else None

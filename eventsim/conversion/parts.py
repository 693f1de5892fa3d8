"""Populations that are made of parts: channels that take nothing in common, several terms of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from eventsim.conversion.signals import Signal
from eventsim.conversion.terms import Array, Grid, Kernel, Map, Matrix, Numbers, Term, as_map


def components(terms: Sequence[Term], channels: int) -> list[Numbers]:
    """Sets of channels of which no term leads to two, ascending; those that no term leads to are in the first one."""
    found: list[set[int]] = []
    for term in terms:
        reached = set(term.places().tolist())
        joined = [part for part in found if part & reached]
        found = [part for part in found if not part & reached] + [reached.union(*joined)]
    found.sort(key=min)
    found[0] |= set(range(channels)) - set().union(*found)
    return [np.array(sorted(part)) for part in found]


def restricted(signal: Signal, channels: Numbers) -> Signal:
    """Of a signal, some channels, which its terms reach altogether or not at all."""
    where = np.full(signal.grid[2], -1)
    where[channels] = np.arange(len(channels))
    terms = []
    for term in signal.terms:
        place = where[term.places()]
        if place[0] >= 0:
            full = np.array_equal(place, np.arange(len(channels)))
            terms.append(replace(term, place=None if full else place))
    bias = signal.bias if signal.bias.ndim == 0 else signal.bias[..., channels]
    return replace(signal, grid=(*signal.grid[:2], len(channels)), terms=tuple(terms), bias=bias)


def inputs_scaled(term: Term, gain: Array) -> Term:
    """A term of values that are larger by a gain per channel of its source."""
    taken = gain if term.take is None else gain[term.take]
    op = term.operator
    if op is None:
        return replace(term, scale=term.scale * taken)
    if np.all(taken == taken[0]):
        return replace(term, scale=term.scale * taken[0])
    if isinstance(op, Kernel):
        each, outputs = op.weights.shape[2:]
        of_groups = np.repeat(taken.reshape(op.groups, each).T, outputs // op.groups, 1)
        return replace(term, operator=replace(op, weights=op.weights * of_groups))
    if isinstance(op, Matrix):
        return replace(term, operator=Matrix(op.weights * np.resize(taken, len(op.weights))[:, None]))
    assert isinstance(op, Map)
    rows = np.resize(taken, op.entries.shape[0])
    data = op.entries.data * np.repeat(rows, np.diff(op.entries.indptr))
    return replace(term, operator=Map(csr_array((data, op.entries.indices, op.entries.indptr), shape=op.entries.shape), op.shape))


def as_one(terms: Sequence[Term], grid: Grid) -> Term:
    """Terms of one source as one: a convolution, if they are so that have one stride, else a map."""
    kernels = [_as_kernel(term) for term in terms]
    made = _one_kernel([kernel for kernel in kernels if kernel is not None], terms[0].grid, grid)
    name = "+".join(dict.fromkeys(term.name for term in terms if term.name))
    if made is not None and all(kernels):
        return Term(terms[0].source, terms[0].grid, (1, 1), made, (1, 1), np.ones(grid[2]), name)
    entries = csr_array((terms[0].grid[0] * terms[0].grid[1] * terms[0].grid[2], grid[0] * grid[1] * grid[2]))
    for term in terms:
        op = as_map(term, grid).operator
        assert isinstance(op, Map)
        entries = csr_array(entries + op.entries)
    entries.sort_indices()
    return Term(terms[0].source, terms[0].grid, (1, 1), Map(entries, grid), (1, 1), np.ones(grid[2]), name)


def _as_kernel(term: Term) -> Kernel | None:
    """A term as a convolution without groups of all channels to all; None if it is none."""
    if not term.whole or (term.before, term.after) != ((1, 1), (1, 1)):
        return None
    if term.operator is None:
        return Kernel(np.diag(term.scale)[None, None], (1, 1), (0, 0, 0, 0))
    if isinstance(term.operator, Kernel) and term.operator.groups == 1 and term.operator.dilation == (1, 1):
        return replace(term.operator, weights=term.operator.weights * term.scale)
    return None


def _one_kernel(kernels: Sequence[Kernel], source: Grid, target: Grid) -> Kernel | None:
    """The sum of convolutions, of the size that all of them have together."""
    if len({kernel.stride for kernel in kernels}) != 1:
        return None
    stride = kernels[0].stride
    before, after = (tuple(max(side(kernel)[i] for kernel in kernels) for i in (0, 1)) for side in (_before, _after))
    shape = before[0] + after[0], before[1] + after[1]
    weights = np.zeros((*shape, *kernels[0].weights.shape[2:]))
    for kernel in kernels:
        top, left = before[0] - kernel.padding[0], before[1] - kernel.padding[1]
        rows, cols = kernel.weights.shape[:2]
        weights[top : top + rows, left : left + cols] += kernel.weights
    end = [(target[i] - 1) * stride[i] + shape[i] - source[i] - before[i] for i in (0, 1)]
    if min(end) < 0 or any(end[i] >= shape[i] or before[i] >= shape[i] for i in (0, 1)):
        return None
    return Kernel(weights, stride, (before[0], before[1], end[0], end[1]))


def _before(kernel: Kernel) -> tuple[int, int]:
    return kernel.padding[0], kernel.padding[1]


def _after(kernel: Kernel) -> tuple[int, int]:
    return kernel.weights.shape[0] - kernel.padding[0], kernel.weights.shape[1] - kernel.padding[1]

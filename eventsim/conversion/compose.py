"""Linear operators of a graph behind a term: the term that does both.

Where a convolution or a matrix stays one it does; everything else becomes a map, its synapses listed one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, eye_array, kron

from eventsim.conversion import operators as g
from eventsim.conversion.operators.weights import reach_of
from eventsim.conversion.terms import (
    Array,
    Grid,
    Kernel,
    Map,
    Matrix,
    Numbers,
    Term,
    as_map,
    check_size,
    gather,
    kernel_map,
    product,
)
from eventsim.errors import ConversionError


@dataclass(frozen=True)
class Join:
    """Between which values an operator stands.

    Attributes
    ----------
    before, after : (height, width, channels)
        Of the values before and after the operator.
    name : str
        Of the operator's node.
    """

    before: Grid
    after: Grid
    name: str


def compose(term: Term, operator: g.Operator, join: Join) -> list[Term]:
    """The terms that do what a term and then a linear operator do, less what the operator adds by itself (a bias, a padding's value).

    Raises
    ------
    ConversionError
        An operator that is not linear, or more synapses than can be listed.
    """
    made = _COMPOSE.get(type(operator))
    if made is None:
        raise ConversionError(f"{type(operator).__name__} is not supported between two activations")
    return made(term, operator, join)


def mapped(term: Term, entries: csr_array, join: Join) -> Term:
    """A term and then a map (neurons before, neurons after)."""
    first = as_map(term, join.before).operator
    assert isinstance(first, Map)
    whole = product(first.entries, entries)
    return Term(term.source, term.grid, (1, 1), Map(whole, join.after), (1, 1), np.ones(join.after[2]), join.name or term.name)


def scaled_by_place(term: Term, factor: Array, grid: Grid) -> Term:
    """A term times a factor of every neuron of its (height, width, channels) target."""
    made = as_map(term, grid)
    assert isinstance(made.operator, Map)
    entries = made.operator.entries
    data = entries.data * np.broadcast_to(factor, grid).ravel()[entries.indices]
    return replace(made, operator=Map(csr_array((data, entries.indices, entries.indptr), shape=entries.shape), grid))


def chosen_channels(term: Term, chosen: Numbers, join: Join) -> Term | None:
    """The term of the channels ``chosen``, each at most once, -1 for nothing; None if it would not be cheap."""
    where = np.full(join.before[2], -1)
    where[chosen[chosen >= 0]] = np.flatnonzero(chosen >= 0)
    targets = where[term.places()]
    kept = np.flatnonzero(targets >= 0)
    place = _places(targets[kept], join.after[2])
    if len(kept) == len(targets):
        return replace(term, place=place)
    scale, op = term.scale[kept], term.operator
    if op is None:
        take = kept if term.take is None else term.take[kept]
        return replace(term, take=take, place=place, scale=scale)
    if isinstance(op, Matrix):
        return replace(term, operator=Matrix(op.weights[:, kept]), place=place, scale=scale)
    if isinstance(op, Kernel) and op.groups == 1 and len(kept):
        return replace(term, operator=replace(op, weights=op.weights[..., kept]), place=place, scale=scale)
    return None


def _places(place: Numbers, channels: int) -> Numbers | None:
    """None for all channels in their order."""
    return None if len(place) == channels and np.array_equal(place, np.arange(channels)) else place


# --- Convolutions -------------------------------------------------------------------------------------------------------


def _convolution(term: Term, operator: g.Operator, join: Join) -> list[Term]:
    assert isinstance(operator, g.Convolution)
    kernel = Kernel(operator.weight.transpose(2, 3, 1, 0), operator.stride, operator.padding, operator.dilation, operator.groups)
    made: Term | None = None
    if term.operator is None:
        made = _on_values(term, kernel, join)
    elif isinstance(term.operator, Kernel) and term.after == (1, 1) and not any(kernel.padding):
        made = _behind_kernel(term, term.operator, kernel, join)
    elif isinstance(term.operator, Matrix) and join.after[:2] == (1, 1) and kernel.groups == 1 and not any(kernel.padding):
        weights = term.operator.weights * term.scale @ kernel.weights[0, 0, term.places()]
        made = Term(term.source, term.grid, term.before, Matrix(weights), (1, 1), np.ones(join.after[2]), join.name)
    if made is not None:
        return [made]
    first = as_map(term, join.before)
    assert isinstance(first.operator, Map)
    reached = np.zeros(join.before[0] * join.before[1], bool)
    reached[first.operator.entries.indices // join.before[2]] = True
    return [mapped(first, kernel_map(kernel, join.before[:2], reached), join)]


def _on_values(term: Term, kernel: Kernel, join: Join) -> Term | None:
    """A convolution of (some channels of) a population's values; None if it has to be listed."""
    top, left, bottom, right = term.margin
    sides = kernel.padding
    padding = sides[0] + top, sides[1] + left, sides[2] + bottom, sides[3] + right
    if any(padding[i] >= reach_of(kernel.weights.shape, kernel.dilation)[i % 2] for i in range(4)):
        return None
    kernel = replace(kernel, padding=padding)
    made = _some_groups(term, kernel, join)
    if made is None:
        return None
    order, kernel, place = made
    take = order if term.take is None else term.take[order]
    each, outputs = kernel.weights.shape[2:]
    factor, scale = term.scale[order], np.ones(outputs)
    if np.all(factor == factor[0]):
        # One scale for all inputs: binary weights stay binary.
        scale = scale * factor[0]
    else:
        of_groups = np.repeat(factor.reshape(kernel.groups, each).T, outputs // kernel.groups, 1)
        kernel = replace(kernel, weights=kernel.weights * of_groups)
    return Term(term.source, term.grid, term.before, kernel, (1, 1), scale, join.name, _places(take, term.grid[2]), place)


def _some_groups(term: Term, kernel: Kernel, join: Join) -> tuple[Numbers, Kernel, Numbers | None] | None:
    """Of a convolution, what takes a term's values: which outputs of the term in which order, the convolution, and where its outputs go.

    None if a group takes some of a term's outputs and something else.
    """
    kh, kw, each, outputs = kernel.weights.shape
    per = outputs // kernel.groups
    if kernel.groups == 1:
        places = term.places()
        return np.arange(len(places)), kernel if term.place is None else replace(kernel, weights=kernel.weights[:, :, places]), None
    which = np.full(join.before[2], -1)
    which[term.places()] = np.arange(len(term.scale))
    members = which.reshape(kernel.groups, each)
    covered = np.flatnonzero((members >= 0).all(1))
    if np.any(members[(members < 0).any(1)] >= 0) or not len(covered):
        return None
    weights = kernel.weights.reshape(kh, kw, each, kernel.groups, per)[:, :, :, covered].reshape(kh, kw, each, -1)
    place = np.add.outer(covered * per, np.arange(per)).ravel()
    return members[covered].ravel(), replace(kernel, weights=weights, groups=len(covered)), _places(place, outputs)


def _behind_kernel(term: Term, first: Kernel, second: Kernel, join: Join) -> Term | None:
    """A convolution without padding behind another one; None if the two are none."""
    point = second.weights.shape[:2] == (1, 1)
    dense = first.dilation == second.dilation == (1, 1) and all(first.stride[i] <= first.weights.shape[i] for i in (0, 1))
    if not (point or dense) or (second.groups > 1 and (term.place is not None or first.groups not in (1, second.groups))):
        return None
    both = max(first.groups, second.groups) if first.groups == second.groups or second.groups > 1 else first.groups
    (kh, kw, each, middle), (k2h, k2w, each2, outputs) = first.weights.shape, second.weights.shape
    one = np.asarray(first.weights * term.scale, np.float64).reshape(kh, kw, each, first.groups, middle // first.groups)
    two = np.asarray(second.weights, np.float64)
    if second.groups == 1:
        two = two[:, :, term.places()].reshape(k2h, k2w, first.groups, middle // first.groups, outputs)
        taps, grouped = np.einsum("uvigm,abgmo->abuvgio", one, two, optimize=True), 1
        taps = taps.reshape(k2h, k2w, kh, kw, -1, outputs)
    else:
        two = two.reshape(k2h, k2w, each2, second.groups, outputs // second.groups)
        grouped = second.groups if first.groups == second.groups else 1
        one = one if first.groups == both else one.reshape(kh, kw, each, both, middle // both)
        taps = np.einsum("uvigm,abmgo->abuvigo", one, two, optimize=True).reshape(k2h, k2w, kh, kw, each, outputs)
    (sy, sx), step = first.stride, second.stride
    weights = np.zeros((kh + sy * (k2h - 1), kw + sx * (k2w - 1), *taps.shape[4:]))
    for a in range(k2h):
        for b in range(k2w):
            weights[a * sy : a * sy + kh, b * sx : b * sx + kw] += taps[a, b]
    kernel = Kernel(weights, (sy * step[0], sx * step[1]), first.padding, first.dilation, grouped)
    return Term(term.source, term.grid, term.before, kernel, (1, 1), np.ones(outputs), join.name, term.take)


def _transposed(term: Term, operator: g.Operator, join: Join) -> list[Term]:
    assert isinstance(operator, g.TransposedConvolution)
    kernel = Kernel(operator.weight.transpose(2, 3, 1, 0), operator.stride, operator.padding, operator.dilation, operator.groups)
    if kernel.output_size(join.after[:2]) != join.before[:2]:
        raise ConversionError(f"an output padding {operator.output_padding} beyond the stride {operator.stride}")
    return [mapped(term, csr_array(kernel_map(kernel, join.after[:2]).T), join)]


# --- Matrices -----------------------------------------------------------------------------------------------------------


def matrix(term: Term, weights: g.Weights, join: Join) -> Term:
    """A term and then a matrix (neurons before, outputs)."""
    height, width, channels = join.before
    outputs = weights.shape[1]
    if term.operator is None and not any(term.margin):
        rows = weights.reshape(height, width, channels, outputs)[:, :, term.places()]
        take, factor, scale = term.take, term.scale, np.ones(outputs)
        if np.all(factor == factor[0]):
            scale = scale * factor[0]
        else:
            rows = rows * factor[:, None]
        if take is None:
            return Term(term.source, term.grid, term.before, Matrix(rows.reshape(-1, outputs)), (1, 1), scale, join.name)
        return Term(term.source, term.grid, term.before, Kernel(rows, (1, 1), (0, 0, 0, 0)), (1, 1), scale, join.name, take)
    if isinstance(term.operator, Matrix):
        whole = (term.operator.weights * term.scale) @ weights.reshape(channels, outputs)[term.places()]
        return Term(term.source, term.grid, term.before, Matrix(whole), (1, 1), np.ones(outputs), join.name)
    first = as_map(term, join.before).operator
    assert isinstance(first, Map)
    reaching = np.flatnonzero(np.diff(first.entries.indptr))
    if len(reaching) == first.entries.shape[0]:
        check_size(len(reaching) * outputs)
        return Term(term.source, term.grid, (1, 1), Matrix(first.entries @ weights), (1, 1), np.ones(outputs), join.name)
    check_size(len(reaching) * outputs)
    values = np.asarray(first.entries[reaching] @ weights, np.float64)
    indptr = np.concatenate(([0], np.cumsum(np.where(np.diff(first.entries.indptr) > 0, outputs, 0))))
    entries = csr_array((values.ravel(), np.tile(np.arange(outputs), len(reaching)), indptr), shape=(first.entries.shape[0], outputs))
    return Term(term.source, term.grid, (1, 1), Map(entries, join.after), (1, 1), np.ones(outputs), join.name)


# --- Pools and other maps of rows and columns ---------------------------------------------------------------------------


def _average(term: Term, operator: g.Operator, join: Join) -> list[Term]:
    assert isinstance(operator, g.AveragePool)
    (wy, wx), size = operator.window, join.before[:2]
    if operator.plain(size) and (term.operator is None or isinstance(term.operator, Kernel)) and not any(term.margin):
        scale = term.scale / (wy * wx)
        if term.operator is None:
            return [replace(term, before=(term.before[0] * wy, term.before[1] * wx), scale=scale)]
        return [replace(term, after=(term.after[0] * wy, term.after[1] * wx), scale=scale)]
    reach = [(join.after[i] - 1) * operator.step[i] + operator.window[i] for i in (0, 1)]
    whole = all(reach[i] <= size[i] + operator.padding[i] + operator.padding[i + 2] for i in (0, 1))
    alike = operator.divisor is not None or operator.count_padding or not any(operator.padding)
    if whole and alike and not isinstance(term.operator, Map) and term.before == (1, 1):
        divisor = wy * wx if operator.divisor is None else operator.divisor
        weights = np.full((join.before[2], 1, wy, wx), 1.0)
        pool = g.Convolution(weights, None, operator.step, operator.padding, groups=join.before[2])
        scaled = replace(term, scale=term.scale / divisor)
        return _convolution(scaled, pool, join)
    return _separable(term, operator, join)


def _separable(term: Term, operator: g.Operator, join: Join) -> list[Term]:
    assert isinstance(operator, g.Separable)
    down, across = operator.matrices(join.before[:2])
    check_size(int(np.count_nonzero(down)) * int(np.count_nonzero(across)) * join.before[2])
    entries = csr_array(kron(kron(csr_array(down.T), csr_array(across.T)), eye_array(join.before[2])))
    return [mapped(term, entries, join)]


# --- Paddings -----------------------------------------------------------------------------------------------------------


def _pad(term: Term, operator: g.Operator, join: Join) -> list[Term]:
    assert isinstance(operator, g.Pad)
    if len(operator.widths) != 3 or any(operator.widths[0]):
        return [gathered(term, operator, join)]
    (top, bottom), (left, right) = operator.widths[1:]
    around = term.margin
    sides = around[0] + top, around[1] + left, around[2] + bottom, around[3] + right
    inside = replace(term, margin=sides) if term.operator is None else _zeros_around(term, (top, left), join)
    if operator.mode == "constant":
        return [inside]
    places = moved(operator, join.before)
    # The inner part is what a padding of zeros has; the new cells are listed.
    places[top : top + join.before[0], left : left + join.before[1]] = -1
    border = mapped(term, gather(places.ravel(), int(np.prod(join.before))), join)
    return [inside, border]


def _zeros_around(term: Term, corner: tuple[int, int], join: Join) -> Term:
    full = np.arange(np.prod(join.after)).reshape(join.after)
    height, width, _ = join.before
    first = as_map(term, join.before)
    assert isinstance(first.operator, Map)
    targets = full[corner[0] : corner[0] + height, corner[1] : corner[1] + width].ravel()
    entries = first.operator.entries
    shape = entries.shape[0], full.size
    return replace(first, operator=Map(csr_array((entries.data, targets[entries.indices], entries.indptr), shape=shape), join.after))


def gathered(term: Term, operator: g.Operator, join: Join) -> Term:
    """A term and then an operator that passes values on to other places."""
    return mapped(term, gather(moved(operator, join.before).ravel(), int(np.prod(join.before))), join)


def moved(operator: g.Operator, before: Grid) -> Numbers:
    """Which neuron (height, width, channels) each one of an image stands for after it was moved, -1 for none: (height, width, channels)."""
    numbers = np.arange(1.0, np.prod(before) + 1).reshape(1, *before).transpose(0, 3, 1, 2)
    if isinstance(operator, g.Pad):
        operator = replace(operator, value=0.0)
    made: Numbers = operator.evaluate(numbers)[0].transpose(1, 2, 0).astype(np.int64) - 1
    return made


_COMPOSE: dict[type, Callable[[Term, g.Operator, Join], list[Term]]] = {
    g.Convolution: _convolution,
    g.TransposedConvolution: _transposed,
    g.AveragePool: _average,
    g.AdaptiveAveragePool: _separable,
    g.Resample: _separable,
    g.Pad: _pad,
}

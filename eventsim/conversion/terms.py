"""What one population contributes to another: linear operators between layers of neurons, and what they make of values.

Arrays are channel last here, as in :mod:`eventsim.model.tables`: values are (batch, height, width, channels), and neurons are numbered
row by row, channel last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from eventsim.conversion.operators import Shape, Values, Weights
from eventsim.conversion.operators.weights import reach_of
from eventsim.errors import ConversionError

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Grid = tuple[int, int, int]

IMAGE = ""  # The name under which terms refer to the network's input.

# Synapses that are listed one by one: more take gigabytes.
MOST_ENTRIES = 2**24


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution.

    Attributes
    ----------
    weights : float (rows, columns, inputs / groups, outputs)
    stride, dilation : (rows, columns)
    padding : (top, left, bottom, right)
        Of zeros.
    groups : int
        Ranges of inputs and outputs, each range of outputs taking its range of inputs only.
    """

    weights: Weights
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def inputs(self) -> int:
        """Numbers that it takes."""
        return self.weights.shape[2] * self.groups

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns that it makes of so many."""
        reach = reach_of(self.weights.shape, self.dilation)
        rows, cols = ((size[i] + self.padding[i] + self.padding[i + 2] - reach[i]) // self.stride[i] + 1 for i in (0, 1))
        return rows, cols


@dataclass(frozen=True, eq=False)
class Matrix:
    """All-to-all weights: float (inputs, outputs), inputs numbered row by row, channel last."""

    weights: Weights


@dataclass(frozen=True, eq=False)
class Map:
    """Any linear map, its synapses listed one by one.

    Attributes
    ----------
    entries : csr_array (source neurons, neurons)
        Sorted, every stored entry a synapse, zeros included.
    shape : (height, width, channels)
        Of the neurons that it makes.
    """

    entries: csr_array
    shape: Grid

    @cached_property
    def channels(self) -> Numbers:
        """The channel that each entry leads to."""
        found: Numbers = self.entries.indices.astype(np.int64) % self.shape[2]
        return found


@dataclass(frozen=True, eq=False)
class Extreme:
    """The largest or smallest value of each window and channel; cells of the padding (top, left, bottom, right) are left out.

    ``largest`` says which of the two, bool (channels,): a negative scale behind a maximum makes a minimum of what is before it.
    """

    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    largest: npt.NDArray[np.bool_]
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, eq=False)
class Term:
    """What one source contributes to a population: ``scale * after(operator(before(values)))`` of some channels, in some channels.

    Attributes
    ----------
    source : str
        A layer's name, or ``IMAGE``.
    grid : (height, width, channels)
        The source's shape.
    before, after : (int, int)
        Windows whose *sums* are taken (the division is in the scale); (1, 1) is no pooling.
    operator : Kernel, Matrix, Map, Extreme or None
        None passes the values on, each neuron to its counterpart. A map takes all channels, not pooled.
    scale : float64 (outputs,)
    name : str
        Of the source network's node, for messages and reports.
    take : int (inputs,), optional
        The channels of the source that the operator takes, in its order. Default: all.
    place : int (outputs,), optional
        The channels of the population that its outputs are added to, each another one. Default: all.
    margin : (top, left, bottom, right)
        Zeros around it, of a term without an operator: a convolution behind it makes them its padding.
    """

    source: str
    grid: Grid
    before: tuple[int, int]
    operator: Kernel | Matrix | Map | Extreme | None
    after: tuple[int, int]
    scale: Array
    name: str = ""
    take: Numbers | None = None
    place: Numbers | None = None
    margin: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def whole(self) -> bool:
        """Takes all channels in their order, and makes all."""
        return self.take is None and self.place is None and not any(self.margin)

    def places(self) -> Numbers:
        """The channels that its outputs are added to."""
        return np.arange(len(self.scale)) if self.place is None else self.place


def spatial(shape: Shape) -> Grid:
    """A population's shape as (height, width, channels)."""
    return (1, 1, shape[0]) if len(shape) == 1 else (shape[0], shape[1], shape[2])


def pool(x: Values, window: tuple[int, int]) -> Values:
    """Sums over windows of (batch, height, width, channels)."""
    if window == (1, 1):
        return x
    n, height, width, channels = x.shape
    rows, cols = height // window[0], width // window[1]
    x = x[:, : rows * window[0], : cols * window[1]]
    made: Values = x.reshape(n, rows, window[0], cols, window[1], channels).sum((2, 4))
    return made


def convolve(x: Values, kernel: Kernel) -> Values:
    """The convolution of (batch, height, width, channels), in x's floating-point type."""
    top, left, bottom, right = kernel.padding
    kh, kw, inputs, outputs = kernel.weights.shape
    weights = kernel.weights.astype(x.dtype).reshape(kh, kw, inputs, kernel.groups, outputs // kernel.groups).transpose(0, 1, 3, 2, 4)
    rows, cols = kernel.output_size((x.shape[1], x.shape[2]))
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    out = np.zeros((kernel.groups, len(x) * rows * cols, outputs // kernel.groups), x.dtype)
    for u in range(kh):
        for v in range(kw):
            y, z = u * kernel.dilation[0], v * kernel.dilation[1]
            window = padded[
                :,
                y : y + (rows - 1) * kernel.stride[0] + 1 : kernel.stride[0],
                z : z + (cols - 1) * kernel.stride[1] + 1 : kernel.stride[1],
            ]
            out += window.reshape(-1, kernel.groups, inputs).transpose(1, 0, 2) @ weights[u, v]
    return out.transpose(1, 0, 2).reshape(len(x), rows, cols, outputs)


def extreme(x: Values, operator: Extreme) -> Values:
    """Largest or smallest values of the windows of (batch, height, width, channels)."""
    top, left, bottom, right = operator.padding
    sign = np.where(operator.largest, 1, -1).astype(x.dtype)
    padded = np.pad(x * sign, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach_of(operator.window, operator.dilation), (1, 2))
    dilated = windows[:, :: operator.stride[0], :: operator.stride[1], :, :: operator.dilation[0], :: operator.dilation[1]]
    made: Values = dilated.max((-2, -1)) * sign
    return made


def _convolved(x: Values, operator: object) -> Values:
    assert isinstance(operator, Kernel)
    return convolve(x, operator)


def _multiplied(x: Values, operator: object) -> Values:
    assert isinstance(operator, Matrix)
    made: Values = (x.reshape(len(x), -1) @ operator.weights.astype(x.dtype))[:, None, None, :]
    return made


def _mapped(x: Values, operator: object) -> Values:
    assert isinstance(operator, Map)
    made: Values = (operator.entries.T.astype(x.dtype) @ x.reshape(len(x), -1).T).T.reshape(len(x), *operator.shape)
    return made


def _extreme(x: Values, operator: object) -> Values:
    assert isinstance(operator, Extreme)
    return extreme(x, operator)


_APPLY: dict[type, Callable[[Values, object], Values]] = {
    Kernel: _convolved,
    Matrix: _multiplied,
    Map: _mapped,
    Extreme: _extreme,
    type(None): lambda x, operator: x,
}


def apply(term: Term, values: Values, channels: int) -> Values:
    """What a term makes of its source's values (batch, *source shape), for a population of so many channels."""
    x = values if values.ndim == 4 else values[:, None, None, :]
    if term.take is not None:
        x = x[..., term.take]
    x = _APPLY[type(term.operator)](pool(x, term.before), term.operator)
    x = pool(x, term.after) * term.scale.astype(x.dtype)
    if any(term.margin):
        top, left, bottom, right = term.margin
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    if term.place is None:
        return x
    whole = np.zeros((*x.shape[:3], channels), x.dtype)
    whole[..., term.place] = x
    return whole


# --- Terms as maps ------------------------------------------------------------------------------------------------------


def listed(sources: Numbers, targets: Numbers, weights: npt.NDArray[np.floating], shape: tuple[int, int]) -> csr_array:
    """Synapses as a matrix, those that share both ends summed."""
    check_size(len(sources))
    entries = csr_array((np.asarray(weights, np.float64), (sources, targets)), shape=shape)
    entries.sum_duplicates()
    entries.sort_indices()
    return entries


def product(first: csr_array, second: csr_array) -> csr_array:
    """``first @ second``; a synapse that adds up to nothing is none."""
    check_size(int(np.diff(second.indptr)[first.indices].sum()))
    made = csr_array(first @ second)
    made.sort_indices()
    return made


def check_size(synapses: int) -> None:
    """Raise ConversionError for more synapses than can be listed one by one."""
    if synapses > MOST_ENTRIES:
        raise ConversionError(
            f"two layers with weights without an activation between them, or a rare operator, need {synapses:,} synapses listed one by "
            f"one, the limit is {MOST_ENTRIES:,}; put a ReLU between them or merge them"
        )


def taps(kernel: Kernel, size: tuple[int, int]) -> tuple[Numbers, Numbers, Numbers]:
    """Which locations a convolution joins: source location, target location and tap, all pairs that exist."""
    rows, cols = kernel.output_size(size)
    found = []
    for i, outputs in enumerate((rows, cols)):
        k = np.arange(kernel.weights.shape[i])
        at = np.arange(outputs)[:, None] * kernel.stride[i] + k * kernel.dilation[i] - kernel.padding[i]
        target, tap = np.nonzero((at >= 0) & (at < size[i]))
        found.append((at[target, tap], target, tap))
    (y, out_y, u), (x, out_x, v) = found
    return (
        np.add.outer(y * size[1], x).ravel(),
        np.add.outer(out_y * cols, out_x).ravel(),
        np.add.outer(u * kernel.weights.shape[1], v).ravel(),
    )


def synapses(kernel: Kernel, size: tuple[int, int], only: npt.NDArray[np.bool_] | None = None) -> tuple[Numbers, Numbers, Numbers]:
    """All synapses of a convolution: source neuron, target neuron, and place of the weight in the flat array.

    ``only``, bool (locations,), says from which locations, if not from all.
    """
    each, outputs = kernel.weights.shape[2:]
    source, target, tap = taps(kernel, size)
    if only is not None:
        wanted = only[source]
        source, target, tap = source[wanted], target[wanted], tap[wanted]
    check_size(len(source) * each * outputs)
    i, o = (a.ravel() for a in np.indices((each, outputs)))
    channel = o // (outputs // kernel.groups) * each + i
    return (
        np.add.outer(source * kernel.inputs, channel).ravel(),
        np.add.outer(target * outputs, o).ravel(),
        np.add.outer(tap * each * outputs, i * outputs + o).ravel(),
    )


def kernel_map(kernel: Kernel, size: tuple[int, int], only: npt.NDArray[np.bool_] | None = None) -> csr_array:
    """A convolution of an image of so many rows and columns as a matrix; ``only`` as in :func:`synapses`."""
    sources, targets, weights = synapses(kernel, size, only)
    rows, cols = kernel.output_size(size)
    shape = size[0] * size[1] * kernel.inputs, rows * cols * kernel.weights.shape[3]
    return listed(sources, targets, kernel.weights.ravel()[weights], shape)


def gather(places: Numbers, count: int) -> csr_array:
    """The matrix (count, len(places)) that brings to each place the number that stands at ``places``, or nothing for -1."""
    kept = np.flatnonzero(places >= 0)
    return listed(places[kept], kept, np.ones(len(kept)), (count, len(places)))


def summing(grid: Grid, window: tuple[int, int]) -> csr_array:
    """The matrix that takes sums over windows of a (height, width, channels) grid, incomplete ones left out."""
    height, width, channels = grid
    rows, cols = height // window[0], width // window[1]
    y, x, c = np.indices(grid).reshape(3, -1)
    y, x = y // window[0], x // window[1]
    inside = np.flatnonzero((y < rows) & (x < cols))
    targets = ((y * cols + x) * channels + c)[inside]
    return listed(inside, targets, np.ones(len(inside)), (height * width * channels, rows * cols * channels))


def as_map(term: Term, target: Grid) -> Term:
    """The same term with its synapses listed one by one: a map of the whole source to the whole (height, width, channels) target."""
    if isinstance(term.operator, Map) and term.whole:
        return _scaled_into(term)
    grid, made = term.grid, None
    if term.take is not None:
        count = grid[0] * grid[1] * grid[2]
        at = np.arange(count).reshape(grid)[..., term.take]
        made, grid = gather(at.ravel(), count), (grid[0], grid[1], len(term.take))
    if term.before != (1, 1):
        made, grid = _then(made, summing(grid, term.before)), _pooled(grid, term.before)
    if isinstance(term.operator, Kernel):
        made = _then(made, kernel_map(term.operator, grid[:2]))
        grid = *term.operator.output_size(grid[:2]), term.operator.weights.shape[3]
    elif isinstance(term.operator, Matrix):
        check_size(term.operator.weights.size)
        made, grid = _then(made, csr_array(np.asarray(term.operator.weights, np.float64))), (1, 1, term.operator.weights.shape[1])
    elif isinstance(term.operator, Map):
        made, grid = _then(made, term.operator.entries), term.operator.shape
    elif term.operator is not None:
        raise ConversionError("a maximum that is no population")
    if term.after != (1, 1):
        made, grid = _then(made, summing(grid, term.after)), _pooled(grid, term.after)
    if made is None:
        made = gather(np.arange(grid[0] * grid[1] * grid[2]), grid[0] * grid[1] * grid[2])
    made = csr_array((made.data * term.scale[made.indices % grid[2]], made.indices, made.indptr), shape=made.shape)
    if term.place is not None or any(term.margin):
        top, left = term.margin[:2]
        full = np.arange(target[0] * target[1] * target[2]).reshape(target)
        at = full[top : top + grid[0], left : left + grid[1]][..., term.places()].ravel()
        made = csr_array((made.data, at[made.indices], made.indptr), shape=(made.shape[0], full.size))
        made.sort_indices()
    mapped = Map(made, target)
    return Term(term.source, term.grid, (1, 1), mapped, (1, 1), np.ones(target[2]), term.name)


def _scaled_into(term: Term) -> Term:
    assert isinstance(term.operator, Map)
    if np.all(term.scale == 1):
        return term
    entries = term.operator.entries
    data = entries.data * term.scale[term.operator.channels]
    scaled = Map(csr_array((data, entries.indices, entries.indptr), shape=entries.shape), term.operator.shape)
    return replace(term, operator=scaled, scale=np.ones(len(term.scale)))


def _then(first: csr_array | None, second: csr_array) -> csr_array:
    return second if first is None else product(first, second)


def _pooled(grid: Grid, window: tuple[int, int]) -> Grid:
    return grid[0] // window[0], grid[1] // window[1], grid[2]

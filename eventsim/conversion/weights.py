"""Weights of terms with all that scales them, the integers that they become, and the tables that hold those."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from eventsim.conversion.terms import IMAGE, Array, Kernel, Map, Matrix, Numbers, Term, as_map, spatial
from eventsim.errors import ConversionError
from eventsim.model.tables import Conv2d, Dense, GroupedConv2d, Sparse, Table

# Magnitudes of weights computed in float32 differ in the last digits.
SAME_MAGNITUDE = 1e-5
LARGEST_WEIGHT = 2**30
# Weights that are whole numbers of quanta to so many digits are meant to be, as they were computed in float32; but any number comes to
# so many digits of a large one, if not within so much of a quantum.
_GRID, _LARGEST_MISS = 1e-5, 0.1
_LARGEST_RATIO = 2**20
# Weights looked at in one piece.
_PART = 2**22
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class ScaledWeights:
    """One term's weights with everything that scales them.

    Those of a convolution or a matrix are (rows, outputs), all weights that lead to an output in one column; those of a map are a list.

    Attributes
    ----------
    factor : float64, (outputs,) or (inputs, outputs)
        What one spike adds to the pre-activation is the operator's weights times this.
    magnitude : float64 (outputs,) or None
        If the weights are binary: what each filter's are worth.
    """

    term: Term
    factor: Array
    magnitude: Array | None

    @property
    def outputs(self) -> int:
        """Channels that the term makes."""
        return len(self.term.scale)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weights: (..., inputs, outputs), or of a map's list."""
        return _flat(self.term).shape if self.term.operator is None else self._operator_weights().shape

    def _operator_weights(self) -> npt.NDArray[np.floating]:
        op = self.term.operator
        assert isinstance(op, (Kernel, Matrix, Map))
        return op.entries.data if isinstance(op, Map) else op.weights

    def parts(self) -> Iterator[tuple[slice, Array, slice | Numbers]]:
        """Weights times ``factor`` piece by piece (a whole layer of VGG would take gigabytes): which ones, float64, and of which outputs.

        Of (rows, outputs) some rows, of all outputs; of a list a part of it, each weight of its own output.
        """
        flat = _flat(self.term)
        if isinstance(self.term.operator, Map):
            entries = self.term.operator.entries
            for start in range(0, len(flat), _PART):
                part = slice(start, min(start + _PART, len(flat)))
                channels = self.term.operator.channels[part]
                if self.factor.ndim == 2:
                    rows = np.searchsorted(entries.indptr, np.arange(part.start, part.stop), "right") - 1
                    factor = self.factor[rows % len(self.factor), channels]
                else:
                    factor = self.factor[channels]
                yield part, flat[part] * factor, channels
            return
        step = max(1, _PART // self.outputs)
        for start in range(0, len(flat), step):
            part = slice(start, min(start + step, len(flat)))
            factor = self.factor if self.factor.ndim == 1 else self.factor[np.arange(part.start, part.stop) % len(self.factor)]
            yield part, flat[part] * factor, slice(None)

    def over_outputs(
        self, of: Callable[[Array, slice | Numbers], npt.NDArray[np.floating]], ufunc: np.ufunc, initial: float = 0.0
    ) -> Array:
        """Something made of weights, and of the outputs that they lead to, reduced for each output: float64 (outputs,)."""
        found: Array = np.full(self.outputs, initial)
        for _, real, outputs in self.parts():
            values = of(real, outputs)
            if isinstance(outputs, slice):
                found = np.asarray(ufunc(found, ufunc.reduce(values, 0)), np.float64)
            else:
                ufunc.at(found, outputs, values)
        return found

    def largest(self) -> Array:
        """Largest magnitude per output, float64 (outputs,)."""
        return self.over_outputs(lambda real, outputs: np.asarray(np.abs(real)), np.maximum)

    def rounded(self, quantum: Array) -> Array:
        """Weights in quanta of each output (float64, whole numbers), in the order of :meth:`parts`, flat."""
        return np.concatenate([np.round(real / quantum[outputs]).ravel() for _, real, outputs in self.parts()] or [np.zeros(0)])

    def error(self, integers: Integers, quantum: Array) -> float:
        """Largest difference of integers times a quantum per output from the weights."""
        flat = integers.reshape(_flat(self.term).shape)
        return max((float(np.abs(flat[part] * quantum[outputs] - real).max()) for part, real, outputs in self.parts()), default=0.0)


def _flat(term: Term) -> npt.NDArray[np.floating]:
    op = term.operator
    if op is None:
        return np.ones((1, len(term.scale)))
    if isinstance(op, Map):
        data: Array = op.entries.data
        return data
    assert isinstance(op, (Kernel, Matrix))
    return op.weights.reshape(-1, len(term.scale))


def weights_of(term: Term, gain: Array) -> ScaledWeights:
    """The term's weights, scaled by what a spike of its source stands for, per channel of the source."""
    gain = np.broadcast_to(gain, (term.grid[2],))
    taken, op = gain if term.take is None else gain[term.take], term.operator
    if op is None:
        factor = term.scale * taken
        return ScaledWeights(term, factor, np.abs(factor) if np.all(factor) else None)
    if not np.all(taken == taken[0]):
        # Inputs are numbered channel last, in kernels and matrices alike.
        of_inputs = taken[:, None]
        if isinstance(op, Kernel) and op.groups > 1:
            each, outputs = op.weights.shape[2:]
            of_inputs = np.repeat(taken.reshape(op.groups, each).T, outputs // op.groups, 1)
        return ScaledWeights(term, of_inputs * term.scale, None)
    factor = term.scale * taken[0]
    magnitude = _magnitude(term)
    return ScaledWeights(term, factor, None if magnitude is None else magnitude * np.abs(factor))


def passes(term: Term) -> bool:
    """Whether a term passes values on, or sums of them, rather than weighing them."""
    return term.operator is None or (isinstance(term.operator, Map) and not np.any(term.operator.entries.data < 0))


def _magnitude(term: Term) -> Array | None:
    """What a binary operator's weights are worth per output; None if they are not binary."""
    alone = ScaledWeights(term, np.ones(len(term.scale)), None)
    count = alone.over_outputs(lambda real, outputs: np.ones_like(real), np.add)
    magnitude = alone.over_outputs(lambda real, outputs: np.abs(real), np.add) / np.maximum(count, 1)
    other = alone.over_outputs(
        lambda real, outputs: 1.0 * (np.abs(np.abs(real) - magnitude[outputs]) > SAME_MAGNITUDE * magnitude[outputs]), np.maximum
    )
    return magnitude if not np.any(other) and np.all(magnitude > 0) else None


def source_is_binary(term: Term) -> bool:
    """Whether a term's weights in the source are +-alpha, one alpha a filter."""
    return not passes(term) and _magnitude(term) is not None


def signs_of(weights: ScaledWeights, integers: Integers) -> tuple[int, int]:
    """(weights whose sign is wrong, output channels that the source scales by a negative number)."""
    term = weights.term
    flipped = int(np.count_nonzero(term.scale < 0))
    if passes(term):
        return 0, flipped
    made = integers.reshape(_flat(term).shape)
    source = ScaledWeights(term, np.where(term.scale < 0, -1.0, 1.0), None)
    count = 0
    for part, expected, outputs in source.parts():
        wrong = (np.sign(made[part]) != np.sign(expected)) & (np.abs(term.scale[outputs]) > 0)
        if weights.magnitude is None:
            wrong &= made[part] != 0
        count += int(np.count_nonzero(wrong))
    return count, flipped


def smallest_type(largest: float) -> type[np.integer]:
    """The narrowest integers that hold a magnitude; raises ConversionError beyond 2**30."""
    if largest > LARGEST_WEIGHT:
        raise ConversionError("weights of the layer's projections differ by more than 2**30 in size")
    return next(t for t in (np.int8, np.int16, np.int32) if largest <= np.iinfo(t).max)


def reach_of_spikes(term: Term, integers: Integers) -> Numbers:
    """More than any neuron gets if every source neuron spikes once, per channel that the term makes: int64 (outputs,)."""
    sizes = np.abs(integers.astype(np.int64))
    if isinstance(term.operator, Map):
        sums = np.bincount(term.operator.entries.indices, sizes, minlength=term.operator.entries.shape[1])
        most: Numbers = sums.reshape(-1, len(term.scale)).max(0).astype(np.int64)
        return most
    pooled = term.before[0] * term.before[1] * term.after[0] * term.after[1]
    reach: Numbers = sizes.reshape(-1, len(term.scale)).sum(0) * pooled
    return reach


# --- Grids --------------------------------------------------------------------------------------------------------------


def shared(term: Term, share: float, unit: Array) -> ScaledWeights:
    """The term's weights times what a spike (or a unit of the image) is worth."""
    if term.source != IMAGE:
        return ScaledWeights(term, term.scale * share, None)
    return weights_of(term, unit)


def common_quantum(parts: list[tuple[Term, float]], channels: int, by_channel: bool, unit: Array | None = None) -> tuple[Array, bool]:
    """The largest number per output channel (or one for all) of which all weights are whole multiples; and whether there is one."""
    weights = [shared(term, share, np.ones(1) if unit is None else unit) for term, share in parts]
    least = np.full(channels, np.inf)
    for w in weights:
        smallest = w.over_outputs(lambda real, outputs: np.where(real != 0, np.abs(real), np.inf), np.minimum, np.inf)
        np.minimum.at(least, w.term.places(), smallest)
    if not by_channel:
        least[:] = least.min()
    least[np.isinf(least)] = 1.0  # no weights at all: any quantum does
    quantum, found = least.copy(), np.zeros(channels, bool)
    for divisor in (1, 2, 3, 4):
        error, most = np.zeros(channels), np.zeros(channels)
        for w in weights:
            places = w.term.places()
            np.maximum.at(error, places, _off(w, least[places] / divisor))
            np.maximum.at(most, places, w.largest() / (least[places] / divisor))
        fits = (error <= 1) & (most <= _LARGEST_RATIO) & ~found
        if not by_channel:
            fits[:] = fits.all()
        quantum[fits], found = least[fits] / divisor, found | fits
    return quantum, bool(found.all())


def _off(weights: ScaledWeights, quantum: Array) -> Array:
    """How far weights are from whole multiples of a quantum per output, as a share of what they may be: the most per output."""

    def error(real: Array, outputs: slice | Numbers) -> npt.NDArray[np.floating]:
        ratio = np.abs(real) / quantum[outputs]
        return np.abs(ratio - np.round(ratio)) / np.clip(_GRID * ratio, _GRID, _LARGEST_MISS)

    return weights.over_outputs(error, np.maximum)


# --- Tables -------------------------------------------------------------------------------------------------------------


def table_of(term: Term, integers: Integers, shape: tuple[int, ...]) -> Table:
    """A term as a table of integers, (..., inputs, outputs) as its operator has them or as its list, to a population of a shape."""
    op = term.operator
    if isinstance(op, Kernel) and term.whole and op.groups == 1 and op.dilation == (1, 1):
        return Conv2d(integers, op.stride, op.padding, term.before, term.after)
    if isinstance(op, Matrix) and term.whole:
        return Dense(integers, term.before)
    if isinstance(op, (Kernel, Matrix)) and term.after == (1, 1):
        kernel = op if isinstance(op, Kernel) else Kernel(op.weights, (1, 1), (0, 0, 0, 0))
        height, width = term.grid[0] // term.before[0], term.grid[1] // term.before[1]
        weights = integers if isinstance(op, Kernel) else integers.reshape(height, width, -1, integers.shape[1])
        return GroupedConv2d(
            weights, kernel.groups, kernel.stride, kernel.padding, kernel.dilation, term.before, term.take, term.place, shape[-1]
        )
    if isinstance(op, Map) and term.whole:
        return Sparse(op.entries.indptr, op.entries.indices, integers, op.entries.shape[1])
    # Where weights are zero, or sums of them, there are synapses too: positive numbers, of which too much is taken away again.
    above = int(np.abs(integers.astype(np.int64)).max(initial=0)) + 1
    more, ones = (_listed(term, values, shape) for values in (integers.astype(np.float64) + above, np.ones(integers.shape)))
    return Sparse(more.indptr, more.indices, np.round(more.data - above * ones.data).astype(np.int64), more.shape[1])


def _listed(term: Term, values: Array, shape: tuple[int, ...]) -> csr_array:
    """The synapses of a term with other weights."""
    op, ones = term.operator, np.ones(len(term.scale))
    if op is None:
        made = as_map(replace(term, scale=values[0]), spatial(shape)).operator
    elif isinstance(op, Map):
        entries = csr_array((values, op.entries.indices, op.entries.indptr), shape=op.entries.shape)
        made = as_map(replace(term, operator=Map(entries, op.shape), scale=ones), spatial(shape)).operator
    else:
        assert isinstance(op, (Kernel, Matrix))
        made = as_map(replace(term, operator=replace(op, weights=values), scale=ones), spatial(shape)).operator
    assert isinstance(made, Map)
    return made.entries

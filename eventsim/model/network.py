"""Describe a network: populations of neurons, projections between them, and how an image becomes its input.

Nothing here runs. The semantics of time, delivery and firing are in docs/semantics.md and, as code, in
:mod:`eventsim.engines.reference.loop`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError
from eventsim.model.tables import ByValue, Dense, IntArray, Shape, Sparse, Table

POTENTIAL_MIN, POTENTIAL_MAX = -(2**31), 2**31 - 1
# More than any published network of this kind by far; bounds what a file can make an engine allocate.
# A run takes about 80 to 100 bytes a neuron; the largest convolutional networks for 224x224 pixels have 14 million.
MAX_NEURONS = 2**24
MAX_POPULATIONS = 2**12
MAX_PROJECTIONS = 2**14
# Delays and refractory periods, in steps.
MAX_PERIOD = 1e6
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+\-> ]{0,99}")

PerChannel = npt.ArrayLike


def _shape(shape: int | Sequence[int], name: str) -> Shape:
    values = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if len(values) not in (1, 3) or any(not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1 for n in values):
        raise NetworkError(f"{name}: shape must be N or (height, width, channels) of positive whole numbers, found {shape!r}")
    result = tuple(int(n) for n in values)
    if int(np.prod(result, dtype=object)) > MAX_NEURONS:
        raise NetworkError(f"{name}: {result} are more than {MAX_NEURONS} neurons")
    return result


def _per_channel(values: PerChannel, shape: Shape, name: str, what: str, low: int, high: int = POTENTIAL_MAX) -> IntArray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise NetworkError(f"{name}: {what} must be integers, found {array.dtype}; scale and round them first")
    if array.shape not in ((), (1,), (shape[-1],)):
        raise NetworkError(f"{name}: {what} must be one number or one per channel ({shape[-1]}), found shape {array.shape}")
    if array.min() < low or array.max() > high:
        raise NetworkError(f"{name}: {what} must be in {low}..{high}, found {array.min()}..{array.max()}")
    # A view where all channels are alike: a file may declare many.
    return np.broadcast_to(array.astype(np.int64), (shape[-1],))


def _period(value: float, name: str, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not 0 <= value <= MAX_PERIOD:
        raise NetworkError(f"{name}: {what} must be a number of steps from 0 to {MAX_PERIOD:g}, found {value!r}")
    return float(value)


@dataclass(frozen=True, eq=False, repr=False)
class Driven(ByValue):
    """Neurons driven by a constant current: the first layer of a converted network.

    ``V(t) = v0 + floor(I * t / R) - threshold * (spikes so far)`` at tick t, R ticks a step; a neuron with
    ``V >= threshold`` fires as soon as its refractory period allows.

    Parameters
    ----------
    shape : tuple of int
        (neurons,) or (height, width, channels).
    threshold : int or array, per channel, at least 1
    v0 : int or array, per channel
        Initial membrane potential.
    refractory : float
        Least distance of two spikes of a neuron, in steps; 0 means one tick.
    encoder : Table, optional
        Makes the currents from the network's input, exactly; without it a run must be given currents.
    bias : int or array, per channel
        Constant current per step added to what the encoder makes.
    """

    shape: Shape
    threshold: IntArray
    v0: IntArray
    refractory: float
    encoder: Table | None
    bias: IntArray
    kind = "driven"
    signed = False


@dataclass(frozen=True, eq=False, repr=False)
class Spiking(ByValue):
    """Integrate-and-fire neurons.

    Within a tick, all arriving spikes are added: ``V += sign * weight``. A neuron is due if ``V >= threshold`` (or, if
    signed, if ``V < 0`` and it has fired more positive than negative spikes). A due neuron whose refractory period is over
    emits one spike: +1 and ``V -= threshold`` (reset ``"zero"``: ``V = 0``), or -1 and ``V += threshold``.

    Parameters
    ----------
    shape, threshold, v0, refractory
        As for :class:`Driven`.
    reset : {"subtract", "zero"}
    signed : bool
        Can take back a spike that came too early; needs reset by subtraction.
    """

    shape: Shape
    threshold: IntArray
    v0: IntArray
    reset: Literal["subtract", "zero"]
    signed: bool
    refractory: float
    kind = "spiking"


@dataclass(frozen=True, eq=False, repr=False)
class Readout(ByValue):
    """Neurons that accumulate and never fire. The decision at a tick is the argmax; the lowest index wins a tie.

    Parameters
    ----------
    shape : tuple of int
    v0 : int or array, per channel
        Initial membrane potential.
    """

    shape: Shape
    v0: IntArray
    kind = "readout"
    signed = False


@dataclass(frozen=True, eq=False, repr=False)
class Source(ByValue):
    """Neurons that emit given spikes, always of sign +1.

    Parameters
    ----------
    shape : tuple of int
    emits : {"events", "poisson", "clock"}
        ``events``: what the run is given. ``poisson``: at most one spike a neuron and step, with probability ``rate``, on
        a uniformly drawn tick of the step. ``clock``: every neuron at the end of every step (ticks R, 2R, 3R, ...).
    rate : array of float or None
        Probabilities, one per neuron in the population's shape, for ``poisson``; a run can be given others.
    """

    shape: Shape
    emits: Literal["events", "poisson", "clock"]
    rate: npt.NDArray[np.float64] | None
    kind = "source"
    signed = False


Population = Driven | Spiking | Readout | Source


@dataclass(frozen=True, eq=False, repr=False)
class Projection(ByValue):
    """Synapses from one population to another.

    Parameters
    ----------
    name, source, target : str
    table : Table
    delay : float
        In steps; becomes ``floor(delay * R + 1/2)`` ticks.
    """

    name: str
    source: str
    target: str
    table: Table
    delay: float


@dataclass(frozen=True, eq=False, repr=False)
class ImageInput(ByValue):
    """What image the network takes and how its pixels become integers: ``x = scale * pixel - offset``, pixel in 0..255.

    Mean and standard deviation of a normalised input are folded into ``scale``, ``offset`` and the encoder's weights.

    Parameters
    ----------
    shape : (height, width, channels)
        One channel is greyscale, three are RGB; other numbers take arrays only.
    scale, offset : int or array, per channel
    """

    shape: Shape
    scale: IntArray
    offset: IntArray

    @cached_property
    def of_rows(self) -> tuple[IntArray, IntArray]:
        """Scale and offset of the numbers of a row of pixels: numpy takes long for arrays whose last axis is as short as the channels."""
        return np.tile(self.scale, self.shape[1]), np.tile(self.offset, self.shape[1])


@dataclass(eq=False, repr=False)
class Network:
    """A network of populations and projections, built by the methods below or read with :func:`eventsim.load`.

    Two networks are equal if all their attributes are, arrays by value, populations and projections in the same order; labels and
    provenance count, which a digest leaves out. Networks can be changed, so they are not hashable.

    Attributes
    ----------
    populations : dict of str to Population
    projections : list of Projection
    input : ImageInput or None
        What the encoders of the driven populations take.
    output : str or None
        The readout that decides; by default the only one.
    labels : list of str
        Names of the output's neurons, or empty.
    provenance : dict
        Where the network comes from (JSON values): source model, data set, accuracy, rounding error, ...

    Examples
    --------
    >>> import numpy as np
    >>> import eventsim as es
    >>> net = es.Network()
    >>> net.driven("input", 4, threshold=100)
    >>> net.spiking("hidden", 8, threshold=3)
    >>> net.readout("output", 2)
    >>> rng = np.random.default_rng(0)
    >>> net.connect("input", "hidden", es.Dense(rng.choice([-1, 1], (4, 8))))
    >>> net.connect("hidden", "hidden", es.Dense(rng.choice([-1, 1], (8, 8))), delay=1)
    >>> net.connect("hidden", "output", es.Dense(rng.integers(-9, 10, (8, 2))))
    >>> result = es.run(net, {"input": [50, 80, 20, 10]}, steps=20)
    """

    populations: dict[str, Population] = field(default_factory=dict)
    projections: list[Projection] = field(default_factory=list)
    input: ImageInput | None = None
    output: str | None = None
    labels: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    def image_input(self, shape: Sequence[int], scale: PerChannel = 1, offset: PerChannel = 0) -> None:
        """Declare the image that the network takes (see :class:`ImageInput`)."""
        checked = _shape(tuple(shape), "input")
        if len(checked) != 3:
            raise NetworkError(f"input: shape must be (height, width, channels), found {checked}")
        limit = 2**22
        self.input = ImageInput(
            checked,
            _per_channel(scale, checked, "input", "scale", -limit, limit),
            _per_channel(offset, checked, "input", "offset", -(2**30), 2**30),
        )

    def driven(
        self,
        name: str,
        shape: int | Sequence[int],
        threshold: PerChannel,
        *,
        v0: PerChannel = 0,
        refractory: float = 0,
        encoder: Table | None = None,
        bias: PerChannel = 0,
    ) -> None:
        """Add a population of neurons with constant input current (see :class:`Driven`).

        Raises
        ------
        NetworkError
            The name is taken or a parameter is out of range; likewise for the other kinds of population.
        """
        dims = _shape(shape, name)
        if encoder is not None:
            if self.input is None:
                raise NetworkError(f"{name}: has an encoder, but the network declares no input; call image_input first")
            encoder.check(self.input.shape, dims)
        self._add(
            name,
            Driven(
                dims,
                _per_channel(threshold, dims, name, "thresholds", 1),
                _per_channel(v0, dims, name, "v0", POTENTIAL_MIN),
                _period(refractory, name, "refractory"),
                encoder,
                _per_channel(bias, dims, name, "bias", POTENTIAL_MIN),
            ),
        )

    def spiking(
        self,
        name: str,
        shape: int | Sequence[int],
        threshold: PerChannel,
        *,
        v0: PerChannel = 0,
        reset: Literal["subtract", "zero"] = "subtract",
        signed: bool = False,
        refractory: float = 0,
    ) -> None:
        """Add a population of integrate-and-fire neurons (see :class:`Spiking`)."""
        dims = _shape(shape, name)
        if reset not in ("subtract", "zero"):
            raise NetworkError(f"{name}: reset must be 'subtract' or 'zero', found {reset!r}")
        if signed and reset != "subtract":
            raise NetworkError(f"{name}: signed neurons need reset 'subtract'")
        self._add(
            name,
            Spiking(
                dims,
                _per_channel(threshold, dims, name, "thresholds", 1),
                _per_channel(v0, dims, name, "v0", POTENTIAL_MIN),
                reset,
                bool(signed),
                _period(refractory, name, "refractory"),
            ),
        )

    def readout(self, name: str, shape: int | Sequence[int], *, v0: PerChannel = 0) -> None:
        """Add a population that accumulates and decides (see :class:`Readout`); the first one is the network's output."""
        dims = _shape(shape, name)
        self._add(name, Readout(dims, _per_channel(v0, dims, name, "v0", POTENTIAL_MIN)))
        if self.output is None:
            self.output = name

    def source(
        self,
        name: str,
        shape: int | Sequence[int],
        emits: Literal["events", "poisson", "clock"] = "events",
        *,
        rate: npt.ArrayLike | None = None,
    ) -> None:
        """Add a population that emits given spikes (see :class:`Source`)."""
        dims = _shape(shape, name)
        if emits not in ("events", "poisson", "clock"):
            raise NetworkError(f"{name}: a source emits 'events', 'poisson' or 'clock', found {emits!r}")
        if rate is not None and emits != "poisson":
            raise NetworkError(f"{name}: only a poisson source has rates")
        self._add(name, Source(dims, emits, None if rate is None else check_rates(rate, dims, name)))

    def bias(self, target: str, weights: npt.ArrayLike) -> None:
        """Add a bias clock: at the end of every step, ``weights`` are added to the target's potentials.

        Parameters
        ----------
        target : str
            A spiking or readout population.
        weights : array_like of int
            One number, one per channel, or one per neuron.
        """
        dims = self._get(target).shape
        array = np.asarray(weights)
        size = int(np.prod(dims))
        if array.shape not in ((), (dims[-1],), dims, (size,)):
            raise NetworkError(f"bias of {target}: must be one number, one per channel or one per neuron, found shape {array.shape}")
        name = f"{target}.bias"
        full = array if array.shape == (size,) else np.broadcast_to(array, dims)
        table = Dense(full.reshape(1, size))
        self.source(name, 1, "clock")
        self.connect(name, target, table)

    def connect(self, source: str, target: str, table: Table | npt.ArrayLike, *, delay: float = 0, name: str | None = None) -> None:
        """Add a projection.

        Parameters
        ----------
        source, target : str
            Names of populations that exist.
        table : Table or array_like
            A matrix (source neurons, target neurons) of integers makes a :class:`Dense` table, a SciPy sparse matrix a
            :class:`Sparse` one.
        delay : float
            In steps.
        name : str, optional
            Default: ``"source->target"``, with ``+2``, ``+3``, ... for further ones.

        Raises
        ------
        NetworkError
            Unknown populations, a table that does not fit them, a target that takes no spikes, a delay out of range.
        """
        pre, post = self._get(source), self._get(target)
        if not isinstance(table, Table):
            table = Sparse.from_matrix(table) if hasattr(table, "tocsr") else Dense(np.asarray(table))
        label = name if name is not None else f"{source}->{target}"
        taken = {p.name for p in self.projections}
        if name is None:
            copies = 2
            while label in taken:
                label, copies = f"{source}->{target}+{copies}", copies + 1
        if label in taken:
            raise NetworkError(f"there is already a projection {label!r}")
        if len(self.projections) >= MAX_PROJECTIONS:
            raise NetworkError(f"more than {MAX_PROJECTIONS} projections")
        if name is not None:
            _check_name(label)
        if isinstance(pre, Readout):
            raise NetworkError(f"{label}: {source} is a readout and never fires")
        if isinstance(post, (Driven, Source)):
            raise NetworkError(f"{label}: {target} is a {post.kind} population and takes no spikes")
        try:
            table.check(pre.shape, post.shape)
        except NetworkError as error:
            raise NetworkError(f"{label}: {error}") from None
        self.projections.append(Projection(label, source, target, table, _period(delay, label, "delay")))

    def check(self) -> None:
        """Check what the parts cannot know of each other.

        Raises
        ------
        NetworkError
            No population at all, too many neurons, an output that is no readout, labels that do not match it.
        """
        if not self.populations:
            raise NetworkError("the network has no populations")
        total = sum(int(np.prod(p.shape)) for p in self.populations.values())
        if total > MAX_NEURONS:
            raise NetworkError(f"the network has {total} neurons, the limit is {MAX_NEURONS}")
        if self.output is not None and not isinstance(self.populations.get(self.output), Readout):
            raise NetworkError(f"the output {self.output!r} is not a readout population of the network")
        if self.labels:
            expected = int(np.prod(self.populations[self.output].shape)) if self.output else 0
            if len(self.labels) != expected:
                raise NetworkError(f"{len(self.labels)} labels for an output of {expected} neurons")

    def _add(self, name: str, population: Population) -> None:
        _check_name(name)
        if name in self.populations:
            raise NetworkError(f"there is already a population {name!r}")
        if len(self.populations) >= MAX_POPULATIONS:
            raise NetworkError(f"more than {MAX_POPULATIONS} populations")
        self.populations[name] = population

    def _get(self, name: str) -> Population:
        try:
            return self.populations[name]
        except KeyError:
            raise NetworkError(f"no population {name!r}; there are: {', '.join(self.populations) or 'none'}") from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Network):
            return NotImplemented
        # The order of populations is that of the columns of counts.
        return list(self.populations) == list(other.populations) and all(
            getattr(self, f.name) == getattr(other, f.name) for f in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        neurons = sum(int(np.prod(p.shape)) for p in self.populations.values())
        parts = [f"{len(self.populations)} populations of {neurons:,} neurons", f"{len(self.projections)} projections"]
        if self.input is not None:
            parts.append(f"input {'x'.join(map(str, self.input.shape))}")
        if self.output is not None:
            parts.append(f"output {self.output!r}")
        return f"<Network: {', '.join(parts)}>"

    def __str__(self) -> str:
        lines = [f"Network: {len(self.populations)} populations, {len(self.projections)} projections"]
        for name, p in self.populations.items():
            size = "x".join(map(str, p.shape))
            detail = ""
            if isinstance(p, (Driven, Spiking)):
                low, high = int(p.threshold.min()), int(p.threshold.max())
                detail = f", threshold {low}" if low == high else f", threshold {low}..{high}"
            if isinstance(p, Spiking):
                detail += f", reset {p.reset}" + (", signed" if p.signed else "")
            if isinstance(p, (Driven, Spiking)) and p.refractory:
                detail += f", refractory {p.refractory:g} steps"
            if isinstance(p, Source):
                detail = f", {p.emits}"
            lines.append(f"  {name}: {p.kind} {size}{detail}")
        for q in self.projections:
            binary = " binary" if q.table.magnitude is not None else ""
            delay = f", delay {q.delay:g} steps" if q.delay else ""
            lines.append(f"  {q.name}:{binary} {q.table.kind} {'x'.join(map(str, q.table.weights.shape))}{delay}")
        return "\n".join(lines)


def check_rates(rate: npt.ArrayLike, shape: Shape, name: str) -> npt.NDArray[np.float64]:
    """Poisson rates as a float64 array in the population's shape.

    Raises
    ------
    NetworkError
        Not a probability per neuron.
    """
    try:
        rates = np.asarray(rate)
    except ValueError:
        raise NetworkError(f"{name}: rates must be numbers") from None
    if rates.dtype.kind not in "biuf":
        raise NetworkError(f"{name}: rates must be numbers, found {rates.dtype}")
    rates = rates.astype(np.float64)
    if rates.shape != shape and rates.shape != ():
        raise NetworkError(f"{name}: rates must be one number or have the shape {shape}, found {rates.shape}")
    if not np.all((rates >= 0) & (rates <= 1)):
        raise NetworkError(f"{name}: rates are probabilities per step and must be in 0..1")
    return np.broadcast_to(rates, shape)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise NetworkError(f"{name!r} is no usable name: start with a letter, digit or _, then also . : + - > and space, 100 at most")


def ticks(period: float, resolution: int) -> int:
    """A delay or refractory period of so many steps in ticks: ``floor(period * R + 1/2)``, exactly.

    ``period`` is taken as the decimal number that it is written as: the float64 nearest to 0.35 is less than that, yet 0.35 steps of
    10 ticks are 4 ticks.
    """
    return math.floor(Fraction(repr(float(period))) * resolution + Fraction(1, 2))


def zero_delay_order(network: Network, resolution: int) -> list[str]:
    """Populations in topological order of the projections whose delay is zero ticks at this resolution.

    Raises
    ------
    NetworkError
        The zero-delay projections have a cycle.
    """
    try:
        return _topological(network, [p for p in network.projections if ticks(p.delay, resolution) == 0])
    except CycleError as error:
        raise NetworkError(
            f"projections without delay form a cycle: {' -> '.join(error.args[1])}; "
            f"give one of them a delay of at least {0.5 / resolution:g} steps (half a tick at resolution {resolution})"
        ) from None


def feed_forward_order(network: Network) -> list[str] | None:
    """Populations in topological order of all projections, None if they have a cycle."""
    try:
        return _topological(network, network.projections)
    except CycleError:
        return None


def _topological(network: Network, projections: Iterable[Projection]) -> list[str]:
    sorter = TopologicalSorter({name: [] for name in network.populations})
    for projection in projections:
        sorter.add(projection.target, projection.source)
    return list(sorter.static_order())

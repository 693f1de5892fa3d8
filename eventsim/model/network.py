"""Describe a network: populations of neurons, projections between them, and how an image becomes its input.

Nothing here runs. The semantics of time, delivery and firing are in docs/semantics.md and, as code, in
:mod:`eventsim.engines.reference.loop`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError
from eventsim.model.limits import MAX_NEURONS, MAX_POPULATIONS, MAX_PROJECTIONS
from eventsim.model.periods import checked_period
from eventsim.model.populations import (
    CurrentLeaky,
    CurrentLeakyReadout,
    Driven,
    EventInput,
    Leaky,
    LeakyReadout,
    Maximum,
    Population,
    Readout,
    Source,
    Spiking,
)
from eventsim.model.populations.checks import PerChannel, checked_per_channel, checked_shape
from eventsim.model.populations.event_input import DEFAULT_STEP_US, Polarity
from eventsim.model.populations.population import Emits, Reset
from eventsim.model.registry import as_table, check_population, check_table
from eventsim.model.tables import Dense, Table
from eventsim.model.values import ByValue, IntArray, Shape

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+\-> ]{0,99}")


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

    def integers(self, pixels: IntArray) -> IntArray:
        """``scale * pixel - offset`` of an image, int64, in the input's shape."""
        if self._as_it_is:
            return pixels.astype(np.int64)
        scale, offset = self._of_rows
        made: IntArray = pixels.reshape(-1, len(scale)).astype(np.int64) * scale - offset
        return made.reshape(self.shape)

    @cached_property
    def _as_it_is(self) -> bool:
        return bool((self.scale == 1).all() and not self.offset.any())

    @cached_property
    def _of_rows(self) -> tuple[IntArray, IntArray]:
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
        """Declare the image that the network takes; parameters are those of :class:`ImageInput`.

        Raises
        ------
        NetworkError
            No shape of an image, or scale or offset out of range.
        """
        checked = checked_shape(tuple(shape), "input")
        if len(checked) != 3:
            raise NetworkError(f"input: shape must be (height, width, channels), found {checked}")
        limit = 2**22
        self.input = ImageInput(
            checked,
            checked_per_channel(scale, checked, "input", "scale", -limit, limit),
            checked_per_channel(offset, checked, "input", "offset", -(2**30), 2**30),
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
        image = None if self.input is None else self.input.shape
        made = Driven.checked(name, shape, threshold, v0=v0, refractory=refractory, encoder=encoder, bias=bias, image=image)
        self.add(name, made)

    def spiking(
        self,
        name: str,
        shape: int | Sequence[int],
        threshold: PerChannel,
        *,
        v0: PerChannel = 0,
        reset: Reset = "subtract",
        signed: bool = False,
        refractory: float = 0,
        onset: float = 0,
    ) -> None:
        """Add a population of integrate-and-fire neurons (see :class:`Spiking`)."""
        made = Spiking.checked(name, shape, threshold, v0=v0, reset=reset, signed=signed, refractory=refractory, onset=onset)
        self.add(name, made)

    def leaky(
        self,
        name: str,
        shape: int | Sequence[int],
        threshold: PerChannel,
        *,
        decay: PerChannel = 0,
        leak: PerChannel = 0,
        current_decay: PerChannel | None = None,
        v0: PerChannel = 0,
        reset: Reset = "subtract",
        amount: PerChannel | None = None,
        refractory: float = 0,
    ) -> None:
        """Add a population of leaky neurons (see :class:`Leaky`), with ``current_decay`` such with a current (:class:`CurrentLeaky`)."""
        settings: dict[str, Any] = {"decay": decay, "leak": leak, "v0": v0, "reset": reset, "amount": amount, "refractory": refractory}
        if current_decay is None:
            self.add(name, Leaky.checked(name, shape, threshold, **settings))
        else:
            self.add(name, CurrentLeaky.checked(name, shape, threshold, current_decay=current_decay, **settings))

    def leaky_readout(
        self,
        name: str,
        shape: int | Sequence[int],
        *,
        decay: PerChannel = 0,
        leak: PerChannel = 0,
        current_decay: PerChannel | None = None,
        v0: PerChannel = 0,
    ) -> None:
        """Add a readout that leaks (see :class:`LeakyReadout`), with ``current_decay`` one with a synaptic current."""
        if current_decay is None:
            self.add(name, LeakyReadout.checked(name, shape, decay=decay, leak=leak, v0=v0))
        else:
            self.add(name, CurrentLeakyReadout.checked(name, shape, decay=decay, leak=leak, v0=v0, current_decay=current_decay))

    def maximum(self, name: str, shape: int | Sequence[int], *, largest: npt.ArrayLike = True, signed: bool = False) -> None:
        """Add a population whose net counts are the maxima of its inputs' (see :class:`Maximum`); connect it with :class:`Windows`."""
        self.add(name, Maximum.checked(name, shape, largest=largest, signed=signed))

    def readout(self, name: str, shape: int | Sequence[int], *, v0: PerChannel = 0) -> None:
        """Add a population that accumulates and decides (see :class:`Readout`); the first one is the network's output."""
        self.add(name, Readout.checked(name, shape, v0=v0))

    def source(
        self,
        name: str,
        shape: int | Sequence[int],
        emits: Emits = "events",
        *,
        rate: npt.ArrayLike | None = None,
        period: float = 0,
    ) -> None:
        """Add a population that emits given spikes (see :class:`Source`)."""
        self.add(name, Source.checked(name, shape, emits, rate=rate, period=period))

    def event_input(self, name: str, shape: Sequence[int], *, polarity: Polarity = "split", step_us: int = DEFAULT_STEP_US) -> None:
        """Add the pixels of an event camera, (height, width, channels), which emit a recording's events (see :class:`EventInput`)."""
        self.add(name, EventInput.checked(name, tuple(shape), polarity=polarity, step_us=step_us))

    def add(self, name: str, population: Population) -> None:
        """Add a population as its kind has made it; :meth:`driven`, :meth:`spiking` and so on make and add one.

        Raises
        ------
        NetworkError
            The name is taken or unusable, or there are too many populations.
        """
        _check_name(name)
        if name in self.populations:
            raise NetworkError(f"there is already a population {name!r}")
        if len(self.populations) >= MAX_POPULATIONS:
            raise NetworkError(f"more than {MAX_POPULATIONS} populations")
        self.populations[name] = population
        if population.reads_out and self.output is None:
            self.output = name

    def bias(self, target: str, weights: npt.ArrayLike) -> None:
        """Add a bias clock: at the end of every step, ``weights`` are added to the target's potentials.

        Parameters
        ----------
        target : str
            A spiking or readout population.
        weights : array_like of int
            One number, one per channel, or one per neuron.

        Raises
        ------
        NetworkError
            There is no such population, it has a bias clock already, or the weights are no integers of such a shape.
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
        try:
            self.connect(name, target, table)
        except NetworkError:
            del self.populations[name]
            raise

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
        table = as_table(table)
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
        projection = Projection(label, source, target, table, checked_period(delay, label, "delay"))
        self._check_ends(projection)
        try:
            post.check_incoming([*self._incoming(target), (pre, table)])
        except NetworkError as error:
            raise NetworkError(f"{label}: {error}") from None
        self.projections.append(projection)

    def check(self) -> None:
        """Check what the parts cannot know of each other.

        Raises
        ------
        NetworkError
            No population at all, one of an unknown kind or that its projections do not fit, too many neurons, an output that is no
            readout, labels that do not match it.
        """
        if not self.populations:
            raise NetworkError("the network has no populations")
        for name, population in self.populations.items():
            check_population(name, population)
        # Parts may have been exchanged since they were added, and compiled code does not look again.
        seen = set()
        for projection in self.projections:
            if projection.name in seen:
                raise NetworkError(f"there is more than one projection {projection.name!r}")
            seen.add(projection.name)
            check_table(projection.name, projection.table)
            self._check_ends(projection)
            checked_period(projection.delay, projection.name, "delay")
        for name, population in self.populations.items():
            try:
                population.check_image(None if self.input is None else self.input.shape)
                population.check_incoming(self._incoming(name))
            except NetworkError as error:
                raise NetworkError(f"{name}: {error}") from None
        total = sum(p.size for p in self.populations.values())
        if total > MAX_NEURONS:
            raise NetworkError(f"the network has {total} neurons, the limit is {MAX_NEURONS}")
        if self.output is not None and (self.output not in self.populations or not self.populations[self.output].reads_out):
            raise NetworkError(f"the output {self.output!r} is not a readout population of the network")
        if self.labels:
            expected = self.populations[self.output].size if self.output else 0
            if len(self.labels) != expected:
                raise NetworkError(f"{len(self.labels)} labels for an output of {expected} neurons")

    def _check_ends(self, projection: Projection) -> None:
        """Whether a projection's table fits the populations that it joins."""
        label, pre, post = projection.name, self._get(projection.source), self._get(projection.target)
        if not pre.sends_spikes:
            raise NetworkError(f"{label}: {projection.source} is a {pre.kind} and never fires")
        if not post.takes_spikes:
            raise NetworkError(f"{label}: {projection.target} is a {post.kind} population and takes no spikes")
        try:
            projection.table.check(pre.shape, post.shape)
        except NetworkError as error:
            raise NetworkError(f"{label}: {error}") from None

    def _incoming(self, name: str) -> list[tuple[Population, Table]]:
        """Source and table of all projections that end at a population."""
        known = self.populations
        return [(known[p.source], p.table) for p in self.projections if p.target == name and p.source in known]

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
        neurons = sum(p.size for p in self.populations.values())
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
            lines.append(f"  {name}: {', '.join([f'{p.kind} {size}', *p.details()])}")
        for q in self.projections:
            binary = " binary" if q.table.magnitude is not None else ""
            delay = f", delay {q.delay:g} steps" if q.delay else ""
            lines.append(f"  {q.name}:{binary} {q.table.kind} {q.table.size_in_words()}{delay}")
        return "\n".join(lines)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise NetworkError(f"{name!r} is no usable name: start with a letter, digit or _, then also . : + - > and space, 100 at most")

"""Is what was read what the source computes? The source itself is the judge, before any spike.

An importer describes a trained network as a :class:`~eventsim.conversion.graph.Graph`. Whatever it overlooked (an operation that changes
its input in place, a hook, an attribute) makes another network of it, that looks as good. So the graph carries what runs the source
itself, unchanged, on a few images (:attr:`Graph.source`), and :func:`check_reading` goes through its nodes one by one: each is
evaluated on the values that the *source* has there, so a difference is found at the node that makes it, and values which a quantiser
rounds the other way at a border do not spread. :func:`check_layers` compares what lowering made of the graph with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from eventsim.conversion.operators import Floor, Round, Sign, Truncate
from eventsim.errors import ConversionError

if TYPE_CHECKING:
    from eventsim.conversion.graph import Graph
    from eventsim.conversion.layers import Layer, SourceNetwork

Values = npt.NDArray[np.floating]
# Changes values a little.
Nudge = Callable[[Values], Values]
# Of a layer's largest value: what sums in another order may differ by.
_TOLERANCE = 1e-4
# What a source's values are changed by, relatively, to see whether a difference is one of rounding; and what no rounding is as small as.
_NUDGE, _LEAST_NUDGE = 1e-6, 1e-14
_NUDGES = 4
# What is rounded is changed by, of the largest of it, to bring it to one side of a border: as much as another order of additions.
_SUM_NUDGE = 1e-12
# Images that are looked at.
_IMAGES = 4


@dataclass(frozen=True, eq=False)
class Seen:
    """A value that the source had on its way.

    Attributes
    ----------
    number : int
        Of the graph's node that is to have the same value.
    name : str
        What made it, as the source calls it.
    values : float array, shape (images, *shape of the node)
    precision : float
        Relative, of the source's arithmetic.
    """

    number: int
    name: str
    values: Values
    precision: float = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Run:
    """What a source computed of some images.

    Attributes
    ----------
    answer : float array, shape (images, ...)
        What it returned.
    seen : list of Seen
        What it had on the way, in the order in which it was made: as much as it tells, nothing at the worst.
    head : callable
        What the source does to the graph's output and the graph leaves out (a softmax).
    precision : float
        Relative, of the source's arithmetic.
    """

    answer: Values
    seen: list[Seen] = field(default_factory=list)
    head: Callable[[Values], Values] = lambda values: values
    precision: float = float(np.finfo(np.float32).eps)


class Source(Protocol):
    """Runs the source network exactly as whoever trained it would."""

    def __call__(self, values: Values) -> Run:
        """Run it on input values (not pixels), shape (images, *shape of the graph's input), channel first.

        Raises
        ------
        ConversionError
            It does not run, or does something else than when it was read.
        """


def sample(
    shape: tuple[int, ...], images: npt.NDArray[np.uint8] | None, factor: npt.NDArray[np.float64], shift: npt.NDArray[np.float64]
) -> Values:
    """Input values of a few images; of random ones where there are none.

    Parameters
    ----------
    shape : tuple of int
        Of the graph's input: (channels, height, width) or (features,).
    images : uint8 array, shape (n, height, width, channels), optional
    factor, shift : float64, () or (channels,)
        ``value = factor * pixel + shift``.

    Returns
    -------
    float64 array, shape (images, *shape)

    Raises
    ------
    ConversionError
        Images of another shape.
    """
    whole = (shape[0], *(1,) * (3 - len(shape)), *shape[1:])
    height, width, channels = whole[1], whole[2], whole[0]
    if images is None:
        pixels = np.random.default_rng(0).integers(0, 256, (_IMAGES, height, width, channels))
    elif images.shape[1:] != (height, width, channels):
        raise ConversionError(
            f"the network takes images of shape {(height, width, channels)}, the calibration images have {images.shape[1:]}"
        )
    else:
        pixels = images[np.unique(np.linspace(0, len(images) - 1, _IMAGES).astype(int))].astype(np.int64)
    return (pixels * factor + shift).transpose(0, 3, 1, 2).reshape(-1, *shape)


class _Reading:
    """A graph evaluated on the values that its source has."""

    def __init__(self, graph: Graph, values: Values):
        self.graph = graph
        self.known: dict[int, Values] = {0: values}

    def evaluate(self, number: int, nudge: Nudge = lambda values: values) -> Values:
        """The value of a node, from the nearest known ones before it; each of those changed by ``nudge``."""
        made: dict[int, Values] = {}
        needed = [number]
        while needed:
            now = needed[-1]
            inputs = [i for i in self.graph.nodes[now].inputs if i not in made]
            missing = [i for i in inputs if i not in self.known]
            if missing:
                needed += missing
                continue
            made |= {i: nudge(self.known[i]) for i in inputs}
            made[now] = self.graph.nodes[now].operator.evaluate(*(made[i] for i in self.graph.nodes[now].inputs))
            needed.pop()
        return made[number]


def _differs(
    own: Values, theirs: Values, evaluate: Callable[[Nudge], Values], precision: float, ties: bool = True
) -> npt.NDArray[np.bool_]:
    """Where two values differ by more than rounding explains. ``evaluate`` makes the first one from inputs that are changed a little.

    ``ties``: both are exact at a border, so the rule for ties has to be the same. Else a border that is crossed anywhere on the way may
    change any of an image's outputs.
    """
    scale = float(np.abs(theirs).max(initial=0.0))
    allowed = max(_TOLERANCE, 8 * precision) * scale
    wrong = np.abs(own - theirs) > allowed
    if not wrong.any():
        return wrong
    generator = np.random.default_rng(0)

    def reach(size: float) -> Values:
        """How far changes of this relative size take the value."""
        found = np.zeros_like(own)
        for kind in range(_NUDGES):
            sign = 1 - 2 * kind if kind < 2 else 0

            def nudged(values: Values, sign: int = sign) -> Values:
                return values * (1 + size * (sign or generator.choice([-1.0, 1.0], values.shape)))

            found = np.maximum(found, np.abs(evaluate(nudged) - own))
        return found

    # A value on a border exactly, which is no matter of rounding: there the rule for ties counts.
    rounding = reach(max(_NUDGE, 8 * precision))
    if not ties:
        rounding = np.broadcast_to(rounding.reshape(len(own), -1).max(1).reshape(-1, *[1] * (own.ndim - 1)), own.shape)
    tie = ties and reach(_LEAST_NUDGE) > allowed
    return wrong & (tie | (np.abs(own - theirs) > allowed + 4 * rounding))


def check_reading(graph: Graph, values: Values) -> None:
    """Compare a graph with what its source computes, node by node.

    Parameters
    ----------
    graph : Graph
        Nothing happens where it has no :attr:`~Graph.source`.
    values : float array, shape (images, *shape of the input), channel first
        Input values; a few images suffice.

    Raises
    ------
    ConversionError
        They differ; the message names the first node that does, and by how much.
    """
    if graph.source is None:
        return
    run = graph.source(values)
    reading = _Reading(graph, values.astype(np.float64))
    for seen in run.seen:
        theirs = seen.values.astype(np.float64)
        if seen.number == 0:
            continue
        own = reading.evaluate(seen.number)
        _compare(seen.name, own, theirs, partial(reading.evaluate, seen.number), seen.precision)
        reading.known[seen.number] = theirs
    answer = run.answer.astype(np.float64)

    def output(nudge: Nudge) -> Values:
        known = reading.known.get(graph.output)
        made = reading.evaluate(graph.output, nudge) if known is None else nudge(known)
        made = run.head(made)
        return made.reshape(answer.shape) if made.size == answer.size else made

    _compare("the output", output(lambda values: values), answer, output, run.precision)


def _compare(name: str, own: Values, theirs: Values, evaluate: Callable[[Nudge], Values], precision: float) -> None:
    if own.shape != theirs.shape:
        raise ConversionError(f"{name}: the network computes values of shape {theirs.shape[1:]}, what was read of it has {own.shape[1:]}")
    if not np.isfinite(theirs).all():
        raise ConversionError(f"{name}: the network computes values that are not finite; are its weights, mean and std right?")
    wrong = _differs(own, theirs, evaluate, precision)
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0])
        raise ConversionError(
            f"{name}: the network itself computes other values than what was read of it: {wrong.mean():.2g} of them differ, by up to "
            f"{np.abs(own - theirs)[wrong].max():.3g} (the first: {theirs[first]:.5g}, read as {own[first]:.5g}). "
            "Perhaps it is random, or depends on the other images of a batch or on earlier ones; check=False (--no-check) converts what "
            "was read"
        )


def check_layers(graph: Graph, layers: SourceNetwork, values: Values) -> None:
    """Compare layers with the graph that they were made of.

    Parameters
    ----------
    graph : Graph
    layers : SourceNetwork
    values : float array, shape (images, *shape of the input), channel first

    Raises
    ------
    ConversionError
        Their outputs differ by more than rounding explains.
    """
    exact = values.astype(np.float64)
    spatial = (exact if exact.ndim == 4 else exact[:, :, None, None]).transpose(0, 2, 3, 1)
    for share in (0.0, _SUM_NUDGE, -_SUM_NUDGE):
        # What lies on a border exactly (behind a quantiser many sums of levels may) is brought to the same side in both.
        own, found = _of_graph(graph, exact, share), _of_layers(layers, spatial, share)
        difference = np.abs(own - found) if own.shape == found.shape else np.full(1, np.inf)
        if difference.max() <= _TOLERANCE * np.abs(own).max():
            return

    def output(nudge: Nudge) -> Values:
        return _of_layers(layers, nudge(spatial))

    # Where a quantiser decides by a hair, one rounding more or less changes an answer; most images have no such place. Layers scale pixels
    # in another order, so that a sum which the source has on a border exactly misses it here; as integers, later, it does not.
    own, found = _of_graph(graph, exact), output(lambda values: values)
    if own.shape != found.shape or _differs(found, own, output, 0.0, ties=False).any(axis=1).mean() > 0.5:
        raise ConversionError(
            f"the layers made of this network compute other outputs than it does (by up to {difference.max():.3g} of "
            f"{np.abs(own).max():.3g}): a fault of the converter; please report it. check=False (--no-check) converts it all the same"
        )


def _of_graph(graph: Graph, values: Values, share: float = 0.0) -> Values:
    """Outputs (images, outputs), channels last; what is rounded, and what signs are taken of, changed by a share of the largest of it."""
    needed = {graph.output}
    for number in range(graph.output, 0, -1):
        needed |= set(graph.nodes[number].inputs) if number in needed else set()
    known = {0: values}
    for number in sorted(needed - {0}):
        node = graph.nodes[number]
        inputs = [known[i] for i in node.inputs]
        if isinstance(node.operator, (Floor, Round, Truncate, Sign)):
            inputs = [inputs[0] + share * np.abs(inputs[0]).max(initial=0.0)]
        known[number] = node.operator.evaluate(*inputs)
    value = known[graph.output]
    return (value.transpose(0, 2, 3, 1) if value.ndim == 4 else value).reshape(len(values), -1)


def _of_layers(layers: SourceNetwork, values: Values, share: float = 0.0) -> Values:
    """The same of layers, channels last."""

    def change(_: Layer, sums: Values) -> None:
        sums += share * np.abs(sums).max(initial=0.0)

    return layers.evaluate(values, change if share else None).reshape(len(values), -1)

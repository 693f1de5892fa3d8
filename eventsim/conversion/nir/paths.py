"""What lies between the neurons of a NIR graph: paths of linear nodes and delays, and the matrices that they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eventsim.conversion.graph import Array, Graph, Input
from eventsim.conversion.nir.dynamics import in_rows, keeps, whole_steps
from eventsim.conversion.nir.nodes import Reading, fitting
from eventsim.conversion.nir.structure import Step
from eventsim.errors import ConversionError
from eventsim.model.limits import MAX_LISTED_SYNAPSES

Shape = tuple[int, ...]
# Paths from one population to another: more are no network.
_MAX_PATHS = 2**10


@dataclass(frozen=True, eq=False)
class Path:
    """Linear nodes from a sender to a receiver, in the order in which spikes pass them; none if they are joined directly."""

    sender: str
    nodes: tuple[Step, ...]
    receiver: str


def paths_to(steps: dict[str, Step], receiver: str, first: str) -> Iterator[Path]:
    """All paths that end at a node that keeps a potential (or at the output), from other such nodes and from the input."""
    waiting: list[tuple[str, tuple[Step, ...]]] = [(name, ()) for name in steps[receiver].takes]
    found = 0
    while waiting:
        name, nodes = waiting.pop()
        found += 1
        if found > _MAX_PATHS:
            raise ConversionError(f"{steps[receiver].label}: more than {_MAX_PATHS} paths lead to it")
        if keeps(steps[name]) or name == first:
            yield Path(name, nodes, receiver)
            continue
        if steps[name] in nodes:
            raise ConversionError(f"{steps[name].label}: a cycle without neurons")
        waiting += [(before, (steps[name], *nodes)) for before in steps[name].takes]


def shape_behind(path: Path, shape: Shape) -> Shape:
    """Shape of the values at the end of a path, from that of the sender; channel first."""
    graph, at = _linear(path.nodes, shape)
    return graph.shape(at)


def bias_of(path: Path, shape: Shape) -> Array:
    """What the nodes of a path add in every step: float64, in the order of the receiver's neurons."""
    graph, at = _linear(path.nodes, shape)
    return in_rows(graph.evaluate(np.zeros((1, *shape)))[at][0])


def matrices(path: Path, shape: Shape, dt: float) -> list[tuple[float, Array]]:
    """Delays in steps, and for each the weights (neurons of the sender, of the receiver) of what takes it.

    Raises
    ------
    ConversionError
        Too many synapses, or delays of single neurons twice on one path.
    """
    parts: list[list[Step]] = [[]]
    delays: list[Array] = []
    total = 0.0
    at = shape
    for step in path.nodes:
        if step.kind != "Delay":
            parts[-1].append(step)
            graph, end = _linear((step,), at)
            at = graph.shape(end)
            continue
        steps = in_rows(np.broadcast_to(fitting(step.node.delay, at, step.label), at))
        steps = whole_steps(steps, dt)
        if np.any(steps < 0):
            raise ConversionError(f"{step.label}: negative delays")
        if np.all(steps == steps[0]):
            total += float(steps[0])
        else:
            delays.append(steps)
            parts.append([])
    if len(delays) > 1:
        raise ConversionError(f"{path.nodes[0].label}: delays of single neurons twice on one path are not supported")
    first, middle = _matrix(tuple(parts[0]), shape)
    if not delays:
        return [(total, first)]
    second, _ = _matrix(tuple(parts[1]), middle)
    return [(total + float(value), (first * (delays[0] == value)) @ second) for value in np.unique(delays[0])]


def _linear(nodes: tuple[Step, ...], shape: Shape) -> tuple[Graph, int]:
    """Nodes one after the other, delays left out, as a graph; and the number of its last value."""
    graph = Graph()
    at = graph.add(Input(shape))
    reading = Reading(graph)
    for step in nodes:
        # (The input and the output of a graph within this one pass on what they get.)
        if step.kind in ("Delay", "Input", "Output"):
            continue
        if step.kind == "Threshold":
            raise ConversionError(f"{step.label}: not supported between neurons")
        at = reading.node(step.node, at, step.label)
    return graph, at


def _matrix(nodes: tuple[Step, ...], shape: Shape) -> tuple[Array, Shape]:
    """The weights of linear nodes (neurons before, neurons behind), and the shape behind, channel first."""
    graph, at = _linear(nodes, shape)
    size, behind = math.prod(shape), graph.shape(at)
    if size * math.prod(behind) > MAX_LISTED_SYNAPSES:
        raise ConversionError(f"{nodes[0].label}: more than {MAX_LISTED_SYNAPSES} synapses, which would be listed one by one")
    places = in_rows(np.arange(size, dtype=np.float64).reshape(shape)).astype(np.int64)
    still = in_rows(graph.evaluate(np.zeros((1, *shape)))[at][0])
    out = np.empty((size, math.prod(behind)))
    batch = max(1, 2**20 // max(1, size))
    for begin in range(0, size, batch):
        chosen = places[begin : begin + batch]
        ones = np.zeros((len(chosen), size))
        ones[np.arange(len(chosen)), chosen] = 1
        values = graph.evaluate(ones.reshape(len(chosen), *shape))[at]
        out[begin : begin + batch] = [in_rows(value) for value in values]
    return out - still, behind

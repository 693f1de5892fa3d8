"""What lies between the neurons of a NIR graph: paths of linear nodes and delays, and the terms that they are.

A convolution stays one, with pools before or after it and all that scales its channels; what is none becomes a matrix, or a list.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from eventsim.conversion.compose import Join, compose, matrix, scaled_by_place
from eventsim.conversion.graph import Array, AveragePool, Convolution, Flatten, Graph, Input, Linear, Scale
from eventsim.conversion.nir.dynamics import in_rows, keeps, whole_steps
from eventsim.conversion.nir.nodes import Reading, fitting
from eventsim.conversion.nir.structure import Step
from eventsim.conversion.signals import grid_of
from eventsim.conversion.terms import Grid, Kernel, Map, Matrix, Term, apply
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


def terms(path: Path, shape: Shape, dt: float) -> list[tuple[float, Term]]:
    """Delays in steps, and for each what takes it, from the neurons of the sender to those of the receiver.

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
    if not delays:
        nodes = tuple(parts[0])
        return [(total, _composed(path.sender, nodes, shape) or _listed(path.sender, _matrix(nodes, shape)[0], shape, at))]
    first, middle = _matrix(tuple(parts[0]), shape)
    second, _ = _matrix(tuple(parts[1]), middle)
    found = []
    for value in np.unique(delays[0]):
        # As lists of synapses: of learnt delays every neuron has its own.
        chosen = np.flatnonzero(delays[0] == value)
        entries = csr_array(csr_array(first[:, chosen]) @ csr_array(second[chosen]))
        entries.sort_indices()
        grid = grid_of(at)
        found.append((total + float(value), Term(path.sender, grid_of(shape), (1, 1), Map(entries, grid), (1, 1), np.ones(grid[2]))))
    return found


def times(term: Term, gain: Array, grid: Grid) -> Term:
    """A term times a factor of every neuron of its target (neurons,), which has this (height, width, channels)."""
    rows = gain.reshape(-1, grid[2])
    if np.all(rows == rows[0]):
        return replace(term, scale=term.scale * rows[0][term.places()])
    return scaled_by_place(term, gain.reshape(grid), grid)


def reach(term: Term, channels: int) -> Array:
    """What each neuron of the target gets at most: the sum of the magnitudes of its weights, float64 (neurons,)."""
    op = term.operator
    if isinstance(op, Map):
        entries = csr_array((np.abs(op.entries.data), op.entries.indices, op.entries.indptr), shape=op.entries.shape)
        op = replace(op, entries=entries)
    elif isinstance(op, (Kernel, Matrix)):
        op = replace(op, weights=np.abs(op.weights))
    made = apply(replace(term, operator=op, scale=np.abs(term.scale)), np.ones((1, *term.grid)), channels)
    return np.asarray(made, np.float64).ravel()


def _composed(sender: str, nodes: tuple[Step, ...], shape: Shape) -> Term | None:
    """Linear nodes as one term; None if they are to be a matrix."""
    graph, _ = _linear(nodes, shape)
    grid = grid_of(shape)
    term = Term(sender, grid, (1, 1), None, (1, 1), np.ones(grid[2]))
    # Where the numbers of a value that was an image lie, once it is flat.
    order = None
    for node in graph.nodes[1:]:
        op, before = node.operator, graph.shape(node.inputs[0])
        if isinstance(op, Scale) and op.factor.ndim < 2 and order is None:
            term = replace(term, scale=term.scale * np.broadcast_to(op.factor, (grid[2],))[term.places()])
        elif isinstance(op, (Convolution, AveragePool)):
            after = grid_of(node.shape)
            (term,) = compose(term, op, Join(grid, after, node.name))
            grid = after
        elif isinstance(op, Flatten) and order is None:
            order = in_rows(np.arange(float(math.prod(before))).reshape(before)).astype(np.int64)
        elif isinstance(op, Linear):
            weights = op.weight.T if order is None else op.weight.T[order]
            term = matrix(term, weights, Join(grid, (1, 1, len(op.weight)), node.name))
            grid, order = (1, 1, len(op.weight)), None
        else:
            return None
    return term if order is None or grid[:2] == (1, 1) else None


def _listed(sender: str, weights: Array, shape: Shape, behind: Shape) -> Term:
    """Weights (neurons before, neurons behind) as a term; those of 0 are none where neurons lie in an image."""
    grid = grid_of(behind)
    op = Matrix(weights) if grid[:2] == (1, 1) else Map(csr_array(weights), grid)
    return Term(sender, grid_of(shape), (1, 1), op, (1, 1), np.ones(grid[2]))


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

"""Operators that move numbers, from a table that says where each one comes from.

Frameworks have dozens of operators that only move numbers, and programs chain them (a channel shuffle is a reshape, a transposition and a
reshape through five dimensions). An importer does them to a table of places, whatever they are called, and :func:`take` makes the few of a
graph from the table: what can be told as a choice along axes, another order of axes or a margin of zeros is told so.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from eventsim.conversion.graph import Flatten, Graph, Pad, Permute, Reshape, Select

Places = npt.NDArray[np.int64]


def take(graph: Graph, number: int, places: Places, name: str = "") -> int:
    """Append what makes a value of these numbers of another one.

    Parameters
    ----------
    graph : Graph
    number : int
        The node that has them.
    places : int64 array
        In the shape of the new value, without a batch: positions in the flattened value of the node; -1 is a zero.
    name : str
        For messages.

    Returns
    -------
    int
        The last node appended; the same node if nothing moves.
    """
    shape = graph.shape(number)
    if np.array_equal(places.reshape(-1), np.arange(math.prod(shape))):
        return _shaped(graph, number, places.shape, name)
    made = _along_axes(graph, number, places, name)
    if made is None:
        made = _in_order(graph, number, places, name)
    return _anywhere(graph, number, places, name) if made is None else made


def _shaped(graph: Graph, number: int, shape: tuple[int, ...], name: str) -> int:
    if graph.shape(number) == shape:
        return number
    return graph.add(Flatten() if len(shape) == 1 else Reshape(shape), (number,), name)


def _chosen(graph: Graph, number: int, indices: list[Places], name: str) -> int:
    """These indices along each axis."""
    for axis, along in enumerate(indices):
        if not np.array_equal(along, np.arange(graph.shape(number)[axis])):
            number = graph.add(Select(axis, along), (number,), name)
    return number


def _along_axes(graph: Graph, number: int, places: Places, name: str) -> int | None:
    """Indices along each axis, with a margin of zeros: slices, shuffled channels, repeated rows, padding."""
    shape = graph.shape(number)
    inside = places >= 0
    if places.ndim != len(shape) or not inside.any():
        return None
    within = [np.flatnonzero(inside.any(tuple(a for a in range(places.ndim) if a != axis))) for axis in range(places.ndim)]
    if any(along[-1] - along[0] + 1 != len(along) for along in within) or np.count_nonzero(inside) != math.prod(map(len, within)):
        return None
    core = places[np.ix_(*within)]
    indices = [
        coordinate[tuple(slice(None) if a == axis else 0 for a in range(core.ndim))]
        for axis, coordinate in enumerate(np.unravel_index(core, shape))
    ]
    if not np.array_equal(core, np.ravel_multi_index(np.ix_(*indices), shape)):
        return None
    number = _chosen(graph, number, indices, name)
    widths = tuple((int(along[0]), int(n - 1 - along[-1])) for along, n in zip(within, places.shape, strict=True))
    return graph.add(Pad(widths), (number,), name) if any(map(any, widths)) else number


def _in_order(graph: Graph, number: int, places: Places, name: str) -> int | None:
    """Indices along each axis, then the axes in another order, then another shape: transpositions, a flattened slice."""
    shape = graph.shape(number)
    flat = places.reshape(-1)
    if len(shape) < 2 or flat.min() < 0:
        return None
    indices = [along[np.sort(np.unique(along, return_index=True)[1])] for along in np.unravel_index(flat, shape)]
    if math.prod(map(len, indices)) != flat.size:
        return None
    core = np.ravel_multi_index(np.ix_(*indices), shape)
    for axes in itertools.permutations(range(len(shape))):
        if np.array_equal(core.transpose(axes).reshape(-1), flat):
            number = _chosen(graph, number, indices, name)
            if axes != tuple(range(len(shape))):
                number = graph.add(Permute(axes), (number,), name)
            return _shaped(graph, number, places.shape, name)
    return None


def _anywhere(graph: Graph, number: int, places: Places, name: str) -> int:
    """Each number by itself."""
    size = math.prod(graph.shape(number))
    number = _shaped(graph, number, (size,), name)
    flat = places.reshape(-1)
    if flat.min() < 0:
        number = graph.add(Pad(((0, 1),)), (number,), name)
        flat = np.where(flat < 0, size, flat)
    number = graph.add(Select(0, flat), (number,), name)
    return _shaped(graph, number, places.shape, name)

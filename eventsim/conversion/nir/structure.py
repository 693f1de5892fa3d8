"""A NIR graph as nodes one after the other: graphs within it unfolded, in an order in which each follows those that it takes from."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from eventsim.errors import ConversionError

# Graphs within graphs, and nodes altogether: more are no network.
_MAX_DEPTH, _MAX_NODES = 32, 2**14


@dataclass(frozen=True, eq=False)
class Step:
    """A node at its place.

    Attributes
    ----------
    name : str
        With those of the graphs that it is in before it.
    node : nir.NIRNode
    takes : tuple of str
        Names of the nodes before it.
    """

    name: str
    node: Any
    takes: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The name of its class."""
        return type(self.node).__name__

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.name} ({self.kind})"


def in_order(graph: Any) -> tuple[list[Step], str]:
    """The nodes of a graph, each behind those that it takes from; and the name of its output.

    Raises
    ------
    ConversionError
        Several inputs or outputs, edges to nowhere, or a cycle.
    """
    steps, _, output = unfolded(graph)
    try:
        order = list(TopologicalSorter({name: step.takes for name, step in steps.items()}).static_order())
    except CycleError as error:
        raise ConversionError(
            f"a cycle, {' -> '.join(error.args[1])}; networks of rates are feed-forward: convert the neurons themselves "
            "(spiking_from_nir, --nir-neurons)"
        ) from None
    return [steps[name] for name in order], output


def unfolded(graph: Any) -> tuple[dict[str, Step], str, str]:
    """The nodes of a graph by name, in any order; and the names of its input and its output.

    Raises
    ------
    ConversionError
        Several inputs or outputs, or edges to nowhere.
    """
    if type(graph).__name__ != "NIRGraph":
        raise ConversionError(f"expected a NIR graph, found one node {type(graph).__name__}")
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    first, last = _unfold(graph, "", nodes, edges, 0)
    takes: dict[str, list[str]] = {name: [] for name in nodes}
    for before, after in edges:
        takes[after].append(before)
    return {name: Step(name, node, tuple(takes[name])) for name, node in nodes.items()}, first, last


def _unfold(graph: Any, prefix: str, nodes: dict[str, Any], edges: list[tuple[str, str]], depth: int) -> tuple[str, str]:
    """Add a graph's nodes and edges; the names of its input and output."""
    if depth > _MAX_DEPTH or len(nodes) + len(graph.nodes) > _MAX_NODES:
        raise ConversionError(f"more than {_MAX_NODES} nodes, or graphs within graphs more than {_MAX_DEPTH} deep")
    # Where what goes to a node goes, and where what comes from it comes from.
    entry: dict[str, str] = {}
    end: dict[str, str] = {}
    for name, node in graph.nodes.items():
        if type(node).__name__ == "NIRGraph":
            entry[name], end[name] = _unfold(node, f"{prefix}{name}.", nodes, edges, depth + 1)
        else:
            entry[name] = end[name] = f"{prefix}{name}"
            nodes[f"{prefix}{name}"] = node
    for before, after in graph.edges:
        if before not in entry or after not in entry:
            raise ConversionError(f"an edge from {prefix}{before} to {prefix}{after}, of which one is no node")
        edges.append((end[before], entry[after]))
    found = [[name for name, node in graph.nodes.items() if type(node).__name__ == kind] for kind in ("Input", "Output")]
    if any(len(names) != 1 for names in found):
        where = f" of {prefix[:-1]}" if prefix else ""
        raise ConversionError(f"{len(found[0])} inputs and {len(found[1])} outputs{where}; expected one of each")
    return entry[found[0][0]], end[found[1][0]]

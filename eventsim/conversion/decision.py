"""A network of one output decides by its sign; the decision of a spiking network is the largest output, so it gets two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eventsim.conversion.graph import Graph, Linear, Node, Scale


def by_sign(graph: Graph) -> Graph:
    """A graph of one output as one of two, 0 and that output, so that 1 is decided where it is above 0; any other as it is.

    Where the output is not made by a matrix, it stays, and a remark says that nothing is decided.
    """
    if graph.shape(graph.output) != (1,):
        return graph
    nodes = list(graph.nodes)
    number = graph.output
    while isinstance(operator := nodes[number].operator, Scale):
        shift = np.array([0.0, float(operator.shift.reshape(()))])
        nodes[number] = _wider(nodes[number], Scale(operator.factor.reshape(()), shift))
        (number,) = nodes[number].inputs
    if not isinstance(operator, Linear):
        remark = "one output has no largest: the decision is always 0; read its potential, or train two outputs"
        return replace(graph, remarks=[*graph.remarks, remark])
    bias = None if operator.bias is None else np.concatenate([[0.0], operator.bias])
    nodes[number] = _wider(nodes[number], Linear(np.concatenate([np.zeros_like(operator.weight), operator.weight]), bias))
    remark = "one output became two, 0 and itself, so that the decision is 1 where it is above 0; both have synapses, which are counted"
    return replace(graph, nodes=nodes, remarks=[*graph.remarks, remark])


def _wider(node: Node, operator: Linear | Scale) -> Node:
    return replace(node, operator=operator, shape=(2,))

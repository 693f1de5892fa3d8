"""Read a NIR file (Neuromorphic Intermediate Representation, Pedersen et al. 2024): feed-forward networks of IF neurons.

An IF neuron under constant input fires ``clip(r * I / threshold, 0, 1)`` times a step, so it is read as that activation, whatever the
length of a step is. Files by :mod:`eventsim.conversion.to_nir` say beside their neurons what NIR has no words for.
"""

from __future__ import annotations

import os
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from eventsim.conversion.graph import Add, Array, AveragePool, Clip, Convolution, Flatten, Floor, Graph, Input, Linear
from eventsim.errors import ConversionError

LEVELS = "eventsim_levels"
_SUPPORTED = "Affine, AvgPool2d, Conv2d, Flatten, I, IF, Linear, Scale, SumPool2d"


def from_nir(model: str | os.PathLike[str] | Any) -> Graph:
    """Describe a NIR graph as ours.

    Parameters
    ----------
    model : path-like or nir.NIRGraph

    Raises
    ------
    ConversionError
        The nir package is not installed, the file is not readable, or a node has no counterpart; the message names it.
    """
    try:
        import nir
    except ImportError:
        raise ConversionError("the nir package is not installed; install it with: pip install 'eventsim[nir]'") from None
    if isinstance(model, nir.NIRGraph):
        return _read(model)
    if not Path(model).is_file():
        raise ConversionError(f"{model}: no such file")
    try:
        graph = nir.read(os.fspath(model))
    except Exception as error:  # whatever a damaged file makes nir and h5py raise
        raise ConversionError(f"{model}: not a readable NIR file ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from None
    try:
        return _read(graph)
    except ConversionError as error:
        raise ConversionError(f"{model}: {error}") from None
    except Exception as error:  # nodes may hold anything: other types, shapes or values than nir's own documentation says
        raise ConversionError(f"{model}: a damaged NIR file ({' '.join(str(error).split())[:200] or type(error).__name__})") from None


def _read(source: Any) -> Graph:
    if type(source).__name__ != "NIRGraph":
        raise ConversionError(f"expected a NIR graph, found one node {type(source).__name__}")
    kinds = {name: type(node).__name__ for name, node in source.nodes.items()}
    inputs, outputs = ([name for name, kind in kinds.items() if kind == wanted] for wanted in ("Input", "Output"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConversionError(f"{len(inputs)} inputs and {len(outputs)} outputs; expected one of each")
    takes: dict[str, list[str]] = {name: [] for name in kinds}
    for before, after in source.edges:
        if before not in kinds or after not in kinds:
            raise ConversionError(f"an edge from {before} to {after}, of which one is no node")
        takes[after].append(before)
    try:
        order = list(TopologicalSorter(takes).static_order())
    except CycleError as error:
        raise ConversionError(f"a cycle, {' -> '.join(error.args[1])}; only feed-forward networks are converted") from None
    graph = Graph()
    values: dict[str, int] = {}
    for name in order:
        node, label = source.nodes[name], f"{name} ({kinds[name]})"
        if kinds[name] == "Input":
            values[name] = graph.add(Input(tuple(int(n) for n in np.ravel(node.input_type["input"]))), name=label)
            continue
        found = [values[i] for i in takes[name] if i in values]
        if not found:
            continue  # does not depend on the input
        at = found[0]
        for other in found[1:]:
            at = graph.add(Add(), (at, other), label)
        try:
            values[name] = _node(graph, node, at, label)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
            raise ConversionError(f"{label}: cannot be read ({error})") from None
    if outputs[0] not in values:
        raise ConversionError("the output does not depend on the input")
    graph.output = values[outputs[0]]
    return graph


def _node(graph: Graph, node: Any, at: int, name: str) -> int:
    """Append what a NIR node computes of the value ``at``; returns the number of the result."""
    kind, shape = type(node).__name__, graph.shape(at)
    if kind == "Output":
        return at
    if kind in ("Linear", "Affine"):
        weight = np.asarray(node.weight, np.float64)
        bias = np.asarray(node.bias, np.float64) if kind == "Affine" else None
        factor = _diagonal(weight) if len(shape) == 1 else None
        if factor is not None and len(factor) == shape[0]:
            return graph.scale(at, factor, 0.0 if bias is None else bias, name)
        return graph.add(Linear(weight, bias), (at,), name)
    if kind == "Conv2d":
        return _convolution(graph, node, at, name)
    if kind == "Scale":
        return graph.scale(at, _by_channel(node.scale, shape, name), 0.0, name)
    if kind in ("AvgPool2d", "SumPool2d"):
        window = _pair(node.kernel_size)
        if _pair(node.stride) != window or any(_pair(node.padding)):
            raise ConversionError(f"{name}: only pooling over windows that do not overlap, without padding, is supported")
        at = graph.add(AveragePool(window), (at,), name)
        return at if kind == "AvgPool2d" else graph.scale(at, float(window[0] * window[1]), 0.0, name)
    if kind == "Flatten":
        # Some writers count a batch dimension that the shape does not have.
        if int(node.start_dim) not in (0, 1) or int(node.end_dim) not in (-1, len(shape) - 1, len(shape)):
            raise ConversionError(f"{name}: only flattening of everything is supported")
        return graph.add(Flatten(), (at,), name) if len(shape) == 3 else at
    if kind == "I":
        return graph.scale(at, _by_channel(node.r, shape, name), 0.0, name)
    if kind == "IF":
        return _neurons(graph, node, at, name)
    raise ConversionError(f"{name}: not supported; supported: {_SUPPORTED}")


def _neurons(graph: Graph, node: Any, at: int, name: str) -> int:
    shape = graph.shape(at)
    threshold, r = (_by_channel(values, shape, name) for values in (node.v_threshold, node.r))
    if np.any(threshold <= 0) or np.any(np.asarray(node.v_reset) != 0):
        raise ConversionError(f"{name}: thresholds must be positive and v_reset 0")
    levels = int(np.asarray((node.metadata or {}).get(LEVELS, 0)))
    if levels < 1:
        graph.remarks.append(f"{name} resets by subtraction of its threshold, which NIR leaves open")
        return graph.add(Clip(0.0, 1.0, rate=True), (graph.scale(at, r / threshold, 0.0, name),), name)
    at = graph.scale(at, r * levels / threshold, 0.5, name)
    at = graph.add(Clip(0.0, float(levels)), (graph.add(Floor(), (at,), name),), name)
    return graph.scale(at, 1 / levels, 0.0, name)


def _convolution(graph: Graph, node: Any, at: int, name: str) -> int:
    weight, bias = np.asarray(node.weight, np.float64), np.asarray(node.bias, np.float64)
    if weight.ndim != 4 or _pair(node.dilation) != (1, 1) or int(node.groups) != 1:
        raise ConversionError(f"{name}: only two-dimensional convolutions without dilation and groups are supported")
    stride = _pair(node.stride)
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    if isinstance(padding, str):
        if padding == "same" and stride != (1, 1):
            raise ConversionError(f"{name}: padding 'same' with a stride; give the padding in numbers")
        total = [n - 1 if padding == "same" else 0 for n in weight.shape[2:]]
        top, left = total[0] // 2, total[1] // 2
        edges = (top, left, total[0] - top, total[1] - left)
    else:
        edges = _pair(padding) * 2
    factor = _diagonal(weight[:, :, 0, 0]) if weight.shape[2:] == (1, 1) and stride == (1, 1) and not any(edges) else None
    if factor is not None and len(factor) == graph.shape(at)[0]:
        return graph.scale(at, factor, bias, name)
    return graph.add(Convolution(weight, bias, stride, edges), (at,), name)


def _diagonal(weight: Array) -> Array | None:
    """The factors of a diagonal matrix, which scales its input (and with a bias shifts it, as NIR's Scale cannot)."""
    factor = np.diagonal(weight)
    return factor if weight.shape == (len(factor), len(factor)) and np.array_equal(weight, np.diag(factor)) else None


def _pair(values: Any) -> tuple[int, int]:
    first, second = np.broadcast_to(np.ravel(values), 2)
    return int(first), int(second)


def _by_channel(values: Any, shape: tuple[int, ...], name: str) -> Array:
    """Values per neuron as one per channel: a number or (channels,)."""
    array = np.asarray(values, np.float64)
    if array.size == 1:
        return array.reshape(())
    if array.shape != shape:
        raise ConversionError(f"{name}: parameters of shape {array.shape} for neurons of shape {shape}")
    rows = array.reshape(shape[0], -1)
    if np.any(rows != rows[:, :1]):
        raise ConversionError(f"{name}: parameters that differ between the neurons of a channel are not supported")
    return rows[:, 0]

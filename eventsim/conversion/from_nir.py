"""Read a NIR file (Neuromorphic Intermediate Representation, Pedersen et al. 2024): feed-forward networks of IF neurons.

An IF neuron under constant input fires ``clip(r * dt * I / threshold, 0, 1)`` times a step of length dt, so it is read as that
activation. Files by :mod:`eventsim.conversion.to_nir` say beside their neurons what NIR has no words for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from eventsim.conversion.graph import Add, Graph, Input
from eventsim.conversion.nir.inputs import input_shape, step_length
from eventsim.conversion.nir.nodes import Reading
from eventsim.conversion.nir.rates import Rates
from eventsim.conversion.nir.structure import Step, in_order
from eventsim.errors import ConversionError
from eventsim.files.hdf5_heaps import heaps_end


def from_nir(model: str | os.PathLike[str] | Any, *, dt: float | None = None) -> Graph:
    """Describe a NIR graph as ours.

    Parameters
    ----------
    model : path-like or nir.NIRGraph
    dt : float, optional
        Length of a step in the unit of the file's time. Default: ``dt`` of the graph's metadata; 1/r where all neurons have the same
        r of at least 10; else 1.

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
        return _read(model, dt)
    if not Path(model).is_file():
        raise ConversionError(f"{model}: no such file")
    try:
        if not heaps_end(model):
            raise ValueError("no HDF5, or texts without an end")
        graph = nir.read(os.fspath(model), type_check=False)
    except Exception as error:  # whatever a damaged file makes nir and h5py raise
        raise ConversionError(f"{model}: not a readable NIR file ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from None
    try:
        return _read(graph, dt)
    except ConversionError as error:
        raise ConversionError(f"{model}: {error}") from None
    except Exception as error:  # nodes may hold anything: other types, shapes or values than nir's own documentation says
        raise ConversionError(f"{model}: a damaged NIR file ({' '.join(str(error).split())[:200] or type(error).__name__})") from None


def _read(source: Any, dt: float | None) -> Graph:
    steps, output = in_order(source)
    graph = Graph()
    length, remark = step_length(steps, dt, source.metadata)
    reading = Reading(graph, length)
    values: dict[str, int] = {}
    for step in steps:
        if step.kind == "Input" and not step.takes:
            shape, other = input_shape(step, steps)
            values[step.name] = graph.add(Input(shape), name=step.label)
            graph.remarks += [text for text in (remark, other) if text]
            continue
        found = [values[name] for name in step.takes if name in values]
        if found:
            values[step.name] = _step(reading, step, found)
    if output not in values:
        raise ConversionError("the output does not depend on the input")
    graph.output = values[output]
    graph.source = Rates(steps, output, values, length)
    return graph


def _step(reading: Reading, step: Step, found: list[int]) -> int:
    at = found[0]
    for other in found[1:]:
        at = reading.graph.add(Add(), (at, other), step.label)
    # (The input and the output of a graph within this one pass on what they get.)
    if step.kind in ("Input", "Output"):
        return at
    try:
        return reading.node(step.node, at, step.label)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ConversionError(f"{step.label}: cannot be read ({error})") from None

"""Read a NIR file (Neuromorphic Intermediate Representation, Pedersen et al. 2024): as rates, or neuron by neuron.

As rates, feed-forward networks of IF neurons are trained networks like others (:func:`from_nir`); neuron by neuron, any network of leaky
neurons runs as the simulator ran it that wrote the file (:func:`spiking_from_nir`).

An IF neuron under constant input fires ``clip(r * dt * I / threshold, 0, 1)`` times a step of length dt, so as a rate it is read as that
activation. Files by :mod:`eventsim.conversion.to_nir` say beside their neurons what NIR has no words for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np

from eventsim.conversion.graph import Add, Graph, Input
from eventsim.conversion.nir.inputs import input_shape, step_length
from eventsim.conversion.nir.nodes import Reading
from eventsim.conversion.nir.rates import Rates
from eventsim.conversion.nir.spiking import SpikingImport
from eventsim.conversion.nir.structure import Step, in_order
from eventsim.conversion.nir.writers import WRITERS, Reset, writer_named
from eventsim.errors import ConversionError, NetworkError
from eventsim.files.hdf5_claims import check_claims
from eventsim.files.hdf5_heaps import heaps_end
from eventsim.model.network import Network

Made = TypeVar("Made")


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
    return _whatever(model, lambda graph: _read(graph, dt))


def spiking_from_nir(
    model: str | os.PathLike[str] | Any,
    *,
    writer: str = "nir",
    dt: float | None = None,
    reset: Reset | None = None,
    reset_delay: bool | None = None,
) -> tuple[Network, list[str]]:
    """A network of the neurons of a NIR graph: a clocked run gives the spikes of the simulator that wrote it, but for rounding.

    IF, LIF and CubaLIF neurons, I, LI and CubaLI readouts; linear nodes, convolutions, pools and delays between them; cycles, in which a
    spike takes a step at least. What goes into the network are spikes, to the source population named as the graph's input.

    Parameters
    ----------
    model : path-like or nir.NIRGraph
    writer : {"nir", "snntorch", "spikingjelly", "sinabs", "norse"}
        Whose numbers they are (docs/leaky.md has a table); ``"nir"``: as NIR's own definitions say.
    dt : float, optional
        Length of a step in the unit of the file's time. Default: ``dt`` of the graph's metadata, else what the writer takes.
    reset : {"subtract", "value", "none"}, optional
        What a spike does, which NIR leaves open: default as the writer's neurons do it unless they are told otherwise.
    reset_delay : bool, optional
        Of snnTorch, as its neurons take it: False if they are reset in the step of the spike; default, in the step after it.

    Returns
    -------
    Network
    list of str
        What was rounded, and by how much; what was taken how.

    Raises
    ------
    ConversionError
        The nir package is not installed, the file is not readable, or a node has no counterpart; the message names it.
    """
    meant = writer_named(writer)
    if reset not in (None, *get_args(Reset)):
        raise ConversionError(f"reset must be 'subtract', 'value' or 'none', found {reset!r}")
    if reset_delay is not None:
        if not meant.late:
            raise ConversionError(f"reset_delay (--nir-reset-delay): neurons of {writer!r} know none; leave it out")
        meant = replace(meant, late=reset_delay)

    def build(graph: Any) -> tuple[Network, list[str]]:
        found = SpikingImport(graph, meant, _step_of(graph, writer, dt), reset or meant.reset)
        try:
            network = found.build()
            network.check()
        except NetworkError as error:
            raise ConversionError(str(error)) from None
        network.provenance |= {
            "nir": {"writer": writer, "dt": found.dt, "reset": found.reset, "reset_delay": meant.late, "remarks": found.remarks}
        }
        return network, found.remarks

    return _whatever(model, build)


def _step_of(graph: Any, writer: str, dt: float | None) -> float:
    said = np.ravel((graph.metadata or {}).get("dt", []))
    given = dt if dt is not None else float(said[0]) if said.size == 1 else WRITERS[writer].dt
    if given is None:
        raise ConversionError("NIR does not say how long a step is: give dt, or the writer of the file (--nir-dt, --nir-neurons)")
    if not (np.isfinite(given) and given > 0):
        raise ConversionError(f"dt must be a positive number, found {given}")
    return given


def _whatever(model: str | os.PathLike[str] | Any, read: Callable[[Any], Made]) -> Made:
    """What is made of a graph, or of one in a file that may come from anywhere."""
    try:
        import nir
    except ImportError:
        raise ConversionError("the nir package is not installed; install it with: pip install 'eventsim[nir]'") from None
    if isinstance(model, nir.NIRGraph):
        return read(model)
    if not Path(model).is_file():
        raise ConversionError(f"{model}: no such file")
    try:
        if not heaps_end(Path(model).read_bytes()):
            raise ValueError("no HDF5, or texts without an end")
        check_claims(model)
        graph = nir.read(os.fspath(model), type_check=False)
    except Exception as error:  # whatever a damaged file makes nir and h5py raise
        raise ConversionError(f"{model}: not a readable NIR file ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from None
    try:
        return read(graph)
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

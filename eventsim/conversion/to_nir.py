"""Write a converted network as NIR (Neuromorphic Intermediate Representation, Pedersen et al. 2024), for other tools.

Written are the trained weights before rounding, and IF neurons whose threshold is the layer's range.
"""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

from eventsim.conversion import Conversion
from eventsim.conversion.layers import Layer
from eventsim.conversion.nir.nodes import LEVELS
from eventsim.conversion.terms import IMAGE, Array, Kernel, Map, Matrix, Term
from eventsim.conversion.weights import weights_of
from eventsim.errors import ConversionError
from eventsim.files.atomic import write_bytes


def to_nir(made: Conversion) -> tuple[Any, list[str]]:
    """A converted network as a NIR graph.

    Its input is the source network's (``made.pixel_factor * pixel + made.pixel_shift``), channel first. A value is a current per
    step; a spike adds its weight at once.

    Parameters
    ----------
    made : Conversion

    Returns
    -------
    nir.NIRGraph
    list of str
        What NIR has no words for. Quantised layers carry their number of levels as metadata, so that :func:`eventsim.convert` makes
        the same network of the file.

    Raises
    ------
    ConversionError
        The nir package is not installed, or a layer has no counterpart in NIR; the message names it.
    """
    try:
        import nir
    except ImportError:
        raise ConversionError("the nir package is not installed; install it with: pip install 'eventsim[nir]'") from None
    writer = _Writer(nir, made)
    for layer in writer.source.layers:
        writer.layer(layer)
    try:
        graph = nir.NIRGraph(nodes=writer.nodes, edges=writer.edges)
    except ValueError as error:
        raise ConversionError(f"the nir package refuses the graph of this network ({error})") from None
    return graph, writer.losses()


def write_nir(made: Conversion, path: str | os.PathLike[str]) -> list[str]:
    """Write :func:`to_nir`'s graph to a file, whole or not at all; returns what NIR has no words for.

    Raises
    ------
    ConversionError
        As :func:`to_nir`, or the file cannot be written.
    """
    graph, losses = to_nir(made)
    import nir

    try:
        # In memory first: libhdf5 cannot close a file that it cannot write.
        whole = io.BytesIO()
        nir.write(whole, graph)
        write_bytes(path, whole.getbuffer())
    except OSError as error:
        raise ConversionError(f"{os.fspath(path)}: cannot be written ({error.strerror or error})") from None
    return losses


class _Writer:
    def __init__(self, nir: Any, made: Conversion):
        self.nir, self.made, self.source = nir, made, made.balanced or made.source
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.gain: dict[str, Array] = {IMAGE: np.asarray(1.0)}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.ends = {IMAGE: self._input()}
        self.kinds: set[str] = set()

    def losses(self) -> list[str]:
        """What NIR has no words for, of what the network has."""
        lost = ["reset by subtraction of the threshold (NIR's IF neurons reset to a value)", "the initial membrane potential"]
        populations = self.made.network.populations.values()
        if any(p.signed for p in populations):
            lost.append("signed neurons" if "steps" not in self.kinds else "signed neurons (those of quantised layers are made again)")
        if any(p.refractory for p in populations):
            lost.append("refractory periods")
        if any(p.onset for p in populations):
            lost.append("onsets (neurons that do not fire before a given time)")
        if "steps" in self.kinds:
            lost.append("numbers of levels (kept as metadata)")
        if any(np.any(layer.bias) for layer in self.source.layers):
            lost.append("the moment of a bias (a clock at the end of every step; here a current)")
        return [*lost, "the rounding to integers (weights and thresholds are those before it)"]

    def _add(self, name: str, node: Any, *sources: str) -> str:
        name = "".join(c if c.isalnum() or c in "_-" else "_" for c in name) or "node"
        unique, number = name, 2
        while unique in self.nodes:
            unique, number = f"{name}_{number}", number + 1
        self.nodes[unique] = node
        self.edges += [(source, unique) for source in sources]
        return unique

    def _input(self) -> str:
        source = self.source
        height, width, channels = source.input_shape
        flat = height == width == 1 and all(
            isinstance(term.operator, Matrix) for layer in source.layers for term in layer.terms if term.source == IMAGE
        )
        shape = (channels,) if flat else (channels, height, width)
        self.shapes[IMAGE] = (channels,) if flat else (height, width, channels)
        end = self._add("input", self.nir.Input(input_type={"input": np.array(shape)}))
        factor, shift = (np.broadcast_to(values, channels).astype(np.float64) for values in (source.input_factor, source.input_shift))
        if np.all(factor == 1) and not np.any(shift):
            return end
        # NIR's Scale has no shift: a diagonal matrix or 1x1 convolution does both.
        node = self.nir.Affine(weight=np.diag(factor), bias=shift) if flat else self._diagonal(factor, shift, (height, width))
        return self._add("normalise", node, end)

    def _conv(self, weight: Array, bias: Array, size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Any:
        return self.nir.Conv2d(size, weight, stride, padding, (1, 1), 1, bias)

    def _diagonal(self, factor: Array, shift: Array, size: tuple[int, int]) -> Any:
        return self._conv(np.diag(factor)[:, :, None, None], shift, size, (1, 1), (0, 0))

    def layer(self, layer: Layer) -> None:
        """Add a population, what comes in, and for the last one the output."""
        activation = layer.activation
        channels = layer.shape[-1]
        offset = np.asarray(layer.bias, np.float64)
        threshold = np.ones(())
        metadata: dict[str, Any] = {}
        if activation is not None:
            if activation.kind == "sign":
                raise ConversionError(f"{layer.name}: NIR has no neuron for a sign activation")
            if activation.kind == "extreme":
                raise ConversionError(f"{layer.name}: NIR has no max pooling of spikes; write a network with average pooling")
            self.kinds.add(activation.kind)
            offset = offset - activation.low
            threshold = np.asarray(self.made.gain(layer), np.float64)
            if activation.kind == "steps":
                levels = round(activation.high - activation.low)
                offset, metadata = offset - 0.5, {LEVELS: levels}
        if offset.ndim > 1 or (offset.ndim == 1 and len(offset) != channels):
            raise ConversionError(f"{layer.name}: NIR has no bias per neuron of a convolution")
        bias: Array | None = np.broadcast_to(offset, channels).astype(np.float64)
        if not np.any(bias):
            bias = None
        # The first term that has weights carries the bias.
        carrier = next((i for i, term in enumerate(layer.terms) if term.operator is not None), 0)
        ends = [self._term(term, layer, bias if i == carrier else None) for i, term in enumerate(layer.terms)]
        shape = _channel_first(layer.shape)
        if activation is None:
            end = self._add(layer.name, self.nir.I(r=np.ones(shape)), *ends)
            self._add("output", self.nir.Output(output_type={"output": np.array(shape)}), end)
            return
        spread = np.broadcast_to(threshold.reshape(-1, *[1] * (len(shape) - 1)), shape).copy()
        neurons = self.nir.IF(r=np.ones(shape), v_threshold=spread, v_reset=np.zeros(shape))
        neurons.metadata = metadata
        self.ends[layer.name] = self._add(layer.name, neurons, *ends)
        self.shapes[layer.name], self.gain[layer.name] = layer.shape, threshold

    def _term(self, term: Term, layer: Layer, bias: Array | None) -> str:
        """Add what lies between two populations; returns the last node's name."""
        end, shape = self.ends[term.source], self.shapes[term.source]
        outputs = layer.shape[-1]
        gain = np.broadcast_to(self.gain[term.source], shape[-1])
        name = term.name or f"{term.source or 'input'}-{layer.name}"
        if isinstance(term.operator, Map) or not term.whole:
            raise ConversionError(f"{name}: NIR has no words for synapses of some channels, or listed one by one")
        scale = np.broadcast_to(term.scale, outputs).astype(np.float64)
        if term.before != (1, 1):
            end, shape = self._pool(name, end, shape, term.before)
        if isinstance(term.operator, Matrix):
            return self._matrix(term, end, shape, gain, scale, bias, name)
        area = term.after[0] * term.after[1]
        shift = np.zeros(outputs) if bias is None else bias / area
        if isinstance(term.operator, Kernel):
            top, left, bottom, right = term.operator.padding
            if (top, left) != (bottom, right):
                raise ConversionError(f"{name}: padding that differs between opposite edges has no counterpart in NIR")
            weight = (term.operator.weights * weights_of(term, gain).factor).transpose(3, 2, 0, 1)
            size, stride = (shape[0], shape[1]), term.operator.stride
            # (The types that nir infers know no groups.)
            weight = _of_all_channels(weight, term.operator.groups)
            node = self.nir.Conv2d(size, weight, stride, (top, left), term.operator.dilation, 1, shift)
            end = self._add(name, node, end)
            shape = (*term.operator.output_size(size), outputs)
        elif len(shape) == 3:
            end = self._add(name, self._diagonal(gain * scale, shift, (shape[0], shape[1])), end)
        elif bias is None:
            end = self._add(name, self.nir.Scale(scale=gain * scale), end)
        else:
            end = self._add(name, self.nir.Affine(weight=np.diag(gain * scale), bias=bias), end)
        if term.after != (1, 1):
            end, shape = self._pool(name, end, shape, term.after)
        if len(layer.shape) == 1 and len(shape) == 3:
            end = self._flatten(name, end, shape)
        return end

    def _matrix(self, term: Term, end: str, shape: tuple[int, ...], gain: Array, scale: Array, bias: Array | None, name: str) -> str:
        assert isinstance(term.operator, Matrix)
        weights = term.operator.weights * np.resize(gain, len(term.operator.weights))[:, None] * scale
        if len(shape) == 3:
            end = self._flatten(name, end, shape)
            weights = weights.reshape(*shape, -1).transpose(2, 0, 1, 3).reshape(len(weights), -1)
        weight = np.ascontiguousarray(weights.T)
        return self._add(name, self.nir.Linear(weight=weight) if bias is None else self.nir.Affine(weight=weight, bias=bias), end)

    def _pool(self, name: str, end: str, shape: tuple[int, ...], window: tuple[int, int]) -> tuple[str, tuple[int, ...]]:
        sizes = np.array(window)
        pool = self.nir.SumPool2d(kernel_size=sizes, stride=sizes, padding=np.zeros(2, np.int64))
        return self._add(f"{name}_pool", pool, end), (shape[0] // window[0], shape[1] // window[1], shape[2])

    def _flatten(self, name: str, end: str, shape: tuple[int, ...]) -> str:
        flat = self.nir.Flatten(input_type={"input": np.array(_channel_first(shape))}, start_dim=0, end_dim=-1)
        return self._add(f"{name}_flatten", flat, end)


def _of_all_channels(weight: Array, groups: int) -> Array:
    """Weights (outputs, inputs of a group, height, width) with zeros for the inputs of other groups."""
    outputs, inputs = weight.shape[:2]
    whole = np.zeros((outputs, groups * inputs, *weight.shape[2:]), weight.dtype)
    for group, rows in enumerate(np.split(np.arange(outputs), groups)):
        whole[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return whole


def _channel_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape

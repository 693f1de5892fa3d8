"""The nodes of a file, one after the other, as a graph."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from eventsim.conversion.graph import Graph, Input
from eventsim.conversion.onnx.call import Call
from eventsim.conversion.onnx.domains import ADVICE, CHANNELS_LAST, GENERAL, STANDARD
from eventsim.conversion.onnx.files import ModelFile
from eventsim.conversion.onnx.folding import Folder
from eventsim.conversion.onnx.inputs import Layout, layout_of
from eventsim.conversion.onnx.operators.heads import DECISIONS
from eventsim.conversion.onnx.operators.refused import REASONS
from eventsim.conversion.onnx.registry import HANDLERS, supported
from eventsim.conversion.onnx.sizes import MOVING
from eventsim.conversion.onnx.values import Value
from eventsim.errors import ConversionError

# What may come behind an operator that was left out at the end.
_BEHIND_HEADS = {*MOVING, "ArgMax", "Cast", "Dropout", "Identity", "Shape", "TopK"}


class Reader:
    """Reads one file.

    Parameters
    ----------
    file : ModelFile
    input_shape : tuple of int or None
        (channels, height, width) or (features,), where the file leaves it open.
    output : int, str or None
        Which output, by its place or name, is the network's answer, where the file has several.

    Attributes
    ----------
    graph : Graph
    layout : Layout
        Of the input.
    values : dict of str to Value or array
        Every tensor, after :meth:`run`.
    nodes : list of onnx.NodeProto
        Those that the answer depends on.
    input, answer : str
        Names of the tensors that are the image and the graph's output.
    """

    def __init__(self, file: ModelFile, input_shape: tuple[int, ...] | None, output: int | str | None):
        self.file, self.proto = file, file.proto.graph
        self.opsets = {"" if opset.domain == "ai.onnx" else opset.domain: opset.version for opset in file.proto.opset_import}
        self.graph = Graph()
        self.input_shape, self.output = input_shape, output
        self.values: dict[str, Any] = {"": None}
        self.folder = Folder(file.proto.ByteSize(), self.opsets)
        self.batch = 1
        self.layout = Layout((), 1, False)
        self.answer = self.input = ""
        self.nodes: list[Any] = []
        # Which node makes each output but its first, for messages.
        self.others: dict[str, str] = {}

    def run(self) -> Graph:
        """The graph."""
        self._check_opsets()
        answer = self._answer()
        self.nodes = nodes = self._needed(answer)
        initial = {tensor.name for tensor in self.proto.initializer}
        wanted = {name for node in nodes for name in node.input}
        for tensor in self.proto.initializer:
            if tensor.name in wanted:
                self.values[tensor.name] = self.file.tensor(tensor)
        inputs = [i for i in self.proto.input if i.name not in initial]
        used = [i for i in inputs if i.name in wanted or i.name == answer]
        if len(used) != 1:
            names = ", ".join(i.name for i in used or inputs)
            raise ConversionError(f"{len(used)} inputs that the answer depends on ({names:.200}); expected one, the image")
        self.layout = layout_of(used[0], nodes, self.input_shape)
        self.input = used[0].name
        self.graph.remarks += self.layout.remarks
        number = self.graph.add(Input(self.layout.shape), name=used[0].name)
        self.batch = self.layout.batch
        self.values[used[0].name] = self.layout.value(number)
        for node in nodes:
            self._read(node)
        self._finish(answer)
        return self.graph

    def _check_opsets(self) -> None:
        from onnx.defs import onnx_opset_version

        version, newest = self.opsets.get("", 1), onnx_opset_version()
        if version > newest:
            raise ConversionError(f"written for opset {version}; the installed onnx package knows them up to {newest}: update it")

    def _answer(self) -> str:
        names = [output.name for output in self.proto.output]
        listed = ", ".join(names)
        if str(self.output) not in names and isinstance(self.output, int) and 0 <= self.output < len(names):
            return names[self.output]
        # (A name may be a number: files by PyTorch number their tensors.)
        if self.output is not None and str(self.output) not in names:
            raise ConversionError(f"has no output {self.output!r}; it has {listed:.300}")
        if self.output is None and len(names) != 1:
            raise ConversionError(f"has {len(names)} outputs ({listed:.300}); say which is the answer: output=NAME (--answer NAME)")
        return names[0] if self.output is None else str(self.output)

    def _needed(self, answer: str) -> list[Any]:
        """The nodes that the answer depends on."""
        wanted, nodes = {answer}, []
        for node in reversed(self.proto.node):
            if not node.output:
                raise ConversionError(f"{node.name} ({node.op_type}): makes nothing; a damaged file")
            if wanted.intersection(node.output):
                nodes.append(node)
                wanted.update(node.input)
        wanted.discard("")
        return nodes[::-1]

    def _read(self, node: Any) -> None:
        name = f"{node.name or node.output[0]} ({node.op_type})"
        for i in node.input:
            if i not in self.values:
                if i in self.others:
                    raise ConversionError(f"{name}: takes output {i!r} of {self.others[i]}, which is not supported")
                raise ConversionError(f"{name}: takes {i!r}, which nothing makes")
        try:
            made = self._node(node, [self.values[i] for i in node.input], name)
        except ConversionError:
            raise
        except Exception as error:  # a node may have anything in it: attributes and inputs of other kinds, numbers or shapes
            raise ConversionError(f"{name}: cannot be read ({' '.join(str(error).split())[:200]})") from None
        outputs = _listed(made)
        if any(isinstance(output, Value) and not output.places.size for output in outputs):
            raise ConversionError(f"{name}: nothing is left of its input")
        self.values.update(zip(node.output, outputs, strict=False))
        self.others.update(dict.fromkeys(node.output[len(outputs) :], name))

    def _node(self, node: Any, args: list[Any], name: str) -> Any:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if node.op_type == "Constant" and domain in STANDARD:
            return self._constant(node, name)
        if domain not in (*STANDARD, *GENERAL, CHANNELS_LAST):
            advice = f": {ADVICE[domain]}" if domain in ADVICE else ""
            raise ConversionError(f"{name}: an operator of {domain:.80}, which is not supported{advice}")
        if not any(isinstance(arg, Value) for arg in args):
            return self.folder.compute(node, args, name)
        handler = HANDLERS.get((domain, node.op_type))
        if handler is None:
            if node.op_type in REASONS:
                raise ConversionError(f"{name}: not supported: {REASONS[node.op_type]}")
            raise ConversionError(f"{name}: not supported; supported: {supported()}")
        head = next((arg.head for arg in args if isinstance(arg, Value) and arg.head), "")
        if head:
            if node.op_type not in _BEHIND_HEADS:
                raise ConversionError(f"{name}: takes values of {head}: not supported within a network; it can only be left out at the end")
            if head in DECISIONS:
                return args[0]

        def compute(others: list[Any]) -> list[Any]:
            return self.folder.compute(node, others, name, counted=False)

        call = Call(self.graph, node, args, name, self.opsets.get(domain, 1), self.batch, compute)
        made = handler(call)
        call.refuse_unread()
        return made if not head else [replace(one, head=head) if isinstance(one, Value) else one for one in _listed(made)]

    def _constant(self, node: Any, name: str) -> Any:
        from onnx.helper import get_attribute_value

        given = {a.name: a for a in node.attribute}
        if set(given) == {"value"}:
            return self.file.tensor(given["value"].t)
        kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        if len(given) == 1 and next(iter(given)) in kinds:
            (key,) = given
            return np.asarray(get_attribute_value(given[key]), kinds[key])
        raise ConversionError(f"{name}: a constant given by {', '.join(given) or 'nothing'}; expected a tensor or numbers")

    def _finish(self, answer: str) -> None:
        value = self.values.get(answer)
        if not isinstance(value, Value):
            raise ConversionError("the output does not depend on the input")
        call = Call(self.graph, _Named(answer), [value], answer, 0, self.batch, lambda args: args)
        places, _ = call.one_image(value)
        shape = self.graph.shape(value.number)
        ordered = places.size == math.prod(shape) and np.array_equal(places.ravel(), np.arange(places.size))
        # An image of channels alone counts as it is; what is in another order is put into that of the file.
        self.graph.output = value.number if ordered else call.node_of(value, places.reshape(-1))
        self.answer = answer


class _Named:
    """Stands for a node where there is none."""

    attribute: tuple[Any, ...] = ()

    def __init__(self, name: str):
        self.name = name


def _listed(made: Any) -> list[Any]:
    return made if isinstance(made, list) else [made]

"""A file run as it is, to judge how it was read (:mod:`eventsim.conversion.judging`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.conversion.judging import Run, Seen
from eventsim.conversion.onnx.reader import Reader
from eventsim.conversion.onnx.values import Value
from eventsim.errors import ConversionError


class FileSource:
    """Runs the file's own nodes by ONNX's reference, with QONNX's operators added from their specification.

    Parameters
    ----------
    reader : Reader
        That has read it.
    """

    def __init__(self, reader: Reader):
        self.layout, self.opsets, self.batch = reader.layout, reader.opsets, reader.batch
        self.path = reader.file.path
        self.input = reader.input
        self.shapes = [node.shape for node in reader.graph.nodes]
        tensors = {name: value for name, value in reader.values.items() if isinstance(value, Value) and not value.head}
        # What depends on the input, without what was left out at the end.
        self.nodes = [node for node in reader.nodes if any(name in tensors for name in node.output)]
        wanted = {name for node in self.nodes for name in node.input if name}
        self.constants = {name: reader.values[name] for name in wanted if name not in tensors}
        # Of the tensors with a node's numbers the first one: it is what the node was made for.
        self.tensors: dict[int, tuple[str, Value]] = {}
        for name, value in tensors.items():
            self.tensors.setdefault(value.number, (name, value))
        last = reader.values[reader.answer]
        self.answer = next(
            name for name, value in reversed(tensors.items()) if value.number == last.number and np.array_equal(value.places, last.places)
        )

    def __call__(self, values: npt.NDArray[np.floating]) -> Run:
        """The file's values for input values (images, \\*shape of the graph's input), channel first."""
        parts = [self._run(values[i : i + self.batch]) for i in range(0, len(values), self.batch)]
        names = {name: number for number, (name, _) in self.tensors.items()}
        seen = []
        for name in parts[0]:
            number = names.get(name)
            if number is not None and number > 0 and (whole := self._as_node(name, [part[name] for part in parts])) is not None:
                seen.append(Seen(number, name, whole[: len(values)]))
        answer = np.concatenate([part[self.answer].reshape(self.batch, -1) for part in parts])[: len(values)]
        half = any(value.dtype == np.float16 for value in parts[0].values())
        return Run(answer.astype(np.float64), seen, precision=float(np.finfo(np.float16 if half else np.float32).eps))

    def _run(self, values: npt.NDArray[np.floating]) -> dict[str, npt.NDArray[Any]]:
        """Every tensor that depends on the input, for a batch of images."""
        from eventsim.conversion.onnx.reference import run_nodes

        # The last batch may have fewer: filled up, and what is too much is left out afterwards.
        whole = np.resize(values, (self.batch, *values.shape[1:]))
        image = self.layout.ordered(whole)
        image = np.rint(image) if self.layout.type.kind in "iu" else image
        given = {self.input: np.ascontiguousarray(image.astype(self.layout.type))}
        try:
            return run_nodes(self.nodes, self.constants, given, self.opsets)
        except Exception as error:  # whatever the reference says of what it does not like
            raise ConversionError(
                f"{self.path}: cannot be run by ONNX's reference ({' '.join(str(error).split())[:200]}), so how it was read cannot be "
                "checked; check=False (--no-check) converts it as read"
            ) from None

    def _as_node(self, name: str, parts: list[npt.NDArray[Any]]) -> npt.NDArray[np.floating] | None:
        """A tensor in the shape of its node; None where it has not all of the node's numbers."""
        number = next(number for number, (tensor, _) in self.tensors.items() if tensor == name)
        value = self.tensors[number][1]
        shape = self.shapes[number]
        places = value.places.ravel()
        size = self.batch * math.prod(shape)
        if places.size != size or not np.array_equal(np.sort(places), np.arange(size)):
            return None
        made = np.empty((len(parts), size))
        for row, part in zip(made, parts, strict=True):
            row[places] = part.ravel()
        return made.reshape(-1, *shape)

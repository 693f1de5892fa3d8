"""Read an ONNX or QONNX file: the usual operators, and QONNX's ``Quant``, ``BipolarQuant``, ``Trunc`` and ``MultiThreshold``.

What depends on constants alone is computed; what remains becomes the graph. Nothing is executed but the operators listed here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import eventsim.conversion.onnx.operators  # noqa: F401 - registers them
from eventsim.conversion.graph import Graph
from eventsim.conversion.onnx.files import ModelFile
from eventsim.conversion.onnx.reader import Reader
from eventsim.conversion.onnx.source import FileSource
from eventsim.errors import ConversionError


def from_onnx(path: str | os.PathLike[str], input_shape: Sequence[int] | None = None, *, output: int | str | None = None) -> Graph:
    """Describe an ONNX file as a graph.

    Parameters
    ----------
    path : path-like
        Weights may lie in other files beside it.
    input_shape : sequence of int, optional
        (channels, height, width) or (features,), where the file leaves it open.
    output : int or str, optional
        Which output is the network's answer, where the file has several: its place or its name.

    Raises
    ------
    ConversionError
        The onnx package is not installed, the file is not readable, or a node has no counterpart; the message names it.
    """
    file = ModelFile(path)
    try:
        reader = Reader(file, None if input_shape is None else tuple(int(n) for n in input_shape), output)
        graph = reader.run()
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from None
    graph.source = FileSource(reader)
    return graph

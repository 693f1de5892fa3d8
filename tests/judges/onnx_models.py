"""Small ONNX models, and what ONNX's own reference says that they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

GENERAL = "qonnx.custom_op.general"


def node(kind: str, inputs: str = "x", outputs: str = "y", domain: str = "", **attributes: Any) -> Any:
    """A node; names of inputs and outputs with blanks between them, ``_`` for one that is left out."""
    from onnx import helper

    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(kind, names, outputs.split(), domain=domain, **attributes)


def model(nodes: Any, constants: dict[str, Any] | None = None, shape: tuple[Any, ...] = (1, 3, 6, 5), opset: int = 13, **more: Any) -> Any:
    """A model whose input is ``x`` and whose output is ``y``, or those named."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = nodes if isinstance(nodes, list) else [nodes]
    initial = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    inputs = [helper.make_tensor_value_info(name, more.get("kind", TensorProto.FLOAT), shape) for name in more.get("inputs", ["x"])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more.get("outputs", ["y"])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initial)
    domains = {"": opset} | {n.domain: more.get("version", 1) for n in nodes if n.domain}
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def save(made: Any, folder: Path) -> Path:
    """In a file."""
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def reference(made: Any, x: np.ndarray, ops: list[type] | None = None) -> np.ndarray:
    """The first output of the model itself for every image (images, \\*shape without the batch)."""
    from onnx.reference import ReferenceEvaluator

    dims = [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim]
    batch = max(1, dims[0])
    evaluator = ReferenceEvaluator(made, new_ops=ops)
    kind = np.dtype(np.float32)
    parts = [evaluator.run(None, {made.graph.input[0].name: x[i : i + batch].astype(kind)})[0] for i in range(0, len(x), batch)]
    return np.concatenate([np.asarray(part).reshape(batch, -1) for part in parts])


def read(path: Path, x: np.ndarray, **settings: Any) -> np.ndarray:
    """What our reading of the file computes for images, channel first: (images, outputs)."""
    from eventsim.conversion.from_onnx import from_onnx

    graph = from_onnx(path, **settings)
    if graph.nodes[0].shape != x.shape[1:] and x.ndim == 4:  # channels last
        x = np.moveaxis(x, -1, 1)
    x = x.reshape(len(x), *graph.nodes[0].shape)
    value: np.ndarray = graph.evaluate(x.astype(np.float64))[graph.output]
    return value.reshape(len(x), -1)

"""ONNX's own evaluator, which knows no QONNX: its operators are added here, from their specifications.

Imported where it is used, since the onnx package may not be installed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from eventsim.conversion.onnx.domains import CHANNELS_FIRST_OPSET, CHANNELS_LAST, GENERAL
from eventsim.conversion.onnx.rounding import ROUNDING, bounds


class _IntQuant(OpRun):
    def _run(self, x, scale, zero, bits, signed=1, narrow=0, rounding_mode="ROUND"):  # type: ignore[no-untyped-def]
        low, high = bounds(float(np.reshape(bits, ())), bool(signed), bool(narrow))
        whole = ROUNDING[rounding_mode.upper()](np.clip(x / scale + zero, low, high))
        return (((whole - zero) * scale).astype(x.dtype),)


class _BipolarQuant(OpRun):
    def _run(self, x, scale):  # type: ignore[no-untyped-def]
        return (np.where(x / scale >= 0, scale, -scale).astype(x.dtype),)


class _Trunc(OpRun):
    def _run(self, x, scale, zero, *rest, rounding_mode="FLOOR", signed=1, narrow=0):  # type: ignore[no-untyped-def]
        whole = np.round(x / scale + zero)
        cut = ROUNDING[rounding_mode.upper()]
        if len(rest) == 2:
            bits, left = (float(np.reshape(n, ())) for n in rest)
            return (((cut(whole / 2.0 ** (bits - left)) - zero) * scale).astype(x.dtype),)
        _, coarse, left = rest
        step = 2.0 ** np.round(np.log2(coarse / scale))
        low, high = bounds(float(np.reshape(left, ())), bool(signed), bool(narrow))
        return (((cut(np.clip(whole / step, low, high)) - zero / step) * coarse).astype(x.dtype),)


class _MultiThreshold(OpRun):
    def _run(self, x, thresholds, out_scale=1.0, out_bias=0.0, data_layout="NCHW", out_dtype=None):  # type: ignore[no-untyped-def]
        # Tensors that are neither matrices nor images have their channels last, whatever they say.
        axis = 1 if data_layout == "NCHW" and x.ndim in (2, 4) else x.ndim - 1
        at = np.moveaxis(x, axis, -1)[..., None] >= thresholds
        return (np.moveaxis(out_scale * np.count_nonzero(at, -1) + out_bias, -1, axis).astype(x.dtype),)


class _ChannelsLast(OpRun):
    def _run(self, x, *rest, **attributes):  # type: ignore[no-untyped-def]
        kind = type(self).__name__
        first, *others = rest or (None,)
        weights = [np.moveaxis(first, -1, 1) if kind == "Conv" else first, *others] if rest else []
        names = [f"i{i}" for i in range(1 + len(rest))]
        node = helper.make_node(kind, names, ["y"])
        node.attribute.extend(self.onnx_node.attribute)
        args = [np.moveaxis(x, -1, 1), *weights]
        return (np.moveaxis(run_node(node, args, {"": CHANNELS_FIRST_OPSET})[0], 1, -1),)


@cache
def _added() -> list[type[OpRun]]:
    from eventsim.conversion.onnx.mended import MENDED

    kinds = {"IntQuant": _IntQuant, "Quant": _IntQuant, "BipolarQuant": _BipolarQuant, "Trunc": _Trunc, "MultiThreshold": _MultiThreshold}
    classes = [type(name, (base,), {"op_domain": domain}) for domain in GENERAL for name, base in kinds.items()]
    last = ("Conv", "MaxPool", "AveragePool", "BatchNormalization")
    return [*MENDED, *classes, *(type(name, (_ChannelsLast,), {"op_domain": CHANNELS_LAST}) for name in last)]


def _all_opsets(opsets: dict[str, int]) -> dict[str, int]:
    """With QONNX's, which files by Brevitas do not mention."""
    return {"": 1, **dict.fromkeys((*GENERAL, CHANNELS_LAST), 1), **opsets}


def run_node(node: Any, args: list[Any], opsets: dict[str, int]) -> list[Any]:
    """The outputs of one node, in its opset.

    (A node by itself would be taken for one of the newest opset.)
    """
    given = {name: arg for name, arg in zip(node.input, args, strict=True) if name}
    inputs = [helper.make_empty_tensor_value_info(name) for name in given]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "node", inputs, outputs)
    with np.errstate(all="ignore"):
        values: Any = ReferenceEvaluator(graph, opsets=_all_opsets(opsets), new_ops=_added()).run(None, given)
    found = dict(zip((name for name in node.output if name), values, strict=True))
    return [found.get(name) for name in node.output]


def run_nodes(nodes: list[Any], constants: dict[str, Any], given: dict[str, Any], opsets: dict[str, int]) -> dict[str, Any]:
    """All that nodes make, by name.

    Parameters
    ----------
    nodes : list of onnx.NodeProto
        In order.
    constants, given : dict of str to array
        What they take and do not make themselves.
    opsets : dict of str to int
    """
    inputs = [helper.make_empty_tensor_value_info(name) for name in (*constants, *given)]
    made = [name for node in nodes for name in node.output if name]
    graph = helper.make_graph(nodes, "nodes", inputs, [helper.make_empty_tensor_value_info(name) for name in made[-1:]])
    with np.errstate(all="ignore"):
        evaluator: Any = ReferenceEvaluator(graph, opsets=_all_opsets(opsets), new_ops=_added())
        values: dict[str, Any] = evaluator.run(None, {**constants, **given}, intermediate=True)
    return {name: values[name] for name in made if values.get(name) is not None}

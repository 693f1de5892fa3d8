"""What depends on constants alone is computed, by ONNX's own reference and what is added to it for QONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventsim.conversion.onnx.call import schema_of
from eventsim.conversion.onnx.domains import GENERAL
from eventsim.conversion.onnx.sizes import SIZES, numbers_made
from eventsim.errors import ConversionError

# QONNX's operators that are computed, by name and domain.
QONNX = {(name, domain) for name in ("BipolarQuant", "IntQuant", "MultiThreshold", "Quant", "Trunc") for domain in GENERAL}
# For constants that are computed, beside eight times the file's size.
_FOLDED_BYTES = 2**28


class Folder:
    """Computes nodes of constants, within a bound on memory.

    Parameters
    ----------
    size : int
        Of the file, in bytes.
    opsets : dict of str to int
        Versions by domain.
    """

    def __init__(self, size: int, opsets: dict[str, int]):
        self.room: float = _FOLDED_BYTES + 8 * size
        self.opsets = opsets

    def compute(self, node: Any, args: list[Any], name: str, counted: bool = True) -> list[Any]:
        """The outputs of a node of constants.

        Parameters
        ----------
        node : onnx.NodeProto
        args : list of array or None
        name : str
            For messages.
        counted : bool
            Whether the outputs are kept, and count against the memory that constants may take.

        Raises
        ------
        ConversionError
            An operator that is not computed, one that makes too much, or a node that its operator cannot do.
        """
        from onnx.helper import get_attribute_value

        attributes = {a.name: get_attribute_value(a) for a in node.attribute}
        own = node.domain not in ("", "ai.onnx")
        if (node.op_type, node.domain) not in QONNX if own else node.op_type not in SIZES:
            raise ConversionError(f"{name}: a constant made by an operator that is not supported; simplify the file first")
        made = 8 * numbers_made(node.op_type, args, attributes)
        if not made <= self.room:
            limit = f"{_FOLDED_BYTES >> 20} MB"
            raise ConversionError(f"{name}: computed from the file's constants, it would take more than {limit} beyond them")
        if counted:
            self.room -= made
        schema = schema_of(node, self.opsets.get(node.domain, 1))
        unknown = set() if schema is None else attributes.keys() - schema.attributes.keys()
        if unknown:
            raise ConversionError(f"{name}: its attribute {min(unknown)} is not one of opset {self.opsets.get(node.domain)}")
        from eventsim.conversion.onnx.reference import run_node

        try:
            return [None if value is None else np.asarray(value) for value in run_node(node, args, self.opsets)]
        except Exception as error:  # whatever the reference says of a node that is not well formed
            raise ConversionError(f"{name}: cannot be computed ({' '.join(str(error).split())[:200]})") from None

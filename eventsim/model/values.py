"""What networks are made of: dataclasses with arrays, compared by value."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
IntArray = npt.NDArray[Any]
# Of a dataclass field that has come later: networks that do without it keep their digest.
UNLESS_DEFAULT = {"digest": "unless it is the default"}


class ByValue:
    """Base of what networks are made of, dataclasses with arrays: equal if of one kind with equal fields, arrays compared by value.

    Not hashable, since arrays are not: use :meth:`eventsim.Simulator.digest` for a fingerprint.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ((f.name, getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{name}={_brief(value)}' for name, value in values)})"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)


def _brief(value: Any) -> str:
    """An array by its type and shape, unless it has a few values only."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    return str(value.tolist()) if value.size <= 8 else f"<{value.dtype} {'x'.join(map(str, value.shape))}>"

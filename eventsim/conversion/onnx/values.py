"""What an ONNX tensor that depends on the network's input is: numbers of a graph's node, each at its place.

The graph's values have no batch and are channel first; an ONNX tensor may hold the same numbers in any order and shape. So a tensor
is a node and, for each place of the tensor, which of the node's numbers stands there. Whatever moves numbers about (transposition,
reshaping, slices, upsampling ...) is done to that table of places, and becomes operators of the graph when something computes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
Kind = Literal["real", "whole", "truth"]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that depends on the network's input.

    Attributes
    ----------
    number : int
        The graph's node whose numbers it holds.
    places : int64, the tensor's shape
        At each place the position in the node's value, flattened; image ``b`` of a batch has ``b * size`` added.
        -1 is a zero.
    size : int
        Of the node's value.
    kind : str
        ``whole`` numbers (of an integer type), ``truth`` values (0 and 1), or ``real``.
    head : str
        The operator that was left out because it changes nothing of which output is largest, else empty.
    """

    number: int
    places: Places
    size: int
    kind: Kind = "real"
    head: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return self.places.shape

    def moved(self, places: Places) -> Value:
        """The same numbers at other places."""
        return replace(self, places=places)


def of_each_image(places: Places, axis: int, size: int) -> Places | None:
    """The places of the first image of a batch along an axis; None where the others' differ."""
    along = np.moveaxis(places, axis, 0)
    images = np.arange(len(along)).reshape(-1, *[1] * (along.ndim - 1)) * size
    return along[0] if np.array_equal(along, np.where(along[:1] < 0, -1, along[:1] + images)) else None

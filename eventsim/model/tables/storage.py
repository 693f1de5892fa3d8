"""Weights in network files: as they are, or one magnitude and a bit a weight for its sign."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eventsim.model.limits import WEIGHT_LIMIT
from eventsim.model.tables.table import Table
from eventsim.model.values import IntArray, Shape

if TYPE_CHECKING:
    from eventsim.model.storage.reading import StoredGroup
    from eventsim.model.storage.writing import NewGroup


def write_weights(group: NewGroup, table: Table) -> None:
    """Write the weights of a table, if it has any."""
    if not table.weighted:
        return
    if table.magnitude is not None:
        group.attributes(magnitude=table.magnitude)
        group.dataset("signs", np.packbits(table.weights.ravel() > 0))
    else:
        group.dataset("weights", np.asarray(table.weights, table.weights.dtype.newbyteorder("<")))


def check_members(group: StoredGroup, attributes: Sequence[str], members: Sequence[str] = ()) -> None:
    """Fail unless the group of a table has exactly these attributes and members, and those of its kind and weights."""
    binary = group.has("signs")
    group.holds(["kind", *(["magnitude"] if binary else []), *attributes], (*members, "signs" if binary else "weights"))


def read_weights(group: StoredGroup, shape: Shape) -> IntArray:
    """Read the weights of a table, of this shape."""
    if not group.has("signs"):
        return group.array("weights", ("int8", "int16", "int32"), [shape])
    magnitude = group.integer("magnitude", 1, WEIGHT_LIMIT)
    count = math.prod(shape)
    packed = group.array("signs", ("uint8",), [(-(-count // 8),)])
    if count % 8 and int(packed[-1]) & (0xFF >> count % 8):
        raise group.fail("signs", "the unused bits of the last byte are not zero")
    # In place as far as possible: the unpacked weights are the largest arrays there are.
    weights: IntArray = np.unpackbits(packed, count=count).view(np.int8)
    weights *= 2
    weights -= 1
    if magnitude > 127:
        weights = weights.astype(np.int16 if magnitude < 2**15 else np.int32)
    weights *= magnitude
    return weights.reshape(shape)

"""Synapse tables: which target neurons a spike of one source neuron reaches, and with which weights. A file a kind."""

from eventsim.model.tables.conv2d import Conv2d
from eventsim.model.tables.dense import Dense
from eventsim.model.tables.geometry import Axis, Rows, Stencil, spatial
from eventsim.model.tables.grouped import GroupedConv2d
from eventsim.model.tables.sparse import Sparse
from eventsim.model.tables.table import Table
from eventsim.model.tables.weights import integer_weights
from eventsim.model.tables.windows import Windows
from eventsim.model.values import ByValue, IntArray, Shape

__all__ = [
    "Axis",
    "ByValue",
    "Conv2d",
    "Dense",
    "GroupedConv2d",
    "IntArray",
    "Rows",
    "Shape",
    "Sparse",
    "Stencil",
    "Table",
    "Windows",
    "integer_weights",
    "spatial",
]

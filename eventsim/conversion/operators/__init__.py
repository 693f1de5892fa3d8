"""The operators of a graph, a few that all that networks do is made of; each says the shape of its value and can be evaluated."""

from eventsim.conversion.operators.elementwise import Add, Clip, Floor, Round, Scale, Sign, Truncate
from eventsim.conversion.operators.operator import Array, Elementwise, Input, Operator, Rearrangement, Shape, Values, Weights
from eventsim.conversion.operators.pools import AdaptiveAveragePool, AdaptiveMaxPool, AveragePool, MaxPool, Resample, Separable
from eventsim.conversion.operators.shapes import Concatenate, Flatten, Pad, Permute, Reshape, Select
from eventsim.conversion.operators.weights import Convolution, Linear, TransposedConvolution

__all__ = [
    "AdaptiveAveragePool",
    "AdaptiveMaxPool",
    "Add",
    "Array",
    "AveragePool",
    "Clip",
    "Concatenate",
    "Convolution",
    "Elementwise",
    "Flatten",
    "Floor",
    "Input",
    "Linear",
    "MaxPool",
    "Operator",
    "Pad",
    "Permute",
    "Rearrangement",
    "Resample",
    "Reshape",
    "Round",
    "Scale",
    "Select",
    "Separable",
    "Shape",
    "Sign",
    "TransposedConvolution",
    "Truncate",
    "Values",
    "Weights",
]

"""What each operator of ONNX becomes: a file for each kind; importing them registers them."""

from eventsim.conversion.onnx.operators import (
    activations,
    arithmetic,
    channels_last,
    comparisons,
    heads,
    moving,
    pools,
    quantisers,
    refused,
    sums,
    weights,
)

__all__ = [
    "activations", "arithmetic", "channels_last", "comparisons", "heads", "moving", "pools", "quantisers", "refused", "sums", "weights",
]  # fmt: skip

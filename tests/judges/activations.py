"""What the dense source network of a conversion computes."""

from __future__ import annotations

import numpy as np

import eventsim as es


def activations(made: es.Conversion, image: np.ndarray) -> dict[str, np.ndarray]:
    """What every layer of the source has for an image, from the float64 evaluation of its layers; of the output the values themselves."""
    found: dict[str, np.ndarray] = {}

    def watch(layer, z):
        found[layer.name] = (z if layer.activation is None else layer.activation(z))[0].ravel()

    made.source.evaluate(image[None] * made.pixel_factor + made.pixel_shift, watch)
    return found

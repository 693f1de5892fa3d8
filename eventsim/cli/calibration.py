"""Images that a conversion is calibrated with, or tried on."""

from __future__ import annotations

import numpy as np

from eventsim.data.datasets import open_dataset
from eventsim.errors import ConversionError, DatasetError
from eventsim.files.printable import echo


def sample_images(name: str | None, split: str, count: int) -> tuple[np.ndarray | None, np.ndarray | None, list[str]]:
    """Images spread evenly over a set, their labels if there are any, and its class names."""
    if name is None:
        return None, None, []
    try:
        images = open_dataset(name, split)
    except DatasetError as error:
        raise ConversionError(f"--calibrate: {error}") from None
    if split == "test" and images.split == "all":
        echo(f"note: {name} has no test images apart: these may be ones that it was calibrated with", err=True)
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    parts = [images[int(i)] for i in chosen]
    if len({part.shape for part in parts}) != 1:
        raise ConversionError(f"--calibrate {name}: its images differ in size; resize them to what the network takes")
    return np.stack(parts), None if images.labels is None else images.labels[chosen], list(images.classes)

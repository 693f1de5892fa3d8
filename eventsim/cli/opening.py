"""The data set that a command is to evaluate a network on."""

from __future__ import annotations

from typing import Any

from eventsim.cli.options import READING, reading_of
from eventsim.data.datasets import open_dataset
from eventsim.data.image_sets import Dataset


def dataset_of(given: dict[str, Any]) -> Dataset:
    """Open the data set that options name, which are taken out of them."""
    reading = reading_of(given)
    for name in READING:
        del given[name]
    return open_dataset(given.pop("dataset"), given.pop("split"), reading=reading)

"""Files whose contents were changed, sealed again: what is wrong with them must be found in what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py

from eventsim.files.seal import SEAL, seal


def change_and_reseal(path: Path, change: Callable[[h5py.File], object]) -> None:
    """Change a file and seal it as if it had always been so."""
    with h5py.File(path, "r+") as file:
        change(file)
        if SEAL in file:
            del file[SEAL]
        seal(file, {})

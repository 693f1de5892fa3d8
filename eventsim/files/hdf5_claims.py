"""What an HDF5 file that others wrote claims to hold, looked at before anything of it is read."""

from __future__ import annotations

import math
import os
from typing import Any

import h5py

from eventsim.files.hdf5_reading import MAX_RATIO, extent

# Bytes of a dataset that may have no storage: never written, as an empty one is.
_FREE = 2**20


def check_claims(path: str | os.PathLike[str]) -> None:
    """Refuse datasets that are larger than what the file stores of them may be unpacked to, and members that lie elsewhere.

    Raises
    ------
    ValueError
        The message names the member.
    OSError
        No HDF5 file.
    """
    with h5py.File(path, "r") as file:
        _check_group(file, "", set())


def _check_group(group: Any, name: str, seen: set[int]) -> None:
    for key in group:
        where = f"{name}/{key}"
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise ValueError(f"{where} is a soft or external link")
        child = group[key]
        address = h5py.h5o.get_info(child.id).addr
        if address in seen:
            raise ValueError(f"{where} is the same object as another member")
        seen.add(address)
        if isinstance(child, h5py.Group):
            _check_group(child, where, seen)
        elif isinstance(child, h5py.Dataset):
            _check_dataset(child, where)


def _check_dataset(dataset: Any, where: str) -> None:
    # First of all: asking a virtual dataset for its shape would already open other files.
    made = dataset.id.get_create_plist()
    if made.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT) or made.get_external_count():
        raise ValueError(f"the data of {where} are in other files, or virtual")
    dims = extent(dataset.id.get_space()) or ()
    size = math.prod(dims) * dataset.id.get_type().get_size()
    if size > max(_FREE, MAX_RATIO * dataset.id.get_storage_size()):
        raise ValueError(f"{where} claims {size:,} bytes, more than the file can hold")

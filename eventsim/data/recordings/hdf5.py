"""Recordings in HDF5: a column each, or a structured dataset, under names that can be chosen."""

from __future__ import annotations

from importlib import import_module
from typing import IO, Any

import h5py

from eventsim.data.recordings.events import Recording, check_number, recording
from eventsim.data.recordings.fields import FIELDS, Fields
from eventsim.errors import InputError
from eventsim.files.hdf5_reading import MAX_RATIO

# Groups with columns: DSEC's and others'; structured datasets: Prophesee's, and those that Tonic's cache on the disk makes.
_GROUPS = ("events/", "", "CD/")
_TABLES = ("events", "CD/events", "data/0", "data/events")
# What files of our own have, which are given by mistake.
_OURS = {"a trace": ("eventsim", "spikes"), "an evaluation": ("info", "decision_tick")}
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
# Blosc, LZ4, bitshuffle, Blosc2 and Zstandard.
_PLUGIN_FILTERS = {32001, 32004, 32008, 32026, 32015}


def read_hdf5(stream: IO[bytes], name: str, fields: Fields) -> Recording:
    """Columns of these names (paths from the root), of a group ``events``, of the root; or a structured dataset.

    Raises
    ------
    InputError
    """
    try:
        with h5py.File(stream, "r") as file:
            bytes_there = stream.seek(0, 2)
            columns = _columns(file, name, fields, bytes_there)
    except InputError:
        raise
    except Exception as error:  # whatever h5py finds wrong with a damaged file
        raise InputError(f"{name}: not a readable HDF5 file ({' '.join(str(error).split())[:200]})") from None
    return recording(name, columns["x"], columns["y"], fields.microseconds(columns["t"], name), columns["p"])


def _columns(file: h5py.File, name: str, fields: Fields, bytes_there: int) -> dict[str, Any]:
    for group in _GROUPS:
        there = Paths(file, name, bytes_there)
        chosen = fields.chosen(there, group)
        if chosen is not None:
            return {key: there.read(chosen[key]) for key in FIELDS}
    for path in _TABLES:
        there = Paths(file, name, bytes_there)
        dataset = there.dataset(path)
        if dataset is not None and dataset.dtype.names is not None:
            chosen = fields.chosen(dataset.dtype.names)
            if chosen is None:
                raise InputError(f"{name}: {path}: {fields.missing(dataset.dtype.names)}")
            table = there.read(path)
            return {key: table[chosen[key]] for key in FIELDS}
    for kind, members in _OURS.items():
        if all(member in file for member in members):
            raise InputError(f"{name}: {kind} of eventsim, and no recording of a camera")
    raise InputError(f"{name}: {fields.missing([str(key)[:40] for key in list(file)[:50]])}")


class Paths:
    """Datasets of a file that nobody vouches for, by their paths: only what is in the file itself is found."""

    def __init__(self, file: h5py.File, name: str, bytes_there: int):
        self._file, self._name, self._bytes = file, name, bytes_there

    def __contains__(self, path: object) -> bool:
        return self.dataset(str(path)) is not None

    def dataset(self, path: str) -> h5py.Dataset | None:
        """The dataset at a path of hard links, if there is one."""
        place: Any = self._file
        for part in path.strip("/").split("/"):
            if not isinstance(place, h5py.Group) or not part or part not in place:
                return None
            if not isinstance(place.get(part, getlink=True), h5py.HardLink):
                raise InputError(f"{self._name}: {path} leads elsewhere; expected the events in the file itself")
            place = place[part]
        return place if isinstance(place, h5py.Dataset) else None

    def read(self, path: str) -> Any:
        """All of a dataset of one dimension, if it can be what it declares.

        Raises
        ------
        InputError
        """
        dataset = self.dataset(path)
        assert dataset is not None
        dtype = dataset.dtype
        if dataset.shape is None or len(dataset.shape) != 1 or dtype.hasobject or dtype.subdtype is not None:
            raise InputError(f"{self._name}: {path} is {dtype} {dataset.shape}, expected one dimension of numbers")
        check_number(dataset.shape[0], self._name)
        # No filter packs events more tightly than deflate packs zeros.
        if dataset.is_virtual or dataset.external or dataset.shape[0] * dtype.itemsize > MAX_RATIO * self._bytes:
            raise InputError(f"{self._name}: {path} is not in the file itself, or declares more than it holds; a damaged recording")
        plist = dataset.id.get_create_plist()
        filters = {plist.get_filter(number)[0] for number in range(plist.get_nfilters())} - _FILTERS
        if filters - _PLUGIN_FILTERS:
            raise InputError(f"{self._name}: {path} is compressed by the filter {min(filters - _PLUGIN_FILTERS)}, which is not read")
        if filters:
            try:
                import_module("hdf5plugin")
            except ImportError:
                raise InputError(f"{self._name}: is compressed; reading it needs hdf5plugin (pip install 'eventsim[events]')") from None
        return dataset[()]

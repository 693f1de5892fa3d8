"""Read a recording, whatever its format: what a file begins with tells it, and its name where nothing does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

from eventsim.data.npy import MAGIC as NPY
from eventsim.data.npy import npy_header
from eventsim.data.recordings.aedat import read_aedat2, read_aedat3, read_aedat4
from eventsim.data.recordings.arrays import read_npy, read_npz
from eventsim.data.recordings.events import MAX_BYTES, Recording
from eventsim.data.recordings.evt import read_evt
from eventsim.data.recordings.fields import Fields
from eventsim.data.recordings.hdf5 import read_hdf5
from eventsim.data.recordings.nmnist import read_bin
from eventsim.errors import InputError
from eventsim.files.hdf5_heaps import HDF5_SIGNATURE

Reader = Callable[[IO[bytes], str, Fields], Recording]
# What a file begins with.
_BEGINNINGS: dict[bytes, Reader] = {
    NPY: read_npy,
    b"PK\x03\x04": read_npz,
    HDF5_SIGNATURE: read_hdf5,
    b"#!AER-DAT2.0": read_aedat2,
    b"#!AER-DAT3.1": read_aedat3,
    b"#!AER-DAT4.0": read_aedat4,
    b"%": read_evt,
}
# Of files that begin with an event.
_SUFFIXES: dict[str, Reader] = {".bin": read_bin}
SUFFIXES = frozenset({".npy", ".npz", ".h5", ".hdf5", ".aedat", ".aedat4", ".raw", ".dat", *_SUFFIXES})
_KNOWN = "npy, npz, HDF5, AEDAT 2, 3.1 or 4, EVT 2 or 3, DAT, N-MNIST's .bin"


def is_recording(stream: IO[bytes], name: str) -> bool:
    """Whether a file is one of a recording, by what it begins with or its name; arrays only if they are structured."""
    reader = _reader(stream, name)
    if reader is not read_npy:
        return reader is not None
    try:
        return npy_header(stream, name)[1].names is not None
    except InputError:
        return False
    finally:
        stream.seek(0)


def _reader(stream: IO[bytes], name: str) -> Reader | None:
    stream.seek(0)
    head = stream.read(16)
    stream.seek(0)
    return next((reader for begin, reader in _BEGINNINGS.items() if head.startswith(begin)), _SUFFIXES.get(Path(name).suffix.lower()))


def read_recording(stream: IO[bytes], name: str, fields: Fields | None = None) -> Recording:
    """Read a recording from a file that may come from anywhere.

    Parameters
    ----------
    stream : binary stream
        Seekable.
    name : str
        The file's, for its suffix and for messages.
    fields : Fields, optional
        Of arrays and HDF5 files.

    Raises
    ------
    InputError
        Of no known format, damaged, cut short, or not in the order of time.
    """
    if stream.seek(0, 2) > MAX_BYTES:
        raise InputError(f"{name}: more than {MAX_BYTES:,} bytes; cut it")
    reader = _reader(stream, name)
    if reader is None:
        raise InputError(f"{name}: no recording of events that is known; expected {_KNOWN}")
    return reader(stream, name, fields or Fields())

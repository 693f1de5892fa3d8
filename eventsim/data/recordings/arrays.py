"""Recordings as NumPy saves them: a structured array, a table, or a column each in an archive."""

from __future__ import annotations

import io
import zipfile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from eventsim.data.npy import npy_header, read_elements
from eventsim.data.recordings.events import MAX_EVENTS, Recording, check_number, recording
from eventsim.data.recordings.fields import FIELDS, Fields
from eventsim.errors import InputError
from eventsim.files.hdf5_reading import MAX_RATIO

_MAX_MEMBERS = 64
# Of an event, in an archive.
_MAX_EVENT = 64
# Of a table of numbers: more than any recording has, and so few that a shape is no number beyond all bounds.
_MOST_COLUMNS = 1000


def read_npy(stream: IO[bytes], name: str, fields: Fields) -> Recording:
    """A structured array with columns of these names, or a table (events, columns) whose columns are named by their numbers.

    Raises
    ------
    InputError
    """
    return _from_array(_array(stream, name), name, fields)


def read_npz(stream: IO[bytes], name: str, fields: Fields) -> Recording:
    """An archive with an array for each column, or with one structured array.

    Raises
    ------
    InputError
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise InputError(f"{name}: {len(members):,} arrays, expected x, y, t, p or one structured array")
            names = {member.filename.removesuffix(".npy"): member for member in members if member.filename.endswith(".npy")}
            chosen = fields.chosen(names)
            if chosen is None and len(names) != 1:
                raise InputError(f"{name}: {fields.missing(names)}")
            arrays = {key: _member(archive, names[key], name) for key in (chosen.values() if chosen else names)}
    except InputError:
        raise
    except Exception as error:  # whatever decoders find wrong with a damaged archive
        raise InputError(f"{name}: not a readable .npz archive ({' '.join(str(error).split())[:200]})") from None
    if chosen is None:
        return _from_array(next(iter(arrays.values())), name, fields)
    return _from_columns({key: arrays[chosen[key]] for key in FIELDS}, name, fields)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> npt.NDArray[Any]:
    if member.file_size > min(MAX_RATIO * (member.compress_size + 64), MAX_EVENTS * _MAX_EVENT) or member.flag_bits & 1:
        raise InputError(f"{name}: {member.filename[:80]!a} declares {member.file_size:,} bytes, or is encrypted; a damaged archive")
    return _array(io.BytesIO(archive.read(member)), f"{name}: {member.filename[:80]!a}")


def _array(stream: IO[bytes], name: str) -> npt.NDArray[Any]:
    shape, dtype, fortran = npy_header(stream, name)
    if len(shape) not in (1, 2) or (dtype.names is None and dtype.kind not in "biuf"):
        raise InputError(f"{name}: expected a structured array (events,) of x, y, t, p, or a table of numbers, found {dtype} {shape}")
    check_number(shape[0], name)
    if len(shape) == 2 and shape[1] > _MOST_COLUMNS:
        raise InputError(f"{name}: a table of {shape[1]} columns, expected {_MOST_COLUMNS:,} at most")
    flat = read_elements(stream, stream.tell(), dtype, int(np.prod(shape)), name)
    return flat.reshape(shape, order="F" if fortran else "C")


def _from_array(array: npt.NDArray[Any], name: str, fields: Fields) -> Recording:
    if array.dtype.names is not None and array.ndim == 1:
        chosen = fields.chosen(array.dtype.names)
        if chosen is None:
            raise InputError(f"{name}: {fields.missing(array.dtype.names)}")
        return _from_columns({key: array[chosen[key]] for key in FIELDS}, name, fields)
    if array.ndim != 2 or array.dtype.names is not None:
        raise InputError(f"{name}: expected a structured array (events,) of x, y, t, p, found {array.dtype} {array.shape}")
    numbers = [fields.names.get(key, "") for key in FIELDS]
    if not all(number.isdecimal() and number.isascii() and len(number) < 4 and int(number) < array.shape[1] for number in numbers):
        raise InputError(f"{name}: a table of {array.shape[1]} columns without names; say which is which (--fields x=0,y=1,t=2,p=3)")
    return _from_columns({key: _whole(array[:, int(number)], key) for key, number in zip(FIELDS, numbers, strict=True)}, name, fields)


def _whole(values: npt.NDArray[Any], key: str) -> npt.NDArray[Any]:
    """Whole numbers in a table of floating-point ones; times stay."""
    if key == "t" or values.dtype.kind != "f" or not np.all(np.abs(values) < 2**31) or np.any(values != np.floor(values)):
        return values
    return values.astype(np.int64)


def _from_columns(columns: dict[str, npt.NDArray[Any]], name: str, fields: Fields) -> Recording:
    if any(values.ndim != 1 for values in columns.values()):
        raise InputError(f"{name}: each of x, y, t, p must have one dimension")
    return recording(name, columns["x"], columns["y"], fields.microseconds(columns["t"], name), columns["p"])

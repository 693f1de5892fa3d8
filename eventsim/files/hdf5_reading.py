"""Reading HDF5 files that may come from anywhere: nothing in them is believed.

Before a byte of data is read, every member is looked at: links that lead elsewhere, data in other files, filters other than deflate and
shuffle, types with references, and sizes beyond what the file can hold are refused. What is read is compared with the file's seal.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from eventsim.errors import EventsimError
from eventsim.files.hdf5_heaps import HDF5_SIGNATURE
from eventsim.files.seal import SEAL, block_rows, check_sums, digest

_MAX_MEMBERS = 2**18
_MAX_ATTRIBUTES = 64
_MAX_ATTRIBUTE = 2**16
# Deflate packs at most 1,032 to 1.
MAX_RATIO = 1040
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def is_hdf5(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file begins as HDF5 files do."""
    try:
        # Opening a pipe would wait for a writer for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    except (OSError, ValueError):
        return False


class Column:
    """A dataset of a :class:`SealedFile`; reading it verifies what is read.

    Attributes
    ----------
    path : str
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, file: SealedFile, path: str, dataset: h5py.Dataset):
        self.path, self.shape, self.dtype = path, dataset.shape, dataset.dtype
        self._file, self._dataset = file, dataset
        self.rows = block_rows(self.dtype, self.shape)
        self._verified: tuple[int, npt.NDArray[Any]] | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """All of it (``[()]``), some rows (a slice) or one, read and verified."""
        if key == ():
            return self.read()
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return self.read(start, max(start, stop))[::step]
        return self.read(int(key), int(key) + 1)[0]

    def read(self, start: int = 0, stop: int | None = None) -> Any:
        """Rows of the dataset, or its only value."""
        with self._file.guarded():
            if self._file.sums is None:
                return self._dataset[()] if self.ndim == 0 else self._dataset[start:stop]
            expected = self._file.sums[self.path]
            if self.ndim == 0:
                value = np.asarray(self._dataset[()])
                self._compare(check_sums(value), expected)
                return value[()]
            stop = len(self) if stop is None else stop
            if start >= stop:
                return np.zeros((0, *self.shape[1:]), self.dtype)
            first, last = start // self.rows, -(-stop // self.rows)
            values = self._dataset[first * self.rows : last * self.rows]
            self._compare(check_sums(values), expected[first:last])
            return values[start - first * self.rows : stop - first * self.rows]

    def block(self, number: int) -> npt.NDArray[Any]:
        """A block of rows; the last one asked for is kept."""
        if self._verified is None or self._verified[0] != number:
            self._verified = number, self.read(number * self.rows, min(len(self), (number + 1) * self.rows))
        return self._verified[1]

    def _compare(self, found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
        if not np.array_equal(found, expected):
            raise self._file.damaged(f"the check sum of {self.path} differs; copy the file again")


class SealedFile:
    """A sealed HDF5 file of eventsim, opened for reading; every error is of the kind that the caller names.

    Parameters
    ----------
    path : path-like
    error : type
    what : str
        For messages, such as "trace".

    Attributes
    ----------
    sums : dict or None
        Check sums of all datasets; None in a file without a seal.
    """

    def __init__(self, path: str | os.PathLike[str], error: type[EventsimError], what: str):
        self.path, self._error, self._what = Path(path), error, what
        self.sums: dict[str, npt.NDArray[np.uint32]] | None = None
        self._members: dict[str, h5py.Group | h5py.Dataset] = {}
        try:
            size = os.stat(self.path)
            if stat.S_ISDIR(size.st_mode):
                raise error(f"{self.path}: is a folder, expected {_articled(what)} of eventsim; name the files in it")
            if not stat.S_ISREG(size.st_mode):
                raise error(f"{self.path}: is no regular file, expected {_articled(what)} of eventsim")
            self._file = h5py.File(self.path, "r", locking=False)
        except FileNotFoundError:
            raise error(f"{self.path}: no such file") from None
        except EventsimError:
            raise
        except Exception as problem:
            line = _line(problem)
            if "truncated file" in line:
                raise error(f"{self.path}: cut short; copy the file again") from None
            raise error(f"{self.path}: not a readable HDF5 file ({line})") from None
        try:
            with self.guarded():
                self._left, self._seen = size.st_size, set[int]()
                self._look("", self._file["/"])
        except BaseException:
            self.close()
            raise

    def __bool__(self) -> bool:
        return bool(self._file)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(Exception):
            self._file.close()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Whatever h5py, NumPy or json find wrong with a file's contents is an error of this file."""
        try:
            yield
        except EventsimError:
            raise
        except MemoryError:
            raise self.damaged("there is not enough memory for what it declares") from None
        except Exception as problem:
            raise self.damaged(f"{type(problem).__name__}: {_line(problem)}") from problem

    def damaged(self, message: str) -> EventsimError:
        """An error about this file's contents."""
        return self._error(f"{self.path}: a damaged {self._what} ({message})")

    def __contains__(self, path: object) -> bool:
        return path in self._members

    def column(self, path: str) -> Column:
        """A dataset."""
        item = self._members.get(path)
        if not isinstance(item, h5py.Dataset):
            raise self.damaged(f"it has no dataset {path!r}")
        return Column(self, path, item)

    def names(self, path: str) -> list[str]:
        """Names of a group's members."""
        if not isinstance(self._members.get(path), h5py.Group):
            raise self.damaged(f"it has no group {path!r}")
        start = f"{path}/"
        return [name[len(start) :] for name in self._members if name.startswith(start) and "/" not in name[len(start) :]]

    def attribute(self, path: str, name: str, default: Any = None) -> Any:
        """An attribute of a member ("" is the root), or the default if there is none."""
        with self.guarded():
            return self._members[path].attrs.get(name, default) if path in self._members else default

    def text(self, path: str, name: str, default: bytes | None = None) -> str:
        """An attribute that is a text."""
        value = self.attribute(path, name, default)
        if not isinstance(value, bytes):
            raise self.damaged(f"the attribute {name!r} is {type(value).__name__}, expected a text")
        with self.guarded():
            return value.decode()

    def integer(self, path: str, name: str) -> int:
        """An attribute that is a whole number."""
        value = self.attribute(path, name)
        if not isinstance(value, np.integer):
            raise self.damaged(f"the attribute {name!r} is {type(value).__name__}, expected a whole number")
        return int(value)

    @property
    def datasets(self) -> list[str]:
        """Paths of all datasets, without the seal's."""
        return [path for path, item in self._members.items() if isinstance(item, h5py.Dataset)]

    def verify(self) -> None:
        """Read and verify everything."""
        for path in self.datasets:
            column = self.column(path)
            if column.ndim == 0:
                column.read()
            else:
                for start in range(0, len(column), column.rows):
                    column.read(start, min(len(column), start + column.rows))

    def unseal(self, required: bool) -> None:
        """Verify the seal, so that from now on what is read is verified; a file may lack one only if it is not required."""
        with self.guarded():
            self._unseal(required)

    def _unseal(self, required: bool) -> None:
        if SEAL not in self._members:
            if required:
                raise self.damaged("it has no seal; copy the file again")
            return
        expected = self.text(SEAL, "sha256", b"")
        parts = {path[len(SEAL) + 1 :]: item for path, item in self._members.items() if path.startswith(f"{SEAL}/")}
        self._members = {path: item for path, item in self._members.items() if path != SEAL and not path.startswith(f"{SEAL}/")}
        sums = {}
        for path, item in self._members.items():
            if isinstance(item, h5py.Dataset):
                stored = parts.get(path)
                if not isinstance(stored, h5py.Dataset) or stored.dtype != np.uint32 or stored.shape != (_blocks(item),):
                    raise self.damaged(f"no check sums of {path}; copy the file again")
                sums[path] = stored[()]
        if digest(self._members, sums) != expected:
            raise self.damaged("its check sum differs; copy the file again")
        self.sums = sums

    def _look(self, path: str, item: h5py.Group | h5py.Dataset) -> None:
        """Check a member and all below it, without reading data."""
        address = h5py.h5o.get_info(item.id).addr
        if address in self._seen:
            raise self.damaged(f"{path} is the same object as another member")
        self._seen.add(address)
        if len(self._seen) > _MAX_MEMBERS:
            raise self.damaged(f"more than {_MAX_MEMBERS:,} members")
        self._members[path] = item
        self._look_at_attributes(path, item)
        if isinstance(item, h5py.Dataset):
            self._look_at_dataset(path, item)
            return
        for raw in item.id:
            if item.id.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                raise self.damaged(f"{path}/{raw.decode(errors='replace')} is a soft or external link, expected the member itself")
            name = raw.decode()
            child = item[name]
            if not isinstance(child, (h5py.Group, h5py.Dataset)):
                raise self.damaged(f"{path}/{name} is neither a group nor a dataset")
            self._look(f"{path}/{name}" if path else name, child)

    def _look_at_attributes(self, path: str, item: h5py.Group | h5py.Dataset) -> None:
        count = h5py.h5a.get_num_attrs(item.id)
        if count > _MAX_ATTRIBUTES:
            raise self.damaged(f"{path} has {count} attributes")
        for name in item.attrs:
            attribute = item.attrs.get_id(name)
            if not _plain(attribute.get_type()) or attribute.get_storage_size() > _MAX_ATTRIBUTE:
                raise self.damaged(f"the attribute {name!r} of {path or '/'} is of another type than numbers and short texts")

    def _look_at_dataset(self, path: str, dataset: h5py.Dataset) -> None:
        # First of all: asking a virtual dataset for its shape would already open other files.
        made = dataset.id.get_create_plist()
        layout = made.get_layout()
        if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT) or made.get_external_count():
            raise self.damaged(f"the data of {path} are in other files or virtual, expected them in this one")
        filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
        if not set(filters) <= _FILTERS or len(set(filters)) < len(filters):
            raise self.damaged(f"{path} has filters other than deflate and shuffle")
        found = dataset.id.get_type()
        if not _plain(found):
            raise self.damaged(f"{path} has a type other than numbers and texts of fixed length")
        dims = extent(dataset.id.get_space())
        if dims is None:
            raise self.damaged(f"{path} has no shape")
        stored = dataset.id.get_storage_size()
        self._left -= stored
        # A chunk is unpacked to what its stream holds, whatever its shape says; many chunks may not share one stream.
        most = stored * (MAX_RATIO if h5py.h5z.FILTER_DEFLATE in filters else 1)
        size = math.prod(dims) * found.get_size()
        if self._left < 0 or size > most:
            raise self.damaged(f"{path} claims {size:,} bytes, more than the file can hold")
        if layout == h5py.h5d.CHUNKED and size and math.prod(made.get_chunk()) * found.get_size() > max(2**20, most):
            raise self.damaged(
                f"{path} has chunks of {math.prod(made.get_chunk()) * found.get_size():,} bytes, more than the file can hold"
            )


def _blocks(dataset: h5py.Dataset) -> int:
    return -(-dataset.shape[0] // block_rows(dataset.dtype, dataset.shape)) if dataset.shape else 1


def extent(space: Any) -> tuple[int, ...] | None:
    """The shape of a dataspace, None for a null dataspace."""
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        return None
    return tuple(int(n) for n in space.get_simple_extent_dims())


def _plain(found: Any) -> bool:
    """Whether a type is of numbers, an enumeration of numbers, or text of fixed length: nothing that refers to something else."""
    if isinstance(found, h5py.h5t.TypeStringID):
        return not found.is_variable_str()
    return isinstance(found, (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, h5py.h5t.TypeEnumID))


def _articled(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def _line(problem: BaseException) -> str:
    """An error's message on one line, short."""
    return " ".join(str(problem).split())[:200]

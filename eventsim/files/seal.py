"""The seal of an HDF5 file: check sums by which a changed bit is found, whatever part of the file it is in.

Every dataset has the CRC-32 of each block of its rows, as they are read, in a dataset of the same path below ``/seal``; the attribute
``sha256`` of ``/seal`` is a hash of all these and of every name, type, shape and attribute in the file. So what is not read need not be
verified, and what is read is, without filters that other readers of the file may not have.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

SEAL = "seal"
# Of a block, in bytes, unless a row is larger.
_BLOCK = 2**18


def block_rows(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Rows of a block of a dataset of this type and shape."""
    row = dtype.itemsize
    for n in shape[1:]:
        row *= n
    return max(1, _BLOCK // max(1, row))


class CheckSums:
    """The check sums of a dataset's blocks, for rows that come some at a time."""

    def __init__(self, rows: int):
        self.rows = rows
        self._whole: list[int] = []
        self._sum, self._filled = 0, 0

    def update(self, values: npt.NDArray[Any]) -> None:
        """Append rows, of the type that the dataset has."""
        low = 0
        while low < len(values):
            high = min(len(values), low + self.rows - self._filled)
            self._sum = zlib.crc32(np.ascontiguousarray(values[low:high]).view(np.uint8).data, self._sum)
            self._filled += high - low
            if self._filled == self.rows:
                self._whole.append(self._sum)
                self._sum, self._filled = 0, 0
            low = high

    def values(self) -> npt.NDArray[np.uint32]:
        """One for each block; the last may be shorter than the others."""
        return np.array(self._whole + [self._sum] * (self._filled > 0), "<u4")


def check_sums(values: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Those of a dataset that is in memory."""
    values = np.atleast_1d(values)
    sums = CheckSums(block_rows(values.dtype, values.shape))
    sums.update(values)
    return sums.values()


def seal(file: h5py.File, known: Mapping[str, CheckSums]) -> None:
    """Seal a file that is otherwise whole.

    Parameters
    ----------
    file : h5py.File
    known : mapping
        Check sums of datasets by path (without a leading slash), as they were written. Others are read back.
    """
    parts: dict[str, npt.NDArray[np.uint32]] = {}
    for path, item in _walk(file):
        if isinstance(item, h5py.Dataset):
            parts[path] = known[path].values() if path in known else check_sums(np.asarray(item[()]))
    group = file.create_group(SEAL)
    for path, sums in parts.items():
        group.create_dataset(path, data=sums)
    group.attrs["sha256"] = np.bytes_(digest(dict(_walk(file)), parts))


def digest(members: Mapping[str, h5py.Group | h5py.Dataset], sums: Mapping[str, npt.NDArray[np.uint32]]) -> str:
    """SHA-256 (hex) of names, types, shapes, attributes and check sums."""
    hashed = hashlib.sha256()

    def add(*parts: str | bytes) -> None:
        for part in parts:
            raw = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
            hashed.update(len(raw).to_bytes(8, "little") + raw)

    for path in sorted(members):
        item = members[path]
        add(path)
        if isinstance(item, h5py.Dataset):
            add(item.dtype.str, repr(item.shape), sums[path].astype("<u4").tobytes())
        for name in sorted(item.attrs):
            value = np.asarray(item.attrs[name])
            add("@", name, value.dtype.str, repr(value.shape), value.tobytes())
    return hashed.hexdigest()


def _walk(group: h5py.Group, start: str = "") -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    if not start:
        yield "", group
    for name, item in group.items():
        path = f"{start}{name}"
        if path == SEAL:
            continue
        yield path, item
        if isinstance(item, h5py.Group):
            yield from _walk(item, f"{path}/")

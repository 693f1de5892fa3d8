"""Heaps of texts in HDF5 files: libhdf5 reads one whose free space is of no size for ever."""

from __future__ import annotations

import struct

# What an HDF5 file begins with, or has behind a block of its user's.
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP, _OBJECT = struct.Struct("<4sB3xQ"), struct.Struct("<HH4xQ")
# Where a superblock says how long offsets and lengths are, by its version.
_SIZES = {0: 13, 1: 13, 2: 9, 3: 9}


def heaps_end(content: bytes) -> bool:
    """Whether every global heap of a file can be read to its end.

    A heap (``GCOL``) is objects one behind the other, each with its length; number 0 is the space that is left. With a length of 0
    there, the library stands still. Lengths of other than 8 bytes, which nobody writes, count as damaged.
    """
    start = content.find(HDF5_SIGNATURE)
    place = _SIZES.get(content[start + 8]) if 0 <= start < len(content) - 16 else None
    if place is None or content[start + place : start + place + 2] != b"\x08\x08":
        return False
    at = content.find(b"GCOL")
    while at >= 0:
        if not _ends(content, at):
            return False
        at = content.find(b"GCOL", at + 1)
    return True


def _ends(content: bytes, at: int) -> bool:
    if at + _HEAP.size > len(content):
        return True
    _, version, size = _HEAP.unpack_from(content, at)
    if version != 1:
        return True  # the library does not read it
    end, at = min(at + size, len(content)), at + _HEAP.size
    while at + _OBJECT.size <= end:
        number, _, length = _OBJECT.unpack_from(content, at)
        if number == 0:
            if length == 0:
                return False
            at += length
        else:
            at += _OBJECT.size + -(-length // 8) * 8
    return True

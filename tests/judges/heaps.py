"""Where a heap of texts in an HDF5 file says how long its free space is."""

from __future__ import annotations


def free_length(content: bytes) -> int:
    """Place of that length, of the first heap: behind its objects, each a head (number, references, nothing, length) and a text."""
    at = content.index(b"GCOL") + 16
    while int.from_bytes(content[at : at + 2], "little"):
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    return at + 8

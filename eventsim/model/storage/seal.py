"""The seal of a network file: its first 512 bytes tell the length and the SHA-256 of the rest, and are verified before libhdf5 sees it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from io import FileIO

from eventsim.errors import NetworkFileError
from eventsim.files.hdf5_heaps import HDF5_SIGNATURE
from eventsim.model.storage.format import FORMAT, USER_BLOCK, VERSION
from eventsim.model.storage.messages import reason

_SEAL = re.compile(rb"eventsim-network [1-9][0-9]{0,8}\nsha256 ([0-9a-f]{64})\nbytes (0|[1-9][0-9]{0,17})\n\0*")


def write_seal(path: str) -> None:
    """Write the seal into the first 512 bytes of a file, over the rest as it is."""
    with open(path, "r+b", buffering=0) as file:
        file.seek(USER_BLOCK)
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        count = os.fstat(file.fileno()).st_size - USER_BLOCK
        file.seek(0)
        file.write(f"{FORMAT} {VERSION}\nsha256 {checksum}\nbytes {count}\n".encode().ljust(USER_BLOCK, b"\0"))


def open_sealed(path: str) -> FileIO:
    """A file opened for reading; raises NetworkFileError if there is none."""
    try:
        # Opening a pipe would wait for a writer for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise NetworkFileError("is a folder or a device, expected a network file")
        return open(path, "rb", buffering=0)
    except (OSError, ValueError) as error:
        raise NetworkFileError(f"cannot be opened: {reason(error)}; check the path and its permissions") from None


def verify_seal(file: FileIO) -> int:
    """Check the seal of an open file; returns the bytes in its body."""
    size = os.fstat(file.fileno()).st_size
    block = file.read(USER_BLOCK)
    if not block.startswith(f"{FORMAT} ".encode()):
        if block.startswith(HDF5_SIGNATURE):
            found = "it is an HDF5 file without the seal of one"
        else:
            found = f"it starts with {block[:16]!r}" if block else "it is empty"
        raise NetworkFileError(f"not an eventsim network file: {found}; `eventsim convert` or eventsim.save makes one")
    line = re.match(rb"eventsim-network ([1-9][0-9]{0,8})\n", block)
    if line and int(line[1]) != VERSION:
        raise NetworkFileError(
            f"file version {int(line[1])}, this eventsim reads {VERSION}; use a newer eventsim or save the network again"
        )
    if len(block) < USER_BLOCK:
        raise NetworkFileError(f"cut short: {size} bytes, the seal alone has {USER_BLOCK}; copy the file again")
    seal = _SEAL.fullmatch(block)
    if not seal:
        raise NetworkFileError("damaged: its seal cannot be read; copy the file again")
    expected, body = int(seal[2]), size - USER_BLOCK
    if body < expected:
        raise NetworkFileError(f"cut short: {body} of {expected} bytes after the seal; copy the file again")
    if body > expected:
        raise NetworkFileError(f"damaged: {body} bytes after the seal, expected {expected}; copy the file again")
    checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum != seal[1].decode():
        raise NetworkFileError(
            "damaged: checksum differs; copy the file again, or, if it was changed on purpose, seal it (docs/network-format.md)"
        )
    return body

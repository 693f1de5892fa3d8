"""Read and write networks as HDF5 files. The schema is in docs/network-format.md.

A file comes from anywhere, so nothing in it is believed. Its first 512 bytes are a seal (length and SHA-256 of the rest)
that is verified before libhdf5 sees the file: a damaged file never reaches it. What is inside is then checked member by
member (links, types, layouts, shapes, sizes) before a byte of data is read, and the network is rebuilt by the methods of
:class:`~eventsim.model.network.Network` and by its kinds of populations and tables, whose own checks apply.
"""

from __future__ import annotations

import os
from io import FileIO

import h5py

from eventsim.errors import NetworkError, NetworkFileError
from eventsim.files.hdf5_writing import HDF5Replacement
from eventsim.model.network import Network
from eventsim.model.storage.format import SEE, USER_BLOCK
from eventsim.model.storage.layout import read_network, write_network
from eventsim.model.storage.messages import printable, reason
from eventsim.model.storage.reading import Budget, StoredGroup
from eventsim.model.storage.seal import open_sealed, verify_seal, write_seal
from eventsim.model.storage.writing import NewGroup


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a file.

    The file is written under another name in the same folder, read back, and put in place only then: an older file of
    that name stays as it is until the new one is whole. Two saves of the same network make the same bytes.

    Parameters
    ----------
    network : Network
    path : str or path

    Raises
    ------
    NetworkError
        The network does not make sense, or holds what a file cannot (provenance that is no JSON, ...).
    NetworkFileError
        The file cannot be written.
    """
    name = os.fsdecode(path)
    try:
        network.check()
        new = HDF5Replacement(name, _seal_and_read_back, userblock_size=USER_BLOCK)
        with new as file:
            write_network(NewGroup(file), network)
            new.check()
    except NetworkFileError:
        raise
    except NetworkError as error:
        raise NetworkError(f"{name}: {error}") from None
    except IsADirectoryError:
        raise NetworkFileError(f"{name}: is a folder; give the name of a file to write") from None
    except (OSError, RuntimeError) as error:
        raise NetworkFileError(
            f"{printable(name)}: cannot be written: {reason(error)}; check the folder, its permissions and its space"
        ) from error


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network from a file, checking everything in it first.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Network

    Raises
    ------
    NetworkFileError
        There is no such file, or it is no network file, cut short, damaged, of another version, or holds what does not make
        sense. The message is one line and starts with the path.
    """
    name = os.fsdecode(path)
    try:
        return read_sealed(name)
    except NetworkFileError as error:
        raise NetworkFileError(f"{printable(name)}: {error}") from error.__cause__


def _seal_and_read_back(file: FileIO) -> None:
    write_seal(str(file.name))
    try:
        read_sealed(str(file.name))
    except NetworkFileError as error:
        raise NetworkError(f"this network cannot be saved: {error}") from None


def read_sealed(path: str) -> Network:
    """The network in a file; NetworkFileError without the path if anything is wrong with it."""
    try:
        with open_sealed(path) as file:
            body = verify_seal(file)
            before = os.fstat(file.fileno())
            try:
                hdf5 = h5py.File(path, "r", locking=False)
            except (OSError, RuntimeError, ValueError) as error:
                raise NetworkFileError(f"its seal is whole, but libhdf5 cannot open it: {reason(error)}; {SEE}") from None
            with hdf5:
                if hdf5.userblock_size != USER_BLOCK:
                    raise NetworkFileError(f"has an HDF5 user block of {hdf5.userblock_size} bytes, expected {USER_BLOCK}; {SEE}")
                network = read_network(StoredGroup(hdf5["/"], "/", Budget(body)))
            # libhdf5 opened the path anew: make sure that it read the file whose checksum was verified.
            after = os.stat(path)
            if any(getattr(before, f) != getattr(after, f) for f in ("st_dev", "st_ino", "st_size", "st_mtime_ns")):
                raise NetworkFileError("changed while it was being read; load it again")
            return network
    except NetworkFileError:
        raise
    except NetworkError as error:
        raise NetworkFileError(f"holds no valid network: {reason(error)}; {SEE}") from None
    except MemoryError:
        raise NetworkFileError("there is not enough memory to load this network") from None
    except Exception as error:
        # h5py raises nearly every type there is for what a strange file can hold.
        raise NetworkFileError(f"cannot be read as a network: {type(error).__name__}: {reason(error)}; {SEE}") from error

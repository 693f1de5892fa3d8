"""HDF5 files that are written whole or not at all, on disks that may be full.

libhdf5 cannot close a file that it cannot write (it ends in a segmentation fault when the process does). So it never learns of it: it
writes through :class:`_Guard`, which keeps the first error and from then on takes everything. The error is raised afterwards, by us.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from io import FileIO
from types import TracebackType
from typing import Any

import h5py

from eventsim.files.atomic import Replacement


class HDF5Replacement:
    """A new HDF5 file that takes its target's place once it is whole (:class:`eventsim.files.atomic.Replacement`).

    A context manager that gives the ``h5py.File``. Within it, :meth:`check` raises what went wrong with writing so far.

    Parameters
    ----------
    path : path-like
    finish : callable, optional
        Called with the file, closed by libhdf5 but not yet renamed.
    **options
        For ``h5py.File``.

    Raises
    ------
    OSError
        The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], finish: Callable[[FileIO], None] | None = None, **options: Any):
        self._replacement = Replacement(path)
        self._finish = finish
        self._guard = _Guard(self._replacement.file)
        try:
            self.file = h5py.File(self._guard, "w", **options)
            self.check()
        except BaseException:
            self.discard()
            raise

    @property
    def path(self) -> os.PathLike[str]:
        """Where the file is until it is whole."""
        return self._replacement.path

    def __enter__(self) -> h5py.File:
        return self.file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()
            # What libhdf5 complained of may be no more than what followed.
            if self._guard.error is not None and error is not self._guard.error and issubclass(kind, Exception):
                raise self._guard.error

    def check(self) -> None:
        """Raise the first error of writing, if there was one."""
        if self._guard.error is not None:
            raise self._guard.error

    def commit(self) -> None:
        """Close the file and give it its name, or remove it and raise what went wrong."""
        try:
            self.file.close()
            self.check()
            if self._finish is not None:
                self._finish(self._replacement.file)
            self._replacement.commit()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Close and remove the file; the target stays as it was."""
        with contextlib.suppress(Exception):
            self._guard.pretend = True
            if hasattr(self, "file"):
                self.file.close()
        self._replacement.discard()


class _Guard(io.RawIOBase):
    """A file for libhdf5 that never fails: after the first error, what is written stays in memory, and is soon thrown away."""

    def __init__(self, file: FileIO):
        self._handle = file.fileno()
        self._position = 0
        self._size = 0
        # After an error: what was written, in order.
        self._kept: list[tuple[int, bytes]] = []
        self.error: BaseException | None = None
        self.pretend = False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        start, done = self._position, 0
        if self.error is None and not self.pretend:
            try:
                while done < len(view):
                    # A nearly full disk takes a part of it first.
                    done += os.pwrite(self._handle, view[done:], start + done)
            except BaseException as error:  # Ctrl-C must not reach libhdf5 either
                self.error = error
        if done < len(view):
            self._kept.append((start + done, bytes(view[done:])))
        self._position = start + len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start, found = self._position, 0
        try:
            while found < len(view) and (part := os.pread(self._handle, len(view) - found, start + found)):
                view[found : found + len(part)] = part
                found += len(part)
        except BaseException as error:
            self.error = self.error or error
        view[found:] = bytes(len(view) - found)
        for at, data in self._kept:
            low, high = max(at, start), min(at + len(data), start + len(view))
            if low < high:
                view[low - start : high - start] = data[low - at : high - at]
        self._position = start + len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._position if size is None else size
        if self.error is None and not self.pretend:
            try:
                os.truncate(self._handle, self._size)
            except BaseException as error:
                self.error = error
        return self._size

    def flush(self) -> None:
        pass

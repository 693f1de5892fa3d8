"""Writing a file whole or not at all: the one way in which eventsim writes files.

What is written lies beside its target under a name that ends in ``.part`` until it is whole and on the disk; only then does it
take the target's name. A process that is killed leaves its temporary behind; the next that writes the same target removes it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from eventsim.errors import RunError

try:
    import fcntl
except ImportError:  # not on this system: temporaries of killed processes stay
    fcntl = None  # type: ignore[assignment]

_SUFFIX = ".part"


class Replacement:
    """A new file that takes its target's place once it is whole; a context manager that gives the file.

    It is open for reading and writing, binary, without a buffer. At the end of the context it is brought to the disk and renamed;
    an error in the context removes it instead. A symbolic link is followed, not replaced. Permissions are those of any new file.

    Parameters
    ----------
    path : path-like
        The target. A regular file, or nothing yet.

    Attributes
    ----------
    target : Path
        With links resolved.
    file : FileIO
    path : Path
        Where the file is until it is whole.

    Raises
    ------
    OSError
        The target is a folder or a device, or the file cannot be made, written or renamed.

    Examples
    --------
    >>> from eventsim.files.atomic import Replacement
    >>> with Replacement("table.csv") as file:                      # doctest: +SKIP
    ...     file.write(b"a,b\\n")
    """

    def __init__(self, path: str | os.PathLike[str]):
        try:
            self.target = Path(os.path.realpath(path))
        except ValueError as error:
            raise OSError(errno.EINVAL, f"no usable file name ({error})") from None
        if self.target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder; give the name of a file to write", os.fspath(path))
        if self.target.exists() and not self.target.is_file():
            raise OSError(errno.EINVAL, "is no regular file; give another name", os.fspath(path))
        remove_stale(self.target)
        try:
            self.path, self.file = _create(self.target)
        except OSError as error:
            # (Not the temporary's name, which nobody knows.)
            error.filename = os.fspath(path)
            raise
        self._open = True

    def __enter__(self) -> FileIO:
        return self.file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def commit(self) -> None:
        """Bring the file to the disk and give it its name; afterwards there is either the new file or, with an OSError, the old one."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            os.replace(self.path, self.target)
        except BaseException:
            self.discard()
            raise
        self._open = False
        self.file.close()
        sync_folder(self.target.parent)

    def discard(self) -> None:
        """Remove the file; the target stays as it was. Does nothing after the first time, and after :meth:`commit`."""
        if self._open:
            self._open = False
            # Removed while its lock is held.
            with contextlib.suppress(OSError):
                self.path.unlink()
            with contextlib.suppress(OSError):
                self.file.close()


def write_bytes(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    OSError
    """
    with Replacement(path) as file:
        _write_all(file, data)


def write_text(path: str | os.PathLike[str], text: str, errors: str = "strict") -> None:
    """Write a text file (UTF-8, line ends as they are) whole or not at all.

    Raises
    ------
    OSError
    """
    write_bytes(path, text.encode("utf-8", errors))


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write text files (UTF-8, line ends as they are) that belong together: all of them, or none.

    Names change after everything is on the disk: only what fails between two renamings leaves a part.

    Raises
    ------
    OSError
    """
    with contextlib.ExitStack() as stack:
        for path, text in texts.items():
            _write_all(stack.enter_context(Replacement(path)), text.encode("utf-8"))


def _write_all(file: FileIO, data: bytes | memoryview) -> None:
    left = memoryview(data).cast("B")
    while len(left):
        # A nearly full disk takes a part of it first.
        left = left[file.write(left) :]


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Bring what was renamed or removed in a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_stale(target: str | os.PathLike[str]) -> None:
    """Remove what killed processes left of a target; what a living process is writing is left alone."""
    target = Path(target)
    start = _prefix(target)
    with contextlib.suppress(OSError):
        left = [entry.path for entry in os.scandir(target.parent) if entry.name.startswith(start) and entry.name.endswith(_SUFFIX)]
        for path in left:
            with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
                # The system drops a process' locks when it dies, however it dies.
                if _lock(file, wait=False):
                    os.unlink(path)


def _prefix(target: Path) -> str:
    # Names have at most 255 bytes, and the target may use them all: its beginning is for people, the hash tells targets apart.
    raw = os.fsencode(target.name)
    return f".{raw[:80].decode(errors='ignore')}.{hashlib.sha256(raw).hexdigest()[:12]}."


def _create(target: Path) -> tuple[Path, FileIO]:
    while True:
        path = target.with_name(f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}")
        # Unbuffered files are FileIO; a mode of "x" never opens what somebody else has put there.
        file: Any = open(path, "x+b", buffering=0)  # noqa: SIM115 - Replacement closes it
        _lock(file, wait=True)
        # Another process may have found it before it was locked, and taken it for stale.
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()


def _lock(file: IO[bytes] | FileIO, wait: bool) -> bool:
    """Lock a file against other processes; False where somebody else holds it or the system has no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Whether two names are one file: through links of either kind, or the same name of none yet."""
    try:
        return os.path.samefile(a, b)
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            return os.path.realpath(a) == os.path.realpath(b)
        return False


def check_output(output: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None) -> None:
    """Refuse an output that is one of a command's inputs.

    Raises
    ------
    RunError
    """
    for source in inputs:
        if source is not None and same_file(output, source):
            raise RunError(f"{os.fspath(output)}: is an input of this command, and writing would destroy it; name another output")

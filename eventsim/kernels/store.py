"""The folder of machine code: the user's cache folder, a file for each compiled function, checked before it is used.

A file that has been cut off or changed must not reach pickle and LLVM (which ends the process), and nor must one that somebody else
wrote: unpickling runs code. So a file carries a digest of its name and of what it holds, and files and folder have to be the user's.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import platformdirs
from numba import config

# Begins every file; another number for another layout of files.
_MAGIC = b"eventsim machine code 1\n"
_SUFFIX = ".machine"
_DIGEST_BYTES = 32
# What is not used for so long is removed, and the oldest if there is more than this. (One version for one processor: about 10 MB.)
_KEPT_SECONDS, KEPT_BYTES = 30 * 86400, 200 * 2**20
# A temporary file this old belongs to nobody; and so exactly the time of the last use is kept.
_SCRATCH_SECONDS = _TOUCH_SECONDS = 3600


class Place(NamedTuple):
    """Where machine code is kept: a folder, or None and why not."""

    folder: Path | None
    reason: str = ""


class Damaged(Exception):
    """A file is not as it was written."""


@functools.cache
def place() -> Place:
    """The folder of machine code, made if need be: in ``NUMBA_CACHE_DIR`` if that is set, else in the user's cache folder."""
    chosen: str = config.CACHE_DIR  # type: ignore[attr-defined]
    parent = Path(chosen).absolute() if chosen else platformdirs.user_cache_path("eventsim", appauthor=False)
    if not parent.is_absolute():
        return Place(None, "no home folder is known")
    folder = parent / ("eventsim" if chosen else "compiled")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        return Place(None, f"{folder} cannot be made ({error.strerror})")
    if not is_trusted(found) or (os.name == "posix" and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return Place(None, f"others may write in {folder}")
    if not os.access(folder, os.R_OK | os.X_OK):
        return Place(None, f"{folder} cannot be read")
    return Place(folder)


def is_trusted(found: os.stat_result) -> bool:
    """Whether a file or folder is the user's, or root's, who may do anything anyway."""
    return not hasattr(os, "geteuid") or found.st_uid in (0, os.geteuid())


def read(folder: Path, name: str) -> bytes | None:
    """What was kept under a name, or None.

    Raises
    ------
    Damaged
        The file is not as it was written, or somebody else's.
    """
    path = folder / f"{name}{_SUFFIX}"
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            whole = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(str(error)) from None
    begin = len(_MAGIC) + _DIGEST_BYTES
    payload = memoryview(whole)[begin:]
    if not is_trusted(found) or whole[:begin] != _MAGIC + _digest(name, payload):
        raise Damaged("not as it was written")
    if time.time() - found.st_mtime > _TOUCH_SECONDS:
        with contextlib.suppress(OSError):
            os.utime(path)
    return payload.tobytes()


def write(folder: Path, name: str, payload: bytes) -> None:
    """Keep something under a name, whole or not at all. (Not synced: what a power failure leaves is found to be damaged.)

    Raises
    ------
    OSError
    """
    handle, scratch = tempfile.mkstemp(suffix=".scratch", dir=folder)
    try:
        with open(handle, "wb") as file:
            file.write(_MAGIC + _digest(name, payload) + payload)
        os.replace(scratch, folder / f"{name}{_SUFFIX}")
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise


def remove(folder: Path, name: str) -> None:
    """Remove what lies under a name, whatever it is; what cannot be removed stays."""
    path = folder / f"{name}{_SUFFIX}"
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def prune(folder: Path) -> None:
    """Remove what has not been used for long, the oldest of what is too much, and what was never finished."""
    now, kept = time.time(), 0
    with contextlib.suppress(OSError):
        files = [(entry.stat(follow_symlinks=False), entry) for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
        for found, entry in sorted(files, key=lambda file: file[0].st_mtime, reverse=True):
            scratch = entry.name.endswith(".scratch")
            kept += found.st_size
            if now - found.st_mtime > (_SCRATCH_SECONDS if scratch else _KEPT_SECONDS) or kept > KEPT_BYTES:
                with contextlib.suppress(OSError):
                    os.unlink(entry)


def _digest(name: str, payload: bytes | memoryview) -> bytes:
    return hashlib.blake2b(name.encode() + b"\0" + payload, digest_size=_DIGEST_BYTES).digest()

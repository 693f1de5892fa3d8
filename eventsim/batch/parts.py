"""The folder of an unfinished evaluation: a file for each piece of work, each written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path

import numpy as np

from eventsim.batch.work import Arrays
from eventsim.errors import RunError
from eventsim.files.atomic import remove_stale, sync_folder, write_bytes, write_text

_PART = re.compile(r"\d{9}\.npz")
# What a killed process may leave (eventsim.files.atomic), with the file that it was to become.
_TEMPORARY = re.compile(r"\.(\d{9}\.npz|key)\..*\.part")


class Parts:
    """Parts of one evaluation; those of another are refused, what is damaged counts as not done.

    Parameters
    ----------
    folder : Path
        Made if it is not there. An empty one, one without its key and one half removed are taken over.
    key : str
        Of the evaluation. Every part carries it as well.
    version : str
        Of eventsim.

    Raises
    ------
    RunError
        The folder holds something else, or cannot be used.
    """

    def __init__(self, folder: Path, key: str, version: str):
        self.folder, self._key = folder, key
        try:
            folder.mkdir(exist_ok=True)
            found = _key_of(folder)
            if found is None and _others(folder):
                raise RunError(f"{folder}: exists and holds no parts of an evaluation; remove it or name another output")
            if found is not None and found[0] != key:
                raise _of_another(folder, "" if found[1] in ("", version) else f", made by eventsim {found[1]} (this is {version})")
            _remove_temporaries(folder)
            if found is None:
                write_text(folder / "key", f"{key}\n{version}\n")
        except OSError as error:
            raise RunError(f"{folder}: cannot be used ({error.strerror})") from None

    def _file(self, first: int) -> Path:
        return self.folder / f"{first:09d}.npz"

    def has(self, first: int, images: int) -> bool:
        """Whether the part that begins with this image is there, whole and of so many images; a damaged one is removed."""
        if not self._file(first).exists():
            return False
        arrays = self._read(first)
        if arrays is not None and len(arrays["end_tick"]) == images:
            return True
        with contextlib.suppress(OSError):
            self._file(first).unlink()
        return False

    def add(self, first: int, arrays: Arrays) -> None:
        """Write a part to the disk.

        Raises
        ------
        RunError
            It cannot be written.
        """
        data = io.BytesIO()
        np.savez_compressed(data, key=np.bytes_(self._key), **arrays)  # type: ignore[arg-type]
        try:
            write_bytes(self._file(first), data.getbuffer())
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error.strerror})") from None

    def read(self, first: int) -> Arrays:
        """A part.

        Raises
        ------
        RunError
            It is missing or damaged.
        """
        arrays = self._read(first)
        if arrays is None:
            raise RunError(f"{self._file(first)}: missing or damaged; the same command makes it again")
        return arrays

    def _read(self, first: int) -> Arrays | None:
        try:
            with np.load(self._file(first), allow_pickle=False) as file:
                arrays = dict(file)
            key = bytes(arrays.pop("key")[()])
            len(arrays["end_tick"])
        except PermissionError as error:
            raise RunError(f"{self._file(first)}: cannot be read ({error.strerror})") from None
        except Exception:
            # Whatever is wrong with it, it is made again.
            return None
        if key != self._key.encode():
            raise _of_another(self.folder, "")
        return arrays

    def remove(self) -> None:
        """Remove the folder, if there is nothing of others in it; the key comes last, so that what is half removed is known."""
        try:
            there = os.listdir(self.folder)
        except FileNotFoundError:  # another process has evaluated the same, and was first
            return
        names = [name for name in there if _PART.fullmatch(name) or _TEMPORARY.fullmatch(name)]
        for name in [*sorted(names), "key"]:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        sync_folder(self.folder.parent)


def remove_parts(folder: Path, key: str, version: str) -> None:
    """Remove the parts that were left beside a whole evaluation of this key; a folder of something else stays."""
    if folder.is_dir():
        with contextlib.suppress(RunError):
            Parts(folder, key, version).remove()


def _of_another(folder: Path, which: str) -> RunError:
    return RunError(f"{folder}: parts of another evaluation{which}; remove the folder or name another output")


def _key_of(folder: Path) -> tuple[str, str] | None:
    """The key of the evaluation and the version of eventsim that began it, unless there is none or it was not written whole."""
    try:
        lines = (folder / "key").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    if not lines or not re.fullmatch("[0-9a-f]{64}", lines[0]):
        return None
    return lines[0], lines[1] if len(lines) > 1 else ""


def _others(folder: Path) -> bool:
    """Whether there is anything that no evaluation has put there."""
    return any(name != "key" and not _PART.fullmatch(name) and not _TEMPORARY.fullmatch(name) for name in os.listdir(folder))


def _remove_temporaries(folder: Path) -> None:
    targets = {found[1] for name in os.listdir(folder) if (found := _TEMPORARY.fullmatch(name))}
    for name in targets:
        remove_stale(folder / name)

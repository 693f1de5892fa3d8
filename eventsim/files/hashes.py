"""Hashes of files, kept in the user's cache: a file of the same size and time of change is not read again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from eventsim.errors import DatasetError
from eventsim.files.atomic import write_text

# A file that changed less than this many nanoseconds before it was hashed may change again within the same tick of the file system's clock.
_RACY = 2 * 10**9
_Entry = list[int | str]


def hash_files(files: Sequence[Path]) -> str:
    """SHA-256 (hex) over the names (within their folder) and contents of files, in their order.

    Raises
    ------
    DatasetError
        One cannot be read.
    """
    hashed = hashlib.sha256()
    known: dict[Path, dict[str, _Entry]] = {}
    changed: set[Path] = set()
    for file in files:
        folder = file.parent
        if folder not in known:
            known[folder] = _read(folder)
        try:
            state = os.stat(file)
            entry = known[folder].get(file.name)
            if entry is None or entry[:2] != [state.st_size, state.st_mtime_ns]:
                now = time.time_ns()
                with open(file, "rb") as stream:
                    entry = [state.st_size, state.st_mtime_ns, hashlib.file_digest(stream, "sha256").hexdigest()]
                known[folder].pop(file.name, None)
                if abs(now - state.st_mtime_ns) > _RACY:
                    known[folder][file.name] = entry
                    changed.add(folder)
        except OSError as error:
            raise DatasetError(f"{file}: cannot be read ({error.strerror or error})") from None
        hashed.update(os.fsencode(file.name) + b"\n" + str(entry[2]).encode())
    for folder in changed:
        _write(folder, known[folder])
    return hashed.hexdigest()


def file_of(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return platformdirs.user_cache_path("eventsim") / "hashes" / f"{name}.json"


def _read(folder: Path) -> dict[str, _Entry]:
    try:
        entries = json.loads(file_of(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(entries, dict):
        return {}
    return {name: e for name, e in entries.items() if isinstance(e, list) and [type(part) for part in e] == [int, int, str]}


def _write(folder: Path, entries: dict[str, _Entry]) -> None:
    """Keep the hashes; a cache that cannot be written only costs time."""
    place = file_of(folder)
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, json.dumps(entries))

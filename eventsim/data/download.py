"""Get the files of a known data set: from the network or from local copies, verified, and never half-written."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pooch  # type: ignore[import-untyped]
import requests

from eventsim.data.formats import read_members
from eventsim.data.manifest import KnownSet, PublishedFile
from eventsim.errors import DatasetError
from eventsim.files.atomic import Replacement

Say = Callable[[str], None]
# File name, bytes so far, bytes in all.
Progress = Callable[[str, int, int], None]

_CHUNK = 2**16
_TIMEOUT_SECONDS = 30
# Published idx files have 47 MB unpacked at most; one that hardly ends must not be hashed for hours.
_MAX_UNPACKED = 2**31


def get(known: KnownSet, target: Path, source: Path | None = None, say: Say | None = None, progress: Progress | None = None) -> None:
    """Bring a set's files to a folder, in the layout that :func:`eventsim.data.datasets.load` reads.

    What is there and matches its published check sum is left alone. A file gets its name only once it is whole and verified.

    Parameters
    ----------
    known : KnownSet
    target : Path
        The data folder; made if need be.
    source : Path, optional
        Take copies from this folder instead of the network. A copy is right if its check sum is the published one, or if that of
        what it unpacks to is.
    say : callable, optional
        Called with a line for every file.
    progress : callable, optional
        Called with (file name, bytes so far, bytes in all) while downloading.

    Raises
    ------
    DatasetError
        The set is not to be downloaded, a file cannot be had or written, or is not the published one.
    """
    if known.by_hand:
        raise DatasetError(f"{known.name} cannot be downloaded: {known.by_hand}")
    if source is not None and not source.is_dir():
        raise DatasetError(f"{source}: no such folder; expected one with copies of {known.name}")
    say = say or (lambda line: None)
    if known.format == "idx":
        for file in known.files:
            _get_idx(known, file, target, source, say, progress)
    else:
        _get_archive(known, target, source, say, progress)


def _get_idx(known: KnownSet, file: PublishedFile, target: Path, source: Path | None, say: Say, progress: Progress | None) -> None:
    plain, packed = target / known.name / file.plain_name, target / known.name / file.name
    # The readers prefer the unpacked file, so a wrong one would hide what is brought here.
    if file.content_md5 and plain.is_file():
        _require(plain, _hash(plain) == file.content_md5, f"remove it and get {known.name} again")
        say(f"{plain}: present, verified")
    elif packed.is_file() and _is_idx(packed, file, True):
        say(f"{packed}: present, verified")
    elif source is None:
        _download(known, file, packed, say, progress)
    else:
        # An unpacked copy can be verified only where its own check sum is known.
        names = [file.name, file.plain_name] if file.content_md5 else [file.name]
        copies = [folder / name for folder in (source / known.name, source) for name in names]
        copy = next((copy for copy in copies if copy.is_file()), None)
        if copy is None:
            raise DatasetError(f"{source}: has no {' or '.join(names)}, also not in a folder {known.name}/")
        _copy(copy, target / known.name / copy.name, lambda path: _is_idx(path, file, copy.name == file.name), say)
    if plain.is_file() and not file.content_md5:
        _require(plain, _hash(plain) == _hash_of_content(packed), f"remove it: {packed.name} beside it has another content")


def _get_archive(known: KnownSet, target: Path, source: Path | None, say: Say, progress: Progress | None) -> None:
    present = _present(known, target)
    if present is not None:
        say(f"{present}: present, verified")
    elif source is None:
        _download(known, known.files[0], target / known.files[0].name, say, progress)
    elif not _copy_archive(known, target, source, say):
        _copy_members(known, target, source, say)


def _present(known: KnownSet, target: Path) -> Path | None:
    """The archive of a set, or the folder that it was unpacked to, if either is there and right."""
    for file in known.files:
        for folder in (target / file.folder, target / known.name / file.folder):
            members = [member for member in file.members if (folder / member.name).is_file()]
            for member in members:
                _require(folder / member.name, _hash(folder / member.name) == member.md5, f"remove it and get {known.name} again")
            if len(members) == len(file.members):
                return folder
    for file in known.files:
        for archive in (target / file.name, target / known.name / file.name):
            if archive.is_file() and _is_archive(archive, file):
                return archive
    return None


def _copy_archive(known: KnownSet, target: Path, source: Path, say: Say) -> bool:
    """Copy the archive, if there is a copy."""
    for file in known.files:
        for archive in (source / file.name, source / known.name / file.name):
            if archive.is_file():
                _copy(archive, target / file.name, lambda path, file=file: _is_archive(path, file), say)  # type: ignore[misc]
                return True
    return False


def _copy_members(known: KnownSet, target: Path, source: Path, say: Say) -> None:
    """Copy the files of an unpacked archive.

    Raises
    ------
    DatasetError
        There are none, or not all.
    """
    incomplete = None
    for file in known.files:
        # The last one: the folder given is the unpacked archive itself.
        for folder in (source / file.folder, source / known.name / file.folder, source):
            missing = [member.name for member in file.members if not (folder / member.name).is_file()]
            if not missing:
                for member in file.members:
                    destination = target / file.folder / member.name
                    _copy(folder / member.name, destination, lambda path, md5=member.md5: _hash(path) == md5, say)  # type: ignore[misc]
                return
            if len(missing) < len(file.members):
                incomplete = incomplete or DatasetError(f"{folder}: has no {missing[0]}; expected all files of {file.folder}")
    names = ", ".join(name for file in known.files for name in (file.name, f"{file.folder}/"))
    raise incomplete or DatasetError(f"{source}: has none of {names}")


def _hash(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error


def _is_idx(path: Path, file: PublishedFile, packed: bool) -> bool:
    """Whether a file is the published one, or, packed by someone else, unpacks to what it does."""
    found = _hash(path)
    if not packed or not file.content_md5:
        return found == (file.md5 if packed else file.content_md5)
    return found == file.md5 or _hash_of_content(path) == file.content_md5


def _hash_of_content(path: Path) -> str | None:
    """Of what a .gz file unpacks to; None if it is damaged, or far too large."""
    content, size = hashlib.md5(usedforsecurity=False), 0
    try:
        with gzip.open(path, "rb") as stream:
            while chunk := stream.read(2**20):
                content.update(chunk)
                size += len(chunk)
                if size > _MAX_UNPACKED:
                    return None
    except (OSError, EOFError, zlib.error):
        return None
    return content.hexdigest()


def _is_archive(path: Path, file: PublishedFile) -> bool:
    if _hash(path) == file.md5:
        return True
    try:
        members = read_members(path, file.folder, [member.name for member in file.members])
    except DatasetError:
        return False
    return all(hashlib.md5(members[member.name], usedforsecurity=False).hexdigest() == member.md5 for member in file.members)


def _require(path: Path, right: bool, advice: str) -> None:
    if not right:
        raise DatasetError(
            f"{path}: not the published file ({path.stat().st_size:,} bytes, another check sum), damaged or partial; {advice}"
        )


def _copy(copy: Path, destination: Path, is_right: Callable[[Path], bool], say: Say) -> None:
    if not os.access(copy, os.R_OK):
        raise DatasetError(f"{copy}: cannot be read (permission denied)")
    with _written_whole(destination) as unfinished:
        shutil.copyfile(copy, unfinished)
        _require(copy, is_right(unfinished), "expected a copy of the published file")
    say(f"{destination}: copied from {copy}, verified")


@contextlib.contextmanager
def _written_whole(destination: Path) -> Iterator[Path]:
    """A temporary file beside the destination, which takes its place when the block ends well, and else goes away."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Replacement(destination)
        with unfinished:
            yield unfinished.path
    except OSError as error:
        raise DatasetError(f"{destination}: cannot be written ({error.strerror or error})") from error


class _TooMuch(Exception):
    """A download that goes on far beyond the file's published size."""


class _Meter:
    """What pooch calls while it downloads: in place of the progress bar of tqdm, which it takes."""

    def __init__(self, file: PublishedFile, written: Path, progress: Progress | None) -> None:
        self.total = 0
        self._file, self._written = file, written
        self._progress = progress

    def update(self, count: int) -> None:
        # Pooch counts a whole chunk for every piece, however small a server sends them.
        received = self._written.stat().st_size
        # A server that sends something else without end must not fill the disk.
        if received > 2 * self._file.bytes + 2 * _CHUNK:
            raise _TooMuch
        if self._progress is not None:
            self._progress(self._file.name, min(received, self._file.bytes), self._file.bytes)

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


def _download(known: KnownSet, file: PublishedFile, destination: Path, say: Say, progress: Progress | None) -> None:
    reasons = []
    with _written_whole(destination) as unfinished:
        for address in (base + file.name for base in known.addresses):
            reason = _fetch(address, file, unfinished, progress)
            if reason is None:
                break
            reasons.append(f"{address}: {reason}")
        else:
            raise DatasetError(
                f"{file.name} could not be downloaded ({'; '.join(reasons)}); check the network, "
                f"or get the file elsewhere and use `python -m eventsim data get {known.name} --from FOLDER`"
            )
    say(f"{destination}: downloaded from {address}, verified")


def _fetch(address: str, file: PublishedFile, unfinished: Path, progress: Progress | None) -> str | None:
    """Download a file and verify it; returns what went wrong."""
    # Some servers would declare .gz files as a compressed encoding of their content; it would be unpacked on the way.
    fetch = pooch.HTTPDownloader(
        progressbar=_Meter(file, unfinished, progress), chunk_size=_CHUNK, timeout=_TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"}
    )
    try:
        fetch(address, str(unfinished), None)
    except requests.HTTPError as error:
        return "no answer" if error.response is None else f"{error.response.status_code} {error.response.reason}"
    except requests.Timeout:
        return f"no answer within {_TIMEOUT_SECONDS} seconds"
    except requests.exceptions.ChunkedEncodingError:
        return f"the connection broke off: {unfinished.stat().st_size:,} of {file.bytes:,} bytes"
    except requests.ConnectionError:
        return "no connection"
    except requests.RequestException as error:
        return str(error)
    except _TooMuch:
        return f"sends far more than the {file.bytes:,} bytes that are published"
    size = unfinished.stat().st_size
    if _hash(unfinished) == file.md5:
        return None
    return f"not the published file: {size:,} bytes of {file.bytes:,}" if size != file.bytes else "another check sum than the published one"

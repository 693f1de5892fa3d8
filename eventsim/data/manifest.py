"""What is published of each known data set: files, addresses, check sums, licence. Kept in ``datasets.toml``."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventsim.errors import DatasetError


@dataclass(frozen=True)
class Member:
    """A file that an archive holds."""

    name: str
    split: str
    md5: str


@dataclass(frozen=True)
class PublishedFile:
    """A file as published.

    An idx file has a split, a role (``"images"`` or ``"labels"``) and the check sum of its unpacked content (may be empty where
    none is known). An archive has a folder, which it unpacks to, a form (``"binary"`` or ``"python"``) and members.
    """

    name: str
    bytes: int
    md5: str
    split: str = ""
    role: str = ""
    content_md5: str = ""
    form: str = ""
    folder: str = ""
    members: tuple[Member, ...] = ()

    @property
    def plain_name(self) -> str:
        """The name without ``.gz``."""
        return self.name.removesuffix(".gz")

    def split_members(self, split: str) -> list[str]:
        """The names of the members of a split, in order."""
        return [member.name for member in self.members if member.split == split]


@dataclass(frozen=True)
class KnownSet:
    """A data set of the manifest."""

    name: str
    title: str
    format: str
    licence: str
    homepage: str
    images: dict[str, int]
    classes: tuple[str, ...] = ()
    label_bytes: int = 1
    addresses: tuple[str, ...] = ()
    files: tuple[PublishedFile, ...] = ()
    by_hand: str = ""

    @property
    def download_bytes(self) -> int:
        """The size of what is downloaded: all idx files, but only the first of the forms of an archive."""
        return sum(file.bytes for file in self.files if not file.form or file is self.files[0])

    def idx_file(self, split: str, role: str) -> PublishedFile:
        """The idx file with a split's images or labels."""
        return next(file for file in self.files if (file.split, file.role) == (split, role))


def read_manifest(path: Path) -> dict[str, KnownSet]:
    """Read a manifest: the known sets by name."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _known_set(name, table) for name, table in tables.items()}


def _known_set(name: str, table: dict[str, Any]) -> KnownSet:
    files = []
    for entry in table.pop("files", []):
        members = tuple(Member(**member) for member in entry.pop("members", []))
        files.append(PublishedFile(**entry, members=members))
    classes, addresses = tuple(table.pop("classes", ())), tuple(table.pop("addresses", ()))
    return KnownSet(name=name, classes=classes, addresses=addresses, files=tuple(files), **table)


@functools.cache
def known_sets() -> dict[str, KnownSet]:
    """The sets of the project's own manifest, by name."""
    return read_manifest(Path(__file__).with_name("datasets.toml"))


def known_set(name: str) -> KnownSet:
    """A set of the project's own manifest.

    Raises
    ------
    DatasetError
        There is none of this name.
    """
    sets = known_sets()
    if name not in sets:
        raise DatasetError(f"unknown data set {name!r}; known: {', '.join(sets)}")
    return sets[name]

"""Image sets for users: known ones by name, from the files that their authors publish, and folders of images.

:func:`open_dataset` is the one interface; :func:`load` gives the arrays of a known set. What is known of each set (addresses,
check sums, licences) is in ``datasets.toml``; ``python -m eventsim data get NAME`` fetches one.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import platformdirs

from eventsim.data import manifest as dataset_manifest
from eventsim.data.formats import (
    Labelled,
    parse_cifar_binary,
    parse_cifar_python,
    read_cifar_binary,
    read_cifar_python,
    read_idx,
    read_members,
)
from eventsim.data.image_sets import ArrayDataset, Dataset, FolderDataset, open_folder
from eventsim.data.manifest import KnownSet, PublishedFile
from eventsim.data.recording_sets import SIMULATED, RecordingFolder, Saccades, holds_recordings
from eventsim.data.recordings.fitting import Reading
from eventsim.errors import DatasetError

__all__ = ["Dataset", "data_folder", "find", "load", "open_dataset", "read_cifar_binary", "read_cifar_python", "read_idx"]

_PARSERS = {"binary": parse_cifar_binary, "python": parse_cifar_python}


def data_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the data sets: the one given, else ``EVENTSIM_DATA``, else a folder in the user's cache.

    Raises
    ------
    DatasetError
        It is that of a user whom the machine does not know.
    """
    named = folder if folder is not None else os.environ.get("EVENTSIM_DATA")
    if named:
        try:
            return Path(named).expanduser()
        except RuntimeError:
            raise DatasetError(f"{os.fspath(named)}: no such user; name the folder without ~ (EVENTSIM_DATA, or --data)") from None
    return platformdirs.user_cache_path("eventsim")


def load(name: str, split: str = "test", folder: str | os.PathLike[str] | None = None) -> Labelled:
    """Load the images and labels of a known set.

    Parameters
    ----------
    name : str
        ``"mnist"``, ``"fashion-mnist"``, ``"kmnist"``, ``"cifar-10"`` or ``"cifar-100"`` (fine labels).
    split : str
        ``"train"`` or ``"test"``.
    folder : path-like, optional
        Holds the set's files as published, in the layout of ``datasets/README.md``. Default: see :func:`data_folder`.

    Returns
    -------
    images : numpy.ndarray
        uint8, shape (images, height, width, channels).
    labels : numpy.ndarray
        int64, shape (images,).

    Raises
    ------
    DatasetError
        Unknown set or split, a file that is missing, damaged or partial, or images and labels that do not match.
    """
    known = dataset_manifest.known_set(name)
    if known.format == "folder":
        raise DatasetError(f"{name}: has images of many sizes, which one array does not hold; use eventsim.data.datasets.open_dataset")
    _check_split(known, split)
    root = data_folder(folder)
    return _load_idx(known, split, root) if known.format == "idx" else _load_cifar(known, split, root)


def open_dataset(
    name_or_folder: str | os.PathLike[str],
    split: str = "test",
    folder: str | os.PathLike[str] | None = None,
    reading: Reading | None = None,
) -> Dataset:
    """Open a known set or a folder of images.

    Parameters
    ----------
    name_or_folder : str or path-like
        A name that ``python -m eventsim data list`` shows, ``mnist-saccades`` (simulated recordings of its digits), else a folder with one
        subfolder of images, or of recordings, per class (as ImageNet) or with those only, with or without subfolders ``train``, ``val`` and
        ``test`` above them. Names win over folders.
    split : str
        ``"train"``, ``"test"``; for folders also ``"val"``, which is taken for ``"test"`` where there is no ``test``.
    folder : path-like, optional
        Where known sets are looked for. Default: see :func:`data_folder`.
    reading : Reading, optional
        How recordings are read, and what is done to them.

    Returns
    -------
    Dataset
        Known sets are read into memory; images in folders are decoded when asked for.

    Raises
    ------
    DatasetError
        Neither a known name nor a folder, no such split, or a file that is missing, damaged or partial.
    """
    data = _open(os.fspath(name_or_folder), split, folder)
    if reading is not None and reading != Reading():
        if not isinstance(data, RecordingFolder | Saccades):
            raise DatasetError(f"{data.name}: images; windows of time, hot pixels, columns and downsampling are for recordings")
        data.reading = reading
    data.opened_as = os.fspath(name_or_folder)
    return data


def _open(name: str, split: str, folder: str | os.PathLike[str] | None) -> Dataset:
    if name == SIMULATED:
        return Saccades(name, open_dataset("mnist", split, folder))
    known = dataset_manifest.known_sets().get(name)
    if known is None:
        if not Path(name).is_dir():
            names = ", ".join((*dataset_manifest.known_sets(), SIMULATED))
            raise DatasetError(f"{name}: neither a folder nor a known data set; known: {names}")
        return _open_folder(Path(name), split)
    if known.format == "folder":
        return _open_known_folder(known, split, data_folder(folder))
    images, labels = load(name, split, folder)
    return ArrayDataset(name, split, known.classes, images, labels)


def find(name: str, split: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """Where the files of a known set's split are: a folder or an archive. Reads none of them.

    Raises
    ------
    DatasetError
        Unknown name, or a file is missing.
    """
    known = dataset_manifest.known_set(name)
    root = data_folder(folder)
    if known.format == "folder":
        place = root / name if split == "all" else root / name / split
        if not place.is_dir():
            raise _absent(known, root)
        return place
    _check_split(known, split)
    if known.format == "idx":
        images, _ = (_find_idx(known, split, role, root) for role in ("images", "labels"))
        return images.parent
    return _find_cifar(known, split, root)[1]


def _check_split(known: KnownSet, split: str) -> None:
    if split not in known.images:
        raise DatasetError(f"unknown split {split!r} of {known.name}; known: {', '.join(known.images)}")


def _absent(known: KnownSet, root: Path) -> DatasetError:
    if known.by_hand:
        return DatasetError(f"{known.name} is not in {root}: {known.by_hand}; or set EVENTSIM_DATA to the folder that holds {known.name}/")
    return DatasetError(
        f"{known.name} is not in {root}; get it by `python -m eventsim data get {known.name}`, "
        "or set EVENTSIM_DATA to the folder that has it"
    )


def _find_idx(known: KnownSet, split: str, role: str, root: Path) -> Path:
    file = known.idx_file(split, role)
    folder = root / known.name
    for candidate in (folder / file.plain_name, folder / file.name):
        if candidate.is_file():
            return candidate
    if not folder.is_dir():
        raise _absent(known, root)
    raise DatasetError(f"{folder}: has neither {file.plain_name} nor {file.name}; get it by `python -m eventsim data get {known.name}`")


def _load_idx(known: KnownSet, split: str, root: Path) -> Labelled:
    paths = [_find_idx(known, split, role, root) for role in ("images", "labels")]
    images, labels = (read_idx(path) for path in paths)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DatasetError(f"{paths[0]} and {paths[1].name}: images {images.shape} and labels {labels.shape} do not match")
    if labels.size and int(labels.max()) >= len(known.classes):
        raise DatasetError(f"{paths[1]}: has a label {labels.max()}, expected 0..{len(known.classes) - 1}; a damaged file or another set")
    return images[..., None], labels.astype(np.int64)


def _find_cifar(known: KnownSet, split: str, root: Path) -> tuple[PublishedFile, Path]:
    """The published archive, and the folder that it was unpacked to or itself: unpacked ones first, since they are read faster."""
    incomplete = None
    for file in known.files:
        for place in (root / file.folder, root / known.name / file.folder):
            missing = [name for name in file.split_members(split) if not (place / name).is_file()]
            if not missing:
                return file, place
            if place.is_dir():
                incomplete = incomplete or DatasetError(
                    f"{place}: has no {missing[0]}; get it by `python -m eventsim data get {known.name}`"
                )
    for file in known.files:
        for place in (root / file.name, root / known.name / file.name):
            if place.is_file():
                return file, place
    raise incomplete or _absent(known, root)


def _load_cifar(known: KnownSet, split: str, root: Path) -> Labelled:
    file, place = _find_cifar(known, split, root)
    names = file.split_members(split)
    expected = known.images[split] // len(names)
    packed = read_members(place, file.folder, names) if place.is_file() else None
    parts: list[Labelled] = []
    for name in names:
        where = str(place / name) if packed is None else f"{place}: {file.folder}/{name}"
        if packed is not None:
            images, labels = _PARSERS[file.form](packed.pop(name), where, known.label_bytes)
        else:
            reader = read_cifar_binary if file.form == "binary" else read_cifar_python
            images, labels = reader(place / name, known.label_bytes)
        if len(images) != expected:
            raise DatasetError(
                f"{where}: a partial file: {len(images)} images, expected {expected}; get it by `python -m eventsim data get {known.name}`"
            )
        parts.append((images, labels))
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _open_known_folder(known: KnownSet, split: str, root: Path) -> FolderDataset:
    if not (root / known.name).is_dir():
        raise _absent(known, root)
    return _open_folder(root / known.name, split, known.name)


def _open_folder(folder: Path, split: str, name: str | None = None) -> FolderDataset:
    """A folder of recordings, or of images."""
    return open_folder(folder, split, name, kind=RecordingFolder if holds_recordings(folder) else FolderDataset)

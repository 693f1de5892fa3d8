"""One interface to image sets: those held in memory, and folders of image files, decoded when asked for."""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from eventsim.data.images import decode_image
from eventsim.data.recordings.events import Recording
from eventsim.data.recordings.fitting import Reading
from eventsim.errors import DatasetError, InputError
from eventsim.files.hashes import hash_files

_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm"))
_SPLITS = ("train", "val", "test")
# Lines of "FOLDER class name", as ImageNet's own mapping has them.
_CLASS_FILES = ("LOC_synset_mapping.txt", "classes.txt")
_MAX_CLASS_FILE_BYTES = 2**24


class Dataset(ABC):
    """Images with or without labels.

    Attributes
    ----------
    name : str
    split : str
        ``"train"``, ``"test"``, ``"val"``; ``"all"`` for a folder without such subfolders.
    classes : list of str
        Names by label; empty where none are known.
    labels : numpy.ndarray or None
        int64, shape (images,); None for images without labels.
    reading : Reading
        How recordings are read, and what is done to them, of a set of those.
    opened_as : str or None
        What :func:`eventsim.data.datasets.open_dataset` opened it by: a name, or a folder as it was given.
    """

    reading = Reading()
    opened_as: str | None = None

    def __init__(self, name: str, split: str, classes: Sequence[str], labels: npt.NDArray[np.int64] | None) -> None:
        self.name = name
        self.split = split
        self.classes = list(classes)
        self.labels = labels

    @abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abstractmethod
    def _image(self, index: int) -> npt.NDArray[np.uint8]: ...

    @abstractmethod
    def arrays(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64] | None]:
        """All images in one array.

        Returns
        -------
        images : numpy.ndarray
            uint8, shape (images, height, width, channels).
        labels : numpy.ndarray or None

        Raises
        ------
        DatasetError
            The images have several shapes, or one is damaged.
        """

    def remarks(self, index: int) -> list[str]:
        """What was done to an image when it was decoded, if anything (docs/inputs.md)."""
        return []

    def as_images(self) -> Dataset:
        """The same set as images that can be shown: itself, unless it is one of recordings."""
        return self

    def recording(self, index: int) -> Recording | None:
        """A recording, of a set of those; None of images."""
        return None

    def digest(self, numbers: npt.NDArray[np.int64]) -> str:
        """SHA-256 (hex) over the content of some images, in their order: another image gives another digest.

        Parameters
        ----------
        numbers : int64 (images,)

        Raises
        ------
        DatasetError
            A file is damaged or missing.
        """
        hashed = hashlib.sha256()
        for number in numbers.tolist():
            image = self._image(number)
            hashed.update(f"{image.shape}".encode())
            hashed.update(np.ascontiguousarray(image).data)
        return hashed.hexdigest()

    def selection(self, numbers: npt.NDArray[np.int64]) -> str:
        """SHA-256 (hex) that tells one choice of images and labels from another, by the data set's name and what is in them.

        Parameters
        ----------
        numbers : int64 (images,)

        Raises
        ------
        DatasetError
            A file is damaged or missing.
        """
        hashed = hashlib.sha256(f"{self.name} {self.split}".encode(errors="surrogatepass"))
        hashed.update(numbers.astype(np.int64).tobytes())
        if self.labels is not None:
            hashed.update(self.labels[numbers].astype(np.int64).tobytes())
        hashed.update(self.digest(numbers).encode())
        return hashed.hexdigest()

    def __getitem__(self, index: SupportsIndex) -> npt.NDArray[np.uint8]:
        """An image: uint8, shape (height, width, channels) with 1 or 3 channels.

        Raises
        ------
        IndexError
            There is no such image.
        DatasetError
            Its file is damaged or missing.
        """
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"image {number} of {len(self)}")
        return self._image(number % len(self))

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        return (self._image(index) for index in range(len(self)))

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else f"{len(self.classes)} classes"
        return f"<Dataset {self.name}, {self.split}: {len(self):,} images, {labels}>"


class ArrayDataset(Dataset):
    """A data set held in memory."""

    def __init__(self, name: str, split: str, classes: Sequence[str], images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
        super().__init__(name, split, classes, labels)
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def _image(self, index: int) -> npt.NDArray[np.uint8]:
        return self._images[index]

    def arrays(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64] | None]:
        return self._images, self.labels


class FolderDataset(Dataset):
    """A folder of images: one subfolder per class, as ImageNet has them, or images alone. Made by :func:`open_folder`.

    Attributes
    ----------
    suffixes : frozenset of str
        Of the files that are read.
    """

    suffixes = _SUFFIXES

    def __init__(self, name: str, split: str, classes: Sequence[str], files: Sequence[Path], labels: npt.NDArray[np.int64] | None) -> None:
        super().__init__(name, split, classes, labels)
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def _image(self, index: int) -> npt.NDArray[np.uint8]:
        return read_image(self.files[index])

    def remarks(self, index: int) -> list[str]:
        return _decode(self.files[index])[1]

    def digest(self, numbers: npt.NDArray[np.int64]) -> str:
        """As of any data set; files that have not changed since they were last hashed are not read again."""
        return hash_files([self.files[number] for number in numbers.tolist()])

    def arrays(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64] | None]:
        images: list[npt.NDArray[np.uint8]] = []
        for file, image in zip(self.files, self, strict=True):
            if images and image.shape != images[0].shape:
                raise DatasetError(
                    f"{file}: has the shape {image.shape}, but {self.files[0]} has {images[0].shape}; one array takes images of one shape"
                )
            images.append(image)
        return np.stack(images), self.labels


def open_folder(folder: Path, split: str, name: str | None = None, kind: type[FolderDataset] = FolderDataset) -> FolderDataset:
    """Open a folder of images.

    With subfolders ``train``, ``val`` or ``test`` the one of the split is taken (for ``"test"``: ``val`` if there is no ``test``,
    as with ImageNet, whose test labels are not published); otherwise the folder itself, and the split is called ``"all"``.
    In it, either one subfolder per class, numbered in the order of their names, or images without labels. Hidden files and those
    that are not named as images are passed over. ``LOC_synset_mapping.txt`` or ``classes.txt`` may give the classes' names.

    Parameters
    ----------
    folder : Path
    split : str
    name : str, optional
        Default: the folder's name.
    kind : type
        What reads the files.

    Raises
    ------
    DatasetError
        No images, no such split, or images both beside and within subfolders.
    """
    splits = [known for known in _SPLITS if (folder / known).is_dir()]
    if not splits:
        place, found = folder, "all"
    else:
        found = "val" if split == "test" and "test" not in splits else split
        if found not in splits:
            raise DatasetError(f"{folder}: has no images of the split {split!r}; it has {', '.join(splits)}")
        place = folder / found
    name = name or folder.resolve().name
    alone, below = _list(place, kind.suffixes)
    by_class = [_list(subfolder, kind.suffixes)[0] for subfolder in below]
    if not any(by_class):
        if not alone:
            raise DatasetError(f"{place}: no images in it; expected a folder per class, or images ({', '.join(sorted(kind.suffixes))})")
        return kind(name, found, [], alone, None)
    if alone:
        raise DatasetError(f"{place}: has images both beside and within subfolders ({alone[0].name}); expected one or the other")
    names = _class_names([place, folder])
    classes = [names.get(subfolder.name, subfolder.name) for subfolder in below]
    labels = np.repeat(np.arange(len(below), dtype=np.int64), [len(files) for files in by_class])
    return kind(name, found, classes, [file for files in by_class for file in files], labels)


def _list(folder: Path, suffixes: frozenset[str]) -> tuple[list[Path], list[Path]]:
    """The image files and the subfolders of a folder, sorted by name, hidden ones left out."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror or error})") from error
    return [e for e in entries if e.suffix.lower() in suffixes and e.is_file()], [e for e in entries if e.is_dir()]


def _class_names(folders: Sequence[Path]) -> dict[str, str]:
    for path in (folder / file for folder in folders for file in _CLASS_FILES):
        if not path.is_file():
            continue
        try:
            if path.stat().st_size > _MAX_CLASS_FILE_BYTES:
                raise DatasetError(f"{path}: has more than {_MAX_CLASS_FILE_BYTES} bytes; expected lines of FOLDER CLASS-NAME")
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error
        words = [line.split(maxsplit=1) for line in lines]
        return {pair[0]: pair[1].strip() for pair in words if len(pair) == 2}
    return {}


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image file, by the rule of :func:`eventsim.data.images.decode_image`: uint8, shape (height, width, 1 or 3).

    Raises
    ------
    DatasetError
        The file is missing, damaged, huge, or of a kind that 8 bits do not hold.
    """
    return _decode(path)[0]


def _decode(path: Path) -> tuple[npt.NDArray[np.uint8], list[str]]:
    try:
        with open(path, "rb") as stream:
            return decode_image(stream, str(path))
    except (InputError, OSError) as error:
        text = str(error) if isinstance(error, InputError) else f"{path}: cannot be read ({error.strerror or error})"
        raise DatasetError(text) from None

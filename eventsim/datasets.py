"""Read labelled image sets from the files their authors publish.

One function per file format; :func:`load` finds a set by name below a data folder.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

from eventsim.errors import DatasetError

_IDX_SETS = ("mnist", "fashion-mnist")
_IDX_SPLITS = {"train": "train", "test": "t10k"}
# Larger than any idx file of this family (EMNIST: 0.6 GB); a damaged header must not decide how much memory is taken.
_MAX_IDX_BYTES = 2**31


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an idx file of unsigned bytes, plain or gzip-compressed.

    Parameters
    ----------
    path : path-like
        For example ``train-images-idx3-ubyte.gz``.

    Returns
    -------
    numpy.ndarray
        uint8, in the shape that the header declares.

    Raises
    ------
    DatasetError
        The file is missing, damaged, partial, or not an idx file of bytes.
    """
    path = Path(path)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
            magic = stream.read(4)
            if len(magic) < 4 or magic[:3] != b"\x00\x00\x08" or not 1 <= magic[3] <= 4:
                raise DatasetError(f"{path}: not an idx file of unsigned bytes (starts with {magic.hex() or 'nothing'})")
            header = stream.read(4 * magic[3])
            if len(header) < 4 * magic[3]:
                raise DatasetError(f"{path}: the idx header is cut short")
            shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
            declared = int(np.prod(shape, dtype=object))
            if declared > _MAX_IDX_BYTES:
                raise DatasetError(f"{path}: declares {declared} bytes, more than any idx set has ({_MAX_IDX_BYTES})")
            body = stream.read(declared + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    if len(body) != declared:
        raise DatasetError(f"{path}: declares {declared} bytes of data but holds {'more' if len(body) > declared else len(body)}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def data_folder() -> Path | None:
    """The folder that the environment variable ``EVENTSIM_DATA`` names, if it is set."""
    named = os.environ.get("EVENTSIM_DATA")
    return Path(named) if named else None


def load(name: str, split: str = "test", folder: str | os.PathLike[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Load a data set's images and labels.

    Parameters
    ----------
    name : str
        ``"mnist"`` or ``"fashion-mnist"``.
    split : str
        ``"train"`` or ``"test"``.
    folder : path-like, optional
        Holds a folder ``name`` with the published idx files, plain or ``.gz``. Default: ``EVENTSIM_DATA``.

    Returns
    -------
    images : numpy.ndarray
        uint8, shape (images, height, width, channels).
    labels : numpy.ndarray
        int64, shape (images,).

    Raises
    ------
    DatasetError
        Unknown set or split, a file that is missing or damaged, or images and labels that do not match.
    """
    if name not in _IDX_SETS:
        raise DatasetError(f"unknown data set {name!r}; known: {', '.join(_IDX_SETS)}")
    if split not in _IDX_SPLITS:
        raise DatasetError(f"unknown split {split!r}; known: {', '.join(_IDX_SPLITS)}")
    root = Path(folder) if folder is not None else data_folder()
    if root is None:
        raise DatasetError(f"no folder given for {name}: name one, or set EVENTSIM_DATA to the folder that holds {name}/")

    def find(stem: str) -> Path:
        for candidate in (root / name / stem, root / name / f"{stem}.gz"):
            if candidate.is_file():
                return candidate
        raise DatasetError(f"{root / name}: has neither {stem} nor {stem}.gz")

    prefix = _IDX_SPLITS[split]
    images = read_idx(find(f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(find(f"{prefix}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DatasetError(f"{root / name}: images {images.shape} and labels {labels.shape} do not match")
    return images[..., None], labels.astype(np.int64)

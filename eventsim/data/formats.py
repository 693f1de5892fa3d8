"""The file formats of published image sets: idx, CIFAR binary batches, CIFAR python batches, and archives of them.

Every function bounds what it reads before it takes memory, and names the file in every error.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import pickletools
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from eventsim.errors import DatasetError

Labelled = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

# Larger than any idx file of this family (EMNIST: 0.6 GB); a damaged header must not decide how much memory is taken.
_MAX_IDX_BYTES = 2**31
# The CIFAR sets are 185 MB unpacked, in archives of 8 files at most.
MAX_CIFAR_BYTES = 2**28
_MAX_MEMBERS = 100
_PIXELS = 3 * 32 * 32
# By the number of label bytes before each image: the number of classes that each byte may name.
_CIFAR_CLASSES = {1: (10,), 2: (20, 100)}
_UNREADABLE = (OSError, EOFError, zlib.error, tarfile.TarError)


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
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
            body = _at_most(stream, declared + 1)
    except _UNREADABLE as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    if len(body) != declared:
        raise DatasetError(f"{path}: declares {declared} bytes of data but holds {'more' if len(body) > declared else len(body)}")
    if not declared and max(shape) > _MAX_IDX_BYTES:
        raise DatasetError(f"{path}: declares the shape {shape}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_cifar_binary(path: str | os.PathLike[str], label_bytes: int = 1) -> Labelled:
    """Read a batch of CIFAR's binary version, with any number of records.

    Parameters
    ----------
    path : path-like
        For example ``data_batch_1.bin``.
    label_bytes : int
        1 for CIFAR-10; 2 for CIFAR-100, whose second byte, the fine label, is returned.

    Returns
    -------
    images : numpy.ndarray
        uint8, shape (images, 32, 32, 3).
    labels : numpy.ndarray
        int64, shape (images,).

    Raises
    ------
    DatasetError
        The file is missing, not whole records, or has labels that the set does not have.
    """
    return parse_cifar_binary(_read_bounded(Path(path)), str(path), label_bytes)


def read_cifar_python(path: str | os.PathLike[str], label_bytes: int = 1) -> Labelled:
    """Read a batch of CIFAR's python version, with any number of images, and run nothing that the file names.

    Parameters
    ----------
    path : path-like
        For example ``data_batch_1``.
    label_bytes : int
        As for the binary version: 1 for CIFAR-10, 2 for CIFAR-100 (fine labels).

    Returns
    -------
    images : numpy.ndarray
        uint8, shape (images, 32, 32, 3).
    labels : numpy.ndarray
        int64, shape (images,).

    Raises
    ------
    DatasetError
        The file is missing, damaged, or holds anything but what such a batch needs.
    """
    return parse_cifar_python(_read_bounded(Path(path)), str(path), label_bytes)


def parse_cifar_binary(data: bytes, where: str, label_bytes: int) -> Labelled:
    """:func:`read_cifar_binary` of bytes; ``where`` names them in errors."""
    record = label_bytes + _PIXELS
    if not data or len(data) % record:
        raise DatasetError(
            f"{where}: holds {len(data)} bytes, expected whole records of {record}; a partial file or not CIFAR's binary version"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    for column, classes in enumerate(_CIFAR_CLASSES[label_bytes]):
        largest = int(records[:, column].max())
        if largest >= classes:
            raise DatasetError(f"{where}: has a label {largest}, expected 0..{classes - 1}; a damaged file or another set")
    return _to_images(records[:, label_bytes:]), records[:, label_bytes - 1].astype(np.int64)


def parse_cifar_python(data: bytes, where: str, label_bytes: int) -> Labelled:
    """:func:`read_cifar_python` of bytes; ``where`` names them in errors."""
    try:
        _check_opcodes(data)
        batch = _BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
        pixels, labels = _batch_arrays(batch, b"labels" if label_bytes == 1 else b"fine_labels", _CIFAR_CLASSES[label_bytes][-1])
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise DatasetError(
            f"{where}: not a batch of CIFAR's python version, or a damaged or partial one ({error}); nothing in it was run"
        ) from None
    return _to_images(pixels), labels


def read_members(archive: Path, folder: str, names: Collection[str]) -> dict[str, bytes]:
    """Read some files of a ``.tar.gz`` archive, to its end (so that its check sum is seen), writing nothing to disk.

    Parameters
    ----------
    archive : Path
    folder : str
        The folder within the archive.
    names : collection of str
        Regular files in it. Links and everything else are passed over.

    Returns
    -------
    dict
        The bytes of each.

    Raises
    ------
    DatasetError
        The archive is damaged, partial, far larger than expected, or lacks one of the files.
    """
    wanted = {f"{folder}/{name}": name for name in names}
    found: dict[str, bytes] = {}
    try:
        with gzip.open(archive, "rb") as unpacked:
            stream = _Bounded(unpacked, archive)
            with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
                for count, member in enumerate(tar):
                    if count >= _MAX_MEMBERS:
                        raise DatasetError(f"{archive}: has more than {_MAX_MEMBERS} members; not the published archive")
                    name = wanted.get(member.name.removeprefix("./"))
                    if name is None or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                        continue
                    if member.size > MAX_CIFAR_BYTES:
                        raise DatasetError(f"{archive}: {member.name} declares {member.size} bytes; not the published archive")
                    body = tar.extractfile(member)
                    found[name] = b"" if body is None else body.read()
            while stream.read(2**20):
                pass
    except _UNREADABLE as error:
        raise DatasetError(f"{archive}: a damaged or partial archive ({error})") from error
    missing = sorted(set(names) - set(found))
    if missing:
        raise DatasetError(f"{archive}: has no file {folder}/{missing[0]}; a damaged archive or another one")
    return found


class _Bounded:
    """A stream that ends in an error once it has given more than the CIFAR sets have."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, archive: Path) -> None:
        self._stream = stream
        self._archive = archive
        self._given = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._given += len(data)
        if self._given > MAX_CIFAR_BYTES:
            raise DatasetError(f"{self._archive}: unpacks to more than {MAX_CIFAR_BYTES} bytes; not the published archive")
        return data


def _at_most(stream: IO[bytes] | gzip.GzipFile, number: int) -> bytes:
    """So many bytes, or all there are: reading them at once would take memory for those that a damaged header declares."""
    parts = []
    while number and (part := stream.read(min(number, 2**20))):
        parts.append(part)
        number -= len(part)
    return b"".join(parts)


def _read_bounded(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            data = _at_most(stream, MAX_CIFAR_BYTES + 1)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) > MAX_CIFAR_BYTES:
        raise DatasetError(f"{path}: has more than {MAX_CIFAR_BYTES} bytes; not a CIFAR batch")
    return data


def _to_images(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


# --- CIFAR's python version: pickles of a dict of one array and lists, written by Python 2 ---

# Those of pickle protocols 0 to 3 that make plain data, call a global, or end the file.
_OPCODES = frozenset(
    """PROTO STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1 STRING BINSTRING SHORT_BINSTRING BINUNICODE BINBYTES
    SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
    PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET GLOBAL REDUCE BUILD""".split()  # noqa: SIM905
)
# A batch has one array, which takes about ten of these; tuples nested by the million would overflow the stack when hashed.
_RARE_OPCODES = frozenset(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "GLOBAL", "REDUCE", "BUILD"))
_MAX_RARE = 64
# The unpickler takes memory in proportion to the largest of these numbers; CIFAR-100's training batch has about 50,000.
_MAX_MEMO = 2**20


def _check_opcodes(data: bytes) -> None:
    rare = 0
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in _OPCODES:
            raise ValueError(f"pickle opcode {opcode.name} has no place in it")
        if opcode.name in _RARE_OPCODES:
            rare += 1
            if rare > _MAX_RARE:
                raise ValueError("more structure than a batch has")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) < _MAX_MEMO:
            raise ValueError("an absurd number of parts")


class _ArrayRecord:
    """Stands for ``numpy.ndarray`` while a batch is unpickled: keeps what the file says of the array, and makes none."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DtypeRecord:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: Any, *flags: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        pass


def _reconstruct(kind: Any, shape: Any, code: Any) -> _ArrayRecord:
    return _ArrayRecord()


_GLOBALS = {
    ("numpy", "ndarray"): _ArrayRecord,
    ("numpy", "dtype"): _DtypeRecord,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,  # its name from NumPy 2 on
}


class _BatchUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _GLOBALS[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which has no place in it") from None


def _batch_arrays(batch: Any, key: bytes, classes: int) -> Labelled:
    if not isinstance(batch, dict) or b"data" not in batch or key not in batch:
        raise ValueError(f"expected a dict with data and {key.decode()}")
    record, labels = batch[b"data"], batch[key]
    if not isinstance(record, _ArrayRecord) or not isinstance(record.state, tuple) or len(record.state) != 5:
        raise ValueError("data is not an array")
    _, shape, dtype, fortran, raw = record.state
    if not isinstance(dtype, _DtypeRecord) or dtype.code not in (b"u1", "u1") or not isinstance(raw, bytes):
        raise ValueError("data is not an array of uint8")
    if not isinstance(labels, list) or not labels or any(type(label) is not int or not 0 <= label < classes for label in labels):
        raise ValueError(f"{key.decode()} is not a list of labels 0..{classes - 1}")
    if shape != (len(labels), _PIXELS) or len(raw) != len(labels) * _PIXELS:
        raise ValueError(f"data holds {len(raw)} bytes and declares the shape {shape}, expected ({len(labels)}, {_PIXELS})")
    pixels = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")
    return pixels, np.array(labels, np.int64)

"""Read and write networks as HDF5 files. The schema is in docs/network-format.md.

A file comes from anywhere, so nothing in it is believed. Its first 512 bytes are a seal (length and SHA-256 of the rest)
that is verified before libhdf5 sees the file: a damaged file never reaches it. What is inside is then checked member by
member (links, types, layouts, shapes, sizes) before a byte of data is read, and the network is rebuilt by the methods of
:class:`~eventsim.model.network.Network`, whose own checks apply.

Datasets are contiguous and have no filters: then a file's size bounds what loading it can allocate. (libhdf5 inflates a
compressed chunk to whatever length its stream has, a thousand times the file if it must.)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from io import FileIO
from typing import Any, Literal, cast

import h5py
import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkError, NetworkFileError
from eventsim.files.hdf5_writing import HDF5Replacement
from eventsim.model.network import MAX_NEURONS, MAX_POPULATIONS, MAX_PROJECTIONS, Driven, Network, Population, Source, Spiking
from eventsim.model.tables import Conv2d, Dense, Shape, Sparse, Table

FORMAT = "eventsim-network"
VERSION = 1
USER_BLOCK = 512
# In bytes of UTF-8.
MAX_TEXT = 256
MAX_LABEL = 1024
MAX_PROVENANCE = 2**16
MAX_LABELS = 2**20
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SEAL = re.compile(rb"eventsim-network [1-9][0-9]{0,8}\nsha256 ([0-9a-f]{64})\nbytes (0|[1-9][0-9]{0,17})\n\0*")
_SEE = "see docs/network-format.md, or save the network again with eventsim"
_STORED: dict[str, tuple[np.dtype[Any], Any]] = {
    "int8": (np.dtype("<i1"), h5py.h5t.STD_I8LE),
    "int16": (np.dtype("<i2"), h5py.h5t.STD_I16LE),
    "int32": (np.dtype("<i4"), h5py.h5t.STD_I32LE),
    "int64": (np.dtype("<i8"), h5py.h5t.STD_I64LE),
    "uint8": (np.dtype("<u1"), h5py.h5t.STD_U8LE),
    "float64": (np.dtype("<f8"), h5py.h5t.IEEE_F64LE),
}


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a file.

    The file is written under another name in the same folder, read back, and put in place only then: an older file of
    that name stays as it is until the new one is whole. Two saves of the same network make the same bytes.

    Parameters
    ----------
    network : Network
    path : str or path

    Raises
    ------
    NetworkError
        The network does not make sense, or holds what a file cannot (provenance that is no JSON, ...).
    NetworkFileError
        The file cannot be written.
    """
    name = os.fsdecode(path)
    network.check()
    try:
        new = HDF5Replacement(name, _seal_and_read_back, userblock_size=USER_BLOCK)
        with new as file:
            _write(file, network)
            new.check()
    except NetworkFileError:
        raise
    except NetworkError as error:
        raise NetworkError(f"{name}: {error}") from None
    except IsADirectoryError:
        raise NetworkFileError(f"{name}: is a folder; give the name of a file to write") from None
    except (OSError, RuntimeError) as error:
        raise NetworkFileError(
            f"{_printable(name)}: cannot be written: {_reason(error)}; check the folder, its permissions and its space"
        ) from error


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network from a file, checking everything in it first.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Network

    Raises
    ------
    NetworkFileError
        There is no such file, or it is no network file, cut short, damaged, of another version, or holds what does not make
        sense. The message is one line and starts with the path.
    """
    name = os.fsdecode(path)
    try:
        return _read(name)
    except NetworkFileError as error:
        raise NetworkFileError(f"{_printable(name)}: {error}") from error.__cause__


# --- the seal ---------------------------------------------------------------------------------------------------------


def _seal(path: str) -> None:
    """Write the seal into the first 512 bytes of a file, over the rest as it is."""
    with open(path, "r+b", buffering=0) as file:
        file.seek(USER_BLOCK)
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        count = os.fstat(file.fileno()).st_size - USER_BLOCK
        file.seek(0)
        file.write(f"{FORMAT} {VERSION}\nsha256 {checksum}\nbytes {count}\n".encode().ljust(USER_BLOCK, b"\0"))


def _seal_and_read_back(file: FileIO) -> None:
    _seal(str(file.name))
    try:
        _read(str(file.name))
    except NetworkFileError as error:
        raise NetworkError(f"this network cannot be saved: {error}") from None


def _open(path: str) -> FileIO:
    try:
        # Opening a pipe would wait for a writer for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise NetworkFileError("is a folder or a device, expected a network file")
        return open(path, "rb", buffering=0)
    except (OSError, ValueError) as error:
        raise NetworkFileError(f"cannot be opened: {_reason(error)}; check the path and its permissions") from None


def _verify(file: FileIO) -> int:
    """Check the seal of an open file; returns the bytes in its body."""
    size = os.fstat(file.fileno()).st_size
    block = file.read(USER_BLOCK)
    if not block.startswith(f"{FORMAT} ".encode()):
        if block.startswith(_HDF5_SIGNATURE):
            found = "it is an HDF5 file without the seal of one"
        else:
            found = f"it starts with {block[:16]!r}" if block else "it is empty"
        raise NetworkFileError(f"not an eventsim network file: {found}; save networks with eventsim")
    line = re.match(rb"eventsim-network ([1-9][0-9]{0,8})\n", block)
    if line and int(line[1]) != VERSION:
        raise NetworkFileError(
            f"file version {int(line[1])}, this eventsim reads {VERSION}; use a newer eventsim or save the network again"
        )
    if len(block) < USER_BLOCK:
        raise NetworkFileError(f"cut short: {size} bytes, the seal alone has {USER_BLOCK}; copy the file again")
    seal = _SEAL.fullmatch(block)
    if not seal:
        raise NetworkFileError("damaged: its seal cannot be read; copy the file again")
    expected, body = int(seal[2]), size - USER_BLOCK
    if body < expected:
        raise NetworkFileError(f"cut short: {body} of {expected} bytes after the seal; copy the file again")
    if body > expected:
        raise NetworkFileError(f"damaged: {body} bytes after the seal, expected {expected}; copy the file again")
    checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum != seal[1].decode():
        raise NetworkFileError("damaged: checksum differs; copy the file again")
    return body


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(file: h5py.File, network: Network) -> None:
    _attributes(file, format=FORMAT, version=VERSION)
    if network.output is not None:
        _attributes(file, output=network.output)
    if network.input is not None:
        group = file.create_group("input")
        _attributes(group, shape=network.input.shape)
        _per_channel(group, "scale", network.input.scale)
        _per_channel(group, "offset", network.input.offset)
    populations = file.create_group("populations")
    for index, (name, population) in enumerate(network.populations.items()):
        group = populations.create_group(str(index))
        _attributes(group, name=name, kind=population.kind, shape=population.shape)
        _write_population(group, population)
    projections = file.create_group("projections")
    for index, projection in enumerate(network.projections):
        group = projections.create_group(str(index))
        _attributes(group, name=projection.name, source=projection.source, target=projection.target, delay=float(projection.delay))
        _write_table(group.create_group("table"), projection.table)
    if network.labels:
        encoded = [_label(label) for label in network.labels]
        _dataset(file, "labels", np.array(encoded, dtype=f"S{max(1, *map(len, encoded))}"))
    text = _provenance(network.provenance)
    _dataset(file, "provenance", np.array(text, dtype=f"S{len(text)}"))


def _write_population(group: h5py.Group, population: Population) -> None:
    if isinstance(population, (Driven, Spiking)):
        _attributes(group, refractory=float(population.refractory))
        _per_channel(group, "threshold", population.threshold)
    if not isinstance(population, Source):
        _per_channel(group, "v0", population.v0)
    if isinstance(population, Driven):
        _per_channel(group, "bias", population.bias)
        if population.encoder is not None:
            _write_table(group.create_group("encoder"), population.encoder)
    elif isinstance(population, Spiking):
        _attributes(group, reset=population.reset, signed=int(population.signed))
    elif isinstance(population, Source):
        _attributes(group, emits=population.emits)
        if population.rate is not None:
            _dataset(group, "rate", _once(np.asarray(population.rate, "<f8")))


def _write_table(group: h5py.Group, table: Table) -> None:
    _attributes(group, kind=table.kind)
    if isinstance(table, Sparse):
        _attributes(group, targets=int(table.targets))
        _dataset(group, "indptr", np.asarray(table.indptr, "<i8"))
        _dataset(group, "indices", np.asarray(table.indices, "<i4"))
    else:
        _attributes(group, shape=table.weights.shape, pool_before=table.pool_before)
    if isinstance(table, Conv2d):
        _attributes(group, stride=table.stride, padding=table.padding, pool_after=table.pool_after)
    magnitude = table.magnitude
    if magnitude is not None:
        _attributes(group, magnitude=magnitude)
        _dataset(group, "signs", np.packbits(table.weights.ravel() > 0))
    else:
        _dataset(group, "weights", np.asarray(table.weights, table.weights.dtype.newbyteorder("<")))


def _attributes(group: h5py.Group, **values: str | int | float | Sequence[int]) -> None:
    for name, value in values.items():
        if isinstance(value, str):
            group.attrs[name] = np.bytes_(_encode(value, name, MAX_TEXT))
        elif isinstance(value, float):
            group.attrs[name] = np.array(value, "<f8")
        else:
            group.attrs[name] = np.array(value, "<i8")


def _dataset(group: h5py.Group, name: str, values: npt.NDArray[Any]) -> None:
    group.create_dataset(name, data=values, track_times=False)


def _per_channel(group: h5py.Group, name: str, values: npt.NDArray[Any]) -> None:
    limits = np.iinfo(np.int32)
    if values.dtype.kind not in "iu" or values.min() < limits.min or values.max() > limits.max:
        raise NetworkError(f"{name}: must be integers of 32 bits; build networks by their methods")
    _dataset(group, name, _once(values.astype("<i4")))


def _once(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One value if all are equal."""
    return values.ravel()[:1] if bool(np.all(values == values.flat[0])) else values


def _encode(text: str, what: str, limit: int) -> bytes:
    if not isinstance(text, str):
        raise NetworkError(f"{what}: must be text, found {text!r}")
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise NetworkError(f"{what}: {text!a} is not valid Unicode text") from None
    if len(encoded) > limit or _unprintable(text):
        raise NetworkError(f"{what}: must be text of at most {limit} bytes without control characters, found {ascii(text)[:80]}")
    return encoded


def _label(label: str) -> bytes:
    return _encode(label, "labels", MAX_LABEL)


def _provenance(values: Any) -> bytes:
    if not isinstance(values, dict):
        raise NetworkError(f"provenance must be a dictionary, found {type(values).__name__}")
    try:
        text = json.dumps(_jsonable(values), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NetworkError(f"provenance must hold JSON values only (texts, finite numbers, lists, ...): {_reason(error)}") from None
    if len(text) > MAX_PROVENANCE:
        raise NetworkError(f"provenance has {len(text)} bytes as JSON, the limit is {MAX_PROVENANCE}")
    return text


def _jsonable(value: Any) -> Any:
    """Tuples as lists and NumPy scalars as numbers; json itself would turn keys such as 1 or None into texts unasked."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no text")
        return {key: _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


# --- reading ----------------------------------------------------------------------------------------------------------


def _read(path: str) -> Network:
    """The network in a file; NetworkFileError without the path if anything is wrong with it."""
    try:
        with _open(path) as file:
            body = _verify(file)
            before = os.fstat(file.fileno())
            try:
                hdf5 = h5py.File(path, "r", locking=False)
            except (OSError, RuntimeError, ValueError) as error:
                raise NetworkFileError(f"its seal is whole, but libhdf5 cannot open it: {_reason(error)}; {_SEE}") from None
            with hdf5:
                if hdf5.userblock_size != USER_BLOCK:
                    raise NetworkFileError(f"has an HDF5 user block of {hdf5.userblock_size} bytes, expected {USER_BLOCK}; {_SEE}")
                network = _network(_Group(hdf5["/"], "/", _Budget(body)))
            # libhdf5 opened the path anew: make sure that it read the file whose checksum was verified.
            after = os.stat(path)
            if any(getattr(before, f) != getattr(after, f) for f in ("st_dev", "st_ino", "st_size", "st_mtime_ns")):
                raise NetworkFileError("changed while it was being read; load it again")
            return network
    except NetworkFileError:
        raise
    except NetworkError as error:
        raise NetworkFileError(f"holds no valid network: {_reason(error)}; {_SEE}") from None
    except MemoryError:
        raise NetworkFileError("there is not enough memory to load this network") from None
    except Exception as error:
        # h5py raises nearly every type there is for what a strange file can hold.
        raise NetworkFileError(f"cannot be read as a network: {type(error).__name__}: {_reason(error)}; {_SEE}") from error


class _Budget:
    """What may still be read: every object once, and in all no more bytes than the file has.

    Without this, one dataset under 16,384 names, or datasets over the same bytes, would need any amount of memory; and
    groups linked in a circle are refused at their second visit.
    """

    def __init__(self, total: int) -> None:
        self.left = total
        self.seen: set[int] = set()

    def visit(self, item: h5py.Group | h5py.Dataset, where: str) -> None:
        address = h5py.h5o.get_info(item.id).addr
        if address in self.seen:
            raise NetworkFileError(f"{where}: is the same object as another member, expected its own; {_SEE}")
        self.seen.add(address)

    def spend(self, count: int, where: str) -> None:
        self.left -= count
        if self.left < 0:
            raise NetworkFileError(f"{where}: the file's datasets claim more bytes than it has; {_SEE}")


class _Group:
    """A group of an untrusted file: every access checks what it finds before reading it."""

    def __init__(self, group: h5py.Group, where: str, budget: _Budget) -> None:
        self.group, self.where, self.budget = group, where, budget
        budget.visit(group, where)

    def fail(self, name: str, message: str) -> NetworkFileError:
        """An error about a member, an ``@attribute``, or (no name) the group itself."""
        where = self.where if not name or name.startswith("@") else f"{self.where.rstrip('/')}/{name}"
        return NetworkFileError(f"{where}{name if name.startswith('@') else ''}: {message}; {_SEE}")

    def holds(self, attributes: Collection[str], members: Collection[str], optional: Collection[str] = ()) -> None:
        """Fail unless the group has exactly these attributes and members (and perhaps the optional members)."""
        self._same("attribute", h5py.h5a.get_num_attrs(self.group.id), lambda: self.group.attrs, attributes, ())
        self._same("member", len(self.group), lambda: self.group, members, optional)

    def _same(
        self, what: str, count: int, names: Callable[[], Iterable[str]], required: Collection[str], optional: Collection[str]
    ) -> None:
        # Counted before they are listed.
        if count > len(required) + len(optional):
            raise self.fail("", f"has {count} {what}s, expected at most {len(required) + len(optional)}")
        found = set(names())
        missing, unknown = set(required) - found, found - set(required) - set(optional)
        if missing:
            raise self.fail("", f"has no {what} {sorted(missing)[0]!r}")
        if unknown:
            raise self.fail("", f"has an unknown {what} {_printable(next(iter(unknown)))}")

    def has(self, name: str) -> bool:
        """Whether there is a link of this name, wherever it leads; ``name in group`` would follow it into other files."""
        return bool(self.group.id.links.exists(name.encode()))

    def has_attribute(self, name: str) -> bool:
        return bool(h5py.h5a.exists(self.group.id, name.encode()))

    # Attributes: a numeric type other than the one expected is refused, not converted.

    def _attribute(self, name: str, stored: str, lengths: Collection[int | None]) -> npt.NDArray[Any]:
        if not self.has_attribute(name):
            raise self.fail("", f"has no attribute {name!r}")
        attribute = self.group.attrs.get_id(name)
        dims = _extent(attribute.get_space())
        found = attribute.get_type()
        if stored == "text":
            dtype = self._text_type(f"@{name}", found, MAX_TEXT)
        else:
            dtype, expected = _STORED[stored]
            if not _same_type(found, expected):
                raise self.fail(f"@{name}", f"has another type than {stored}, little-endian")
        if dims is None or dims not in [() if n is None else (n,) for n in lengths]:
            wanted = " or ".join("one value" if n is None else f"{n} values" for n in lengths)
            raise self.fail(f"@{name}", f"has the shape {dims}, expected {wanted}")
        values = np.zeros(dims, dtype)
        # Read as the type it has: libhdf5 does not convert between ASCII and UTF-8 text.
        attribute.read(values, found)
        return values

    def text(self, name: str, choices: Collection[str] = ()) -> str:
        text = self._decode(f"@{name}", bytes(self._attribute(name, "text", [None])[()]))
        if choices and text not in choices:
            raise self.fail(f"@{name}", f"is {text!a}, expected one of {', '.join(choices)}")
        return text

    def integer(self, name: str, low: int, high: int) -> int:
        return self._integers(name, [None], low, high)[0]

    def integers(self, name: str, lengths: Collection[int], low: int, high: int = MAX_NEURONS) -> Shape:
        return self._integers(name, list(lengths), low, high)

    def _integers(self, name: str, lengths: Collection[int | None], low: int, high: int) -> Shape:
        values = tuple(int(v) for v in self._attribute(name, "int64", lengths).ravel())
        if any(not low <= v <= high for v in values):
            raise self.fail(f"@{name}", f"is {', '.join(map(str, values))}, expected {low}..{high}")
        return values

    def number(self, name: str) -> float:
        value = float(self._attribute(name, "float64", [None])[()])
        if not math.isfinite(value):
            raise self.fail(f"@{name}", f"is {value}, expected a finite number")
        return value

    # Members.

    def _member(self, name: str, kind: type) -> Any:
        if not self.has(name):
            raise self.fail("", f"has no member {name!r}")
        if self.group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise self.fail(name, "is a soft or external link, expected the member itself")
        item = self.group[name]
        if not isinstance(item, kind):
            raise self.fail(name, f"is a {type(item).__name__.lower()}, expected a {kind.__name__.lower()}")
        return item

    def child(self, name: str) -> _Group:
        return _Group(self._member(name, h5py.Group), f"{self.where.rstrip('/')}/{name}", self.budget)

    def count(self, limit: int) -> int:
        """Number of members, which must be named 0, 1, 2, ..."""
        count = len(self.group)
        if count > limit:
            raise self.fail("", f"has {count} members, the limit is {limit}")
        self.holds((), [str(i) for i in range(count)])
        return count

    def array(self, name: str, stored: Collection[str], shapes: Collection[Shape]) -> npt.NDArray[Any]:
        """A dataset of one of these types and one of these shapes; ``text`` is fixed-length text."""
        dataset = self._member(name, h5py.Dataset)
        where = f"{self.where.rstrip('/')}/{name}"
        self.budget.visit(dataset, where)
        if h5py.h5a.get_num_attrs(dataset.id):
            raise self.fail(name, "has attributes, expected none")
        # First of all: asking a virtual dataset for its shape would already open other files.
        layout = dataset.id.get_create_plist()
        if layout.get_layout() != h5py.h5d.CONTIGUOUS or layout.get_nfilters() or layout.get_external_count():
            raise self.fail(name, "is chunked, compact, compressed, virtual or in another file, expected contiguous storage in this one")
        found = dataset.id.get_type()
        dtype = None
        if "text" in stored:
            dtype = self._text_type(name, found, MAX_PROVENANCE)
        for each in set(stored) - {"text"}:
            if _same_type(found, _STORED[each][1]):
                dtype = _STORED[each][0]
        if dtype is None:
            raise self.fail(name, f"has another type than {' or '.join(stored)}, little-endian")
        dims = _extent(dataset.id.get_space())
        if dims is None or dims not in shapes:
            raise self.fail(name, f"has the shape {dims}, expected {' or '.join(map(str, shapes))}")
        count = math.prod(dims) * dtype.itemsize
        if dataset.id.get_storage_size() != count:
            raise self.fail(name, f"has {dataset.id.get_storage_size()} bytes stored, expected {count}")
        self.budget.spend(count, where)
        values = np.zeros(dims, dtype)
        if values.size:
            # As the type it has, as attributes are.
            dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values, found)
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))

    def per_channel(self, name: str, channels: int) -> npt.NDArray[Any]:
        return self.array(name, ("int32",), [(1,), (channels,)])

    def texts(self, name: str, shape: Shape, limit: int, what: str) -> list[str]:
        """A dataset of fixed-length text as a flat list."""
        raw = self.array(name, ("text",), [shape])
        if raw.dtype.itemsize > limit:
            raise self.fail(name, f"has {what} of {raw.dtype.itemsize} bytes, the limit is {limit}")
        return [self._decode(name, bytes(value), control=what == "provenance") for value in raw.ravel()]

    def _text_type(self, name: str, found: Any, limit: int) -> np.dtype[Any]:
        if not isinstance(found, h5py.h5t.TypeStringID) or found.is_variable_str() or found.get_strpad() == h5py.h5t.STR_SPACEPAD:
            raise self.fail(name, "has another type than fixed-length text, padded with NUL")
        if found.get_size() > limit:
            raise self.fail(name, f"has texts of {found.get_size()} bytes, the limit is {limit}")
        return np.dtype(f"S{found.get_size()}")

    def _decode(self, name: str, raw: bytes, control: bool = False) -> str:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise self.fail(name, f"{raw[:40]!r} is not UTF-8") from None
        if not control and _unprintable(text):
            raise self.fail(name, f"{ascii(text)[:80]} has control characters")
        return text


def _same_type(found: Any, expected: Any) -> bool:
    # Python's type first: libhdf5 compares types of any class, h5py not all of its own.
    return type(found) is type(expected) and bool(found.equal(expected))


def _extent(space: Any) -> Shape | None:
    """The shape of a dataspace, None for a null dataspace."""
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        return None
    return tuple(int(n) for n in space.get_simple_extent_dims())


def _network(root: _Group) -> Network:
    output = None
    attributes = ["format", "version"]
    if root.has_attribute("output"):
        attributes.append("output")
        output = root.text("output")
    root.holds(attributes, ("populations", "projections", "provenance"), ("input", "labels"))
    root.text("format", (FORMAT,))
    root.integer("version", VERSION, VERSION)

    # Shapes first, then the tables, which must fit them, and the populations last: a file of a few bytes can declare
    # millions of neurons, whose arrays are made only if its tables agree.
    image = root.child("input") if root.has("input") else None
    image_shape = None
    if image is not None:
        image.holds(("shape",), ("scale", "offset"))
        image_shape = image.integers("shape", (3,), 1)
    populations = root.child("populations")
    groups = [populations.child(str(index)) for index in range(populations.count(MAX_POPULATIONS))]
    names = [group.text("name") for group in groups]
    shapes = dict(zip(names, (group.integers("shape", (1, 3), 1) for group in groups), strict=True))
    total = sum(map(math.prod, shapes.values()))
    if total > MAX_NEURONS:
        raise populations.fail("", f"has {total} neurons, the limit is {MAX_NEURONS}")
    container = root.child("projections")
    projections = [_projection(container.child(str(index)), shapes) for index in range(container.count(MAX_PROJECTIONS))]
    encoders = [_encoder(group, image_shape, shapes[name]) for name, group in zip(names, groups, strict=True)]

    network = Network()
    if image is not None and image_shape is not None:
        channels = image_shape[-1]
        network.image_input(image_shape, image.per_channel("scale", channels), image.per_channel("offset", channels))
    for name, group, encoder in zip(names, groups, encoders, strict=True):
        _population(network, group, name, shapes[name], encoder)
    for name, source, target, delay, table in projections:
        _connect(network, name, source, target, delay, table)

    network.output = output
    if root.has("labels"):
        # A network without output may not have labels; its check says so.
        expected = math.prod(shapes[output]) if output in shapes else 1
        if expected > MAX_LABELS:
            raise root.fail("labels", f"{expected} labels, the limit is {MAX_LABELS}")
        network.labels = root.texts("labels", (expected,), MAX_LABEL, "labels")
    network.provenance = _read_provenance(root)
    network.check()
    return network


def _encoder(group: _Group, image_shape: Shape | None, shape: Shape) -> Table | None:
    """The encoder of a population, if it has one; only driven ones may, which is checked with their other members."""
    if not group.has("encoder"):
        return None
    if image_shape is None:
        raise group.fail("encoder", "there is no /input for it to read")
    return _fitting(group.child("encoder"), image_shape, shape)


def _population(network: Network, group: _Group, name: str, shape: Shape, encoder: Table | None) -> None:
    kind = group.text("kind", ("driven", "spiking", "readout", "source"))
    common = ("name", "kind", "shape")
    if kind == "driven":
        group.holds((*common, "refractory"), ("threshold", "v0", "bias"), ("encoder",))
        network.driven(
            name,
            shape,
            group.per_channel("threshold", shape[-1]),
            v0=group.per_channel("v0", shape[-1]),
            refractory=group.number("refractory"),
            encoder=encoder,
            bias=group.per_channel("bias", shape[-1]),
        )
    elif kind == "spiking":
        group.holds((*common, "refractory", "reset", "signed"), ("threshold", "v0"))
        network.spiking(
            name,
            shape,
            group.per_channel("threshold", shape[-1]),
            v0=group.per_channel("v0", shape[-1]),
            reset=cast(Literal["subtract", "zero"], group.text("reset", ("subtract", "zero"))),
            signed=bool(group.integer("signed", 0, 1)),
            refractory=group.number("refractory"),
        )
    elif kind == "readout":
        group.holds(common, ("v0",))
        network.readout(name, shape, v0=group.per_channel("v0", shape[-1]))
    else:
        group.holds((*common, "emits"), (), ("rate",))
        emits = cast(Literal["events", "poisson", "clock"], group.text("emits", ("events", "poisson", "clock")))
        rate = group.array("rate", ("float64",), [(1,), shape]) if group.has("rate") else None
        network.source(name, shape, emits, rate=rate[0] if rate is not None and rate.shape == (1,) else rate)


def _projection(group: _Group, shapes: dict[str, Shape]) -> tuple[str, str, str, float, Table]:
    group.holds(("name", "source", "target", "delay"), ("table",))
    name, source, target, delay = group.text("name"), group.text("source"), group.text("target"), group.number("delay")
    for end, population in (("source", source), ("target", target)):
        if population not in shapes:
            raise group.fail(f"@{end}", f"there is no population {population!a}")
    return name, source, target, delay, _fitting(group.child("table"), shapes[source], shapes[target])


def _connect(network: Network, name: str, source: str, target: str, delay: float, table: Table) -> None:
    default = f"{source}->{target}"
    if len(name) <= 100 or not re.fullmatch(re.escape(default) + r"(\+[1-9][0-9]*)?", name):
        network.connect(source, target, table, delay=delay, name=name)
        return
    # Default names can be longer than the names that one may give.
    if any(projection.name == name for projection in network.projections):
        raise NetworkError(f"there is already a projection {name!r}")
    network.connect(source, target, table, delay=delay)
    network.projections[-1] = dataclasses.replace(network.projections[-1], name=name)


def _fitting(group: _Group, source_shape: Shape, target_shape: Shape) -> Table:
    """The table in a group, if it makes sense and fits these shapes."""
    try:
        table = _table(group, source_shape)
        table.check(source_shape, target_shape)
    except NetworkError as error:
        raise group.fail("", str(error)) from None
    return table


def _table(group: _Group, source_shape: Shape) -> Table:
    kind = group.text("kind", ("conv2d", "dense", "sparse"))
    binary = group.has("signs")
    attributes = ["kind", *(["magnitude"] if binary else [])]
    weights = "signs" if binary else "weights"
    if kind == "sparse":
        group.holds([*attributes, "targets"], ("indptr", "indices", weights))
        indptr = group.array("indptr", ("int64",), [(math.prod(source_shape) + 1,)])
        count = int(indptr[-1])
        if not 0 <= count <= group.budget.left:
            raise group.fail("indptr", f"ends at {count} synapses, more than the file has bytes")
        indices = group.array("indices", ("int32",), [(count,)])
        return Sparse(indptr, indices, _weights(group, (count,), binary), group.integer("targets", 1, MAX_NEURONS))
    if kind == "dense":
        group.holds([*attributes, "shape", "pool_before"], (weights,))
        shape, pool_before = group.integers("shape", (2,), 1), group.integers("pool_before", (2,), 1)
        return Dense(_weights(group, shape, binary), pool_before)
    group.holds([*attributes, "shape", "stride", "padding", "pool_before", "pool_after"], (weights,))
    shape, stride, padding = group.integers("shape", (4,), 1), group.integers("stride", (2,), 1), group.integers("padding", (4,), 0)
    pool_before, pool_after = group.integers("pool_before", (2,), 1), group.integers("pool_after", (2,), 1)
    return Conv2d(_weights(group, shape, binary), stride, padding, pool_before, pool_after)


def _weights(group: _Group, shape: Shape, binary: bool) -> npt.NDArray[Any]:
    if not binary:
        return group.array("weights", ("int8", "int16", "int32"), [shape])
    magnitude = group.integer("magnitude", 1, 2**31 - 1)
    count = math.prod(shape)
    packed = group.array("signs", ("uint8",), [(-(-count // 8),)])
    if count % 8 and int(packed[-1]) & (0xFF >> count % 8):
        raise group.fail("signs", "the unused bits of the last byte are not zero")
    # In place as far as possible: the unpacked weights are the largest arrays there are.
    weights: npt.NDArray[Any] = np.unpackbits(packed, count=count).view(np.int8)
    weights *= 2
    weights -= 1
    if magnitude > 127:
        weights = weights.astype(np.int16 if magnitude < 2**15 else np.int32)
    weights *= magnitude
    return weights.reshape(shape)


def _read_provenance(root: _Group) -> dict[str, Any]:
    (text,) = root.texts("provenance", (), MAX_PROVENANCE, "provenance")

    def fail(message: str) -> NetworkFileError:
        return root.fail("provenance", message)

    def refuse(constant: str) -> None:
        raise fail(f"holds {constant}, which is not JSON")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) < len(items):
            raise fail("has a key twice")
        return dict(items)

    def number(digits: str) -> float:
        if not math.isfinite(float(digits)):
            raise fail(f"holds {digits[:40]}, which is not finite")
        return float(digits)

    try:
        values = json.loads(text, parse_constant=refuse, parse_float=number, object_pairs_hook=pairs)
        # Escapes can spell half characters that nothing could print.
        json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise fail(f"is not JSON: {_reason(error)}") from None
    if not isinstance(values, dict):
        raise fail("is not a JSON object")
    return values


# --- messages ---------------------------------------------------------------------------------------------------------


def _unprintable(text: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


def _printable(name: object) -> str:
    """A name from outside on one line."""
    text = name if isinstance(name, str) else repr(name)
    return ascii(text)[:100] if _unprintable(text) or not text.isprintable() else text


def _reason(error: BaseException) -> str:
    """An error's message on one line, short."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:300] or type(error).__name__

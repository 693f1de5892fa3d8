"""Groups of a network file that may come from anywhere: every member is checked before a byte of it is read.

Datasets are contiguous and have no filters: then a file's size bounds what loading it can allocate. (libhdf5 inflates a
compressed chunk to whatever length its stream has, a thousand times the file if it must.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from eventsim.errors import NetworkFileError
from eventsim.files.hdf5_reading import extent
from eventsim.model.limits import MAX_NEURONS
from eventsim.model.storage.format import MAX_PROVENANCE, MAX_TEXT, SEE
from eventsim.model.storage.messages import printable, unprintable
from eventsim.model.values import Shape

_STORED: dict[str, tuple[np.dtype[Any], Any]] = {
    "int8": (np.dtype("<i1"), h5py.h5t.STD_I8LE),
    "int16": (np.dtype("<i2"), h5py.h5t.STD_I16LE),
    "int32": (np.dtype("<i4"), h5py.h5t.STD_I32LE),
    "int64": (np.dtype("<i8"), h5py.h5t.STD_I64LE),
    "uint8": (np.dtype("<u1"), h5py.h5t.STD_U8LE),
    "float64": (np.dtype("<f8"), h5py.h5t.IEEE_F64LE),
}


class Budget:
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
            raise NetworkFileError(f"{where}: is the same object as another member, expected its own; {SEE}")
        self.seen.add(address)

    def spend(self, count: int, where: str) -> None:
        self.left -= count
        if self.left < 0:
            raise NetworkFileError(f"{where}: the file's datasets claim more bytes than it has; {SEE}")


class StoredGroup:
    """A group of an untrusted file: every access checks what it finds before reading it."""

    def __init__(self, group: h5py.Group, where: str, budget: Budget) -> None:
        self.group, self.where, self.budget = group, where, budget
        budget.visit(group, where)

    def fail(self, name: str, message: str) -> NetworkFileError:
        """An error about a member, an ``@attribute``, or (no name) the group itself."""
        where = self.where if not name or name.startswith("@") else f"{self.where.rstrip('/')}/{name}"
        return NetworkFileError(f"{where}{name if name.startswith('@') else ''}: {message}; {SEE}")

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
            raise self.fail("", f"has an unknown {what} {printable(next(iter(unknown)))}")

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
        dims = extent(attribute.get_space())
        found = attribute.get_type()
        if stored == "text":
            dtype = self._text_type(f"@{name}", found, MAX_TEXT)
        else:
            dtype, expected = _STORED[stored]
            if not _same_type(found, expected):
                raise self.fail(f"@{name}", f"has the type {_named(found)}, expected {stored}, little-endian")
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

    def child(self, name: str) -> StoredGroup:
        return StoredGroup(self._member(name, h5py.Group), f"{self.where.rstrip('/')}/{name}", self.budget)

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
            raise self.fail(name, f"has the type {_named(found)}, expected {' or '.join(stored)}, little-endian")
        dims = extent(dataset.id.get_space())
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
            raise self.fail(name, f"has the type {_named(found)}, expected fixed-length text, padded with NUL")
        if found.get_size() > limit:
            raise self.fail(name, f"has texts of {found.get_size()} bytes, the limit is {limit}")
        return np.dtype(f"S{found.get_size()}")

    def _decode(self, name: str, raw: bytes, control: bool = False) -> str:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise self.fail(name, f"{raw[:40]!r} is not UTF-8") from None
        if not control and unprintable(text):
            raise self.fail(name, f"{ascii(text)[:80]} has control characters")
        return text


def _same_type(found: Any, expected: Any) -> bool:
    # Python's type first: libhdf5 compares types of any class, h5py not all of its own.
    return type(found) is type(expected) and bool(found.equal(expected))


def _named(found: Any) -> str:
    """A type for a message."""
    kind, order = "of no kind that belongs here", ""
    if isinstance(found, h5py.h5t.TypeStringID):
        kind = "variable-length text" if found.is_variable_str() else f"text of {found.get_size()} bytes"
        return kind + (", padded with spaces" if found.get_strpad() == h5py.h5t.STR_SPACEPAD else "")
    if isinstance(found, (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID)):
        whole = isinstance(found, h5py.h5t.TypeIntegerID)
        kind = f"{('uint' if found.get_sign() == h5py.h5t.SGN_NONE else 'int') if whole else 'float'}{found.get_precision()}"
        order = ", big-endian" if found.get_order() == h5py.h5t.ORDER_BE else ""
    return kind + order

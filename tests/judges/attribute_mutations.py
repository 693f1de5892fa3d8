"""Changes to an attribute of an HDF5 file, each under a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from eventsim.model.limits import MAX_NEURONS

# What it changes: a file, the owner or parent within it, and the name.
Mutation = Callable[[h5py.File, str, Any], None]


def set_attribute(value: Any, **options: Any) -> Mutation:
    def mutate(file: h5py.File, where: str, name: str) -> None:
        del file[where].attrs[name]
        file[where].attrs.create(name, value, **options)

    return mutate


def null_attribute(file: h5py.File, where: str, name: str) -> None:
    file[where].attrs[name] = h5py.Empty(file[where].attrs.get_id(name).dtype)


def longer_attribute(file: h5py.File, where: str, name: str) -> None:
    value = np.atleast_1d(file[where].attrs[name])
    del file[where].attrs[name]
    file[where].attrs[name] = np.concatenate([value, value, value])


def retyped_attribute(dtype: Any) -> Mutation:
    def mutate(file: h5py.File, where: str, name: str) -> None:
        value = file[where].attrs[name]
        del file[where].attrs[name]
        file[where].attrs[name] = np.zeros(np.shape(value), dtype)

    return mutate


def delete_attribute(file: h5py.File, where: str, name: str) -> None:
    del file[where].attrs[name]


def rename_attribute(file: h5py.File, where: str, name: str) -> None:
    h5py.h5a.rename(file[where].id, name.encode(), b"\xff\xfe\n")


def reference_attribute(file: h5py.File, where: str, name: str) -> None:
    file[where].attrs[name] = file.ref


# No attribute has any of these as a right value.
ATTRIBUTE_NEVER: dict[str, Mutation] = {
    "rename": rename_attribute,
    "null": null_attribute,
    "reference": reference_attribute,
    "object text": set_attribute("conv2d"),
    "object array": set_attribute(["a", "bb"], dtype=h5py.string_dtype()),
    "vlen": lambda file, where, name: low_level_attribute(file[where], name, h5py.h5t.vlen_create(h5py.h5t.STD_I64LE)),
    "int32": retyped_attribute("<i4"),
    "big-endian": retyped_attribute(">i8"),
    "unsigned": retyped_attribute("<u8"),
    "float32": retyped_attribute("<f4"),
    "big-endian float": retyped_attribute(">f8"),
    "complex": retyped_attribute("c16"),
    "bool": retyped_attribute("?"),
    "enum": set_attribute(0, dtype=h5py.enum_dtype({"zero": 0, "one": 1}, basetype="<i8")),
    "compound": retyped_attribute([("a", "<i8"), ("b", "<f8")]),
    "opaque": retyped_attribute("V8"),
    "array type": lambda file, where, name: low_level_attribute(file[where], name, h5py.h5t.array_create(h5py.h5t.STD_I64LE, (3,))),
    "not UTF-8": set_attribute(np.bytes_(b"\xff\xfe")),
    "control": set_attribute(np.bytes_(b"a\x1b[31m\n")),
    "wrong text": set_attribute(np.bytes_(b"../../etc/passwd")),
    "slash": set_attribute(np.bytes_(b"/populations/0")),
    "NUL inside": set_attribute(np.bytes_(b"in\0x")),
    "empty text": set_attribute(np.bytes_(b"")),
    "long text": set_attribute(np.bytes_(b"x" * 5000)),
    "minus one": set_attribute(np.int64(-1)),
    "minimum": set_attribute(np.int64(-(2**63))),
    "maximum": set_attribute(np.int64(2**63 - 1)),
    "huge": set_attribute(np.full(3, 2**40)),
    "huge four": set_attribute(np.full(4, 2**62)),
    "negative two": set_attribute(np.array([-1, 1])),
    "zero shape": set_attribute(np.zeros(1, "<i8")),
    "no dimensions": set_attribute(np.zeros(0, "<i8")),
    "many values": set_attribute(np.ones(8000, "<i8")),
    "nan": set_attribute(np.float64("nan")),
    "inf": set_attribute(np.float64("inf")),
    "negative float": set_attribute(-1e-300),
    "absurd float": set_attribute(1e300),
    "space-padded": lambda file, where, name: low_level_attribute(file[where], name, space_padded_type()),
}


# These can make another valid network.
ATTRIBUTE_PERHAPS: dict[str, Mutation] = {
    "delete": delete_attribute,
    "longer": longer_attribute,
    "zero": set_attribute(np.int64(0)),
    "one": set_attribute(np.int64(1)),
    "two": set_attribute(np.int64(2)),
    "int32 maximum": set_attribute(np.int64(2**31 - 1)),
    "beyond int32": set_attribute(np.int64(2**31)),
    "pair": set_attribute(np.array([1, 2])),
    "largest pair": set_attribute(np.full(2, MAX_NEURONS)),
    "line": set_attribute(np.array([5])),
    "longest line": set_attribute(np.array([MAX_NEURONS])),
    "cube": set_attribute(np.array([2, 1, 1])),
    "largest cube": set_attribute(np.array([2**9, 2**9, 2**9])),
    "four ones": set_attribute(np.ones(4, "<i8")),
    "float zero": set_attribute(0.0),
    "float minus zero": set_attribute(-0.0),
    "long period": set_attribute(1e6),
    "denormal": set_attribute(5e-324),
    **{
        f"text {t}": set_attribute(np.bytes_(t.encode()))
        for t in ("out", "in", "zero", "events", "clock", "dense", "sparse", "readout", "é")
    },
}


def low_level_attribute(group: h5py.Group, name: str, kind: Any) -> None:
    """An attribute of any HDF5 type, its value left at zero."""
    del group.attrs[name]
    h5py.h5a.create(group.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))


def space_padded_type() -> Any:
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(4)
    kind.set_strpad(h5py.h5t.STR_SPACEPAD)
    return kind

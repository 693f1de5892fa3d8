"""Changes to a dataset or group of an HDF5 file, each under a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from judges.attribute_mutations import Mutation


def replace(make: Callable[[h5py.Group, str, np.ndarray], Any]) -> Mutation:
    """A dataset deleted and made again in another way."""

    def mutate(file: h5py.File, parent: str, name: str) -> None:
        values = file[parent][name][()]
        del file[parent][name]
        make(file[parent], name, np.asarray(values))

    return mutate


def store(change: Callable[[np.ndarray], Any], **options: Any) -> Mutation:
    return replace(lambda group, name, values: group.create_dataset(name, data=change(values), **options))


def huge(chunked: bool) -> Mutation:
    def make(group: h5py.Group, name: str, values: np.ndarray) -> None:
        kind = values.dtype if values.dtype.kind != "S" else np.dtype("S1000")
        shape = (2**40,) if values.ndim <= 1 else (2**10,) * 4
        group.create_dataset(name, shape, kind, chunks=(2**16,) if chunked and len(shape) == 1 else (chunked and (2**4,) * 4) or None)

    return replace(make)


def unwritten(group: h5py.Group, name: str, values: np.ndarray) -> None:
    group.create_dataset(name, values.shape, values.dtype)


def external_storage(group: h5py.Group, name: str, values: np.ndarray) -> None:
    group.create_dataset(name, np.atleast_1d(values).shape, values.dtype, external=[("/etc/passwd", 0, values.nbytes)])


def virtual(group: h5py.Group, name: str, values: np.ndarray) -> None:
    layout = h5py.VirtualLayout(np.atleast_1d(values).shape, values.dtype)
    layout[...] = h5py.VirtualSource("elsewhere.h5", "x", np.atleast_1d(values).shape)
    group.create_virtual_dataset(name, layout)


def virtual_unlimited(group: h5py.Group, name: str, values: np.ndarray) -> None:
    layout = h5py.VirtualLayout((4,), values.dtype, maxshape=(None,))
    source = h5py.VirtualSource(".", "/provenance", (4,), maxshape=(None,))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    group.create_virtual_dataset(name, layout)


def compact(group: h5py.Group, name: str, values: np.ndarray) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    kind, space = h5py.h5t.py_create(values.dtype), h5py.h5s.create_simple(values.shape or (1,))
    h5py.h5d.create(group.id, name.encode(), kind, space, layout).write(h5py.h5s.ALL, h5py.h5s.ALL, np.atleast_1d(values))


def link(make: Callable[[h5py.Group, str], Any]) -> Mutation:
    """A member that becomes a link."""

    def mutate(file: h5py.File, parent: str, name: str) -> None:
        file[parent].move(name, "moved")
        file[parent][name] = make(file[parent], name)
        if parent != "/":
            file.move(f"{parent}/moved", "/moved away")
        else:
            del file["moved"]

    return mutate


def hard_link(target: str) -> Mutation:
    def mutate(file: h5py.File, parent: str, name: str) -> None:
        aim = file[parent] if target == "." else file[target]
        del file[parent][name]
        file[parent][name] = aim

    return mutate


def delete(file: h5py.File, parent: str, name: str) -> None:
    del file[parent][name]


def rename(new: bytes) -> Mutation:
    def mutate(file: h5py.File, parent: str, name: str) -> None:
        group = file[parent].id
        group.links.move(name.encode(), group, new)

    return mutate


def named_type(file: h5py.File, parent: str, name: str) -> None:
    del file[parent][name]
    file[parent][name] = np.dtype("<i4")


def extra_attribute(file: h5py.File, parent: str, name: str) -> None:
    file[parent][name].attrs["extra"] = 1


def soft_link_in_place(file: h5py.File, parent: str, name: str) -> None:
    file.move(f"{parent}/{name}", "/projections/0/kept")
    file[parent][name] = h5py.SoftLink("/projections/0/kept")


MEMBER_NEVER: dict[str, Mutation] = {
    "soft link": soft_link_in_place,
    "dangling soft link": link(lambda group, name: h5py.SoftLink("/nowhere")),
    "soft link to itself": link(lambda group, name: h5py.SoftLink(name)),
    "external link": link(lambda group, name: h5py.ExternalLink("elsewhere.h5", "/x")),
    "external link to /dev/zero": link(lambda group, name: h5py.ExternalLink("/dev/zero", "/")),
    "hard link to the parent": hard_link("."),
    "hard link to the root": hard_link("/"),
    "hard link to /projections": hard_link("/projections"),
    "renamed": rename(b"other"),
    "renamed, not UTF-8": rename(b"\xff\xfe"),
    "renamed, control": rename(b"\x1b[31m\n"),
    "named type": named_type,
    "extra attribute": extra_attribute,
}


DATASET_NEVER: dict[str, Mutation] = {
    **MEMBER_NEVER,
    "hard link to another dataset": hard_link("/provenance"),
    "group": replace(lambda group, name, values: group.create_group(name)),
    "scalar/vector": store(lambda v: v.reshape(1) if v.shape == () else np.zeros((), v.dtype)),
    "rank + 1": store(lambda v: v[None]),
    "eleven more": store(lambda v: np.concatenate([v.ravel(), np.resize(v, 11)])),
    "empty": store(lambda v: np.zeros((0, 3), v.dtype)),
    "null space": replace(lambda group, name, values: group.create_dataset(name, data=h5py.Empty(values.dtype))),
    "float32": store(lambda v: np.zeros(v.shape, "<f4")),
    "float16": store(lambda v: np.zeros(v.shape, "<f2")),
    "uint64": store(lambda v: np.zeros(v.shape, "<u8")),
    "uint32": store(lambda v: np.zeros(v.shape, "<u4")),
    "big-endian int": store(lambda v: np.zeros(v.shape, ">i4")),
    "big-endian long": store(lambda v: np.zeros(v.shape, ">i8")),
    "big-endian float": store(lambda v: np.zeros(v.shape, ">f8")),
    "bool": store(lambda v: np.zeros(v.shape, "?")),
    "enum": store(lambda v: np.zeros(v.shape, "<i4"), dtype=h5py.enum_dtype({"zero": 0}, basetype="<i4")),
    "complex": store(lambda v: np.zeros(v.shape, "c16")),
    "compound": store(lambda v: np.zeros(v.shape, [("a", "<i4"), ("b", "<f8")])),
    "opaque": store(lambda v: np.zeros(v.shape, "V4")),
    "object text": store(lambda v: np.full(v.shape, "x", object), dtype=h5py.string_dtype()),
    "vlen": replace(lambda group, name, values: group.create_dataset(name, values.shape, h5py.vlen_dtype(np.int32))),
    "references": replace(lambda group, name, values: group.create_dataset(name, values.shape, h5py.ref_dtype)),
    "long texts": store(lambda v: np.full(v.shape, b"x", "S70000")),
    "huge, chunked": huge(True),
    "huge, contiguous": huge(False),
    "gzip": store(np.atleast_1d, compression="gzip", chunks=True, maxshape=None),
    "shuffle": store(lambda v: np.concatenate([np.atleast_1d(v)] * 2), shuffle=True),
    "fletcher32": store(np.atleast_1d, fletcher32=True),
    "resizable": store(np.atleast_1d, maxshape=None, chunks=True),
    "external storage": replace(external_storage),
    "virtual": replace(virtual),
    "virtual, unlimited": replace(virtual_unlimited),
    "compact": replace(compact),
}


# Only where the dataset is not empty.
DATASET_FILLED: dict[str, Mutation] = {"nothing stored": replace(unwritten)}


INTEGER_PERHAPS: dict[str, Mutation] = {
    "int8": store(lambda v: v.astype("<i1")),
    "int16": store(lambda v: v.astype("<i2")),
    "int32": store(lambda v: v.astype("<i4")),
    "int64": store(lambda v: v.astype("<i8")),
    "uint8": store(lambda v: v.astype("<u1")),
    "float64": store(lambda v: v.astype("<f8")),
    "first only": store(lambda v: v.ravel()[:1]),
    "one fewer": store(lambda v: v[:-1]),
    "reversed": store(lambda v: v[::-1]),
    "zeros": store(np.zeros_like),
    "minus one": store(lambda v: np.full_like(v, -1 if v.dtype.kind == "i" else 255)),
    "minimum": store(lambda v: np.full_like(v, np.iinfo(v.dtype).min)),
    "maximum": store(lambda v: np.full_like(v, np.iinfo(v.dtype).max)),
    "last is the maximum": store(lambda v: np.concatenate([v.ravel()[:-1], [np.iinfo(v.dtype).max]]).astype(v.dtype).reshape(v.shape)),
    "last is the minimum": store(lambda v: np.concatenate([v.ravel()[:-1], [np.iinfo(v.dtype).min]]).astype(v.dtype).reshape(v.shape)),
    "last is large": store(
        lambda v: np.concatenate([v.ravel()[:-1], [min(2**30, np.iinfo(v.dtype).max)]]).astype(v.dtype).reshape(v.shape)
    ),
}


FLOAT_NEVER: dict[str, Mutation] = {
    name: store(lambda v, value=value: np.where(np.arange(v.size).reshape(v.shape) == v.size - 1, value, v))
    for name, value in {
        "nan": np.nan,
        "inf": np.inf,
        "minus inf": -np.inf,
        "negative": -1e-9,
        "above one": 1.0000001,
        "1e308": 1e308,
    }.items()
}


TEXT_NEVER: dict[str, Mutation] = {
    name: store(lambda v, raw=raw: np.full(v.shape, raw))
    for name, raw in {
        "not UTF-8": b"\xff\xfe{}",
        "control": b"\x1b[31m",
        "half a character": b"\xed\xa0\x80",
        "NUL inside": b"a\0b",
    }.items()
}


PROVENANCE_NEVER: dict[str, Mutation] = {
    f"JSON {raw[:20]!r}": store(lambda v, raw=raw: np.array(raw))
    for raw in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 65000,
        b'{"a":' * 12000,
        b"{} {}",
        b"__import__('os')",
        b'{"a": "' + b"x" * 65600 + b'"}',
    )
}


def extra_member(make: Callable[[h5py.Group], Any]) -> Mutation:
    def mutate(file: h5py.File, parent: str, name: str) -> None:
        group = file[parent][name] if name else file[parent]
        made = make(group)
        if made is not None:
            group["extra"] = made

    return mutate


def many(make: Callable[[h5py.Group, int], Any], count: int) -> Mutation:
    def mutate(file: h5py.File, parent: str, name: str) -> None:
        group = file[parent][name] if name else file[parent]
        for i in range(count):
            make(group, i)

    return mutate


GROUP_NEVER: dict[str, Mutation] = {
    "extra group": extra_member(lambda group: group.create_group("extra") and None),
    "extra dataset": extra_member(lambda group: group.create_dataset("extra", data=1) and None),
    "extra number": extra_member(lambda group: group.create_group("1000") and None),
    "extra soft link": extra_member(lambda group: h5py.SoftLink("/populations")),
    "extra external link": extra_member(lambda group: h5py.ExternalLink("x.h5", "/")),
    "extra cycle": extra_member(lambda group: group),
    "extra cycle to the root": extra_member(lambda group: group.file["/"]),
    "extra name, not UTF-8": extra_member(lambda group: h5py.h5g.create(group.id, b"\xff") and None),
    "extra name, dots": extra_member(lambda group: group.create_group("...") and None),
    "extra named type": extra_member(lambda group: np.dtype("<i4")),
    "many members": many(lambda group, i: group.create_group(f"m{i}"), 200),
    "many attributes": many(lambda group, i: group.attrs.create(f"m{i}", i), 200),
    "one attribute": extra_member(lambda group: group.attrs.create("extra", 1)),
}


SUBGROUP_NEVER: dict[str, Mutation] = {
    **MEMBER_NEVER,
    "dataset": lambda file, parent, name: (delete(file, parent, name), file[parent].create_dataset(name, data=1))[0],
    "emptied": lambda file, parent, name: (delete(file, parent, name), file[parent].create_group(name))[0],
}

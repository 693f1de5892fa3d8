"""Every attribute, dataset and group of a network file, changed in every way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from judges.attribute_mutations import ATTRIBUTE_NEVER, ATTRIBUTE_PERHAPS, Mutation
from judges.member_mutations import (
    DATASET_FILLED,
    DATASET_NEVER,
    FLOAT_NEVER,
    GROUP_NEVER,
    INTEGER_PERHAPS,
    PROVENANCE_NEVER,
    SUBGROUP_NEVER,
    TEXT_NEVER,
    delete,
)


def walk(data: bytes, path: Path) -> Iterator[tuple[str, str, str, str, Mutation, bool]]:  # noqa: C901 - a branch for each kind of value
    """All mutations of a file: (what is changed, parent or owner, name, mutator's name, mutator, must it be refused?)."""
    path.write_bytes(data)
    attributes: list[tuple[str, str]] = []
    datasets: list[tuple[str, str, np.dtype, int]] = []
    groups: list[tuple[str, str]] = []

    def visit(where: str, item: Any) -> None:
        parent, _, name = f"/{where}".rpartition("/")
        attributes.extend((f"/{where}", attribute) for attribute in item.attrs)
        if isinstance(item, h5py.Dataset):
            datasets.append((parent or "/", name, item.dtype, item.size))
        else:
            groups.append((parent or "/", name))

    with h5py.File(path, "r") as file:
        attributes.extend(("/", attribute) for attribute in file.attrs)
        file.visititems(visit)
    for owner, name in attributes:
        for label, mutation in ATTRIBUTE_NEVER.items():
            yield "attribute", owner, name, label, mutation, True
        for label, mutation in ATTRIBUTE_PERHAPS.items():
            yield "attribute", owner, name, label, mutation, False
    for parent, name, dtype, size in datasets:
        sets = [(DATASET_NEVER, True)]
        if size:
            sets += [(DATASET_FILLED, True)]
            sets += {"i": [(INTEGER_PERHAPS, False)], "u": [(INTEGER_PERHAPS, False)], "f": [(FLOAT_NEVER, True)]}.get(
                dtype.kind, [(TEXT_NEVER, True)]
            )
        sets += [(PROVENANCE_NEVER, True)] if name == "provenance" else []
        for mutations, must in sets:
            for label, mutation in mutations.items():
                if (name, label) != ("provenance", "hard link to another dataset"):
                    yield "dataset", parent, name, label, mutation, must
        yield "dataset", parent, name, "delete", delete, False
    for parent, name in [("/", ""), *groups]:
        for label, mutation in GROUP_NEVER.items():
            yield "group", parent, name, label, mutation, True
    for parent, name in groups:
        for label, mutation in SUBGROUP_NEVER.items():
            if (name, label) == ("projections", "hard link to /projections"):
                continue
            # An empty group of populations or projections is the right form of none.
            yield "group", parent, name, label, mutation, not (label == "emptied" and name == "projections")
        yield "group", parent, name, "delete", delete, False

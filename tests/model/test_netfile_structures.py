"""Sealed network files that say what they must not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from judges.file_mutations import walk
from judges.network_files import SAMPLES, refused, same

from eventsim.errors import NetworkFileError
from eventsim.model import netfile
from eventsim.model.limits import MAX_NEURONS
from eventsim.model.storage.reading import Budget, StoredGroup
from eventsim.model.storage.seal import write_seal

# What may be missing without harm.
OPTIONAL = {"output", "labels", "rate", "input", "encoder"}


# By default every 17th case and every mutator at least once; all of them take minutes, in two parts for two processors.
@pytest.mark.parametrize(
    ("first", "every"), [(0, 17), pytest.param(0, 2, marks=pytest.mark.slow), pytest.param(1, 2, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("sample", SAMPLES)
def test_hostile_structures(sample: str, first: int, every: int, sample_files: dict[str, bytes], tmp_path: Path) -> None:
    data = sample_files[sample]
    path, again = tmp_path / "net.h5", tmp_path / "again.h5"
    cases = list(walk(data, path))
    chosen = cases[first::every]
    covered = {(case[0], case[3]) for case in chosen}
    for case in cases:
        if (case[0], case[3]) not in covered:
            covered.add((case[0], case[3]))
            chosen.append(case)
    refusals = loads = 0
    tracemalloc.start()
    try:
        for what, parent, name, label, mutation, must in chosen:
            case = f"{sample} {what} {parent} {name!r}: {label}"
            path.write_bytes(data)
            with h5py.File(path, "r+") as file:
                mutation(file, parent, name)
            write_seal(str(path))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                net = netfile.load(path)
            except NetworkFileError as error:
                message = str(error)
                assert message.startswith(f"{path}: "), case
                assert message.isprintable(), case
                assert len(message) < 600, case
                # The last resort for errors nobody thought of: nothing here should need it.
                assert "cannot be read as a network" not in message, f"{case}: {message}"
                refusals += 1
            except BaseException as error:
                raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
            else:
                assert not must, f"{case}: loaded"
                # The last projection, or the last population if nothing joins it, can go as well.
                assert label != "delete" or name in OPTIONAL or parent in ("/projections", "/populations"), f"{case}: loaded"
                net.check()
                netfile.save(net, again)
                assert same(netfile.load(again), net), case
                loads += 1
                del net
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < 4_000_000, f"{case}: {peak} bytes"
    finally:
        tracemalloc.stop()
    assert refusals > (6000 if sample == "everything" else 1200) // every
    # Not everything is refused: some changes are harmless.
    assert loads > 0


def links_to_one_table(file: h5py.File) -> None:
    table = file["projections/0/table"]
    for i in range(1, 100):
        group = file.create_group(f"projections/{i + 100}")
        group.attrs.update(dict(file["projections/0"].attrs))
        group.attrs["name"] = np.bytes_(f"p{i}")
        group["table"] = table
    for i in range(1, len(file["projections"]) - 99):
        del file[f"projections/{i}"]
    for i in range(1, 100):
        file.move(f"projections/{i + 100}", f"projections/{i}")


def wide(file: h5py.File, shape: Any, copies: int = 1) -> None:
    """Sources of any shape, which need no data."""
    for _ in range(copies):
        index = len(file["populations"])
        group = file.create_group(f"populations/{index}")
        group.attrs.update({"name": np.bytes_(f"wide{index}"), "kind": np.bytes_("source"), "emits": np.bytes_("events")})
        group.attrs["shape"] = np.array(shape, "<i8")


def put(file: h5py.File, where: str, values: Any) -> None:
    if where in file:
        del file[where]
    file[where] = values


def second_name(file: h5py.File) -> None:
    wide(file, [3], copies=2)
    for i in (3, 4):
        file[f"populations/{i}"].attrs["name"] = np.bytes_("s")


def into_a_source(file: h5py.File) -> None:
    wide(file, [2])
    file["projections/1"].attrs["target"] = np.bytes_("wide3")


def unused_bits(file: h5py.File) -> None:
    file["projections/0/table/signs"][-1] |= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: links_to_one_table(file), "/projections/1/table: is the same object as another member"),
        (lambda file: [file.create_group(f"populations/{i}") for i in range(4, 4200)], "the limit is 4096"),
        (lambda file: [file.create_group(f"projections/{i}") for i in range(4, 16500)], "the limit is 16384"),
        (lambda file: wide(file, [MAX_NEURONS]), "/populations: has 16777240 neurons, the limit is 16777216"),
        (lambda file: wide(file, [2**23], copies=3), "/populations: has 25165848 neurons"),
        (lambda file: wide(file, [2**23, 2**23, 2**23]), "neurons, the limit is"),
        (lambda file: wide(file, [2**40]), "/populations/3@shape: is 1099511627776, expected 1..16777216"),
        (lambda file: wide(file, [0]), "is 0, expected 1.."),
        (lambda file: wide(file, [-1, 1, 1]), "is -1, 1, 1, expected 1.."),
        (lambda file: second_name(file), "there is already a population 's'"),
        (lambda file: unused_bits(file), "/projections/0/table/signs: the unused bits"),
        (lambda file: put(file, "labels", np.array([b"a"])), "/labels: has the shape (1,), expected (2,)"),
        (lambda file: put(file, "labels", np.array([b"a", b"b\xff"])), "/labels: b'b\\xff' is not UTF-8"),
        (
            lambda file: file["projections/0"].attrs.__setitem__("source", np.bytes_("nobody")),
            "/projections/0@source: there is no population",
        ),
        (lambda file: into_a_source(file), "wide3 is a source population and takes no spikes"),
        (lambda file: file["projections/0"].attrs.__setitem__("delay", 1e7), "delay must be a number of steps"),
        (lambda file: file["populations/1"].attrs.__setitem__("onset", -1.0), "onset must be a number of steps"),
        (lambda file: file["populations/1"].attrs.__setitem__("onset", np.int64(1)), "@onset: "),
        (lambda file: file["populations/0"].attrs.__setitem__("onset", 1.0), "has "),
        (lambda file: file["projections/0"].attrs.__setitem__("name", np.bytes_("mid->out")), "there is already a projection"),
        (lambda file: file["populations/1"].attrs.__setitem__("name", np.bytes_("a/b")), "no population 'mid'"),
        (lambda file: file.attrs.__setitem__("version", 2), "@version: is 2, expected 1..1"),
        (lambda file: file.attrs.__setitem__("output", np.bytes_("mid")), "is not a readout population"),
    ],
)
def test_messages(change: Callable[[h5py.File], Any], message: str, sample_files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    path.write_bytes(sample_files["binary"])
    with h5py.File(path, "r+") as file:
        change(file)
    write_seal(str(path))
    tracemalloc.start()
    found = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in found
    assert peak < 12_000_000


def test_datasets_over_the_same_bytes(sample_files: dict[str, bytes], tmp_path: Path) -> None:
    """Data layouts that overlap, which no library writes: the bytes that a file claims are counted against its size."""
    path = tmp_path / "net.h5"
    path.write_bytes(sample_files["binary"])
    body = len(sample_files["binary"]) - 512
    with h5py.File(path) as file:
        root = StoredGroup(file["/"], "/", Budget(body))
        first = file["populations/0/threshold"]
        group = root.child("populations").child("0")
        for _ in range(body // first.nbytes):
            group.array("threshold", ("int32",), [first.shape])
            root.budget.seen.clear()
        with pytest.raises(NetworkFileError, match="claim more bytes than it has"):
            group.array("threshold", ("int32",), [first.shape])

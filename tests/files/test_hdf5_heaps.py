"""Heaps that libhdf5 would read for ever are found before it reads them."""

from __future__ import annotations

import h5py
import pytest

from eventsim.files.hdf5_heaps import heaps_end

FREE_LENGTH = 8  # of an object's head: number, references, nothing, and then its length


@pytest.fixture(params=["earliest", "latest"])
def file(request, tmp_path):
    """Some texts, and the place of the free space behind them."""
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w", libver=request.param) as made:
        for i in range(9):
            made[f"t{i}"] = "text " * (i + 1)
    content = path.read_bytes()
    at = content.index(b"GCOL") + 16
    while int.from_bytes(content[at : at + 2], "little"):
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    return path, content, at


def test_a_file_as_it_is_written(file):
    assert heaps_end(file[0])


def test_free_space_of_no_size(file):
    path, content, at = file
    length = at + FREE_LENGTH
    path.write_bytes(content[:length] + bytes(8) + content[length + 8 :])
    assert not heaps_end(path)


def test_lengths_beyond_the_file_end_there(file):
    path, content, at = file
    length = at + FREE_LENGTH
    path.write_bytes(content[:length] + b"\xff" * 8 + content[length + 8 :])
    assert heaps_end(path)
    path.write_bytes(content[: at + 4])
    assert heaps_end(path)


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(40)])
def test_what_is_no_file(content, tmp_path):
    (tmp_path / "x.h5").write_bytes(content)
    assert not heaps_end(tmp_path / "x.h5")

"""Heaps that libhdf5 would read for ever are found before it reads them."""

from __future__ import annotations

import h5py
import pytest
from judges.heaps import free_length

from eventsim.files.hdf5_heaps import heaps_end


@pytest.fixture(params=["earliest", "latest"])
def texts(request, tmp_path):
    """The bytes of a file of some texts, and the place of the length of the free space behind them."""
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w", libver=request.param) as made:
        for i in range(9):
            made[f"t{i}"] = "text " * (i + 1)
    content = path.read_bytes()
    return content, free_length(content)


def test_a_file_as_it_is_written(texts):
    assert heaps_end(texts[0])


def test_free_space_of_no_size(texts):
    content, length = texts
    assert not heaps_end(content[:length] + bytes(8) + content[length + 8 :])


def test_lengths_beyond_the_file_end_there(texts):
    content, length = texts
    assert heaps_end(content[:length] + b"\xff" * 8 + content[length + 8 :])
    assert heaps_end(content[: length - 4])


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(40)])
def test_what_is_no_file(content):
    assert not heaps_end(content)

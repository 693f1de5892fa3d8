"""Image sets in the format of MNIST."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest
from judges.formats import idx

import eventsim as es
from eventsim.data import datasets


@pytest.mark.parametrize("packed", [False, True])
def test_load(tmp_path, packed, monkeypatch):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8), rng.integers(0, 10, 5, dtype=np.uint8)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for stem, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        data = idx(array)
        (folder / (stem + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
    monkeypatch.setenv("EVENTSIM_DATA", str(tmp_path))
    for found, answers in (datasets.load("mnist", "test", tmp_path), datasets.load("mnist")):
        assert np.array_equal(found, images[..., None])
        assert np.array_equal(answers, labels)
        assert answers.dtype == np.int64
    with pytest.raises(es.DatasetError, match="train-images"):
        datasets.load("mnist", "train")


def test_unknown_names(tmp_path, monkeypatch):
    monkeypatch.delenv("EVENTSIM_DATA", raising=False)
    monkeypatch.setattr(datasets.platformdirs, "user_cache_path", lambda project: tmp_path / project)
    with pytest.raises(es.DatasetError, match="unknown data set"):
        datasets.load("nothing", "test", tmp_path)
    with pytest.raises(es.DatasetError, match="unknown split"):
        datasets.load("mnist", "validation", tmp_path)
    with pytest.raises(es.DatasetError, match=r"eventsim data get mnist.*EVENTSIM_DATA"):
        datasets.load("mnist")
    with pytest.raises(es.DatasetError, match=r"neither a folder nor a known data set; known: mnist, .*cifar-100, .*mnist-saccades"):
        datasets.open_dataset("nothing")
    with pytest.raises(es.DatasetError, match="open_dataset"):
        datasets.load("imagenet")
    with pytest.raises(es.DatasetError, match="own terms"):
        datasets.open_dataset("imagenet")


def test_folder_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.platformdirs, "user_cache_path", lambda project: tmp_path / project)
    monkeypatch.setenv("EVENTSIM_DATA", str(tmp_path / "named"))
    assert datasets.data_folder(tmp_path / "given") == tmp_path / "given"
    assert datasets.data_folder() == tmp_path / "named"
    monkeypatch.delenv("EVENTSIM_DATA")
    assert datasets.data_folder() == tmp_path / "eventsim"


def test_idx_labels_of_another_set(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 4, 4), np.uint8)))
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([1, 10], np.uint8)))
    with pytest.raises(es.DatasetError, match=r"t10k-labels-idx1-ubyte: has a label 10"):
        datasets.load("mnist", "test", tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("what", ["empty", "cut header", "cut data", "too long", "other type", "absurd size", "cut gzip", "missing"])
def test_damaged_files(tmp_path, what, packed):
    good = idx(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
    data = {
        "empty": b"",
        "cut header": good[:9],
        "cut data": good[:-1],
        "too long": good + b"x",
        "other type": b"\x00\x00\x0d" + good[3:],
        "absurd size": good[:4] + b"\xff" * 12,
        "cut gzip": good,
        "missing": good,
    }[what]
    path = tmp_path / ("file.gz" if packed else "file")
    stored = gzip.compress(data) if packed else data
    if what == "cut gzip":
        stored = stored[:-10]
    if what != "missing":
        path.write_bytes(stored)
    with pytest.raises(es.DatasetError) as caught:
        datasets.read_idx(path)
    assert str(path) in str(caught.value)


def test_a_header_that_declares_too_much_takes_no_memory(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(np.zeros(4, np.uint8))[:4] + (1_962_934_276).to_bytes(4) + bytes(4))
    tracemalloc.start()
    try:
        with pytest.raises(es.DatasetError, match="declares 1962934276 bytes of data but holds 4"):
            datasets.read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_no_images_of_a_size_beyond_all_bounds(tmp_path):
    (tmp_path / "file").write_bytes(b"\0\0\x08\x04" + bytes(4) + 3 * b"\xff\xff\xff\xff")
    with pytest.raises(es.DatasetError, match="declares the shape"):
        datasets.read_idx(tmp_path / "file")

"""Folders of images, with a folder for each class or without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eventsim as es
from eventsim.data import datasets


def write_image(path: Path, shape: tuple[int, ...], value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


def test_class_folders(tmp_path):
    for split, count in (("train", 2), ("val", 1)):
        for label, wnid in enumerate(("n01", "n02")):
            for k in range(count):
                write_image(tmp_path / split / wnid / f"{k}.png", (5 + label, 4, 3), 10 * label + k)
    write_image(tmp_path / "val" / "n02" / "grey.PNG", (3, 3), 7)
    (tmp_path / "val" / "n02" / ".hidden.png").write_bytes(b"x")
    (tmp_path / "val" / "n02" / "notes.txt").write_bytes(b"x")
    (tmp_path / "train" / "n03").mkdir()
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01 tench, Tinca tinca\nn02 goldfish\nn09 other\n")
    train = datasets.open_dataset(tmp_path, "train")
    assert (train.name, train.split, train.classes) == (tmp_path.name, "train", ["tench, Tinca tinca", "goldfish", "n03"])
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert train.labels.dtype == np.int64
    assert [image.shape for image in train] == [(5, 4, 3), (5, 4, 3), (6, 4, 3), (6, 4, 3)]
    with pytest.raises(es.DatasetError, match=r"n02.*0\.png: has the shape"):
        train.arrays()
    val = datasets.open_dataset(tmp_path)
    assert (val.split, len(val), val[2].shape) == ("val", 3, (3, 3, 1))
    with pytest.raises(es.DatasetError, match="split 'nothing'; it has train, val"):
        datasets.open_dataset(tmp_path, "nothing")


def test_flat_folder(tmp_path):
    for k in range(3):
        write_image(tmp_path / f"{k}.png", (4, 5, 3), k)
    flat = datasets.open_dataset(tmp_path)
    assert (flat.split, flat.classes, flat.labels, len(flat)) == ("all", [], None, 3)
    images, labels = flat.arrays()
    assert images.shape == (3, 4, 5, 3)
    assert labels is None
    assert np.array_equal(flat[np.int64(-1)], np.full((4, 5, 3), 2))
    write_image(tmp_path / "class" / "a.png", (2, 2))
    with pytest.raises(es.DatasetError, match="beside and within"):
        datasets.open_dataset(tmp_path)


def test_empty_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    with pytest.raises(es.DatasetError, match="no images in it"):
        datasets.open_dataset(tmp_path)


def test_imagenet_by_name(tmp_path):
    write_image(tmp_path / "imagenet" / "val" / "n01" / "a.png", (2, 2, 3))
    opened = datasets.open_dataset("imagenet", "val", tmp_path)
    assert (opened.name, opened.classes) == ("imagenet", ["n01"])


@pytest.mark.parametrize("what", ["cut", "no image", "missing", "huge", "32 bits"])
def test_damaged_images(tmp_path, what, monkeypatch):
    path = tmp_path / "photo.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    if what == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if what == "no image":
        path.write_bytes(b"hello")
    if what == "huge":
        monkeypatch.setattr("eventsim.data.images.MAX_PIXELS", 1000)
    if what == "32 bits":
        path.unlink()
        path = tmp_path / "photo.tiff"
        Image.fromarray(np.full((4, 4), -1, np.int32)).save(path)
    opened = datasets.open_dataset(tmp_path)
    if what == "missing":
        path.unlink()
    with pytest.raises(es.DatasetError, match=r"photo\."):
        opened[0]


def test_image_modes(tmp_path):
    Image.fromarray(np.full((2, 2), 257 * 9, np.uint16)).save(tmp_path / "0.png")
    Image.fromarray(np.full((2, 2, 4), [10, 20, 30, 0], np.uint8)).save(tmp_path / "1.png")
    Image.fromarray(np.full((2, 2, 2), [50, 255], np.uint8)).save(tmp_path / "2.png")
    Image.new("P", (2, 2), 0).save(tmp_path / "3.png")
    found = [(image.shape, int(image.max())) for image in datasets.open_dataset(tmp_path)]
    assert found == [((2, 2, 1), 9), ((2, 2, 3), 255), ((2, 2, 1), 50), ((2, 2, 3), 0)]

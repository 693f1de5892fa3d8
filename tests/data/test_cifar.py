"""CIFAR: read exactly from both published layouts, and refused by name when damaged or partial."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile

import numpy as np
import pytest
from judges.cifar import archive, binary_batch, of_form, planes, python_batch, some_images

import eventsim as es
from eventsim.data import datasets


@pytest.mark.parametrize("form", ["bin", "py"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "cifar-10"])
def test_cifar_layouts(tmp_path, three_a_batch, form, packed, below):
    place = tmp_path / "data" / below
    files = of_form(three_a_batch, form)
    if packed:
        place.mkdir(parents=True)
        (place / f"cifar-10-{'binary' if form == 'bin' else 'python'}.tar.gz").write_bytes(archive(files))
    else:
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    expected = [some_images(3, seed) for seed in range(3)]
    images, labels = datasets.load("cifar-10", "train", tmp_path / "data")
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert np.array_equal(images, np.concatenate([expected[0][0], expected[1][0]]))
    assert np.array_equal(labels, np.concatenate([expected[0][1], expected[1][1]]))
    opened = datasets.open_dataset("cifar-10", "test", tmp_path / "data")
    assert (opened.name, opened.split, opened.classes[2], len(opened)) == ("cifar-10", "test", "c", 3)
    assert np.array_equal(opened[1], expected[2][0][1])
    assert np.array_equal(opened[-1], expected[2][0][2])
    assert np.array_equal(np.stack(list(opened)), opened.arrays()[0])
    with pytest.raises(IndexError):
        opened[3]


def test_cifar_100(tmp_path):
    images, fine = some_images(4)
    coarse = fine + 1
    (tmp_path / "test.bin").write_bytes(binary_batch(images, coarse, fine + 80))
    (tmp_path / "test").write_bytes(python_batch(images, coarse_labels=coarse, fine_labels=fine + 80))
    for found, labels in (datasets.read_cifar_binary(tmp_path / "test.bin", 2), datasets.read_cifar_python(tmp_path / "test", 2)):
        assert np.array_equal(found, images)
        assert np.array_equal(labels, fine + 80)
    (tmp_path / "test.bin").write_bytes(binary_batch(images, coarse + 19, fine))
    with pytest.raises(es.DatasetError, match=r"test\.bin: has a label"):
        datasets.read_cifar_binary(tmp_path / "test.bin", 2)


@pytest.mark.parametrize("form", ["bin", "py"])
@pytest.mark.parametrize("what", ["partial", "empty", "fewer records", "missing", "label"])
def test_damaged_batches(tmp_path, three_a_batch, form, what):
    images, labels = some_images(3)
    if what == "label":
        labels[1] = 10
    if what == "fewer records":
        images, labels = images[:2], labels[:2]
    content = binary_batch(images, labels) if form == "bin" else python_batch(images, labels=labels)
    for name, good in of_form(three_a_batch, form).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if "test_batch" not in name:
            path.write_bytes(good)
        elif what != "missing":
            path.write_bytes({"partial": content[:-100], "empty": b""}.get(what, content))
    datasets.load("cifar-10", "train", tmp_path)
    with pytest.raises(es.DatasetError, match="test_batch"):
        datasets.load("cifar-10", "test", tmp_path)


@pytest.mark.parametrize("what", ["cut", "check sum", "no gzip", "no tar", "without a batch", "link", "damaged batch", "too many"])
def test_damaged_archives(tmp_path, three_a_batch, what):
    files = of_form(three_a_batch, "bin")
    if what == "without a batch":
        del files["cifar-10-batches-bin/test_batch.bin"]
    if what == "damaged batch":
        files["cifar-10-batches-bin/test_batch.bin"] = b"123"
    if what == "too many":
        files = {f"cifar-10-batches-bin/{k}": b"" for k in range(200)} | files
    packed = archive(files)
    if what == "cut":
        packed = packed[: len(packed) // 2]
    if what == "check sum":
        packed = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    if what == "no gzip":
        packed = b"nothing of the kind" * 100
    if what == "no tar":
        packed = gzip.compress(b"nothing of the kind" * 100)
    if what == "link":
        # A link out of the archive to a good batch outside is never followed.
        outside = tmp_path / "outside.bin"
        outside.write_bytes(files["cifar-10-batches-bin/test_batch.bin"])
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
            member.type, member.linkname = tarfile.SYMTYPE, str(outside)
            tar.addfile(member)
        packed = stream.getvalue()
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(packed)
    with pytest.raises(es.DatasetError, match=r"cifar-10-binary\.tar\.gz"):
        datasets.load("cifar-10", "test", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == []


def test_archives_of_any_size_are_not_unpacked_into_memory(tmp_path, three_a_batch, monkeypatch):
    monkeypatch.setattr("eventsim.data.formats.MAX_CIFAR_BYTES", 100_000)
    files = {"cifar-10-batches-bin/readme.html": bytes(1_000_000)} | of_form(three_a_batch, "bin")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(archive(files))
    with pytest.raises(es.DatasetError, match=r"cifar-10-binary\.tar\.gz: unpacks to more than"):
        datasets.load("cifar-10", "test", tmp_path)


def test_batches_of_todays_numpy(tmp_path):
    images, labels = some_images(2)
    path = tmp_path / "batch"
    for order in "CF":
        path.write_bytes(pickle.dumps({b"data": np.array(planes(images), order=order), b"labels": labels.tolist()}, 3))
        found, answers = datasets.read_cifar_python(path)
        assert np.array_equal(found, images)
        assert np.array_equal(answers, labels)

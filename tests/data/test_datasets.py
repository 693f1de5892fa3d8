"""Image sets: read exactly from every published layout, and refused by name when damaged, partial or hostile."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pooch
import pytest
from judges.formats import idx
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.data import datasets
from eventsim.data import manifest as dataset_manifest
from eventsim.data.manifest import known_sets

DATA = Path(os.environ.get("EVENTSIM_DATA", ROOT.parent / "shared" / "data"))

# CIFAR's layout with three images a batch instead of thousands.
MANIFEST = """
[cifar-10]
title = "CIFAR-10"
format = "cifar"
licence = "none"
homepage = "none"
images = { train = 6, test = 3 }
classes = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
[[cifar-10.files]]
name = "cifar-10-binary.tar.gz"
form = "binary"
folder = "cifar-10-batches-bin"
bytes = 1
md5 = ""
members = [
    { name = "data_batch_1.bin", split = "train", md5 = "" },
    { name = "data_batch_2.bin", split = "train", md5 = "" },
    { name = "test_batch.bin", split = "test", md5 = "" },
]
[[cifar-10.files]]
name = "cifar-10-python.tar.gz"
form = "python"
folder = "cifar-10-batches-py"
bytes = 1
md5 = ""
members = [
    { name = "data_batch_1", split = "train", md5 = "" },
    { name = "data_batch_2", split = "train", md5 = "" },
    { name = "test_batch", split = "test", md5 = "" },
]
"""


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
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    with pytest.raises(es.DatasetError, match="unknown data set"):
        datasets.load("nothing", "test", tmp_path)
    with pytest.raises(es.DatasetError, match="unknown split"):
        datasets.load("mnist", "validation", tmp_path)
    with pytest.raises(es.DatasetError, match=r"eventsim data get mnist.*EVENTSIM_DATA"):
        datasets.load("mnist")
    with pytest.raises(es.DatasetError, match=r"neither a folder nor a known data set; known: mnist, .*cifar-100"):
        datasets.open_dataset("nothing")
    with pytest.raises(es.DatasetError, match="open_dataset"):
        datasets.load("imagenet")
    with pytest.raises(es.DatasetError, match="own terms"):
        datasets.open_dataset("imagenet")


def test_folder_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
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


# --- CIFAR ---


def some_images(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count)


def planes(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), 3072)


def binary_batch(images: np.ndarray, *labels: np.ndarray) -> bytes:
    return np.column_stack([*labels, planes(images)]).astype(np.uint8).tobytes()


def python2_string(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


def python_batch(images: np.ndarray, **lists: np.ndarray) -> bytes:
    """As Python 2 wrote the published batches: protocol 2, byte strings, an array of numpy.core.multiarray."""
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03U\x01bq\x04\x87q\x05Rq\x06"
    array += b"(K\x01M" + struct.pack("<H", len(images)) + b"M\x00\x0c\x86q\x07"
    array += b"cnumpy\ndtype\nq\x08U\x02u1q\x09K\x00K\x01\x87q\x0aRq\x0b(K\x03U\x01|q\x0cNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array += b"\x89" + python2_string(planes(images).tobytes()) + b"tb"
    batch = b"\x80\x02}q\x00(" + python2_string(b"batch_label") + python2_string(b"training batch 1 of 5")
    for key, values in lists.items():
        batch += python2_string(key.encode()) + b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"
    return batch + python2_string(b"data") + array + b"u."


def archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def three_a_batch(tmp_path, monkeypatch):
    """The small manifest, and its batches in both forms: name -> bytes, within their folders."""
    path = tmp_path / "manifest.toml"
    path.write_text(MANIFEST)
    small = dataset_manifest.read_manifest(path)
    monkeypatch.setattr(dataset_manifest, "known_sets", lambda: small)
    files = {}
    for seed, stem in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
        images, labels = some_images(3, seed)
        files[f"cifar-10-batches-bin/{stem}.bin"] = binary_batch(images, labels)
        files[f"cifar-10-batches-py/{stem}"] = python_batch(images, labels=labels)
    return files


def of_form(files: dict[str, bytes], form: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith(f"cifar-10-batches-{form}/")}


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
    monkeypatch.setattr("eventsim.data.formats._MAX_CIFAR_BYTES", 100_000)
    files = {"cifar-10-batches-bin/readme.html": bytes(1_000_000)} | of_form(three_a_batch, "bin")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(archive(files))
    with pytest.raises(es.DatasetError, match=r"cifar-10-binary\.tar\.gz: unpacks to more than"):
        datasets.load("cifar-10", "test", tmp_path)


class Hostile:
    def __init__(self, call, *arguments):
        self.call = (call, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_run_nothing(tmp_path, protocol):
    path, marker = tmp_path / "data_batch_1", tmp_path / "marker"
    for hostile in (Hostile(os.mkdir, str(marker)), Hostile(eval, f"open({str(marker)!r}, 'w')"), Hostile(getattr, "", "join")):
        path.write_bytes(pickle.dumps({b"labels": [1], b"data": hostile}, protocol))
        with pytest.raises(es.DatasetError, match=r"data_batch_1: not a batch of CIFAR's python version.*nothing in it was run"):
            datasets.read_cifar_python(path)
        assert not marker.exists()


GOOD = python_batch(some_images(2)[0], labels=[1, 2])


@pytest.mark.parametrize(
    "content",
    {
        "huge memo": b"\x80\x02}r\xff\xff\xff\x7f.",
        "huge memo in text": b"}p2147483647\n.",
        "huge bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        "nested tuples as key": b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x02U\x01aQ.",
        "array as a label": GOOD.replace(b"K\x02e", b"U\x01ae"),
        "true as a label": GOOD.replace(b"K\x02e", b"\x88e"),
        "other type": GOOD.replace(b"U\x02u1", b"U\x02O8"),
        "fewer labels": GOOD.replace(b"K\x02e", b"e"),
        "other keys": GOOD.replace(b"labels", b"LABELS"),
        "array not built": GOOD.replace(b"\x89T", b"\x89N0T"),
        "class called": b"\x80\x02cnumpy\nndarray\n(K\x01tR.",
        "no dict": b"\x80\x02K\x01.",
        "no end": GOOD[:-1],
        "text": b"hello",
    }.items(),
    ids=lambda item: item[0],
)
def test_hostile_and_odd_pickles(tmp_path, content):
    path = tmp_path / "test_batch"
    path.write_bytes(GOOD)
    datasets.read_cifar_python(path)
    path.write_bytes(content[1])
    assert content[1] != GOOD
    with pytest.raises(es.DatasetError, match="test_batch: not a batch"):
        datasets.read_cifar_python(path)


def test_batches_of_todays_numpy(tmp_path):
    images, labels = some_images(2)
    path = tmp_path / "batch"
    for order in "CF":
        path.write_bytes(pickle.dumps({b"data": np.array(planes(images), order=order), b"labels": labels.tolist()}, 3))
        found, answers = datasets.read_cifar_python(path)
        assert np.array_equal(found, images)
        assert np.array_equal(answers, labels)


# --- folders of images ---


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


# --- the manifest, and real data where it is at hand ---


def test_manifest():
    sets = known_sets()
    assert list(sets) == ["mnist", "fashion-mnist", "kmnist", "cifar-10", "cifar-100", "imagenet"]
    for known in sets.values():
        assert known.licence
        assert known.homepage.startswith("http")
        assert all(address.startswith("http") and address.endswith("/") for address in known.addresses)
        assert bool(known.files) != bool(known.by_hand)
        for file in known.files:
            sums = [file.md5, *(member.md5 for member in file.members), *filter(None, [file.content_md5])]
            assert all(len(bytes.fromhex(md5)) == 16 for md5 in sums)
            assert file.bytes > 1000
        if known.format == "cifar":
            assert {file.form for file in known.files} == {"binary", "python"}
        if known.files:
            assert len(set(known.classes)) == len(known.classes) == (100 if known.name == "cifar-100" else 10)


@pytest.mark.parametrize(
    ("name", "split", "first"),
    [
        ("mnist", "test", [7, 2, 1, 0, 4]),
        ("mnist", "train", [5, 0, 4, 1, 9]),
        ("fashion-mnist", "test", [9, 2, 1, 1, 6]),
        ("cifar-10", "test", [3, 8, 8, 0, 6]),
        ("cifar-100", "test", [49, 33, 72, 51, 71]),
    ],
)
def test_real_sets(name, split, first):
    try:
        datasets.find(name, split, DATA)
    except es.DatasetError:
        pytest.skip(f"{name} is not at hand (EVENTSIM_DATA)")
    images, labels = datasets.load(name, split, DATA)
    assert len(images) == len(labels) == known_sets()[name].images[split]
    assert labels[:5].tolist() == first
    assert np.all(np.bincount(labels) > 0)

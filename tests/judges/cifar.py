"""CIFAR's published layouts, made of any images."""

from __future__ import annotations

import io
import struct
import tarfile

import numpy as np

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


def of_form(files: dict[str, bytes], form: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith(f"cifar-10-batches-{form}/")}

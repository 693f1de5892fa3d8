"""CIFAR's pickles: nothing in them is run."""

from __future__ import annotations

import os
import pickle
import struct

import pytest
from judges.cifar import python_batch, some_images

import eventsim as es
from eventsim.data import datasets


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

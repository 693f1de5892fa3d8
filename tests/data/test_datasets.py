"""The manifest of data sets, and real ones where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT

import eventsim as es
from eventsim.data import datasets
from eventsim.data.manifest import known_sets

DATA = Path(os.environ.get("EVENTSIM_DATA", ROOT.parent / "shared" / "data"))


def test_manifest():
    sets = known_sets()
    images = ["mnist", "fashion-mnist", "kmnist", "cifar-10", "cifar-100", "imagenet"]
    assert list(sets) == [*images, "n-mnist", "dvs128-gesture", "cifar10-dvs"]
    for known in sets.values():
        assert known.licence
        assert known.homepage.startswith("http")
        assert all(address.startswith("http") and address.endswith("/") for address in known.addresses)
        assert bool(known.files) != bool(known.by_hand)
        assert not known.by_hand or (f"{known.name}/" in known.by_hand and "\n" not in known.by_hand)
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


def test_a_folder_of_a_user_that_is_unknown(monkeypatch):
    monkeypatch.setenv("EVENTSIM_DATA", "~no such user/data")
    with pytest.raises(es.DatasetError, match="no such user; name the folder without ~"):
        datasets.data_folder()

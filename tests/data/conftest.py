"""Batches of CIFAR with three images."""

from __future__ import annotations

import pytest
from judges.cifar import MANIFEST, binary_batch, python_batch, some_images

from eventsim.data import manifest as dataset_manifest


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

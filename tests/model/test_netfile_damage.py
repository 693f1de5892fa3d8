"""Network files whose bytes were damaged, other files, and places that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from judges.network_files import SAMPLES, refused

from eventsim.errors import NetworkFileError
from eventsim.model import netfile
from eventsim.model.storage.seal import write_seal


def byte_mutations(data: bytes) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    size = len(data)
    places = [*range(0, 110), *range(110, 512, 20), *range(512, 560), *(int(p) for p in rng.integers(0, size, 150))]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        yield bytes(changed)
    for length in (*range(0, 130, 7), 511, 512, 513, 520, size // 2, size - 1, *(int(p) for p in rng.integers(0, size, 40))):
        yield data[:length]
    for extra in (b"\0", b"garbage", data, bytes(4096)):
        yield data + extra
        yield extra + data
    for _ in range(40):
        start = int(rng.integers(0, size - 1))
        stop = min(size, start + int(rng.integers(1, 2000)))
        for filling in (b"\0", b"\xff"):
            yield data[:start] + filling * (stop - start) + data[stop:]
    for _ in range(40):
        block = int(rng.choice([16, 64, 256]))
        a, b = sorted(int(v) * block for v in rng.choice(size // block, 2, replace=False))
        yield data[:a] + data[b : b + block] + data[a + block : b] + data[a : a + block] + data[b + block :]


@pytest.mark.parametrize("sample", SAMPLES)
def test_damaged_bytes_never_load(sample: str, sample_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sample_files[sample]
    path = tmp_path / "net.h5"

    def reached(*_: Any, **__: Any) -> None:
        raise AssertionError("a damaged file reached libhdf5")

    path.write_bytes(data)
    netfile.load(path)
    monkeypatch.setattr(h5py, "File", reached)
    count = 0
    for changed in byte_mutations(data):
        if changed != data:
            path.write_bytes(changed)
            message = refused(path)
            assert any(s in message for s in ("not an eventsim network file", "cut short", "damaged", "file version")), message
            count += 1
    assert count > 450


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not an eventsim network file"),
        (b"hello\n" * 200, "not an eventsim network file"),
        (b"\0" * 2000, "not an eventsim network file"),
        (b"\x80\x04\x95" + b"x" * 600, "not an eventsim network file"),
        (b"eventsim-network", "not an eventsim network file"),
        (b"eventsim-network 1\n", "cut short"),
        (b"eventsim-network 7\nanything", "file version 7, this eventsim reads 1"),
        (b"eventsim-network 1\nsha256 00\n".ljust(600, b"\0"), "damaged: its seal"),
        (
            (b"eventsim-network 1\nsha256 " + b"0" * 64 + b"\nbytes 88\n").ljust(600, b"\0"),
            "checksum differs; copy the file again, or, if it was changed on purpose",
        ),
        ((b"eventsim-network 1\nsha256 " + b"0" * 64 + b"\nbytes 99\n").ljust(600, b"\0"), "cut short: 88 of 99 bytes"),
    ],
)
def test_other_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    path.write_bytes(content)
    assert message in refused(path)


def test_hdf5_without_seal_and_with_another_user_block(sample_files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    path.write_bytes(sample_files["binary"][512:])
    assert "HDF5 file without the seal" in refused(path)
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["x"] = 1
    write_seal(str(path))
    assert "user block of 1024" in refused(path)
    path.write_bytes(bytes(512) + b"no HDF5 at all")
    write_seal(str(path))
    assert "libhdf5 cannot open it" in refused(path)


def test_places_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("missing.h5", "no/such/folder.h5", ".", "pipe", "loop", "x" * 300):
        refused(tmp_path / name)
    with pytest.raises(NetworkFileError):
        netfile.load("a\0b")
    with pytest.raises(NetworkFileError) as caught:
        netfile.load(str(tmp_path / "two\nlines"))
    assert "\n" not in str(caught.value)


def test_a_file_that_changes_while_it_is_read(sample_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.h5"
    path.write_bytes(sample_files["binary"])
    verify = netfile.verify_seal

    def swap(file: Any) -> Any:
        result = verify(file)
        (tmp_path / "new").write_bytes(sample_files["binary"])
        os.replace(tmp_path / "new", path)
        return result

    monkeypatch.setattr(netfile, "verify_seal", swap)
    assert "changed while it was being read" in refused(path)

"""Network files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from judges.network_files import binary, everything, same

from eventsim.errors import NetworkFileError
from eventsim.model import netfile
from eventsim.model.storage import layout


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError(), RuntimeError("HDF5")]
)
@pytest.mark.parametrize("where", ["write_weights", "write_seal", "read_sealed", "replace", "fsync"])
def test_a_failed_save_leaves_the_old_file(where: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.h5"
    netfile.save(binary(), path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr({"write_weights": layout, "replace": os, "fsync": os}.get(where, netfile), where, fail)
        expected = NetworkFileError if isinstance(error, OSError | RuntimeError) else type(error)
        with pytest.raises(expected) as caught:
            netfile.save(everything(), path)
    assert isinstance(error, KeyboardInterrupt | MemoryError) or str(caught.value).startswith(str(path))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.h5"]
    netfile.save(everything(), path)
    assert same(netfile.load(path), everything())


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files by the system's means")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    netfile.save(binary(), path)
    before = path.read_bytes()
    program = f"""
import numpy as np, resource, signal
from eventsim.model import netfile
from eventsim.errors import NetworkFileError
from eventsim.model.network import Network
net = Network()
net.source("s", 1000)
net.readout("r", 1000)
net.connect("s", "r", np.random.default_rng(0).integers(-9, 9, (1000, 1000)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300000, resource.RLIM_INFINITY))
try:
    netfile.save(net, {str(path)!r})
except NetworkFileError as error:
    print("refused", error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert done.stdout.startswith(f"refused {path}: cannot be written"), done.stdout + done.stderr
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.h5"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "net.h5", tmp_path / "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(NetworkFileError) as caught:
            netfile.save(binary(), path)
        assert "\n" not in str(caught.value)
    assert not os.listdir(tmp_path)


def test_saving_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.h5").symlink_to(tmp_path / "real" / "net.h5")
    netfile.save(binary(), tmp_path / "link.h5")
    assert (tmp_path / "link.h5").is_symlink()
    assert same(netfile.load(tmp_path / "real" / "net.h5"), binary())

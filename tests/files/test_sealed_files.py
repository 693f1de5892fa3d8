"""Traces and evaluations: whole or not at all on a full disk, and every changed bit is found or changes nothing."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import contents

import eventsim as es
from eventsim.cli.main import main
from eventsim.data.image_sets import ArrayDataset
from eventsim.files import hdf5_writing
from eventsim.files.seal import SEAL, seal


def network() -> es.Network:
    rng = np.random.default_rng(1)
    net = es.Network()
    net.image_input((2, 2, 1))
    net.driven("in", 4, 200, encoder=es.Dense(np.eye(4, dtype=int)))
    net.spiking("mid", 3, 2, signed=True)
    net.readout("out", 2)
    net.connect("in", "mid", rng.integers(-2, 4, (4, 3)))
    net.connect("mid", "out", rng.integers(-3, 4, (3, 2)))
    return net


def images() -> ArrayDataset:
    pixels = np.random.default_rng(2).integers(0, 256, (3, 2, 2, 1)).astype(np.uint8)
    return ArrayDataset("made", "test", ["a", "b"], pixels, np.array([0, 1, 1]))


def write_trace(path: Path) -> None:
    es.run(network(), images()[0], steps=4, engine="reference", trace=path)


def write_evaluation(path: Path) -> None:
    es.evaluate(network(), images(), path, steps=3, workers=1).close()


def everything(path: Path) -> list[Any]:
    """All that a reader gives, as bytes and texts."""
    if path.suffix == ".trace":
        with es.Trace(path) as trace:
            spikes = [trace.spikes(name) for name in trace.recorded]
            counts = [np.asarray(v).tobytes() for v in vars(trace.counts).values() if isinstance(v, np.ndarray)]
            readout = [(name, v.tobytes()) for name, v in trace.counts.readout.items()]
            texts = [repr(trace.info), trace.run_id, trace.made_by, trace.recorded, trace.decision, trace.decision_latency, trace.stopped]
            assert trace.image is not None
            return [*texts, *counts, *readout, trace.image.tobytes(), *(column.tobytes() for train in spikes for column in train)]
    with es.Evaluation(path) as e:
        arrays = [(name, values.tobytes()) for name, values in sorted(contents(e).items())]
        return [repr(e.info), e.key, e.summary(), e.confusion().tobytes(), *arrays]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sealed")
    write_trace(folder / "a.trace")
    write_evaluation(folder / "a.evaluation")
    return [folder / "a.trace", folder / "a.evaluation"]


def flips(files: list[Path], folder: Path, count: int) -> tuple[int, int]:
    found = same = 0
    for source in files:
        whole, expected = source.read_bytes(), everything(source)
        rng = np.random.default_rng(len(whole))
        # Much of a small HDF5 file is empty.
        full = np.flatnonzero(np.frombuffer(whole, np.uint8))
        for bit in (8 * rng.choice(full, count) + rng.integers(0, 8, count)).tolist():
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path = folder / f"b{source.suffix}"
            path.write_bytes(changed)
            try:
                result = everything(path)
            except es.EventsimError:
                found += 1
            else:
                assert result == expected, f"bit {bit} of {source.name}"
                same += 1
    return found, same


def test_a_changed_bit_is_found_or_changes_nothing(files: list[Path], tmp_path: Path) -> None:
    found, same = flips(files, tmp_path, 60)
    assert found > 20
    assert same > 0


@pytest.mark.exhaustive
def test_many_changed_bits(files: list[Path], tmp_path: Path) -> None:
    flips(files, tmp_path, 5000)


@pytest.mark.parametrize("column", ["node_ids", "timestamps", "signs"])
def test_a_changed_spike_is_found(files: list[Path], tmp_path: Path, column: str) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(files[0].read_bytes())
    with h5py.File(path, "r+") as file:
        dataset = file[f"spikes/mid/{column}"]
        dataset[0] = -dataset[0] if column == "signs" else dataset[1] if column == "timestamps" else (dataset[0] + 1) % 3
    with es.Trace(path) as trace, pytest.raises(es.TraceError, match="check sum"):
        trace.spikes("mid")
    done = CliRunner().invoke(main, ["info", str(path), "--verify"])
    assert done.exit_code == 1
    assert "check sum" in done.output


def test_info_verifies(files: list[Path], tmp_path: Path) -> None:
    es.save(network(), tmp_path / "net.h5")
    for path in (*files, tmp_path / "net.h5"):
        done = CliRunner().invoke(main, ["info", str(path), "--verify"], catch_exceptions=False)
        assert done.exit_code == 0
        assert "verified: all of it, against its check sums" in done.output


def external_file(file: h5py.File, path: str, folder: Path) -> None:
    shape, dtype = file[path].shape, file[path].dtype
    del file[path]
    (folder / "secret").write_bytes(bytes(2**16))
    file.create_dataset(path, shape, dtype, external=[(str(folder / "secret"), 0, 2**16)])


def virtual(file: h5py.File, path: str, folder: Path) -> None:
    layout = h5py.VirtualLayout(file[path].shape, file[path].dtype)
    with h5py.File(folder / "secret.h5", "w") as other:
        other["x"] = file[path][()]
    layout[...] = h5py.VirtualSource(str(folder / "secret.h5"), "x", file[path].shape)
    del file[path]
    file.create_virtual_dataset(path, layout)


def external_link(file: h5py.File, path: str, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as other:
        other["x"] = file[path][()]
    del file[path]
    file[path] = h5py.ExternalLink(str(folder / "secret.h5"), "x")


def soft_link(file: h5py.File, path: str, folder: Path) -> None:
    file.move(path, "elsewhere")
    file[path] = h5py.SoftLink("/elsewhere")


def huge(file: h5py.File, path: str, folder: Path) -> None:
    dtype, shape = file[path].dtype, file[path].shape
    del file[path]
    file.create_dataset(path, (2**31, *shape[1:]), dtype, chunks=(2**10, *shape[1:]), compression="gzip")


def variable(file: h5py.File, path: str, folder: Path) -> None:
    del file[path]
    file.create_dataset(path, data=["a"], dtype=h5py.string_dtype())


@pytest.mark.parametrize("change", [external_file, virtual, external_link, soft_link, huge, variable])
@pytest.mark.parametrize("which", [0, 1])
def test_what_leads_elsewhere_or_claims_too_much_is_refused(files: list[Path], tmp_path: Path, change: Any, which: int) -> None:
    path = tmp_path / files[which].name
    path.write_bytes(files[which].read_bytes())
    with h5py.File(path, "r+") as file:
        change(file, ("eventsim/image", "label")[which], tmp_path)
    for command in (["info", str(path)], ["report", str(path), "-o", str(tmp_path / "r.html")]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 1, done.output
        assert "damaged" in done.output
        assert done.output.count("\n") == 1


def test_a_disk_that_is_full_at_any_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write of a trace fails once: one error, the old trace as it was, nothing left."""
    path = tmp_path / "run.h5"
    write_trace(path)
    old = path.read_bytes()
    pwrite = os.pwrite
    left = 0

    def failing(handle: int, data: Any, offset: int) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(handle, data, offset)

    monkeypatch.setattr(hdf5_writing.os, "pwrite", failing)
    writes = 0
    while True:
        left = writes
        with contextlib.suppress(es.TraceError):
            write_trace(path)
        if left < 0:
            assert path.read_bytes() == old
            assert os.listdir(tmp_path) == ["run.h5"]
            writes += 1
        else:
            break
    left = 0
    with pytest.raises(es.TraceError, match="No space left"):
        write_trace(path)
    assert writes > 10
    assert path.read_bytes() != old


def test_a_network_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hdf5_writing.os, "pwrite", failing)
    with pytest.raises(es.NetworkFileError, match="No space left"):
        es.save(network(), tmp_path / "net.h5")
    assert os.listdir(tmp_path) == []


def test_a_report_does_not_replace_its_input(files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    path.write_bytes(files[0].read_bytes())
    (tmp_path / "link").symlink_to(path)
    os.link(path, tmp_path / "hard")
    for output in ("r.h5", "link", "hard"):
        done = CliRunner().invoke(main, ["report", str(path), "-o", str(tmp_path / output)])
        assert done.exit_code == 1
        assert "is an input" in done.output
    assert path.read_bytes() == files[0].read_bytes()


def test_a_conversion_does_not_replace_its_model(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"a model")
    for command in (["-o", str(model)], ["-o", str(tmp_path / "n.h5"), "--nir", str(model)], ["-o", "x.h5", "--nir", "x.h5"]):
        done = CliRunner().invoke(main, ["convert", str(model), *command])
        assert done.exit_code == 1
        assert "is an input" in done.output
    assert model.read_bytes() == b"a model"


def test_sealing_reads_back_what_was_not_hashed_on_the_way(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x/y"] = np.arange(10)
        seal(file, {})
        assert file[f"{SEAL}/x/y"].shape == (1,)

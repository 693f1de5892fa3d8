"""Network files: round trips, whole-or-nothing writing, and a suite of hostile files."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from repository import ROOT

from eventsim.errors import NetworkError, NetworkFileError
from eventsim.model import netfile
from eventsim.model.network import MAX_NEURONS, Network
from eventsim.model.tables import Conv2d, Dense, Sparse

# --- sample networks --------------------------------------------------------------------------------------------------


def everything() -> Network:
    """One of each: kind of population, table, option."""
    rng = np.random.default_rng(1)
    net = Network()
    net.image_input((6, 5, 3), scale=[2, 3, 4], offset=[100, -5, 0])
    first = Conv2d(rng.integers(-300, 300, (3, 3, 3, 4)), stride=(1, 2), padding=(1, 0, 1, 1))
    shape = first.output_shape((6, 5, 3))
    net.driven("in", shape, [900, 800, 700, 600], v0=450, refractory=0.5, encoder=first, bias=[1, -2, 3, -4])
    conv = Conv2d(rng.choice([-3, 3], (3, 3, 4, 5)), padding=1, pool_before=1, pool_after=(2, 1))
    net.spiking("hidden: a.b > c", conv.output_shape(shape), 7, v0=[0, 1, -2, 3, 4], signed=True, refractory=0.25)
    net.connect("in", "hidden: a.b > c", conv, delay=1.5, name="first one")
    net.spiking("hid+den-2", 7, 5, reset="zero")
    hidden = net.populations["hidden: a.b > c"].shape
    net.connect("hidden: a.b > c", "hid+den-2", Dense(rng.choice([-200, 200], (int(np.prod(hidden)), 7))))
    net.connect("hid+den-2", "hid+den-2", Sparse([0, 2, 2, 3, 3, 3, 3, 4], [1, 6, 0, 2], [5, -6, 70000, 0], 7), delay=2)
    net.connect("hid+den-2", "hid+den-2", Sparse([0, 0, 0, 0, 0, 0, 0, 3], [0, 3, 4], [2, -2, 2], 7), delay=3)
    net.source("noise", (2, 2, 2), "poisson", rate=rng.random((2, 2, 2)))
    net.source("steady", 3, "poisson", rate=0.25)
    net.source("camera", (4, 4, 2))
    net.connect("noise", "hid+den-2", Sparse(np.zeros(9, int), np.zeros(0, int), np.zeros(0, int), 7))
    net.connect("steady", "hid+den-2", Dense(rng.integers(-5, 5, (3, 7))))
    net.connect("camera", "hid+den-2", Dense(rng.integers(-5, 5, (8, 7)), pool_before=2))
    net.readout("out", 3, v0=[0, 1, 2])
    net.readout("other", 2)
    net.connect("hid+den-2", "out", Dense(rng.integers(-9, 10, (7, 3))))
    net.bias("out", [1, 2, 3])
    net.labels = ["cat", "Köter", ""]
    net.provenance = {"model": "née", "accuracy": 0.935, "layers": [1, 2, {"a": None}], "big": 2**70, "ok": True, "text": "two\nlines"}
    return net


def binary() -> Network:
    rng = np.random.default_rng(2)
    net = Network()
    net.driven("in", 13, threshold=np.arange(1, 14))
    net.spiking("mid", (1, 3, 3), 3)
    net.readout("out", 2)
    net.connect("in", "mid", Dense(rng.choice([-1, 1], (13, 9))))
    net.connect("mid", "out", Conv2d(rng.choice([-1, 1], (1, 3, 3, 2))))
    return net


def recurrent() -> Network:
    """No input, no output, no labels."""
    net = Network()
    net.source("clock", (1, 1, 2), "clock")
    net.spiking("ring", (1, 1, 2), 4)
    net.connect("clock", "ring", [[1, 2], [3, 4]])
    net.connect("ring", "ring", Sparse([0, 1, 2], [1, 0], [-1, 1], 2), delay=0.125)
    return net


SAMPLES: dict[str, Callable[[], Network]] = {"everything": everything, "binary": binary, "recurrent": recurrent}


@pytest.fixture(scope="module")
def sample_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("samples")
    for name, make in SAMPLES.items():
        netfile.save(make(), folder / name)
    return {name: (folder / name).read_bytes() for name in SAMPLES}


def same(a: Any, b: Any) -> bool:
    """Deep equality of networks, types and dtypes included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool(np.all(a == b))
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


# --- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES)
def test_round_trip(sample: str, tmp_path: Path) -> None:
    net = SAMPLES[sample]()
    netfile.save(net, tmp_path / "net.h5")
    again = netfile.load(str(tmp_path / "net.h5"))
    assert same(net, again)
    assert os.listdir(tmp_path) == ["net.h5"]


def random_table(rng: np.random.Generator, source: tuple[int, ...], target: tuple[int, ...] | None) -> Any:
    """A table from ``source``, to ``target`` or (a convolution) to whatever it makes."""

    def weights(shape: tuple[int, ...]) -> np.ndarray:
        limit = int(rng.choice([1, 2, 127, 128, 129, 32767, 32768, 2**31 - 1]))
        kind = rng.integers(4)
        if kind == 0:
            return rng.choice([-limit, limit], shape)
        if kind == 1:
            return np.full(shape, rng.choice([-limit, limit]))
        return rng.integers(-limit, limit + 1, shape) if kind == 2 else np.zeros(shape, int)

    n = int(np.prod(source))
    if target is None:
        c = source[2]
        kernel = [int(rng.integers(1, 4)), int(rng.integers(1, 4))]
        padding = [int(rng.integers(0, k)) for k in kernel * 2]
        settings = [[int(v) for v in rng.integers(1, 3, 2)] for _ in range(3)]
        return Conv2d(weights((*kernel, c, int(rng.integers(1, 6)))), settings[0], padding, settings[1], settings[2])
    m = int(np.prod(target))
    if rng.random() < 0.5:
        pool = (int(rng.integers(1, 3)), int(rng.integers(1, 3))) if len(source) == 3 and source[0] > 1 and source[1] > 1 else (1, 1)
        if len(source) == 3:
            n = source[0] // pool[0] * (source[1] // pool[1]) * source[2]
        return Dense(weights((n, m)), pool)
    mask = rng.random((n, m)) < rng.choice([0.0, 0.3, 1.0])
    return Sparse(np.concatenate(([0], np.cumsum(mask.sum(1)))), np.nonzero(mask)[1], weights((int(mask.sum()),)), m)


def random_network(seed: int) -> Network:
    rng = np.random.default_rng(seed)
    net = Network()
    limit = 2**31 - 1

    def shape() -> tuple[int, ...]:
        return tuple(int(v) for v in rng.integers(1, 7, rng.choice([1, 3])))

    def channels(dims: tuple[int, ...], low: int) -> Any:
        few = rng.integers(low, limit, endpoint=True) if rng.random() < 0.5 else rng.integers(low, limit, dims[-1], endpoint=True)
        return few if rng.random() < 0.8 else low

    def period() -> float:
        return float(rng.choice([0.0, 1.0, rng.random() * 10, 1e6]))

    if rng.random() < 0.7:
        dims = tuple(int(v) for v in rng.integers(2, 8, 3))
        scales = [rng.integers(-(2**22), 2**22 + 1, dims[2]), rng.integers(-(2**30), 2**30 + 1, dims[2])]
        net.image_input(dims, *(s if rng.random() < 0.7 else s[0] for s in scales))
    alphabet = "abAB09_.:+-> "
    for i in range(int(rng.integers(1, 7))):
        name = f"{i}" + "".join(rng.choice(list(alphabet), rng.integers(0, 99 if rng.random() < 0.3 else 9)))
        kind, dims = rng.integers(4), shape()
        options: dict[str, Any] = {"v0": channels(dims, -(2**31)), "refractory": period()}
        if kind == 0:
            if net.input is not None and rng.random() < 0.7:
                table = random_table(rng, net.input.shape, None if rng.random() < 0.5 else dims)
                try:
                    dims = table.output_shape(net.input.shape) if isinstance(table, Conv2d) else dims
                    table.check(net.input.shape, dims)
                except NetworkError:
                    table = None
                options["encoder"] = table
                options["v0"] = channels(dims, -(2**31))
            net.driven(name, dims, channels(dims, 1), bias=channels(dims, -(2**31)), **options)
        elif kind == 1:
            signed = bool(rng.random() < 0.5)
            net.spiking(
                name, dims, channels(dims, 1), reset="zero" if not signed and rng.random() < 0.5 else "subtract", signed=signed, **options
            )
        elif kind == 2:
            net.readout(name, dims, v0=options["v0"])
        else:
            emits = str(rng.choice(["events", "poisson", "clock"]))
            rate = [None, rng.random(dims), 0.5, 0, 1][rng.integers(5)] if emits == "poisson" else None
            net.source(name, dims, emits, rate=rate)  # type: ignore[arg-type]
    pre = [n for n, p in net.populations.items() if p.kind != "readout"]
    post = [n for n, p in net.populations.items() if p.kind in ("spiking", "readout")]
    for i in range(int(rng.integers(0, 8)) if pre and post else 0):
        source, target = str(rng.choice(pre)), str(rng.choice(post))
        table = random_table(rng, net.populations[source].shape, net.populations[target].shape)
        net.connect(source, target, table, delay=period(), name=f"p {i}" if rng.random() < 0.3 else None)
    if net.output is not None and rng.random() < 0.3:
        net.output = None
    elif net.output is not None and rng.random() < 0.5:
        net.labels = ["x" * int(k) + "é" for k in rng.integers(0, 500, int(np.prod(net.populations[net.output].shape)))]
    return net


def test_round_trip_of_random_networks(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    kinds: set[str] = set()
    for seed in range(150):
        net = random_network(seed)
        netfile.save(net, path)
        assert same(net, netfile.load(path)), f"seed {seed}"
        kinds |= {p.kind for p in net.populations.values()}
        kinds |= {f"{q.table.kind} {q.table.weights.dtype} {q.table.magnitude is not None}" for q in net.projections}
        kinds |= {f"encoder {p.encoder.kind}" for p in net.populations.values() if p.kind == "driven" and p.encoder is not None}
        kinds |= {"long name" for q in net.projections if len(q.name) > 100}
    for table in ("dense", "sparse"):
        for dtype in ("int8", "int16", "int32"):
            assert {f"{table} {dtype} True", f"{table} {dtype} False"} <= kinds
    assert {"driven", "spiking", "readout", "source", "long name", "encoder conv2d", "encoder dense", "encoder sparse"} <= kinds


def test_every_binary_magnitude_and_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    path = tmp_path / "net.h5"
    for magnitude in (1, 2, 127, 128, 129, 32767, 32768, 2**31 - 1):
        for n in (1, 7, 8, 9):
            for values in (rng.choice([-1, 1], (1, n)), np.ones((1, n), int), -np.ones((1, n), int)):
                net = Network()
                net.source("s", 1)
                net.readout("r", n)
                net.connect("s", "r", Dense(values * magnitude))
                netfile.save(net, path)
                assert same(net.projections[0].table, netfile.load(path).projections[0].table)


def test_binary_weights_are_packed_and_equal_values_stored_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    net = Network()
    net.source("s", 1000, "poisson", rate=0.5)
    net.spiking("h", 999, 3)
    weights = rng.choice([-5, 5], (1000, 999))
    net.connect("s", "h", Dense(weights))
    path = tmp_path / "net.h5"
    netfile.save(net, path)
    assert path.stat().st_size < 1000 * 999 / 8 + 16000
    with h5py.File(path) as file:
        table = file["projections/0/table"]
        assert set(table) == {"signs"}
        assert table.attrs["magnitude"] == 5
        # Most significant bit first, 1 is positive.
        assert [int(b) for b in f"{table['signs'][0]:08b}"] == [int(w > 0) for w in weights[0, :8]]
        assert file["populations/0/rate"].shape == (1,)
        assert file["populations/1/threshold"].shape == (1,)
    assert same(net, netfile.load(path))


def test_long_and_repeated_default_names(tmp_path: Path) -> None:
    net = Network()
    for name in ("a" * 100, "b" * 100):
        net.spiking(name, 2, 1)
    for _ in range(3):
        net.connect("a" * 100, "b" * 100, np.eye(2, dtype=int))
    # Removing one leaves a name with a number that adding would not give.
    del net.projections[1]
    netfile.save(net, tmp_path / "net.h5")
    assert [p.name for p in netfile.load(tmp_path / "net.h5").projections] == [p.name for p in net.projections]


def test_output_none_and_not_the_first(tmp_path: Path) -> None:
    for output in (None, "b"):
        net = Network()
        net.readout("a", 2)
        net.readout("b", 3)
        net.output = output
        netfile.save(net, tmp_path / "net.h5")
        assert netfile.load(tmp_path / "net.h5").output == output


def test_saving_twice_makes_the_same_bytes(tmp_path: Path) -> None:
    netfile.save(everything(), tmp_path / "a")
    netfile.save(netfile.load(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_seal_is_the_checksum_of_the_body(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    netfile.save(binary(), path)
    data = path.read_bytes()
    checksum = hashlib.sha256(data[512:]).hexdigest()
    assert data.startswith(f"eventsim-network 1\nsha256 {checksum}\nbytes {len(data) - 512}\n\0".encode())


def test_provenance_keeps_json_values(tmp_path: Path) -> None:
    net = binary()
    net.provenance = {"t": (1, 2), "np": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True), "s": "\x00\n", "z": "x" * 60000}
    netfile.save(net, tmp_path / "net.h5")
    expected = {"t": [1, 2], "np": 0.5, "i": 3, "b": True, "s": "\x00\n", "z": "x" * 60000}
    assert netfile.load(tmp_path / "net.h5").provenance == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("provenance", {"x": float("nan")}),
        ("provenance", {"x": [float("inf")]}),
        ("provenance", {1: "x"}),
        ("provenance", {"x": {None: 1}}),
        ("provenance", {"x": object()}),
        ("provenance", {"x": np.zeros(2)}),
        ("provenance", {"x": b"bytes"}),
        ("provenance", {"x": "\ud800"}),
        ("provenance", {"x": "y" * 70000}),
        ("provenance", {"x": [1] * 40000}),
        ("provenance", ["a"]),
        ("labels", ["a", "b\n"]),
        ("labels", ["a", "b\0"]),
        ("labels", ["a", "x" * 2000]),
        ("labels", ["a", "\ud800"]),
        ("labels", ["a", 5]),
        ("labels", ["a"]),
        ("output", "mid"),
        ("populations", {}),
    ],
)
def test_what_a_file_cannot_hold_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    net = binary()
    setattr(net, field, value)
    with pytest.raises(NetworkError):
        netfile.save(net, tmp_path / "net.h5")
    assert not os.listdir(tmp_path)


def test_deeply_nested_provenance_is_refused(tmp_path: Path) -> None:
    net = binary()
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    net.provenance = {"x": deep}
    with pytest.raises(NetworkError):
        netfile.save(net, tmp_path / "net.h5")
    # Taken apart step by step: freeing it at once would recurse as deep.
    while deep:
        deep = deep.pop()


def test_a_network_changed_by_hand_is_not_saved(tmp_path: Path) -> None:
    """What load would refuse never replaces a good file."""
    path = tmp_path / "net.h5"
    netfile.save(binary(), path)
    before = path.read_bytes()
    changes: list[Callable[[Network], Any]] = [
        lambda net: net.populations.update({"in": dataclasses.replace(net.populations["in"], threshold=np.zeros(13, np.int64))}),
        lambda net: net.populations.update({"in": dataclasses.replace(net.populations["in"], threshold=np.full(13, 1.5))}),
        lambda net: net.populations.update({"in": dataclasses.replace(net.populations["in"], threshold=np.full(13, 2**40))}),
        lambda net: net.populations.update({"bad/name": net.populations["mid"]}),
        lambda net: net.populations.pop("in"),
        lambda net: net.projections.append(net.projections[0]),
        lambda net: net.projections.append(dataclasses.replace(net.projections[0], name="x", delay=-1.0)),
        lambda net: net.projections.append(dataclasses.replace(net.projections[0], name="x", target="out")),
    ]
    for change in changes:
        net = binary()
        change(net)
        with pytest.raises(NetworkError, match=r"net\.h5"):
            netfile.save(net, path)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["net.h5"]


# --- writing is whole or nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError(), RuntimeError("HDF5")]
)
@pytest.mark.parametrize("where", ["_write_table", "_seal", "_read", "replace", "fsync"])
def test_a_failed_save_leaves_the_old_file(where: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.h5"
    netfile.save(binary(), path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(netfile.os if where in ("replace", "fsync") else netfile, where, fail)
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


# --- hostile files: bytes ---------------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    """Loading fails as it should; returns the message without the path."""
    with pytest.raises(NetworkFileError) as caught:
        netfile.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable(), ascii(message)
    assert len(message) < 600
    return message[len(f"{path}: ") :]


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
    monkeypatch.setattr(netfile.h5py, "File", reached)
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
        ((b"eventsim-network 1\nsha256 " + b"0" * 64 + b"\nbytes 88\n").ljust(600, b"\0"), "damaged: checksum differs"),
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
    netfile._seal(str(path))
    assert "user block of 1024" in refused(path)
    path.write_bytes(bytes(512) + b"no HDF5 at all")
    netfile._seal(str(path))
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
    verify = netfile._verify

    def swap(file: Any) -> Any:
        result = verify(file)
        (tmp_path / "new").write_bytes(sample_files["binary"])
        os.replace(tmp_path / "new", path)
        return result

    monkeypatch.setattr(netfile, "_verify", swap)
    assert "changed while it was being read" in refused(path)


# --- hostile files: structure -----------------------------------------------------------------------------------------
#
# Every attribute, dataset and group of the sample files is changed in every way below, the file is sealed again, and loaded.

Mutation = Callable[[h5py.File, str, Any], None]


def set_attribute(value: Any, **options: Any) -> Mutation:
    def mutate(file: h5py.File, where: str, name: str) -> None:
        del file[where].attrs[name]
        file[where].attrs.create(name, value, **options)

    return mutate


def null_attribute(file: h5py.File, where: str, name: str) -> None:
    file[where].attrs[name] = h5py.Empty(file[where].attrs.get_id(name).dtype)


def longer_attribute(file: h5py.File, where: str, name: str) -> None:
    value = np.atleast_1d(file[where].attrs[name])
    del file[where].attrs[name]
    file[where].attrs[name] = np.concatenate([value, value, value])


def retyped_attribute(dtype: Any) -> Mutation:
    def mutate(file: h5py.File, where: str, name: str) -> None:
        value = file[where].attrs[name]
        del file[where].attrs[name]
        file[where].attrs[name] = np.zeros(np.shape(value), dtype)

    return mutate


def delete_attribute(file: h5py.File, where: str, name: str) -> None:
    del file[where].attrs[name]


def rename_attribute(file: h5py.File, where: str, name: str) -> None:
    h5py.h5a.rename(file[where].id, name.encode(), b"\xff\xfe\n")


def reference_attribute(file: h5py.File, where: str, name: str) -> None:
    file[where].attrs[name] = file.ref


# No attribute has any of these as a right value.
ATTRIBUTE_NEVER: dict[str, Mutation] = {
    "rename": rename_attribute,
    "null": null_attribute,
    "reference": reference_attribute,
    "object text": set_attribute("conv2d"),
    "object array": set_attribute(["a", "bb"], dtype=h5py.string_dtype()),
    "vlen": lambda file, where, name: low_level_attribute(file[where], name, h5py.h5t.vlen_create(h5py.h5t.STD_I64LE)),
    "int32": retyped_attribute("<i4"),
    "big-endian": retyped_attribute(">i8"),
    "unsigned": retyped_attribute("<u8"),
    "float32": retyped_attribute("<f4"),
    "big-endian float": retyped_attribute(">f8"),
    "complex": retyped_attribute("c16"),
    "bool": retyped_attribute("?"),
    "enum": set_attribute(0, dtype=h5py.enum_dtype({"zero": 0, "one": 1}, basetype="<i8")),
    "compound": retyped_attribute([("a", "<i8"), ("b", "<f8")]),
    "opaque": retyped_attribute("V8"),
    "array type": lambda file, where, name: low_level_attribute(file[where], name, h5py.h5t.array_create(h5py.h5t.STD_I64LE, (3,))),
    "not UTF-8": set_attribute(np.bytes_(b"\xff\xfe")),
    "control": set_attribute(np.bytes_(b"a\x1b[31m\n")),
    "wrong text": set_attribute(np.bytes_(b"../../etc/passwd")),
    "slash": set_attribute(np.bytes_(b"/populations/0")),
    "NUL inside": set_attribute(np.bytes_(b"in\0x")),
    "empty text": set_attribute(np.bytes_(b"")),
    "long text": set_attribute(np.bytes_(b"x" * 5000)),
    "minus one": set_attribute(np.int64(-1)),
    "minimum": set_attribute(np.int64(-(2**63))),
    "maximum": set_attribute(np.int64(2**63 - 1)),
    "huge": set_attribute(np.full(3, 2**40)),
    "huge four": set_attribute(np.full(4, 2**62)),
    "negative two": set_attribute(np.array([-1, 1])),
    "zero shape": set_attribute(np.zeros(1, "<i8")),
    "no dimensions": set_attribute(np.zeros(0, "<i8")),
    "many values": set_attribute(np.ones(8000, "<i8")),
    "nan": set_attribute(np.float64("nan")),
    "inf": set_attribute(np.float64("inf")),
    "negative float": set_attribute(-1e-300),
    "absurd float": set_attribute(1e300),
    "space-padded": lambda file, where, name: low_level_attribute(file[where], name, space_padded_type()),
}
# These can make another valid network.
ATTRIBUTE_PERHAPS: dict[str, Mutation] = {
    "delete": delete_attribute,
    "longer": longer_attribute,
    "zero": set_attribute(np.int64(0)),
    "one": set_attribute(np.int64(1)),
    "two": set_attribute(np.int64(2)),
    "int32 maximum": set_attribute(np.int64(2**31 - 1)),
    "beyond int32": set_attribute(np.int64(2**31)),
    "pair": set_attribute(np.array([1, 2])),
    "largest pair": set_attribute(np.full(2, MAX_NEURONS)),
    "line": set_attribute(np.array([5])),
    "longest line": set_attribute(np.array([MAX_NEURONS])),
    "cube": set_attribute(np.array([2, 1, 1])),
    "largest cube": set_attribute(np.array([2**9, 2**9, 2**9])),
    "four ones": set_attribute(np.ones(4, "<i8")),
    "float zero": set_attribute(0.0),
    "float minus zero": set_attribute(-0.0),
    "long period": set_attribute(1e6),
    "denormal": set_attribute(5e-324),
    **{
        f"text {t}": set_attribute(np.bytes_(t.encode()))
        for t in ("out", "in", "zero", "events", "clock", "dense", "sparse", "readout", "é")
    },
}


def low_level_attribute(group: h5py.Group, name: str, kind: Any) -> None:
    """An attribute of any HDF5 type, its value left at zero."""
    del group.attrs[name]
    h5py.h5a.create(group.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))


def space_padded_type() -> Any:
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(4)
    kind.set_strpad(h5py.h5t.STR_SPACEPAD)
    return kind


def replace(make: Callable[[h5py.Group, str, np.ndarray], Any]) -> Mutation:
    """A dataset deleted and made again in another way."""

    def mutate(file: h5py.File, parent: str, name: str) -> None:
        values = file[parent][name][()]
        del file[parent][name]
        make(file[parent], name, np.asarray(values))

    return mutate


def store(change: Callable[[np.ndarray], Any], **options: Any) -> Mutation:
    return replace(lambda group, name, values: group.create_dataset(name, data=change(values), **options))


def huge(chunked: bool) -> Mutation:
    def make(group: h5py.Group, name: str, values: np.ndarray) -> None:
        kind = values.dtype if values.dtype.kind != "S" else np.dtype("S1000")
        shape = (2**40,) if values.ndim <= 1 else (2**10,) * 4
        group.create_dataset(name, shape, kind, chunks=(2**16,) if chunked and len(shape) == 1 else (chunked and (2**4,) * 4) or None)

    return replace(make)


def unwritten(group: h5py.Group, name: str, values: np.ndarray) -> None:
    group.create_dataset(name, values.shape, values.dtype)


def external_storage(group: h5py.Group, name: str, values: np.ndarray) -> None:
    group.create_dataset(name, np.atleast_1d(values).shape, values.dtype, external=[("/etc/passwd", 0, values.nbytes)])


def virtual(group: h5py.Group, name: str, values: np.ndarray) -> None:
    layout = h5py.VirtualLayout(np.atleast_1d(values).shape, values.dtype)
    layout[...] = h5py.VirtualSource("elsewhere.h5", "x", np.atleast_1d(values).shape)
    group.create_virtual_dataset(name, layout)


def virtual_unlimited(group: h5py.Group, name: str, values: np.ndarray) -> None:
    layout = h5py.VirtualLayout((4,), values.dtype, maxshape=(None,))
    source = h5py.VirtualSource(".", "/provenance", (4,), maxshape=(None,))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    group.create_virtual_dataset(name, layout)


def compact(group: h5py.Group, name: str, values: np.ndarray) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    kind, space = h5py.h5t.py_create(values.dtype), h5py.h5s.create_simple(values.shape or (1,))
    h5py.h5d.create(group.id, name.encode(), kind, space, layout).write(h5py.h5s.ALL, h5py.h5s.ALL, np.atleast_1d(values))


def link(make: Callable[[h5py.Group, str], Any]) -> Mutation:
    """A member that becomes a link."""

    def mutate(file: h5py.File, parent: str, name: str) -> None:
        file[parent].move(name, "moved")
        file[parent][name] = make(file[parent], name)
        if parent != "/":
            file.move(f"{parent}/moved", "/moved away")
        else:
            del file["moved"]

    return mutate


def hard_link(target: str) -> Mutation:
    def mutate(file: h5py.File, parent: str, name: str) -> None:
        aim = file[parent] if target == "." else file[target]
        del file[parent][name]
        file[parent][name] = aim

    return mutate


def delete(file: h5py.File, parent: str, name: str) -> None:
    del file[parent][name]


def rename(new: bytes) -> Mutation:
    def mutate(file: h5py.File, parent: str, name: str) -> None:
        group = file[parent].id
        group.links.move(name.encode(), group, new)

    return mutate


def named_type(file: h5py.File, parent: str, name: str) -> None:
    del file[parent][name]
    file[parent][name] = np.dtype("<i4")


def extra_attribute(file: h5py.File, parent: str, name: str) -> None:
    file[parent][name].attrs["extra"] = 1


def soft_link_in_place(file: h5py.File, parent: str, name: str) -> None:
    file.move(f"{parent}/{name}", "/projections/0/kept")
    file[parent][name] = h5py.SoftLink("/projections/0/kept")


MEMBER_NEVER: dict[str, Mutation] = {
    "soft link": soft_link_in_place,
    "dangling soft link": link(lambda group, name: h5py.SoftLink("/nowhere")),
    "soft link to itself": link(lambda group, name: h5py.SoftLink(name)),
    "external link": link(lambda group, name: h5py.ExternalLink("elsewhere.h5", "/x")),
    "external link to /dev/zero": link(lambda group, name: h5py.ExternalLink("/dev/zero", "/")),
    "hard link to the parent": hard_link("."),
    "hard link to the root": hard_link("/"),
    "hard link to /projections": hard_link("/projections"),
    "renamed": rename(b"other"),
    "renamed, not UTF-8": rename(b"\xff\xfe"),
    "renamed, control": rename(b"\x1b[31m\n"),
    "named type": named_type,
    "extra attribute": extra_attribute,
}
DATASET_NEVER: dict[str, Mutation] = {
    **MEMBER_NEVER,
    "hard link to another dataset": hard_link("/provenance"),
    "group": replace(lambda group, name, values: group.create_group(name)),
    "scalar/vector": store(lambda v: v.reshape(1) if v.shape == () else np.zeros((), v.dtype)),
    "rank + 1": store(lambda v: v[None]),
    "eleven more": store(lambda v: np.concatenate([v.ravel(), np.resize(v, 11)])),
    "empty": store(lambda v: np.zeros((0, 3), v.dtype)),
    "null space": replace(lambda group, name, values: group.create_dataset(name, data=h5py.Empty(values.dtype))),
    "float32": store(lambda v: np.zeros(v.shape, "<f4")),
    "float16": store(lambda v: np.zeros(v.shape, "<f2")),
    "uint64": store(lambda v: np.zeros(v.shape, "<u8")),
    "uint32": store(lambda v: np.zeros(v.shape, "<u4")),
    "big-endian int": store(lambda v: np.zeros(v.shape, ">i4")),
    "big-endian long": store(lambda v: np.zeros(v.shape, ">i8")),
    "big-endian float": store(lambda v: np.zeros(v.shape, ">f8")),
    "bool": store(lambda v: np.zeros(v.shape, "?")),
    "enum": store(lambda v: np.zeros(v.shape, "<i4"), dtype=h5py.enum_dtype({"zero": 0}, basetype="<i4")),
    "complex": store(lambda v: np.zeros(v.shape, "c16")),
    "compound": store(lambda v: np.zeros(v.shape, [("a", "<i4"), ("b", "<f8")])),
    "opaque": store(lambda v: np.zeros(v.shape, "V4")),
    "object text": store(lambda v: np.full(v.shape, "x", object), dtype=h5py.string_dtype()),
    "vlen": replace(lambda group, name, values: group.create_dataset(name, values.shape, h5py.vlen_dtype(np.int32))),
    "references": replace(lambda group, name, values: group.create_dataset(name, values.shape, h5py.ref_dtype)),
    "long texts": store(lambda v: np.full(v.shape, b"x", "S70000")),
    "huge, chunked": huge(True),
    "huge, contiguous": huge(False),
    "gzip": store(np.atleast_1d, compression="gzip", chunks=True, maxshape=None),
    "shuffle": store(lambda v: np.concatenate([np.atleast_1d(v)] * 2), shuffle=True),
    "fletcher32": store(np.atleast_1d, fletcher32=True),
    "resizable": store(np.atleast_1d, maxshape=None, chunks=True),
    "external storage": replace(external_storage),
    "virtual": replace(virtual),
    "virtual, unlimited": replace(virtual_unlimited),
    "compact": replace(compact),
}
# Only where the dataset is not empty.
DATASET_FILLED: dict[str, Mutation] = {"nothing stored": replace(unwritten)}
INTEGER_PERHAPS: dict[str, Mutation] = {
    "int8": store(lambda v: v.astype("<i1")),
    "int16": store(lambda v: v.astype("<i2")),
    "int32": store(lambda v: v.astype("<i4")),
    "int64": store(lambda v: v.astype("<i8")),
    "uint8": store(lambda v: v.astype("<u1")),
    "float64": store(lambda v: v.astype("<f8")),
    "first only": store(lambda v: v.ravel()[:1]),
    "one fewer": store(lambda v: v[:-1]),
    "reversed": store(lambda v: v[::-1]),
    "zeros": store(np.zeros_like),
    "minus one": store(lambda v: np.full_like(v, -1 if v.dtype.kind == "i" else 255)),
    "minimum": store(lambda v: np.full_like(v, np.iinfo(v.dtype).min)),
    "maximum": store(lambda v: np.full_like(v, np.iinfo(v.dtype).max)),
    "last is the maximum": store(lambda v: np.concatenate([v.ravel()[:-1], [np.iinfo(v.dtype).max]]).astype(v.dtype).reshape(v.shape)),
    "last is the minimum": store(lambda v: np.concatenate([v.ravel()[:-1], [np.iinfo(v.dtype).min]]).astype(v.dtype).reshape(v.shape)),
    "last is large": store(
        lambda v: np.concatenate([v.ravel()[:-1], [min(2**30, np.iinfo(v.dtype).max)]]).astype(v.dtype).reshape(v.shape)
    ),
}
FLOAT_NEVER: dict[str, Mutation] = {
    name: store(lambda v, value=value: np.where(np.arange(v.size).reshape(v.shape) == v.size - 1, value, v))
    for name, value in {
        "nan": np.nan,
        "inf": np.inf,
        "minus inf": -np.inf,
        "negative": -1e-9,
        "above one": 1.0000001,
        "1e308": 1e308,
    }.items()
}
TEXT_NEVER: dict[str, Mutation] = {
    name: store(lambda v, raw=raw: np.full(v.shape, raw))
    for name, raw in {
        "not UTF-8": b"\xff\xfe{}",
        "control": b"\x1b[31m",
        "half a character": b"\xed\xa0\x80",
        "NUL inside": b"a\0b",
    }.items()
}
PROVENANCE_NEVER: dict[str, Mutation] = {
    f"JSON {raw[:20]!r}": store(lambda v, raw=raw: np.array(raw))
    for raw in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 65000,
        b'{"a":' * 12000,
        b"{} {}",
        b"__import__('os')",
        b'{"a": "' + b"x" * 65600 + b'"}',
    )
}


def extra_member(make: Callable[[h5py.Group], Any]) -> Mutation:
    def mutate(file: h5py.File, parent: str, name: str) -> None:
        group = file[parent][name] if name else file[parent]
        made = make(group)
        if made is not None:
            group["extra"] = made

    return mutate


def many(make: Callable[[h5py.Group, int], Any], count: int) -> Mutation:
    def mutate(file: h5py.File, parent: str, name: str) -> None:
        group = file[parent][name] if name else file[parent]
        for i in range(count):
            make(group, i)

    return mutate


GROUP_NEVER: dict[str, Mutation] = {
    "extra group": extra_member(lambda group: group.create_group("extra") and None),
    "extra dataset": extra_member(lambda group: group.create_dataset("extra", data=1) and None),
    "extra number": extra_member(lambda group: group.create_group("1000") and None),
    "extra soft link": extra_member(lambda group: h5py.SoftLink("/populations")),
    "extra external link": extra_member(lambda group: h5py.ExternalLink("x.h5", "/")),
    "extra cycle": extra_member(lambda group: group),
    "extra cycle to the root": extra_member(lambda group: group.file["/"]),
    "extra name, not UTF-8": extra_member(lambda group: h5py.h5g.create(group.id, b"\xff") and None),
    "extra name, dots": extra_member(lambda group: group.create_group("...") and None),
    "extra named type": extra_member(lambda group: np.dtype("<i4")),
    "many members": many(lambda group, i: group.create_group(f"m{i}"), 200),
    "many attributes": many(lambda group, i: group.attrs.create(f"m{i}", i), 200),
    "one attribute": extra_member(lambda group: group.attrs.create("extra", 1)),
}
SUBGROUP_NEVER: dict[str, Mutation] = {
    **MEMBER_NEVER,
    "dataset": lambda file, parent, name: (delete(file, parent, name), file[parent].create_dataset(name, data=1))[0],
    "emptied": lambda file, parent, name: (delete(file, parent, name), file[parent].create_group(name))[0],
}


def walk(data: bytes, path: Path) -> Iterator[tuple[str, str, str, str, Mutation, bool]]:
    """All mutations of a file: (what is changed, parent or owner, name, mutator's name, mutator, must it be refused?)."""
    path.write_bytes(data)
    attributes: list[tuple[str, str]] = []
    datasets: list[tuple[str, str, np.dtype, int]] = []
    groups: list[tuple[str, str]] = []

    def visit(where: str, item: Any) -> None:
        parent, _, name = f"/{where}".rpartition("/")
        attributes.extend((f"/{where}", attribute) for attribute in item.attrs)
        if isinstance(item, h5py.Dataset):
            datasets.append((parent or "/", name, item.dtype, item.size))
        else:
            groups.append((parent or "/", name))

    with h5py.File(path, "r") as file:
        attributes.extend(("/", attribute) for attribute in file.attrs)
        file.visititems(visit)
    for owner, name in attributes:
        for label, mutation in ATTRIBUTE_NEVER.items():
            yield "attribute", owner, name, label, mutation, True
        for label, mutation in ATTRIBUTE_PERHAPS.items():
            yield "attribute", owner, name, label, mutation, False
    for parent, name, dtype, size in datasets:
        sets = [(DATASET_NEVER, True)]
        if size:
            sets += [(DATASET_FILLED, True)]
            sets += {"i": [(INTEGER_PERHAPS, False)], "u": [(INTEGER_PERHAPS, False)], "f": [(FLOAT_NEVER, True)]}.get(
                dtype.kind, [(TEXT_NEVER, True)]
            )
        sets += [(PROVENANCE_NEVER, True)] if name == "provenance" else []
        for mutations, must in sets:
            for label, mutation in mutations.items():
                if (name, label) != ("provenance", "hard link to another dataset"):
                    yield "dataset", parent, name, label, mutation, must
        yield "dataset", parent, name, "delete", delete, False
    for parent, name in [("/", ""), *groups]:
        for label, mutation in GROUP_NEVER.items():
            yield "group", parent, name, label, mutation, True
    for parent, name in groups:
        for label, mutation in SUBGROUP_NEVER.items():
            if (name, label) == ("projections", "hard link to /projections"):
                continue
            # An empty group of populations or projections is the right form of none.
            yield "group", parent, name, label, mutation, not (label == "emptied" and name == "projections")
        yield "group", parent, name, "delete", delete, False


# What may be missing without harm.
OPTIONAL = {"output", "labels", "rate", "input", "encoder"}


# By default every 17th case and every mutator at least once; all of them take minutes, in two parts for two processors.
@pytest.mark.parametrize(
    ("first", "every"), [(0, 17), pytest.param(0, 2, marks=pytest.mark.slow), pytest.param(1, 2, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("sample", SAMPLES)
def test_hostile_structures(sample: str, first: int, every: int, sample_files: dict[str, bytes], tmp_path: Path) -> None:
    data = sample_files[sample]
    path, again = tmp_path / "net.h5", tmp_path / "again.h5"
    cases = list(walk(data, path))
    chosen = cases[first::every]
    covered = {(case[0], case[3]) for case in chosen}
    for case in cases:
        if (case[0], case[3]) not in covered:
            covered.add((case[0], case[3]))
            chosen.append(case)
    refusals = loads = 0
    tracemalloc.start()
    try:
        for what, parent, name, label, mutation, must in chosen:
            case = f"{sample} {what} {parent} {name!r}: {label}"
            path.write_bytes(data)
            with h5py.File(path, "r+") as file:
                mutation(file, parent, name)
            netfile._seal(str(path))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                net = netfile.load(path)
            except NetworkFileError as error:
                message = str(error)
                assert message.startswith(f"{path}: "), case
                assert message.isprintable(), case
                assert len(message) < 600, case
                # The last resort for errors nobody thought of: nothing here should need it.
                assert "cannot be read as a network" not in message, f"{case}: {message}"
                refusals += 1
            except BaseException as error:
                raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
            else:
                assert not must, f"{case}: loaded"
                # The last projection, or the last population if nothing joins it, can go as well.
                assert label != "delete" or name in OPTIONAL or parent in ("/projections", "/populations"), f"{case}: loaded"
                net.check()
                netfile.save(net, again)
                assert same(netfile.load(again), net), case
                loads += 1
                del net
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < 4_000_000, f"{case}: {peak} bytes"
    finally:
        tracemalloc.stop()
    assert refusals > (6000 if sample == "everything" else 1200) // every
    # Not everything is refused: some changes are harmless.
    assert loads > 0


def links_to_one_table(file: h5py.File) -> None:
    table = file["projections/0/table"]
    for i in range(1, 100):
        group = file.create_group(f"projections/{i + 100}")
        group.attrs.update(dict(file["projections/0"].attrs))
        group.attrs["name"] = np.bytes_(f"p{i}")
        group["table"] = table
    for i in range(1, len(file["projections"]) - 99):
        del file[f"projections/{i}"]
    for i in range(1, 100):
        file.move(f"projections/{i + 100}", f"projections/{i}")


def wide(file: h5py.File, shape: Any, copies: int = 1) -> None:
    """Sources of any shape, which need no data."""
    for _ in range(copies):
        index = len(file["populations"])
        group = file.create_group(f"populations/{index}")
        group.attrs.update({"name": np.bytes_(f"wide{index}"), "kind": np.bytes_("source"), "emits": np.bytes_("events")})
        group.attrs["shape"] = np.array(shape, "<i8")


def put(file: h5py.File, where: str, values: Any) -> None:
    if where in file:
        del file[where]
    file[where] = values


def second_name(file: h5py.File) -> None:
    wide(file, [3], copies=2)
    for i in (3, 4):
        file[f"populations/{i}"].attrs["name"] = np.bytes_("s")


def into_a_source(file: h5py.File) -> None:
    wide(file, [2])
    file["projections/1"].attrs["target"] = np.bytes_("wide3")


def unused_bits(file: h5py.File) -> None:
    file["projections/0/table/signs"][-1] |= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: links_to_one_table(file), "/projections/1/table: is the same object as another member"),
        (lambda file: [file.create_group(f"populations/{i}") for i in range(4, 4200)], "the limit is 4096"),
        (lambda file: [file.create_group(f"projections/{i}") for i in range(4, 16500)], "the limit is 16384"),
        (lambda file: wide(file, [MAX_NEURONS]), "/populations: has 16777240 neurons, the limit is 16777216"),
        (lambda file: wide(file, [2**23], copies=3), "/populations: has 25165848 neurons"),
        (lambda file: wide(file, [2**23, 2**23, 2**23]), "neurons, the limit is"),
        (lambda file: wide(file, [2**40]), "/populations/3@shape: is 1099511627776, expected 1..16777216"),
        (lambda file: wide(file, [0]), "is 0, expected 1.."),
        (lambda file: wide(file, [-1, 1, 1]), "is -1, 1, 1, expected 1.."),
        (lambda file: second_name(file), "there is already a population 's'"),
        (lambda file: unused_bits(file), "/projections/0/table/signs: the unused bits"),
        (lambda file: put(file, "labels", np.array([b"a"])), "/labels: has the shape (1,), expected (2,)"),
        (lambda file: put(file, "labels", np.array([b"a", b"b\xff"])), "/labels: b'b\\xff' is not UTF-8"),
        (
            lambda file: file["projections/0"].attrs.__setitem__("source", np.bytes_("nobody")),
            "/projections/0@source: there is no population",
        ),
        (lambda file: into_a_source(file), "wide3 is a source population and takes no spikes"),
        (lambda file: file["projections/0"].attrs.__setitem__("delay", 1e7), "delay must be a number of steps"),
        (lambda file: file["projections/0"].attrs.__setitem__("name", np.bytes_("mid->out")), "there is already a projection"),
        (lambda file: file["populations/1"].attrs.__setitem__("name", np.bytes_("a/b")), "no population 'mid'"),
        (lambda file: file.attrs.__setitem__("version", 2), "@version: is 2, expected 1..1"),
        (lambda file: file.attrs.__setitem__("output", np.bytes_("mid")), "is not a readout population"),
    ],
)
def test_messages(change: Callable[[h5py.File], Any], message: str, sample_files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    path.write_bytes(sample_files["binary"])
    with h5py.File(path, "r+") as file:
        change(file)
    netfile._seal(str(path))
    tracemalloc.start()
    found = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in found
    assert peak < 12_000_000


def test_datasets_over_the_same_bytes(sample_files: dict[str, bytes], tmp_path: Path) -> None:
    """Data layouts that overlap, which no library writes: the bytes that a file claims are counted against its size."""
    path = tmp_path / "net.h5"
    path.write_bytes(sample_files["binary"])
    body = len(sample_files["binary"]) - 512
    with h5py.File(path) as file:
        root = netfile._Group(file["/"], "/", netfile._Budget(body))
        first = file["populations/0/threshold"]
        group = root.child("populations").child("0")
        for _ in range(body // first.nbytes):
            group.array("threshold", ("int32",), [first.shape])
            root.budget.seen.clear()
        with pytest.raises(NetworkFileError, match="claim more bytes than it has"):
            group.array("threshold", ("int32",), [first.shape])


def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "network-format.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(text.split("```python\n")[1].split("```")[0], {})
    net = netfile.load("net.h5")
    assert net.projections[0].table.weights.tolist() == [[2, -2, 2], [-2, 2, -2], [2, -2, 2]]
    assert net.output == "r"


def test_all_forms_of_text(tmp_path: Path) -> None:
    """Padded by NULs or ended by one, ASCII or UTF-8."""
    path = tmp_path / "net.h5"
    with h5py.File(path, "w", userblock_size=512) as file:

        def text(where: str, name: str, value: bytes, ended: bool) -> None:
            kind = h5py.h5t.C_S1.copy()
            kind.set_size(len(value) + ended)
            kind.set_strpad(h5py.h5t.STR_NULLTERM if ended else h5py.h5t.STR_NULLPAD)
            kind.set_cset(h5py.h5t.CSET_UTF8 if ended else h5py.h5t.CSET_ASCII)
            attribute = h5py.h5a.create(file[where].id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))
            attribute.write(np.array(value, f"S{len(value) + ended}"), kind)

        for group in ("populations/0", "populations/1", "projections/0/table"):
            file.create_group(group)
        text("/", "format", b"eventsim-network", True)
        file.attrs["version"] = 1
        for i, (name, kind) in enumerate([(b"s", b"source"), (b"r", b"readout")]):
            text(f"populations/{i}", "name", name, i == 0)
            text(f"populations/{i}", "kind", kind, i == 0)
            file[f"populations/{i}"].attrs["shape"] = [3]
        text("populations/0", "emits", b"events", False)
        file["populations/1/v0"] = np.zeros(1, "<i4")
        for name, value in ((b"name", b"p"), (b"source", b"s"), (b"target", b"r")):
            text("projections/0", name.decode(), value, True)
        file["projections/0"].attrs["delay"] = 0.0
        text("projections/0/table", "kind", b"dense", True)
        file["projections/0/table"].attrs["shape"] = [3, 3]
        file["projections/0/table"].attrs["pool_before"] = [1, 1]
        file["projections/0/table"].attrs["magnitude"] = 2
        # + - + - + - + - +
        file["projections/0/table/signs"] = np.array([0b10101010, 0b10000000], np.uint8)
        file["provenance"] = np.bytes_(b"{}")
    netfile._seal(str(path))
    net = netfile.load(path)
    assert net.projections[0].table.weights.tolist() == [[2, -2, 2], [-2, 2, -2], [2, -2, 2]]
    assert net.output is None


@pytest.mark.parametrize("magnitude", [1, 300])
def test_memory_of_loading(magnitude: int, tmp_path: Path) -> None:
    """Less than twice the weights (in the type that holds them)."""
    rng = np.random.default_rng(0)
    net = Network()
    net.source("s", 4000)
    net.readout("r", 2000)
    for i in range(3):
        net.connect("s", "r", Dense(rng.choice(np.array([-magnitude, magnitude], np.int16), (4000, 2000))), delay=i)
    size = sum(p.table.weights.nbytes for p in net.projections)
    netfile.save(net, tmp_path / "net.h5")
    assert (tmp_path / "net.h5").stat().st_size < 1.01 * 3 * 4000 * 2000 / 8
    tracemalloc.start()
    again = netfile.load(tmp_path / "net.h5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.7 * size
    assert same(again.projections, net.projections)

"""Network files: round trips."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from judges.network_files import SAMPLES, binary, everything, same

from eventsim.errors import NetworkError
from eventsim.model import netfile
from eventsim.model.network import Network
from eventsim.model.tables import Conv2d, Dense, Sparse


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


def random_network(seed: int) -> Network:  # noqa: C901 - a branch for each kind of network
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
            reset = "zero" if not signed and rng.random() < 0.5 else "subtract"
            # (Half of them have none: a file says so by leaving it out.)
            onset = period() if dims[-1] % 2 else 0
            net.spiking(name, dims, channels(dims, 1), reset=reset, signed=signed, onset=onset, **options)
        elif kind == 2:
            net.readout(name, dims, v0=options["v0"])
        else:
            emits = str(rng.choice(["events", "poisson", "clock", "start"]))
            rate = [None, rng.random(dims), 0.5, 0, 1][rng.integers(5)] if emits == "poisson" else None
            net.source(name, dims, emits, rate=rate, period=period() if emits == "start" else 0)  # type: ignore[arg-type]
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

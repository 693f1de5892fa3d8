"""Network files that others wrote, and the memory that reading takes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from judges.network_files import same
from repository import ROOT

from eventsim.errors import NetworkFileError
from eventsim.model import netfile
from eventsim.model.network import Network
from eventsim.model.storage.seal import write_seal
from eventsim.model.tables import Dense


def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "network-format.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(text.split("```python\n")[1].split("```")[0], {})
    net = netfile.load("net.h5")
    assert net.projections[0].table.weights.tolist() == [[2, -2, 2], [-2, 2, -2], [2, -2, 2]]
    assert net.output == "r"


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("populations/1/v0", np.zeros(3, "<i8"), r"/populations/1/v0: has the type int64, expected int32, little-endian"),
        ("populations/1/v0", np.zeros(3, ">i4"), r"has the type int32, big-endian, expected int32, little-endian"),
        ("populations/1/v0", np.zeros(3, "<u2"), r"has the type uint16, expected int32"),
        ("populations/1/v0", np.zeros(3, "<f4"), r"has the type float32, expected int32"),
        ("populations/1/v0", np.zeros(3, [("a", "i4")]), r"has the type of no kind that belongs here, expected int32"),
        ("populations/1@shape", np.array([3.0]), r"/populations/1@shape: has the type float64, expected int64"),
        ("populations/1@name", "r", r"/populations/1@name: has the type variable-length text, expected fixed-length text"),
        ("populations/1@name", np.int16(1), r"/populations/1@name: has the type int16, expected fixed-length text, padded with NUL"),
    ],
)
def test_a_type_that_is_another_is_named(tmp_path: Path, where: str, value: object, message: str) -> None:
    net = Network()
    net.source("s", 2)
    net.readout("r", 3)
    net.connect("s", "r", np.ones((2, 3), int))
    netfile.save(net, tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "r+") as file:
        place, _, attribute = where.partition("@")
        if attribute:
            del file[place].attrs[attribute]
            file[place].attrs[attribute] = value
        else:
            del file[place]
            file[place] = value
    write_seal(str(tmp_path / "net.h5"))
    with pytest.raises(NetworkFileError, match=message):
        netfile.load(tmp_path / "net.h5")


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
    write_seal(str(path))
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

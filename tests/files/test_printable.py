"""Names from outside are shown, not obeyed."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import small_network
from PIL import Image

import eventsim as es
from eventsim.cli.main import main
from eventsim.files.printable import printable

ESCAPE = "\x1b[31mred\x1b[0m"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv1->fc 2", "conv1->fc 2"),
        ("Möwe 鳥\u3000 👩\u200d🔬", "Möwe 鳥\u3000 👩\u200d🔬"),
        (ESCAPE, r"\x1b[31mred\x1b[0m"),
        ("a\nb\r\tc\x7f\x9b", r"a\nb\r\tc\x7f\x9b"),
        ("\u202egnp.\u2028\u2029", r"\u202egnp.\u2028\u2029"),
        (os.fsdecode(b"\xff.png"), r"\udcff.png"),
        (7, "7"),
    ],
)
def test_what_does_not_print_is_escaped(text, expected):
    assert printable(text) == expected
    assert printable(expected) == expected
    printable(text).encode()


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """A network of two clock-driven answers, and the command line beside it."""
    monkeypatch.chdir(tmp_path)
    net = es.Network()
    net.image_input((1, 1, 1))
    net.driven("in", 1, 10, encoder=es.Dense([[1]]))
    net.readout("out", 2)
    net.connect("in", "out", [[1, 0]])
    net.labels = ["a\u202eb", "other"]
    es.save(net, "net.h5")

    def call(*args):
        return CliRunner().invoke(main, ["run", "net.h5", "--steps", "2", *map(str, args)], catch_exceptions=False)

    return call


def raw(text):
    return [c for c in text.replace("\n", "") if not c.isprintable()]


@pytest.mark.parametrize("name", [f"{ESCAPE}.npy", "two\nlines.npy", "[bold]k[red].npy", "\u202eyp.npy", os.fsdecode(b"\xff\xfe.npy")])
def test_file_names_and_labels(cli, tmp_path, name):
    """As inputs of a folder, and alone; with a trace of that name; good and damaged; as text and as JSON."""
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / name, np.full((1, 1, 1), 99, np.uint8))
    (tmp_path / "folder" / f"damaged {name}").write_bytes(b"\x93NUMPY")
    lines = {}
    for arguments in (
        ["-i", "folder"],
        ["-i", "folder", "--json"],
        ["-i", f"folder/{name}", "--trace", f"of {name}.h5"],
        ["-i", f"folder/damaged {name}"],
        ["-i", f"folder/missing {name}"],
    ):
        found = cli(*arguments)
        assert not raw(found.output), arguments
        lines[tuple(arguments)] = found
    folder = lines["-i", "folder"]
    assert folder.stdout.count("\n") == 1
    assert "1 of 2 inputs could not be run" in folder.stderr
    assert f"{printable(name)}: " in folder.stdout
    assert json.loads(lines["-i", "folder", "--json"].stdout)["input"] == f"folder/{name}"
    alone = lines["-i", f"folder/{name}", "--trace", f"of {name}.h5"]
    assert alone.exit_code == 0
    assert r"a\u202eb" in alone.stdout
    assert printable(f"of {name}.h5") in alone.stdout
    with es.Trace(f"of {name}.h5") as trace:
        assert trace.info.settings["input"] == f"folder/{name}"
        assert trace.label == "a\u202eb"
    for word in ("damaged", "missing"):
        failed = lines["-i", f"folder/{word} {name}"]
        assert failed.exit_code == 1
        assert failed.stderr.count("\n") == 1
        assert printable(name) in failed.stderr


@pytest.mark.parametrize("name", [os.fsdecode(b"\xff\xfe"), f"{ESCAPE}\n", "[bold]k[red]"])
def test_folders_and_classes(tmp_path, monkeypatch, name):
    """An evaluation of a folder of such a name, classes and images too; of a network beside it; and what it leaves."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    network = tmp_path / name / "net.h5"
    es.save(small_network(), network)
    for label in range(2):
        place = tmp_path / name / "data" / name / f"{label} {name}"
        place.mkdir(parents=True)
        with open(place / f"{name}.png", "wb") as stream:
            Image.fromarray(np.random.default_rng(label).integers(0, 256, (6, 6), dtype=np.uint8)).save(stream, "PNG")
    data = str(tmp_path / name / "data" / name)
    for arguments in (
        ["evaluate", network, "-d", data, "--workers", "1", "--steps", "2", "-o", f"{name}/e.h5"],
        ["info", f"{name}/e.h5"],
        ["info", f"{name}/e.h5", "--json"],
        ["info", network],
    ):
        done = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert not raw(done.output), arguments

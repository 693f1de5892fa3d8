"""``python -m eventsim convert``: state dicts and ONNX files to networks that run, and one-line errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import eventsim as es
from eventsim.cli.main import main
from eventsim.conversion.choices import choose

ARCHITECTURE = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 3))

def broken():
    raise ValueError("no such size")
"""


@pytest.fixture
def folder(tmp_path):
    """A folder of training images in two classes, an architecture, and a place for results."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("ant", "bee", "cat"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{i}.png")
    (tmp_path / "nets.py").write_text(ARCHITECTURE)
    return tmp_path


def convert(*arguments):
    result = CliRunner().invoke(main, ["convert", *map(str, arguments)])
    assert "Traceback" not in result.output
    return result


def weights(folder, name="net.pt", keep=None):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 3))
    state = model.state_dict() if keep is None else keep
    torch.save(state, folder / name)
    return folder / name


def test_layers_that_begin_to_fire_one_after_the_other(folder):
    torch = pytest.importorskip("torch")
    nn, code = torch.nn, folder / "deep.py"
    code.write_text(
        "from torch import nn\n"
        "def deep(last=nn.ReLU):\n"
        "    layers = [m for a, b in ((64, 9), (9, 8), (8, 7)) for m in (nn.Linear(a, b), last())]\n"
        "    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(7, 3))\n"
    )
    layers = [nn.Linear(a, b) for a, b in ((64, 9), (9, 8), (8, 7), (7, 3))]
    torch.save(nn.Sequential(nn.Flatten(), *(m for layer in layers for m in (layer, nn.ReLU())))[:-1].state_dict(), folder / "deep.pt")
    settings = ["--architecture", f"{code}:deep", "--calibrate", folder / "images", "-o", folder / "deep.h5"]
    assert convert(folder / "deep.pt", *settings, "--onset", 0.25).exit_code == 0
    network = es.load(folder / "deep.h5")
    assert [p.onset for p in network.populations.values() if p.kind == "spiking"] == [0.25, 0.5]
    refused = convert(folder / "deep.pt", *settings, "--onset", -1)
    assert refused.exit_code == 1
    assert "eventsim: error: onset: the interval must be a number of steps" in refused.stderr
    code.write_text(code.read_text().replace("nn.ReLU", "Sign") + "class Sign(nn.Module):\n    def forward(self, x): return x.sign()\n")
    code.write_text(code.read_text().replace("def deep(last=Sign)", "def deep(last=lambda: Sign())"))
    one_spike = convert(folder / "deep.pt", *settings, "--onset", 0.25)
    assert one_spike.exit_code == 1
    assert "--onset: activations that became one spike each have their times already" in one_spike.stderr


def test_state_dict(folder):
    path = weights(folder)
    out = folder / "net.h5"
    result = convert(
        path,
        "--architecture",
        f"{folder / 'nets.py'}:net",
        "--calibrate",
        folder / "images",
        "-o",
        out,
        "--json",
        "--steps",
        5,
        "--report",
        4,
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["signs changed"] == 0
    assert report["faithfulness"]["images"] == 4
    assert [layer["name"] for layer in report["faithfulness"]["layers"]["clocked"]] == ["conv1"]
    network = es.load(out)
    assert network.labels == ["ant", "bee", "cat"]
    assert network.provenance["steps"] == 5
    ran = CliRunner().invoke(main, ["run", str(out), "--input", str(folder / "images/test/bee/1.png"), "--no-trace", "--json"])
    assert json.loads(ran.output)["label"] in network.labels
    assert "no test images apart" not in result.stderr
    settings = ["--architecture", f"{folder / 'nets.py'}:net", "--calibrate", folder / "images" / "test", "-o", out, "--report", 4]
    assert "no test images apart" in convert(path, *settings).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.onnx"], "no such file"),
        (["images"], "images: is a folder"),
        (["nets.py"], "expected .onnx or .nir, or a state dict"),
        (["net.pt"], "--architecture FILE.py:FUNCTION"),
        (["net.pt", "--architecture", "nets.py"], "expected FILE.py:FUNCTION"),
        (["net.pt", "--architecture", "nets.py:other"], "has no function 'other'"),
        (["net.pt", "--architecture", "nets.py:broken"], "ValueError: no such size"),
        (["net.pt", "--architecture", "nets.py:net"], "images or the shape (--calibrate, --input-shape)"),
        (["net.pt", "--architecture", "nets.py:net", "--input-shape", "1,8,8"], "give images for calibration (--calibrate)"),
        (["net.pt", "--architecture", "nets.py:net", "--calibrate", "nowhere"], "--calibrate"),
        (
            ["net.pt", "--architecture", "nets.py:net", "--calibrate", "one", "--choose", "1"],
            "keeps some of the calibration images apart, found 1",
        ),
        (["code.pt", "--architecture", "nets.py:net"], "not a file of weights alone"),
        (["whole.pt", "--architecture", "nets.py:net"], "not a file of weights alone (it holds a torch.nn.modules.linear.Linear, as"),
        (["text.pt", "--architecture", "nets.py:net"], "not a file of weights alone (damaged, or of another kind)"),
        (["other.pt", "--architecture", "nets.py:net"], "does not fit the module"),
        (["broken.onnx"], "not a readable ONNX file"),
        (["broken.onnx", "--architecture", "nets.py:net"], "--architecture is for state dicts"),
        (["broken.nir", "--architecture", "nets.py:net"], "--architecture is for state dicts"),
        (["broken.onnx", "--nir-dt", 1], "--nir-dt is for NIR files"),
        (["net.pt", "--architecture", "nets.py:net", "--nir-dt", 1], "--nir-dt is for NIR files"),
        (["broken.nir", "--input-shape", "1,8,8"], "leave out --input-shape and --answer"),
        (["broken.nir", "--answer", "a"], "leave out --input-shape and --answer"),
    ],
)
def test_errors_are_one_line(folder, monkeypatch, arguments, message):
    pytest.importorskip("onnx")
    monkeypatch.chdir(folder)
    weights(folder)
    weights(folder, "code.pt", keep={"f": print})
    weights(folder, "other.pt", keep={"0.weight": pytest.importorskip("torch").zeros(2, 2)})
    weights(folder, "whole.pt", keep=pytest.importorskip("torch").nn.Linear(2, 2))
    (folder / "one" / "train" / "ant").mkdir(parents=True)
    (folder / "images/train/ant/0.png").rename(folder / "one/train/ant/0.png")
    for name in ("broken.onnx", "broken.nir", "text.pt"):
        (folder / name).write_bytes(b"\xff" * 40)
    result = convert(*arguments, "-o", "out.h5")
    assert result.exit_code == 1
    assert result.output.startswith("eventsim: error: ")
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not (folder / "out.h5").exists()


def test_what_is_chosen_for_goes_with_a_choice():
    result = convert("net.onnx", "--choose-for", "asynchronous")
    assert result.exit_code == 2
    assert "--choose-for says what --choose compares" in result.output


def test_every_conversion_ends_with_a_check(folder):
    path, architecture = weights(folder), ["--architecture", f"{folder / 'nets.py'}:net", "--calibrate", folder / "images"]
    checked = convert(path, *architecture, "-o", folder / "net.h5", "--steps", 50)
    assert "of 9 calibration images are answered as by the source, clocked, T = 50" in checked.stdout
    assert "rate errors, in spikes a step: conv1 0.0" in checked.stdout
    provenance = es.load(folder / "net.h5").provenance
    assert provenance["check"]["images"] == 9
    assert provenance["steps"] == 50
    described = json.loads(convert(path, *architecture, "-o", folder / "net.h5", "--json").stdout)
    assert described["check"] == es.load(folder / "net.h5").provenance["check"]
    left_out = convert(path, *architecture, "-o", folder / "net.h5", "--no-check")
    assert "calibration images" not in left_out.stdout
    assert "check" not in es.load(folder / "net.h5").provenance
    # Info says it as well, in whatever way it lists provenance.
    convert(path, *architecture, "-o", folder / "net.h5")
    assert "agreement" in CliRunner().invoke(main, ["info", str(folder / "net.h5")]).output


def test_a_poor_conversion_is_said_on_standard_error(folder, caplog):
    path = weights(folder)
    architecture = ["--architecture", f"{folder / 'nets.py'}:net", "--calibrate", folder / "images"]
    # No neuron fires within a step.
    result = convert(path, *architecture, "-o", folder / "n.h5", "--initial", "zero", "--steps", 1)
    assert result.exit_code == 0
    assert "the conversion is poor: only 0% of 9" in caplog.text
    assert "more steps" in caplog.text


def test_choices_are_compared_on_images_that_are_kept_apart(folder, monkeypatch):
    path, out = weights(folder), folder / "net.h5"
    arguments = [path, "--architecture", f"{folder / 'nets.py'}:net", "-o", out, "--steps", 6, "--no-check"]
    split, plain = [], choose
    monkeypatch.setattr(
        "eventsim.cli.convert.choose",
        lambda model, rest, sample, **given: split.append((rest, sample)) or plain(model, rest, sample, **given),
    )
    result = convert(*arguments, "--calibrate", folder / "images", "--images", 5, "--choose", 4, "--choose-for", "asynchronous")
    assert "4 images, 1,048,576 ticks a step, T = 6" in result.stdout
    assert "\nas asked for " in result.stdout
    assert "\npicked: " in result.stdout
    ((rest, sample),) = split
    assert (len(rest), len(sample)) == (5, 4)
    assert len({image.tobytes() for image in [*rest, *sample]}) == 9
    described = json.loads(convert(*arguments, "--calibrate", folder / "images", "--choose", 4, "--json").stdout)
    assert described["choices"]["resolution"] == 1
    assert described["settings"]["percentile"] == described["choices"]["picked"]["percentile"]
    assert "name one" in convert(*arguments, "--choose", 4).output

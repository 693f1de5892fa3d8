"""The pages' Python runs as it stands, in order, and so does the example script."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.analysis.thresholds import EXIT_THRESHOLDS
from eventsim.model.limits import MAX_NEURONS


def run_page(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    space = {"__name__": "page"}
    for block in re.finditer(r"```python\n(.*?)```", text, re.S):
        line = text.count("\n", 0, block.start()) + 1
        exec(compile("\n" * line + block.group(1), name, "exec"), space)
    return space


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_what_a_page_names_is_there(page):
    """Files and folders of the repository in backquotes, and what links lead to; NAME stands for one that is to be made."""
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:eventsim|tests|tools|benchmarks|networks|docs|examples)/[\w./-]+)`", text)
    links = re.findall(r"\]\(([\w./-]+)(?:#[\w-]*)?\)", text)
    paths = [ROOT / name for name in named] + [(ROOT / page).parent / link for link in links]
    missing = [str(path) for path in paths if "NAME" not in path.name and not path.exists()]
    assert paths or page.startswith("docs/")
    assert missing == []


def test_pages_of_formats_say_the_limits_that_hold():
    neurons = re.search(r"at most 2\^(\d+) neurons in all", (ROOT / "docs" / "network-format.md").read_text(encoding="utf-8"))
    assert 2 ** int(neurons[1]) == MAX_NEURONS
    page = (ROOT / "docs" / "evaluation-format.md").read_text(encoding="utf-8")
    whole, octaves, last = re.search(
        r"whole numbers up\s+to (\d+) and then 32 an octave, `floor\(2\^\((\d+) \+ k / 32\)\)` .* up to 2\^(\d+)", page
    ).groups()
    listed = [*range(1, int(whole) + 1), *(int(2 ** (int(octaves) + k / 32)) for k in range(1, 1 + 32 * (int(last) - int(octaves))))]
    assert np.array_equal(EXIT_THRESHOLDS, np.unique(listed))


def test_semantics(tmp_path, monkeypatch):
    assert "taken_back" in run_page("semantics.md", tmp_path, monkeypatch)


def test_leaky(tmp_path, monkeypatch):
    assert "blind" in run_page("leaky.md", tmp_path, monkeypatch)


def test_hardware(tmp_path, monkeypatch):
    assert "report" in run_page("hardware.md", tmp_path, monkeypatch)


def test_tutorial(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    space = run_page("tutorial.md", tmp_path, monkeypatch)
    assert space["made"].report.binary_layers == "1 of 3" or "1" in str(space["made"].report.binary_layers)
    assert space["asynchronous"].accuracy > 0.93
    assert space["clocked"].accuracy > 0.93
    assert space["stopped"].duration().mean() < 16
    assert Image.open(tmp_path / "accuracy.png").size[0] > 500


def test_the_example_script(tmp_path):
    digit = np.asarray(Image.open(ROOT / "datasets" / "samples" / "digit-7.png"))
    result = es.run(es.load(ROOT / "networks" / "lenet-mnist.h5"), digit, steps=4)
    es.run(es.load(ROOT / "networks" / "lenet-mnist.h5"), digit, steps=4, trace=tmp_path / "run.h5")
    script = ROOT / "docs" / "examples" / "analyse.py"
    out = subprocess.run([sys.executable, script, tmp_path / "run.h5"], capture_output=True, text=True, check=True).stdout
    assert f"answer {result.label}" in out
    for name, count in result.spikes_per_population().items():
        if result.population(name).kind != "readout":
            assert re.search(rf"{re.escape(name)} +{count:,} spikes", out)


def test_first_steps_without_torch(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "examples" / "first_steps.py"))
    said = capsys.readouterr().out
    assert said.startswith("answer 7, decided at ")
    result = es.run(es.load(ROOT / "networks" / "lenet-mnist.h5"), np.asarray(Image.open(ROOT / "datasets" / "samples" / "digit-7.png")))
    assert f"synaptic events {result.total_synaptic_events:19,}" in said
    assert said.endswith("the rest needs PyTorch: pip install torch\n")


def test_first_steps(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    space = runpy.run_path(str(ROOT / "examples" / "first_steps.py"))
    assert space["result"].label == "3"
    assert space["evaluation"].accuracy > 0.9
    curve = space["curve"]
    assert curve.latency[0] < 4 < curve.latency[-1] == 24
    assert curve.synaptic_events[0] < curve.synaptic_events[-1]


def test_the_example_of_potentials(tmp_path):
    pytest.importorskip("matplotlib")
    digit = np.asarray(Image.open(ROOT / "datasets" / "samples" / "digit-7.png"))
    es.run(es.load(ROOT / "networks" / "lenet-mnist.h5"), digit, steps=4, trace=tmp_path / "run.h5", potentials=["conv2", "fc5"])
    call = [sys.executable, ROOT / "docs" / "examples" / "potentials.py", tmp_path / "run.h5", "conv2", tmp_path / "figure.png"]
    out = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in out.splitlines()] == ["conv2", "fc5"]
    assert Image.open(tmp_path / "figure.png").size[0] > 500

"""``run --hardware`` and ``info`` of architectures, as a user meets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from judges import sana_fe
from repository import ROOT

import eventsim as es

LENET = ROOT / "networks" / "lenet-mnist.h5"
DIGITS = ROOT / "datasets" / "samples"


def test_a_run_says_what_it_takes(cli):
    """With a trace, without, and from a trace: the same."""
    run = "run", LENET, "--input", DIGITS / "digit-7.png", "--clocked", "--hardware", "loihi-fitted", "--json"
    found = json.loads(cli(*run, "--trace", "run.h5").stdout)
    hardware = found["hardware"]
    assert found["label"] == "7"
    assert hardware == json.loads(cli(*run, "--no-trace").stdout)["hardware"]
    with es.Trace("run.h5") as trace:
        assert json.loads(json.dumps(es.Hardware("loihi-fitted").replay(es.load(LENET), trace).summary())) == hardware
    assert hardware["counts"]["spike"] == found["spikes"]
    assert hardware["counts"]["synapse"] == found["additions"]
    assert 0 < hardware["decision_seconds"] <= hardware["duration_seconds"]
    assert hardware["energy_pj"] == pytest.approx(sum(hardware["energy_pj_by_unit"].values()))


def test_what_is_printed(cli):
    outcome = cli("run", LENET, "--input", DIGITS / "digit-7.png", "--hardware", "xnor-sram", "--no-trace")
    assert outcome.exit_code == 0
    for word in (
        "answer           7",
        "hardware         XNOR-SRAM",
        "takes ",
        "decided after",
        "cell 100%; model xnor-sram",
        "busiest links",
    ):
        assert word in outcome.stdout


PICTURED = "run", LENET, "--input", DIGITS / "digit-7.png", "--steps", "1", "--no-trace", "--hardware", "loihi", "--pictures", "out"


def test_pictures(cli):
    pytest.importorskip("matplotlib")
    outcome = cli(*PICTURED)
    assert outcome.exit_code == 0
    for name in ("mesh", "timeline"):
        assert f"picture          {Path('out', name)}.svg\n" in outcome.stdout
        assert "</svg>" in Path("out", f"{name}.svg").read_text(encoding="utf-8")
    assert json.loads(cli(*PICTURED, "--json").stdout)["pictures"] == [str(Path("out", f"{name}.svg")) for name in ("mesh", "timeline")]


def test_pictures_without_matplotlib(cli, monkeypatch):
    """It is said before anything runs."""
    monkeypatch.delitem(sys.modules, "eventsim.hardware.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.collections", None)
    outcome = cli(*PICTURED)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr.splitlines() == ["eventsim: error: figures need Matplotlib; install eventsim[plot]"]
    assert not Path("out").exists()


def test_pictures_are_of_one_run_on_hardware(cli):
    for left_out, inputs, words in ((2, DIGITS, "--pictures is for one input"), (4, DIGITS / "digit-7.png", "name an architecture")):
        given = [*PICTURED[:-left_out], "--pictures", "out"]
        given[3] = inputs
        outcome = cli(*given)
        assert outcome.exit_code == 2
        assert words in outcome.stderr


def test_a_folder(cli):
    outcome = cli("run", LENET, "--input", DIGITS, "--steps", "1", "--no-trace", "--hardware", "loihi", "--json", "--threads", "2")
    found = [json.loads(line)["hardware"] for line in outcome.stdout.splitlines()]
    assert len(found) == 10
    assert len({each["energy_pj"] for each in found}) == 10


def test_info(cli, tmp_path):
    assert json.loads(cli("info", "odin", "--json").stdout)["name"] == "ODIN"
    outcome = cli("info", "loihi")
    assert "neurons                  1,024" in outcome.stdout
    for line in ("loihi: architecture Loihi", "synchronisation          barrier", "1 tiles 113 ns, 32 tiles 465 ns", "3.5 ns, 23.6 pJ"):
        assert line in outcome.stdout
    (tmp_path / "chip.toml").write_text('name = "a"\n[chip]\ncolumns = 1\nrows = 1\nstep_us = 2.5\n[core]\nkind = "event"\nneurons = 1')
    outcome = cli("info", "chip.toml")
    assert "chip.toml: architecture a" in outcome.stdout
    assert "2.5 us" in outcome.stdout
    for room in ("buffer", "queue", "axons", "synapses"):
        assert f"  {room:24} no limit" in outcome.stdout.splitlines()
    assert "  axons                    256" in cli("info", "truenorth").stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "chip.toml"], ["chip.toml: cannot be read", "loihi"]),
        (["run", LENET, "--input", DIGITS / "digit-7.png", "--hardware", "odin"], ["needs 254 cores", "ODIN has 1"]),
        (["run", LENET, "--input", DIGITS / "digit-7.png", "--hardware", "chip"], ["chip: cannot be read"]),
    ],
)
def test_errors_are_one_line(cli, arguments, words):
    outcome = cli(*arguments)
    assert outcome.exit_code == 1
    (line,) = outcome.stderr.splitlines()
    for word in words:
        assert word in line


def test_options_that_contradict_each_other(cli):
    outcome = cli("run", LENET, "--input", DIGITS / "digit-7.png", "--hardware", "loihi", "--record", "none")
    assert outcome.exit_code == 2
    assert "--hardware needs the spikes" in outcome.stderr
    assert cli("info", "loihi", "--verify").exit_code == 2


def test_closed(cli, tmp_path):
    (tmp_path / "chip.toml").write_text(
        'name = "a"\n[chip]\ncolumns = 9\nrows = 9\nstep_us = 1000\n[core]\nkind = "event"\nneurons = 1024\nsynapse_ns = 3.5'
    )
    run = "run", LENET, "--input", DIGITS / "digit-7.png", "--hardware", "chip.toml", "--closed", "--steps", "2"
    found = json.loads(cli(*run, "--json").stdout)
    assert (found["hardware"]["mode"], found["resolution"], found["engine"]) == ("closed", 10**9, "hardware")
    assert found["moved"]["spikes"] == found["spikes"] == found["hardware"]["counts"]["spike"]
    with es.Trace("run.h5") as trace:
        assert trace.total_spikes == found["spikes"]
    outcome = cli(*run, "--no-trace")
    for word in ("(closed)", "without hardware", "have no counterpart", "steps later (half)"):
        assert word in outcome.stdout
    assert cli(*run, "--clocked").exit_code == 2
    assert cli("run", LENET, "--input", DIGITS / "digit-7.png", "--closed").exit_code == 2
    # Behind barriers it is clocked, and waiting changes nothing.
    found = json.loads(cli(*run[:5], "loihi", *run[6:], "--json").stdout)
    assert (found["resolution"], found["moved"]["changed"], found["moved"]["p95_shift_steps"]) == (1, 0, 0)


def test_converters(cli, tmp_path):
    """A run through converters is another run, alone and in a folder; and no engine's."""
    text = (ROOT / "docs" / "examples" / "crossbars.toml").read_text()
    (tmp_path / "fine.toml").write_text(text + "converter_levels = 255\nconverter_rows = 16\nconverter_offset = 0.05\n")
    (tmp_path / "coarse.toml").write_text(text + "converter_levels = 3\n")
    run = "run", LENET, "--input", DIGITS / "digit-7.png", "--clocked", "--steps", "4", "--no-trace", "--json", "--hardware"
    fine, coarse = (json.loads(cli(*run, name).stdout) for name in ("fine.toml", "coarse.toml"))
    assert (fine["engine"], fine["resolution"], fine["hardware"]["mode"]) == ("hardware", 1, "replay")
    assert fine["label"] == "7"
    assert coarse["spikes"] < fine["spikes"] == fine["hardware"]["counts"]["spike"]
    outcome = cli(*run, "fine.toml", "--engine", "queue")
    assert outcome.exit_code == 1
    assert "leave out --engine and --potentials" in outcome.stderr
    assert "0.05 weights" in cli("info", "fine.toml").stdout


def test_files_for_sana_fe(cli):
    """Written before the run, with what they do not say; nothing where it has no such neurons."""
    relu = ROOT / "networks" / "lenet-relu-mnist.h5"
    mlp = ROOT / "networks" / "mlp-mnist.h5"
    run = "--input", DIGITS / "digit-7.png", "--clocked", "--steps", "2", "--no-trace", "--hardware", "loihi-fitted", "--sana-fe", "out"
    outcome = cli("run", mlp, *run)
    assert outcome.exit_code == 1
    assert outcome.stderr == "eventsim: error: fc2: SANA-FE has no signed neurons, and the network cannot be written for it\n"
    net = es.Network()
    net.image_input((28, 28, 1))
    net.driven("a", (28, 28, 1), threshold=500, encoder=es.Conv2d([[[[1]]]]))
    net.readout("b", 10)
    net.connect("a", "b", es.Dense(np.resize([1, -1, 0, 2], (784, 10))))
    es.save(net, "net.h5")
    found = json.loads(cli("run", "net.h5", *run, "--json").stdout)
    assert found["sana_fe"] == {"folder": "out", "steps": 3, "begins": {"a": 1, "b": 2}, "groups": {"a": "a", "b": "b"}}
    outcome = cli("run", "net.h5", *run)
    assert "for SANA-FE      out: network.yaml, architecture.yaml; 3 steps" in outcome.stdout
    assert "note: out does not say: that what goes before ends when the run does" in outcome.stderr
    spikes = sana_fe.run("out", 3).spikes["a"]
    assert sum(step <= 2 for step, _ in spikes) == found["spikes"]
    wrong = (("--closed",), ("--exit-margin", "3"), ("--input", DIGITS))
    for more, words in zip(wrong, ("give --clocked", "leave out --exit-margin", "one input"), strict=True):
        arguments = [*run[:2], *run[3:], *more] if more[0] == "--closed" else [*run[2:], *more] if more[0] == "--input" else [*run, *more]
        outcome = cli("run", relu, *arguments)
        assert outcome.exit_code == 2
        assert words in outcome.stderr

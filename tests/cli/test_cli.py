"""The command line as a user meets it: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from repository import ROOT

import eventsim as es

LENET = ROOT / "networks" / "lenet-mnist.h5"
DIGITS = ROOT / "datasets" / "samples"


def one_line_error(outcome, *words):
    assert outcome.exit_code != 0
    lines = [line for line in outcome.stderr.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1, outcome.stderr
    assert lines[0].startswith("eventsim: error: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("digit", range(10))
def test_the_shipped_network_reads_the_sample_digits(cli, digit):
    for mode in ([], ["--clocked"]):
        outcome = cli("run", LENET, "--input", DIGITS / f"digit-{digit}.png", "--json", *mode)
        assert outcome.exit_code == 0, outcome.output
        found = json.loads(outcome.stdout)
        assert found["label"] == str(digit)
        assert found["steps"] == 8
        assert 0 < found["decision_latency_steps"] <= 32


def test_run_prints_and_writes(cli, tmp_path):
    outcome = cli("run", LENET, "--input", DIGITS / "digit-7.png", "--steps", "8")
    assert outcome.exit_code == 0
    for word in ("answer", "7", "top answers", "decided at", "spikes", "synaptic events", "8 steps", "run.h5"):
        assert word in outcome.stdout
    with es.Trace(tmp_path / "run.h5") as trace:
        assert trace.label == "7"
        assert f"{trace.total_spikes:,}" in outcome.stdout
        assert f"{trace.total_synaptic_events:,}" in outcome.stdout


def test_engines_agree_on_the_shipped_network(cli):
    found = []
    for engine in ("layered", "queue", "reference"):
        outcome = cli("run", LENET, "-i", DIGITS / "digit-1.png", "--steps", "1", "--engine", engine, "--json", "--no-trace")
        values = json.loads(outcome.stdout)
        found.append({k: v for k, v in values.items() if k not in ("engine", "wall_seconds")})
    assert found[0] == found[1]
    assert found[0]["spikes"] > 0


def test_standard_input_arrays_and_folders_agree(cli, tmp_path):
    image = DIGITS / "digit-4.png"
    np.save(tmp_path / "four.npy", np.asarray(Image.open(image)))
    settings = ["--steps", "6", "--json", "--no-trace"]
    by_file = json.loads(cli("run", LENET, "-i", image, *settings).stdout)
    by_pipe = json.loads(cli("run", LENET, "-i", "-", *settings, input=image.read_bytes()).stdout)
    by_array = json.loads(cli("run", LENET, "-i", tmp_path / "four.npy", *settings).stdout)
    by_folder = cli("run", LENET, "-i", DIGITS, *settings)
    lines = by_folder.stdout.splitlines()
    assert (by_folder.exit_code, len(lines)) == (0, 10)
    for other in (by_pipe, by_array, json.loads(lines[4])):
        assert (other["spikes"], other["top"]) == (by_file["spikes"], by_file["top"])


def test_a_folder_writes_a_trace_per_input(cli, tmp_path):
    (folder := tmp_path / "in").mkdir()
    for digit in (2, 3):
        (folder / f"{digit}.png").write_bytes((DIGITS / f"digit-{digit}.png").read_bytes())
    (folder / "notes.txt").write_text("no image")
    outcome = cli("run", LENET, "-i", folder, "--steps", "4", "--record", "fc5")
    assert outcome.exit_code == 1
    assert "notes.txt" in outcome.stderr
    assert "1 of 3 inputs" in outcome.stderr
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["2.png.h5", "3.png.h5"]
    with es.Trace(tmp_path / "runs" / "2.png.h5") as trace:
        assert trace.recorded == ["fc5"]


def test_resizing_and_converting_is_said(cli, tmp_path):
    Image.open(DIGITS / "digit-7.png").convert("RGB").resize((100, 90)).save(tmp_path / "big.png")
    outcome = cli("run", LENET, "-i", tmp_path / "big.png", "--json", "--no-trace")
    assert json.loads(outcome.stdout)["label"] == "7"
    assert "converted to grey" in outcome.stderr
    assert "resized from 100x90 to 28x28" in outcome.stderr


def test_early_exit(cli):
    full = json.loads(cli("run", LENET, "-i", DIGITS / "digit-7.png", "--json", "--no-trace").stdout)
    early = json.loads(cli("run", LENET, "-i", DIGITS / "digit-7.png", "--json", "--no-trace", "--exit-margin", "1000").stdout)
    assert early["label"] == "7"
    assert early["exited"]
    assert early["duration_steps"] < full["duration_steps"]
    assert early["synaptic_events"] < full["synaptic_events"]


def test_poisson_is_seeded(cli):
    def spikes(seed):
        out = cli("run", LENET, "-i", DIGITS / "digit-7.png", "--encoding", "poisson", "--seed", seed, "--json", "--no-trace")
        return json.loads(out.stdout)

    first, again, other = spikes(1), spikes(1), spikes(2)
    assert first["label"] == "7"
    assert first["spikes"] == again["spikes"] != other["spikes"]


def test_info_of_a_network_and_of_a_trace(cli):
    outcome = cli("info", LENET)
    assert outcome.exit_code == 0
    for word in ("conv1", "binary x8", "100,352", "870,176 weights (99.7% binary)", "ANN test accuracy: 99.59%", "threshold: 0.001875"):
        assert word in outcome.stdout
    facts = json.loads(cli("info", LENET, "--json").stdout)
    assert facts["neurons"] == 28 * 28 * 32 + 14 * 14 * 32 + 14 * 14 * 64 + 7 * 7 * 64 + 256 + 10 + 5  # 5 bias clocks
    assert facts["macs"] == 28 * 28 * 9 * 32 * 33 + 14 * 14 * 9 * 64 * 96 + 3136 * 256 + 2560
    cli("run", LENET, "-i", DIGITS / "digit-7.png", "--steps", "4")
    outcome = cli("info", "run.h5")
    assert outcome.exit_code == 0
    for word in ("label: 7", "conv4->fc5", "synaptic events", "resolution: 1,048,576\n"):
        assert word in outcome.stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_info_does_not_wait_for_a_pipe(cli):
    os.mkfifo("pipe")
    done = cli("info", "pipe")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "pipe: is a device or a pipe, expected a file" in done.stderr


def test_info_of_an_evaluation(cli):
    done = cli("evaluate", LENET, "--dataset", DIGITS, "--steps", "4", "-o", "e.h5", "--workers", "1", "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    facts = json.loads(cli("info", "e.h5", "--json").stdout)
    assert facts["kind"] == "evaluation"
    assert facts["summary"] == {key: value for key, value in summary.items() if key != "evaluation"}
    assert sum(p["spikes"] for p in facts["populations"] if p["kind"] != "source") == pytest.approx(summary["mean_spikes"])
    layers = {p["name"]: p for p in json.loads(cli("info", LENET, "--json").stdout)["projections"] if p["name"] != "input->conv1"}
    assert [p["name"] for p in facts["projections"]] == list(layers)
    assert [p["macs"] for p in facts["projections"]] == [0 if p["bias"] else p["macs"] for p in layers.values()]
    events = sum(p["synaptic_events"] for p in facts["projections"] if not layers[p["name"]]["bias"])
    assert events == pytest.approx(summary["mean_synaptic_events"])
    text = cli("info", "e.h5").stdout
    for word in ("images: 10", "conv4->fc5", "synaptic events/image", f"mean spikes: {summary['mean_spikes']:,.1f}\n"):
        assert word in text


def test_bad_files_end_in_one_line(cli, tmp_path):
    (tmp_path / "text.h5").write_text("no network")
    digit = DIGITS / "digit-7.png"
    one_line_error(cli("run", "missing.h5", "-i", digit), "missing.h5")
    one_line_error(cli("run", "text.h5", "-i", digit), "text.h5")
    one_line_error(cli("info", "text.h5"), "text.h5", "neither")
    one_line_error(cli("info", "missing.h5"), "missing.h5")
    one_line_error(cli("run", LENET, "-i", "missing.png"), "missing.png", "no such")
    one_line_error(cli("run", LENET, "-i", tmp_path / "text.h5"), "text.h5", "not an image")
    one_line_error(cli("run", LENET, "-i", "-", input=b""), "standard input", "empty")
    (tmp_path / "empty").mkdir()
    one_line_error(cli("run", LENET, "-i", "empty"), "without files")
    cut = digit.read_bytes()
    (tmp_path / "cut.png").write_bytes(cut[: len(cut) // 2])
    one_line_error(cli("run", LENET, "-i", "cut.png"), "cut.png")
    np.save(tmp_path / "wrong.npy", np.zeros((5, 5), np.uint8))
    one_line_error(cli("run", LENET, "-i", "wrong.npy"), "(28, 28, 1)", "(5, 5)")
    np.save(tmp_path / "float.npy", np.zeros((28, 28)))
    one_line_error(cli("run", LENET, "-i", "float.npy"), "float64", "0..255")
    np.save(tmp_path / "object.npy", np.array([{}, []], dtype=object))
    one_line_error(cli("run", LENET, "-i", "object.npy"), "object.npy")
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20)})
    (tmp_path / "huge.npy").write_bytes(huge.getvalue())
    one_line_error(cli("run", LENET, "-i", "huge.npy"), "huge.npy")
    for side in (9_000, 20_000):  # beyond our limit, and beyond Pillow's own
        Image.new("1", (side, side)).save(tmp_path / "huge.png")
        one_line_error(cli("run", LENET, "-i", "huge.png"), "huge.png", "16.8 million pixels")
    assert not (tmp_path / "run.h5").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--steps", "0"], "steps"),
        (["--resolution", "0"], "resolution"),
        (["--steps", "1000000", "--resolution", str(2**40)], "ticks"),
        (["--record", "nowhere"], "nowhere"),
        (["--exit-margin", "0"], "holds before"),
        (["--exit-margin", "5", "--exit-potential", "5"], "one exit rule"),
        (["--seed", "-1"], "seed"),
        (["--trace", "no/such/folder/run.h5"], "run.h5"),
    ],
)
def test_bad_settings_end_in_one_line(cli, arguments, word):
    one_line_error(cli("run", LENET, "-i", DIGITS / "digit-7.png", *arguments), word)


def test_usage_errors(cli):
    assert cli("run", LENET, "-i", "x", "--clocked", "--resolution", "5").exit_code == 2
    assert cli("run", LENET, "-i", "x", "--trace", "a", "--no-trace").exit_code == 2
    assert cli("--version").stdout.strip().endswith(es.__version__)
    for command in ("run", "info"):
        assert "Usage" in cli(command, "--help").stdout


def test_as_a_module(tmp_path):
    out = subprocess.run([sys.executable, "-m", "eventsim", "info", "nothing"], capture_output=True, text=True, cwd=tmp_path)
    assert out.returncode == 1
    assert out.stderr.count("\n") == 1
    assert "Traceback" not in out.stderr


def test_inputs_by_population_from_the_command_line(cli, tmp_path):
    net = es.Network()
    net.source("camera", 3)
    net.source("noise", 2, "poisson")
    net.driven("in", 2, 5)
    net.readout("out", 2)
    for name, size in (("camera", 3), ("noise", 2), ("in", 2)):
        net.connect(name, "out", np.arange(1, 2 * size + 1).reshape(size, 2))
    es.save(net, "net.h5")
    (tmp_path / "camera.csv").write_text("0.5,2\n1.5,0\n")
    np.save("rates.npy", np.array([0.5, 1.0]))
    np.save("currents.npy", np.array([5, 2]))
    given = ["-i", "camera=camera.csv", "-i", "noise=rates.npy", "-i", "in=currents.npy"]
    found = json.loads(cli("run", "net.h5", *given, "--steps", 9, "--json").stdout)
    values = {"camera": ([0.5, 1.5], [2, 0]), "noise": np.array([0.5, 1.0]), "in": np.array([5, 2])}
    assert found["spikes"] == es.run(net, values, steps=9).total_spikes
    one_line_error(cli("run", "net.h5", *given[:4]), "in: no input")
    assert "several inputs are each POPULATION=FILE" in cli("run", "net.h5", *given, "-i", "x.png").stderr
    assert "camera=FILE, noise=FILE, in=FILE" in cli("run", "net.h5").stderr
    one_line_error(cli("run", "net.h5", "-i", "out=currents.npy"), "no population that takes an input")
    one_line_error(cli("run", "net.h5", "-i", "camera.csv"), "needs inputs for camera, noise, in")
    np.save("batch.npy", np.ones((3, 2)))
    one_line_error(cli("run", "net.h5", "-i", "noise=batch.npy"), "a batch of 3 inputs, where one")
    np.save("complex.npy", np.ones(2, complex))
    one_line_error(cli("run", "net.h5", *given[:2], *given[4:], "-i", "noise=complex.npy"), "noise: rates", "complex128")
    assert "name a file" in cli("run", "net.h5", "-i", "in=").stderr
    assert "take" in cli("run", "net.h5", *given, "--crop").stderr


def test_events_from_standard_input(cli):
    net = es.Network()
    net.source("camera", 3)
    es.save(net, "net.h5")
    for source in ("-", "camera=-"):
        found = cli("run", "net.h5", "-i", source, "--steps", 9, "--json", "--no-trace", input="time , neuron\n1 , 2\n3 0\n")
        assert json.loads(found.stdout)["spikes"] == 2
    one_line_error(cli("run", "net.h5", "-i", "-", input="<svg>"), "standard input: line 1: expected two numbers")
    one_line_error(cli("run", "net.h5", "-i", DIGITS / "digit-7.png"), "camera takes events")
    one_line_error(cli("run", "net.h5", "-i", ""), "--input: empty")


def test_options_that_would_do_nothing_are_refused(cli):
    digit = DIGITS / "digit-7.png"
    np.save("currents.npy", np.zeros((28, 28, 32), int))
    given = ["-i", "conv1=currents.npy"]
    assert cli("run", LENET, *given, "--steps", 1, "--no-trace", "--clocked").exit_code == 0
    assert "--encoding poisson makes" in cli("run", LENET, *given, "--encoding", "poisson").stderr
    assert "--invert and --crop" in cli("run", LENET, *given, "--invert").stderr
    assert "--record chooses" in cli("run", LENET, "-i", digit, "--no-trace", "--record", "conv1").stderr


def test_an_input_whose_potentials_overflow_does_not_stop_a_folder(cli, tmp_path):
    net = es.Network()
    net.image_input((1, 1, 1))
    net.driven("in", 1, 1, encoder=es.Dense([[1]]))
    net.readout("out", 1)
    net.connect("in", "out", [[2**15]])
    es.save(net, "net.h5")
    np.save("batch.npy", np.array([255, 1], np.uint8).reshape(2, 1, 1))
    outcome = cli("run", "net.h5", "-i", "batch.npy", "--steps", 300, "--json")
    assert outcome.exit_code == 1
    assert "batch.npy[0]: " in outcome.stderr
    assert json.loads(outcome.stdout)["input"] == "batch.npy[1]"


def test_networks_that_need_no_input_run_without_one(cli):
    net = es.Network()
    net.source("noise", 2, "poisson", rate=np.array([0.5, 1.0]))
    net.readout("out", 2)
    net.connect("noise", "out", np.array([[1, 2], [3, 4]]))
    es.save(net, "net.h5")
    assert json.loads(cli("run", "net.h5", "--steps", 9, "--json").stdout)["spikes"] == es.run(net, steps=9).total_spikes
    assert "needs --input: an image" in cli("run", LENET).stderr


def test_a_batch_runs_like_a_folder(cli, tmp_path):
    digits = np.stack([np.asarray(Image.open(DIGITS / f"digit-{i}.png")) for i in (3, 7)])
    np.save("batch.npy", digits)
    lines = cli("run", LENET, "-i", "batch.npy", "--clocked", "--json").stdout.splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["3", "7"]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["batch.npy-0.h5", "batch.npy-1.h5"]


def test_traces_do_not_replace_one_another(cli, tmp_path):
    (tmp_path / "in").mkdir()
    np.save("in/a.npy", np.zeros((2, 28, 28), np.uint8))
    (tmp_path / "in" / "a.npy-1").write_bytes((DIGITS / "digit-1.png").read_bytes())
    one_line_error(cli("run", LENET, "-i", "in"), "two inputs have the trace a.npy-1.h5")
    assert cli("run", LENET, "-i", "in", "--no-trace", "--clocked", "--steps", 1).exit_code == 0


def test_dark_on_light_is_inverted_if_asked(cli):
    Image.fromarray(255 - np.asarray(Image.open(DIGITS / "digit-7.png"))).save("paper.png")
    outcome = cli("run", LENET, "-i", "paper.png", "--invert", "--clocked", "--json", "--no-trace")
    assert json.loads(outcome.stdout)["label"] == "7"
    assert "paper.png: inverted" in outcome.stderr


@pytest.fixture
def runaway(tmp_path):
    """Two neurons that excite each other without end: a spike each from step 1 on, two more a step; the readout sees the second one's."""
    net = es.Network()
    net.image_input((1, 1, 1))
    net.driven("in", 1, 1, encoder=es.Dense([[1]]))
    net.spiking("loop", 2, 1)
    net.readout("out", 1)
    net.connect("in", "loop", [[1, 1]])
    net.connect("loop", "loop", [[0, 1], [1, 0]], delay=1)
    net.connect("loop", "out", [[0], [1]])
    es.save(net, tmp_path / "runaway.h5")
    (tmp_path / "in").mkdir()
    for value in (0, 1):
        np.save(tmp_path / "in" / f"{value}.npy", np.full((1, 1, 1), value, np.uint8))
    return tmp_path / "runaway.h5"


def test_a_run_away_network_stops_at_its_limit(cli, runaway):
    settings = ["--steps", "1000", "--clocked", "--max-spikes", "20"]
    outcome = cli("run", runaway, "-i", "in/1.npy", *settings)
    assert outcome.exit_code == 3
    (line,) = outcome.stderr.splitlines()
    for word in ("stopped", "in/1.npy", "more than 20 spikes", "of 1000 steps", "--max-spikes"):
        assert word in line
    assert "stopped at" in outcome.stdout
    with es.Trace("run.h5") as trace:
        assert trace.stopped == "max_spikes"
        assert 20 < trace.total_spikes <= 23
        assert len(trace.spikes("loop").ticks) == trace.spikes_per_population()["loop"]
        assert trace.duration < 20
    outcome = cli("run", runaway, "-i", "in/1.npy", "--no-trace", "--json", *settings)
    assert outcome.exit_code == 3
    assert json.loads(outcome.stdout)["stopped"] == "max_spikes"


def test_in_a_folder_the_others_go_on(cli, runaway):
    outcome = cli("run", runaway, "-i", "in", "--steps", "50", "--clocked", "--max-spikes", "20", "--json")
    assert outcome.exit_code == 3
    assert [json.loads(line)["stopped"] for line in outcome.stdout.splitlines()] == [None, "max_spikes"]
    assert len(outcome.stderr.splitlines()) == 1
    Path("in/2.npy").write_bytes(b"")
    assert cli("run", runaway, "-i", "in", "--steps", "50", "--clocked", "--max-spikes", "20").exit_code == 1
    assert cli("run", runaway, "-i", "in/1.npy", "--steps", "50", "--clocked").exit_code == 0
    assert cli("run", runaway, "-i", "in/1.npy", "--max-spikes", "-1").exit_code == 2


@pytest.mark.parametrize("engine", ["queue", "layered", "reference"])
def test_without_a_trace_no_spikes_are_kept(cli, runaway, monkeypatch, engine):
    net = es.load(runaway)
    net.projections = [p for p in net.projections if p.delay == 0]
    es.save(net, "forward.h5")
    kept = []
    monkeypatch.setattr("eventsim.record.result.MemoryRecorder.record", lambda self, *spikes: kept.append(spikes))
    outcome = cli("run", "forward.h5", "-i", "in/1.npy", "--steps", "5", "--no-trace", "--json", "--engine", engine)
    assert json.loads(outcome.stdout)["spikes"] == 15
    assert kept == []
    assert cli("run", "forward.h5", "-i", "in/1.npy", "--no-trace", "--record", "loop").exit_code == 2


def test_too_little_memory_is_one_line(cli, monkeypatch):
    def load(*_):
        raise MemoryError

    monkeypatch.setattr("eventsim.cli.info.describe_file", load)
    done = cli("info", LENET)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "eventsim: error: not enough memory; run something smaller, or one thing at a time\n"

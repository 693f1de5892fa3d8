"""Evaluations on hardware: what each image takes, their means, and what faster steps lose."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from judges.architectures import architecture
from judges.evaluations import small_data, small_network
from judges.sealing import change_and_reseal
from PIL import Image

import eventsim as es
from eventsim.batch.imperfect_study import ImperfectPoint, run_points
from eventsim.batch.throughput_study import throughput_study
from eventsim.cli.main import main
from eventsim.data.datasets import open_dataset
from eventsim.engines.registry import Engines
from eventsim.errors import InputError, RunError
from eventsim.hardware.faults import Faults

CHIP = """
name = "small"
[chip]
columns = 4
rows = 4
step_us = 10
[core]
kind = "event"
neurons = 64
synapse_ns = 20
synapse_pj = 2
"""


def throughput(net, folder, into):
    return throughput_study(net, open_dataset(folder), es.Hardware(architecture(CHIP)), into, [10], steps=3).rows


def lost(net, folder, into):
    points = [ImperfectPoint({"series": "clocked"}, net, 1, None, Faults(lost=0.5), 0)]
    return run_points("lost", points, open_dataset(folder), into, steps=3).rows


def evaluated(net, folder, into):
    return es.evaluate(net, folder, into, steps=3, workers=1).truth.tolist()


@pytest.mark.parametrize("make", [evaluated, throughput, lost])
def test_classes_are_the_outputs_of_the_network(tmp_path, make):
    """A folder without some of the classes numbers the others otherwise: refused, until empty ones are made."""
    folder, net = tmp_path / "some", small_network()
    net.labels = [f"class {k}" for k in range(4)]
    (folder / "class 2").mkdir(parents=True)
    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)).save(folder / "class 2" / "a.png")
    with pytest.raises(InputError, match="some: class class 2 is number 0 of 1 there, and output 2 of the network"):
        make(net, folder, tmp_path / "made")
    for k in range(2):
        (folder / f"class {k}").mkdir()
    assert len(make(net, folder, tmp_path / "made")) == 1


@pytest.mark.parametrize("make", [evaluated, throughput, lost])
def test_classes_are_no_more_than_outputs(tmp_path, make):
    for k in range(5):
        (tmp_path / "many" / f"{k}").mkdir(parents=True)
        Image.new("L", (6, 6), k).save(tmp_path / "many" / f"{k}" / "a.png")
    with pytest.raises(InputError, match="many has 5 classes, the network tells 4 apart"):
        make(small_network(), tmp_path / "many", tmp_path / "made")


def test_a_throughput_study_of_another_length_is_another_one(tmp_path):
    """Of the length that the network recommends, too."""
    net, data, hardware = small_network(), small_data(n=2), es.Hardware(architecture(CHIP))
    first = throughput_study(net, data, hardware, tmp_path / "s", [10]).rows
    assert throughput_study(net, data, hardware, tmp_path / "s", [10], steps=6).rows == first
    net.provenance["steps"] = 2
    with pytest.raises(RunError, match="is of another study"):
        throughput_study(net, data, hardware, tmp_path / "s", [10])
    assert throughput_study(net, data, hardware, tmp_path / "t", [10]).rows != first


def test_an_evaluation_keeps_what_each_image_takes(tmp_path, monkeypatch):
    """The same as runs on the chip, from the runs that the evaluation makes anyway."""
    net, data, hardware = small_network(), small_data(n=7), es.Hardware(architecture(CHIP))
    runs = [hardware.run(net, image, steps=5) for image in data.arrays()[0]]
    labels, decided = data.arrays()[1], [report.decision for _, report in runs if report.decision is not None]
    made = []
    engines_run = Engines.run

    def counting(self, engine, job, *rest):
        # (Not those of the test run that evaluations begin with.)
        made.extend([job] if job.steps == 5 else [])
        return engines_run(self, engine, job, *rest)

    monkeypatch.setattr(Engines, "run", counting)
    with es.evaluate(net, data, tmp_path / "e.h5", steps=5, workers=1, hardware=hardware) as e:
        assert len(made) == 7
        assert e.hardware == pytest.approx(
            {
                "name": "small",
                "file": hardware.architecture.source,
                "mode": "replay",
                "images": 7,
                "accuracy": np.mean([result.decision == label for (result, _), label in zip(runs, labels, strict=True)]),
                "spikes": np.mean([result.total_spikes for result, _ in runs]),
                "decision_seconds": np.mean(decided) / 1e12,
                "duration_seconds": np.mean([report.duration for _, report in runs]) / 1e12,
                "energy_joules": np.mean([report.total_energy for _, report in runs]) / 1e12,
                "messages": np.mean([report.counts["message"] for _, report in runs]),
                "dropped": 0,
                "p99_waiting_seconds": np.mean([report.waiting()["p99"] for _, report in runs]) / 1e12,
            }
        )
        assert e.summary()["hardware"] == e.hardware
        for name, values in (
            ("duration", [r.duration for _, r in runs]),
            ("decision", [-1 if r.decision is None else r.decision for _, r in runs]),
            ("energy", [r.total_energy for _, r in runs]),
            ("messages", [r.counts["message"] for _, r in runs]),
            ("p99_waiting", [r.waiting()["p99"] for _, r in runs]),
        ):
            assert e.array(f"hardware/{name}").tolist() == values, name
    # The same again is whole; without, or on another chip, it is another evaluation.
    es.evaluate(net, data, tmp_path / "e.h5", steps=5, workers=1, hardware=architecture(CHIP)).close()
    assert len(made) == 7
    for other in (None, es.Hardware(architecture(CHIP.replace("synapse_pj = 2", "synapse_pj = 3")))):
        with pytest.raises(es.RunError, match="holds another evaluation"):
            es.evaluate(net, data, tmp_path / "e.h5", steps=5, workers=1, hardware=other)
    with es.evaluate(net, data, tmp_path / "plain.h5", steps=5, workers=1) as plain:
        assert plain.hardware is None
        assert "hardware" not in plain.summary()
    with pytest.raises(es.HardwareError, match="needs"):
        es.evaluate(net, data, tmp_path / "f.h5", hardware=architecture(CHIP.replace("neurons = 64", "neurons = 1")))
    assert not list(tmp_path.glob("f.h5*"))


def test_where_potentials_tell_who_is_updated_they_are_recorded(tmp_path):
    chip = CHIP.replace("step_us = 10", 'step_us = 10\nsynchronisation = "barrier"') + 'update_pj = 1\nupdate_when = "potential"\n'
    net, data, hardware = small_network(), small_data(n=3), es.Hardware(architecture(chip))
    runs = [hardware.run(net, image, steps=4)[1] for image in data.arrays()[0]]
    with es.evaluate(net, data, tmp_path / "e.h5", steps=4, workers=1, hardware=hardware) as e:
        assert e.array("hardware/energy").tolist() == [report.total_energy for report in runs]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("duration", np.full(7, -1), "hardware/duration is negative or no number"),
        ("energy", np.full(7, np.nan), "hardware/energy is negative or no number"),
        ("messages", np.zeros(6, int), r"hardware/messages is int64 \(6,\), expected \(7,\)"),
        ("dropped", np.zeros(7), "hardware/dropped is float64"),
    ],
)
def test_damaged_columns_are_refused(tmp_path, column, values, message):
    path = tmp_path / "e.h5"
    es.evaluate(small_network(), small_data(n=7), path, steps=2, workers=1, hardware=architecture(CHIP)).close()

    def change(file):
        del file[f"hardware/{column}"]
        file[f"hardware/{column}"] = values

    change_and_reseal(path, change)
    with pytest.raises(es.RunError, match=message):
        es.Evaluation(path)


def test_faster_steps(tmp_path):
    """A step that is long enough is an ordinary run; in one that is much too short nothing arrives."""
    net, data, hardware = small_network(), small_data(n=6), es.Hardware(architecture(CHIP))
    found = throughput_study(net, data, hardware, tmp_path, [1000.0, 0.01], steps=5)
    slow, fast = found.rows
    ordinary = [es.run(net, image, steps=5, resolution=10**9) for image in data.arrays()[0]]
    assert slow["accuracy"] == np.mean([r.decision == label for r, label in zip(ordinary, data.labels, strict=True)])
    assert slow["images/s"] == pytest.approx(1 / 0.005)
    assert fast["decision (us)"] is None
    assert fast["spikes"] < slow["spikes"]
    assert throughput_study(net, data, hardware, tmp_path / "two", [1000.0, 0.01], steps=5, workers=2).rows == found.rows
    with pytest.raises(es.RunError, match="at most six decimals"):
        throughput_study(net, data, hardware, tmp_path, [1e-7])


def test_what_is_interrupted_goes_on(tmp_path):
    net, data, hardware = small_network(), small_data(n=6), es.Hardware(architecture(CHIP))
    whole = throughput_study(net, data, hardware, tmp_path / "whole", [10.0, 1.0], steps=3)
    seen = []

    def until(n):
        def reached(done, _):
            seen.append(done)
            if len(seen) == n:
                raise KeyboardInterrupt

        return lambda *_: reached

    def again(n, **changes):
        return throughput_study(net, data, hardware, tmp_path / "parts", [10.0, 1.0], each=until(n), **{"steps": 3} | changes)

    with pytest.raises(KeyboardInterrupt):
        again(4)
    assert seen == [0, 1, 2, 3]
    # What was done is not done again, of later values neither.
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        again(7)
    assert seen == [3, 4, 5, 6, 0, 1, 2]
    seen.clear()
    assert again(0).rows == whole.rows
    assert seen == [6, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in whole.evaluations.values()) == ["step-1-us.json", "step-10-us.json"]
    with pytest.raises(es.RunError, match="is of another study"):
        again(0, steps=2)


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = small_data(n=6).arrays()
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "data" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(tmp_path / "data" / str(label) / f"{i}.png")
    es.save(small_network(), tmp_path / "net.h5")
    (tmp_path / "chip.toml").write_text(CHIP)

    def call(*arguments):
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    common = ("net.h5", "--dataset", "data", "--steps", "3", "--hardware", "chip.toml")
    outcome = call("evaluate", *common, "--workers", "1", "--json")
    found = json.loads(outcome.stdout)
    assert found["hardware"]["accuracy"] == found["accuracy"]
    assert found["hardware"]["spikes"] == found["mean_spikes"]
    outcome = call("evaluate", *common, "--workers", "1")
    for word in ("hardware         small (model chip.toml), 6 images", "J an image", "dropped"):
        assert word in outcome.stdout
    outcome = call("study", "throughput", *common, "--values", "1000,10", "-o", "out")
    assert outcome.exit_code == 0, outcome.stderr
    with open("out/table.csv") as file:
        assert [row["step (us)"] for row in csv.DictReader(file)] == ["1000.0", "10.0"]
    assert (tmp_path / "out" / "plot.svg").exists()


@pytest.mark.parametrize(
    "study",
    [
        ("resolution", "--values", "1,4"),
        ("exit", "--values", "1"),
        ("faults", "--kind", "lost", "--values", "0.5", "--seeds", "1"),
        ("throughput", "--hardware", "chip.toml", "--values", "10"),
    ],
    ids=lambda study: study[0],
)
def test_studies_take_images_as_evaluations_do(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, image in enumerate(small_data(n=4).arrays()[0]):
        for folder, pixels in (("light", image), ("dark", 255 - image)):
            (tmp_path / folder / f"{i % 2}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.squeeze()).save(tmp_path / folder / f"{i % 2}" / f"{i}.png")
    es.save(small_network(), "net.h5")
    (tmp_path / "chip.toml").write_text(CHIP)
    tables = []
    for number, images in enumerate((["light"], ["dark", "--invert"], ["dark"])):
        command = ["study", study[0], "net.h5", *study[1:], "--steps", "3", "--workers", "1", "-o", f"{number}", "-d", *images]
        outcome = CliRunner().invoke(main, command, catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.stderr
        tables.append((tmp_path / f"{number}" / "table.csv").read_text())
    assert tables[0] == tables[1] != tables[2]


def test_a_study_of_a_network_without_recordings_has_no_steps_of_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    es.save(small_network(), "net.h5")
    outcome = CliRunner().invoke(main, ["study", "resolution", "net.h5", "-d", "data", "--step-us", "500"])
    assert outcome.exit_code == 1
    assert "net.h5: microseconds of a step and polarity are for a network with one event input; this network has none" in outcome.stderr

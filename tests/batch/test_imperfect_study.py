"""Studies on imperfect hardware: what every point says is what its runs say; and what is done is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from judges.architectures import architecture
from judges.evaluations import small_data, small_network
from PIL import Image

import eventsim as es
from eventsim.analysis.provenance import spread
from eventsim.batch.fault_study import spike_fault_points
from eventsim.batch.imperfect_study import converter_points, run_points
from eventsim.cli.main import main
from eventsim.errors import HardwareError, RunError
from eventsim.hardware.faults import Faults
from eventsim.hardware.imperfect import Imperfect

CHIP = """
name = "crossbars"
[chip]
columns = 30
rows = 30
step_us = 10
[core]
kind = "crossbar"
rows = 16
columns = 16
"""


def test_points_are_what_their_runs_are(tmp_path):
    net, data = small_network(), small_data(n=4)
    images, labels = data.arrays()
    points = converter_points(net, architecture(CHIP), [3, 255], [4])
    assert [list(point.columns.values()) for point in points] == [
        ["clocked", 4, 3, 2, 0],
        ["asynchronous", 4, 3, 2, 0],
        ["clocked", 4, 255, 8, 0],
        ["asynchronous", 4, 255, 8, 0],
    ]
    found = run_points("adc", points, data, tmp_path, images=2, steps=3)
    chosen = spread(2, 4).tolist()
    for row, levels, resolution in zip(found.rows, (3, 3, 255, 255), (1, 2**20) * 2, strict=True):
        chip = architecture(CHIP + f"converter_levels = {levels}\nconverter_rows = 4")
        runs = [es.Hardware(chip).run(net, images[i], steps=3, resolution=resolution) for i in chosen]
        assert row["accuracy"] == np.mean([run.decision == labels[i] for i, (run, _) in zip(chosen, runs, strict=True)])
        assert row["spikes"] == np.mean([run.total_spikes for run, _ in runs])
        assert row["conversions"] > 0
        assert row["synaptic events"] == np.mean([run.total_synaptic_events for run, _ in runs])
        assert all(run.counts.synaptic_events.sum() > run.total_synaptic_events for run, _ in runs)  # (those of biases)
    assert (tmp_path / "table.csv").exists()
    with pytest.raises(HardwareError, match="its cores are of kind 'event'"):
        converter_points(net, es.Hardware("odin").architecture)
    with pytest.raises(HardwareError, match=r"for 1\.\.65,536 rows, found 15 levels for 1000000000000000 rows"):
        converter_points(net, architecture(CHIP), [15], [10**15])
    with pytest.raises(HardwareError, match="found 1 levels for 4 rows"):
        converter_points(net, architecture(CHIP), [1], [4])


def test_evaluations_leave_converters_to_the_study(tmp_path):
    """What they would say of time and energy is of other runs than those whose answers they count."""
    chip = architecture(CHIP + "converter_levels = 3\n")
    with pytest.raises(HardwareError, match="its converters change what runs answer; `study adc`"):
        es.evaluate(small_network(), small_data(), tmp_path / "e.h5", steps=3, hardware=chip)
    assert not list(tmp_path.iterdir())


def test_what_is_done_is_kept(tmp_path):
    net, data = small_network(), small_data(n=4)
    points = spike_fault_points(net, "lost", [0.5], 1)[:1]
    seen = []

    def each(*_):
        return lambda done, _: seen.append(done)

    first = run_points("faults", points, data, tmp_path, steps=2, each=each)
    assert seen == [0, 1, 2, 3, 4]
    (file,) = tmp_path.glob("*.json")
    kept = json.loads(file.read_text())
    expected = Imperfect(net, faults=Faults(lost=0.5), seed=0).run(data.arrays()[0][0], steps=2, resolution=1)
    assert kept["images"][0][2] == expected.total_spikes
    # An interruption leaves some images; the rest is run.
    file.write_text(json.dumps(kept | {"images": kept["images"][:3]}))
    seen.clear()
    assert run_points("faults", points, data, tmp_path, steps=2, each=each).rows == first.rows
    assert seen == [3, 4]
    # What is damaged is made again.
    file.write_text("{")
    assert run_points("faults", points, data, tmp_path, steps=2).rows == first.rows
    with pytest.raises(RunError, match="is of another study"):
        run_points("faults", points, data, tmp_path, steps=3)
    other = spike_fault_points(net, "lost", [0.25], 1)[:1]
    with pytest.raises(RunError, match="is of another study"):
        run_points("faults", [type(other[0])(points[0].columns, net, 1, None, other[0].faults, 0)], data, tmp_path, steps=2)


def test_processes(tmp_path):
    """The same files, whoever runs the images and in whatever order they are done; and they go on from each other."""
    net, data = small_network(), small_data(n=12)
    points = spike_fault_points(net, "jitter", [0.5], 1)
    seen = []
    alone = run_points("faults", points, data, tmp_path / "alone", steps=2)
    together = run_points(
        "faults", points, data, tmp_path / "together", steps=2, workers=2, each=lambda *_: lambda done, _: seen.append(done)
    )
    assert together.rows == alone.rows
    assert seen[0] == 0
    assert seen[-1] == 12
    assert seen[: seen.index(12) + 1] == sorted(set(seen))
    for file in (tmp_path / "alone").glob("*.json"):
        kept = json.loads(file.read_text())
        assert json.loads((tmp_path / "together" / file.name).read_text()) == kept
        file.write_text(json.dumps(kept | {"images": kept["images"][:5]}))
    assert run_points("faults", points, data, tmp_path / "alone", steps=2, workers=2).rows == alone.rows


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chip.toml").write_text(CHIP + "converter_levels = 5\nconverter_offset = 0.5")
    es.save(small_network(), "net.h5")
    images, labels = small_data(n=4).arrays()
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(folder / f"{i}.png")
    command = ["study", "adc", "net.h5", "--dataset", "images", "--steps", "2", "--hardware", "chip.toml", "--workers", "1"]
    outcome = CliRunner().invoke(main, [*command, "--values", "3,15", "--seeds", "2"], catch_exceptions=False)
    assert outcome.exit_code == 0
    assert "| series | rows | levels | bits | seeds | accuracy |" in outcome.stdout
    assert outcome.stdout.count("| asynchronous |") == 2
    one = ["--images", "1", "--seeds", "1", "-o", "usual"]
    assert CliRunner().invoke(main, [*command, *one], catch_exceptions=False).exit_code == 0  # without --values
    for option, what in (("--values", "levels of a converter"), ("--rows", "a full scale in rows")):
        outcome = CliRunner().invoke(main, [*command, option, "2.5"])
        assert (outcome.exit_code, f"{option} 2.5: {what}: a whole number is expected" in outcome.stderr) == (2, True)
    outcome = CliRunner().invoke(
        main,
        ["study", "faults", "net.h5", "--dataset", "images", "--steps", "2", "--kind", "jitter", "--values", "0,0.5", "--workers", "1"],
    )
    assert outcome.exit_code == 0
    assert "| clocked | 0.5 |" in outcome.stdout


@pytest.mark.parametrize("steps", [None, 3])
def test_a_network_without_an_output_has_no_accuracy(tmp_path, steps):
    net = es.Network()
    net.image_input((6, 6, 1))
    net.driven("a", (6, 6, 1), 300, encoder=es.Conv2d(np.ones((1, 1, 1, 1), int)))
    with pytest.raises(es.InputError, match="needs a network that has an output readout"):
        run_points("faults", spike_fault_points(net, "lost", [0.5]), small_data(n=2), tmp_path / "study", steps=steps)
    assert not (tmp_path / "study").exists()

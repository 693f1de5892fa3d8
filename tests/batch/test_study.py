"""Studies: what each sweep changes, that stopping is confirmed, that they resume, and their commands."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import small_data, small_network
from judges.graphs import Builder
from PIL import Image

import eventsim as es
from eventsim.analysis import plot
from eventsim.batch import study
from eventsim.batch.fault_study import fault_points, spike_fault_points
from eventsim.batch.imperfect_study import run_points
from eventsim.batch.throughput_study import throughput_study
from eventsim.cli.main import main
from eventsim.conversion import graph as g
from eventsim.data.image_sets import ArrayDataset


def test_sweeps_change_what_they_say():
    net = small_network()
    assert [p.settings["resolution"] for p in study.resolution_points(net, [1, 8])] == [1, 8]
    late = study.delayed(net, 0.5)
    # The bias begins with the first spikes of its layer: one delay behind the input.
    assert [(p.name, p.delay) for p in late.projections] == [("a->b", 0.5), ("b->out", 0.5), ("b.bias->b", 0.5)]
    assert all(p.delay == 0 for p in net.projections)
    for fraction in (0.0, 0.25, 0.9):
        changed = study.with_initial(net, fraction)
        for name in ("a", "b"):
            threshold = np.asarray(net.populations[name].threshold)
            assert np.array_equal(np.broadcast_to(changed.populations[name].v0, threshold.shape), np.floor(threshold * fraction))
    # In whole numbers, not in binary fractions.
    for threshold, fraction, expected in ((100, 0.29, 29), (1000, 0.57, 570), (2**31 - 1, 0.3, 644245094)):
        tenth = es.Network()
        tenth.source("s", 1)
        tenth.spiking("n", 1, threshold)
        assert study.with_initial(tenth, fraction).populations["n"].v0.tolist() == [expected]
    with pytest.raises(es.RunError, match="below 1"):
        study.with_initial(net, 1.0)


@pytest.mark.parametrize(
    ("activation", "depends"), [(g.Clip(0.0, np.inf), True), (g.Clip(0.0, 100.0), True), (g.Clip(0.0, 1e-3), False), (g.Sign(), False)]
)
def test_percentiles_of_what_has_a_range_by_images_alone(activation, depends):
    """A clip that is never come near has one, as a ReLU does; a sign, and a clip that is reached, do not."""
    b = Builder(0, (3, 8, 8), 0)
    b.conv(4, binary=False, bias=False)
    b.at = b.graph.add(activation, (b.at,))
    b.linear(3, binary=False, bias=True)
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    if not depends:
        with pytest.raises(es.RunError, match="a percentile changes nothing here"):
            study.percentile_points(b.graph, images, [90, 99.9])
        return
    points = study.percentile_points(b.graph, images, [90, 99.9])
    assert [point.columns["percentile"] for point in points] == [90, 99.9] * 2
    low, high = (next(iter(point.network.populations.values())).threshold for point in points[:2])
    assert (low < high).all()


def test_a_delay_of_whole_steps_moves_every_spike(tmp_path):
    """A chain delayed by d a layer does at t + d * depth what it did at t."""
    net = small_network()
    image = small_data().arrays()[0][0]
    plain = es.run(net, image, steps=6)
    late = es.run(study.delayed(net, 1), image, steps=8)
    for depth, name in enumerate(("a", "b")):
        assert np.array_equal(plain.spikes(name).ticks + depth * 2**20, late.spikes(name, depth, 6 + depth).ticks)
        assert np.array_equal(plain.spikes(name).neurons, late.spikes(name, depth, 6 + depth).neurons)
    assert np.array_equal(plain.readout, late.readout[2:])


def test_delays_are_rounded_before_they_add_up():
    """Clocked, half a step is a step in every layer; a bias that waits for three of them waits three steps, not one and a half."""
    net = es.Network()
    net.driven("a", 1, threshold=1)
    for name in ("b", "c", "d"):
        net.spiking(name, 1, threshold=1)
    net.readout("out", 1)
    for source, target in (("a", "b"), ("b", "c"), ("c", "d"), ("d", "out")):
        net.connect(source, target, [[1]])
    net.bias("d", [1])
    for point in study.delay_points(net, (0.5,)):
        delays = {p.name: p.delay for p in point.network.projections}
        assert delays["a->b"] == delays["d->out"] == (1 if point.settings["resolution"] == 1 else 0.5)
        assert delays["d.bias->d"] == 3 * delays["a->b"]


def test_a_recurrent_network_has_no_delay_sweep():
    net = small_network()
    net.connect("b", "b", np.ones((45, 45), int), delay=1)
    with pytest.raises(es.RunError, match="feed-forward"):
        study.delayed(net, 1)


def test_a_study_is_its_evaluations(tmp_path):
    net, data = small_network(), small_data()
    found = study.run_study("initial potential", study.initial_points(net, [0, 0.5]), data, tmp_path, workers=1)
    assert [(r["series"], r["initial potential"]) for r in found.rows] == [
        ("clocked", 0), ("clocked", 0.5), ("asynchronous", 0), ("asynchronous", 0.5)
    ]  # fmt: skip
    for row, path in zip(found.rows, found.evaluations.values(), strict=True):
        resolution = 1 if row["series"] == "clocked" else es.DEFAULT_RESOLUTION
        runs = [es.run(study.with_initial(net, row["initial potential"]), i, steps=6, resolution=resolution) for i in data.arrays()[0]]
        assert row["accuracy"] == np.mean([r.decision for r in runs] == data.labels)
        assert row["decision latency"] == pytest.approx(np.mean([r.decision_latency for r in runs]))
        assert row["synaptic events"] == pytest.approx(np.mean([r.total_synaptic_events for r in runs]))
        assert row["additions"] == pytest.approx(np.mean([r.total_additions for r in runs]))
        assert path.exists()
    with open(tmp_path / "table.csv", encoding="utf-8") as file:
        assert [float(r["accuracy"]) for r in csv.DictReader(file)] == [r["accuracy"] for r in found.rows]
    # Again: nothing runs, the same table.
    remarks = []
    again = study.run_study("initial potential", study.initial_points(net, [0, 0.5]), data, tmp_path, workers=1, note=remarks.append)
    assert again.rows == found.rows
    assert len([r for r in remarks if "nothing to do" in r]) == 4


def test_stopping_is_confirmed(tmp_path, monkeypatch):
    net, data = small_network(), small_data(80)
    found = study.exit_study(net, data, tmp_path / "good", [0.05], workers=1)
    assert [(r["mode"], r["rule"]) for r in found.rows] == [
        (m, k) for m in ("clocked", "asynchronous") for k in ("margin", "potential")
    ]  # fmt: skip
    for row in found.rows:
        assert row["latency cut"] == pytest.approx(6 / row["latency"])
        assert row["events cut"] >= 1
    # A curve that lies is found out.
    honest = es.Evaluation.trade_off

    def lies(self, *args):
        curve = honest(self, *args)
        return replace(curve, spikes=curve.spikes + 1)

    monkeypatch.setattr(es.Evaluation, "trade_off", lies)
    with pytest.raises(es.RunError, match="really stopping gave spikes"):
        study.exit_study(net, data, tmp_path / "bad", [0.05], workers=1)


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    for label in range(2):
        (tmp_path / "data" / f"class{label}").mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(tmp_path / "data" / f"class{label}" / f"{i}.png")
    es.save(small_network(), "net.h5")

    def call(*args):
        return CliRunner().invoke(main, ["study", *args], catch_exceptions=False)

    sweeps = {"resolution": "1,16", "delay": "0,1", "initial": "0,0.5", "onset": "0,0.3", "refractory": "0.75,1", "exit": "0.2"}
    for kind, values in sweeps.items():
        done = call(kind, "net.h5", "-d", "data", "--workers", "1", "--values", values, "-o", f"out-{kind}")
        assert done.exit_code == 0, done.output
        assert "accuracy" in done.stdout
        assert (tmp_path / f"out-{kind}" / "plot.svg").read_text().count("<path") > 5
        assert len((tmp_path / f"out-{kind}" / "table.md").read_text().splitlines()) >= 4
    assert call("delay", "net.h5", "-d", "data", "--values", "a,b").exit_code == 2
    bad = call("exit", "none.h5", "-d", "data")
    assert bad.exit_code == 1
    assert bad.stderr.startswith("eventsim: error: ")


def test_a_study_of_images_without_labels_draws_the_rest(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)).save(tmp_path / "photos" / "0.png")
    es.save(small_network(), "net.h5")
    arguments = ["study", "resolution", "net.h5", "-d", "photos", "--workers", "1", "--values", "1,16", "-o", "out"]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "no plot" in done.stderr  # accuracy over time
    drawn = (tmp_path / "out" / "plot.svg").read_text()
    assert "synaptic events" in drawn
    assert "accuracy" not in drawn
    with pytest.raises(es.RunError, match="no values to draw"):
        plot.curves([{"x": 1, "accuracy": None}], "x", ["accuracy"])


def test_values_given_twice_are_no_two_seeds(tmp_path):
    net, data = small_network(), small_data(n=3)
    for make in (fault_points, spike_fault_points):
        points = make(net, "flips" if make is fault_points else "lost", [0.5, 5e-1], 2)
        run = study.run_study if make is fault_points else run_points
        with pytest.raises(es.RunError, match="asked for 2 times; give every value once"):
            run("faults", points, data, tmp_path / "s", steps=2)
    assert not (tmp_path / "s").exists()


def test_a_study_of_exits_without_any_event(tmp_path):
    net = es.Network()
    net.image_input((2, 2, 1))
    net.driven("in", (2, 2, 1), 10**6, encoder=es.Conv2d(np.ones((1, 1, 1, 1), int)))
    net.readout("out", 2)
    net.connect("in", "out", np.ones((4, 2), int))
    data = ArrayDataset("made", "test", ["a", "b"], np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 0, 1]))
    found = study.exit_study(net, data, tmp_path, [0.1], steps=2, workers=1)
    assert [row["events cut"] for row in found.rows] == [None] * len(found.rows)
    assert found.markdown().splitlines()[-1].endswith("| 0 | - |")


@pytest.mark.parametrize("losses", [[-1], [5], [float("nan")], [0.003, 0.003]])
def test_losses_are_shares_each_given_once(tmp_path, losses):
    with pytest.raises(es.RunError, match=r"must be a share from 0 to 1|give every value once"):
        study.exit_study(small_network(), small_data(4), tmp_path / "s", losses, workers=1)
    assert not (tmp_path / "s").exists()


def test_values_that_were_asked_for_are_written_in_full(tmp_path):
    found = study.Study("", [{"delay": 99.999, "accuracy": 0.12345, "spikes": 1234.56}], {}, ("delay",))
    assert found.markdown().splitlines()[-1] == "| 99.999 | 12.35% | 1,235 |"
    losses = study.Study("", [{"allowed loss": loss} for loss in (0.003, 0.00025)], {}, ("allowed loss",))
    assert losses.markdown().splitlines()[-2:] == ["| 0.30% |", "| 0.025% |"]
    points = study.initial_points(small_network(), [0.12345, 0.12346])
    rows = study.run_study("initial", points, small_data(2), tmp_path, steps=2, workers=1).markdown().splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["0.12345", "0.12346"] * 2


@pytest.mark.parametrize("command", [["exit"], ["faults", "--seeds", "1"], ["faults", "--kind", "lost", "--seeds", "1"]])
def test_studies_of_accuracy_ask_for_labels_first(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)).save(tmp_path / "photos" / "0.png")
    es.save(small_network(), "net.h5")
    done = CliRunner().invoke(main, ["study", *command, "net.h5", "-d", "photos", "--workers", "1", "-o", "out"])
    assert done.exit_code == 1
    assert done.stderr.startswith("eventsim: error: photos: a study of accuracy, and the data set has no labels")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_studies_without_images_or_of_runs_that_do_not_end(tmp_path):
    net, data = small_network(), small_data(n=3)
    points = spike_fault_points(net, "lost", [0.5], 1)[:1]
    with pytest.raises(es.RunError, match="the number of images must be at least 1, found 0"):
        run_points("lost", points, data, tmp_path / "s", images=0, steps=2)
    hardware = es.Hardware("truenorth")
    for values in ([float("nan")], [float("inf")], [1, 1.0]):
        with pytest.raises(es.RunError, match=r"steps must be microseconds|give every value once"):
            throughput_study(net, data, hardware, tmp_path / "t", values)
    with pytest.raises(es.RunError, match=r"image 0: more than 3 spikes in .* steps; is this network meant to fire so much"):
        throughput_study(net, data, hardware, tmp_path / "t", [1000], max_spikes=3, workers=1)


def test_neurons_that_spike_once_are_left_as_they_are():
    """Their delays and initial potentials are part of what they compute."""
    b = Builder(0, (3, 8, 8), 0)
    for _ in range(3):
        b.conv(4, binary=True, bias=True)
        b.at = b.graph.add(g.Sign(), (b.at,))
    b.linear(3, binary=True, bias=False)
    net = es.convert(b.graph).network
    for vary in (study.delay_points, study.initial_points):
        with pytest.raises(es.RunError, match="are part of what it computes"):
            vary(net)

"""Studies of faults: every value with every seed, and means with intervals over the seeds."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import small_data, small_network
from PIL import Image

import eventsim as es
from eventsim.batch import fault_study
from eventsim.batch.study import Study
from eventsim.cli.main import main


def test_points_are_values_with_seeds():
    points = fault_study.fault_points(small_network(), "thresholds", [0.0, 0.3], seeds=3)
    assert [(p.columns["series"], p.columns["thresholds"], p.columns["seed"]) for p in points[:4]] == [
        ("clocked", 0.0, 0), ("asynchronous", 0.0, 0), ("clocked", 0.3, 0), ("asynchronous", 0.3, 0),
    ]  # fmt: skip
    assert len(points) == 2 + 3 * 2
    assert points[0].network == small_network()
    assert points[2].network == points[3].network
    assert points[2].network != points[4].network


def test_intervals():
    """Student's t for three values: 4.303 standard errors."""
    rows = [{"series": "clocked", "flips": 0.1, "seed": s, "accuracy": a, "spikes": 10.0 * s} for s, a in enumerate((0.5, 0.6, 0.7))]
    (found,) = fault_study.over_seeds(rows, "flips")
    assert found["accuracy"] == pytest.approx(0.6)
    assert found["accuracy +-"] == pytest.approx(4.30265 * 0.1 / np.sqrt(3), rel=1e-5)
    assert (found["seeds"], found["spikes"]) == (3, 10)
    (single,) = fault_study.over_seeds(rows[:1], "flips")
    assert (single["seeds"], single["accuracy"], single["accuracy +-"]) == (1, 0.5, None)
    assert Study("faults", [single], {}).markdown().splitlines()[-1] == "| clocked | 0.1 | 1 | 50.00% | - | 0 |"
    with pytest.raises(es.RunError, match="no labels"):
        fault_study.over_seeds([rows[0] | {"accuracy": None}], "flips")


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = small_data(n=8).arrays()
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "data" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(tmp_path / "data" / str(label) / f"{i}.png")
    es.save(small_network(), tmp_path / "net.h5")
    command = "study", "faults", "net.h5", "--dataset", "data", "--kind", "thresholds", "--values", "0,0.5", "--seeds", "2", "--steps", "3"
    outcome = CliRunner().invoke(main, [*command, "--workers", "1", "-o", "out"], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.stderr
    assert "no interval" not in outcome.stderr
    assert outcome.stdout.splitlines()[-2:] == ["out/means/table.csv", "out/table.csv (all seeds)"]
    with open("out/means/table.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["series"], row["thresholds"], row["seeds"]) for row in rows] == [
        ("clocked", "0.0", "1"), ("clocked", "0.5", "2"), ("asynchronous", "0.0", "1"), ("asynchronous", "0.5", "2"),
    ]  # fmt: skip
    with open("out/table.csv") as file:
        assert len(list(csv.DictReader(file))) == 6
    assert (tmp_path / "out" / "plot.svg").exists()
    alone = CliRunner().invoke(main, [*command, "--seeds", "1", "--workers", "1", "-o", "one"], catch_exceptions=False)
    assert "note: one seed gives no interval; --seeds 2 or more give one" in alone.stderr

"""The command that evaluates."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
from click.testing import CliRunner
from judges.evaluations import small_network
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.cli.main import main


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    for label in range(2):
        (tmp_path / "data" / f"class{label}").mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(tmp_path / "data" / f"class{label}" / f"{i}.png")
    es.save(small_network(), "net.h5")

    def call(*args):
        return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)

    done = call("evaluate", "net.h5", "--dataset", "data", "--workers", "1", "--trace", "0,5")
    assert done.exit_code == 0, done.output
    for word in ("6 images", "accuracy", "decided at", "exit margin", "eval.h5"):
        assert word in done.stdout
    assert sorted(p.name for p in (tmp_path / "eval.h5.traces").iterdir()) == ["0.h5", "5.h5"]
    found = json.loads(call("evaluate", "net.h5", "--dataset", "data", "--json").stdout)
    with es.Evaluation("eval.h5") as e:
        assert found["accuracy"] == e.accuracy
        assert found["steps"] == 6
    for args, word in (
        (("--dataset", "nothing"), "neither a folder nor a known data set"),
        (("--dataset", "data", "--clocked"), "another evaluation"),
        (("--dataset", "data", "--trace", "9", "-o", "b.h5"), "no image 9"),
    ):
        outcome = call("evaluate", "net.h5", *args)
        assert outcome.exit_code == 1
        assert outcome.stderr.startswith("eventsim: error: ")
        assert word in outcome.stderr
    report = subprocess.run(
        [sys.executable, ROOT / "tools" / "count_ops.py", "eval.h5", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(report.stdout)["runs"] == 6

"""A cost model is one file: everything that prints energy takes it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from repository import ROOT

import eventsim as es
from eventsim.analysis import costs, report
from eventsim.analysis.costs import read_costs, usual_costs
from eventsim.analysis.counting import Costs, count_operations

ANOTHER = '''
from dataclasses import dataclass

from eventsim.analysis.costs.model import CostModel


@dataclass(frozen=True)
class Costs(CostModel):
    """Spikes cost something, and nothing else does."""

    name: str = "spikes"
    spike: float = 2.0

    kinds = ("chip", "board")

    def of_layer(self, count):
        return {"chip": {"spikes": count.spikes * self.spike}, "board": {"spikes": 10 * count.spikes * self.spike}}

    def of_neurons(self, report):
        return {"chip": 0.0, "board": report.neurons}

    def phrases(self):
        return {"chip": ("", f"on a chip ({self.spike:g} pJ)"), "board": ("board", "(ten times)")}

    def apart(self):
        return "nothing"
'''


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model in a file of its own, and a file of its costs."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "spikes_only.py").write_text(ANOTHER)
    monkeypatch.setattr(costs, "__path__", [*costs.__path__, str(tmp_path / "models")])
    yield "spikes_only"
    sys.modules.pop("eventsim.analysis.costs.spikes_only", None)


@pytest.fixture
def run(tmp_path):
    net = es.Network()
    net.driven("pixels", 3, 4)
    net.spiking("hidden", 4, 2)
    net.readout("out", 2)
    net.connect("pixels", "hidden", np.ones((3, 4), np.int8))
    net.connect("hidden", "out", np.ones((4, 2), np.int8))
    return es.run(net, {"pixels": [1, 2, 3]}, steps=8, trace=tmp_path / "run.h5")


def test_a_new_model_is_found_by_its_file(tmp_path, model, run):
    (tmp_path / "mine.json").write_text(json.dumps({"model": model, "name": "mine", "spike": 3}))
    mine = read_costs(tmp_path / "mine.json")
    counts = count_operations([run])
    delivered = counts.synapses.spikes
    assert delivered > 0
    assert mine.energy(counts) == {"chip": 3 * delivered, "board": 30 * delivered + counts.neurons}
    assert mine.energy(counts.synapses) == {"chip": 3 * delivered, "board": 30 * delivered}
    assert counts.to_dict(mine)["costs"] == {"name": "mine", "spike": 3.0}
    assert mine.sentence({"chip": "1 J", "board": "2 J"}, "for ") == "1 J on a chip (3 pJ); for board 2 J (ten times)"
    report.write_report(tmp_path / "run.h5", tmp_path / "page.html", costs=tmp_path / "mine.json")
    page = (tmp_path / "page.html").read_text()
    assert f"Energy by the table mine: {3 * delivered / 1e6:.3f} µJ on a chip (3 pJ); the board " in page
    assert "<td>board</td>" in page


def test_the_tool_takes_any_model(tmp_path, model, run):
    (tmp_path / "mine.json").write_text(json.dumps({"model": model, "name": "mine"}))
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); from eventsim.analysis import costs\n"
        f"costs.__path__.append({str(tmp_path / 'models')!r}); import count_ops; count_ops.main()"
    )
    for form in ([], ["--csv"], ["--json"]):
        command = [sys.executable, "-c", program, str(tmp_path / "run.h5"), "--costs", str(tmp_path / "mine.json"), *form]
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        assert "board" in said
        assert "int8" not in said


def test_the_usual_costs_are_those_of_operations(tmp_path):
    assert usual_costs() == Costs()
    (tmp_path / "mine.json").write_text('{"model": "operations", "name": "mine", "routing": 4}')
    assert read_costs(tmp_path / "mine.json") == Costs("mine", routing=4.0)


@pytest.mark.parametrize("name", ["energy", "model", "../operations", 3, None, ["operations"], ""])
def test_an_unknown_model(tmp_path, name):
    (tmp_path / "mine.json").write_text(json.dumps({"model": name, "name": "mine"}))
    with pytest.raises(es.RunError, match=r"mine\.json: unknown cost model .*; there are: operations$"):
        read_costs(tmp_path / "mine.json")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, r"cannot be read \(No such file or directory\); expected a table of costs"),
        ('{"name": "mine", "int8": 1}', "found 'int8'"),
        ('{"int8_add": 1}', "found no name"),
        ("[]", "found list"),
        ("no", r"not a readable table of costs, which is JSON \("),
    ],
)
def test_what_is_no_table_of_costs_is_told(tmp_path, content, found):
    if content is not None:
        (tmp_path / "mine.json").write_text(content)
    with pytest.raises(es.RunError, match=rf"mine\.json: .*{found}") as error:
        read_costs(tmp_path / "mine.json")
    assert "\n" not in str(error.value)

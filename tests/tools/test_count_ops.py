"""Operation counts: the worked fixture, independent recounts, and tools/count_ops.py as a program."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import count_ops
import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import small_data, small_network
from scipy.signal import correlate

import eventsim as es
from eventsim.analysis.counting import Costs, count_operations

TOOL = Path(count_ops.__file__)


def tool(*args, fails=False):
    done = CliRunner().invoke(count_ops.main, [*map(str, args)], catch_exceptions=False)
    assert (done.exit_code != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture
def fixture_network():
    """docs/definitions.md: conv 2x4x4 -> 3x4x4 (channels first there), kernel 3, stride 1, padding 1."""
    net = es.Network()
    net.source("in", (4, 4, 2))
    net.readout("out", (4, 4, 3))
    net.connect("in", "out", es.Conv2d(np.random.default_rng(0).choice([-1, 1], (3, 3, 2, 3)), padding=1))

    def neuron(c, y, x):
        return (y * 4 + x) * 2 + c

    neurons = [neuron(0, 0, 0), neuron(1, 1, 2)] + 3 * [neuron(0, 2, 2)]
    return net, {"in": ([0.5, 0.7, 1, 2, 3], neurons)}


@pytest.mark.parametrize("engine", ["layered", "queue", "reference"])
def test_the_worked_fixture(fixture_network, engine):
    net, inputs = fixture_network
    report = count_operations([es.run(net, inputs, steps=4, engine=engine)])
    assert report.synapses.spikes == 5
    assert report.synapses.synaptic_events == 120
    assert report.synapses.additions == 120
    assert report.synapses.toolbox == 135
    assert report.synapses.neurobench_acs == 120
    assert report.synapses.macs == 864
    assert report.synapses.neurobench_dense == 600 * 4
    assert report.rows[0].rate == 5 / (32 * 4)
    energy = report.synapses.energy(Costs())
    assert energy == pytest.approx({"int8": 120 * 0.03, "float32": 120 * 0.9, "dense": 864 * 4.6})


def test_neurobench_recounted_with_dense_convolutions():
    """Effective ACs and MACs by NeuroBench's method: run the layer with weights and inputs made 0 or 1, and sum."""
    rng = np.random.default_rng(8)
    first, second = rng.integers(-1, 2, (3, 3, 1, 2)), rng.integers(-1, 2, (3, 3, 2, 4))
    net = es.Network()
    net.image_input((6, 6, 1))
    net.driven("a", (6, 6, 2), 300, encoder=es.Conv2d(first, padding=1))
    net.readout("b", (6, 6, 4))
    net.connect("a", "b", es.Conv2d(second, padding=1))
    image = rng.integers(0, 256, (6, 6, 1)) * rng.integers(0, 2, (6, 6, 1))
    result = es.run(net, image, steps=5, resolution=1)

    def ones(x, weights):
        total = 0
        for i in range(x.shape[2]):
            for o in range(weights.shape[3]):
                total += correlate((x[..., i] != 0).astype(int), (weights[:, :, i, o] != 0).astype(int), mode="same").sum()
        return total

    report = count_operations([result])
    assert report.input.neurobench_macs == 5 * ones(image, first)
    acs = dense = 0
    for step in range(5):
        acs += ones(result.spike_counts("a", step, step + 1), second)
        dense += ones(np.ones((6, 6, 2)), np.ones_like(second)) + ones(np.ones((6, 6, 1)), np.ones_like(first))
    assert report.synapses.neurobench_acs == acs > 0
    assert report.synapses.neurobench_dense + report.input.neurobench_dense == dense
    assert report.synapses.neurobench_acs < report.synapses.synaptic_events


def test_biases_and_input_are_listed_apart():
    net = es.Network()
    net.image_input((2, 2, 1))
    net.driven("a", 3, 50, encoder=es.Dense(np.ones((4, 3), int)))
    net.spiking("b", 5, 2)
    net.connect("a", "b", np.ones((3, 5), int))
    net.bias("b", 1)
    result = es.run(net, np.full((2, 2), 20, np.uint8), steps=10, resolution=1)
    report = count_operations([result])
    assert [r.role for r in report.rows] == ["input", "synapses", "bias"]
    assert (report.input.macs, report.input.neurobench_macs) == (12, 120)
    # 80 a step against 50: a spike in each step, all three neurons.
    assert report.synapses.synaptic_events == 10 * 3 * 5 == result.total_synaptic_events
    assert (report.bias.spikes, report.bias.synaptic_events, report.bias.macs) == (10, 50, 0)
    assert result.total_spikes == result.spikes_per_population()["a"] + result.spikes_per_population()["b"]


def test_the_tool(fixture_network, tmp_path):
    net, inputs = fixture_network
    es.run(net, inputs, steps=4, trace=tmp_path / "one.h5")
    shown = subprocess.run([sys.executable, TOOL, tmp_path / "one.h5"], capture_output=True, text=True, check=True).stdout
    assert "in->out" in shown
    assert "runs" not in shown
    for number in ("120", "135", "864"):
        assert number in shown


def numbers_of_table(shown, name):
    """The numbers of a row of the printed table, in its order."""
    row = next(line for line in shown.splitlines() if line.startswith(name))
    return [float(cell.replace(",", "")) for cell in row.removeprefix(name).split()]


def test_means_and_sums_are_said_and_the_same_in_table_csv_and_json(tmp_path):
    """Two traces that stop early and differ, and an evaluation of more images: all three forms, and the runs one by one."""
    net, data = small_network(), small_data(9)
    es.evaluate(net, data, tmp_path / "e.h5", workers=1, exit_margin=12).close()
    runs = [es.run(net, image, steps=6, exit_margin=12) for image in data.arrays()[0]]
    for i in (3, 4):
        es.run(net, data[i], steps=6, exit_margin=12, trace=tmp_path / f"{i}.h5")
    files = {
        ("3.h5",): [runs[3]],
        ("3.h5", "4.h5"): [runs[3], runs[4]],
        ("e.h5",): runs,
        ("4.h5", "e.h5", "3.h5", "e.h5"): [*runs, *runs, runs[3], runs[4]],
    }
    for names, counted in files.items():
        paths = [tmp_path / name for name in names]
        totals = {p.name: sum(int(r.counts.synaptic_events[:, i].sum()) for r in counted) for i, p in enumerate(runs[0].info.projections)}
        additions = sum(r.total_additions for r in counted)
        for options, word, divisor in (([], "mean", len(counted)), (["--sum"], "sum", 1)):
            found = json.loads(tool(*paths, "--json", *options))
            assert (found["runs"], found["counts"]) == (len(counted), word)
            assert found["totals"]["synapses"]["additions"] == pytest.approx(additions / divisor, rel=1e-12)
            rows = list(csv.DictReader(tool(*paths, "--csv", *options).splitlines()))
            shown = tool(*paths, *options)
            assert (f"{word} of {len(counted)} runs" in shown) == (len(counted) > 1)
            for row, other in zip(rows, found["rows"], strict=True):
                assert (int(row["runs"]), row["counts"], row["name"]) == (len(counted), word, other["name"])
                for key, value in other.items():
                    if key == "energy_pj":
                        assert [float(row[f"energy_{kind}_pj"]) for kind in value] == pytest.approx(list(value.values()))
                    elif isinstance(value, (int, float)):
                        assert float(row[key]) == pytest.approx(value)
                if row["role"] != "input":
                    assert other["synaptic_events"] == pytest.approx(totals[row["name"]] / divisor, rel=1e-12)
                if row["role"] == "synapses":
                    keys = ("spikes", "rate", "synaptic_events", "additions", "toolbox", "neurobench_acs", "macs", "events_per_mac")
                    assert numbers_of_table(shown, row["name"]) == pytest.approx([other[k] for k in keys], abs=0.51, rel=1e-3)


def test_own_costs(fixture_network, tmp_path):
    net, inputs = fixture_network
    es.run(net, inputs, steps=4, trace=tmp_path / "run.h5")
    costs = tmp_path / "costs.json"
    costs.write_text('{"name": "mine", "int8_add": 2}')
    found = json.loads(tool(tmp_path / "run.h5", "--json", "--costs", costs))
    assert found["energy_pj"]["int8"] == 240
    assert found["costs"]["float32_mac"] == 4.6
    for bad in (
        '{"int8_add": 1}',
        '{"name": "x", "int8_add": -1}',
        '{"name": "x", "int8_add": NaN}',
        '{"name": "x", "more": 1}',
        '{"name": "x", "int8_add": true}',
        '{"name": "x", "int8_add": Infinity}',
        '{"name": "x", "int8_add": 1e999}',
        '{"name": "x", "int8_add": 1' + 300 * "0" + "}",
        '{"name": "x", "int8_add": 1' + 9999 * "0" + "}",
        '{"name": "x", "int8_add": 1, "int8_add": 2}',
        '{"name": "x", "int8_add": [1]}',
        '{"name": {"a": 1}}',
        '{"name": "\\u001b[31m"}',
        '{"name": ""}',
        f'{{"name": "{"x" * 101}"}}',
        '{"name": ' + "[" * 30_000 + "]" * 30_000 + "}",
        " " * 70_000 + '{"name": "x"}',
        "[]",
        "{",
        "",
        b"\xff\xfe",
    ):
        costs.write_bytes(bad if isinstance(bad, bytes) else bad.encode())
        message = tool(tmp_path / "run.h5", "--costs", costs, fails=True)
        assert message.count("\n") == 1
        assert "costs.json" in message


def test_tool_errors(fixture_network, tmp_path):
    net, inputs = fixture_network
    es.run(net, inputs, steps=4, trace=tmp_path / "run.h5")
    other = es.Network()
    other.driven("x", 1, 5)
    es.run(other, {"x": [1]}, steps=2, trace=tmp_path / "other.h5")
    # Another network of the same shapes.
    same = es.Network()
    same.source("in", (4, 4, 2))
    same.readout("out", (4, 4, 3))
    same.connect("in", "out", es.Conv2d(np.ones((3, 3, 2, 3), int), padding=1))
    es.run(same, inputs, steps=4, trace=tmp_path / "same.h5")
    for args in ([tmp_path / "none.h5"], [TOOL], [tmp_path / "run.h5", tmp_path / "other.h5"], [tmp_path / "run.h5", tmp_path / "same.h5"]):
        message = tool(*args, fails=True)
        assert message.startswith("count_ops: error: ")
        assert message.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_and_a_closed_output(fixture_network, tmp_path):
    net, inputs = fixture_network
    es.run(net, inputs, steps=4, trace=tmp_path / "run.h5")
    command = f'"{sys.executable}" "{TOOL}" "{tmp_path / "run.h5"}"'
    for end, code, said in ((">/dev/full", 1, "count_ops: error: No space left on device\n"), (">&-", 0, "")):
        done = subprocess.run(f"{command} {end}", shell=True, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (code, said)


def test_names_are_no_markup(tmp_path):
    net = es.Network()
    net.source("in", 1)
    net.readout("out", 1)
    net.connect("in", "out", [[1]])
    path = tmp_path / "[red]x[" / "y].h5"
    path.parent.mkdir()
    es.run(net, {"in": ([0.5], [0])}, steps=1, trace=path)
    assert "[red]x[/y].h5" in tool(path)  # a folder and a file

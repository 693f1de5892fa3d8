"""Membrane potentials at step ends: those of the reference engine, whatever engine ran; in traces, tables, figures, on the command line."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from judges.drawn_networks import cases
from judges.random_networks import random_case
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.cli.main import main
from eventsim.engines.reference import loop as reference
from eventsim.job.job import NoRecorder
from eventsim.job.preparation import prepare
from eventsim.model.exits import ExitRule
from eventsim.model.order import feed_forward_order
from eventsim.model.populations import Spiking
from eventsim.record import potentials as module

LENET = ROOT / "networks" / "lenet-mnist.h5"


def reference_potentials(job):
    """Potentials of all populations at step ends, as the reference engine itself has them: runs that end with each step.

    A run of fewer steps begins as the longer one does, and so ends with the potentials that the longer one has then.
    """
    synapses = reference.compile_network(job.network)
    whole = reference.run(job, synapses, NoRecorder())
    rows = {name: [] for name, p in job.network.populations.items() if p.kind not in ("source", "maximum")}
    for end in [*range(job.resolution, whole.end_tick, job.resolution), whole.end_tick]:
        until = type("Until", (), {**job._asdict(), "end": end, "last_spike": job.last_spike})
        loop = reference.Loop(until, synapses, NoRecorder())
        loop.run()
        for name, values in rows.items():
            values.append(loop.neurons[name].potentials(end))
    return whole, {name: np.array(values, np.int64) for name, values in rows.items()}


def check(net, inputs, *, steps, resolution, exit_rule=None, seed=0, max_spikes=20_000):
    """All engines against the reference engine's own potentials; returns the counts."""
    job = prepare(net, inputs, steps=steps, resolution=resolution, exit_rule=exit_rule, seed=seed, max_spikes=max_spikes)
    counts, expected = reference_potentials(job)
    rule = {} if exit_rule is None else exit_rule.settings
    same = {"steps": steps, "resolution": resolution, "seed": seed, "max_spikes": max_spikes, **rule}
    runs = [("reference", 1), ("queue", 1)]
    if feed_forward_order(net) is not None:
        runs += [("layered", 1), ("layered", 2)]
    for engine, threads in runs:
        result = es.run(net, inputs, engine=engine, threads=threads, potentials="all", record="none", **same)
        assert result.potentials_recorded == list(expected)
        for name, values in expected.items():
            found = result.potentials(name)
            assert found.dtype == np.int64
            np.testing.assert_array_equal(found, values, err_msg=f"{engine}, {threads} threads: {name}")
    return counts


@pytest.mark.parametrize("one_by_one", [0, 16, 10**9], ids=["tables", "both", "spikes"])
@pytest.mark.parametrize("resolution", [1, 3, 2**20])
def test_potentials_are_those_of_the_reference_engine(monkeypatch, resolution, one_by_one):
    """Random networks: recurrent, delays, resets, signed, refractory, clocks, pooling, exit rules; spikes added singly and summed."""
    seen = {"exited": 0, "stopped": 0, "zero": 0, "signed": 0, "recurrent": 0, "pooled": 0}
    for i in range(40):
        case = random_case(np.random.default_rng([18, resolution, i, one_by_one % 7]), resolution)
        net = case.network
        with monkeypatch.context() as patch:
            patch.setattr(module, "ONE_BY_ONE", one_by_one)
            patch.setattr(module, "IN_MEMORY", 1 if i % 2 else 2**24)
            try:
                limit = int(pick_limit(i))
                counts = check(net, case.inputs, steps=case.steps, resolution=resolution, exit_rule=case.exit_rule,
                    seed=case.seed, max_spikes=limit,
                )  # fmt: skip
            except AssertionError as error:
                raise AssertionError(f"network {[18, resolution, i, one_by_one % 7]}: {error}") from error
        seen["exited"] += counts.exited
        seen["stopped"] += counts.stopped is not None
        fired = counts.spikes.sum(0)
        for n, (_, p) in zip(fired, net.populations.items(), strict=True):
            seen["zero"] += bool(n and p.kind == "spiking" and p.reset == "zero")
            seen["signed"] += bool(n and p.signed)
        seen["recurrent"] += feed_forward_order(net) is None
        seen["pooled"] += any(getattr(p.table, "pool_before", (1, 1)) != (1, 1) for p in net.projections)
    assert all(seen.values()), seen


def pick_limit(i):
    """Now and then a run is cut off at a limit of spikes."""
    return (2000, 2000, 2000, 50)[i % 4]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(), st.sampled_from([1, 2, 7, 1000]), st.sampled_from([None, 1, 4]))
def test_potentials_on_graphs_of_hypothesis(case, resolution, margin):
    net, inputs = case
    rule = None if margin is None else ExitRule("margin", margin)
    try:
        check(net, inputs, steps=4, resolution=resolution, exit_rule=rule)
    except es.NetworkError:  # a cycle of delays that are no ticks at this resolution
        assume(False)


def test_by_hand():
    """One neuron of threshold 5: what arrives, when it fires, what is left, with either reset."""
    for reset, expected in (("subtract", [3, 4, 4, 1]), ("zero", [3, 3, 3, 0])):
        net = es.Network()
        net.source("in", 2)
        net.spiking("sum", 1, threshold=5, reset=reset)
        net.readout("out", 1)
        net.connect("in", "sum", [[3], [2]])
        net.connect("sum", "out", [[7]], delay=0.5)
        # Step 1: 3. Step 2: 3 + 3 fires at 1.2 (1, or 0); 3 more at 1.7. Step 4: + 2 (fires at 6, or 5).
        events = {"in": ([1.0, 1.2, 1.7, 3.4], [0, 0, 0, 1])}
        result = es.run(net, events, steps=4, resolution=10, potentials=["sum"])
        assert result.potentials("sum").ravel().tolist() == expected
        assert result.potentials("out").ravel().tolist() == [0, 7, 7, 14]
        assert result.threshold("sum").tolist() == [5]
        assert result.threshold("out") is None


def test_currents_that_sink_are_exact():
    net = es.Network()
    net.driven("in", 2, 10, v0=3)
    net.readout("out", 1)
    net.connect("in", "out", [[1], [1]])
    result = es.run(net, {"in": [-(2**31 - 1), 4]}, steps=50, resolution=3, potentials=["in"])
    assert result.potentials("in")[:, 0].tolist() == [3 - (2**31 - 1) * t for t in range(1, 51)]
    assert result.potentials("in")[:5, 1].tolist() == [7, 1, 5, 9, 3]


def test_sums_beyond_64_bits_on_the_way():
    """Large weights and many spikes: a bound of what a table could make is no reason to refuse what it makes."""
    net = es.Network()
    net.source("in", (256, 128, 2))
    net.spiking("sum", 1, threshold=2**31 - 1)
    net.connect("in", "sum", np.tile([[2**31 - 1], [-(2**31 - 1)]], (2**15, 1)))
    events = np.full(2**17, 0.5), np.tile([0, 1], 2**16)
    result = es.run(net, {"in": events}, steps=1, resolution=4, potentials=["sum"])
    assert result.potentials("sum").tolist() == [[0]]


def test_the_shipped_network(tmp_path):
    """Layered and queue engine give the same, and a readout whose potentials are derived from spikes has those of the run."""
    net = es.load(LENET)
    image = np.asarray(Image.open(ROOT / "datasets" / "samples" / "digit-7.png"))
    runs = [es.run(net, image, steps=3, resolution=r, engine=e, potentials="all") for r in (1, 2**20) for e in ("layered", "queue")]
    for a, b in (runs[:2], runs[2:]):
        for name in a.potentials_recorded:
            np.testing.assert_array_equal(a.potentials(name), b.potentials(name))
            if name != net.output:
                assert a.potentials(name).any()
    # The readout as if it were a population that never fires.
    out = net.populations[net.output]
    silent = Spiking(out.shape, np.full(out.shape[-1], 2**31 - 1), out.v0, "subtract", False, 0.0)
    other = dataclasses.replace(net, populations=net.populations | {net.output: silent}, output=None, labels=[])
    result = es.run(other, image, steps=3, resolution=2**20, potentials=[net.output])
    np.testing.assert_array_equal(result.potentials(net.output), runs[2].readout)


@pytest.fixture
def network() -> es.Network:
    rng = np.random.default_rng(5)
    net = es.Network(labels=["a", "b"])
    net.image_input((4, 4, 2))
    net.driven("in", (4, 4, 3), [900, 800, 700], encoder=es.Conv2d(rng.integers(-5, 6, (3, 3, 2, 3)), padding=1))
    net.spiking("mid", (2, 2, 4), [4, 5, 6, 7], signed=True)
    net.readout("out", 2)
    net.connect("in", "mid", es.Conv2d(rng.choice([-1, 1], (3, 3, 3, 4)), padding=1, pool_after=2))
    net.connect("mid", "out", rng.integers(-5, 6, (16, 2)))
    net.bias("mid", [1, 0, -1, 0])
    return net


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, (4, 4, 2)).astype(np.uint8)


def test_a_trace_holds_the_potentials(network, image, tmp_path):
    kept = es.run(network, image, steps=6, potentials=["mid"])
    traced = es.run(network, image, steps=6, potentials=["mid"], trace=tmp_path / "run.h5", record="none")
    with es.Trace(tmp_path / "run.h5") as trace:
        for run in (kept, traced, trace):
            assert run.potentials_recorded == ["mid", "out"]
            assert run.potentials("mid").shape == (6, 16)
            assert np.array_equal(run.potentials("mid"), kept.potentials("mid"))
            assert run.potentials("mid").dtype == np.int64
            assert np.array_equal(run.potentials("out"), kept.readout)
            assert run.threshold("mid").tolist() == [4, 5, 6, 7] * 4
            with pytest.raises(es.RunError, match=r"potentials of 'in' were not recorded; recorded: mid, out; .*--potentials in"):
                run.potentials("in")
            with pytest.raises(es.RunError, match="no population 'x'"):
                run.potentials("x")
        assert trace.info.settings["potentials"] == ["mid"]
    with pytest.raises(es.TraceError, match="closed"):
        trace.potentials("mid")
    # A run that was not asked for any has those of its readouts.
    es.run(network, image, steps=6, trace=tmp_path / "plain.h5")
    with h5py.File(tmp_path / "plain.h5") as file:
        assert "potentials" not in file["eventsim"]
    with es.Trace(tmp_path / "plain.h5") as trace:
        assert trace.potentials_recorded == ["out"]


@pytest.mark.parametrize(
    "change",
    [
        lambda group: group.__delitem__("thresholds"),
        lambda group: group["potentials/mid"].__setitem__((3, 5), 77),
        lambda group: group["thresholds/mid"].__setitem__(0, 77),
        lambda group: (group.__delitem__("potentials/mid"), group.create_dataset("potentials/mid", data=np.zeros((6, 15), np.int64))),
        lambda group: (group.__delitem__("potentials/mid"), group.create_group("potentials/mid")),
    ],
)
def test_damaged_potentials_are_refused(network, image, tmp_path, change):
    es.run(network, image, steps=6, potentials=["mid"], trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        trace.verify()
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        change(file["eventsim"])
    with pytest.raises(es.TraceError, match=r"run\.h5: a damaged trace"), es.Trace(tmp_path / "run.h5") as trace:
        trace.potentials("mid")


def test_early_exit_ends_the_last_row_at_its_tick(network, image):
    result = es.run(network, image, steps=20, exit_margin=3, potentials="all")
    assert result.exit_latency is not None
    assert result.exit_latency % 1
    assert len(result.potentials("in")) == len(result.step_ends()) == len(result.readout)
    assert result.step_ends()[-1] == result.exit_latency


def test_tables_and_figures(network, image):
    pytest.importorskip("pandas")
    plot = pytest.importorskip("eventsim.analysis.plot")
    result = es.run(network, image, steps=6, potentials=["mid"])
    frame = result.potentials_to_pandas("mid")
    assert list(frame.columns) == ["time", "neuron", "y", "x", "channel", "potential"]
    assert np.array_equal(frame["potential"].to_numpy().reshape(6, 2, 2, 4), result.potentials("mid").reshape(6, 2, 2, 4))
    row = frame[(frame.time == 4) & (frame.y == 1) & (frame.x == 0) & (frame.channel == 2)]
    assert row.neuron.tolist() == [10]
    assert row.potential.tolist() == [result.potentials("mid")[3, 10]]
    axes = plot.potentials(result, "mid", [10, 3]).axes[0]
    curve, line, *_ = axes.lines
    assert curve.get_ydata().tolist() == result.potentials("mid")[:, 10].tolist()
    assert curve.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert set(line.get_ydata()) == {6}
    ticks, neurons, _ = result.spikes("mid")
    drawn = sorted(x for mark in axes.lines if mark.get_marker() in ("^", "v") for x in mark.get_xdata())
    assert drawn == sorted((ticks[np.isin(neurons, [10, 3])] / result.info.resolution).tolist())
    assert drawn
    assert len(plot.potentials(result, "out").axes[0].lines) == 2  # neither thresholds nor spikes
    with pytest.raises(es.RunError, match=r"0\.\.15"):
        plot.potentials(result, "mid", [16])


def test_what_cannot_be_kept_is_refused(network, image, monkeypatch):
    with pytest.raises(es.RunError, match=r"no membrane potentials of 'mid\.bias'; populations that have some: in, mid, out"):
        es.run(network, image, steps=2, potentials=["mid.bias"])
    with pytest.raises(es.RunError, match="of 'conv7'"):
        es.run(network, image, steps=2, potentials="conv7")
    monkeypatch.setattr(module, "MAX_POTENTIALS", 100)
    monkeypatch.setattr(reference, "run", None)  # before anything runs
    with pytest.raises(es.RunError, match="the potentials of in, mid in 2 steps are 128 values, the limit is 100"):
        es.run(network, image, steps=2, potentials=["mid", "in"], engine="reference")


def test_spikes_that_find_no_room_are_one_line(network, image, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)
    with pytest.raises(es.RunError, match="No space left"):
        es.run(network, image, steps=2, potentials=["mid"])


def test_command_line(network, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    es.save(network, "net.h5")
    np.save("x.npy", image)
    (tmp_path / "folder").mkdir()
    np.save("folder/x.npy", image)

    def cli(*args):
        return CliRunner().invoke(main, ["run", "net.h5", "--steps", "4", *args], catch_exceptions=False)

    assert cli("--input", "x.npy", "--potentials", "in, mid").exit_code == 0
    expected = es.run(network, image, steps=4, potentials="all")
    with es.Trace("run.h5") as trace:
        assert trace.potentials_recorded == ["in", "mid", "out"]
        for name in ("in", "mid", "out"):
            assert np.array_equal(trace.potentials(name), expected.potentials(name))
    for words, args in (
        ("no membrane potentials of 'x'", ("--input", "x.npy", "--potentials", "x")),
        ("--no-trace writes none", ("--input", "x.npy", "--potentials", "mid", "--no-trace")),
        ("for one input", ("--input", "folder", "--potentials", "mid")),
    ):
        outcome = cli(*args)
        assert outcome.exit_code != 0
        assert words in outcome.stderr

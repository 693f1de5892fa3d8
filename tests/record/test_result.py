"""Results: what a run leaves reads the same from memory and from the trace that it wrote; windows; tables for other tools."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import eventsim as es
from eventsim.analysis.trajectory import Trajectories
from eventsim.record.result import Run


@pytest.fixture
def network() -> es.Network:
    rng = np.random.default_rng(5)
    net = es.Network(labels=["a", "b"])
    net.driven("in", (2, 3, 2), 90)
    net.spiking("mid", 5, 4, signed=True)
    net.readout("out", 2)
    net.connect("in", "mid", rng.integers(-2, 4, (12, 5)))
    net.connect("mid", "out", rng.integers(-5, 6, (5, 2)))
    net.bias("mid", [1, 0, -1, 0, 1])
    return net


CURRENTS = {"in": np.arange(12) * 9}


def same_spikes(a, b):
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True))


def test_a_traced_run_reads_its_spikes_from_the_trace(network, tmp_path, monkeypatch):
    kept = es.run(network, CURRENTS, steps=6)
    monkeypatch.chdir(tmp_path)
    traced = es.run(network, CURRENTS, steps=6, trace="run.h5")
    monkeypatch.chdir("/")  # the result knows where its trace lies, wherever we go
    assert traced.recorded == kept.recorded == ["in", "mid", "mid.bias"]
    for name in kept.recorded:
        for window in ((0, None), (1, 3.5), (5, 5), (7, None)):
            assert same_spikes(traced.spikes(name, *window), kept.spikes(name, *window))
            assert np.array_equal(traced.spike_counts(name, *window), kept.spike_counts(name, *window))
        assert len(traced.spikes(name).ticks) == traced.spikes_per_population()[name] > 0
    read = Trajectories(network)
    for kind in ("margin", "potential"):
        assert all(np.array_equal(a, b) for a, b in zip(read.exits(traced, kind), read.exits(kept, kind), strict=True))
    assert len(read.exits(traced, "potential").tick)


def test_figures_of_a_traced_run_are_those_of_a_run_in_memory(network, tmp_path):
    plot = pytest.importorskip("eventsim.analysis.plot")
    drawn = []
    for trace in (None, tmp_path / "run.h5"):
        result = es.run(network, CURRENTS, steps=6, trace=trace)
        rows = plot.raster(result).axes
        drawn.append([np.stack(line.get_data()) for axes in rows for line in axes.lines])
        drawn[-1] += [axes.images[0].get_array() for axes in plot.feature_maps(result, "in").axes[:2]]
    assert sum(a.shape[1] for a in drawn[0][:4]) == sum(result.spikes_per_population()[p] for p in ("in", "mid"))
    assert all(np.array_equal(a, b) for a, b in zip(*drawn, strict=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path, again: path.unlink(), "no such file"),
        (lambda path, again: path.write_bytes(path.read_bytes()[:999]), "cannot be read"),
        (lambda path, again: again(), "another run has replaced it"),
    ],
    ids=["gone", "damaged", "replaced"],
)
def test_a_trace_that_is_no_longer_the_runs_is_an_error(network, tmp_path, change, words):
    path = tmp_path / "run.h5"
    result = es.run(network, CURRENTS, steps=6, trace=path)
    # The very same run once more: which run wrote a file cannot be told from its spikes.
    change(path, lambda: es.run(network, CURRENTS, steps=6, trace=path))
    for use in (result.spikes, result.spike_counts, result.to_pandas):
        with pytest.raises(es.TraceError, match=words) as caught:
            use("mid")
        assert str(path) in str(caught.value)
    assert result.decision is not None  # what needs no spikes still works
    assert result.total_spikes > 0


def test_what_was_not_recorded_is_refused_with_and_without_a_trace(network, tmp_path):
    plot = pytest.importorskip("eventsim.analysis.plot")
    for trace in (None, tmp_path / "run.h5"):
        for record, recorded in (("none", []), (["mid"], ["mid"])):
            result = es.run(network, CURRENTS, steps=6, trace=trace, record=record)
            assert result.recorded == recorded
            for use in (lambda: result.spikes("in"), lambda: plot.raster(result), lambda: plot.feature_maps(result, "in")):  # noqa: B023
                with pytest.raises(es.RunError, match="'in' were not recorded"):
                    use()
            with pytest.raises(es.RunError, match="'out' were not recorded"):
                result.spikes("out")


def test_a_closed_trace_says_so(network, tmp_path):
    es.run(network, CURRENTS, steps=6, trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        pass
    for use in (lambda: trace.recorded, lambda: trace.spikes("mid"), lambda: trace.image, lambda: trace.to_pandas("mid")):
        with pytest.raises(es.TraceError, match="closed"):
            use()


@pytest.mark.parametrize("resolution", [1, 3, 100, 1000, 2**20, 999_983])
def test_a_window_holds_a_tick_by_its_time_in_float64(resolution):
    """``start < tick / R <= stop`` for the float64 quotient, wherever its product with R would be rounded to."""
    run = Run(SimpleNamespace(resolution=resolution, steps=800), SimpleNamespace(end_tick=800 * resolution))
    for tick in [*range(1, 800), 12_345_678 % (800 * resolution)]:
        time = tick / resolution
        assert run.window(time, time) == (tick + 1, tick)
        assert run.window(np.nextafter(time, -1), np.nextafter(time, 801)) == (tick, tick)
        assert run.window(0, np.nextafter(time, 0)) == (1, tick - 1)
    assert run.window(-1e30, None) == run.window(-np.inf, 800) == (1 - resolution, 800 * resolution)
    assert run.window(0, 1e30)[1] >= 800 * resolution
    for wrong in (float("nan"), "1", None, True):
        with pytest.raises(es.RunError, match="in steps"):
            run.window(wrong, 3)


def test_spikes_at_the_edges_of_a_window():
    net = es.Network()
    net.source("s", 1)
    for record in ("s", "all"):
        result = es.run(net, {"s": ([0.29], [0])}, steps=1, resolution=100, record=record)
        assert result.spikes("s", stop=0.29).ticks.tolist() == [29]
        assert result.spikes("s", start=0.29).ticks.tolist() == []
        assert result.spike_counts("s", stop=0.29).tolist() == [1]


def test_the_same_table_from_memory_and_trace(network, tmp_path):
    pandas = pytest.importorskip("pandas")
    kept = es.run(network, CURRENTS, steps=6)
    es.run(network, CURRENTS, steps=6, trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        for name in kept.recorded:
            pandas.testing.assert_frame_equal(kept.to_pandas(name, 1, 4), trace.to_pandas(name, 1, 4))


@pytest.mark.parametrize("resolution", [1, 2**20])
def test_neo_loses_no_spike_in_half_open_bins(network, resolution):
    pytest.importorskip("neo")
    # Neurons that fire at the end of every step, the last included.
    result = es.run(network, {"in": np.full(12, 90)}, steps=4, resolution=resolution)
    for window in ((0, None), (1, 3), (3, 9), (4, None), (7, None)):
        segment = result.to_neo("in", *window)
        spikes = result.spikes("in", *window)
        times = np.concatenate([train.rescale("ms").magnitude for train in segment.spiketrains] or [[]])
        assert sorted(times) == (spikes.ticks / resolution).tolist()
        for train in segment.spiketrains:
            assert train.t_start <= train.min()
            assert train.max() < train.t_stop
    # Bins of a step, moved by half a tick, are the run's own steps.
    segment = result.to_neo("in")
    times = np.concatenate([train.rescale("ms").magnitude for train in segment.spiketrains])
    edges = np.arange(5) + 0.5 / resolution
    assert edges[-1] <= segment.spiketrains[0].t_stop
    assert np.histogram(times, edges)[0].tolist() == result.counts.spikes[:, 0].tolist() == [12] * 4


def test_neo_of_a_population_that_never_fired():
    pytest.importorskip("neo")
    net = es.Network()
    net.driven("in", 2, 100)
    assert len(es.run(net, {"in": [0, 0]}, steps=3).to_neo("in").spiketrains) == 0


def test_what_a_trace_could_not_be_read_with_is_refused_before_the_run(network, tmp_path):
    path = tmp_path / "run.h5"
    for about in ({"truth": "seven"}, {"input": 5}, {"network": ["n"]}, {"note": np.int64(3)}, {"note": {1, 2}}, {"truth": float("nan")}):
        with pytest.raises(es.RunError, match="about: "):
            es.run(network, CURRENTS, steps=2, trace=path, about=about)
    assert not path.exists()
    es.run(network, CURRENTS, steps=2, trace=path, about={"truth": 7, "input": {"in": "x.npy"}, "note": [1, {"a": None}]})
    with es.Trace(path) as trace:
        assert trace.info.settings["note"] == [1, {"a": None}]

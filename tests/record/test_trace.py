"""Traces: what is written is what was simulated, readable by others, bounded in memory, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from judges.sealing import change_and_reseal

import eventsim as es
from eventsim.analysis.facts import describe_file
from eventsim.record import trace as trace_module


@pytest.fixture
def network() -> es.Network:
    rng = np.random.default_rng(5)
    net = es.Network(labels=["a", "b"])
    net.image_input((4, 4, 2))
    net.driven("in", (4, 4, 3), 900, encoder=es.Conv2d(rng.integers(-5, 6, (3, 3, 2, 3)), padding=1))
    net.spiking("mid", (2, 2, 4), 4, signed=True)
    net.readout("out", 2)
    net.connect("in", "mid", es.Conv2d(rng.choice([-1, 1], (3, 3, 3, 4)), padding=1, pool_after=2))
    net.connect("mid", "mid", rng.integers(-1, 2, (16, 16)), delay=0.5)
    net.connect("mid", "out", rng.integers(-5, 6, (16, 2)))
    net.bias("mid", [1, 0, -1, 0])
    return net


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, (4, 4, 2)).astype(np.uint8)


def assert_same_run(a: es.Result, b: es.Trace) -> None:
    assert b.info.populations == a.info.populations
    assert b.info.projections == a.info.projections
    assert b.info.encoders == a.info.encoders
    for name, value in vars(a.counts).items():
        other = getattr(b.counts, name)
        if isinstance(value, dict):
            assert value.keys() == other.keys()
            assert all(np.array_equal(v, other[k]) for k, v in value.items())
        else:
            assert np.array_equal(value, other), name


@pytest.mark.parametrize("resolution", [2**31 - 1, 2**31, 2**40, 2**49])
def test_any_resolution_that_a_run_may_have(tmp_path, resolution):
    net = es.Network()
    net.source("src", 2)
    net.spiking("h", 2, threshold=1)
    net.readout("out", 2)
    for source, target in (("src", "h"), ("h", "out")):
        net.connect(source, target, [[1, 0], [1, 1]])
    given = {"src": ([0.5, 1.25], [0, 1])}
    result = es.run(net, given, steps=2, resolution=resolution, trace=tmp_path / "run.h5")
    kept = es.run(net, given, steps=2, resolution=resolution)
    assert all(np.array_equal(a, b) for a, b in zip(result.spikes("h"), kept.spikes("h"), strict=True))
    with es.Trace(tmp_path / "run.h5") as trace:
        assert trace.info.resolution == resolution
        assert trace.decision_latency == kept.decision_latency


@pytest.mark.parametrize("resolution", [1, 7, 1000, es.DEFAULT_RESOLUTION])
def test_a_trace_holds_the_run(network, image, tmp_path, resolution):
    settings = {"steps": 20, "resolution": resolution}
    result = es.run(network, image, **settings)
    es.run(network, image, trace=tmp_path / "run.h5", **settings)
    with es.Trace(tmp_path / "run.h5") as trace:
        assert_same_run(result, trace)
        assert trace.recorded == ["in", "mid", "mid.bias"]
        for name in trace.recorded:
            for start, stop in ((0, None), (3, 7.5), (19.5, 20), (20, 30), (5, 5)):
                expected, found = result.spikes(name, start, stop), trace.spikes(name, start, stop)
                assert all(np.array_equal(x, y) for x, y in zip(expected, found, strict=True))
                assert np.array_equal(result.spike_counts(name, start, stop), trace.spike_counts(name, start, stop))
        assert len(trace.spikes("mid").ticks) == trace.spikes_per_population()["mid"] > 0
        assert trace.info.settings["network_sha256"] == es.Simulator(network).digest()


def test_windows_are_found_across_chunks(network, image, tmp_path, monkeypatch):
    monkeypatch.setattr(trace_module, "CHUNK", 16)
    monkeypatch.setattr(trace_module, "BUFFER", 64)
    result = es.run(network, image, steps=30, resolution=3, trace=None)
    es.run(network, image, steps=30, resolution=3, trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        assert len(trace.spikes("in").ticks) > 200
        for start in np.arange(0, 30, 1 / 3):
            for a, b in zip(result.spikes("in", start, start + 1), trace.spikes("in", start, start + 1), strict=True):
                assert np.array_equal(a, b)


def test_window_excludes_its_start_and_includes_its_end(network, image):
    result = es.run(network, image, steps=10, resolution=1)
    everything = result.spikes("in").ticks
    parts = [result.spikes("in", t, t + 1).ticks for t in range(10)]
    assert np.array_equal(np.concatenate(parts), everything)
    assert all(np.all(part == t + 1) for t, part in enumerate(parts))


def test_counts_of_spikes_agree_with_the_spikes(network, image):
    result = es.run(network, image, steps=15, resolution=4)
    for column, population in enumerate(result.info.populations):
        if population.kind == "readout":
            continue
        ticks, neurons, signs = result.spikes(population.name)
        per_step = np.bincount((ticks - 1) // 4, minlength=15)
        assert np.array_equal(per_step, result.counts.spikes[:, column])
        assert np.array_equal(np.bincount((ticks[signs < 0] - 1) // 4, minlength=15), result.counts.negative_spikes[:, column])
        assert result.counts.first_tick[column] == (ticks[0] if len(ticks) else 0)
        assert neurons.max(initial=0) < population.size


def test_positions_are_row_column_channel(network, image):
    result = es.run(network, image, steps=2)
    assert result.positions("in", [0, 5, 47]).tolist() == [[0, 0, 0], [0, 1, 2], [3, 3, 2]]
    assert result.positions("out", [1]).tolist() == [[0, 0, 1]]
    with pytest.raises(es.RunError, match=r"0\.\.47"):
        result.positions("in", [48])


@pytest.mark.parametrize(("record", "expected"), [("none", []), (["mid"], ["mid"]), ("all", ["in", "mid", "mid.bias"])])
def test_some_populations_can_be_recorded(network, image, tmp_path, record, expected):
    es.run(network, image, steps=5, record=record, trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        assert trace.recorded == expected
        for name in {"in", "mid"} - set(expected):
            with pytest.raises(es.RunError, match="not recorded"):
                trace.spikes(name)
    with pytest.raises(es.RunError, match="cannot record 'out'"):
        es.run(network, image, steps=5, record=["out"])


def test_sonata_layout(network, image, tmp_path):
    es.run(network, image, steps=10, trace=tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5") as file:
        assert file.attrs["magic"] == 0x0A7A
        assert file.attrs["magic"].dtype == np.uint32
        assert file.attrs["version"].tolist() == [0, 1]
        group = file["spikes/mid"]
        assert h5py.check_enum_dtype(group.attrs.get_id("sorting").dtype) == {"none": 0, "by_id": 1, "by_time": 2}
        assert group["timestamps"].dtype == np.float64
        assert group["timestamps"].attrs["units"] == b"ms"
        assert group["node_ids"].dtype == np.uint64
        assert group["signs"].dtype == np.int8
        assert "signs" not in file["spikes/in"]
        assert group["timestamps"].compression is None


def test_libsonata_reads_the_spikes(network, image, tmp_path):
    libsonata = pytest.importorskip("libsonata")
    es.run(network, image, steps=10, resolution=8, trace=tmp_path / "run.h5")
    reader = libsonata.SpikeReader(str(tmp_path / "run.h5"))
    with es.Trace(tmp_path / "run.h5") as trace:
        assert sorted(reader.get_population_names()) == sorted(trace.recorded)
        for name in trace.recorded:
            ticks, neurons, _ = trace.spikes(name)
            assert reader[name].sorting == "by_time"
            assert reader[name].get() == list(zip(neurons.tolist(), (ticks / 8).tolist(), strict=True))


def test_pandas_and_neo(network, image, tmp_path):
    pytest.importorskip("pandas")
    pytest.importorskip("neo")
    es.run(network, image, steps=10, trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        ticks, neurons, signs = trace.spikes("mid")
        frame = trace.to_pandas("mid")
        assert list(frame.columns) == ["time", "tick", "neuron", "y", "x", "channel", "sign"]
        assert frame["tick"].tolist() == ticks.tolist()
        assert ((frame["y"] * 2 + frame["x"]) * 4 + frame["channel"]).tolist() == neurons.tolist()
        segment = trace.to_neo("mid")
        assert sum(len(train) for train in segment.spiketrains) == len(ticks)
        train = segment.spiketrains[0]
        mine = neurons == train.annotations["neuron"]
        assert train.rescale("ms").magnitude.tolist() == (ticks[mine] / es.DEFAULT_RESOLUTION).tolist()
        assert train.array_annotations["sign"].tolist() == signs[mine].tolist()


def test_a_failed_run_leaves_the_old_trace_and_nothing_else(network, image, tmp_path):
    path = tmp_path / "run.h5"
    es.run(network, image, steps=2, trace=path)
    precious = path.read_bytes()
    huge = es.Network()
    huge.driven("in", 1, 1)
    huge.readout("out", 1)
    huge.connect("in", "out", [[2**31 - 1]])
    with pytest.raises(es.PotentialOverflow):
        es.run(huge, {"in": [1]}, steps=10, trace=path)
    assert path.read_bytes() == precious
    assert os.listdir(tmp_path) == ["run.h5"]
    with pytest.raises(es.TraceError, match="cannot be written"):
        es.run(network, image, steps=2, trace=tmp_path / "missing" / "run.h5")
    with pytest.raises(es.TraceError, match="is a folder"):
        es.run(network, image, steps=2, trace=tmp_path)


def test_a_trace_replaces_traces_only(network, image, tmp_path):
    es.run(network, image, steps=2, trace=tmp_path / "run.h5")
    es.run(network, image, steps=3, trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        assert trace.info.steps == 3
    es.save(network, tmp_path / "net.h5")
    (tmp_path / "notes.txt").write_text("precious")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1]
    os.mkfifo(tmp_path / "pipe")
    before = {f: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()}
    for name in ("net.h5", "notes.txt", "other.h5", "pipe"):
        with pytest.raises(es.TraceError, match=name):
            es.run(network, image, steps=2, trace=tmp_path / name)
    assert {f: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()} == before
    with pytest.raises(es.NetworkFileError, match="regular"):
        es.save(network, tmp_path / "pipe")


_LONG_RUN = """
import numpy as np, eventsim as es, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may have inherited that it is ignored
net = es.Network()
net.driven("in", 2000, 1)
net.readout("out", 1)
net.connect("in", "out", np.zeros((2000, 1), np.int8))
print("ready", flush=True)
es.run(net, {"in": np.ones(2000, int)}, steps=100000, resolution=1, trace=sys.argv[1])
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("which", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_a_killed_run_leaves_no_half_written_trace(tmp_path, which):
    path = tmp_path / "run.h5"
    child = subprocess.Popen([sys.executable, "-c", _LONG_RUN, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    # Wait until spikes are on disk under the temporary name, then kill.
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        parts = list(tmp_path.glob(".run.h5.*.part"))
        if parts and parts[0].stat().st_size > 2**20:
            break
        time.sleep(0.02)
    assert child.poll() is None, "the run ended before it could be killed"
    child.send_signal(which)
    child.wait()
    assert child.returncode != 0
    assert not path.exists()
    if which == signal.SIGINT:
        assert os.listdir(tmp_path) == []


def test_memory_stays_bounded(tmp_path):
    """Two million spikes (34 MB on disk) pass through with little more memory than ten thousand."""
    script = _LONG_RUN.replace("100000", "int(sys.argv[2])") + (
        "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peak = {}
    for steps in (5, 1000):
        out = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "run.h5"), str(steps)], capture_output=True, check=True, text=True
        ).stdout
        peak[steps] = int(out.split()[-1])
    with es.Trace(tmp_path / "run.h5") as trace:
        assert trace.total_spikes == 2_000_000
    assert (tmp_path / "run.h5").stat().st_size > 32_000_000
    assert peak[1000] - peak[5] < 24_000  # KiB


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.__delitem__("eventsim"), "not a trace of eventsim"),
        (lambda f: f["eventsim"].attrs.__setitem__("version", 9), "version 9"),
        (lambda f: f.__delitem__("eventsim/info"), "damaged"),
        (lambda f: f.__delitem__("eventsim/counts/additions"), "damaged"),
        (lambda f: (f.__delitem__("eventsim/info"), f["eventsim"].create_dataset("info", data=np.bytes_(b"{}"))), "damaged"),
        (lambda f: (f.__delitem__("eventsim/counts/spikes"), f["eventsim/counts"].create_dataset("spikes", data=[1])), "damaged"),
        (lambda f: f["eventsim"].attrs.__setitem__("end_tick", 10**12), "damaged"),
    ],
)
def test_damaged_traces_are_refused(network, image, tmp_path, change, message):
    path = tmp_path / "run.h5"
    es.run(network, image, steps=3, trace=path)
    change_and_reseal(path, change)
    with pytest.raises(es.TraceError, match=message) as caught:
        es.Trace(path)
    assert str(path) in str(caught.value)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(es.TraceError, match="no such file"):
        es.Trace(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(es.TraceError, match="not a readable HDF5 file"):
        es.Trace(tmp_path / "text.h5")
    with pytest.raises(es.TraceError, match="is a folder, expected a trace of eventsim; name the files in it"):
        es.Trace(tmp_path)
    with h5py.File(tmp_path / "cut.h5", "w") as file:
        file["x"] = np.zeros(1000)
    (tmp_path / "cut.h5").write_bytes((tmp_path / "cut.h5").read_bytes()[:-9])
    for read in (es.Trace, describe_file):
        with pytest.raises(es.TraceError, match=r"cut\.h5: cut short; copy the file again"):
            read(tmp_path / "cut.h5")


def test_early_exit_is_in_the_trace(network, image, tmp_path):
    result = es.run(network, image, steps=20, exit_margin=3, trace=tmp_path / "run.h5")
    assert result.exit_latency is not None
    assert result.exit_latency < 20
    with es.Trace(tmp_path / "run.h5") as trace:
        assert trace.exit_latency == result.exit_latency == trace.duration
        assert trace.info.exit_rule == {"kind": "margin", "threshold": 3}
        assert trace.spikes("in").ticks.max() <= trace.counts.end_tick


def test_many_spikes_are_read_a_part_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("eventsim.record.trace.BLOCK", 1)
    net = es.Network()
    net.driven("in", 5, 7)
    currents = {"in": [7, 1, 5, 3, 6]}
    kept = es.run(net, currents, steps=20_000, resolution=10)
    es.run(net, currents, steps=20_000, resolution=10, trace=tmp_path / "run.h5").spikes("in")
    with es.Trace(tmp_path / "run.h5") as trace:
        for window in ({}, {"start": 1000.5}, {"start": 9000, "stop": 19_000.2}, {"stop": 0.05}):
            parts = list(trace.spike_blocks("in", **window))
            whole = kept.spikes("in", **window)
            assert len(parts) > 1 or len(whole.ticks) < 40_000
            for column in range(3):
                joined = np.concatenate([np.zeros(0, np.int64), *(part[column] for part in parts)])
                assert np.array_equal(joined, whole[column])
                assert np.array_equal(trace.spikes("in", **window)[column], whole[column])
            assert np.array_equal(trace.spike_counts("in", **window), kept.spike_counts("in", **window))

"""What an evaluation says of its arrays, recomputed image by image in plain Python from arrays made up for the purpose."""

from __future__ import annotations

import json
import math
import statistics

import h5py
import numpy as np
import pytest
from judges.evaluations import small_data, small_network

import eventsim as es
from eventsim.analysis.counting import count_operations
from eventsim.analysis.evaluation import write
from eventsim.analysis.trajectory import EXIT_THRESHOLDS
from eventsim.record.result import EncoderInfo, PopulationInfo, ProjectionInfo, RunInfo

STEPS, RESOLUTION, IMAGES, CLASSES = 5, 10, 40, 3
START = {"margin": 2, "potential": 0}
SIZES = {"in": 4, "h.bias": 1, "s": 3, "h": 5, "silent": 2, "out": CLASSES}
FIRING = ["in", "s", "h", "silent"]


def projection(name, source, target, macs, bias=False):
    return ProjectionInfo(name, source, target, "dense", 0.0, macs, macs, True, bias)


def info():
    populations = [
        PopulationInfo("in", "driven", (2, 2, 1), False, ""),
        PopulationInfo("h.bias", "source", (1,), False, "clock"),
        PopulationInfo("s", "source", (3,), False, "events"),
        PopulationInfo("h", "spiking", (5,), True, ""),
        PopulationInfo("silent", "spiking", (2,), False, ""),
        PopulationInfo("out", "readout", (CLASSES,), False, ""),
    ]
    projections = [
        projection("in->h", "in", "h", 20),
        projection("h.bias->h", "h.bias", "h", 0, bias=True),
        projection("s->h", "s", "h", 15),
        projection("h->out", "h", "out", 17),
    ]
    settings = {"dataset": "made", "split": "test", "start_levels": START, "network_sha256": "0"}
    return RunInfo(STEPS, RESOLUTION, populations, projections, [EncoderInfo("in", 40, 33, 0)], "out", [], None, settings)


@pytest.fixture(scope="module")
def arrays():
    """Random arrays of an evaluation; few decisions, so that accuracies tie, and images of which some stopped early."""
    rng = np.random.default_rng(11)
    n, populations, projections = IMAGES, len(SIZES), 4
    first = rng.integers(0, 30, (n, populations))
    spikes = rng.integers(0, 9, (n, STEPS, populations))
    silent = list(SIZES).index("silent")
    first[:, silent] = 0
    spikes[:, :, [silent, populations - 1]] = 0
    made = {
        "decision_tick": rng.integers(1, 51, n),
        "end_tick": rng.integers(31, 51, n),
        "exited": np.zeros(n, np.int8),
        "first_tick": first,
        "readout": rng.integers(-50, 50, (n, STEPS, CLASSES)).astype(np.int32),
        "prediction": rng.integers(0, CLASSES, (n, STEPS)).astype(np.int32),
        "spikes": spikes,
        "negative_spikes": rng.integers(0, 3, (n, populations)),
        "synaptic_events": rng.integers(0, 100, (n, STEPS, projections)),
        "encoded": rng.integers(0, 33, (n, 1)),
    }
    made |= {name: rng.integers(0, 100, (n, projections)) for name in ("deliveries", "additions", "toolbox", "effective")}
    for kind, start in START.items():
        rows = rng.integers(0, 6, n)
        made[f"exits/{kind}/rows"] = rows
        made[f"exits/{kind}/level"] = np.concatenate([start + np.sort(rng.choice(np.arange(1, 9), k, replace=False)) for k in rows])
        made[f"exits/{kind}/tick"] = np.concatenate([np.sort(rng.choice(np.arange(1, 31), k, replace=False)) for k in rows])
        for column, high in (("decision", CLASSES), ("spikes", 90), ("synaptic_events", 900)):
            made[f"exits/{kind}/{column}"] = rng.integers(0, high, rows.sum())
    return made


LABELS = np.random.default_rng(12).integers(0, CLASSES, IMAGES)


@pytest.fixture(scope="module")
def evaluation(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "e.h5"
    write(path, info(), "key", np.arange(IMAGES), LABELS, [], [arrays])
    with es.Evaluation(path) as e:
        yield e


def final(arrays):
    return [row[-1] for row in arrays["prediction"].tolist()]


def test_accuracy_latency_and_confusion(evaluation, arrays):
    e, decided = evaluation, final(arrays)
    assert e.accuracy == sum(d == label for d, label in zip(decided, LABELS, strict=True)) / IMAGES
    for step, share in enumerate(e.accuracy_over_time()):
        assert share == sum(arrays["prediction"][i, step] == LABELS[i] for i in range(IMAGES)) / IMAGES
    # Rows are labels, columns are decisions.
    expected = [
        [sum(label == row and d == column for d, label in zip(decided, LABELS, strict=True)) for column in range(3)] for row in range(3)
    ]
    assert e.confusion().tolist() == expected
    assert expected != np.transpose(expected).tolist()
    latency = sorted(t / RESOLUTION for t in arrays["decision_tick"].tolist())
    s = e.summary()
    assert s["mean_decision_latency_steps"] == pytest.approx(statistics.fmean(latency))
    assert s["median_decision_latency_steps"] == pytest.approx(statistics.median(latency))
    # 95 % of the way through the sorted latencies, between the two nearest.
    place = 0.95 * (IMAGES - 1)
    low, part = math.floor(place), place - math.floor(place)
    assert s["p95_decision_latency_steps"] == pytest.approx(latency[low] * (1 - part) + latency[low + 1] * part)
    assert s["mean_duration_steps"] == pytest.approx(statistics.fmean(arrays["end_tick"].tolist()) / RESOLUTION)
    assert e.duration().tolist() == [t / RESOLUTION for t in arrays["end_tick"].tolist()]


def test_the_matrix_is_drawn_as_it_is(evaluation):
    plot = pytest.importorskip("eventsim.analysis.plot")
    axes = plot.confusion(evaluation).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("decision", "label")
    drawn = {(int(t.get_position()[1]), int(t.get_position()[0])): int(t.get_text()) for t in axes.texts}
    matrix = evaluation.confusion()
    assert drawn == {(y, x): matrix[y, x] for y in range(3) for x in range(3) if matrix[y, x]}


def test_first_spikes(evaluation, arrays):
    found = evaluation.first_spike_latency()
    assert list(found) == FIRING
    for column, name in enumerate(SIZES):
        if name in found:
            for latency, tick in zip(found[name].tolist(), arrays["first_tick"][:, column].tolist(), strict=True):
                assert math.isnan(latency) if tick == 0 else latency == tick / RESOLUTION
    assert np.isnan(found["silent"]).all()


def test_spikes_rates_and_normalised_operations(evaluation, arrays):
    e = evaluation
    column = {name: i for i, name in enumerate(SIZES)}
    spikes, events = e.totals()
    for i in range(IMAGES):
        assert spikes[i] == sum(int(arrays["spikes"][i, :, column[name]].sum()) for name in FIRING)
        assert events[i] == sum(int(arrays["synaptic_events"][i, :, p].sum()) for p in (0, 2, 3))
    rates = {name: int(arrays["spikes"][:, :, column[name]].sum()) / IMAGES / SIZES[name] for name in FIRING}
    assert e.firing_rates() == pytest.approx(rates)
    assert e.firing_rates()["silent"] == 0
    macs = {"in": 20, "s": 15, "h": 17}
    assert e.normalised_operations() == pytest.approx(sum(rates[p] * n for p, n in macs.items()) / sum(macs.values()))
    for what in ("spikes", "synaptic_events"):
        mean = [[arrays[what][:, step, k].sum() / IMAGES for k in range(arrays[what].shape[2])] for step in range(STEPS)]
        assert np.allclose(e.over_time(what), mean)
    s = e.summary()
    assert s["mean_spikes"] == pytest.approx(sum(spikes.tolist()) / IMAGES)
    assert s["mean_synaptic_events"] == pytest.approx(sum(events.tolist()) / IMAGES)
    assert s["mean_additions"] == pytest.approx(arrays["additions"][:, [0, 2, 3]].sum() / IMAGES)


def test_operations_of_steps_begun(evaluation, arrays):
    report = evaluation.operations()
    begun = [math.ceil(t / RESOLUTION) for t in arrays["end_tick"].tolist()]
    assert len(set(begun)) > 1
    first, *others = report.rows
    assert first.neurobench_dense == 33 * sum(begun)
    assert first.neurobench_macs == sum(n * b for n, b in zip(arrays["encoded"][:, 0].tolist(), begun, strict=True))
    assert [r.neurobench_dense for r in others] == [20 * sum(begun), 0, 15 * sum(begun), 17 * sum(begun)]
    assert others[0].neuron_steps == pytest.approx(4 * sum(arrays["end_tick"].tolist()) / RESOLUTION)
    assert report.neuron_updates == (4 + 5 + 2 + 3) * sum(begun)
    assert (report.runs, report.counts) == (IMAGES, "sum")


def test_operations_of_runs_that_stop_early(tmp_path):
    """The same from an evaluation as from its runs one by one, each with its own steps begun."""
    net, data = small_network(), small_data(12)
    e = es.evaluate(net, data, tmp_path / "e.h5", workers=1, exit_potential=45)
    runs = [es.run(net, image, steps=6, exit_potential=45) for image in data.arrays()[0]]
    assert len({len(r.counts.spikes) for r in runs}) > 1
    assert e.operations() == count_operations(runs)


def stops(arrays, kind, image, threshold_number):
    """(decision, tick, spikes, events, exited) of a run of the image that stops at a threshold of the list: its first row that holds."""
    start = int(arrays[f"exits/{kind}/rows"][:image].sum())
    for row in range(start, start + int(arrays[f"exits/{kind}/rows"][image])):
        if arrays[f"exits/{kind}/level"][row] > threshold_number:
            return (*(int(arrays[f"exits/{kind}/{c}"][row]) for c in ("decision", "tick", "spikes", "synaptic_events")), 1)
    spikes = sum(int(arrays["spikes"][image, :, c].sum()) for c, name in enumerate(SIZES) if name in FIRING)
    events = int(arrays["synaptic_events"][image][:, [0, 2, 3]].sum())
    return final(arrays)[image], int(arrays["end_tick"][image]), spikes, events, 0


@pytest.mark.parametrize("kind", ["margin", "potential"])
def test_trade_off(evaluation, arrays, kind):
    for images in (None, [3], [7, 5, 20, 39]):
        chosen = range(IMAGES) if images is None else images
        curve = evaluation.trade_off(kind, images)
        assert curve.threshold[0] == EXIT_THRESHOLDS[START[kind]]
        assert curve.threshold[-1] == EXIT_THRESHOLDS[arrays[f"exits/{kind}/level"].max()]
        for j, threshold in enumerate(curve.threshold.tolist(), START[kind]):
            assert threshold == EXIT_THRESHOLDS[j]
            told = [stops(arrays, kind, i, j) for i in chosen]
            expected = {
                "accuracy": sum(t[0] == LABELS[i] for i, t in zip(chosen, told, strict=True)),
                "latency": sum(t[1] for t in told) / RESOLUTION,
                "spikes": sum(t[2] for t in told),
                "synaptic_events": sum(t[3] for t in told),
                "exited": sum(t[4] for t in told),
            }
            assert curve.at(threshold) == pytest.approx({k: v / len(chosen) for k, v in expected.items()})


def test_images_of_a_trade_off_are_positions(evaluation):
    chosen = np.zeros(IMAGES, bool)
    chosen[[5, 7]] = True
    for images in (chosen, chosen.tolist(), np.array([7, 5], np.uint8)):
        np.testing.assert_array_equal(evaluation.trade_off("margin", images).latency, evaluation.trade_off("margin", [5, 7]).latency)
    for images in ([], [-1], [IMAGES], [0.5], [[1]], chosen[1:], 3):
        with pytest.raises(es.RunError, match=f"images must be positions 0..{IMAGES - 1}, at least one, or as many booleans"):
            evaluation.trade_off("margin", images)


@pytest.mark.parametrize("loss", [-0.01, 1.01, 5, float("nan")])
def test_a_loss_is_a_share(evaluation, loss):
    with pytest.raises(es.RunError, match="must be a share from 0 to 1"):
        evaluation.choose_exit("margin", loss)


@pytest.mark.parametrize("kind", ["margin", "potential"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("lost", [0, 1, 2, 3, 5, 8, 20])
def test_the_chosen_threshold_is_the_first_from_which_the_accuracy_is_kept(evaluation, arrays, kind, seed, lost):
    """Losses of whole images: the accuracy that is just allowed is allowed."""
    half = IMAGES // 2
    order = np.random.default_rng(seed).permutation(IMAGES).tolist()
    halves = order[:half], order[half:]
    numbers = range(START[kind], int(arrays[f"exits/{kind}/level"].max()) + 1)
    right = [[sum(stops(arrays, kind, i, j)[0] == LABELS[i] for i in part) for j in numbers] for part in halves]
    full = [sum(final(arrays)[i] == LABELS[i] for i in part) for part in halves]
    keeping = [all(r >= full[0] - lost for r in right[0][k:]) for k in range(len(numbers))]
    chosen = keeping.index(True)
    found = evaluation.choose_exit(kind, lost / half, seed)
    assert found.threshold == EXIT_THRESHOLDS[numbers[chosen]]
    for told, counts, whole in zip((found.chosen_on, found.verified_on), right, full, strict=True):
        assert told["images"] == half
        assert told["full_accuracy"] == pytest.approx(whole / half)
        assert told["accuracy"] == pytest.approx(counts[chosen] / half)


def test_the_cases_of_choosing_are_there(evaluation, arrays):
    """Among them are curves that dip, ties, and thresholds that are not the last."""
    found = {kind: evaluation.trade_off(kind) for kind in START}
    assert any(np.any(np.diff(curve.accuracy) < 0) for curve in found.values())
    assert any(np.any(np.diff(curve.accuracy) == 0) for curve in found.values())
    assert len({evaluation.choose_exit("margin", lost / 20).threshold for lost in (0, 1, 2, 3, 5, 8, 20)}) > 2


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["exits/margin/level"].__setitem__(0, 10**6),
        lambda file: file["exits/margin/level"].__setitem__(0, START["margin"]),
        lambda file: file["exits/margin/level"].__setitem__(slice(None), 3),
        lambda file: file["exits/margin/level"].__setitem__(3, -5),
        lambda file: settings_of(file, {"margin": {"a": 1}}),
        lambda file: settings_of(file, {"margin": -1}),
        lambda file: settings_of(file, {"margin": 10**6}),
    ],
)
def test_trade_offs_that_cannot_be_are_damage(arrays, tmp_path, change):
    write(tmp_path / "e.h5", info(), "key", np.arange(IMAGES), LABELS, [], [arrays])
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        change(file)
    with pytest.raises(es.RunError, match="damaged"), es.Evaluation(tmp_path / "e.h5") as e:
        e.trade_off("margin")


def settings_of(file, start_levels):
    described = json.loads(bytes(file["info"][()]))
    described["settings"]["start_levels"] = start_levels
    del file["info"]
    file["info"] = np.bytes_(json.dumps(described).encode())

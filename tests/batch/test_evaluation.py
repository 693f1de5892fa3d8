"""Evaluations of data sets: against runs one by one, interrupted, in parallel, and misused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import same, small_data, small_network
from judges.sealing import change_and_reseal
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.analysis import provenance
from eventsim.analysis.counting import count_operations
from eventsim.batch import evaluate as evaluating
from eventsim.cli.main import main
from eventsim.data import images
from eventsim.data.image_sets import read_image
from eventsim.data.images import fit_image

LENET = ROOT / "networks" / "lenet-mnist.h5"


@pytest.mark.parametrize("resolution", [1, 2**20])
def test_it_is_what_single_runs_give(tmp_path, resolution):
    net, data = small_network(), small_data()
    images, labels = data.arrays()
    e = es.evaluate(net, data, tmp_path / "e.h5", resolution=resolution, workers=1)
    runs = [es.run(net, image, steps=6, resolution=resolution) for image in images]
    decisions = np.array([r.decision for r in runs])
    assert np.array_equal(e.prediction, decisions)
    assert e.accuracy == (decisions == labels).mean()
    over_time = np.array([[row.argmax() for row in r.readout] for r in runs])
    assert np.array_equal(e.accuracy_over_time(), (over_time == labels[:, None]).mean(0))
    assert np.array_equal(e.array("readout"), np.stack([r.readout for r in runs]))
    assert np.array_equal(e.decision_latency(), [r.decision_latency for r in runs])
    for name, found in e.first_spike_latency().items():
        expected = [r.first_spike_latency()[name] for r in runs]
        assert np.array_equal(found, [np.nan if v is None else v for v in expected], equal_nan=True)
    spikes, events = e.totals()
    assert spikes.tolist() == [r.total_spikes for r in runs]
    assert events.tolist() == [r.total_synaptic_events for r in runs]
    assert e.operations() == count_operations(runs)
    assert np.allclose(e.over_time("spikes"), np.mean([r.counts.spikes for r in runs], axis=0))
    rates = {
        "a": np.mean([r.spikes_per_population()["a"] for r in runs]) / 108,
        "b": np.mean([r.spikes_per_population()["b"] for r in runs]) / 45,
    }
    assert e.firing_rates() == pytest.approx(rates)
    macs = {"a": 36 * 9 * 3 * 5, "b": 45 * 4}
    assert e.normalised_operations() == pytest.approx((rates["a"] * macs["a"] + rates["b"] * macs["b"]) / (macs["a"] + macs["b"]))
    assert e.confusion().sum() == len(data)
    assert e.confusion().trace() == (decisions == labels).sum()
    assert e.info.labels == data.classes


@pytest.mark.parametrize("resolution", [1, 2**20])
@pytest.mark.parametrize("kind", ["margin", "potential"])
def test_the_trade_off_is_what_stopping_gives(tmp_path, resolution, kind):
    net, data = small_network(), small_data()
    e = es.evaluate(net, data, tmp_path / "e.h5", resolution=resolution, workers=1)
    curve = e.trade_off(kind)
    assert len(curve.threshold) > 5
    for threshold in [*curve.threshold[:: max(1, len(curve.threshold) // 6)].tolist(), int(curve.threshold[-1])]:
        path = tmp_path / f"{threshold}.h5"
        path.unlink(missing_ok=True)
        real = es.evaluate(net, data, path, resolution=resolution, workers=1, **{f"exit_{kind}": threshold})
        spikes, events = real.totals()
        assert curve.at(threshold) == pytest.approx(
            {
                "accuracy": real.accuracy,
                "latency": real.duration().mean(),
                "spikes": spikes.mean(),
                "synaptic_events": events.mean(),
                "exited": real.array("exited").mean(),
            },
            rel=1e-12,
        )
    # The last threshold is reached by no image: the whole run.
    assert curve.exited[-1] == 0
    assert curve.accuracy[-1] == e.accuracy
    assert np.all(np.diff(curve.latency) >= 0)


def test_a_chosen_threshold_keeps_the_accuracy_where_it_was_chosen(tmp_path):
    e = es.evaluate(small_network(), small_data(200), tmp_path / "e.h5", workers=1)
    with pytest.raises(es.RunError, match="an exit is by margin or potential, found 'confidence'"):
        e.trade_off("confidence")
    tight, loose = e.choose_exit("margin", 0.0), e.choose_exit("margin", 0.1)
    assert str(tight).startswith(
        f"{tight.threshold:,}: {tight.verified_on['accuracy']:.2%} (whole run {tight.verified_on['full_accuracy']:.2%})"
    )
    for choice, loss in ((tight, 0.0), (loose, 0.1)):
        assert choice.chosen_on["accuracy"] >= choice.chosen_on["full_accuracy"] - loss - 1e-9
        assert choice.chosen_on["images"] + choice.verified_on["images"] == 200
    assert loose.threshold <= tight.threshold
    assert loose.verified_on["latency"] <= tight.verified_on["latency"]


def test_results_do_not_depend_on_workers_or_interruptions(tmp_path, monkeypatch):
    net, data = small_network(), small_data()
    monkeypatch.setattr(evaluating, "MOST_IMAGES", 5)
    one = es.evaluate(net, data, tmp_path / "one.h5", workers=1)
    same(one, es.evaluate(net, data, tmp_path / "two.h5", workers=2))
    calls = []

    def stop(done, total):
        calls.append(done)
        if done >= 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        es.evaluate(net, data, tmp_path / "three.h5", workers=1, progress=stop)
    assert calls == [0, 5, 10, 15]
    assert not (tmp_path / "three.h5").exists()
    calls.clear()
    remarks = []
    third = es.evaluate(net, data, tmp_path / "three.h5", workers=1, progress=lambda done, total: calls.append(done), note=remarks.append)
    assert calls == [15, 20, 25, 30, 35, 37]
    assert "15 of 37 images were done before" in remarks[0]
    same(one, third)
    assert not (tmp_path / "three.h5.parts").exists()
    # The same call again finds it whole, another one is refused.
    es.evaluate(net, data, tmp_path / "three.h5", note=remarks.append)
    assert "nothing to do" in remarks[-1]
    with pytest.raises(es.RunError, match="another evaluation"):
        es.evaluate(net, data, tmp_path / "three.h5", steps=5)


def test_parts_of_another_evaluation_are_not_taken(tmp_path):
    net, data = small_network(), small_data()

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        es.evaluate(net, data, tmp_path / "e.h5", progress=stop, workers=1)
    for other in ({"steps": 5}, {"resolution": 7}, {"exit_margin": 99}, {"images": 7}, {"trade_off": False}):
        with pytest.raises(es.RunError, match="parts of another evaluation"):
            es.evaluate(net, data, tmp_path / "e.h5", workers=1, **other)
    with pytest.raises(es.RunError, match="parts of another evaluation"):
        es.evaluate(small_network(5), data, tmp_path / "e.h5", workers=1)
    with pytest.raises(es.RunError, match="parts of another evaluation"):
        es.evaluate(net, small_data(seed=2), tmp_path / "e.h5", workers=1)


def test_a_chosen_subset_and_traces(tmp_path):
    net, data = small_network(), small_data()
    e = es.evaluate(net, data, tmp_path / "e.h5", images=[3, 30, 4], workers=1, traces=[30])
    assert e.image.tolist() == [3, 30, 4]
    assert e.truth.tolist() == data.labels[[3, 30, 4]].tolist()
    with es.Trace(tmp_path / "e.h5.traces" / "30.h5") as trace:
        assert trace.decision == e.prediction[1]
        assert trace.info.settings["truth"] == data.labels[30]
        assert np.array_equal(trace.image, data[30])
    assert es.evaluate(net, data, tmp_path / "some.h5", images=5, workers=1).image.tolist() == [0, 9, 18, 27, 36]
    for no_numbers in (np.arange(37) > 30, [1.0, 2.0], []):
        with pytest.raises(es.RunError, match=r"images must be numbers 0\.\.36"):
            es.evaluate(net, data, tmp_path / "mask.h5", images=no_numbers, workers=1)
    # Before anything is run.
    (tmp_path / "other.h5.traces").write_text("a file")
    for traces, message in (([3], "is a file, where a folder of traces would be"), ([37], "there is no image 37")):
        with pytest.raises(es.RunError, match=message):
            es.evaluate(net, data, tmp_path / "other.h5", workers=1, traces=traces)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.h5", "e.h5.traces", "other.h5.traces", "some.h5"]


def test_images_without_labels_and_of_other_sizes(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (8 + i, 7, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    remarks = []
    e = es.evaluate(small_network(), folder, tmp_path / "e.h5", workers=1, note=remarks.append)
    assert "converted to grey, resized from 7x8 to 6x6" in remarks[0]
    assert e.truth is None
    assert e.summary()["accuracy"] is None
    with pytest.raises(es.RunError, match="no labels"):
        e.accuracy_over_time()
    expected = [es.run(small_network(), fit_image(np.asarray(Image.open(folder / f"{i}.png")), (6, 6, 1))[0], steps=6) for i in range(3)]
    assert e.prediction.tolist() == [r.decision for r in expected]


def test_images_are_inverted_and_cropped_if_asked(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (8, 12, 2), dtype=np.uint8), "LA").save(folder / f"{i}.png")
    net, found, remarks = small_network(), {}, []
    es.save(net, tmp_path / "net.h5")
    for options in ({}, {"invert": True}, {"crop": True}, {"invert": True, "crop": True}):
        target = tmp_path / f"{'-'.join(options)}.h5"
        arguments = [f"--{name}" for name in options] + ["--workers", "1", "--steps", "6", "--trace", "1", "-o", str(target)]
        done = CliRunner().invoke(main, ["evaluate", str(tmp_path / "net.h5"), "-d", str(folder), *arguments], catch_exceptions=False)
        assert done.exit_code == 0
        assert "transparent parts shown on white" in done.stderr
        for name, word in (("invert", "inverted"), ("crop", "cropped from 12x8 to 8x8")):
            assert (word in done.stderr.splitlines()[0]) == (name in options)
        e = found[tuple(options)] = es.Evaluation(target)
        assert [f"--{name}" in provenance.evaluate_command(e) for name in ("invert", "crop")] == [n in options for n in ("invert", "crop")]
        for i in range(3):
            pixels = images.fit_image(read_image(folder / f"{i}.png"), (6, 6, 1), **options)[0]
            assert e.array("readout")[i, -1].tolist() == es.run(net, pixels, steps=6).readout[-1].tolist()
        with es.Trace(f"{target}.traces/1.h5") as trace:
            assert trace.readout[-1].tolist() == e.array("readout")[1, -1].tolist()
        assert es.evaluate(net, folder, target, steps=6, workers=1, note=remarks.append, **options)
        assert "nothing to do" in remarks[-1]
    assert len({e.key for e in found.values()}) == 4
    assert len({str(e.array("readout").tolist()) for e in found.values()}) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": 0}, "at least 1"),
        ({"images": [99]}, "0..36"),
        ({"workers": 0}, "workers"),
        ({"exit_margin": 5, "exit_potential": 5}, "one exit rule"),
        ({"exit_margin": 0}, "before the first spike"),
        ({"steps": 0}, "steps"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "no Dask scheduler"),
        ({"traces": [99]}, "no image 99"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, monkeypatch, arguments, words):
    monkeypatch.setattr("eventsim.batch.executors.dask.TIMEOUT", "1s")
    with pytest.raises(es.RunError, match=words):
        es.evaluate(small_network(), small_data(), tmp_path / "e.h5", **{"workers": 1} | arguments)


def test_wrong_data_networks_and_files(tmp_path):
    net, data = small_network(), small_data()
    with pytest.raises(es.InputError, match="9 classes"):
        es.evaluate(net, small_data(99, 9), tmp_path / "e.h5")
    plain = es.Network()
    plain.driven("a", 2, 5)
    with pytest.raises(es.InputError, match="takes an image"):
        es.evaluate(plain, data, tmp_path / "e.h5")
    (tmp_path / "x.h5").write_text("not mine")
    with pytest.raises(es.RunError, match="no evaluation"):
        es.evaluate(net, data, tmp_path / "x.h5")
    assert (tmp_path / "x.h5").read_text() == "not mine"
    with pytest.raises(es.RunError, match="does not exist"):
        es.evaluate(net, data, tmp_path / "nowhere" / "e.h5")
    for bad in (LENET, tmp_path / "x.h5", tmp_path / "none.h5"):
        with pytest.raises(es.RunError):
            es.Evaluation(bad)


def test_damaged_evaluations_are_errors(tmp_path):
    path = tmp_path / "e.h5"
    es.evaluate(small_network(), small_data(), path, workers=1).close()
    whole = path.read_bytes()
    # What it was shows, before anyone removes it.
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = np.uint32(99)
    with pytest.raises(es.RunError, match=r"e\.h5: exists and is no evaluation to be gone on with \(an evaluation of version 99; this"):
        es.evaluate(small_network(), small_data(), path, workers=1)
    for column in ("prediction", "spikes", "exits/margin/level", "label"):
        path.write_bytes(whole)

        def shorten(file, column=column):
            values = file[column][()]
            del file[column]
            file[column] = values[:-1]

        change_and_reseal(path, shorten)
        with pytest.raises(es.RunError, match=r"a damaged evaluation .*expected|a damaged evaluation .exits"):
            es.Evaluation(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(es.RunError):
        es.Evaluation(path)

"""Runs and evaluations in which some images are never decided, and files of the version that did not know this."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import two_pixel_images, two_pixels

import eventsim as es
from eventsim.cli.evaluate import print_evaluation
from eventsim.cli.main import main
from eventsim.data.image_sets import ArrayDataset


@pytest.mark.parametrize("engine", ["reference", "queue", "layered"])
def test_a_decision_at_each_step(engine):
    def decisions(image, **settings):
        net = two_pixels(settings.pop("v0", 0))
        return es.run(net, image, steps=4, resolution=1, engine=engine, **settings).decision_over_time().tolist()

    black, dim, white = (np.full((1, 2, 1), value, np.uint8) for value in (0, 90, 255))
    assert decisions(black) == [-1] * 4
    assert decisions(black, v0=[0, 1]) == [1] * 4
    assert decisions(dim) == [-1, -1, 0, 0]
    assert decisions(white) == [0] * 4
    assert decisions(dim, exit_potential=1) == [-1, -1, 0]
    net = es.Network()
    net.driven("in", 1, 1)
    with pytest.raises(es.RunError, match="no output"):
        es.run(net, {"in": [1]}, steps=1, engine=engine).decision_over_time()


@pytest.fixture(params=[1, 2**20])
def evaluation(request, tmp_path):
    """Of all four images."""
    return es.evaluate(two_pixels(), two_pixel_images(), tmp_path / "e.h5", steps=4, resolution=request.param, workers=1)


def test_images_without_a_decision_are_in_no_statistic(evaluation):
    e = evaluation
    late = 3 if e.info.resolution == 1 else 255 * 1 / 90
    latency = e.decision_latency()
    np.testing.assert_allclose(latency, [1, 1, late, np.nan], atol=1e-6)
    assert e.prediction.tolist() == [0, 1, 1, -1]
    assert e.array("prediction").tolist() == [[0] * 4, [1] * 4, [-1, -1, 1, 1], [-1] * 4]
    assert e.array("decision_tick").tolist()[3] == 0
    assert e.accuracy == 0.25
    assert e.accuracy_over_time().tolist() == [0.25] * 4
    # Of label "left": the image without a decision is in no column.
    assert e.confusion().tolist() == [[1, 2], [0, 0]]
    s = e.summary()
    assert s["undecided"] == 1
    assert s["mean_decision_latency_steps"] == pytest.approx((2 + late) / 3, abs=1e-6)
    assert s["median_decision_latency_steps"] == 1
    assert s["p95_decision_latency_steps"] == pytest.approx(np.percentile([1, 1, late], 95), abs=1e-6)


def test_they_are_shown_as_such(evaluation, tmp_path, capsys):
    print_evaluation(evaluation)
    assert "1 images: no spike reached the readout" in capsys.readouterr().out
    found = CliRunner().invoke(main, ["report", str(evaluation.path), "-o", str(tmp_path / "r.html")])
    assert found.exit_code == 0, found.output
    assert "1 images: no spike reached the readout" in (tmp_path / "r.html").read_text()


def test_an_evaluation_without_any_decision(tmp_path, capsys):
    black = ArrayDataset("made", "test", ["left", "right"], np.zeros((2, 1, 2, 1), np.uint8), np.zeros(2, int))
    e = es.evaluate(two_pixels(), black, tmp_path / "e.h5", steps=2, resolution=1, workers=1)
    assert e.summary()["mean_decision_latency_steps"] is None
    assert e.accuracy == 0
    print_evaluation(e)
    assert "decided at" not in capsys.readouterr().out
    found = CliRunner().invoke(main, ["report", str(e.path), "-o", str(tmp_path / "r.html")])
    assert found.exit_code == 0, found.output


def test_a_run_without_a_decision_says_so(tmp_path):
    es.save(two_pixels(), tmp_path / "net.h5")
    np.save(tmp_path / "black.npy", np.zeros((1, 2, 1), np.uint8))
    run = CliRunner().invoke(
        main, ["run", str(tmp_path / "net.h5"), "--input", str(tmp_path / "black.npy"), "--steps", "2", "--trace", str(tmp_path / "t.h5")]
    )
    assert run.exit_code == 0, run.output
    assert "none: no spike reached the readout" in run.output
    with es.Trace(tmp_path / "t.h5") as trace:
        assert (trace.decision, trace.label, trace.decision_latency) == (None, None, None)
        assert trace.decision_over_time().tolist() == [-1, -1]
    found = CliRunner().invoke(main, ["report", str(tmp_path / "t.h5"), "-o", str(tmp_path / "r.html")])
    assert found.exit_code == 0, found.output
    assert "none: no spike reached the readout" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("pixel", [255, 90])
def test_traces_of_version_1(tmp_path, pixel):
    """A decision made later than tick 1 was made then; one at tick 1 may have stood before anything arrived."""
    path = tmp_path / "t.h5"
    es.run(two_pixels(), np.array([[[0], [pixel]]], np.uint8), steps=4, resolution=1, trace=path)
    with h5py.File(path, "r+") as file:
        file["eventsim"].attrs["version"] = np.uint32(1)
        del file["seal"]
    with es.Trace(path) as trace:
        assert (trace.decision, trace.decision_latency) == (1, None if pixel == 255 else 3)
    found = CliRunner().invoke(main, ["report", str(path), "-o", str(tmp_path / "r.html")])
    assert found.exit_code == 0, found.output
    assert ("decided at" in (tmp_path / "r.html").read_text()) == (pixel == 90)


def test_evaluations_of_version_1(evaluation, tmp_path, capsys):
    evaluation.close()
    with h5py.File(evaluation.path, "r+") as file:
        file.attrs["version"] = np.uint32(1)
        del file["seal"]
        file["decision_tick"][3] = 1
        file["prediction"][2:] = [[0, 0, 1, 1], [0, 0, 0, 0]]
    with es.Evaluation(evaluation.path) as old:
        assert old.accuracy == 0.5
        with pytest.raises(es.RunError, match=r"version 1.*evaluate again"):
            old.decision_latency()
        assert old.summary()["mean_decision_latency_steps"] is None
        print_evaluation(old)
        assert "decided at" not in capsys.readouterr().out
        found = CliRunner().invoke(main, ["report", str(old.path), "-o", str(tmp_path / "r.html")])
        assert found.exit_code == 0, found.output
    with h5py.File(evaluation.path, "r+") as file:
        file["decision_tick"][:] = [2, 3, 4, 4]
    with es.Evaluation(evaluation.path) as old:
        assert np.array_equal(old.decision_latency() * old.info.resolution, [2, 3, 4, 4])

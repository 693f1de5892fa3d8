"""Data sets of recordings: folders, and simulated ones; evaluated on networks of an event input and on networks of images."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from click.testing import CliRunner
from judges.recordings import HEIGHT, WIDTH, random_events, write_bin
from PIL import Image

import eventsim as es
from eventsim.analysis.evaluation import Evaluation
from eventsim.analysis.mistakes import some_mistakes
from eventsim.analysis.provenance import evaluate_command
from eventsim.batch.fault_study import spike_fault_points
from eventsim.batch.imperfect_study import run_points
from eventsim.cli.main import main
from eventsim.data.datasets import find, open_dataset
from eventsim.data.image_sets import ArrayDataset
from eventsim.data.recording_sets import Saccades
from eventsim.data.recordings.fitting import Reading
from eventsim.data.recordings.saccades import saccades
from eventsim.errors import DatasetError, InputError, RunError


def camera(polarity="split"):
    net = es.Network()
    rng = np.random.default_rng(0)
    net.event_input("camera", (HEIGHT, WIDTH, 2), polarity=polarity)
    net.readout("out", 2)
    net.connect("camera", "out", rng.integers(-3, 4, (HEIGHT * WIDTH * 2, 2)))
    return net


def counting():
    """A network of images."""
    net = es.Network()
    net.image_input((HEIGHT, WIDTH, 2))
    net.driven("in", (HEIGHT, WIDTH, 2), 50, encoder=es.Conv2d(np.ones((1, 1, 2, 2), int)))
    net.readout("out", 2)
    net.connect("in", "out", np.ones((HEIGHT * WIDTH * 2, 2), int))
    return net


@pytest.fixture
def folder(tmp_path):
    """Two classes of two recordings."""
    for number in range(4):
        place = tmp_path / "recs" / "test" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.bin").write_bytes(write_bin(random_events(np.random.default_rng(number), 50 + number, 4000)))
    return tmp_path / "recs"


def test_a_folder_of_recordings_is_evaluated_as_its_files_are_run(folder, tmp_path):
    data = open_dataset(folder)
    assert (data.split, data.classes, data.labels.tolist()) == ("test", ["a", "b"], [0, 0, 1, 1])
    with es.evaluate(camera(), folder, tmp_path / "eval.h5", steps=4, workers=1) as found:
        decided = found.prediction.tolist()
        assert len(found) == 4
        wrong = found.wrong()
        mistakes = some_mistakes(found, folder)
        assert [mistake.pixels.shape[2] for mistake in mistakes] == [1] * int(wrong.sum())
    for number, decision in enumerate(decided):
        events = data[number]
        events["t"] -= events["t"][0]
        assert es.run(camera(), {"camera": events}, steps=4).decision == decision


def test_sets_are_read_as_files_are(tmp_path, monkeypatch):
    """Tables without names of columns, of a larger camera, times in ms, of which a window is run."""
    monkeypatch.chdir(tmp_path)
    es.save(camera(), "net.h5")
    for number in range(4):
        events = random_events(np.random.default_rng(number), 300, 9_000)
        table = np.stack([2 * events["x"], 2 * events["y"], events["p"], events["t"] // 1000], axis=1).astype(np.int64)
        place = tmp_path / "recs" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{number}.npy", table)
    reading = ["--fields", "x=0,y=1,p=2,t=3", "--time-unit", "ms", "--downsample", "2", "--window", "2:7ms", "--hot-pixels", "100000"]
    outcome = CliRunner().invoke(main, ["evaluate", "net.h5", "-d", "recs", "-o", "eval.h5", *reading])
    assert outcome.exit_code == 0, outcome.stderr
    assert "recs: the first recording: squares of 2 x 2 pixels are one\n" in outcome.stderr
    with Evaluation("eval.h5") as found:
        assert found.info.steps == 5
        for number, path in zip(found.image.tolist(), ["a/0", "a/2", "b/1", "b/3"], strict=True):
            ran = CliRunner().invoke(main, ["run", "net.h5", "-i", f"recs/{path}.npy", *reading, "--no-trace", "--json"])
            assert int(json.loads(ran.stdout)["label"]) == found.prediction[number]
        again = shlex.split(evaluate_command(found))[1:]
        assert len(some_mistakes(found, "recs")) == int(found.wrong().sum())
        assert found.info.settings["window_us"] == [2000, 7000]
    # The command that the evaluation says made it finds it whole; another window is another evaluation.
    same = CliRunner().invoke(main, [*again[:4], "--split", "test", *again[6:], "-o", "eval.h5"])
    assert (same.exit_code, "is whole" in same.stderr) == (0, True), same.stderr
    reading[-3] = "2:6ms"
    other = CliRunner().invoke(main, ["evaluate", "net.h5", "-d", "recs", "-o", "eval.h5", "--steps", "5", *reading])
    assert (other.exit_code, "holds another evaluation" in other.stderr) == (1, True)
    changed = CliRunner().invoke(
        main, ["evaluate", "net.h5", "-d", "recs", "-o", "2.h5", "--step-us", "500", "--polarity", "split", *reading]
    )
    assert changed.exit_code == 0, changed.stderr
    with Evaluation("2.h5") as found:
        assert found.info.steps == 8
        again = CliRunner().invoke(main, [*shlex.split(evaluate_command(found).replace("--split all", ""))[1:], "-o", "3.h5"])
        assert again.exit_code == 0, again.stderr
        with Evaluation("3.h5") as same:
            assert (same.key, same.info) == (found.key, found.info)
    sweep = ["study", "resolution", "net.h5", "-d", "recs", "--values", "1,4", *reading]
    swept = CliRunner().invoke(main, [*sweep, "-o", "study"])
    assert swept.exit_code == 0, swept.stderr
    swept = CliRunner().invoke(main, [*sweep, "-o", "changed", "--step-us", "500", "--polarity", "split"])
    assert swept.exit_code == 0, swept.stderr
    with Evaluation("study/resolution-4.h5") as usual, Evaluation("changed/resolution-4.h5") as changed:
        assert (usual.info.steps, changed.info.steps) == (4, 8)


def test_studies_of_lost_spikes_tell_windows_of_time_apart(folder, tmp_path):
    points = spike_fault_points(counting(), "lost", [0.5], 1)
    data, shorter = (open_dataset(folder, reading=Reading.parsed(window)) for window in ("0:4ms", "0:1ms"))
    rows = run_points("faults", points, data, tmp_path / "study", steps=2).rows
    assert run_points("faults", points, data, tmp_path / "study", steps=2).rows == rows
    with pytest.raises(RunError, match="is of another study"):
        run_points("faults", points, shorter, tmp_path / "study", steps=2)


def test_known_sets_are_opened_from_where_they_are_to_be_put(tmp_path):
    data = write_bin(random_events(np.random.default_rng(0), 20, 4000))
    for place in ("n-mnist/test/7", "n-mnist/test/9", "cifar10-dvs/bird"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "00001.bin").write_bytes(data)
    digits, birds = (open_dataset(name, folder=tmp_path) for name in ("n-mnist", "cifar10-dvs"))
    assert (digits.name, digits.split, digits.classes, len(digits.recording(1).events)) == ("n-mnist", "test", ["7", "9"], 20)
    assert (birds.split, birds.classes) == ("all", ["bird"])
    assert find("cifar10-dvs", "all", tmp_path) == tmp_path / "cifar10-dvs"
    assert find("n-mnist", "test", tmp_path) == tmp_path / "n-mnist" / "test"
    with pytest.raises(DatasetError, match=r"dvs128-gesture is not in .*3a8f0d4120a166bac7591f77409cb105.*holds dvs128-gesture/$"):
        open_dataset("dvs128-gesture", folder=tmp_path)


def test_images_have_no_windows_of_time(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "a" / "0.png")
    with pytest.raises(DatasetError, match="windows of time, hot pixels, columns and downsampling are for recordings"):
        open_dataset(tmp_path, reading=Reading.parsed("0:1ms"))


def test_networks_of_images_take_counts(folder, tmp_path):
    with es.evaluate(counting(), folder, tmp_path / "eval.h5", steps=2, workers=1) as found:
        assert len(found) == 4


def test_what_does_not_fit_is_said(folder, tmp_path):
    images = ArrayDataset("images", "test", ["a", "b"], np.zeros((2, HEIGHT, WIDTH, 1), np.uint8), np.array([0, 1]))
    with pytest.raises(InputError, match="images, and the network takes recordings"):
        es.evaluate(camera(), images, tmp_path / "eval.h5")
    with pytest.raises(InputError, match="recordings are taken as they are"):
        es.evaluate(camera(), folder, tmp_path / "eval.h5", invert=True)
    with pytest.raises(DatasetError, match="which one array does not hold"):
        open_dataset(folder).arrays()
    (folder / "test" / "a" / "0.bin").write_bytes(b"123")
    with pytest.raises(DatasetError, match=r"0\.bin: 3 bytes"):
        open_dataset(folder)[0]


def test_simulated_recordings_of_images():
    images = np.zeros((2, 28, 28, 1), np.uint8)
    images[:, 5:20, 10:13] = np.array([100, 200]).reshape(2, 1, 1, 1)
    data = Saccades("moved", ArrayDataset("images", "test", ["a", "b"], images, np.array([0, 1])))
    assert len(data) == 2
    for number, events in enumerate(saccades(images[..., 0])):
        assert np.array_equal(data[number], events)
    assert data.digest(np.array([0])) != data.digest(np.array([1]))
    frame = data.as_images()[1]
    assert frame.shape == (34, 34, 1)
    assert frame.max() == 255


def test_what_lies_beside_does_not_make_a_set_of_another_kind(tmp_path):
    """A table beside photos, pictures of recordings."""
    events = random_events(np.random.default_rng(3), 20)
    for name in ("photos/a/z1.png", "photos/a/z2.png", "photos/b/1.png", "events/.thumbs/1.png", "events/.thumbs/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / name)
    for name in ("photos/features.npy", "photos/a/features.npy", "events/1.npy"):
        np.save(tmp_path / name, events)
    photos, recordings = (open_dataset(tmp_path / name) for name in ("photos", "events"))
    assert (len(photos), photos.labels.tolist(), photos[0].shape) == (3, [0, 0, 1], (3, 3, 1))
    assert (len(recordings), recordings.recording(0).events.tolist()) == (1, events.tolist())

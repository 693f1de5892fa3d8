"""Data sets of recordings: folders, and simulated ones; evaluated on networks of an event input and on networks of images."""

from __future__ import annotations

import numpy as np
import pytest
from judges.recordings import HEIGHT, WIDTH, random_events, write_bin

import eventsim as es
from eventsim.analysis.mistakes import some_mistakes
from eventsim.data.datasets import open_dataset
from eventsim.data.image_sets import ArrayDataset
from eventsim.data.recording_sets import Saccades
from eventsim.data.recordings.saccades import saccades
from eventsim.errors import DatasetError, InputError


def camera(polarity="split"):
    net = es.Network()
    rng = np.random.default_rng(0)
    net.event_input("camera", (HEIGHT, WIDTH, 2), polarity=polarity)
    net.readout("out", 2)
    net.connect("camera", "out", rng.integers(-3, 4, (HEIGHT * WIDTH * 2, 2)))
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


def test_networks_of_images_take_counts(folder, tmp_path):
    net = es.Network()
    net.image_input((HEIGHT, WIDTH, 2))
    net.driven("in", (HEIGHT, WIDTH, 2), 50, encoder=es.Conv2d(np.ones((1, 1, 2, 2), int)))
    net.readout("out", 2)
    net.connect("in", "out", np.ones((HEIGHT * WIDTH * 2, 2), int))
    with es.evaluate(net, folder, tmp_path / "eval.h5", steps=2, workers=1) as found:
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

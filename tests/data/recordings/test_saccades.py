"""Simulated recordings: the same on every machine, and what a camera would see."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image
from repository import ROOT

from eventsim.data.recordings.reading import read_recording
from eventsim.data.recordings.saccades import LENGTH_US, SIZE, saccades

SAMPLES = ROOT / "datasets" / "samples"


def digit(number):
    return np.asarray(Image.open(SAMPLES / f"digit-{number}.png"))


@pytest.mark.parametrize("number", [1, 4, 7])
def test_the_samples_are_what_the_program_makes(number):
    (made,) = saccades(digit(number)[None])
    path = ROOT / "datasets" / "recordings" / f"digit-{number}.bin"
    with open(path, "rb") as stream:
        assert np.array_equal(read_recording(stream, str(path)).events, made)


def test_nothing_moves_where_nothing_is_seen():
    dark, digits = saccades(np.stack([np.zeros((28, 28), np.uint8), digit(1)]))
    assert len(dark) == 0
    assert len(digits) > 1000


def test_events_lie_within_the_camera_and_the_time_and_come_in_pairs():
    (events,) = saccades(digit(4)[None])
    assert events["x"].max() < SIZE
    assert events["y"].max() < SIZE
    assert 0 <= events["t"][0] <= events["t"][-1] < LENGTH_US
    assert np.all(np.diff(events["t"]) >= 0)
    # The digit ends where it began: what has become brighter has become darker, but for what is left of a threshold.
    net = np.zeros((SIZE, SIZE), int)
    np.add.at(net, (events["y"], events["x"]), np.where(events["p"] > 0, 1, -1))
    assert np.abs(net).max() <= 1


def test_a_batch_gives_what_each_image_gives():
    images = np.stack([digit(number) for number in (0, 3, 8)])
    for alone, together in zip(images, saccades(images), strict=True):
        assert np.array_equal(saccades(alone[None])[0], together)


def test_no_image_gives_nothing():
    assert saccades(np.zeros((0, 28, 28), np.uint8)) == []


def test_the_events_of_a_bar_are_these():
    image = np.zeros((28, 28), np.uint8)
    image[5:20, 10:13] = 200
    (events,) = saccades(image[None])
    assert hashlib.sha256(events.tobytes()).hexdigest()[:16] == "aabe6b51600b3396"

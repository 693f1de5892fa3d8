"""Windows of time, hot pixels, fewer pixels, and recordings that do not fit."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from eventsim.data.recordings.events import recording
from eventsim.data.recordings.fitting import Reading, fit_recording, parse_window
from eventsim.data.recordings.frames import accumulated
from eventsim.errors import InputError


def made(rows, size=None):
    x, y, t, p = np.array(rows).T
    return recording("rec", x, y, t, p, size)


ROWS = [(0, 0, 1000, 1), (1, 0, 1000, 0), (5, 3, 1500, 1), (2, 1, 2000, 0)]


@pytest.mark.parametrize(
    ("text", "window"),
    [
        (None, (0, None)),
        ("0:300ms", (0, 300_000)),
        ("100us:2ms", (100, 2000)),
        ("1.5:2s", (1_500_000, 2_000_000)),
        (":40us", (0, 40)),
        ("7ms:", (7000, None)),
    ],
)
def test_windows_as_they_are_typed(text, window):
    assert parse_window(text) == window


@pytest.mark.parametrize(
    "text", ["", ":", "3", "0:300", "5ms:5ms", "-1:5ms", "a:bms", "1:2:3ms", "0:9999999999999999s", f"0:{'9' * 5000}us"]
)
def test_windows_that_are_none(text):
    with pytest.raises(InputError, match="expected START:END such as 0:300ms"):
        parse_window(text)


def test_times_count_from_the_first_event_and_a_window_has_no_end_event():
    assert fit_recording(made(ROWS), (4, 6, 2), Reading())[0]["t"].tolist() == [0, 0, 500, 1000]
    assert fit_recording(made(ROWS), (4, 6, 2), Reading(end=1000))[0]["t"].tolist() == [0, 0, 500]
    assert fit_recording(made(ROWS), (4, 6, 2), Reading(start=500, end=1001))[0]["t"].tolist() == [0, 500]
    with pytest.raises(InputError, match="no events in this window of time; the recording is 1,000 us long"):
        fit_recording(made(ROWS), (4, 6, 2), Reading(start=1001))


def test_fewer_pixels():
    events, remarks = fit_recording(made(ROWS, (7, 4)), (2, 4, 2), Reading(downsample=2))
    assert events["x"].tolist() == [0, 0, 2, 1]
    assert events["y"].tolist() == [0, 0, 1, 0]
    assert remarks == ["squares of 2 x 2 pixels are one"]
    with pytest.raises(InputError, match="has 4 x 2 pixels, the network takes 3 x 2; downsample it"):
        fit_recording(made(ROWS, (7, 4)), (2, 3, 2), Reading(downsample=2))


def test_a_smaller_camera_is_said_and_a_larger_one_refused():
    assert fit_recording(made(ROWS, (6, 4)), (5, 6, 2), Reading())[1] == ["6 x 4 pixels in the upper left of the network's 6 x 5"]
    with pytest.raises(InputError, match="has at least 6 x 4 pixels, the network takes 5 x 4"):
        fit_recording(made(ROWS), (4, 5, 2), Reading())


def test_hot_pixels():
    # Five events within a millisecond: 5,000 a second.
    rows = [(0, 0, t, 1) for t in range(0, 1000, 200)] + [(3, 2, 999, 1)]
    events, remarks = fit_recording(made(rows), (4, 4, 2), Reading(hot_pixels=4999))
    assert events["x"].tolist() == [3]
    assert remarks == ["1 hot pixels left out"]
    assert len(fit_recording(made(rows), (4, 4, 2), Reading(hot_pixels=5000))[0]) == 6
    with pytest.raises(InputError, match="all 2 pixels with events are hot; allow more events a second"):
        fit_recording(made(rows), (4, 4, 2), Reading(hot_pixels=10))


def test_an_empty_recording():
    empty = recording("rec", *(np.zeros(0, int) for _ in range(4)))
    with pytest.raises(InputError, match="without events"):
        fit_recording(empty, (4, 4, 2), Reading())


def test_frames_count_the_events_of_pixels():
    events = made([(1, 0, 0, 1)] * 300 + [(0, 1, 5, 0)]).events
    split = accumulated(events, (2, 3, 2))
    assert split[0, 1].tolist() == [0, 255]
    assert split[1, 0].tolist() == [1, 0]
    assert split.sum() == 256
    assert accumulated(events, (2, 3, 1))[:, :, 0].tolist() == [[0, 255, 0], [1, 0, 0]]


def test_hot_pixels_of_a_camera_whose_size_nobody_said_take_no_memory():
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="has at least 65536 x 65536 pixels"):
            fit_recording(made([(65535, 65535, 0, 1), (0, 0, 1, 1)]), (4, 6, 2), Reading(hot_pixels=10**6))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()

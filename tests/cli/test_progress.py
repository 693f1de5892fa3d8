"""Progress without a terminal: nothing of what is quick, a line every half a minute of what is not."""

from __future__ import annotations

import io
import sys

import pytest
from judges.evaluations import small_data, small_network

from eventsim.batch import study
from eventsim.cli.progress import image_progress, point_progress


class Clock:
    """Seconds pass when they are told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_line_at_most_every_thirty_seconds(clock, capsys):
    with image_progress("evaluating", clock) as progress:
        progress(100, 1100)
        for done in range(110, 1110, 10):
            clock.now += 2
            progress(done, 1100)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    # 100 images of another day, and 10 in 2 s since; the 200 s have room for six lines.
    assert lines[0] == "evaluating: 250 of 1,100 images, 5 images/s, about 2 min 50 s left"
    assert len(lines) == 6
    assert lines[-1] == "evaluating: 1,000 of 1,100 images, 5 images/s, about 20 s left"


def test_what_is_quick_says_nothing(clock, capsys):
    with image_progress("evaluating", clock) as progress:
        for done in range(0, 1001, 10):
            progress(done, 1000)
            clock.now += 0.25
    assert capsys.readouterr() == ("", "")


def test_hours_and_a_wait_without_anything_done(clock, capsys):
    with image_progress("evaluating", clock) as progress:
        progress(0, 100_000)
        clock.now += 30
        progress(0, 100_000)
        clock.now += 70
        progress(500, 100_000)
        clock.now += 40
        progress(900, 100_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "evaluating: 0 of 100,000 images"
    # For the first ones processes started and compiled: that tells nothing about the others.
    assert lines[1] == "evaluating: 500 of 100,000 images"
    assert lines[2] == "evaluating: 900 of 100,000 images, 10 images/s, about 2 h 45 min left"


def test_a_study_says_which_of_its_points(clock, capsys):
    with point_progress(clock) as each:
        for number in range(1, 11):
            progress = each(f"delay {number}", number, 10)
            progress(0, 10)
            clock.now += 14
            progress(10, 10)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" images")[0] for line in lines] == [
        "delay 3 (3 of 10): 10 of 10",
        "delay 6 (6 of 10): 10 of 10",
        "delay 9 (9 of 10): 10 of 10",
    ]


@pytest.mark.parametrize("several", [False, True])
def test_bars_on_a_terminal(monkeypatch, several):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    if several:
        with point_progress() as each:
            each("delay [/x]", 1, 3)(5, 50)
            each("delay 2", 2, 3)(7, 50)
        assert "all points" in terminal.getvalue()
        assert "1/3" in terminal.getvalue()
    else:
        with image_progress("evaluating [/x]") as progress:
            progress(7, 50)
    assert "7/50" in terminal.getvalue()
    assert "[/x]" in terminal.getvalue()


def test_studies_count_their_points(tmp_path):
    net, data, seen = small_network(), small_data(20), []

    def each(title, number, points):
        seen.append((number, points))

    study.run_study("initial potential", study.initial_points(net, [0, 0.5]), data, tmp_path, workers=1, each=each)
    assert seen == [(n, 4) for n in range(1, 5)]
    seen.clear()
    study.exit_study(net, data, tmp_path / "exit", [0.05, 0.2], workers=1, each=each)
    assert seen == [(n, 10) for n in range(1, 11)]

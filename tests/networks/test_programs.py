"""What the programs of networks/ take on their command lines, and how they end."""

from __future__ import annotations

import argparse
import sys

import pytest
from programs import at_least_one, ends_in_a_line
from repository import ROOT

import eventsim as es


def test_whole_numbers_of_at_least_one():
    assert at_least_one("12") == 12
    for text in ("0", "-3", "2.5", "many", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"found {text!r}, expected a whole number of at least 1"):
            at_least_one(text)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "interrupted; the same command goes on from there"),
        (es.InputError("no image"), "error: no image"),
        (PermissionError(13, "Permission denied", "a.h5"), r"error: .*Permission denied: 'a\.h5'"),
    ],
)
def test_ends_in_a_line(error, message):
    with pytest.raises(SystemExit, match=f"^{message}$"), ends_in_a_line():
        raise error
    # What is a fault of the program shows where it is.
    with pytest.raises(ZeroDivisionError), ends_in_a_line():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("alternatives", ["--print"]),
        ("make", ["mlp-mnist", "--epochs", "1"]),
        ("studies", ["sweeps"]),
        ("third_party", ["lfcW1A1", "nothing.npz"]),
        ("events", ["--images", "64"]),
        ("vgg15_imagenet", ["nothing.png"]),
    ],
)
def test_programs_without_data_or_room_end_in_a_line(tmp_path, monkeypatch, program, command):
    """No data, or a folder of partial results that is a file."""
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "networks"))
    monkeypatch.setenv("EVENTSIM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    more = [] if program in ("events", "vgg15_imagenet") else ["--work", str(tmp_path / "file")]
    monkeypatch.setattr(sys, "argv", [f"{program}.py", *command, *more])
    with pytest.raises(SystemExit, match=r"^error: ") as caught:
        __import__(program).main()
    assert "\n" not in str(caught.value)

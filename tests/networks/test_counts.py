"""Numbers on the command lines of the recipes."""

from __future__ import annotations

import argparse

import pytest
from counts import at_least_one


def test_whole_numbers_of_at_least_one():
    assert at_least_one("12") == 12
    for text in ("0", "-3", "2.5", "many", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"found {text!r}, expected a whole number of at least 1"):
            at_least_one(text)

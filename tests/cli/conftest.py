"""The command line, as a user in a folder of their own has it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from eventsim.cli.main import main


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Runs a command in a folder of the test's own: its result."""
    monkeypatch.chdir(tmp_path)

    def call(*args, **kwargs):
        return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False, **kwargs)

    return call
